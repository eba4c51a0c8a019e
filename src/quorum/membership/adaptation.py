"""From observations to at most one change of the committee: what the leader runs, turn by turn.

A proposal is no change: it goes through the log, by joint consensus, and counts once it is committed. So the base
is always the committee that was committed last, a change is decided by a quorum of the old committee and one of
the new, and nobody leaves before who takes its seat is in.

I1  no proposal while a change is under way.
I2  no proposal whose committee could not decide with those who are fit, or on which those in force could not.
I3  no proposal to become smaller while changes take longer than repairs: that would lose more than it gains.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from quorum.errors import ConfigurationError
from quorum.membership.health import SPARE, HealthBook
from quorum.membership.observation import Limits, Observation, Situation
from quorum.membership.policy import Policy
from quorum.membership.reconfiguration import Reseat, apply_change
from quorum.model import Configuration, NodeId, Seat
from quorum.systems.build import build

REPAIRS_KEPT = 16
DOUBTED = "badly seen"
"""Of a standby that would be fit."""
SAMPLES_MIN = 3
"""With fewer of either nothing is known yet: one slow change must not keep who is lost in the vote."""
BREAK_EVEN = 1.2
"""A change must be so much faster than a repair: below about 1.1, with 5 nodes, a committee that adapts is up less
than a fixed one (systems.participation computes it)."""


class Proposal(msgspec.Struct, frozen=True):
    """Who should be put in and out of the committee, in one change, as the seats that they are to have; those
    without a reason are to vote."""

    seats: tuple[Seat, ...]

    @property
    def promote(self) -> tuple[NodeId, ...]:
        """Who is to vote."""
        return tuple(seat.node for seat in self.seats if not seat.reason)

    @property
    def demote(self) -> tuple[NodeId, ...]:
        """Who is not to vote any more."""
        return tuple(seat.node for seat in self.seats if seat.reason)


class Adaptation:
    """Holds what was observed of the members, and asks a policy each turn."""

    def __init__(
        self, policy: Policy, nodes: int, faults: int, floor: int = 3, limits: Limits | None = None
    ) -> None:
        self.follow(policy, nodes, faults, floor)
        self.health = HealthBook(limits)
        self.refused = ""
        """Why the last turn that wanted a change proposed none."""
        self._changing_since_us: int | None = None
        self._changes_us: list[int] = []
        self._repairs_us: list[int] = []
        self._out_since_us: dict[NodeId, int] = {}
        self._now_us = 0

    def follow(self, policy: Policy, nodes: int, faults: int, floor: int) -> None:
        """From now on this policy chooses, among N nodes of which T may fail."""
        self._policy = policy
        self._nodes, self._faults, self._floor = nodes, faults, floor

    def step(
        self, configuration: Configuration, leader: NodeId, observed: Iterable[Observation], now_us: int
    ) -> Proposal | None:
        """Take in what the leader observes; return what should change now, if anything."""
        self.health.see(observed, configuration.electors, now_us, configuration.seats)
        self._now_us = now_us
        self._time_repairs(now_us)
        self._time_changes(configuration, now_us)
        self.refused = ""
        if configuration.outgoing is not None:
            return None  # I1
        situation = self.situation(configuration, leader)
        try:
            wanted = tuple(self._policy(situation))
        except ConfigurationError as error:
            self.refused = str(error)
            return None
        if frozenset(wanted) == frozenset(configuration.voters):
            return None
        proposal = self._proposal(situation, wanted, now_us)
        self.refused = self._why_not(situation, proposal)
        return None if self.refused else proposal

    def situation(self, configuration: Configuration, leader: NodeId) -> Situation:
        """What the policy is told. A standby that is badly seen right now is not fit: a voter is given the hold
        time, but nobody is put in who may be gone already."""
        members = frozenset({*configuration.voters, *configuration.learners})
        known = [(node, health) for node, health in self.health.items() if node in members]
        voting = frozenset(configuration.voters)
        fit = tuple(node for node, each in known if each.is_fit and (each.bad_since_us is None or node in voting))
        unfit = tuple((node, health.reason or DOUBTED) for node, health in known if node not in fit)
        counts = (self._nodes, self._faults, self._floor)
        return Situation(configuration, leader, fit, unfit, *counts, self._fit_witnesses(configuration))

    def _why_not(self, situation: Situation, proposal: Proposal) -> str:
        """Why a change that is wanted must wait; empty: it need not."""
        configuration = situation.configuration
        voting = frozenset((*situation.fit, *self._fit_witnesses(configuration)))
        if not build(configuration).writes.contains(voting):
            missing = ", ".join(f"{node} ({reason})" for node, reason in situation.unfit)
            return f"no quorum of the committee is fit to decide on a change. Missing: {missing}."
        try:
            target = apply_change(configuration, Reseat(proposal.seats))
            following = build(target)
        except ConfigurationError as error:
            return f"the committee that is wanted cannot be: {error}"
        if not (following.writes.contains(voting) and following.reads.contains(voting)):
            return "too few of the committee that is wanted are fit to decide."
        if len(target.voters) < len(configuration.voters) and not self.is_change_faster_than_repair:
            return (
                "changes of the committee take longer than repairs here, so a smaller one would be up less than "
                "the present one."
            )
        return ""

    def _fit_witnesses(self, configuration: Configuration) -> tuple[NodeId, ...]:
        return tuple(node for node in configuration.witnesses if node in self.health.fit)

    @property
    def is_change_faster_than_repair(self) -> bool:
        """Whether changing the committee pays, by what was seen so far; it does where little was seen. A repair
        that is not over counts for as long as it has taken: who is lost for good must not stay for ever, because
        those before were short."""
        if min(len(self._changes_us), len(self._repairs_us)) < SAMPLES_MIN:
            return True
        change = sum(self._changes_us) / len(self._changes_us)
        repairs_us = [*self._repairs_us, *(self._now_us - at_us for at_us in self._out_since_us.values())]
        return BREAK_EVEN * change < sum(repairs_us) / len(repairs_us)

    def _proposal(self, situation: Situation, wanted: tuple[NodeId, ...], now_us: int) -> Proposal:
        """The seats that change. Who came back keeps the count of its flaps, so that the next leader has it; who
        was spare was well all the time, and did not come back."""
        voters, reasons = situation.configuration.voters, dict(situation.unfit)
        before = {seat.node: seat.reason for seat in situation.configuration.seats}
        seats = [
            Seat(node, "", 0 if before.get(node) == SPARE else now_us, self._flaps(node))
            for node in set(wanted) - set(voters)
        ]
        seats += [
            Seat(node, reasons.get(node, SPARE), now_us, self._flaps(node)) for node in set(voters) - set(wanted)
        ]
        return Proposal(tuple(sorted(seats, key=lambda seat: seat.node)))

    def _flaps(self, node: NodeId) -> int:
        health = self.health.of(node)
        return 0 if health is None else health.flaps

    def _time_repairs(self, now_us: int) -> None:
        """How long nodes were badly seen before they were well again."""
        for node, health in self.health.items():
            is_bad = health.bad_since_us is not None or (not health.is_fit and health.good_since_us is None)
            if is_bad:
                self._out_since_us.setdefault(node, now_us)
            elif (since_us := self._out_since_us.pop(node, None)) is not None:
                self._repairs_us = [*self._repairs_us, now_us - since_us][-REPAIRS_KEPT:]
        self._out_since_us = {node: at for node, at in self._out_since_us.items() if self.health.of(node)}

    def _time_changes(self, configuration: Configuration, now_us: int) -> None:
        """How long a change was under way, from when it was first seen until it was no more."""
        if configuration.outgoing is not None:
            if self._changing_since_us is None:
                self._changing_since_us = now_us
        elif self._changing_since_us is not None:
            self._changes_us = [*self._changes_us, now_us - self._changing_since_us][-REPAIRS_KEPT:]
            self._changing_since_us = None
