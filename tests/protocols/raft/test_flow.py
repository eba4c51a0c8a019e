"""How much is on the way: flow control by count and bytes, the cap on uncommitted bytes, probing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.raft.members import THREE, Cluster, Member, batch, effects_in, messages_in, refusal
from quorum.entry import HEAD_BYTES
from quorum.errors import ConfigurationError, Overloaded
from quorum.protocols.effects import Admitted, Refused, Send
from quorum.protocols.events import Proposed
from quorum.protocols.raft.messages import Append, AppendReply
from quorum.protocols.raft.progress import PROBE, REPLICATE
from quorum.protocols.raft.sending import CATCH_UP_MESSAGE_BYTES
from quorum.protocols.raft.settings import Settings


def _leader(settings: Settings) -> Member:
    return Cluster(THREE, settings).elect("n1")


def _sent(member: Member, to: str = "n2") -> list[tuple[int, int]]:
    """The ranges of entries on their way to one follower."""
    return [
        (e.first, e.last) for e in effects_in(member.did, Send) if e.to == to and e.first <= e.last and e.first > 2
    ]


def test_no_more_messages_are_in_flight_than_allowed() -> None:
    leader = _leader(Settings(inflight_messages_max=2))
    for n in range(5):
        leader.propose(b"%d" % n)
    assert _sent(leader) == [(3, 3), (4, 4)]
    leader.receive("n2", AppendReply(2, 0, True, 3))
    assert _sent(leader) == [(3, 3), (4, 4), (5, 7)]


def test_no_more_bytes_are_in_flight_than_allowed() -> None:
    size = HEAD_BYTES + 1000
    leader = _leader(Settings(inflight_bytes_max=2 * size))
    for _ in range(4):
        leader.propose(bytes(1000))
    assert _sent(leader) == [(3, 3), (4, 4)]
    leader.receive("n2", AppendReply(2, 0, True, 4))
    assert _sent(leader)[2:] == [(5, 6)]


def test_one_that_is_far_behind_gets_little_at_a_time() -> None:
    """So that the leader has time for everybody else: each answer asks for more."""
    settings = Settings(catch_up_bytes_max=10_000, far_behind_entries=500)
    leader = _leader(settings)
    leader.did.clear()
    leader.propose(*[bytes(100)] * 1000)
    sent = _sent(leader)
    entry_bytes = HEAD_BYTES + 100
    assert (sent[-1][1] - 2) * entry_bytes <= 10_000 + CATCH_UP_MESSAGE_BYTES
    leader.receive("n2", AppendReply(2, 0, True, sent[-1][1]))
    assert len(_sent(leader)) > len(sent)


def test_one_that_lacks_few_entries_but_many_bytes_is_far_behind() -> None:
    large = _leader(Settings(catch_up_bytes_max=10_000))
    large.propose(*[bytes(2_000)] * 100)
    small = _leader(Settings(catch_up_bytes_max=10_000))
    small.propose(*[bytes(10)] * 100)
    assert _sent(large)[-1][1] < 102 == _sent(small)[-1][1]


def test_one_message_has_a_bounded_number_of_entries_and_bytes() -> None:
    size = HEAD_BYTES + 100
    leader = _leader(Settings(message_entries_max=3, message_bytes_max=2 * size))
    leader.propose(*[bytes(100)] * 5)
    assert _sent(leader) == [(3, 4), (5, 6), (7, 7)]
    small = _leader(Settings(message_entries_max=3))
    small.propose(*[b"x"] * 5)
    assert _sent(small) == [(3, 5), (6, 7)]


def test_an_entry_larger_than_a_message_travels_alone() -> None:
    leader = _leader(Settings(message_bytes_max=200))
    leader.propose(b"x", bytes(5000), b"y")
    assert _sent(leader) == [(3, 3), (4, 4), (5, 5)]


def test_a_follower_that_is_probed_gets_one_message_at_a_time() -> None:
    """Until it is known where the logs agree; a heartbeat repeats what may be lost."""
    leader = _leader(Settings())
    leader.lose("n2")
    progress = leader.state.progress["n2"]
    assert progress.state == PROBE
    leader.did.clear()
    for n in range(3):
        leader.propose(b"%d" % n)
    assert _sent(leader) == [(3, 3)]
    leader.fire_heartbeat()
    assert _sent(leader) == [(3, 3), (3, 5)]
    leader.receive("n2", AppendReply(2, 0, True, 3))
    assert progress.state == REPLICATE


def test_a_lost_message_is_noticed_by_the_next_heartbeat() -> None:
    """Its previous index is the last entry sent, which the follower does not have."""
    cluster = Cluster()
    leader = cluster.elect("n1")
    leader.propose(b"a")
    cluster.take("n1", "n2")
    cluster.settle()
    assert cluster["n2"].bodies() == []
    cluster.beat("n1")
    cluster.settle()
    assert cluster["n2"].bodies() == [b"a"]


def test_what_exceeds_the_uncommitted_cap_is_refused_definitely() -> None:
    """It was not ordered, and will not be: the client may retry at once elsewhere, or later here."""
    leader = _leader(Settings(uncommitted_bytes_max=300))
    first, second = bytes(250), bytes(100)
    produced = leader.step(Proposed(leader.now_us, (1, 2, 3), (batch(first), batch(second), batch(b"z"))))
    assert [admitted.tokens for admitted in effects_in(produced, Admitted)] == [(1,)]
    assert [refused.tokens for refused in effects_in(produced, Refused)] == [(2, 3)]
    assert isinstance(refusal(produced), Overloaded)
    assert leader.bodies() == [first]
    leader.store()
    leader.receive("n2", AppendReply(2, 0, True, 3))
    assert effects_in(leader.propose(second), Refused) == []


def test_a_batch_above_the_cap_passes_alone() -> None:
    """Otherwise it could never be ordered."""
    leader = _leader(Settings(uncommitted_bytes_max=10))
    assert effects_in(leader.propose(bytes(500)), Refused) == []
    assert isinstance(refusal(leader.propose(b"x")), Overloaded)


def test_inherited_entries_count_for_the_cap() -> None:
    """A new leader's uncommitted bytes begin with those of its predecessors."""
    cluster = Cluster(THREE, Settings(uncommitted_bytes_max=1000))
    cluster.elect("n1").propose(bytes(950))
    cluster.deliver("n1", "n2")
    cluster.cut = {"n1"}
    second = cluster["n2"]
    second.store()
    cluster.packets.clear()
    second.fire_election()
    cluster["n3"].lose("n1")
    for _ in range(3):
        cluster.deliver("n2")
        cluster["n3"].store()
        cluster.deliver("n3")
        second.store()
    assert second.state.role == "leader" and second.state.commit_index < 3
    assert isinstance(refusal(second.propose(bytes(900))), Overloaded)


