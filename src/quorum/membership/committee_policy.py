"""Which committee should follow, where members may lie: one who leaves, or one who joins, or nobody.

Every member runs this on what it holds, and approves by itself of what it wants; a quorum of approvals decides.
What is held spreads, so members come to want the same, and the choice among several has an order. A member's own
wish is no more than that: T liars are no quorum.
Source: Castro and Liskov (2002), section 2, for the bound 3T+1, which is the floor here.

I1  nobody leaves unless 3T+1 members stay: T is never lowered by itself.
I2  whoever leaves is proven to lie, or T+1 members complain of it.
I3  at most one leaves, or one joins, in an epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from quorum.certificate.complaint import Complaint
from quorum.membership.complaints import AGE_BLOCKS_MAX, ComplaintBook
from quorum.membership.health import LIED, HealthBook
from quorum.membership.observation import Limits, Observation
from quorum.model import NodeId, nodes_needed

FIXED: Final = "fixed"
ADAPTIVE: Final = "adaptive"
ADAPTIVE_FROM: Final = 5
"""From so many members on, adapting the committee is worth something."""
LIAR: Final = "it is proven to lie"
SLOW: Final = "more members than may lie complain that it is slow or gone"
WELL: Final = "it has shown for long enough that it is well"


class Held(msgspec.Struct, frozen=True):
    """What one member holds: the committee, T, who of it is proven to lie, of whom T+1 complain (in the order of
    membership.complaints), and who of the evicted may come back."""

    members: tuple[NodeId, ...]
    faults: int
    liars: tuple[NodeId, ...] = ()
    considered: tuple[NodeId, ...] = ()
    ready: tuple[NodeId, ...] = ()


class Wish(msgspec.Struct, frozen=True):
    """Who should leave, or join, and why. `refused`: who else should have left, and why that cannot be."""

    leaves: NodeId | None = None
    joins: NodeId | None = None
    why: str = ""
    refused: str = ""

    @property
    def changes(self) -> bool:
        """Whether somebody should leave or join."""
        return self.leaves is not None or self.joins is not None

    def members(self, present: Iterable[NodeId]) -> tuple[NodeId, ...]:
        """The committee that is wished for, sorted."""
        joins = set() if self.joins is None else {self.joins}
        return tuple(sorted(set(present) - {self.leaves} | joins))


def floor_of(faults: int) -> int:
    """The fewest members that tolerate T liars: 3T+1."""
    return nodes_needed(faults, "byzantine")


def usual_policy(nodes: int, faults: int) -> str:
    """The policy of N members of which T may lie, where none is named: adaptive where somebody may leave."""
    return ADAPTIVE if nodes >= max(ADAPTIVE_FROM, floor_of(faults) + 1) else FIXED


def wish_of(held: Held) -> Wish:
    """What should change, if anything: liars leave first, then who is complained of, then one may come back."""
    liars = sorted(set(held.liars) & set(held.members))
    slow = [node for node in held.considered if node in held.members and node not in liars]
    refused = ""
    for node, why in ((node, why) for nodes, why in ((liars, LIAR), (slow, SLOW)) for node in nodes):
        if len(held.members) - 1 >= floor_of(held.faults):  # I1
            return Wish(leaves=node, why=why)
        refused = refused or too_few(node, why, len(held.members), held.faults)
    outside = sorted(set(held.ready) - set(held.members))
    if outside:
        return Wish(joins=outside[0], why=WELL, refused=refused)
    return Wish(refused=refused)


def too_few(node: NodeId, why: str, nodes: int, faults: int) -> str:
    """Why a member stays although it should leave."""
    return (
        f"{node} was to leave the committee, since {why}, but {nodes - 1} members would stay, and T={faults} "
        f"needs 3T+1={floor_of(faults)}. Admit another node (quorum admit), and approve of a committee with it in "
        f"place of {node} (quorum approve)."
    )


def silence_of(wish: Wish, node: NodeId, approvals: int) -> str:
    """Why `node` does not approve of what it wishes for, after so many approvals in one epoch; empty where it
    wishes for nothing."""
    who = f"{wish.leaves} was to leave" if wish.leaves else f"{wish.joins} was to join" if wish.joins else ""
    if not who:
        return ""
    return (
        f"{who} the committee, since {wish.why}, but {node} approved of {approvals} others in this epoch already, "
        "and of no more by itself before the next one. Approve of a committee by hand (quorum approve)."
    )


def no_adaptivity(nodes: int, faults: int) -> str:
    """The warning where nobody can leave any more; empty: somebody can."""
    if nodes > floor_of(faults):
        return ""
    return (
        f"N={nodes} is the floor 3T+1 for T={faults}: no adaptivity is left, so a slow or lying member keeps its "
        "vote. Add a member to have one to spare"
    )


class Oversight:
    """One member's judgement of the others: from what it observes to the words it should say.

    A complaint begins when a member was badly seen for `hold_us` (membership.health), and is taken back once it is
    seen well again. It is said anew while it ages.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.health = HealthBook(limits)

    def step(
        self,
        node: NodeId,
        book: ComplaintBook,
        members: tuple[NodeId, ...],
        observed: Iterable[Observation],
        height: int,
        now_us: int,
    ) -> list[tuple[NodeId, bool]]:
        """Take in what `node` observed; return of whom it should now complain (True), or no more (False)."""
        self.health.see(observed, members, now_us)
        words = []
        for other in members:
            if other == node:
                continue
            is_bad, said = self._is_bad(other), book.word(node, other)
            stands = said is not None and said.stands
            if is_bad and (said is None or not stands or _is_old(said, height)):
                words.append((other, True))
            elif stands and not is_bad:
                words.append((other, False))
        return words

    def _is_bad(self, node: NodeId) -> bool:
        """Unfit, and not well again: evidence needs no complaint."""
        health = self.health.of(node)
        if health is None or health.is_fit or health.reason == LIED:
            return False
        return health.good_since_us is None


def _is_old(said: Complaint, height: int) -> bool:
    return height - said.height > AGE_BLOCKS_MAX // 2
