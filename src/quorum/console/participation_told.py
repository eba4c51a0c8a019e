"""Who is out of a committee whose members may lie, why, since when, and what would bring it back."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import msgspec

from quorum.console.command import plain
from quorum.console.inquiry import Answers, answering
from quorum.model import NodeId
from quorum.runtime.status import Evicted, NodeStatus

ADMIT = "only its operators bring it back, with a fresh key: quorum admit NAME, then quorum approve"
WHY = {"lied": "it is proven to lie", "slow": "it was slow or gone", "operators": "its operators left it out"}


class Out(msgspec.Struct, frozen=True):
    """`node` has no vote from `epoch` on. `since_us` is since 1970, and with `returns_in_us` the word of the first
    of those who tell it: `told_by`. `text`: what the leader says of it, where members only crash; `epoch` is then
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
        since = datetime.fromtimestamp(self.since_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        head = f"{plain(self.node)} is out since epoch {self.epoch} ({since}): {WHY.get(self.reason, 'not known')}"
        if self.reason != "slow":
            return f"{head}; {ADMIT}"
        if self.returns_in_us is None:
            return f"{head}; it returns once it runs and shows that it is well"
        return f"{head}; it is well again, and returns in {self.returns_in_us / 1e6:.0f} s"


def out_told(answers: Answers) -> tuple[Out, ...]:
    """Who is out, as most members that answer tell it; one that came later may know no reason."""
    told: dict[NodeId, dict[NodeId, Evicted]] = {}
    for status in _members(answers):
        for each in status.evicted:
            told.setdefault(each.node, {})[status.node] = each
    return tuple(_out(node, by) for node, by in sorted(told.items()))


def _out(node: NodeId, by: dict[NodeId, Evicted]) -> Out:
    counts = Counter((each.epoch, each.reason) for each in by.values())
    epoch, reason = max(counts, key=lambda pair: (pair[0], counts[pair], pair[1]))
    same = {teller: each for teller, each in sorted(by.items()) if (each.epoch, each.reason) == (epoch, reason)}
    first = next(iter(same.values()))
    return Out(node, epoch, reason, first.since_us, first.returns_in_us, tuple(same))


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

    members = _members(answers)
    found = sorted({plain(status.refused, 500) for status in members if status.refused})
    complained: dict[NodeId, set[NodeId]] = {}
    for status in members:
        for node, by in status.complaints.items():
            complained.setdefault(node, set()).update(by)
    found += [f"{', '.join(sorted(by))} complain of {plain(node)}" for node, by in sorted(complained.items())]
    if members:
        found += [text] if (text := no_adaptivity(len(members[0].voters), members[0].faults)) else []
    return found


def _members(answers: Answers) -> list[NodeStatus]:
    """The members of the newest epoch that answer, and adapt."""
    adapting = [
        status for status in answering(answers) if status.policy == "adaptive" and status.model == "byzantine"
    ]
    newest = max((status.epoch for status in adapting), default=0)
    return [status for status in adapting if status.epoch == newest and status.node in status.voters]
