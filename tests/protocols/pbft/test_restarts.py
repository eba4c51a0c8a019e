"""What a node may sign after a restart, and what may leave before the disk has it."""

from __future__ import annotations

import pytest

from protocols.pbft.cluster import Disk, request_of
from protocols.pbft.scene import (
    block_after,
    check_one_vote_a_place,
    check_progress,
    order,
    prepare_of,
    receive,
    sent_votes,
    sign,
    started,
)
from quorum.certificate.vote import VoteKind
from quorum.protocols.pbft.messages import Forward, NewView, PrePrepare, Status, ViewChange, Votes


def one_and_other(cluster):
    """Two chains of two blocks each, as a lying primary makes them."""
    chains = []
    for client in "ab":
        first = block_after(cluster, None, request_of(client, 1))
        chains.append((first, block_after(cluster, first.link(), request_of(client, 2))))
    return chains


def give(cluster, block, to: str = "n2") -> None:
    sequence = block.header.sequence
    signature = sign(cluster, "n1", VoteKind.PREPARE, 0, sequence, block.digest)
    receive(cluster, to, "n1", PrePrepare(0, sequence, signature), block.entry)


def test_a_vote_asked_for_again_does_not_leave_before_its_block_is_durable() -> None:
    """Section 4.3: the vote promises that the block is in the member's log."""
    cluster = started()
    cluster.liars.add("n1")
    for node in cluster.nodes.values():
        node.sync()
    cluster.instant_disks = False
    votes = sent_votes(cluster)
    (one, _), _ = one_and_other(cluster)
    give(cluster, one)
    for _ in range(2):
        receive(cluster, "n2", "n3", Status(0, True, 0, 0, 0))
    assert votes == []
    cluster["n2"].sync()
    receive(cluster, "n2", "n3", Status(0, True, 0, 0, 0))
    assert {(vote.kind, vote.sequence) for vote in votes} == {(VoteKind.PREPARE, 1)}


def test_a_vote_to_commit_asked_for_again_does_not_leave_before_its_certificate_is_durable() -> None:
    """Section 4.4: what was committed must be in every later VIEW-CHANGE."""
    cluster = started()
    cluster.liars.add("n1")
    for node in cluster.nodes.values():
        node.sync()
    votes = sent_votes(cluster)
    (one, _), _ = one_and_other(cluster)
    give(cluster, one)
    cluster.instant_disks = False
    receive(cluster, "n2", "n3", prepare_of(cluster, "n3", 0, 1, one.digest))
    for _ in range(2):
        receive(cluster, "n2", "n4", Status(0, True, 1, 0, 0))
    assert {vote.kind for vote in votes} == {VoteKind.PREPARE}
    cluster["n2"].sync()
    receive(cluster, "n2", "n4", Status(0, True, 1, 0, 0))
    assert {vote.kind for vote in votes} == {VoteKind.PREPARE, VoteKind.COMMIT}


def test_a_node_that_restarts_twice_still_knows_what_its_first_life_voted_for() -> None:
    """The second life stores another block of the lying primary at the same place, without a vote for it."""
    cluster = started()
    cluster.liars.add("n1")
    votes = sent_votes(cluster)
    (one, _), (other, _) = one_and_other(cluster)
    for block in (one, other, other, one):
        give(cluster, block)
        cluster["n2"].crash()
        cluster["n2"].boot()
    check_one_vote_a_place(votes)
    assert {vote.digest for vote in votes} == {one.digest}
    check_progress(cluster, within_us=10_000_000)


def test_a_restarted_node_votes_for_nothing_behind_a_block_that_it_did_not_vote_for() -> None:
    """A vote covers every block before its own: behind another block at place 1, one for place 2 contradicts."""
    cluster = started()
    cluster.liars.add("n1")
    votes = sent_votes(cluster)
    (one, second), (other, second_other) = one_and_other(cluster)
    give(cluster, one)
    cluster["n2"].crash()
    cluster["n2"].boot()
    give(cluster, other)
    give(cluster, second_other)
    assert {vote.digest for vote in votes} == {one.digest}
    cluster["n2"].crash()
    cluster["n2"].boot()
    give(cluster, one)
    give(cluster, second)
    check_one_vote_a_place(votes)
    assert {vote.digest for vote in votes if vote.sequence == 2} <= {second.digest}


