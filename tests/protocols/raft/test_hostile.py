"""Messages that no correct peer sends: evidence against the sender, and no reason to change anything."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.raft.members import FIVE, THREE, Cluster, Member, append, command, configuration_entry
from quorum.entry import CONFIGURATION, encode_entry
from quorum.errors import LocalProtocolError, RemoteProtocolError
from quorum.header import Batch
from quorum.model import Configuration, Recovery
from quorum.protocols.events import Event, Loaded, SnapshotMark
from quorum.protocols.raft.messages import Append, AppendReply, RequestVote, SnapshotOffer, VoteReply
from quorum.protocols.raft.state import CANDIDATE, LEADER, PRE_CANDIDATE

BROKEN = Configuration(epoch=1, voters=("n1", "n2"), reads="n1 * n9")
RECOVERED = Configuration(
    epoch=2, voters=("n1", "n2", "n3"), recovered=Recovery(1, "a" * 16, "n1", 5, 3, ("n9",), "somebody", 0)
)
TOO_MANY = Configuration(epoch=3, voters=("n1",), outgoing=Configuration(outgoing=Configuration()))


def _raw_configuration(index: int, term: int, body: bytes) -> bytes:
    return encode_entry(index, term, CONFIGURATION, 1, 0, 0, Batch(0, 0, 0, 0, 1, body))


def dump(value: object) -> object:
    """Everything that an object holds, as plain values; not the time of the last event, nor its effects."""
    if isinstance(value, Random):
        return value.getstate()
    if isinstance(value, dict):
        return {key: dump(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [dump(item) for item in value]
    if type(value).__module__.startswith("quorum.protocols.raft") or type(value).__name__ in {
        "ReplicaLog",
        "Tally",
    }:
        names = getattr(value, "__dict__", None) or getattr(type(value), "__slots__", ())
        return {name: dump(getattr(value, name)) for name in sorted(names) if name not in {"now_us", "out"}}
    if type(value).__name__ in {"deque", "set"}:
        return sorted(value) if isinstance(value, set) else list(value)  # type: ignore[call-overload]
    return value if not callable(value) else None


def _follower() -> Member:
    """Term 3, led by n1; entries 1 to 3 are committed, 4 and 5 are not."""
    member = Member("n2", terms=(1, 1, 2, 2, 3))
    member.receive("n1", append(3, (5, 3), commit_index=3))
    assert member.state.commit_index == 3
    return member


def _leader() -> Member:
    cluster = Cluster()
    leader = cluster.elect("n1")
    leader.propose(b"a")
    leader.read(1)
    return leader


def _with_byte(entry: bytes, at: int, value: int) -> bytes:
    return entry[:at] + bytes((value,)) + entry[at + 1 :]


HOSTILE: dict[str, tuple[object, tuple[bytes, ...]]] = {
    "no entry at all": (append(3, (5, 3)), (b"short",)),
    "an empty entry": (append(3, (5, 3)), (b"",)),
    "a gap before the entries": (append(3, (5, 3)), (command(7, 3),)),
    "a gap between the entries": (append(3, (5, 3)), (command(6, 3), command(8, 3))),
    "an entry twice": (append(3, (5, 3)), (command(6, 3), command(6, 3))),
    "decreasing terms": (append(3, (4, 2)), (command(5, 3), command(6, 2))),
    "a term below the one before": (append(3, (5, 3)), (command(6, 2),)),
    "a term above the leader's": (append(3, (5, 3)), (command(6, 4),)),
    "a negative index": (append(3, (-2, 0)), ()),
    "another entry where one is committed": (append(3, (1, 1)), (command(2, 2), command(3, 2))),
    "another term where one is committed": (append(4, (2, 2)), ()),
    "a lower term behind what is committed": (append(3, (2, 1)), (command(3, 1), command(4, 1))),
    "an entry of a newer format": (append(3, (5, 3)), (command(6, 3), _with_byte(command(7, 3), 17, 3))),
    "an entry of an unknown kind": (append(3, (5, 3)), (_with_byte(command(6, 3), 16, 9),)),
    "a configuration that is none": (append(3, (5, 3)), (_raw_configuration(6, 3, b"\xff\x00"),)),
    "a configuration of strangers": (append(3, (5, 3)), (configuration_entry(6, 3, BROKEN),)),
    "three configurations at once": (append(3, (5, 3)), (configuration_entry(6, 3, TOO_MANY),)),
    "a configuration of another incarnation": (append(3, (5, 3)), (configuration_entry(6, 3, RECOVERED),)),
    "a snapshot of another incarnation": (SnapshotOffer(3, 0, SnapshotMark(9, 3, 0, RECOVERED)), ()),
    "a snapshot of strangers": (SnapshotOffer(3, 0, SnapshotMark(9, 3, 0, BROKEN)), ()),
    "a message of something else": ("hello", ()),
    "nothing": (None, ()),
}


@pytest.mark.parametrize(("message", "attached"), HOSTILE.values(), ids=HOSTILE)
def test_what_no_leader_may_send_is_evidence_and_changes_nothing(
    message: object, attached: tuple[bytes, ...]
) -> None:
    """protocols.replica.Replica.step: RemoteProtocolError, state unchanged."""
    member = _follower()
    before = dump(member.replica)
    with pytest.raises(RemoteProtocolError) as raised:
        member.receive("n1", message, *attached)
    assert raised.value.sender == "n1"
    assert dump(member.replica) == before


@pytest.mark.parametrize(
    "message",
    [append(3, (5, 3)), SnapshotOffer(3, 0, SnapshotMark(9, 3, 0, THREE))],
    ids=lambda message: type(message).__name__,
)
def test_a_second_leader_in_a_term_is_evidence(message: object) -> None:
    """Raft, figure 3, election safety: at most one leader can be elected in a given term."""
    member = _follower()
    before = dump(member.replica)
    with pytest.raises(RemoteProtocolError, match="which n1 leads"):
        member.receive("n3", message)
    assert dump(member.replica) == before


@pytest.mark.parametrize(
    "message",
    [
        append(2, (1, 1)),
        AppendReply(2, 7, True, 2),
        AppendReply(2, 0, True, 99),
        SnapshotOffer(2, 0, SnapshotMark(9, 2, 0, THREE)),
    ],
    ids=[
        "another leads my term",
        "a round that never was",
        "an entry that never was",
        "another offers in my term",
    ],
)
def test_what_no_follower_may_send_is_evidence_and_changes_nothing(message: object) -> None:
    leader = _leader()
    before = dump(leader.replica)
    with pytest.raises(RemoteProtocolError):
        leader.receive("n2", message)
    assert dump(leader.replica) == before


def test_a_late_message_of_a_deposed_leader_is_no_evidence() -> None:
    """It may contradict what was committed since, without anybody being at fault."""
    member = _follower()
    member.receive("n3", append(5, (5, 3), commit_index=5))
    (reply,) = [e.message for e in member.receive("n1", append(2, (2, 1)), command(3, 2), command(4, 2))]
    assert reply == AppendReply(5, 0, False, 0)
    member.receive("n1", append(4, (1, 1)), command(2, 3))
    assert member.terms() == [1, 1, 2, 2, 3]


def test_votes_of_strangers_do_not_count() -> None:
    member = Member("n1")
    member.fire_election()
    for stranger in ("n7", "n8", "n9"):
        member.receive(stranger, VoteReply(2, True, True))
    assert member.state.role == PRE_CANDIDATE


def test_the_same_vote_counts_once() -> None:
    member = Member("n1", FIVE)
    member.fire_election()
    for voter in ("n2", "n3"):
        member.receive(voter, VoteReply(2, True, True))
    member.store()
    for _ in range(4):
        member.receive("n2", VoteReply(2, True, False))
    assert member.state.role == CANDIDATE


def test_acknowledgements_of_strangers_do_not_count() -> None:
    leader = _leader()
    assert leader.receive("n9", AppendReply(2, 0, True, 3)) == ()
    assert "n9" not in leader.state.acked


def test_an_event_that_raft_does_not_take_is_the_drivers_fault() -> None:
    with pytest.raises(LocalProtocolError, match="Loaded"):
        Member("n1").step(Loaded(0, b"", ()))
    with pytest.raises(LocalProtocolError, match="Event"):
        Member("n1").step(Event(0))


numbers = st.integers(-3, 12) | st.sampled_from([-(1 << 40), 1 << 40])
counts = st.integers(0, 8)
configurations = st.sampled_from([THREE, FIVE, BROKEN, TOO_MANY, Configuration()])
marks = st.builds(SnapshotMark, counts, counts, counts, configurations)
messages = st.one_of(
    st.builds(RequestVote, numbers, numbers, numbers, st.booleans()),
    st.builds(VoteReply, numbers, st.booleans(), st.booleans()),
    st.builds(AppendReply, numbers, numbers, st.booleans(), numbers, numbers, numbers),
    st.builds(SnapshotOffer, numbers, numbers, marks),
)
entries = st.one_of(
    st.builds(command, counts, counts), st.builds(configuration_entry, counts, counts, configurations), st.binary()
)


@st.composite
def appends(draw: st.DrawFn) -> tuple[Append, tuple[bytes, ...]]:
    """Anything, but often well-formed entries, so that the fuzzing reaches past the checks."""
    message = draw(st.builds(Append, numbers, numbers, numbers, numbers, numbers))
    if draw(st.booleans()):
        return message, tuple(draw(st.lists(entries, max_size=3)))
    term, previous = draw(st.integers(1, 8)), draw(st.integers(0, 6))
    terms = sorted(draw(st.lists(st.integers(0, term), min_size=1, max_size=4)))
    message = Append(term, previous, terms[0], draw(counts), draw(counts))
    attached = tuple(command(previous + place, at) for place, at in enumerate(terms[1:], 1))
    return message, attached


senders = st.sampled_from(["n2", "n3", "n9"])
events = st.one_of(
    st.tuples(st.just("receive"), senders, st.tuples(messages, st.just(())) | appends()),
    st.tuples(st.sampled_from(["store", "election", "heartbeat", "propose", "read", "lost", "install"])),
    st.tuples(st.just("restart")),
)


@given(script=st.lists(events, min_size=1, max_size=40), elected=st.booleans(), several=st.booleans())
def test_no_message_does_more_than_be_refused(
    script: list[tuple[object, ...]], elected: bool, several: bool
) -> None:
    """Random well-typed messages raise nothing but RemoteProtocolError, which leaves the state as it was, and
    break no invariant: I1 and I2 are asserted at each step."""
    member = Member("n1", FIVE if several else THREE)
    if elected:
        member.fire_election()
        for pre in (True, False):
            for voter in ("n2", "n3"):
                member.receive(voter, VoteReply(2, True, pre))
            member.store()
        assert member.state.role == LEADER
    for step in script:
        term, commit_index = member.state.term, member.state.commit_index
        _play(member, step)
        if step[0] != "restart":
            assert (member.state.term, member.state.commit_index) >= (term, commit_index)
        assert member.state.stored_index <= member.state.log.last_index
        assert sorted(member.terms()) == member.terms()


def _play(member: Member, step: tuple[object, ...]) -> None:
    match step:
        case ("receive", str(sender), (message, tuple(attached))):
            before = dump(member.replica)
            try:
                member.receive(sender, message, *attached)
            except RemoteProtocolError:
                assert dump(member.replica) == before
        case ("store",):
            member.store()
        case ("election",):
            member.fire_election()
        case ("heartbeat",):
            member.fire_heartbeat()
        case ("propose",):
            member.propose(b"a", b"b")
        case ("read",):
            member.read(1)
        case ("lost",):
            member.lose("n2")
        case ("install",):
            if member.wanted is not None:
                member.install()
        case ("restart",):
            member.crash()
            member.start()


def test_who_has_no_log_takes_the_incarnation_of_its_leader_and_no_other_one_later() -> None:
    """model.Recovery: two incarnations never meet in one log."""
    member = Member("n2", configuration=None)
    member.receive("n1", append(3, (0, 0)), configuration_entry(1, 3, RECOVERED))
    assert member.state.configuration.incarnation == RECOVERED.incarnation
    with pytest.raises(RemoteProtocolError, match="incarnation"):
        member.receive("n1", append(3, (1, 3)), configuration_entry(2, 3, THREE))
