"""One test for each rule of Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.raft.members import (
    FIVE,
    QUICK,
    THREE,
    Cluster,
    Member,
    append,
    command,
    configuration_entry,
    effects_in,
    log_of,
    messages_in,
    refusal,
)
from quorum.entry import BARRIER, entry_identity
from quorum.errors import NotLeader
from quorum.model import Configuration
from quorum.protocols.effects import Admitted, Commit, HardState, Persist, Refused, Send, SetTimer
from quorum.protocols.events import TimerFired
from quorum.protocols.raft.messages import Append, AppendReply, RequestVote, VoteReply
from quorum.protocols.raft.state import CANDIDATE, ELECTION, FOLLOWER, LEADER


def test_a_node_starts_as_a_follower() -> None:
    """Section 5.2: when servers start up, they begin as followers."""
    assert Member("n1").state.role == FOLLOWER


def test_the_first_entry_of_every_log_is_the_first_configuration() -> None:
    """Section 6: configurations are stored in the log; ours begins with one, the same on every node."""
    logs = {tuple(Member(node).seen.entries) for node in THREE.voters}
    assert logs == {(configuration_entry(1, 1, THREE),)}


def test_a_stale_term_is_refused_and_answered_with_the_newer_one() -> None:
    """Section 5.1: a server that gets a request with a stale term number rejects it."""
    member = Member("n1", terms=(1, 3))
    (reply,) = messages_in(member.receive("n2", append(2, (1, 1))), AppendReply)
    assert (reply.term, reply.matched) == (3, False)
    (vote,) = messages_in(member.receive("n3", RequestVote(2, 9, 2, False)), VoteReply)
    assert (vote.term, vote.granted) == (3, False)
    assert member.state.term == 3


@pytest.mark.parametrize(
    "message",
    [append(7, (2, 2)), AppendReply(7, 0, True, 2), VoteReply(7, False, False), VoteReply(7, False, True)],
    ids=lambda message: type(message).__name__,
)
def test_a_newer_term_in_any_message_is_entered_as_a_follower(message: object) -> None:
    """Section 5.1: a candidate or leader that discovers that its term is out of date reverts to follower."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    assert leader.state.term == 2
    leader.receive("n2", message)
    assert (leader.state.role, leader.state.term, leader.state.vote) == (FOLLOWER, 7, None)


def test_a_candidate_of_a_newer_term_is_followed_into_it() -> None:
    """Section 5.1, for RequestVote: once no leader is heard, the newer term is entered, whoever gets the vote."""
    member = Member("n1", terms=(1, 3))
    member.receive("n2", RequestVote(9, 1, 1, False))
    assert (member.state.term, member.state.vote) == (9, None)


def test_an_election_timeout_begins_an_election() -> None:
    """Section 5.2: a follower that hears of nobody assumes there is no viable leader and campaigns."""
    cluster = Cluster()
    assert cluster.elect("n2").state.role == LEADER
    assert [member.state.leader for member in cluster.members.values()] == ["n2"] * 3


def test_an_election_timer_that_was_put_off_begins_nothing() -> None:
    """Section 5.2: a server remains a follower as long as it receives valid messages from a leader."""
    member = Member("n2")
    member.now_us = member.state.election_deadline_us - 1
    member.receive("n1", append(2, (1, 1)))
    member.now_us += 2
    produced = member.step(TimerFired(member.now_us, ELECTION))
    assert member.state.role == FOLLOWER
    assert [effect.name for effect in effects_in(produced, SetTimer)] == [ELECTION]


@given(seed=st.integers(0, 1 << 30))
def test_election_timeouts_are_randomised_between_one_and_two_timeouts(seed: int) -> None:
    """Section 5.2: randomised election timeouts make split votes rare."""
    member = Member("n1")
    member.state.random.seed(seed)
    member.state.draw_election_deadline()
    wait_us = member.state.election_deadline_us - member.now_us
    assert QUICK.election_timeout_us <= wait_us < 2 * QUICK.election_timeout_us


def test_a_candidate_votes_for_itself_and_asks_every_other_elector() -> None:
    """Section 5.2: it increments its term, votes for itself and issues RequestVote to all."""
    cluster = Cluster(FIVE)
    cluster.campaign("n3")
    cluster.deliver()
    cluster.deliver()
    candidate = cluster["n3"]
    candidate.store()
    assert (candidate.state.role, candidate.state.term, candidate.state.vote) == (CANDIDATE, 2, "n3")
    asked = [packet.to for packet in cluster.take() if packet.message == RequestVote(2, 1, 1, False)]
    assert asked == ["n1", "n2", "n4", "n5"]


