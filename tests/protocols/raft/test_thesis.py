"""One test for each rule taken from Ongaro, "Consensus: Bridging Theory and Practice" (2014), and for hints."""

from __future__ import annotations

import pytest

from protocols.raft.members import (
    FIVE,
    Cluster,
    Member,
    append,
    batch,
    command,
    effects_in,
    messages_in,
)
from quorum.entry import decode_entry
from quorum.header import Batch
from quorum.protocols.effects import Admitted, Commit, Persist, ReadReady, Refused, RoleChanged, Send, SetTimer
from quorum.protocols.events import Proposed
from quorum.protocols.raft.messages import Append, AppendReply, RequestVote, VoteReply
from quorum.protocols.raft.settings import Settings
from quorum.protocols.raft.state import CANDIDATE, ELECTION, FOLLOWER, LEADER, PRE_CANDIDATE

# Pre-vote (section 9.6).


def test_a_candidate_asks_before_it_enters_a_term() -> None:
    """Section 9.6: a candidate only increments its term if a majority would be willing to vote for it."""
    member = Member("n1")
    produced = member.fire_election()
    assert (member.state.role, member.state.term) == (PRE_CANDIDATE, 1)
    assert messages_in(produced, RequestVote) == [RequestVote(2, 1, 1, True)] * 2
    assert effects_in(produced, Persist) == []
    member.receive("n2", VoteReply(2, True, True))
    assert (member.state.role, member.state.term) == (CANDIDATE, 2)


def test_a_pre_vote_promises_nothing() -> None:
    """Section 9.6: it changes neither term nor vote, and any number may be granted."""
    member = Member("n1")
    for candidate in ("n2", "n3"):
        produced = member.receive(candidate, RequestVote(2, 1, 1, True))
        assert produced == (Send(candidate, VoteReply(2, True, True)),)
    assert (member.state.term, member.state.vote) == (1, None)


def test_a_pre_vote_is_refused_to_a_log_that_is_behind() -> None:
    """Section 9.6: only if the candidate's log is sufficiently up-to-date."""
    member = Member("n1", terms=(1, 1, 2))
    produced = member.receive("n2", RequestVote(3, 9, 1, True))
    assert messages_in(produced, VoteReply) == [VoteReply(2, False, True)]


def test_a_rejoining_node_does_not_raise_the_term() -> None:
    """Section 9.6: a partitioned server cannot disrupt the cluster when it comes back."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    cluster.cut = {"n3"}
    for _ in range(5):
        cluster.campaign("n3")
        cluster.beat("n1")
        cluster.settle()
    assert cluster["n3"].state.term == 2
    cluster.cut = set()
    cluster.beat("n1")
    cluster.settle()
    cluster["n3"].fire_election()
    cluster.settle()
    assert (leader.state.role, leader.state.term) == (LEADER, 2)
    cluster.beat("n1")
    cluster.settle()
    assert cluster["n3"].state.leader == "n1"


def test_a_lagging_voter_learns_the_term_from_a_refused_pre_vote() -> None:
    """Without it two voters in different terms refuse each other for ever: a refusal carries the voter's term."""
    ahead = Member("n1", terms=(1, 1), term=5)
    behind = Member("n2", terms=(1, 1, 1), term=2)
    (request,) = messages_in(behind.fire_election(), RequestVote, "n1")
    (reply,) = messages_in(ahead.receive("n2", request), VoteReply)
    assert reply == VoteReply(5, False, True)
    behind.receive("n1", reply)
    assert (behind.state.role, behind.state.term) == (FOLLOWER, 5)
    (request,) = messages_in(behind.fire_election(), RequestVote, "n1")
    assert messages_in(ahead.receive("n2", request), VoteReply) == [VoteReply(6, True, True)]


def test_a_granted_pre_vote_for_another_term_is_not_counted() -> None:
    """Section 9.6: an answer to an older pre-vote says nothing about this one."""
    member = Member("n1", term=4, terms=(1, 1))
    member.fire_election()
    member.receive("n2", VoteReply(4, True, True))
    assert member.state.role == PRE_CANDIDATE


# Stickiness (section 4.2.3) and check-quorum (section 6.2).


