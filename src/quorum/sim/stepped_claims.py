"""What must hold at the end of every run of stepped replicas, whatever its liars did."""

from __future__ import annotations

from collections.abc import Sequence

from quorum.certificate.evidence import Equivocation, HiddenVote, accused, verify_evidence, votes_of
from quorum.sim.stepped import SETTINGS, Cluster, request_of

TIMEOUTS_US = 10 * SETTINGS.view_timeout_us
"""After faults stop, this is enough for progress."""


def check_blame(cluster: Cluster) -> None:
    """Nobody honest is named by any honest member's reports, and what evidence there is convinces anybody."""
    for node in cluster.honest():
        for report in node.reports:
            assert report.node in cluster.liars, f"{node.name} blames {report.node}: {report.what}"
            if report.evidence is not None:
                assert accused(report.evidence) == report.node
                committee = node.state.epochs.committee_of(votes_of(report.evidence)[0].view)
                assert committee is not None and verify_evidence(report.evidence, committee).valid


def check_progress(cluster: Cluster, wanted: Sequence[bytes] = (), within_us: int = TIMEOUTS_US) -> None:
    """Whatever was to be decided is, with one more request, at every honest member; all in the same order, each
    once; and nobody honest is blamed. Agreement itself is checked by the cluster with each decision.

    Raises AssertionError."""
    last = request_of("end", cluster.now_us + 1)
    cluster.submit(*wanted, last)
    cluster.run(within_us)
    for node in cluster.honest():
        assert node.replica is not None, f"{node.name} is down"
    reached = {node.name: node.state.commit_sequence for node in cluster.honest()}
    assert len(set(reached.values())) == 1, f"members are at {reached}"
    decided = cluster.requests_decided()
    missing = [each for each in [*wanted, last] if each not in decided]
    assert not missing, f"{len(missing)} requests were not decided, at {reached}"
    check_blame(cluster)


def accusations(cluster: Cluster, node: str) -> list[Equivocation | HiddenVote]:
    """The evidence that honest members have against a member."""
    found = [report.evidence for other in cluster.honest() for report in other.reports]
    return [evidence for evidence in found if evidence is not None and accused(evidence) == node]
