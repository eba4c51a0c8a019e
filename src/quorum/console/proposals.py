"""The next committees that operators have approved of, as members pass it on: for people, and for programs."""

from __future__ import annotations

import msgspec

from quorum.console.inquiry import Answers, answering
from quorum.model import NodeId

SHOWN_MAX, MEMBERS_SHOWN_MAX = 8, 40


class Proposal(msgspec.Struct, frozen=True):
    """A committee of which `faults` may lie, who is known to approve of it, and whose word this is."""

    epoch: int
    members: tuple[NodeId, ...]
    faults: int
    approved: tuple[NodeId, ...]
    told_by: tuple[NodeId, ...]

    def line(self, needed: int | None) -> str:
        """In one line; `needed` approvals are enough (None: not known)."""
        more = len(self.members) - MEMBERS_SHOWN_MAX
        members = ", ".join(self.members[:MEMBERS_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
        of = "" if needed is None else f" ({len(self.approved)} of {needed} needed)"
        return (
            f"proposed for epoch {self.epoch}: {members}, T {self.faults}; approved by {', '.join(self.approved)}"
            f"{of}. To join in: quorum approve {' '.join(self.members[:MEMBERS_SHOWN_MAX])} --faults {self.faults}"
        )


def proposals_of(answers: Answers) -> tuple[Proposal, ...]:
    """What members that answer tell of next committees, those first that most approve of; SHOWN_MAX at most. A
    liar may make some up: who tells is named."""
    statuses = answering(answers)
    acting = sorted(each.epoch for each in statuses)[len(statuses) // 2] if statuses else 0
    known: dict[tuple[int, tuple[NodeId, ...], int], tuple[set[NodeId], set[NodeId]]] = {}
    for status in statuses:
        for each in status.proposed:
            if each.epoch > acting:
                approved, tellers = known.setdefault((each.epoch, each.members, each.faults), (set(), set()))
                approved |= {*each.approved} & {*status.voters}
                tellers.add(status.node)
    found = [
        Proposal(*wanted, tuple(sorted(approved)), tuple(sorted(tellers)))
        for wanted, (approved, tellers) in known.items()
    ]
    return tuple(sorted(found, key=lambda each: (-len(each.approved), each.members))[:SHOWN_MAX])