@pytest.mark.parametrize("pre", [True, False])
def test_nobody_votes_while_a_leader_is_heard(pre: bool) -> None:
    """Section 4.2.3: within the minimum election timeout of hearing from a current leader, a server does not
    update its term or grant its vote."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    for member in (leader, cluster["n2"]):
        produced = member.receive("n3", RequestVote(9, 99, 8, pre))
        assert produced == (Send("n3", VoteReply(2, False, pre)),)
        assert member.state.term == 2


def test_a_vote_is_given_again_once_the_leader_is_silent() -> None:
    """Section 4.2.3: the refusal ends with the election timeout."""
    cluster = Cluster()
    cluster.elect("n1")
    cluster["n2"].now_us += cluster["n2"].settings.election_timeout_us
    produced = cluster["n2"].receive("n3", RequestVote(9, 99, 8, False))
    assert messages_in(produced, VoteReply) == [VoteReply(9, True, False)]


def test_a_leader_that_hears_no_quorum_steps_down() -> None:
    """Section 6.2: a leader steps down if an election timeout elapses without a successful round of heartbeats
    to a majority, so that clients can retry elsewhere."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    leader.read(1)
    cluster.cut = {"n2", "n3"}
    beats = 0
    while leader.state.role == LEADER:
        produced = leader.fire_heartbeat()
        beats += 1
    assert beats == 20  # one timeout in which all were heard, one in which nobody was
    assert effects_in(produced, RoleChanged) == [RoleChanged(FOLLOWER, 2, None)]
    assert [refused.tokens for refused in effects_in(produced, Refused)] == [(1,)]
    assert effects_in(produced, SetTimer)[-1].name == ELECTION


def test_a_leader_that_hears_a_quorum_stays() -> None:
    """Section 6.2: one follower of two is enough."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    cluster.cut = {"n3"}
    for _ in range(40):
        cluster.beat("n1")
        cluster.settle()
    assert leader.state.role == LEADER


# A closed connection as a hint.


def test_a_lost_connection_to_the_leader_begins_a_pre_vote_at_once() -> None:
    """The timer is set to the spread instead of the election timeout, and the lease ends."""
    cluster = Cluster()
    cluster.elect("n1")
    follower = cluster["n2"]
    (timer,) = effects_in(follower.lose("n1"), SetTimer)
    assert timer.name == ELECTION and timer.delay_us <= follower.settings.lost_leader_spread_us
    produced = follower.fire_election()
    assert messages_in(produced, RequestVote, "n3") == [RequestVote(3, 2, 2, True)]
    granted = cluster["n2"].receive("n3", RequestVote(3, 2, 2, True))
    assert messages_in(granted, VoteReply) == [VoteReply(3, True, True)]


def test_a_lost_connection_to_another_follower_changes_nothing() -> None:
    cluster = Cluster()
    cluster.elect("n1")
    assert cluster["n2"].lose("n3") == ()
    assert cluster["n2"].state.in_lease()


def test_a_broken_link_alone_deposes_no_leader() -> None:
    """A pre-vote asks the others first, and they still hear the leader."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    cluster["n2"].lose("n1")
    cluster["n2"].fire_election()
    cluster.settle()
    assert (leader.state.role, leader.state.term) == (LEADER, 2)


# Linearizable reads (section 6.4).


def test_a_read_waits_for_a_round_that_a_quorum_answers() -> None:
    """Section 6.4, step 3: heartbeats are exchanged with a majority after the read index was taken."""
    cluster = Cluster(FIVE)
    leader = cluster.elect("n1")
    produced = leader.read(1, 2)
    assert effects_in(produced, ReadReady) == []
    (round_,) = {message.round for message in messages_in(produced, Append)}
    assert effects_in(leader.receive("n2", AppendReply(2, round_ - 1, True, 2)), ReadReady) == []
    assert effects_in(leader.receive("n2", AppendReply(2, round_, True, 2)), ReadReady) == []
    produced = leader.receive("n3", AppendReply(2, round_, True, 2))
    assert effects_in(produced, ReadReady) == [ReadReady((1, 2), 2)]


