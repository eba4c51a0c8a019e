"""What convinces others: certificates verified offline, and evidence that never names an honest member.

Rows 35 to 37 of the adversarial checklist (tests/README.md).
"""

from __future__ import annotations

from itertools import pairwise, product

import msgspec
import pytest

from protocols.pbft.cluster import Cluster, committee_of, request_of
from protocols.pbft.scene import (
    EVERY_SIZE,
    SIZES,
    accusations,
    block_after,
    check_progress,
    complaints,
    order,
    propose_as,
    receive,
    sign,
    signatures,
    started,
)
from quorum.certificate.block import BlockCertificate, verify_block
from quorum.certificate.committee import Committee
from quorum.certificate.evidence import Equivocation, SignedVote, verify_evidence
from quorum.certificate.vote import VoteKind
from quorum.protocols.pbft.messages import Blocks, Commit


def certificate_of(cluster: Cluster, node: str = "n2", sequence: int = 1) -> BlockCertificate:
    state = cluster[node].state
    view, votes = state.certificates[sequence]
    return state.certify(sequence, view, votes)


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_35_every_decided_block_has_a_certificate_that_convinces_offline(count: int, faults: int) -> None:
    cluster = started(count, faults)
    order(cluster, 5)
    for node in cluster.nodes:
        for sequence in range(1, 6):
            verdict = verify_block(certificate_of(cluster, node, sequence), cluster.committee)
            assert verdict.valid and verdict.signed
    check_progress(cluster)


def spoilt_certificates(cluster: Cluster) -> dict[str, BlockCertificate]:
    good = certificate_of(cluster)
    votes = good.signatures
    quorum = tuple(member for member, _ in votes)
    digest = good.header.digest()
    prepares = signatures(cluster, quorum, VoteKind.PREPARE, good.view, 1, digest)
    wrong = {
        "one too few": votes[:-1],
        "a signer twice": (*votes[:-1], votes[-2]),
        "a bad signature": (*votes[:-1], (votes[-1][0], bytes(64))),
        "another member's signature": (*votes[:-1], (votes[-1][0], votes[0][1])),
        "in another order": votes[::-1],
        "votes to prepare": prepares,
        "a stranger": (("n0", votes[0][1]), *votes[1:]),
    }
    made = {name: msgspec.structs.replace(good, signatures=tuple(each)) for name, each in wrong.items()}
    made["another view"] = msgspec.structs.replace(good, view=good.view + 1)
    made["another epoch"] = msgspec.structs.replace(good, epoch=2)
    made["another cluster"] = msgspec.structs.replace(good, cluster="other")
    return made


SPOILT = (
    "one too few",
    "a signer twice",
    "a bad signature",
    "another member's signature",
    "in another order",
    "votes to prepare",
    "a stranger",
    "another view",
    "another epoch",
    "another cluster",
)


@pytest.mark.parametrize("way", SPOILT)
@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_35_nothing_else_does(count: int, faults: int, way: str) -> None:
    cluster = started(count, faults)
    order(cluster, 1)
    assert not verify_block(spoilt_certificates(cluster)[way], cluster.committee).valid
    check_progress(cluster)


@pytest.mark.parametrize("way", sorted(set(SPOILT) - {"another epoch", "another cluster"}))
def test_row_35_a_member_that_catches_up_believes_the_same_certificates_as_whoever_verifies_offline(
    way: str,
) -> None:
    """The two that are left out cannot be said on the wire: cluster and epoch follow from the view."""
    cluster = started()
    cluster.cut = {(a, b) for a in cluster.nodes for b in cluster.nodes if "n4" in (a, b)}
    order(cluster, 1)
    cluster.liars.add("n1")
    good, spoilt = certificate_of(cluster), spoilt_certificates(cluster)[way]
    entry, behind = cluster["n2"].disk.entries[0], cluster["n4"]
    receive(cluster, "n4", "n1", Blocks(spoilt.view, 1, (), spoilt.signatures), entry)
    cluster.run(0)
    assert behind.state.commit_sequence == 0 and "certificate that is wrong" in " ".join(complaints(cluster, "n1"))
    receive(cluster, "n4", "n1", Blocks(good.view, 1, (), good.signatures), entry)
    cluster.run(0)
    assert behind.state.commit_sequence == 1