def test_what_a_decided_block_replaced_is_remembered_beyond_a_restart() -> None:
    """A member that voted for the losing one of two blocks does not vote for the other one later."""
    cluster = started()
    votes = sent_votes(cluster)
    (one, _), _ = one_and_other(cluster)
    cluster.liars.add("n1")
    cluster.cut = {(a, "n2") for a in ("n3", "n4")} | {("n2", a) for a in ("n1", "n3", "n4")}
    give(cluster, one)  # what n1 proposes to the others is another one
    cluster.cut |= {("n1", "n2")}
    cluster.submit(request_of("c", 1), to=("n1", "n3", "n4"))
    cluster.run(0)
    cluster.cut = set()
    cluster.run(500_000)
    assert cluster["n2"].state.commit_sequence == 1
    for _ in range(2):
        cluster["n2"].crash()
        cluster["n2"].boot()
        for _ in range(2):
            receive(cluster, "n2", "n4", Status(0, True, 1, 0, 0))  # late, from before it had decided
    check_progress(cluster)
    check_one_vote_a_place([vote for vote in votes if vote.member != "n1"])


def test_one_wrong_entry_does_not_spoil_the_good_votes_that_came_with_it() -> None:
    """An error refuses the whole message: checks that it had begun would be waited for in vain."""
    cluster = started()
    cluster.liars |= {"n1", "n4"}
    (one, _), _ = one_and_other(cluster)
    give(cluster, one)
    good = sign(cluster, "n4", VoteKind.PREPARE, 0, 1, one.digest)
    receive(cluster, "n2", "n4", Votes(0, ((2, 1, one.digest, good), (9, 1, one.digest, b""))))
    receive(cluster, "n2", "n3", prepare_of(cluster, "n3", 0, 1, one.digest))
    assert cluster["n2"].state.here.prepared_sequence == 1


def test_a_long_view_keeps_no_vote_for_ever() -> None:
    cluster = started()
    order(cluster, 60)
    before = len(cluster["n2"].state.here.own_votes)
    order(cluster, 60, first=61)
    assert len(cluster["n2"].state.here.own_votes) == before
    assert before <= 6 * cluster.settings.window


@pytest.mark.parametrize("blocks", [0, 5])
def test_a_restarted_primary_signs_nothing_in_its_view(blocks: int) -> None:
    """Its pre-prepares leave before its disk has them, so it may have proposed more than it knows."""
    cluster = started()
    order(cluster, blocks)
    votes = sent_votes(cluster)
    cluster["n1"].crash()
    cluster["n1"].boot()
    check_progress(cluster)
    assert not [vote for vote in votes if vote.member == "n1" and vote.view == 0]


def test_a_member_that_lost_its_disk_may_have_asked_for_the_view_after_the_newest() -> None:
    """It is the only one to know, and its VIEW-CHANGE may still be on its way."""
    cluster = started()
    order(cluster, 3)
    lost = cluster["n3"]
    lost.crash()
    lost.disk.__init__()
    lost.boot(first=False)
    cluster.run(500_000)
    assert lost.state.amnesiac
    assert lost.state.silent_through == 1
    check_progress(cluster)


def test_a_primary_is_not_blamed_for_blocks_that_a_later_view_replaced() -> None:
    """A slow member has its second block, and gets what a later view decided before it hears of that view."""
    cluster = started()
    cluster.filter = lambda source, to, message, attached: (
        [(message, attached)] if to == "n2" and isinstance(message, PrePrepare) and message.sequence == 2 else []
    )
    for number in (1, 2):
        cluster.submit(request_of("a", number), to=("n1",))
    cluster.run(0)
    cluster.cut = {(a, b) for a in cluster.nodes for b in cluster.nodes if "n2" in (a, b)}
    cluster.filter = lambda source, to, message, attached: (
        []
        if (isinstance(message, PrePrepare) and message.view == 0) or isinstance(message, Forward)
        else [(message, attached)]
    )
    cluster.submit(request_of("b", 1), to=("n3", "n4"))
    cluster.run(3_000_000)
    assert cluster["n3"].state.commit_sequence > 0 and cluster["n2"].state.here.early.keys() == {2}
    cluster.cut = set()
    cluster.filter = lambda source, to, message, attached: (
        []
        if (to == "n2" and isinstance(message, NewView | ViewChange)) or isinstance(message, Forward)
        else [(message, attached)]
    )
    cluster.run(400_000)
    assert cluster["n2"].state.commit_sequence == 1
    assert cluster["n2"].reports == []
    cluster.filter = None
    check_progress(cluster)


def test_a_node_that_lost_its_disk_still_knows_so_in_its_next_life() -> None:
    """Its second life writes notes of the view that it hears of; they are not all that it ever signed."""
    cluster = started()
    votes = sent_votes(cluster)
    cluster["n1"].crash()
    cluster.submit(request_of("b", 1))
    cluster.run(3_000_000)
    cluster["n1"].boot(first=False)
    order(cluster, 3)
    cluster["n4"].crash()
    cluster["n4"].disk = Disk()
    before = len(votes)
    for life in range(3):
        cluster["n4"].boot(first=False)
        order(cluster, 2, first=10 * (life + 1))
        cluster.run(1_000_000)
        cluster["n4"].crash()
    cluster["n4"].boot(first=False)
    assert not [vote for vote in votes[before:] if vote.member == "n4"]
    check_progress(cluster)
