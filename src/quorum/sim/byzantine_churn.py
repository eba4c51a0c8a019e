"""The operators of a committee that may lie: they want one committee after the other, while all else happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quorum.certificate.committee import Committee, Member
from quorum.certificate.genesis import encode_genesis
from quorum.entry import Buffer
from quorum.model import NodeId
from quorum.runtime.messages import ApproveRequest, Failure, Result

if TYPE_CHECKING:
    from quorum.sim.byzantine_world import ByzantineWorld

SECOND_US = 1_000_000
APPROVED = "next committee approved"
REFUSED = "next committee refused"
KEY_RENEWED = "key renewed"


class Operators:
    """About once in `pause_us`, until `stop_us`, those of all honest members approve of one committee, each if
    its member runs. A node that left comes back with a fresh key, and what its disk held."""

    identity = "operators"

    def __init__(self, world: ByzantineWorld, stop_us: int, pause_us: int) -> None:
        self.world = world
        self.stop_us = stop_us
        self.pause_us = pause_us
        self.random = world.random("operators")
        self._asked = 0

    def start(self) -> None:
        self.world.schedule(self.random.randrange(SECOND_US, 2 * SECOND_US), self._act)

    def _act(self) -> None:
        world = self.world
        if world.now_us >= self.stop_us:
            return
        world.schedule(self.random.randrange(self.pause_us // 4, 2 * self.pause_us), self._act)
        newest = world.newest_committee()
        wanted = None if newest is None else self._draw(newest)
        if wanted is None:
            return
        body = encode_genesis(wanted)
        world.count(("wanted", wanted.epoch, *wanted.nodes))
        for name in world.honest:
            self._asked += 1
            world.nodes[name].request(self, ApproveRequest(self._asked), (body,))

    def _draw(self, newest: Committee) -> Committee | None:
        """One joins, one leaves, or one takes another's place; None where what was drawn cannot be."""
        draw, names = self.random, list(newest.nodes)
        outside = [name for name in self.world.nodes if name not in names and name not in self.world.liars]
        kind = draw.randrange(3)
        joins = outside[draw.randrange(len(outside))] if outside and kind != 0 else None
        leaves = names[draw.randrange(len(names))] if kind != 1 else None
        if leaves is not None:
            names.remove(leaves)
        if joins is not None:
            names.append(joins)
        if len(names) < 3 * newest.faults + 1:
            return None
        if joins is not None and self.world.was_member(joins):
            self.world.renew_key(joins)
        members = tuple(Member(name, self.world.public_key(name)) for name in sorted(names))
        return Committee(newest.cluster, newest.epoch + 1, members, newest.faults)

    # What nodes answer (runtime.gateway.Client).

    def answer(self, message: object, attached: Sequence[Buffer]) -> None:
        """The approval is durable there, or was refused."""
        self.world.count(("operators", message))
        if isinstance(message, Result):
            self.world.sometimes.reached(APPROVED)
        elif isinstance(message, Failure):
            self.world.sometimes.reached(REFUSED)

    def backlog(self) -> int:
        """Nothing is held back from it."""
        return 0


def outsiders(nodes: int, spares: int) -> tuple[NodeId, ...]:
    """The names of nodes beyond the first committee."""
    return tuple(f"n{number}" for number in range(nodes + 1, nodes + spares + 1))
