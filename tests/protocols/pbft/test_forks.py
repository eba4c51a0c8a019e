"""Beyond the bound: more than T members lie, two honest ones decide different blocks, and whoever holds the two
certificates, and the view changes between them, names T+1 liars and nobody else.

Rows 36 and 37 of the adversarial checklist (tests/README.md).
"""

from __future__ import annotations

import pytest

from protocols.pbft.forked import ForkedCluster, claimed, claims_of
from protocols.pbft.scene import SIZES, propose_as, view_change_of
from quorum.certificate.block import BlockCertificate
from quorum.certificate.conflict import Conflict, blame, conflict_of
from quorum.certificate.evidence import Equivocation, HiddenVote, accused, verify_evidence
from quorum.certificate.trust import LightBlock
from quorum.certificate.vote import VoteKind
from quorum.protocols.pbft.messages import ViewChange
from quorum.protocols.pbft.view_change import leave_view


def conflict_in(cluster: ForkedCluster, first: BlockCertificate, second: BlockCertificate) -> Conflict:
    blocks = [LightBlock(cluster.committee, each) for each in (first, second)]
    conflict, reasons = conflict_of(*blocks)
    assert conflict is not None, reasons
    return conflict


def check_named(cluster: ForkedCluster, evidence: tuple) -> None:
    assert [accused(each) for each in evidence] == sorted(cluster.lying)
    assert len(evidence) > cluster.committee.faults
    assert all(verify_evidence(each, cluster.committee).valid for each in evidence)


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_36_37_two_blocks_decided_in_one_view_name_t_plus_1(count: int, faults: int) -> None:
    cluster = ForkedCluster(count, faults)
    one, other = cluster.blocks()
    first = cluster.decide(one, 0, cluster.halves[0])
    second = cluster.decide(other, 0, cluster.halves[1])
    evidence = blame(conflict_in(cluster, first, second), cluster.committee)
    check_named(cluster, evidence)
    assert all(isinstance(each, Equivocation) for each in evidence)


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_36_37_a_block_lost_in_a_view_change_names_t_plus_1(count: int, faults: int) -> None:
    """A quorum voted to commit in view 0; the claims of view 1 know nothing of it."""
    cluster = ForkedCluster(count, faults)
    one, other = cluster.blocks()
    first = cluster.decide(one, 0, cluster.halves[0])
    claims = cluster.begin_view(1, cluster.halves[1])
    second = cluster.decide(other, 1, cluster.halves[1])
    conflict = conflict_in(cluster, first, second)
    assert blame(conflict, cluster.committee) == (), "the certificates alone name nobody: they are of two views"
    evidence = blame(conflict, cluster.committee, claims)
    check_named(cluster, evidence)
    assert all(isinstance(each, HiddenVote) for each in evidence)


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_36_37_a_claim_of_another_block_of_that_view_names_t_plus_1(count: int, faults: int) -> None:
    """Liars prepared both blocks of view 0, and claim the one that was not decided: they hide nothing, but the
    claims of the two halves hold their two votes to prepare."""
    cluster = ForkedCluster(count, faults)
    one, other = cluster.blocks()
    left, right = cluster.halves
    first = cluster.decide(one, 0, left)
    propose_as(cluster, "n1", 0, other, *right)
    cluster.run(0)
    cluster.half_votes(other, 0, right, (VoteKind.PREPARE,))
    claim, proof = claimed(cluster, (*cluster.lying, *right), 0, other.digest)
    odd = [(name, view_change_of(cluster, name, 1, claim, proof)) for name in cluster.lying]
    claims = cluster.begin_view(1, right, *odd)
    assert all(each.claim == claim for each in claims), "nothing is hidden"
    cluster.half_votes(other, 1, right, (VoteKind.PREPARE, VoteKind.COMMIT))
    state = cluster[right[0]].state
    second = state.certify(1, *state.certificates[1])
    assert second.view == 1 and second.header.digest() == other.digest
    conflict = conflict_in(cluster, first, second)
    assert blame(conflict, cluster.committee, claims) == ()
    honest = [(name, view_change_of_left(cluster, name)) for name in left]
    evidence = blame(conflict, cluster.committee, (*claims, *claims_of(tuple(honest))))
    check_named(cluster, evidence)


def view_change_of_left(cluster: ForkedCluster, name: str) -> ViewChange:
    """What an honest member of the other half says when it leaves view 0."""
    state = cluster[name].state
    leave_view(state, 1)
    state.out.clear()
    assert state.own_view_change is not None
    return state.own_view_change  # type: ignore[no-any-return]
