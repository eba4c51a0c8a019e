"""An operator's word, given to members at once; and whether what it wants is so by now."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from quorum.certificate.committee import Committee
from quorum.certificate.genesis import encode_genesis
from quorum.console.inquiry import Answers, ask_all
from quorum.console.present import Present
from quorum.errors import OutcomeUnknown, QuorumError
from quorum.runtime.connection import system_reason
from quorum.runtime.place import Place
from quorum.runtime.status import NodeStatus

POLL_S = 0.2
LOOK_S = 1.0
"""So often it is looked whether the committee acts while some have not answered."""


class Word(NamedTuple):
    """What members answered to an operator's word: why not, by those who have not approved, and of these who did
    not answer."""

    asked: tuple[str, ...]
    refused: dict[str, str]
    silent: tuple[str, ...]

    @property
    def approved(self) -> tuple[str, ...]:
        return tuple(node for node in self.asked if node not in self.refused)

    def but_for(self, refused: dict[str, str]) -> Word:
        """The same, of those who still refuse."""
        return Word(self.asked, refused, tuple(node for node in self.silent if node in refused))


async def tell_all(
    place: Place, nodes: tuple[str, ...], committee: Committee, present: Present | None, timeout_s: float
) -> Word:
    """Have all these members approve at once, within `timeout_s` seconds together. Nobody waits for the silent
    ones once the committee acts."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    asked = {node: asyncio.create_task(_tell(place, node, committee, present)) for node in nodes}
    pending = set(asked.values())
    try:
        while pending:
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                break
            _, pending = await asyncio.wait(pending, timeout=min(LOOK_S, left_s))
            if pending and is_in_force(await ask_all(place), committee):
                break
        said = {node: task.result() if task.done() else _no_answer(place, node) for node, task in asked.items()}
    finally:
        for task in asked.values():
            task.cancel()
        await asyncio.gather(*asked.values(), return_exceptions=True)
    refused = {node: reason for node, (reason, _) in said.items() if reason}
    return Word(nodes, refused, tuple(node for node, (_, is_silent) in said.items() if is_silent))


def _no_answer(place: Place, node: str, why: str = "in time") -> tuple[str, bool]:
    where = place.endpoints[node]
    return f"{node} does not answer at {where} ({why}). Start it, or leave it out: name the others by --at", True


async def _tell(place: Place, node: str, committee: Committee, present: Present | None) -> tuple[str, bool]:
    """Have a member approve; "" once it has, else why it has not, and whether it did not answer."""
    if present is not None and node not in present.nodes:
        return f"{node} has no vote in epoch {present.epoch}", False
    try:
        async with place.node(node) as connection:
            await connection.approve(encode_genesis(committee))
    except OSError as error:
        return _no_answer(place, node, system_reason(error).lower())
    except QuorumError as error:
        return str(error), isinstance(error, OutcomeUnknown)  # it did not answer in its own time
    return "", False


async def acts(place: Place, committee: Committee, timeout_s: float) -> bool:
    """Whether more members than may lie say, in time, that they stand in the committee's epoch."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        if is_in_force(await ask_all(place), committee):
            return True
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(POLL_S)


def is_in_force(answers: Answers, committee: Committee) -> bool:
    """Whether more of the committee than may lie say that they stand in its epoch. Who answered is who was asked,
    whatever the answer says."""
    asked = [answers.get(node) for node in committee.nodes]
    there = [each for each in asked if isinstance(each, NodeStatus) and each.epoch == committee.epoch]
    return sum(each.voters == committee.nodes for each in there) > committee.faults
