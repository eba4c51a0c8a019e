"""Leases and reads at followers. Thesis: Ongaro, "Consensus: Bridging Theory and Practice" (2014), section 6.4."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocols.raft.members import QUICK, THREE, Cluster, Member, effects_in, messages_in, refusal
from quorum.errors import NotLeader
from quorum.model import Configuration
from quorum.protocols.effects import ReadReady
from quorum.protocols.events import StorageFull
from quorum.protocols.raft.messages import (
    Append,
    AppendReply,
    ReadIndexReply,
    ReadIndexRequest,
    RequestVote,
    TimeoutNow,
    VoteReply,
)
from quorum.protocols.raft.state import FOLLOWER, LEADER

LEASED = replace(QUICK, lease_reads=True, clock_drift_ppm=100_000)
LENGTH_US = LEASED.election_timeout_us * 10 // 11
"""The lease is shorter than the followers' promise by the drift."""


def led() -> Cluster:
    """A cluster with leases, n1 leading and heard."""
    cluster = Cluster(THREE, LEASED)
    cluster.elect("n1")
    cluster.beat("n1")
    cluster.settle()
    return cluster


def served_at_once(member: Member) -> bool:
    """Whether a read is answered without a word to anybody."""
    return bool(effects_in(member.read(1), ReadReady))


def test_a_leader_with_a_lease_serves_reads_at_once() -> None:
    """Section 6.4.1."""
    cluster = led()
    produced = cluster["n1"].read(1, 2)
    (ready,) = effects_in(produced, ReadReady)
    assert ready == ReadReady((1, 2), cluster["n1"].state.commit_index)
    assert not messages_in(produced, Append)


def test_a_lease_begins_when_its_round_was_sent_and_ends_before_the_promise_does() -> None:
    """Section 6.4.1: counted from the sending, and shorter by the drift that clocks may have."""
    cluster = led()
    leader = cluster["n1"]
    sent_us = leader.state.lease_from_us
    assert sent_us <= leader.now_us
    leader.now_us = sent_us + LENGTH_US - 1
    assert served_at_once(leader)
    leader.now_us = sent_us + LENGTH_US
    assert not served_at_once(leader)


def test_after_a_pause_a_lease_is_looked_at_again() -> None:
    """The time of the read counts, not that of the last heartbeat."""
    cluster = led()
    leader = cluster["n1"]
    leader.now_us += 10 * LEASED.election_timeout_us
    assert not served_at_once(leader)


def test_answers_of_a_minority_prolong_no_lease() -> None:
    cluster = led()
    leader = cluster["n1"]
    before = leader.state.lease_from_us
    cluster.cut = {"n2", "n3"}
    leader.fire_heartbeat()
    cluster.settle()
    assert leader.state.lease_from_us == before


def test_without_leases_every_read_is_confirmed() -> None:
    cluster = Cluster()
    cluster.elect("n1")
    cluster.beat("n1")
    cluster.settle()
    assert not served_at_once(cluster["n1"])


def test_where_leases_are_on_a_lost_connection_ends_no_promise() -> None:
    """The leader may live, and count on it."""
    cluster = led()
    follower = cluster["n2"]
    follower.lose("n1")
    request = RequestVote(follower.state.term + 1, 99, follower.state.term, False)
    (reply,) = messages_in(follower.receive("n3", request), VoteReply)
    assert not reply.granted
    follower.now_us += LEASED.election_timeout_us
    follower.receive("n3", request)
    follower.store()
    assert follower.state.vote == "n3"


def test_where_leases_are_on_a_lost_connection_lets_nobody_stand_while_the_lease_is_held() -> None:
    """The promise binds a node's vote for itself, too: n3 hears nobody, so n2 and n3 are a majority."""
    cluster = led()
    leader, follower = cluster["n1"], cluster["n2"]
    cluster.cut = {"n3"}
    for _ in range(12):
        cluster.beat("n1")
        cluster.settle()
    assert leader.state.role == LEADER and served_at_once(leader)
    cluster.cut = {"n1"}
    follower.lose("n1")
    cluster.campaign("n2")
    cluster.settle()
    leader.now_us = follower.now_us
    assert follower.state.role == LEADER and not served_at_once(leader)


def test_where_leases_are_on_a_node_that_restarts_waits_before_it_votes() -> None:
    """It may have promised in its last life."""
    cluster = led()
    follower = cluster["n2"]
    follower.crash()
    follower.start()
    request = RequestVote(follower.state.term + 1, 99, follower.state.term, False)
    (reply,) = messages_in(follower.receive("n3", request), VoteReply)
    assert not reply.granted


