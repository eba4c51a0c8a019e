"""From reported round trips to weights: what the leader proposes where members crash, and what every member
computes for the next committee where they may lie.

I1  no weights under which the loss of T members would leave no quorum, or two quorums could miss each other.
I2  a change is worth a tenth of the predicted time at least, and none follows within a period of the one before.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from msgspec.structs import replace

from quorum.certificate.committee import Committee, Member
from quorum.errors import ConfigurationError
from quorum.membership.latency import Latencies, Reports
from quorum.membership.placement import Placement, best_placement, placement_of
from quorum.membership.reconfiguration import SetWeights
from quorum.model import Configuration, NodeId
from quorum.systems.byzantine import weighted_byzantine
from quorum.systems.weights import check_weights

GAIN_PERCENT = 10
"""A placement must be so much faster than the present one."""
GAIN_US_MIN = 1_000
"""And by so much: within one data centre nothing is to be won."""
PERIOD_US = 60_000_000
LOOK_US = 5_000_000
"""Where nothing is to be won, it is looked again after so long."""


class Tuning(NamedTuple):
    """What should be done now: `change` of the weights (None: they stay), then leadership for `leader` (None: it
    stays). A decision takes `present_us` and should take `predicted_us`, as far as messages count."""

    change: SetWeights | None
    leader: NodeId | None
    present_us: int
    predicted_us: int
    reason: str


class WeightTuning:
    """Asked by the leader each turn. `faults` is T (None: that of the configuration): where nobody is to spare,
    all weigh the same, and only the lead moves."""

    def __init__(
        self,
        faults: int | None = None,
        gain_percent: int = GAIN_PERCENT,
        gain_us_min: int = GAIN_US_MIN,
        period_us: int = PERIOD_US,
    ) -> None:
        self._faults = faults
        self._gain_percent, self._gain_us_min = gain_percent, gain_us_min
        self._period_us = period_us
        self._epoch = -1
        self._next_us = 0
        self.refused = "round trips are being measured."
        """Why the last look proposed nothing; empty: it proposed something."""

    def step(self, configuration: Configuration, leader: NodeId, reports: Reports, now_us: int) -> Tuning | None:
        """What should change now, if anything. `reports`: by member, its round trips in microseconds."""
        if configuration.epoch != self._epoch:
            self._epoch, self._next_us = configuration.epoch, now_us + self._period_us
        if configuration.outgoing is not None:
            return self._nothing("a change is under way.")
        if configuration.reads or configuration.writes:
            return self._nothing("the sets that decide are named one by one, so that weights do not count.")
        if configuration.witnesses:
            return self._nothing("a witness votes only where votes are even, and weights would change that.")
        nodes = configuration.electors
        faults = min(configuration.faults if self._faults is None else self._faults, (len(nodes) - 1) // 2)
        given = dict(configuration.weights)
        weights = {node: given.get(node, 1) for node in nodes}
        try:
            check_weights(weights, faults)
        except ConfigurationError as error:
            return Tuning(SetWeights((), faults), None, 0, 0, f"the members have changed: {error}")  # I1, at once
        if now_us < self._next_us:
            return None
        self._next_us = now_us + min(LOOK_US, self._period_us)
        latencies = Latencies(nodes, reports)
        if latencies.reporting <= len(nodes) // 2:
            return self._nothing(f"{latencies.reporting} of {len(nodes)} report their round trips.")
        present = placement_of(latencies, leader, weights, faults, "crash")
        leaders = [
            node for node in configuration.candidates if self._may_lead(node, leader, configuration, reports)
        ]
        tuning = self._worth(latencies, present, leaders, faults)
        if tuning is not None:
            self._next_us = now_us + self._period_us
        return tuning

    def _may_lead(self, node: NodeId, leader: NodeId, configuration: Configuration, reports: Reports) -> bool:
        """An operator's priorities stand above what is measured."""
        is_equal = configuration.priority(node) == configuration.priority(leader)
        return node == leader or (is_equal and bool(reports.get(node)))

    def _worth(
        self, latencies: Latencies, present: Placement, leaders: list[NodeId], faults: int
    ) -> Tuning | None:
        """The best placement under this leader; or under another, where that gains as much again."""
        best = best_placement(latencies, [present.leader], faults, "crash", present)
        moved = best_placement(latencies, leaders or [present.leader], faults, "crash", present)
        if self._gains(best, moved):
            best = moved
        if not self._gains(present, best):
            return self._nothing(f"{best.latency_us} us are predicted at best, and {present.latency_us} us now.")
        change = None
        if best.weights != present.weights:
            kept = tuple(pair for pair in sorted(best.weights.items()) if pair[1] != 1)
            change = SetWeights(kept, faults)
        leader = best.leader if best.leader != present.leader else None
        reason = f"a decision should take {best.latency_us} us instead of {present.latency_us} us"
        self.refused = ""
        return Tuning(change, leader, present.latency_us, best.latency_us, reason)

    def _gains(self, before: Placement, after: Placement) -> bool:
        """I2."""
        return gains(before.latency_us, after.latency_us, self._gain_percent, self._gain_us_min)

    def _nothing(self, reason: str) -> Tuning | None:
        self.refused = reason
        return None


