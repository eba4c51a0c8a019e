"""Who is out of a committee whose members may lie, why, since when, and what would bring it back."""

from __future__ import annotations

from collections import Counter
from statistics import median_low
from typing import Final

import msgspec

from quorum.console.command import plain
from quorum.console.committee_told import committee_told
from quorum.console.inquiry import Answers, answering
from quorum.console.told import moment
from quorum.model import NodeId
from quorum.runtime.status import Evicted, NodeStatus

ADMIT = "only its operators bring it back, with a fresh key: quorum admit NAME, then quorum approve"
WHY = {"lied": "it is proven to lie", "slow": "it was slow or gone", "operators": "its operators left it out"}

_NEVER_US: Final = 2**63 - 1


class Out(msgspec.Struct, frozen=True):
    """`node` has no vote from `epoch` on. `since_us` is since 1970, and like `returns_in_us` the median of what
    those say who tell it: `told_by`. `text`: what the leader says of it, where members only crash; `epoch` is then
    the present one."""

    node: NodeId
    epoch: int
    reason: str
    since_us: int
    returns_in_us: int | None
    told_by: tuple[NodeId, ...]
    text: str = ""

    def line(self) -> str:
        """For people."""
        if self.text:
            return plain(self.text)
        since = moment(self.since_us).strftime("%Y-%m-%d %H:%M:%S UTC")
        head = f"{plain(self.node)} is out since epoch {self.epoch} ({since}): {WHY.get(self.reason, 'not known')}"
        if self.reason != "slow":
            return f"{head}; {ADMIT}"
        if self.returns_in_us is None:
            return f"{head}; it returns once it runs and shows that it is well"
        return f"{head}; it is well again, and returns in {self.returns_in_us / 1e6:.0f} s"


def out_told(answers: Answers) -> tuple[Out, ...]:
    """Who is out, as most members that answer tell it; one that came later may know no reason. What no more
    members say than may lie is left out, where more of them answer; so is what they say of who votes."""
    told, members = committee_told(answers), _members(answers)
    if told is None:
        return ()
    by_node: dict[NodeId, dict[NodeId, Evicted]] = {}
    for status in members:
        for each in status.evicted:
            if each.node not in told.nodes and each.epoch <= told.epoch:
                by_node.setdefault(each.node, {})[status.node] = each
    enough = min(told.faults + 1, len(members))
    return tuple(_out(node, by) for node, by in sorted(by_node.items()) if len(by) >= enough)


def _out(node: NodeId, by: dict[NodeId, Evicted]) -> Out:
    counts = Counter((each.epoch, each.reason) for each in by.values())
    epoch, reason = max(counts, key=lambda pair: (counts[pair], pair))
    same = {teller: each for teller, each in sorted(by.items()) if (each.epoch, each.reason) == (epoch, reason)}
    since_us = median_low(each.since_us for each in same.values())
    returns_us = median_low(
        _NEVER_US if each.returns_in_us is None else each.returns_in_us for each in same.values()
    )
    return Out(node, epoch, reason, since_us, None if returns_us == _NEVER_US else returns_us, tuple(same))


def seats_told(leader: NodeStatus | None) -> tuple[Out, ...]:
    """Who has no vote where members only crash, by the configuration in the log, as the leader tells it."""
    if leader is None:
        return ()
    return tuple(
        Out(node, leader.epoch, seat.reason, seat.since_us, None, (leader.node,), leader.explained.get(node, ""))
        for node, seat in leader.seats.items()
        if seat.reason
    )


def participation_warnings(answers: Answers) -> list[str]:
    """Who should leave and cannot, who is complained of, and that nobody is left to spare."""
    from quorum.membership.committee_policy import no_adaptivity

    told, members = committee_told(answers), _members(answers)
    if told is None or not members:
        return []
    found = sorted({plain(status.refused, 500) for status in members if status.refused})
    complained: dict[NodeId, set[NodeId]] = {}
    for status in members:
        for node in told.nodes:
            complained.setdefault(node, set()).update({*status.complaints.get(node, ())} & {*told.nodes})
    found += [f"{', '.join(sorted(by))} complain of {node}" for node, by in sorted(complained.items()) if by]
    found += [text] if (text := no_adaptivity(len(told.nodes), told.faults)) else []
    return found


def _members(answers: Answers) -> list[NodeStatus]:
    """The members that answer and adapt, of the committee that most name."""
    told = committee_told(answers)
    return [
        status
        for status in answering(answers)
        if told is not None
        and (status.policy, status.model) == ("adaptive", "byzantine")
        and (status.epoch, status.voters) == (told.epoch, told.nodes)
        and status.node in told.nodes
    ]