def test_a_node_votes_at_most_once_in_a_term() -> None:
    """Section 5.2: each server will vote for at most one candidate in a given term, first come, first served."""
    member = Member("n1")
    (first,) = messages_in(member.receive("n2", RequestVote(5, 1, 1, False)), VoteReply)
    (second,) = messages_in(member.receive("n3", RequestVote(5, 9, 4, False)), VoteReply)
    (again,) = messages_in(member.receive("n2", RequestVote(5, 1, 1, False)), VoteReply)
    assert (first.granted, second.granted, again.granted) == (True, False, True)


def test_a_vote_outlives_a_restart() -> None:
    """Figure 2: currentTerm and votedFor are updated on stable storage before responding."""
    member = Member("n1")
    member.receive("n2", RequestVote(5, 1, 1, False))
    member.store()
    member.crash()
    member.start()
    assert (member.state.term, member.state.vote) == (5, "n2")
    (reply,) = messages_in(member.receive("n3", RequestVote(5, 9, 4, False)), VoteReply)
    assert not reply.granted


def test_a_vote_is_durable_before_it_is_said() -> None:
    """Figure 2: in the effects, the vote's record stands before the reply."""
    produced = Member("n1").receive("n2", RequestVote(5, 1, 1, False))
    kinds = [effect for effect in produced if isinstance(effect, Persist | Send)]
    assert kinds == [Persist(HardState(5, "n2")), Send("n2", VoteReply(5, True, False))]


def test_a_candidate_that_hears_of_a_leader_in_its_term_follows_it() -> None:
    """Section 5.2: if the leader's term is at least as large as the candidate's, it recognises the leader."""
    cluster = Cluster()
    cluster.campaign("n1")
    cluster.deliver()
    cluster.deliver()
    assert cluster["n1"].state.role == CANDIDATE
    cluster["n1"].receive("n2", append(2, (1, 1)))
    assert (cluster["n1"].state.role, cluster["n1"].state.leader) == (FOLLOWER, "n2")


def test_a_split_vote_is_retried_in_a_new_term() -> None:
    """Section 5.2: each candidate times out and starts a new election by incrementing its term."""
    cluster = Cluster(Configuration(epoch=1, voters=("n1", "n2", "n3", "n4")))
    for node in ("n1", "n2"):
        cluster.campaign(node)
    pairs = [(candidate, elector) for candidate in ("n1", "n2") for elector in ("n3", "n4")]
    for candidate, elector in pairs:
        cluster.deliver(candidate, elector)
    for candidate, elector in pairs:
        cluster.deliver(elector, candidate)
    cluster.store()
    cluster.deliver("n1", "n3")
    cluster.deliver("n2", "n4")
    cluster.settle()
    roles = [member.state.role for member in cluster.members.values()]
    assert LEADER not in roles and {member.state.term for member in cluster.members.values()} == {2}
    assert cluster.elect("n2").state.role == LEADER
    assert cluster["n2"].state.term == 3


@pytest.mark.parametrize(
    ("last_term", "last_index", "granted"),
    [(3, 4, True), (3, 5, True), (3, 3, False), (2, 9, False), (4, 1, True)],
)
def test_a_vote_is_given_only_to_a_log_that_is_at_least_as_up_to_date(
    last_term: int, last_index: int, granted: bool
) -> None:
    """Section 5.4.1: the later last term wins; with equal last terms the longer log."""
    member = Member("n1", terms=(1, 1, 2, 3))
    produced = member.receive("n2", RequestVote(8, last_index, last_term, False))
    assert messages_in(produced, VoteReply) == [VoteReply(8, granted, False)]


