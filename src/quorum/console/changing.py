"""Asking whoever leads: for a change of the members, until it is decided, or for what it would lead to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import click

from quorum.console.command import print_json
from quorum.console.decides import decides_of
from quorum.console.inquiry import NOTICE_S, ask_all, leader_of, no_quorum, refuse_discretion, waiting_line
from quorum.errors import AlreadySo, NotLeader, OutcomeUnknown, Overloaded
from quorum.membership.reconfiguration import Change
from quorum.model import Configuration
from quorum.runtime.connect import at_config
from quorum.runtime.node_connection import NodeConnection
from quorum.runtime.place import Place
from quorum.runtime.status import NodeStatus
from quorum.systems.build import build

RETRY_S = 0.3

DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would follow, or why not, and change nothing.")


NOTHING = "nothing had to change"
"""What is said where all was as it was asked to be: that is done, too, exit 0."""


class Outcome(NamedTuple):
    """The leader's view after a change, and whether it `changed` anything: not where it was so already."""

    leader: NodeStatus
    changed: bool

    def told(self, done: str, already: str) -> str:
        """What a person is told: `done`, or that it was so already."""
        what = done if self.changed else f"{NOTHING}: {already}"
        return f"{what}, epoch {self.leader.epoch}"


def change_members(path: Path, change: Change, timeout: float) -> Outcome:
    """Ask the leader for a change, and wait until it is decided."""
    place = at_config(path)

    async def act() -> Outcome:
        changed = True
        try:
            await at_leader(place, timeout, lambda connection: connection.change(change))
        except AlreadySo:
            changed = False
        return Outcome(await ask_leader(place, timeout), changed)

    return asyncio.run(act())


def preview(path: Path, change: Change, timeout: float, as_json: bool) -> None:
    """Show what a change would lead to, and change nothing. Raises RequestRefused where it would be refused;
    what is so already is told, and is no refusal."""
    place = at_config(path)

    async def act() -> Configuration:
        found: list[Configuration] = []

        async def ask(connection: NodeConnection) -> None:
            found.append(await connection.preview(change))

        await at_leader(place, timeout, ask)
        return found[-1]

    try:
        following = asyncio.run(act())
    except AlreadySo as error:
        if as_json:
            print_json({"changed": False, "already": str(error)})
        else:
            click.echo(f"nothing was changed, and nothing would be: {error}")
        return
    if as_json:
        print_json(facts_of(following) | {"changed": False})
        return
    facts = facts_of(following)
    click.echo(f"nothing was changed; epoch {facts['epoch']} would have")
    for group in ("voters", "learners", "witnesses"):
        if facts[group]:
            click.echo(f"  {group} {', '.join(facts[group])}")
    if facts["decides"] is not None:
        click.echo(f"  {facts['decides'].line()}")
    click.echo(f"  policy {facts['policy']}, elect {facts['reads']}, commit {facts['writes']}")
    for name in ("weights", "priorities"):
        if facts[name]:
            click.echo(f"  {name} {', '.join(f'{node} {value}' for node, value in facts[name].items())}")
    if facts["policy"] != "fixed":
        click.echo(f"  floor {facts['floor']}, T {facts['faults']}; after it the policy may go on to seat others")


def facts_of(configuration: Configuration) -> dict[str, Any]:
    """A configuration that no change is under way from, for people and programs."""
    system = build(configuration)
    return {
        "epoch": configuration.epoch,
        "voters": configuration.voters,
        "learners": configuration.learners,
        "witnesses": configuration.witnesses,
        "policy": configuration.policy,
        "floor": configuration.floor,
        "weights": dict(configuration.weights),
        "priorities": dict(configuration.priorities),
        "faults": configuration.faults,
        "reads": str(system.reads),
        "writes": str(system.writes),
        "decides": decides_of(configuration.epoch, str(system.reads), str(system.writes)),
    }


async def at_leader(
    place: Place, timeout: float, act: Callable[[NodeConnection], Coroutine[Any, Any, None]]
) -> None:
    """Do something at whoever leads; where that changes or is busy, again until `timeout` seconds have passed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        leader = await ask_leader(place, max(RETRY_S, deadline - loop.time()))
        try:
            async with asyncio.timeout_at(deadline), place.node(leader.node) as connection:
                await act(connection)
                return
        except TimeoutError:
            raise OutcomeUnknown(
                f"a change was asked for, but it was not decided within {timeout:g} s. It may yet be: look with "
                "`quorum members`."
            ) from None
        except (NotLeader, Overloaded, OSError):
            if loop.time() + RETRY_S >= deadline:
                raise
        await asyncio.sleep(RETRY_S)


async def ask_leader(place: Place, timeout: float) -> NodeStatus:
    """The status of the leader. Raises NoQuorum if none is found within `timeout` seconds, and says so meanwhile;
    RequestRefused at once where the nodes tell nothing to this client."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    told = False
    while True:
        answers = await ask_all(place)
        leader = leader_of(answers, place)
        if leader is not None:
            return leader
        refuse_discretion(answers)
        if loop.time() - began >= timeout:
            raise no_quorum(answers, place)
        if not told and loop.time() - began >= NOTICE_S:
            told = True
            click.echo(waiting_line(answers, place), err=True)
        await asyncio.sleep(RETRY_S)