def test_a_read_waits_until_an_entry_of_the_term_is_committed() -> None:
    """Section 6.4, step 1: until then the leader may not know which entries are committed."""
    cluster = Cluster()
    cluster.campaign("n1")
    for _ in range(4):
        cluster.deliver()
        cluster["n1"].store()
        cluster["n2"].store()
    leader = cluster["n1"]
    assert leader.state.role == LEADER and leader.state.commit_index == 0
    assert leader.read(1) == ()
    cluster.settle()
    assert ReadReady((1,), 2) in leader.did


def test_reads_that_come_during_a_round_share_the_next_one() -> None:
    """Section 6.4: one round of heartbeats for any number of reads, but never one that began before them."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    leader.read(1)
    assert leader.read(2) == () == leader.read(3)
    cluster.settle()
    assert effects_in(leader.did, ReadReady) == [ReadReady((1,), 2), ReadReady((2, 3), 2)]


def test_a_replaced_leader_serves_no_read() -> None:
    """Section 6.4: a leader that was deposed without knowing gets no round confirmed."""
    cluster = Cluster()
    old = cluster.elect("n1")
    cluster.cut = {"n1"}
    cluster.elect("n2").propose(b"new")
    cluster.settle()
    old.read(1)
    cluster.cut = set()
    cluster.deliver()
    old.fire_heartbeat()
    cluster.settle()
    assert effects_in(old.did, ReadReady) == []
    assert [refused.tokens for refused in effects_in(old.did, Refused)] == [(1,)]


# Writing to the leader's disk in parallel (section 10.2.1).


def test_entries_leave_before_the_leader_has_stored_them() -> None:
    """Section 10.2.1: the leader writes to its disk in parallel with replicating to the followers."""
    leader = Cluster().elect("n1")
    kinds = [type(effect) for effect in leader.propose(b"a")]
    assert kinds == [Send, Send, Admitted, Persist]


def test_the_leader_counts_itself_only_once_its_own_copy_is_durable() -> None:
    """Section 10.2.1: it may commit before its own write is done, but only if a majority of the others have."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    leader.propose(b"a")
    assert effects_in(leader.receive("n2", AppendReply(2, 0, True, 3)), Commit) == []
    assert effects_in(leader.store(), Commit) == [Commit(3, 3)]
    leader.propose(b"b")
    leader.receive("n2", AppendReply(2, 0, True, 4))
    assert effects_in(leader.receive("n3", AppendReply(2, 0, True, 4)), Commit) == [Commit(4, 4)]


def test_messages_are_pipelined_once_the_logs_agree() -> None:
    """Section 10.2.1: the leader need not wait for an answer before it sends the next entries."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    sent = [messages_in(leader.propose(b"%d" % n), Append, "n2") for n in range(3)]
    assert [message.previous_index for messages in sent for message in messages] == [2, 3, 4]


# Client sessions (section 6.3).


def test_session_and_sequence_number_are_in_the_entry() -> None:
    """Section 6.3: they go through the log, so that every replica finds the same duplicates."""
    leader = Cluster().elect("n1")
    leader.step(Proposed(leader.now_us, (1,), (Batch(7, 12, 34, 30, 2, b"body"),)))
    header, body = decode_entry(leader.seen.entries[-1])
    assert (header.app, header.client, header.first_sequence, header.acked_below) == (7, 12, 34, 30)
    assert (header.count, bytes(body)) == (2, b"body")


def test_log_time_never_goes_back() -> None:
    """Section 6.3: sessions and leases read the time from the log, which every leader only moves forward."""
    member = Member("n2", terms=(1,))
    late = decode_entry(command(2, 1))[0]
    assert late.time_us == 0
    cluster = Cluster()
    first = cluster.elect("n1")
    first.now_us += 3_600_000_000
    first.propose(b"a")
    cluster.settle()
    second = cluster["n2"]
    second.lose("n1")
    second.fire_election()
    cluster["n3"].lose("n1")
    cluster.settle()
    assert second.state.role == LEADER and second.now_us < first.now_us
    times = [decode_entry(entry)[0].time_us for entry in second.seen.entries]
    assert times == sorted(times)
    assert member.state.last_time_us == 0


# A damaged tail.


def test_a_node_with_a_damaged_tail_neither_votes_nor_campaigns() -> None:
    """It may have acknowledged entries that it lost, so it must not elect somebody who lacks them."""
    member = Member("n1", terms=(1, 1))
    member.crash()
    member.start(tail_damaged=True)
    for pre in (True, False):
        produced = member.receive("n2", RequestVote(2, 9, 1, pre))
        assert not any(reply.granted for reply in messages_in(produced, VoteReply))
    assert messages_in(member.fire_election(), RequestVote) == []
    assert member.state.role == FOLLOWER


def test_a_damaged_node_votes_again_once_a_leader_of_its_term_confirmed_its_log() -> None:
    """The leader's commit index stands at an entry of its own term, and this log holds all of it."""
    member = Member("n1", terms=(1, 1))
    member.crash()
    member.start(tail_damaged=True)
    member.receive("n2", append(3, (2, 1), commit_index=2))
    assert not member.state.may_vote
    member.receive("n2", append(3, (2, 1), commit_index=4), command(3, 3))
    assert member.state.commit_index == 3 and not member.state.may_vote
    member.receive("n2", append(3, (3, 3), commit_index=4), command(4, 3))
    assert member.state.may_vote


