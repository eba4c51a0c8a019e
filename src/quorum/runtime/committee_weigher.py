"""Weights that follow the network where members may lie: reports that all members have, proposals of the primary,
and a member's own approval of what follows from them.

The mechanism of the change is the protocol's (protocols.pbft); which proposals a member takes up is decided by
membership.weight_proposals. It runs beside the driver on every member, in production and simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from msgspec.structs import replace

from quorum.certificate.approval import check_following
from quorum.certificate.committee import Committee
from quorum.certificate.evidence import Evidence
from quorum.certificate.latency_report import LatencyReport, flaws_of_report, latency_statement, rows_of
from quorum.errors import ConfigurationError, QuorumError, RemoteProtocolError
from quorum.membership.weighing import PERIOD_US, Weighed
from quorum.membership.weight_proposals import MEMBERS_MAX, REPORT_US, WeightProposals, following_from
from quorum.model import NodeId
from quorum.protocols.effects import Signed
from quorum.protocols.pbft.replica import PbftReplica
from quorum.runtime.echoes import Echoes
from quorum.runtime.messages import OF_WEIGHTS, ProposeWeights, ReportLatency
from quorum.runtime.ports import Ports

TIMER: Final = "weights"
TOKENS: Final = -(1 << 40)
"""Approvals have tokens below this."""
MESSAGES_A_TURN: Final = 4
"""So many messages of one member are read in a turn; an honest one sends two."""
SENT_TURNS: Final = 4
"""A proposal is sent so often, as messages get lost."""

Approve: TypeAlias = Callable[[int, Committee], None]
Blame: TypeAlias = Callable[[NodeId, str], None]
Tell: TypeAlias = Callable[[str], None]
Outcome: TypeAlias = Weighed | None
Reckon: TypeAlias = Callable[[Callable[[], Outcome], Callable[[Outcome], None]], None]
"""Does the first, perhaps away from the loop, and then calls the second on the loop with what came out."""


def in_place(work: Callable[[], Outcome], done: Callable[[Outcome], None]) -> None:
    """At once."""
    done(work())


class Pace(NamedTuple):
    """In microseconds: how often a member reports, and how long an epoch lasts before weights may change."""

    report_us: int = REPORT_US
    period_us: int = PERIOD_US


USUAL_PACE: Final = Pace()


class CommitteeWeigher:
    """runtime.ports.Attendant of one node. `approve` is the driver's; `blame` hears of a node that sent what no
    honest one does, `tell` of what an operator should know. `is_busy`: whether somebody should leave or join,
    which goes first. `reckon` runs the search for a placement, which takes long in a large committee.

    I1  reports count once their signatures are verified, and never before.
    I2  this member approves of nothing but what follows from the reports that the primary of its view showed it.
    """

    timer = TIMER

    def __init__(
        self,
        replica: PbftReplica,
        ports: Ports,
        echoes: Echoes,
        approve: Approve,
        blame: Blame,
        tell: Tell,
        is_busy: Callable[[], bool] = lambda: False,
        reckon: Reckon = in_place,
        pace: Pace = USUAL_PACE,
    ) -> None:
        self._replica, self._state = replica, replica.state
        self._transport, self._timers = ports.transport, ports.timers
        self._clock, self._verifier = ports.clock, ports.verifier
        self._echoes, self._reckon, self._pace = echoes, reckon, pace
        self._approve_by_driver, self._blame, self._tell = approve, blame, tell
        self._is_busy = is_busy
        self._token = TOKENS
        self._number = 0
        self._heard: dict[NodeId, int] = {}
        self._stand_in(replica.state.committee)

    def _stand_in(self, committee: Committee) -> None:
        self._committee = committee
        self.proposals = WeightProposals(
            committee, self._clock.now_us(), self._pace.period_us, self._pace.report_us
        )
        self.approved_of: dict[bytes, tuple[LatencyReport, ...]] = {}
        """The committees that this member approved of in this epoch, by hash, and the reports they follow from."""
        self._proposal: tuple[NodeId, ProposeWeights] | None = None
        self._sends = 0
        self._reckoning = False
        self.why_not = "round trips are being measured."
        """What was made of the last look, for operators."""

    # runtime.ports.Attendant.

    def start(self, notes: dict[str, bytes]) -> None:
        """The replica has begun."""
        self._follow()
        self._timers.set(TIMER, self._pace.report_us)

    def heard(self, sender: NodeId, message: object) -> bool:
        """A message came."""
        kind = type(message)
        if kind not in _OWN:
            return False
        self._heard[sender] = self._heard.get(sender, 0) + 1
        self._follow()
        if self._heard[sender] > MESSAGES_A_TURN or sender not in self._committee.keys:
            return True
        try:
            if kind is ReportLatency:
                self._on_report(sender, message.report)  # type: ignore[attr-defined]
            else:
                self._on_proposal(sender, message)  # type: ignore[arg-type]
        except RemoteProtocolError as error:
            self._heard[sender] = MESSAGES_A_TURN
            self._blame(error.sender, error.what)
        return True

    def accused(self, evidence: Evidence) -> None:
        """The keeper's business."""

    def approved(self, token: int, error: QuorumError | None) -> bool:
        """An approval of this one's is durable, or was refused."""
        if token >= TOKENS:
            return False
        if error is not None:
            self.why_not = str(error)
        return True

    def fired(self) -> None:
        """One turn: report, and propose."""
        self._timers.set(TIMER, self._pace.report_us)
        self._heard.clear()
        self._follow()
        if not self._state.is_member:
            return
        if self.proposals.is_too_large:
            self.why_not = f"a committee of more than {MEMBERS_MAX} members keeps its weights."
            return
        self._report()
        if self._replica.leader != self._state.node:
            self._follow_primary()
        elif self._proposal is not None and self._sends < SENT_TURNS:
            self._send_proposal()
        else:
            self._look()

    def _follow_primary(self) -> None:
        """Another member is the primary."""
        self._proposal = None
        if not self.approved_of:
            leader = self._replica.leader
            self.why_not = "no primary is known." if leader is None else f"{leader} looks, as the primary."

    def _follow(self) -> None:
        """Another committee acts: what was reported in the epoch before counts no more."""
        if self._state.committee is not self._committee:
            self._stand_in(self._state.committee)

    def round_trips(self) -> dict[NodeId, dict[NodeId, int]]:
        """What members reported of late, by the member that measured it, in microseconds."""
        return {by: dict(row) for by, row in rows_of(self.proposals.fresh(self._clock.now_us())).items()}

    # Reports.

    def _report(self) -> None:
        state, now_us = self._state, self._clock.now_us()
        members, row = self._committee.keys, self._echoes.row()
        took_us = tuple((node, us) for node, us in sorted(row.items()) if node in members)
        self._number = max(now_us, self._number + 1)
        report = LatencyReport(state.node, self._committee.epoch, self._number, took_us, b"")
        signature = state.sign_bytes(latency_statement(report, self._committee))
        report = replace(report, signature=signature)
        self.proposals.take(report, now_us)
        self._broadcast(ReportLatency(report))

    def _on_report(self, sender: NodeId, report: LatencyReport) -> None:
        """Each member's own alone."""
        if report.epoch != self._committee.epoch:
            return
        if report.by != sender:
            raise RemoteProtocolError(sender, f"sent a report of round trips by {report.by[:80]}")
        if flaw := flaws_of_report(report, self._committee):
            raise RemoteProtocolError(sender, f"sent {flaw}")
        if self.proposals.is_news(report, self._clock.now_us()):
            self._check(sender, (report,), lambda: self.proposals.take(report, self._clock.now_us()))

    def _check(self, sender: NodeId, reports: Sequence[LatencyReport], then: Callable[[], None]) -> None:
        committee = self._committee

        def verified(results: tuple[bool, ...]) -> None:
            if not all(results):
                self._blame(sender, "sent a report of round trips with a signature that is wrong")
            elif self._committee is committee:
                then()

        self._verifier.verify(
            [
                Signed(committee.keys[report.by], latency_statement(report, committee), report.signature)
                for report in reports
            ],
            verified,
        )

    # Proposals.

    def _look(self) -> None:
        """As the primary: see whether other weights gain."""
        now_us, node = self._clock.now_us(), self._state.node
        if self._reckoning or not self.proposals.looks(now_us):
            return
        if self._is_busy():
            self.why_not = "somebody should leave or join first."
            return
        reports = self.proposals.fresh(now_us)
        if len(reports) < self.proposals.needed:
            self.why_not = f"{len(reports)} of {len(self._committee.nodes)} report their round trips."
            return
        self.proposals.looked(now_us)

        def propose(outcome: Outcome) -> None:
            if outcome is None:
                self.why_not = "no other weights gain enough."
            elif self._may_go_on(node):
                self._proposal = node, ProposeWeights(self._committee.epoch, reports)
                self._sends = 0
                self._send_proposal()
                self._agree(reports, outcome)

        self._start(node, reports, propose)

    def _send_proposal(self) -> None:
        assert self._proposal is not None, "there is one to send"
        self._sends += 1
        self._broadcast(self._proposal[1])

    def _start(self, primary: NodeId, reports: tuple[LatencyReport, ...], then: Callable[[Outcome], None]) -> None:
        """Compute what follows from these reports; one at a time."""
        committee = self._committee
        self._reckoning = True
        if primary != self._state.node:
            self.proposals.heed(primary, self._clock.now_us())

        def done(outcome: Outcome) -> None:
            if self._committee is committee:
                self._reckoning = False
                then(outcome)

        self._reckon(lambda: following_from(committee, primary, reports), done)

    def _may_go_on(self, primary: NodeId) -> bool:
        """That took a while: whether the primary is the same, and still nobody should leave or join."""
        return self._replica.leader == primary and not self._is_busy()

    def _on_proposal(self, sender: NodeId, message: ProposeWeights) -> None:
        if message.epoch != self._committee.epoch or sender != self._replica.leader or not self._state.is_member:
            return
        reports = message.reports
        if len(reports) > len(self._committee.nodes):
            raise RemoteProtocolError(sender, f"proposed weights with {len(reports)} reports")
        for report in reports:
            if flaw := flaws_of_report(report, self._committee):
                raise RemoteProtocolError(sender, f"proposed weights with {flaw}")
        if self._reckoning or self._is_busy() or self.proposals.why_not(sender, reports, self._clock.now_us()):
            return

        def agree(outcome: Outcome) -> None:
            if outcome is None:
                self._blame(sender, "proposed weights with reports from which none follow")
            elif self._may_go_on(sender):
                self._agree(reports, outcome)

        unknown = [report for report in reports if not self.proposals.holds(report)]
        self._check(sender, unknown, lambda: self._start_for(sender, reports, agree))

    def _start_for(
        self, sender: NodeId, reports: tuple[LatencyReport, ...], agree: Callable[[Outcome], None]
    ) -> None:
        """The signatures are right; meanwhile another proposal may have been taken up."""
        if not self._reckoning and not self.proposals.why_not(sender, reports, self._clock.now_us()):
            self._start(sender, reports, agree)

    def _agree(self, reports: tuple[LatencyReport, ...], weighed: Weighed) -> None:
        """Approve of what follows from the reports."""
        wanted = weighed.committee
        try:
            check_following(self._state.epochs.newest, self._state.epochs.used, wanted)
        except ConfigurationError as error:
            self.why_not = str(error)
            return
        if wanted.membership_hash not in self.approved_of:
            self.proposals.approved()
        self.approved_of[wanted.membership_hash] = reports
        self.why_not = (
            f"a decision should take {weighed.predicted_us} us instead of {weighed.present_us} us, under "
            f"{weighed.primary}."
        )
        self._tell(f"approving of epoch {wanted.epoch}: other weights, {self.why_not}")
        self._token -= 1
        self._approve_by_driver(self._token, wanted)

    def _broadcast(self, message: object) -> None:
        for other in self._committee.nodes:
            if other != self._state.node:
                self._transport.send(other, message, ())


_OWN = frozenset(OF_WEIGHTS)