@given(
    sizes=st.lists(st.integers(0, 400), min_size=1, max_size=30),
    lost=st.sets(st.integers(0, 200)),
    messages=st.integers(1, 5),
    inflight=st.integers(1, 1500),
)
def test_everything_arrives_within_the_limits_whatever_is_lost(
    sizes: list[int], lost: set[int], messages: int, inflight: int
) -> None:
    """The limits are never exceeded by more than the message that reaches them, and never stop the flow."""
    settings = Settings(inflight_messages_max=messages, inflight_bytes_max=inflight, message_bytes_max=500)
    cluster = Cluster(THREE, settings)
    leader = cluster.elect("n1")
    progress = leader.state.progress["n2"]
    delivered = 0
    for size in sizes:
        leader.propose(bytes(size))
        for packet in cluster.take():
            delivered += 1
            if delivered not in lost:
                cluster[packet.to].receive(packet.sender, packet.message, *packet.attached)
        assert progress.inflight_bytes <= inflight + max(500, HEAD_BYTES + 400)
        cluster.store()
    for _ in range(12):
        cluster.beat("n1")
        cluster.settle()
    assert cluster["n2"].seen.entries == cluster["n3"].seen.entries == leader.seen.entries
    assert leader.state.commit_index == leader.state.log.last_index
    assert progress.inflight_bytes == 0


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"heartbeat_us": 0}, "must be positive"),
        ({"inflight_messages_max": -1}, "must be positive"),
        ({"heartbeat_us": 100, "election_timeout_us": 299}, "three heartbeats"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, int], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        Settings(**wrong)


def test_a_heartbeat_carries_no_entries_once_the_follower_has_all() -> None:
    leader = _leader(Settings())
    produced = leader.fire_heartbeat()
    assert [(m.previous_index, m.commit_index) for m in messages_in(produced, Append, "n2")] == [(2, 2)]
    assert all(effect.first > effect.last for effect in effects_in(produced, Send))


def test_a_leader_knows_who_is_behind_and_a_follower_knows_nobody() -> None:
    cluster = Cluster(THREE)
    leader = cluster.elect("n1")
    leader.propose(b"x")
    assert leader.replica.behind(3) == {"n2", "n3"}
    leader.receive("n2", AppendReply(2, 0, True, 3))
    assert leader.replica.behind(3) == {"n3"}
    assert cluster["n2"].replica.behind(3) == frozenset()