def gains(before_us: int, after_us: int, gain_percent: int = GAIN_PERCENT, gain_us_min: int = GAIN_US_MIN) -> bool:
    """Whether `after_us` is so much less that a change pays."""
    saved_us = before_us - after_us
    return saved_us >= gain_us_min and 100 * saved_us >= gain_percent * before_us


class Weighed(NamedTuple):
    """The committee with weights and its first primary, and what is predicted."""

    committee: Committee
    primary: NodeId
    present_us: int
    predicted_us: int


def weigh_committee(committee: Committee, primary: NodeId, reports: Reports, seed: int = 0) -> Weighed | None:
    """The committee with the weights and the first primary that suit the network best; None where that gains too
    little, T is 0, or fewer than 2T+1 members report. With nobody to spare (N = 3T+1) all weigh the same, and only
    the lead may move.

    Pure: members that have the same committee and the same reports, agreed through the log, get the same. The
    epoch is left as it is; whoever proposes the next committee sets it, and a quorum of the present one decides on
    it, as on any other (certificate.epochs). Up to T reports may be lies: what those can do, membership.latency
    says. However wrong, they cost time alone: every two quorums share T+1 members, and no quorum needs more than
    N-T of them, whoever is heavy.
    Raises ConfigurationError for a committee whose quorums are an expression, in which weights do not count.
    """
    if committee.quorums:
        raise ConfigurationError(
            f"weights were asked for in the committee of epoch {committee.epoch}, but its quorums are named by "
            f"{committee.quorums[:80]!r}, in which they do not count. Leave the expression out first."
        )
    faults = committee.faults
    latencies = Latencies(committee.nodes, reports, faults)
    if faults < 1 or latencies.reporting < 2 * faults + 1:
        return None
    weights = {member.node: member.weight for member in committee.members}
    present = placement_of(latencies, primary, weights, faults, "byzantine")
    leaders = [node for node in committee.nodes if node == primary or reports.get(node)]
    best = best_placement(latencies, leaders, faults, "byzantine", present, Random(seed))
    if not gains(present.latency_us, best.latency_us):
        return None
    members = tuple(replace(member, weight=best.weights[member.node]) for member in committee.members)
    weighed = replace(committee, members=members, primary=best.leader)
    return Weighed(weighed, best.leader, present.latency_us, best.latency_us)


def with_members(committee: Committee, members: Iterable[Member]) -> Committee:
    """The next committee of these members. Each keeps its weight, as long as any T of them may be silent; else all
    weigh the same, until the network is looked at again. The first primary stays if it is a member still.
    """
    chosen = tuple(sorted(members, key=lambda member: member.node))
    try:
        weighted_byzantine({member.node: member.weight for member in chosen}, committee.faults)
    except ConfigurationError:
        chosen = tuple(replace(member, weight=1) for member in chosen)
    is_there = any(member.node == committee.primary for member in chosen)
    primary = committee.primary if is_there else ""
    return replace(committee, epoch=committee.epoch + 1, members=chosen, primary=primary)