def test_a_follower_that_lost_what_it_acknowledged_is_repaired_and_not_counted() -> None:
    """Its answer takes back what the leader believed of it."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    leader.propose(b"a", b"b")
    cluster.settle()
    damaged = cluster["n2"]
    damaged.crash()
    del damaged.disk.entries[2:]
    damaged.start(tail_damaged=True)
    cluster.cut = {"n3"}
    cluster.beat("n1")
    cluster.deliver()
    cluster.deliver()
    assert leader.state.acked["n2"] == 2
    cluster.settle()
    cluster.beat("n1")
    cluster.settle()
    assert damaged.bodies() == [b"a", b"b"]
    assert damaged.state.may_vote


def test_a_term_in_the_log_without_its_hard_state_takes_the_vote_away() -> None:
    """The vote of that term may be lost with it, so none is given in it."""
    member = Member("n1", terms=(1, 4), term=2, vote="n1")
    assert (member.state.term, member.state.may_vote) == (4, False)
    produced = member.receive("n2", RequestVote(4, 9, 4, False))
    assert messages_in(produced, VoteReply) == [VoteReply(4, False, False)]


def test_survivors_of_a_leader_stand_one_after_the_other() -> None:
    """The first waits a little, too, so that the others have seen the connection close when they are asked."""
    spread = Settings().lost_leader_spread_us
    waits = {}
    for name in ("n1", "n2"):
        member = Member(name, settings=Settings())
        member.receive("n3", Append(2, 1, 1, 1, 0))
        member.store()
        member.lose("n3")
        waits[name] = member.state.election_deadline_us - member.now_us
    assert spread // 4 <= waits["n1"] <= spread // 2
    assert spread <= waits["n2"] <= 2 * spread


def test_of_two_who_ask_for_pre_votes_at_once_the_second_makes_way() -> None:
    """Both would win them, and then split the vote."""
    cluster = Cluster()
    for name in ("n1", "n2"):
        cluster.campaign(name)
    cluster.settle()
    assert cluster["n1"].state.role == LEADER
    assert cluster["n1"].state.term == 2


def test_a_lost_election_is_repeated_less_and_less_often() -> None:
    """The pause doubles from a tenth of the election timeout to the whole of it."""
    member = Member("n1")
    pauses = []
    for _ in range(7):
        member.fire_election()
        pauses.append(member.state.election_deadline_us - member.now_us)
    timeout = member.settings.election_timeout_us
    for pause, floor in zip(pauses, (1, 2, 4, 8, 10, 10, 10), strict=True):
        assert timeout * floor // 10 <= pause < 2 * timeout * floor // 10


def test_batches_that_wait_together_are_ordered_in_their_order() -> None:
    """Tokens and entries correspond one to one."""
    leader = Cluster().elect("n1")
    produced = leader.step(Proposed(leader.now_us, (7, 8), (batch(b"a"), batch(b"b"))))
    assert effects_in(produced, Admitted) == [Admitted((7, 8), 3, 2)]
    assert leader.bodies() == [b"a", b"b"]
