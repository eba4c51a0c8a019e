"""Members that may lie and whose weights follow a simulated network: what they approve of is checked."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, Final

from quorum.certificate.committee import Committee
from quorum.certificate.latency_report import LatencyReport, latency_statement
from quorum.checkers.violation import Violation
from quorum.membership.weight_proposals import following_from
from quorum.model import NodeId
from quorum.protocols.effects import Signed
from quorum.protocols.pbft.replica import PbftReplica
from quorum.runtime.committee_weigher import CommitteeWeigher, Pace
from quorum.runtime.driver import Driver
from quorum.runtime.echoes import Echoes
from quorum.runtime.ports import Ports
from quorum.sim.byzantine_adaptive import AdaptiveWorld
from quorum.sim.links import Wandering, lay_links
from quorum.sim.node import WEIGHED, SimNode

SECOND_US: Final = 1_000_000
ECHO_US: Final = SECOND_US // 4
QUICK_PACE: Final = Pace(report_us=SECOND_US // 2, period_us=3 * SECOND_US)
"""Seconds in a run stand for minutes."""


class WeighedCommitteeWorld(AdaptiveWorld):
    """Every node has a weigher beside its keeper. Checked at every change in which nobody leaves or joins: some
    honest member approved of it, by signed reports of N-T members, from which this committee and no other follows.
    """

    pace = QUICK_PACE
    weighers: dict[NodeId, CommitteeWeigher]

    def make_driver(self, node: SimNode, ports: Ports) -> Driver:
        if not hasattr(self, "weighers"):
            self.weighers = {}
            self.grounds: dict[bytes, dict[NodeId, tuple[LatencyReport, ...]]] = {}
            """Of each weighed committee: who approved of it, by which reports."""
        driver = super().make_driver(node, ports)
        assert isinstance(node.replica, PbftReplica), "members that may lie run PBFT"
        random = Random(f"{self.seed}/echoes/{node.node}/{node.life}")
        echoes = Echoes(node.replica, ports, random, ECHO_US, tells_leader=False)
        name, keeper = node.node, self.keepers[node.node]

        def approve(token: int, committee: Committee) -> None:
            self._approved(name, committee)
            driver.approve(token, committee)

        self.weighers[name] = CommitteeWeigher(
            node.replica,
            ports,
            echoes,
            approve,
            node.peer_misbehaved,
            lambda text: self.told(name, text),
            lambda: keeper.wish.changes,
            pace=self.pace,
        )
        driver.beside.echoes = echoes
        driver.attend(self.weighers[name])
        return driver

    def _approved(self, name: NodeId, committee: Committee) -> None:
        weigher = self.weighers[name]
        reports = weigher.approved_of[committee.membership_hash]
        if name not in self.liars:
            self.grounds.setdefault(committee.membership_hash, {})[name] = reports

    def _judge(self, before: Committee, after: Committee) -> None:
        super()._judge(before, after)
        if before.nodes == after.nodes:
            self._judge_weights(before, after)
            self.sometimes.reached(WEIGHED)

    def _judge_weights(self, before: Committee, after: Committee) -> None:
        grounds = self.grounds.get(after.membership_hash)
        if not grounds:
            raise Violation("liars alone change no weights", f"nobody honest approved of epoch {after.epoch}")
        for name, reports in sorted(grounds.items()):
            self._judge_grounds(name, before, after, reports)

    def _judge_grounds(
        self, name: NodeId, before: Committee, after: Committee, reports: tuple[LatencyReport, ...]
    ) -> None:
        by = {report.by for report in reports if self._is_report(report, before)}
        if len(by) < len(before.nodes) - before.faults:
            raise Violation(
                "N-T members' reports give weights", f"{name} approved by those of {sorted(by)}", (name,)
            )
        follow = [following_from(before, primary, reports) for primary in before.nodes]
        if not any(found is not None and found.committee == after for found in follow):
            raise Violation("weights follow from reports", f"{name} approved of others in {after.epoch}", (name,))

    def _is_report(self, report: LatencyReport, committee: Committee) -> bool:
        key = committee.keys.get(report.by, b"")
        is_right = self.verifier.is_right(Signed(key, latency_statement(report, committee), report.signature))
        return is_right and report.epoch == committee.epoch

    def lay_links(self, rtt_us: Mapping[tuple[NodeId, NodeId], int]) -> None:
        """Let links take half of these round trips each way."""
        lay_links(self, rtt_us)


class RestlessCommitteeWorld(WeighedCommitteeWorld):
    """Its links change every few seconds, by the seed, and weights follow as fast as they may, until `calm_us`."""

    def __init__(self, *given: Any, calm_us: int, **named: Any) -> None:
        super().__init__(*given, **named)
        self._links = Wandering(self, calm_us)

    def boot(self) -> None:
        self._links.move()
        super().boot()
