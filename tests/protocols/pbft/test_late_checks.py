"""Results of signature checks that come when much has happened since they were asked for, in any order."""

from __future__ import annotations

from random import Random

import pytest

from protocols.pbft.cluster import Cluster
from protocols.pbft.scene import (
    SIZES,
    block_after,
    check_progress,
    prepare_of,
    propose_as,
    receive,
    requests,
    sign,
    signatures,
    started,
    tell,
)
from quorum.certificate.evidence import Equivocation, SignedVote
from quorum.certificate.keys import PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from quorum.certificate.vote import VoteKind
from quorum.protocols.pbft.messages import Accusation, Blocks, Commit, Forward, PrePrepare
from quorum.protocols.pbft.quotas import WRONG
from quorum.protocols.pbft.settings import Settings


def cut_off(cluster: Cluster, name: str) -> None:
    for other in cluster.committee.nodes:
        cluster.cut |= {(name, other), (other, name)}


def test_a_block_whose_parent_was_replaced_while_it_was_checked_is_not_prepared() -> None:
    """PBFT, section 4.3: a block follows the one before it, also when its check is done. n1, who lies, has one
    block decided by n2 and n3, and n4 prepare another; then it gives n4 one behind that."""
    cluster = started()
    one, other, third = requests(1, "a"), requests(1, "b"), requests(1, "c")
    first, second = block_after(cluster, None, *one), block_after(cluster, None, *other)
    behind = block_after(cluster, second.link(), *third)
    cut_off(cluster, "n4")
    cluster["n1"].crash()
    cluster.liars.add("n1")
    propose_as(cluster, "n1", 0, first, "n2", "n3")
    cluster.run(0)
    commit = Commit(0, 1, first.digest, sign(cluster, "n1", VoteKind.COMMIT, 0, 1, first.digest))
    for to in ("n2", "n3"):
        tell(cluster, "n1", to, commit)
    cluster.run(0)
    assert {cluster[name].state.commit_sequence for name in ("n2", "n3")} == {1}
    node = cluster["n4"]
    for block in (second, behind):
        vote = sign(cluster, "n1", VoteKind.PREPARE, 0, block.header.sequence, block.digest)
        receive(cluster, "n4", "n1", PrePrepare(0, block.header.sequence, vote), block.entry)
        cluster.late_checks.add("n4")
    assert node.state.chain.holds(1, second.digest) and len(node.checks) == 1
    certificate = signatures(cluster, ("n1", "n2", "n3"), VoteKind.COMMIT, 0, 1, first.digest)
    receive(cluster, "n4", "n2", Blocks(0, 1, (), certificate), first.entry)
    node.let_go(1, newest_first=True)
    assert node.state.commit_sequence == node.state.chain.last == 1
    node.let_go()
    assert (node.state.view, node.state.chain.last) == (0, 1)
    cluster.late_checks.clear()
    cluster.cut.clear()
    check_progress(cluster)


def test_a_request_that_is_decided_while_it_is_checked_waits_for_nothing() -> None:
    """Else it would be forwarded to the primary, and ordered again."""
    cluster = started()
    cluster.late_checks.add("n4")
    cluster.submit(*requests(1))
    node = cluster["n4"]
    request = node.checks.popleft()
    cluster.run(0)
    while node.checks:
        node.let_go()
        cluster.run(0)
    assert node.state.commit_sequence == 1
    node.checks.append(request)
    node.let_go()
    assert len(node.state.pending) == 0
    cluster.late_checks.clear()
    check_progress(cluster)
    assert len(cluster.requests_decided()) == 2


def test_a_request_that_is_not_decided_waits_although_another_check_of_it_failed() -> None:
    """The negative control: a forged copy of it, forwarded by a liar, is checked first."""
    cluster = started()
    cluster.late_checks.add("n2")
    (request,) = requests(1)
    cluster.liars.add("n4")
    node = cluster["n2"]
    forged = request[:PUBLIC_KEY_BYTES] + bytes(SIGNATURE_BYTES) + request[PUBLIC_KEY_BYTES + SIGNATURE_BYTES :]
    receive(cluster, "n2", "n4", Forward(0, (forged,)))
    cluster.submit(request, to=("n2",))
    node.let_go()
    assert len(node.state.pending) == 1
    cluster.late_checks.clear()
    check_progress(cluster, [request])


def test_two_that_show_the_same_lie_at_a_time_are_charged_nothing_for_it() -> None:
    """Whoever is charged too often is not heard for a turn, and in a large committee many are accused at once."""
    cluster = started(7, 2)
    cluster.liars |= {"n6", "n7"}
    cluster.late_checks.add("n1")
    first, second = (
        SignedVote("n7", VoteKind.PREPARE, 0, 1, vote.digest, vote.signature)
        for vote in (prepare_of(cluster, "n7", 0, 1, bytes([place]) * 32) for place in (1, 2))
    )
    accusation = Accusation(0, Equivocation(first, second))
    for _ in range(WRONG + 1):
        receive(cluster, "n1", "n3", accusation)
    cluster["n1"].let_go()
    assert cluster["n1"].state.liars == {"n7"}
    assert cluster["n1"].state.quotas.admits("n3", cluster["n1"].now_us, 0)


@pytest.mark.parametrize(("count", "faults"), SIZES)
@pytest.mark.parametrize("seed", range(4))
def test_results_in_any_order_and_late_lose_nothing(seed: int, count: int, faults: int) -> None:
    """Threads end in any order. One primary crashes on the way, so that claims and views are checked late, too."""
    cluster = Cluster(count, faults, seed, Settings(state_blocks=8, log_kept_blocks=4)).boot()
    draw = Random(seed)
    cluster.late_checks |= set(cluster.nodes)
    wanted = requests(12)
    for number, request in enumerate(wanted):
        cluster.submit(request)
        for _ in range(60):
            cluster.deliver()
            node = cluster[draw.choice(cluster.committee.nodes)]
            if node.checks and draw.random() < 0.3:
                node.let_go(1, draw.random() < 0.5)
        if number == 5:
            cluster["n1"].crash()
        cluster.run(100_000)
        if number == 9:
            cluster["n1"].boot()
    cluster.late_checks.clear()
    for node in cluster.nodes.values():
        node.let_go()
    check_progress(cluster, wanted)
