"""What must be durable before it is said: the order of effects, message by message."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocols.raft.members import THREE, Cluster, Member, append, command, effects_in, messages_in
from quorum.model import Configuration
from quorum.protocols.effects import Effect, Entries, HardState, Persist, Reset, Send
from quorum.protocols.events import Installed, SnapshotMark, Stored
from quorum.protocols.raft.messages import Append, AppendReply, Message, RequestVote, SnapshotOffer, VoteReply
from quorum.protocols.raft.state import CANDIDATE, LEADER

MARK = SnapshotMark(9, 2, 0, THREE, b"digest", 100)


def _vote() -> tuple[Effect, ...]:
    return Member("n1").receive("n2", RequestVote(2, 1, 1, False))


def _vote_in_a_known_term() -> tuple[Effect, ...]:
    member = Member("n1", term=2, terms=(1,))
    return member.receive("n2", RequestVote(2, 1, 1, False))


def _vote_repeated_while_it_is_being_stored() -> tuple[Effect, ...]:
    member = Member("n1")
    member.receive("n2", RequestVote(2, 1, 1, False))
    return member.receive("n2", RequestVote(2, 1, 1, False))


def _refused_vote_in_a_newer_term() -> tuple[Effect, ...]:
    return Member("n1", terms=(1, 1)).receive("n2", RequestVote(2, 1, 1, False))


def _candidacy() -> tuple[Effect, ...]:
    member = Member("n1")
    member.fire_election()
    return member.receive("n2", VoteReply(2, True, True))


def _stored_entries() -> tuple[Effect, ...]:
    return Member("n2", terms=(1,)).receive("n1", append(1, (1, 1)), command(2, 1))


def _entries_of_a_newer_term() -> tuple[Effect, ...]:
    return Member("n2", terms=(1,)).receive("n1", append(2, (1, 1)), command(2, 2))


def _heartbeat_of_a_newer_term() -> tuple[Effect, ...]:
    return Member("n2", terms=(1,)).receive("n1", append(2, (1, 1)))


def _mismatch_in_a_newer_term() -> tuple[Effect, ...]:
    return Member("n2", terms=(1,)).receive("n1", append(2, (7, 1)))


def _installed_snapshot() -> tuple[Effect, ...]:
    member = Member("n2", terms=(1,), term=2)
    member.receive("n1", append(2, (1, 1)))
    return member.step(Installed(member.now_us, MARK))


def _offer_of_a_newer_term() -> tuple[Effect, ...]:
    return Member("n2", terms=(1,)).receive("n1", SnapshotOffer(2, 0, MARK))


@pytest.mark.parametrize(
    ("what", "message", "records"),
    [
        (_vote, VoteReply, [HardState(2, "n2")]),
        (_vote_in_a_known_term, VoteReply, [HardState(2, "n2")]),
        (_vote_repeated_while_it_is_being_stored, VoteReply, [HardState(2, "n2")]),
        (_refused_vote_in_a_newer_term, VoteReply, [HardState(2, None)]),
        (_candidacy, RequestVote, [HardState(2, "n1")]),
        (_stored_entries, AppendReply, [Entries]),
        (_entries_of_a_newer_term, AppendReply, [HardState(2, None), Entries]),
        (_heartbeat_of_a_newer_term, AppendReply, [HardState(2, None)]),
        (_mismatch_in_a_newer_term, AppendReply, [HardState(2, None)]),
        (_installed_snapshot, AppendReply, [Reset(MARK)]),
        (_offer_of_a_newer_term, AppendReply, [HardState(2, None)]),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_these_messages_follow_what_they_promise(
    what: Callable[[], tuple[Effect, ...]], message: type[Message], records: list[object]
) -> None:
    """Figure 2: updated on stable storage before responding to RPCs."""
    produced = what()
    sends = [place for place, effect in enumerate(produced) if isinstance(effect, Send)]
    persists = [place for place, effect in enumerate(produced) if isinstance(effect, Persist)]
    assert {type(produced[place].message) for place in sends} == {message}
    assert max(persists) < min(sends)
    found = [effect.record for effect in effects_in(produced, Persist)]
    assert [
        type(record) if isinstance(expected, type) else record for record, expected in zip(found, records)
    ] == (records)
    assert len(found) == len(records)


def _pre_vote() -> tuple[Effect, ...]:
    return Member("n1").receive("n2", RequestVote(2, 1, 1, True))


def _pre_candidacy() -> tuple[Effect, ...]:
    return Member("n1").fire_election()


def _leaders_entries() -> tuple[Effect, ...]:
    return Cluster().elect("n1").propose(b"a")


def _heartbeat() -> tuple[Effect, ...]:
    return Cluster().elect("n1").fire_heartbeat()


def _answer_to_a_heartbeat() -> tuple[Effect, ...]:
    return Member("n2", terms=(1,)).receive("n1", append(1, (1, 1)))


def _answer_to_a_stale_leader() -> tuple[Effect, ...]:
    return Member("n2", terms=(1, 3)).receive("n1", append(2, (1, 1)), command(2, 2))


@pytest.mark.parametrize(
    "what",
    [
        _pre_vote,
        _pre_candidacy,
        _leaders_entries,
        _heartbeat,
        _answer_to_a_heartbeat,
        _answer_to_a_stale_leader,
    ],
    ids=lambda value: value.__name__.strip("_"),
)
def test_these_messages_promise_nothing_and_wait_for_no_disk(what: Callable[[], tuple[Effect, ...]]) -> None:
    """They stand before the first Persist of their step."""
    produced = what()
    persists = [place for place, effect in enumerate(produced) if isinstance(effect, Persist)]
    sends = [place for place, effect in enumerate(produced) if isinstance(effect, Send)]
    assert sends and max(sends) < min(persists, default=len(produced))


def test_a_heartbeat_is_acknowledged_only_as_far_as_the_disk_is() -> None:
    """The answer leaves while entries are on their way to the disk, and does not speak for them."""
    member = Member("n2", terms=(1,))
    member.receive("n1", append(1, (1, 1)), command(2, 1), command(3, 1))
    assert messages_in(member.did, AppendReply) == []
    (reply,) = messages_in(member.receive("n1", append(1, (3, 1), round=4)), AppendReply)
    assert reply == AppendReply(1, 4, True, 1)
    member.store()
    assert messages_in(member.did, AppendReply)[-1] == AppendReply(1, 0, True, 3)
    (reply,) = messages_in(member.receive("n1", append(1, (3, 1), round=5)), AppendReply)
    assert reply == AppendReply(1, 5, True, 3)


def test_entries_that_were_truncated_while_being_stored_do_not_count_as_stored() -> None:
    """The Stored event of the old ones says nothing about those that took their place."""
    member = Member("n2", terms=(1,))
    member.receive("n1", append(1, (1, 1)), command(2, 1), command(3, 1))
    first = member.persisted
    member.receive("n3", append(2, (1, 1)), command(2, 2))
    member.state.stored(first)
    assert member.state.stored_index == 1
    member.store()
    assert member.state.stored_index == 2


def test_a_candidate_counts_its_own_vote_only_once_it_is_durable() -> None:
    """Figure 2: votedFor is persistent, also for the candidate's vote for itself."""
    cluster = Cluster(Configuration(epoch=1, voters=("n1",)))
    member = cluster["n1"]
    member.fire_election()
    assert member.state.role != LEADER
    member.store()
    assert member.state.role == LEADER


