"""When a member approves of other weights, where members may lie: what the primary proposes, and what each holds.

The primary shows reports of N-T members; the committee that follows from them is computed by each member itself,
so that the choice of reports is all that a primary has. Wrong reports cost time alone (membership.weighing); these
rules bound how much.

I1  the reports of N-T members, each signed for this epoch, each member's once.
I2  at most T of them are older than what this member holds: a primary cannot bring back how the network was.
I3  nothing before the epoch has lasted for a period, and nothing while somebody should leave or join.
I4  one proposal of each primary is looked into in half a period, and two committees are approved of in an epoch:
    the work is bounded, too.
Source: Berger, Reiser, Sousa and Bessani, "AWARE: Adaptive Wide-Area Replication" (2022), for reports that all
have and a choice that each computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from quorum.certificate.committee import Committee
from quorum.certificate.latency_report import LatencyReport, rows_of
from quorum.membership.weighing import PERIOD_US, Weighed, weigh_committee
from quorum.model import NodeId

REPORT_US = 5_000_000
"""Each member reports so often."""
OLD_REPORTS = 6
"""A report is old when its member could have sent so many since."""
APPROVED_MAX = 2
MEMBERS_MAX = 100
"""Larger committees are left as they are: their reports would fill too many bytes."""


class WeightProposals:
    """What one member holds in one epoch, which it entered at `since_us`. Times in microseconds."""

    def __init__(
        self, committee: Committee, since_us: int, period_us: int = PERIOD_US, report_us: int = REPORT_US
    ) -> None:
        self.committee = committee
        self._since_us = since_us
        self._period_us, self._old_us = period_us, OLD_REPORTS * report_us
        self._look_us = 0
        self._held: dict[NodeId, tuple[int, LatencyReport]] = {}
        self._heeded_us: dict[NodeId, int] = {}
        self._approvals = 0

    @property
    def needed(self) -> int:
        """So many members' reports make a proposal: N-T, as the others may be silent for ever."""
        return len(self.committee.nodes) - self.committee.faults

    @property
    def is_too_large(self) -> bool:
        """Whether this committee keeps its weights."""
        return len(self.committee.nodes) > MEMBERS_MAX

    # Reports.

    def is_news(self, report: LatencyReport, now_us: int) -> bool:
        """Whether it is newer than what this member holds. Whatever comes of a member that said nothing newer for
        long is: its clock was set back."""
        held = self._held.get(report.by)
        return held is None or report.number > held[1].number or now_us - held[0] > self._old_us

    def take(self, report: LatencyReport, now_us: int) -> None:
        """Its signature was verified."""
        if self.is_news(report, now_us):
            self._held[report.by] = now_us, report

    def fresh(self, now_us: int) -> tuple[LatencyReport, ...]:
        """The newest report of each member that reported of late, by name."""
        return tuple(report for _, (at_us, report) in sorted(self._held.items()) if now_us - at_us <= self._old_us)

    def holds(self, report: LatencyReport) -> bool:
        """Whether this very report was verified before."""
        held = self._held.get(report.by)
        return held is not None and held[1] == report

    # Proposals.

    def looks(self, now_us: int) -> bool:
        """Whether the primary should look now whether other weights would gain: once in a period."""
        is_time = now_us - self._since_us >= self._period_us and now_us >= self._look_us
        return is_time and not self.is_too_large and self._approvals < APPROVED_MAX

    def looked(self, now_us: int) -> None:
        """The primary looks. In a committee of many that takes seconds."""
        self._look_us = now_us + self._period_us

    def why_not(self, primary: NodeId, reports: Sequence[LatencyReport], now_us: int) -> str:
        """Why this member does not take up what `primary` proposes now; empty: it does, once every signature is
        verified. The form of each report was checked before."""
        if self.is_too_large:
            return f"a committee of more than {MEMBERS_MAX} members keeps its weights."
        if now_us - self._since_us < self._period_us // 2:
            return (
                f"epoch {self.committee.epoch} has just begun."  # clocks differ, and members enter at their time
            )
        if primary in self._heeded_us and now_us - self._heeded_us[primary] < self._period_us // 2:
            return f"{primary} proposed other weights just now."
        if self._approvals >= APPROVED_MAX:
            return f"other weights were approved of in epoch {self.committee.epoch} before, and were not decided."
        names = [report.by for report in reports]
        if names != sorted(set(names)) or not set(names) <= self.committee.keys.keys():
            return "the reports are not of one member each, in order."
        if len(names) < self.needed:
            return f"{len(names)} members report, and {self.needed} should."
        old = [report.by for report in reports if self._is_old(report)]
        if len(old) > self.committee.faults:
            return f"the reports of {', '.join(old[:5])} are old."
        return ""

    def _is_old(self, report: LatencyReport) -> bool:
        held = self._held.get(report.by)
        return held is not None and held[1].number - report.number > self._old_us

    def heed(self, primary: NodeId, now_us: int) -> None:
        """What follows from the reports of `primary` is computed."""
        self._heeded_us[primary] = now_us

    def approved(self) -> None:
        """This member approves of other weights."""
        self._approvals += 1


def following_from(committee: Committee, primary: NodeId, reports: Iterable[LatencyReport]) -> Weighed | None:
    """The committee of the next epoch that follows from these reports under this primary; None where all stays.
    The same for whoever has them."""
    weighed = weigh_committee(committee, primary, rows_of(reports), committee.epoch)
    if weighed is None:
        return None
    return weighed._replace(committee=replace(weighed.committee, epoch=committee.epoch + 1))
