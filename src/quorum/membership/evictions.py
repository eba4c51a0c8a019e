"""Who left which committee, and why: what one member knows of it, and takes along through restarts.

The chain says who left, not why. The reason decides who may come back by itself: who was evicted for being slow,
as T+1 complaints of that epoch show to anybody, and against whom there is no evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from quorum.certificate.committee import Committee
from quorum.certificate.complaint import Complaint
from quorum.membership.weighing import with_members
from quorum.model import NodeId

SLOW = "slow"
LIED = "lied"
OPERATORS = "operators"
"""Nothing else is known: operators approved of a committee without it."""


def left_alone(before: Committee, after: Committee) -> bool:
    """Whether one member left, and nothing else changed but what follows from that, as in every change by which
    members put somebody out. In any other one whoever left was left out by operators, complained of or not."""
    gone = set(before.nodes) - set(after.nodes)
    stayed = [member for member in before.members if member.node not in gone]
    return len(gone) == 1 and after == with_members(before, stayed)


class Eviction(msgspec.Struct, frozen=True, array_like=True):
    """`node`, whose key was `public_key`, is in no committee from `epoch` on. `since_us`: by the clock of whoever
    knows it. `complaints` show the reason SLOW to others; `flaps`: so many returns before did not last."""

    node: NodeId
    public_key: bytes
    epoch: int
    reason: str
    since_us: int
    flaps: int = 0
    complaints: tuple[Complaint, ...] = ()


class Evictions:
    """The newest of each node."""

    def __init__(self, known: Iterable[Eviction] = ()) -> None:
        self._known = {each.node: each for each in known}

    def of(self, node: NodeId) -> Eviction | None:
        """What is known of a node that is out; None: nothing."""
        return self._known.get(node)

    def all(self) -> tuple[Eviction, ...]:
        """Everybody who is out, by name."""
        return tuple(self._known[node] for node in sorted(self._known))

    def follow(
        self,
        before: Committee,
        after: Committee,
        complaints: Mapping[NodeId, tuple[Complaint, ...]],
        liars: Iterable[NodeId],
        now_us: int,
    ) -> tuple[Eviction, ...]:
        """`after` acts in place of `before`. `complaints`: of whom T+1 of `before` complained; return who left."""
        lied, by_members = frozenset(liars), left_alone(before, after)
        left = []
        for member in before.members:
            if member.node in after.keys:
                continue
            said = complaints.get(member.node, ()) if by_members else ()
            reason = LIED if member.node in lied else SLOW if said else OPERATORS
            found = Eviction(member.node, member.public_key, after.epoch, reason, now_us, 0, said)
            self._known[member.node] = found
            left.append(found)
        for node in after.nodes:
            self._known.pop(node, None)
        return tuple(left)

    def note(self, eviction: Eviction) -> None:
        """More is known of one that is out."""
        self._known[eviction.node] = eviction