def test_row_35_46_a_certificate_fails_on_another_epoch_of_the_same_members() -> None:
    cluster = started()
    order(cluster, 1)
    committee = cluster.committee
    later = Committee(committee.cluster, 2, committee.members, committee.faults)
    assert not verify_block(certificate_of(cluster), later).valid
    renamed = msgspec.structs.replace(certificate_of(cluster), epoch=2)
    assert not verify_block(renamed, later).valid


def test_row_36_headers_lead_from_any_block_to_a_certificate_and_no_other_chain_does() -> None:
    """A certificate covers every block before its own: a skip is checked header by header, and needs no vote."""
    cluster = started()
    order(cluster, 6)
    chain = cluster["n2"].state.chain
    links = chain.links(1, 6)
    assert all(after.header.parent == before.digest for before, after in pairwise(links))
    forged = msgspec.structs.replace(links[2].header, requests_root=bytes(32))
    assert links[3].header.parent != forged.digest()


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_36_37_two_certificates_for_one_place_name_more_members_than_may_lie(count: int, faults: int) -> None:
    """Beyond the bound a fork is possible; who signed both is named, T+1 at least, and all of them lied."""
    cluster = started(count, faults)
    order(cluster, 1)
    good = certificate_of(cluster)
    names, quorum = cluster.committee.nodes, len(good.signatures)
    header = msgspec.structs.replace(good.header, time_us=good.header.time_us + 1)
    others = names[-quorum:]
    forged = signatures(cluster, others, VoteKind.COMMIT, 0, 1, header.digest())
    fork = BlockCertificate(good.cluster, good.epoch, 0, header, forged)
    assert verify_block(fork, cluster.committee).valid
    first, second = dict(good.signatures), dict(fork.signatures)
    both = sorted(set(first) & set(second))
    assert len(both) > faults
    for member in both:
        votes = [
            SignedVote(member, VoteKind.COMMIT, 0, 1, each.header.digest(), signed[member])
            for each, signed in ((good, first), (fork, second))
        ]
        assert verify_evidence(Equivocation(*votes), cluster.committee).valid


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_37_liars_beyond_the_bound_are_named_and_nobody_else_is(count: int, faults: int) -> None:
    """T+1 liars, the primary among them, vote for two blocks at one place in halves of the cluster: each of them
    is named by whoever holds its two signatures."""
    cluster = started(count, faults)
    liars = cluster.committee.nodes[: faults + 1]
    honest = [name for name in cluster.nodes if name not in liars]
    cluster.liars |= set(liars)
    cluster.filter = lambda source, to, message, attached: [] if source in liars else [(message, attached)]
    halves = honest[: len(honest) // 2], honest[len(honest) // 2 :]
    cluster.cut = {(a, b) for a in halves[0] for b in halves[1]} | {(b, a) for a in halves[0] for b in halves[1]}
    blocks = [block_after(cluster, None, request_of(client, 1)) for client in "ab"]
    for half, block in zip(halves, blocks, strict=True):
        propose_as(cluster, "n1", 0, block, *half)
    cluster.run(0)
    for name in honest:
        for each, block in product(liars, blocks):
            vote = sign(cluster, each, VoteKind.COMMIT, 0, 1, block.digest)
            receive(cluster, name, each, Commit(0, 1, block.digest, vote))
    for each in liars:
        assert accusations(cluster, each)
    for name in honest:
        assert not accusations(cluster, name)
        assert all(report.node in liars for report in cluster[name].reports)


def test_row_35_the_committee_of_the_tests_is_sound() -> None:
    from quorum.certificate.committee import check_committee

    for count, faults in EVERY_SIZE:
        check_committee(committee_of(count, faults))
