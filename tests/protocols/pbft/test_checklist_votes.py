"""Members that contradict themselves: liars by intent, by two lives at once, or by a disk that was lost.

Rows 1 to 6, 22, 23 and 46 of the adversarial checklist (tests/README.md).
"""

from __future__ import annotations

from random import Random

import pytest

from protocols.pbft.cluster import Cluster, committee_of, request_of
from protocols.pbft.scene import (
    SIZES,
    TIMEOUTS_US,
    accusations,
    block_after,
    check_blame,
    check_one_vote_a_place,
    check_progress,
    complaints,
    liar,
    lie,
    order,
    prepare_of,
    propose_as,
    receive,
    requests,
    sent_votes,
    sign,
    started,
    views,
)
from quorum.certificate.evidence import Equivocation
from quorum.certificate.vote import SigningDomain, VoteKind
from quorum.protocols.pbft.messages import Commit, Prepare, PrePrepare, ViewChange, Votes


def equivocate(cluster: Cluster) -> None:
    """n1, the primary, proposes one block to half of the others, another one to the rest, and is silent."""
    one, other = (block_after(cluster, None, request_of(client, 1)) for client in "ab")
    names = cluster.committee.nodes[1:]
    lie(cluster, "n1", lambda to, message, attached: [])
    propose_as(cluster, "n1", 0, one, *names[: len(names) // 2])
    propose_as(cluster, "n1", 0, other, *names[len(names) // 2 :])
    cluster.run(0)


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_01_02_an_equivocating_primary_is_proved_a_liar_and_replaced(count: int, faults: int) -> None:
    """Two blocks for one place to disjoint halves: one is prepared at most, and the two signatures are evidence.
    Where N is not 3T+1, quorums of 2T+1 would not meet in an honest member."""
    cluster = started(count, faults)
    equivocate(cluster)
    prepared = {node.state.chain.digest(1) for node in cluster.honest() if node.state.here.prepared_sequence >= 1}
    assert len(prepared) <= 1
    cluster.submit(*requests(3, "c"))
    check_progress(cluster, requests(3, "c"))
    found = accusations(cluster, "n1")
    assert found and all(isinstance(each, Equivocation) for each in found)


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_01_02_liars_who_back_both_blocks_change_nothing(count: int, faults: int) -> None:
    """T liars together: the primary proposes two chains, and every liar votes for both."""
    for seed in range(2):
        cluster = started(count, faults, seed)
        for node in cluster.committee.nodes[:faults]:
            liar(cluster, node, "equivocate", seed)
        for number in range(1, 8):
            cluster.submit(request_of("a", number))
            cluster.run(100_000)
        check_progress(cluster, requests(7))


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_03_a_backup_that_votes_twice_counts_once_and_is_proved_a_liar(count: int, faults: int) -> None:
    cluster = started(count, faults)
    names = cluster.committee.nodes[-faults:]
    for node in names:
        liar(cluster, node, "vote-twice")
    made = order(cluster, 8)
    check_progress(cluster, made)
    for node in names:
        found = accusations(cluster, node)
        assert found
        assert all(isinstance(each, Equivocation) and each.first.digest != each.second.digest for each in found)


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_05_a_member_that_lost_its_disk_signs_nothing_until_its_views_are_over(
    count: int, faults: int
) -> None:
    """It may have voted in any view that began, and asked for the one after; beyond, it is a member again."""
    cluster = started(count, faults)
    made = order(cluster, 10)
    lost = cluster[cluster.committee.nodes[-1]]
    lost.crash()
    lost.disk.__init__()
    votes = sent_votes(cluster)
    lost.boot(first=False)
    check_progress(cluster, made)
    made += order(cluster, 5, first=11)
    assert lost.state.role == "silent" and not [vote for vote in votes if vote.member == lost.name]
    for view in range(2):
        lead = cluster[cluster.committee.nodes[view]]
        lead.crash()
        made.append(request_of("b", view))
        cluster.submit(made[-1])
        cluster.run(TIMEOUTS_US)
        lead.boot()
        cluster.run(1_000_000)
    check_progress(cluster, made, within_us=2 * TIMEOUTS_US)
    assert not [vote for vote in votes if vote.member == lost.name and vote.view <= 1]
    assert lost.state.role != "silent"
    assert [vote for vote in votes if vote.member == lost.name]
    check_one_vote_a_place(votes)


@pytest.mark.parametrize("seed", range(25))
def test_row_06_no_crash_between_disk_and_network_makes_a_member_vote_twice(seed: int) -> None:
    """A lying primary offers another chain to each life; every crash keeps some prefix of what was written."""
    random = Random(seed)
    cluster = started(seed=seed)
    for node in cluster.nodes.values():
        node.sync()
    cluster.liars.add("n1")
    cluster.instant_disks = False
    votes = sent_votes(cluster)
    chains = []
    for client in "ab":
        chain, before = [], None
        for number in range(1, 5):
            chain.append(block_after(cluster, before, request_of(client, number)))
            before = chain[-1].link()
        chains.append(chain)
    for _ in range(60):
        victim = cluster[random.choice(("n2", "n3"))]
        if victim.state.view != 0 or victim.state.commit_sequence:
            break
        block = random.choice(random.choice(chains))
        sequence = block.header.sequence
        signature = sign(cluster, "n1", VoteKind.PREPARE, 0, sequence, block.digest)
        receive(cluster, victim.name, "n1", PrePrepare(0, sequence, signature), block.entry)
        for _ in range(random.randrange(4)):
            cluster.deliver()
        dice = random.random()
        if dice < 0.3:
            victim.sync()
        elif dice < 0.55:
            victim.crash()
            victim.boot()
    cluster.instant_disks = True
    check_progress(cluster, within_us=2 * TIMEOUTS_US)
    check_one_vote_a_place([vote for vote in votes if vote.member != "n1"])


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_22_votes_of_an_older_view_do_not_count_in_a_later_one(count: int, faults: int) -> None:
    cluster = started(count, faults)
    kept: list[tuple[str, str, object]] = []

    def keep(source: str, to: str, message: object, attached: tuple[bytes, ...]) -> list:
        if isinstance(message, Prepare | Commit) and message.view == 0:
            kept.append((source, to, message))
            return []
        return [] if isinstance(message, Votes) and message.view == 0 else [(message, attached)]

    cluster.filter = keep
    made = order(cluster, 3)
    cluster.run(900_000)
    assert min(views(cluster)) > 0
    for node in cluster.honest():
        before = (node.state.here.prepared_sequence, node.state.commit_sequence)
        for source, to, message in kept:
            if to == node.name:
                receive(cluster, to, source, message)
        assert (node.state.here.prepared_sequence, node.state.commit_sequence) == before
        places = (*node.state.here.prepares.values(), *node.state.here.commits.values())
        assert not [
            message
            for source, _, message in kept
            for place in places
            if place.signature_of(source, message.digest) == message.signature
        ]
    cluster.filter = None
    check_progress(cluster, made)


FOREIGN = {
    "another cluster": lambda digest: SigningDomain("other", 1).statement(VoteKind.PREPARE, 0, 1, digest),
    "an older epoch": lambda digest: SigningDomain("tests", 0).statement(VoteKind.PREPARE, 0, 1, digest),
    "a later epoch": lambda digest: SigningDomain("tests", 2).statement(VoteKind.PREPARE, 0, 1, digest),
    "another type": lambda digest: SigningDomain("tests", 1).statement(VoteKind.COMMIT, 0, 1, digest),
    "another view": lambda digest: SigningDomain("tests", 1).statement(VoteKind.PREPARE, 1, 1, digest),
    "another place": lambda digest: SigningDomain("tests", 1).statement(VoteKind.PREPARE, 0, 2, digest),
}


@pytest.mark.parametrize("origin", FOREIGN)
def test_row_23_46_a_signature_made_for_anything_else_is_worth_nothing(origin: str) -> None:
    """The same keys in another cluster, epoch, view, place or type of message."""
    from protocols.pbft.cluster import key_of

    cluster = started()
    block = block_after(cluster, None, request_of("a", 1))
    lie(cluster, "n4", lambda to, message, attached: [])
    cluster["n3"].crash()
    cluster.submit(request_of("a", 1), to=("n1",))
    cluster.run(0)
    digest = cluster["n2"].state.chain.digest(1)
    assert digest == block.digest
    wrong = key_of("n4").sign(FOREIGN[origin](digest)).signature
    for node in ("n1", "n2"):
        receive(cluster, node, "n4", Prepare(0, 1, digest, wrong))
        assert cluster[node].state.here.prepared_sequence == 0
    assert all("did not sign" in what for what in complaints(cluster, "n4"))
    cluster["n3"].boot()
    check_progress(cluster, requests(1), within_us=2 * TIMEOUTS_US)


def test_row_46_blocks_of_another_epoch_are_refused() -> None:
    """Its committee is part of a block's header; so a quorum of an older epoch decides nothing in a later one."""
    cluster = started()
    cluster.liars.add("n1")
    later = committee_of(4, 1)
    other = Cluster(4, 1)
    other.committee = type(later)(later.cluster, 2, later.members, later.faults)
    block = block_after(other, None, request_of("a", 1))
    propose_as(cluster, "n1", 0, block)
    cluster.run(0)
    assert {cluster[node].state.chain.last for node in ("n2", "n3", "n4")} == {0}
    assert len(complaints(cluster, "n1")) == 3
    check_progress(cluster, requests(1))


def test_row_46_a_stranger_counts_in_nothing() -> None:
    cluster = started()
    before = cluster["n2"].state
    for message in (
        prepare_of(cluster, "n1", 0, 1, bytes(32)),
        ViewChange(5, before.claim.claim, 2, (), bytes(64)),
    ):
        receive(cluster, "n2", "n9", message)
    assert not before.here.prepares and not before.view_changes
    check_progress(cluster)
    check_blame(cluster)