def test_who_told_another_to_stand_has_no_lease_any_more() -> None:
    """The order overrules the promise, and may arrive late."""
    cluster = led()
    leader = cluster["n1"]
    assert messages_in(leader.transfer(7, "n2"), TimeoutNow)
    assert not served_at_once(leader)
    cluster.cut = {"n1"}
    for _ in range(11):
        leader.fire_heartbeat()
    cluster.cut = set()
    if leader.state.role == LEADER:
        assert leader.state.lease_given_up and not served_at_once(leader)


def test_a_new_leader_has_no_lease_of_the_old_one() -> None:
    cluster = led()
    cluster["n1"].transfer(7, "n2")
    cluster.settle()
    assert cluster["n2"].state.role == LEADER
    assert cluster["n1"].state.role == FOLLOWER and cluster["n1"].state.lease_from_us < 0


# Reads at followers.


def test_a_follower_asks_its_leader_for_the_index() -> None:
    """Section 6.4: the leader confirms that it leads, the follower serves once it has applied that far."""
    cluster = Cluster()
    cluster.elect("n1")
    cluster["n1"].propose(b"a")
    cluster.settle()
    follower = cluster["n2"]
    produced = follower.read(1, 2, here=True)
    assert messages_in(produced, ReadIndexRequest, "n1") and not effects_in(produced, ReadReady)
    cluster.settle()
    (ready,) = effects_in(follower.did, ReadReady)
    assert ready == ReadReady((1, 2), cluster["n1"].state.commit_index)


def test_a_leader_that_is_cut_off_gives_no_index() -> None:
    cluster = Cluster()
    cluster.elect("n1")
    cluster.cut = {"n3"}
    follower = cluster["n2"]
    follower.read(1, here=True)
    for packet in cluster.take("n2", "n1"):
        cluster["n1"].receive(packet.sender, packet.message)
    assert not effects_in(follower.did, ReadReady)
    assert not messages_in(cluster["n1"].did, ReadIndexReply)


def test_a_question_that_was_lost_is_asked_again() -> None:
    cluster = Cluster()
    cluster.elect("n1")
    follower = cluster["n2"]
    follower.read(1, here=True)
    cluster.take("n2", "n1")
    cluster.beat("n1")
    cluster.settle()
    assert [ready.tokens for ready in effects_in(follower.did, ReadReady)] == [(1,)]


@pytest.mark.parametrize(
    "configuration",
    [replace(THREE, voters=("n1", "n2"), learners=("n3",)), replace(THREE, priorities=(("n3", 0),)), THREE],
    ids=["learner", "priority 0", "full disk"],
)
def test_who_may_not_stand_forgets_a_leader_that_is_not_heard_any_more(configuration: Configuration) -> None:
    """It asks for no votes, so nothing else would tell those who read here that nobody answers them."""
    cluster = Cluster(configuration)
    cluster.elect("n1")
    follower = cluster["n3"]
    if configuration is THREE:
        follower.step(StorageFull(follower.now_us))
    assert follower.state.leader == "n1"
    cluster.cut = {"n1"}
    follower.read(1, here=True)
    cluster.campaign("n3")
    assert follower.state.leader is None and follower.state.role == FOLLOWER
    assert isinstance(refusal(follower.did), NotLeader)
    assert not messages_in(follower.did, RequestVote)
    cluster.cut = set()
    cluster.beat("n1")
    cluster.settle()
    assert follower.state.leader == "n1", "one that is heard again is followed again"


def test_reads_at_a_follower_are_refused_when_its_leader_changes() -> None:
    cluster = Cluster()
    cluster.elect("n1")
    follower = cluster["n2"]
    follower.read(1, here=True)
    produced = follower.receive("n3", Append(follower.state.term + 1, 0, 0, 0, 0))
    assert isinstance(refusal(produced), NotLeader)


def test_an_index_of_an_old_term_serves_nothing() -> None:
    """Nor one from another node."""
    cluster = Cluster()
    cluster.elect("n1")
    follower = cluster["n2"]
    follower.read(1, here=True)
    term = follower.state.term
    assert not effects_in(follower.receive("n1", ReadIndexReply(term - 1, 1, 1)), ReadReady)
    assert not effects_in(follower.receive("n3", ReadIndexReply(term, 1, 1)), ReadReady)
    assert effects_in(follower.receive("n1", ReadIndexReply(term, 1, 1)), ReadReady)


def test_an_acknowledged_round_of_an_older_term_prolongs_no_lease() -> None:
    cluster = led()
    leader = cluster["n1"]
    before = leader.state.lease_from_us
    leader.receive("n2", AppendReply(leader.state.term - 1, leader.state.round, True, 1))
    assert leader.state.lease_from_us == before