def test_a_leader_only_appends() -> None:
    """Figure 3, leader append-only: a leader never overwrites or deletes entries in its log."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    before = list(leader.seen.entries)
    leader.propose(b"a", b"b")
    assert leader.seen.entries[: len(before)] == before
    assert leader.bodies() == [b"a", b"b"]


def test_an_entry_is_committed_once_a_quorum_stores_it() -> None:
    """Section 5.3: committed once the leader that created the entry has replicated it on a majority."""
    cluster = Cluster(FIVE)
    leader = cluster.elect("n1")
    cluster.cut = {"n4", "n5"}
    (admitted,) = effects_in(leader.propose(b"a"), Admitted)
    leader.store()
    cluster.deliver("n1", "n2")
    cluster["n2"].store()
    cluster.deliver("n2", "n1")
    assert leader.state.commit_index < admitted.first
    cluster.settle()
    assert leader.state.commit_index == admitted.first


def test_followers_learn_the_commit_index_from_the_next_append() -> None:
    """Section 5.3: the leader includes the highest index it knows to be committed in future AppendEntries."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    leader.propose(b"a")
    cluster.settle()
    assert cluster["n2"].state.commit_index == 2
    cluster.beat("n1")
    cluster.settle()
    assert cluster["n2"].state.commit_index == leader.state.commit_index == 3


def test_a_follower_commits_no_further_than_it_is_known_to_agree() -> None:
    """Figure 2, AppendEntries rule 5: commitIndex = min(leaderCommit, index of last new entry)."""
    member = Member("n2", terms=(1, 1, 1, 1))
    produced = member.receive("n1", append(2, (2, 1), commit_index=4))
    assert effects_in(produced, Commit) == [Commit(1, 2)]


def test_entries_that_do_not_follow_the_log_are_refused() -> None:
    """Figure 2, AppendEntries rule 2: no entry at prevLogIndex with prevLogTerm."""
    member = Member("n2", terms=(1, 1, 2))
    (gap,) = messages_in(
        member.receive(
            "n1",
            append(3, (5, 3)),
        ),
        AppendReply,
    )
    (other,) = messages_in(member.receive("n1", append(3, (3, 3))), AppendReply)
    assert (gap.matched, other.matched) == (False, False)
    assert member.terms() == [1, 1, 2]


def test_conflicting_entries_are_replaced_with_all_that_follow() -> None:
    """Figure 2, AppendEntries rule 3."""
    member = Member("n2", terms=(1, 1, 2, 2))
    member.receive("n1", append(3, (2, 1)), command(3, 3))
    assert member.terms() == [1, 1, 3]


def test_entries_that_are_there_already_truncate_nothing() -> None:
    """Figure 2, AppendEntries rules 3 and 4: only a conflict deletes; a late message must not."""
    member = Member("n2", terms=(1, 1, 2, 2))
    produced = member.receive("n1", append(2, (1, 1)), member.seen.entries[1])
    assert member.terms() == [1, 1, 2, 2]
    assert effects_in(produced, Persist) == []


terms = st.lists(st.integers(0, 1), min_size=0, max_size=14)


def rising(steps: list[int], start: int = 1) -> list[int]:
    found = [start]
    for step in steps:
        found.append(found[-1] + step)
    return found


@given(common=terms, mine=terms, theirs=terms)
def test_any_follower_is_repaired_in_at_most_one_round_per_conflicting_term(
    common: list[int], mine: list[int], theirs: list[int]
) -> None:
    """Section 5.3: log matching by induction; with the hint, one refused message for each conflicting term."""
    base = rising(common)
    leader_terms = base + [2 * term + 1 for term in rising(theirs, base[-1] + 1)]
    follower_terms = base + [2 * term for term in rising(mine, base[-1] + 1)]
    term = max(leader_terms[-1], follower_terms[-1])
    leader = Member("n1", terms=leader_terms, term=term)
    follower = Member("n2", terms=follower_terms, term=term)
    _make_leader(leader)
    refused = 0
    for _ in range(100):
        packets = [p for p in leader.take_outbox() if p.to == "n2"]
        if not packets:
            break
        for packet in packets:
            follower.receive("n1", packet.message, *packet.attached)
        follower.store()
        for packet in follower.take_outbox():
            if isinstance(packet.message, AppendReply):
                refused += not packet.message.matched
                leader.receive("n2", packet.message)
    assert follower.seen.entries == leader.seen.entries
    conflicting = {*follower_terms[len(base) :]} | {*leader_terms[len(base) :]}
    assert refused <= 1 + len(conflicting)


def _make_leader(member: Member) -> None:
    """Win an election with the vote of n3."""
    member.fire_election()
    member.receive("n3", VoteReply(member.state.term + 1, True, True))
    member.receive("n3", VoteReply(member.state.term, True, False))
    member.store()
    assert member.state.role == LEADER