def test_a_sync_that_began_before_the_vote_does_not_count_it() -> None:
    """What became durable were the entries before it."""
    member = Member("n1", terms=(1,))
    member.receive("n3", append(1, (1, 1)), command(2, 1))
    member.fire_election()
    member.receive("n2", VoteReply(2, True, True))
    assert member.state.role == CANDIDATE
    member.step(Stored(member.now_us, member.persisted - 1))
    member.receive("n2", VoteReply(2, True, False))
    assert member.state.role == CANDIDATE
    member.step(Stored(member.now_us, member.persisted))
    assert member.state.role == LEADER


def test_what_was_not_stored_is_forgotten_without_harm() -> None:
    """A vote whose record was lost in a crash was never said, so it may be given again."""
    member = Member("n1")
    member.receive("n2", RequestVote(2, 1, 1, False))
    assert messages_in(member.did, VoteReply) == []
    member.crash()
    member.start()
    produced = member.receive("n3", RequestVote(2, 1, 1, False))
    assert messages_in(produced, VoteReply) == [VoteReply(2, True, False)]


def test_a_leader_may_lose_its_own_copy_of_what_others_committed() -> None:
    """Ongaro 2014, section 10.2.1: its restart finds the entry at the others."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    leader.propose(b"a")
    cluster.deliver()
    cluster["n2"].store()
    cluster["n3"].store()
    cluster.deliver()
    assert leader.state.commit_index == 3 and len(leader.disk.entries) == 2
    leader.crash()
    leader.start()
    cluster["n2"].lose("n1")
    cluster["n3"].lose("n1")
    cluster.elect("n2")
    cluster.beat("n2")
    cluster.settle()
    assert [member.bodies() for member in cluster.members.values()] == [[b"a"]] * 3
    assert messages_in(leader.did, Append) == []
