"""What the leader of a Raft cluster does for its members: looks at them, and lets a policy choose who votes.

Everything that decides is pure and elsewhere (membership.adaptation). Here are the observations, taken from what
the leader's replica knows anyway, and the way of a proposal into the log, which is that of an operator's change.

I1  at most one change of the steward's own is under way. One that waits for a standby that does not catch up
    within the hold time gives way to another one, if the policy has one without that standby; the protocol lets
    whoever asked for a change ask for another instead, while nothing of the first is in the log. The standby then
    counts as one whose return did not last, so that it is not chosen again soon, and each time later.
I2  weights and the lead follow the network only where the policy leaves the committee as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from quorum.errors import NotLeader, Overloaded, QuorumError
from quorum.membership.adaptation import Adaptation, Proposal
from quorum.membership.detector import Detector
from quorum.membership.health import HELD, NEW, Health
from quorum.membership.latency import Reports
from quorum.membership.observation import Limits, Observation
from quorum.membership.policy import Policy, policy_of
from quorum.membership.reconfiguration import Reseat, apply_change, standbys
from quorum.membership.weighing import WeightTuning
from quorum.model import Configuration, NodeId
from quorum.protocols.raft.replica import RaftReplica

MISSED_WEIGHT = 0.02
"""How much the newest turn counts in the share of turns in which a member was late: 50 turns are remembered."""
LATE_TURNS = 10
"""Late is who lacks what was decided so many turns ago, about an election timeout: a learner that is to vote must
be no later (Ongaro 2014, section 4.2.1). A member that is well and far away is not late."""


class RaftSteward:
    """runtime.ports.Steward over a Raft replica. `function` is the user's own policy, for `custom`."""

    def __init__(
        self, replica: RaftReplica, period_us: int, limits: Limits | None = None, function: Policy | None = None
    ) -> None:
        self._replica = replica
        self.period_us = period_us
        self.leads = False
        self._function = function
        self.adaptation = Adaptation(policy_of("fixed"), 0, 0, limits=limits)
        self._limits = self.adaptation.health.limits
        self.why_not = ""
        """Why the newest change that was wanted has not been made; empty: it has, or nothing is wanted."""
        self._reports: Callable[[], Reports] | None = None
        self._new_tuning: Callable[[], WeightTuning] = WeightTuning
        self.tuning = WeightTuning()
        self._begin(0)

    def follow_network(
        self, reports: Callable[[], Reports], new_tuning: Callable[[], WeightTuning] = WeightTuning
    ) -> None:
        """Let weights and the lead follow what members report of their round trips."""
        self._reports = reports
        self._new_tuning = new_tuning
        self.tuning = new_tuning()

    def _begin(self, now_us: int) -> None:
        self._detector = Detector(self.period_us)
        self._heard_us: dict[NodeId, int] = {}
        self._missed: dict[NodeId, float] = {}
        self._decided = deque([0], LATE_TURNS)
        self._due_us = now_us + self.period_us
        self._pending = False
        self._asked: Configuration | None = None
        self._asked_us = 0
        self._retry_us = 0
        self._now_us = now_us
        self._successor: NodeId | None = None
        self.tuning = self._new_tuning()

    @property
    def has_function(self) -> bool:
        """Whether this node has the user's own function, for the custom policy."""
        return self._function is not None

    def lead(self, leads: bool, now_us: int) -> bool:
        """Whoever begins to lead knows nothing of the others yet; what outlives a leader is in the
        configuration."""
        begins = leads and not self.leads
        self.leads = leads
        if begins:
            limits = self._limits
            self.adaptation = Adaptation(policy_of("fixed"), 0, 0, limits=limits)
            self._begin(now_us)
        return begins

    def turn(self, now_us: int) -> Configuration | None:
        """Look at the members; the configuration that should follow the present one, if another should."""
        if not self.leads:
            return None
        self._now_us = now_us
        self._detector.ran(self._due_us, now_us)
        self._due_us = now_us + self.period_us
        present = self._replica.configuration
        observed = self._observe(present, now_us)
        adaptation = self.adaptation
        if self._is_patience_over(now_us):
            adaptation.health.fall_short(self._awaited(), now_us)
        nodes = len({*present.voters, *standbys(present)})
        adaptation.follow(policy_of(present.policy, self._function), nodes, present.faults, present.floor)
        proposal = adaptation.step(present, self._replica.node, observed, now_us)
        if proposal is None:
            if self._pending or now_us < self._retry_us:
                return None  # I1
            self.why_not = adaptation.refused
            return None if adaptation.refused else self._weigh(present, now_us)
        return self._target(present, proposal, now_us)

    def _target(self, present: Configuration, proposal: Proposal, now_us: int) -> Configuration | None:
        awaited = self._awaited()
        if now_us < self._retry_us or ((self._pending or awaited) and not self._comes_first(proposal, awaited)):
            return None  # I1
        self._pending = True
        self._asked, self._asked_us = apply_change(present, Reseat(proposal.seats), now_us), now_us
        return self._asked

    def _awaited(self) -> frozenset[NodeId]:
        """Who is to catch up before a change of the steward's own can begin."""
        change = self._replica.state.pending_change
        if change is None or change.entered or change.target != self._asked:
            return frozenset()
        return frozenset(change.arriving) - change.ready

    def _is_patience_over(self, now_us: int) -> bool:
        """Whether who was to vote has had its time to catch up: it was well when it was chosen, so it lacks
        little."""
        return now_us - self._asked_us >= self._limits.hold_us

    def _comes_first(self, proposal: Proposal, awaited: frozenset[NodeId]) -> bool:
        """Whether a proposal is made in place of a change that waits for a standby: one without it, after its
        time; or at once, where who is lost is put out and the standby is lost, too."""
        if not awaited or not awaited.isdisjoint(proposal.promote):
            return False
        if self._is_patience_over(self._now_us):
            return True
        phis = [self._detector.phi(node, self._now_us) for node in awaited]
        return not proposal.promote and max(phis) >= self._limits.suspect_phi

    def _weigh(self, present: Configuration, now_us: int) -> Configuration | None:
        """I2."""
        if self._reports is None:
            return None
        tuned = self.tuning.step(present, self._replica.node, self._reports(), now_us)
        if tuned is None:
            return None
        self._successor = tuned.leader
        if tuned.change is None:
            return None
        self._pending = True
        return apply_change(present, tuned.change, now_us)

    @property
    def weighing(self) -> str:
        """What following the network has come to; empty where weights do not."""
        if self._reports is None or not self.leads:
            return ""
        return self.tuning.refused or "weights, or the lead, are being moved."

    def successor(self) -> NodeId | None:
        """Who should lead, once the weights that suit it are in force."""
        if self._pending or self._successor is None:
            return None
        self._pending = True
        successor, self._successor = self._successor, None
        return successor

    def done(self, error: QuorumError | None) -> None:
        """A change that another one was before is wanted again at once; what failed waits for a while."""
        self._pending = False
        self.why_not = "" if error is None else str(error)
        if error is not None:
            self._successor = None
        if error is not None and not isinstance(error, Overloaded | NotLeader):
            self._retry_us = self._now_us + self._limits.hold_us

    def explained(self) -> dict[NodeId, str]:
        """Why each member votes, or does not, since when, and what would change that, as this leader sees it;
        nothing where this node does not lead."""
        if not self.leads:
            return {}
        health, present = self.adaptation.health, self._replica.configuration
        voting = frozenset(present.electors)
        if present.policy == "fixed":
            return {node: _under_fixed(node, each, node in voting) for node, each in health.items()}
        return {node: health.explain(node, self._now_us, node in voting) for node, _ in health.items()}

    def states(self) -> dict[NodeId, str]:
        """How each member is, in a word or two; nothing where this node does not lead."""
        return {node: each.state for node, each in self.adaptation.health.items()} if self.leads else {}

    def _observe(self, present: Configuration, now_us: int) -> list[Observation]:
        state, detector = self._replica.state, self._detector
        held = {seat.node for seat in present.seats if seat.reason == HELD}
        detector.watch(state.progress, now_us)
        observed = [Observation(state.node, held=state.node in held)]
        for node in present.members:
            progress = state.progress.get(node)
            if progress is None:
                continue
            if progress.heard_us > self._heard_us.get(node, 0):
                self._heard_us[node] = progress.heard_us
                detector.heard(node, progress.heard_us)
            missed = self._missed.get(node, 0.0)
            missed += MISSED_WEIGHT * ((progress.match < self._decided[0]) - missed)
            self._missed[node] = missed
            lag = max(0, state.commit_index - progress.match)
            phi = detector.phi(node, now_us)
            if node not in self._heard_us and node not in present.voters:
                phi = max(phi, self._limits.suspect_phi)  # never heard by this leader: not known to be well
            observed.append(Observation(node, phi, lag, missed=missed, held=node in held))
        self._decided.append(state.commit_index)
        return observed


def _under_fixed(node: NodeId, health: Health, votes: bool) -> str:
    """What the fixed policy makes of a member: nothing; but people may."""
    has = f"{node} {'has a vote' if votes else 'has no vote'}"
    if health.state in ("well", HELD, NEW, "returning"):
        return f"{has}."
    return f"{has}, and is {health.reason or health.state}: whether it keeps its vote is for an operator to say."