def test_back_tracking_skips_whole_terms() -> None:
    """Section 5.3, end: the follower's hint lets the leader bypass all conflicting entries of a term."""
    leader = Member("n1", terms=[1, 1, 1, *[7] * 50])
    follower = Member("n2", terms=[1, 1, 1, *[4] * 40], term=7)
    _make_leader(leader)
    (first,) = [p.message for p in leader.take_outbox() if p.to == "n2" and isinstance(p.message, Append)]
    (reply,) = messages_in(follower.receive("n1", first), AppendReply)
    produced = leader.receive("n2", reply)
    (second,) = messages_in(produced, Append, "n2")
    assert second.previous_index == 3


def test_an_entry_of_an_older_term_is_never_committed_by_counting() -> None:
    """Section 5.4.2, figure 8: only entries of the leader's own term are committed by counting replicas."""
    leader = Member("n1", FIVE, terms=(1, 2), term=3)
    leader.fire_election()
    for voter in ("n2", "n3"):
        leader.receive(voter, VoteReply(4, True, True))
    for voter in ("n2", "n3"):
        leader.receive(voter, VoteReply(4, True, False))
    leader.store()
    leader.store()
    assert (leader.state.role, leader.terms()) == (LEADER, [1, 2, 4])
    for voter in ("n2", "n3", "n4"):
        leader.receive(voter, AppendReply(4, 0, True, 2))
    assert leader.state.commit_index == 0
    for voter in ("n2", "n3"):
        produced = leader.receive(voter, AppendReply(4, 0, True, 3))
    assert effects_in(produced, Commit) == [Commit(1, 3)]


def test_a_new_leader_orders_an_empty_entry_of_its_term_first() -> None:
    """Section 8: each leader commits a blank no-op entry at the start of its term."""
    leader = Cluster().elect("n1")
    index, term, kind, _ = entry_identity(leader.seen.entries[-1])
    assert (index, term, kind) == (2, 2, BARRIER)


def test_a_new_leader_probes_from_its_last_entry() -> None:
    """Figure 2: nextIndex is initialised to leader last log index + 1, matchIndex to 0."""
    leader = Member("n1", terms=(1, 1, 2))
    _make_leader(leader)
    message = next(p.message for p in leader.outbox if p.to == "n2" and isinstance(p.message, Append))
    assert (message.previous_index, message.previous_term) == (3, 2)
    assert leader.state.acked == {"n1": 3, "n2": 0, "n3": 0}


def test_requests_at_a_follower_are_refused_with_the_leader_it_knows() -> None:
    """Section 8: a server that is not the leader rejects the request and names the most recent leader."""
    cluster = Cluster()
    cluster.elect("n1")
    error = refusal(cluster["n2"].propose(b"a"))
    assert isinstance(error, NotLeader) and error.leader == "n1"


def test_a_deposed_leader_refuses_proposals_and_reads() -> None:
    """Section 8: and the reads that waited at it."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    leader.read(1)
    produced = leader.receive("n2", append(5, (9, 4)))
    assert [refused.tokens for refused in effects_in(produced, Refused)] == [(1,)]
    assert isinstance(refusal(leader.propose(b"a")), NotLeader)
    assert isinstance(refusal(leader.read(2)), NotLeader)


def test_the_newest_configuration_in_the_log_is_in_force_before_it_is_committed() -> None:
    """Section 6: a server always uses the latest configuration in its log, committed or not."""
    member = Member("n2", terms=(1,))
    member.receive("n1", append(1, (1, 1)), configuration_entry(2, 1, FIVE))
    assert member.replica.configuration == FIVE
    assert member.state.commit_index == 0


def test_a_truncated_configuration_is_reverted() -> None:
    """Section 6, and Ongaro 2014, 4.1: a server falls back to the previous configuration in its log."""
    member = Member("n2", terms=(1,))
    member.receive("n1", append(1, (1, 1)), configuration_entry(2, 1, FIVE), command(3, 1))
    member.receive("n3", append(2, (1, 1)), command(2, 2))
    assert member.replica.configuration == THREE
    member.store()
    member.crash()
    member.start()
    assert member.replica.configuration == THREE


def test_a_log_comes_back_as_it_was_stored() -> None:
    """Figure 2: log[] is persistent; commitIndex is not."""
    member = Member("n2")
    member.receive("n1", append(2, (1, 1), commit_index=2), command(2, 2), command(3, 2))
    member.store()
    member.crash()
    member.start()
    assert member.seen.entries == [*log_of(THREE, (1,)), command(2, 2), command(3, 2)]
    assert (member.state.stored_index, member.state.commit_index) == (3, 0)
