"""The driver: persist before send, group commit, apply in order. Rounds and syncs go by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.apps.state_machine import Notice
from quorum.entry import hollow
from quorum.errors import (
    ConfigurationError,
    NotLeader,
    RemoteProtocolError,
    StorageCorrupt,
    StorageError,
)
from quorum.protocols import effects, events
from quorum.protocols.effects import Entries, HardState, Persist, Reset, Send
from quorum.runtime.driver import APPLY_BYTES_MAX, ENTRY_BYTES, LOT_BYTES_MAX, LOT_ENTRIES_MAX
from quorum.runtime.messages import Complaints
from runtime.driver_world import DriverWorld, batch, entry, mark_at


def _persist(first: int, count: int = 1) -> Persist:
    return Persist(Entries(first, tuple(entry(first + place) for place in range(count))))


def _sends(world: DriverWorld) -> list[object]:
    return [message for _, message, _ in world.transport.sent]


# Persist before send.


def test_what_stands_before_a_persist_leaves_before_the_disk_is_done() -> None:
    world = DriverWorld().start()
    world.does(Send("n2", "early"), _persist(1), Send("n2", "late"))
    assert world.trace == [("stage", 1, 1), ("send", "n2", "early"), "flush", "sync"]


def test_what_follows_a_persist_waits_until_it_is_durable() -> None:
    """DESIGN: order in the tuple is the durability rule."""
    world = DriverWorld().start()
    world.does(Persist(HardState(2, "n2")), Send("n2", "vote"))
    assert _sends(world) == []
    world.log.complete()
    assert _sends(world) == ["vote"]
    assert world.trace[-2:] == [("send", "n2", "vote"), "flush"]


def test_a_later_step_does_not_wait_for_an_earlier_persist() -> None:
    """Only what follows a Persist in its own tuple is held."""
    world = DriverWorld().start()
    world.does(_persist(1), Send("n2", "acknowledged"))
    world.does(Send("n2", "heartbeat answered"))
    assert _sends(world) == ["heartbeat answered"]


def test_each_effect_waits_for_the_last_persist_before_it() -> None:
    world = DriverWorld().start()
    world.does(_persist(1), Send("n2", "first"), _persist(2), Send("n2", "second"))
    world.log.complete()
    assert _sends(world) == ["first", "second"]


def test_a_bare_barrier_waits_for_what_is_pending() -> None:
    world = DriverWorld().start()
    world.does(_persist(1))
    world.does(Persist(None), Send("n2", "behind the barrier"))
    world.log.complete()
    assert _sends(world) == []
    world.driver.run()
    world.log.complete()
    assert _sends(world) == ["behind the barrier"]


def test_what_came_during_a_sync_shares_the_next_one() -> None:
    """Group commit: one sync for all that waits, never two at once."""
    world = DriverWorld().start()
    for n in range(1, 5):
        world.does(_persist(n), Send("n2", n))
    assert world.trace.count("sync") == 1
    world.log.complete()
    assert _sends(world) == [1]
    world.driver.run()
    assert world.trace.count("sync") == 2
    world.log.complete()
    assert _sends(world) == [1, 2, 3, 4]
    world.driver.run()
    assert world.trace.count("sync") == 2


def test_the_replica_hears_what_is_stored_after_what_waited_for_it_has_left() -> None:
    world = DriverWorld().start()
    world.does(_persist(1), _persist(2), Send("n2", "stored"))
    world.log.complete()
    assert world.stored() == []
    world.does(_persist(3))
    assert world.stored() == [2]
    world.log.complete()
    world.driver.run()
    assert world.stored() == [2, 3]


def test_a_sync_that_ends_at_once_holds_nothing_up() -> None:
    """A follower on a fast disk syncs on the loop: its round ends with the answer, and applies."""
    world = DriverWorld().start()
    world.log.at_once = True
    for n in range(1, 4):
        world.does(_persist(n), Send("n2", n), effects.Commit(n, n))
        assert world.told_to.applied_indexes == list(range(1, n + 1))
    assert _sends(world) == [1, 2, 3]


def test_applying_waits_a_round_while_a_sync_begins() -> None:
    """The syncing thread is let go first; the round after applies."""
    world = DriverWorld().start()
    world.holds(1)
    world.replica.script.append((effects.Commit(1, 1), _persist(2)))
    world.driver.receive("n2", "an event")
    assert world.driver.run()
    assert world.told_to.applied_indexes == []
    assert not world.driver.run()
    assert world.told_to.applied_indexes == [1]


def test_entries_are_attached_as_they_are_stored() -> None:
    world = DriverWorld().start()
    world.holds(5)
    world.does(Send("n2", "append", 2, 4))
    assert world.transport.sent == [("n2", "append", (entry(2), entry(3), entry(4)))]


@given(
    steps=st.lists(st.lists(st.booleans(), max_size=4), max_size=10),
    completions=st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_nothing_leaves_before_what_it_follows_is_durable(
    steps: list[list[bool]], completions: list[bool]
) -> None:
    """I1, for any tuples: True is a Persist, False a Send that names how many Persists precede it in its tuple."""
    world = DriverWorld().start()
    persisted = 0
    wanted = 0
    for step, complete in zip(steps, completions, strict=False):
        produced: list[effects.Effect] = []
        behind = 0
        for is_persist in step:
            if is_persist:
                persisted += 1
                behind = persisted
                produced.append(_persist(persisted))
            else:
                wanted += 1
                produced.append(Send("n2", behind))
        world.does(*produced)
        if complete and world.log.syncs:
            world.log.complete()
        world.driver.run()
        durable = max(world.stored(), default=0)
        assert all(message <= durable for message in _sends(world))  # type: ignore[operator]
    while world.log.syncs:
        world.log.complete()
        world.driver.run()
    assert len(_sends(world)) == wanted
    assert max(world.stored(), default=0) == persisted


def test_while_a_snapshot_is_written_no_sync_is_done_in_place() -> None:
    """It may take a hundred times as long as those before it."""
    world = DriverWorld().start()
    world.does(Persist(HardState(2, None)))
    world.log.complete()
    world.snapshots.is_busy = True
    world.does(Persist(HardState(3, None)))
    assert world.log.in_background == [False, True]


# A disk that fails.


def test_a_failed_sync_stops_everything() -> None:
    """DESIGN, section 4: an fsync error stops the node; whoever waits learns that the outcome is unknown."""
    world = DriverWorld().start()
    world.replica.leader = "n1"
    world.does(effects.Admitted((7, 8), 1, 1), _persist(1, 2), Send("n2", "stored"))
    world.log.complete(StorageError("fsync failed"))
    assert world.told == [("unknown", 7, 8), ("failed", "StorageError")]
    assert _sends(world) == [] and world.driver.stopped
    world.driver.receive("n2", "more")
    assert not world.driver.run()
    assert world.stored() == []


def test_a_sync_that_ends_after_the_stop_changes_nothing() -> None:
    world = DriverWorld().start()
    world.does(_persist(1), Send("n2", "stored"))
    world.driver.stop()
    world.log.complete()
    assert _sends(world) == []


def test_damage_found_at_the_start_is_raised() -> None:
    world = DriverWorld()

    def recover() -> events.Durable:
        raise StorageCorrupt("damaged")

    world.log.recover = recover  # type: ignore[method-assign]
    with pytest.raises(StorageCorrupt):
        world.driver.start(None)


# Requests.


def test_what_waits_is_proposed_together_in_order() -> None:
    world = DriverWorld().start()
    for token in (5, 6, 7):
        world.driver.propose(token, batch(b"%d" % token))
    world.driver.read(8)
    world.driver.read(9)
    world.driver.run()
    assert world.replica.events == [
        events.Proposed(1_000, (5, 6, 7), (batch(b"5"), batch(b"6"), batch(b"7"))),
        events.ReadRequested(1_000, (8, 9)),
    ]


def test_whoever_proposed_hears_what_applying_gave() -> None:
    world = DriverWorld().start()
    world.replica.leader = "n1"
    world.does(effects.Admitted((7, 8), 1, 1), Persist(Entries(1, (entry(1, 1, b"a"), entry(2, 1, b"b")))))
    world.log.complete()
    world.does(effects.Commit(1, 2))
    assert world.told == [("applied", 7, 1, b"a"), ("applied", 8, 2, b"b")]


def test_an_entry_may_be_applied_before_this_disk_has_it() -> None:
    """A replication quorum of others may have decided it."""
    world = DriverWorld().start()
    world.replica.leader = "n1"
    world.does(effects.Admitted((7,), 1, 1), _persist(1))
    world.does(effects.Commit(1, 1))
    assert world.told == [("applied", 7, 1, b"x")]


def test_a_deposed_leader_does_not_know_the_outcome_of_what_it_admitted() -> None:
    """The next leader may commit it or not."""
    world = DriverWorld().start()
    world.replica.leader = "n1"
    world.does(effects.Admitted((7, 8), 1, 1), _persist(1, 2))
    world.does(effects.RoleChanged("follower", 2, None))
    assert ("unknown", 7, 8) in world.told
    world.does(effects.Commit(1, 2))
    assert not any(told[0] == "applied" for told in world.told)


def test_an_entry_of_another_term_at_its_place_is_no_answer() -> None:
    """The index alone does not say whose entry it is."""
    world = DriverWorld().start()
    world.does(effects.Admitted((7,), 1, 1), _persist(1))
    world.does(Persist(Entries(1, (entry(1, 2, b"another"),))))
    world.does(effects.Commit(1, 1))
    assert world.told == [("unknown", 7)]


def test_refusals_are_passed_on() -> None:
    world = DriverWorld().start()
    world.does(effects.Refused((4, 5), NotLeader("n2")))
    assert world.told == [("refused", 4, 5, "NotLeader")]


def test_a_read_waits_until_its_index_is_applied() -> None:
    world = DriverWorld().start()
    world.holds(3)
    world.does(effects.ReadReady((1,), 2))
    assert world.told == []
    world.does(effects.Commit(1, 2))
    world.does(effects.ReadReady((2,), 2), effects.ReadReady((3,), 3))
    assert world.told == [("read ready", 1), ("read ready", 2)]
    world.does(effects.Commit(3, 3))
    assert world.told[-1] == ("read ready", 3)


# Applying.


def test_a_backlog_is_applied_in_bounded_rounds() -> None:
    """So that heartbeats are not held up: each round applies about APPLY_BYTES_MAX."""
    world = DriverWorld().start()
    body = bytes(APPLY_BYTES_MAX // 8)
    world.holds(40, body)
    world.replica.script.append((effects.Commit(1, 40),))
    world.driver.receive("n2", "an event")
    rounds = 1
    applied = [0]
    while True:
        more = world.driver.run()
        applied.append(world.driver.applied_index)
        if not more:
            break
        rounds += 1
        world.driver.receive("n2", "a heartbeat")
    assert world.told_to.applied_indexes == list(range(1, 41))
    assert 5 <= rounds <= 8
    assert max(after - before for before, after in pairwise(applied)) <= 8
    assert len([event for event in world.replica.events if isinstance(event, events.Received)]) == rounds


def test_a_backlog_of_tiny_entries_is_applied_in_bounded_rounds_and_lots() -> None:
    """They have few bytes and take long all the same, as a newcomer that catches up would find."""
    world = DriverWorld().start()
    per_round = APPLY_BYTES_MAX // ENTRY_BYTES
    world.holds(5 * per_round)
    applied = []
    world.told_to.moved = lambda: applied.append(world.driver.applied_index)  # type: ignore[method-assign]
    rounds = [0]
    world.does(effects.Commit(1, 5 * per_round))
    rounds.append(world.driver.applied_index)
    while world.driver.run():
        rounds.append(world.driver.applied_index)
    assert world.told_to.applied_indexes == list(range(1, 5 * per_round + 1))
    assert max(after - before for before, after in pairwise(rounds)) <= per_round + LOT_ENTRIES_MAX
    assert max(after - before for before, after in pairwise([0, *applied])) <= LOT_ENTRIES_MAX


def test_a_node_with_the_folder_of_a_witness_says_so_and_what_to_do() -> None:
    """A witness that was evicted and admitted as a voter, on the folder it had."""
    world = DriverWorld().start()
    world.log.entries[1] = hollow(entry(1))
    with pytest.raises(ConfigurationError, match=r"kept by a witness.*Empty the folder"):
        world.does(effects.Commit(1, 1))
    assert world.driver.applied_index == 0


def test_a_commit_that_was_held_does_not_take_a_later_one_back() -> None:
    """A follower's commit may wait behind the persisting of a new term, while the next one does not."""
    world = DriverWorld().start()
    world.holds(15)
    world.does(Persist(HardState(3, None)), effects.Commit(1, 10))
    world.does(effects.Commit(11, 15))
    assert world.driver.applied_index == 15
    world.log.complete()
    assert world.driver.commit_index == 15


def test_a_peer_that_breaks_the_protocol_is_reported_and_the_round_goes_on() -> None:
    world = DriverWorld().start()
    world.replica.script.append(RemoteProtocolError("n3", "sent nonsense"))
    world.replica.script.append((Send("n2", "fine"),))
    world.driver.receive("n3", "nonsense")
    world.driver.receive("n2", "sense")
    world.driver.run()
    assert world.told == [("misbehaved", "n3")]
    assert _sends(world) == ["fine"]


def test_timers_are_passed_on_both_ways() -> None:
    world = DriverWorld().start()
    world.does(effects.SetTimer("election", 500), effects.SetTimer("heartbeat", 100))
    world.does(effects.CancelTimer("heartbeat"))
    assert world.timers.delays == {"election": 500}
    world.driver.timer_fired("election")
    world.driver.peer_lost("n3")
    world.driver.run()
    assert world.replica.events[-2:] == [events.TimerFired(1_000, "election"), events.PeerLost(1_000, "n3")]


# Watchers.


def test_watchers_look_at_what_changed_a_few_times_a_round() -> None:
    """The application keeps its newest changes only: a long round must not outrun whoever watches."""
    world = DriverWorld().start()
    world.holds(9, bytes(LOT_BYTES_MAX // 3))
    world.does(effects.Commit(1, 9))
    assert world.told_to.applied_indexes == list(range(1, 10))
    assert world.told_to.moves == [2, 4, 6, 8, 9]


def test_notices_go_to_whoever_watches() -> None:
    world = DriverWorld().start()
    world.told_to.notices = (Notice(b"bell", b"rings"),)
    world.holds(2)
    world.does(effects.Commit(1, 2))
    assert [told for told in world.told if told[0] == "noticed"] == [
        ("noticed", 1, b"bell"),
        ("noticed", 2, b"bell"),
    ]


def test_watchers_hear_of_a_jump_to_a_snapshot() -> None:
    world = DriverWorld().start()
    world.snapshots.files[9] = (mark_at(9), b"state at 9")
    world.does(Persist(Reset(mark_at(9))))
    assert world.told_to.jumps == [9]


# Where it stands.


def test_a_start_begins_at_the_newest_snapshot() -> None:
    world = DriverWorld(events.Durable(term=3, snapshot=mark_at(7)))
    world.snapshots.files[7] = (mark_at(7), b"state at 7")
    world.driver.start(None)
    assert world.told_to.restored == [b"state at 7"]
    assert (world.driver.applied_index, world.driver.commit_index) == (7, 7)
    assert world.told == [("stood at", 7)]


def test_a_reset_makes_log_and_application_stand_at_the_snapshot() -> None:
    world = DriverWorld().start()
    world.holds(3)
    world.snapshots.files[9] = (mark_at(9), b"state at 9")
    world.does(effects.ReadReady((1,), 8), Persist(Reset(mark_at(9))), Send("n2", "stored"))
    assert world.told_to.restored == [b"state at 9"]
    assert world.driver.applied_index == 9
    assert _sends(world) == [] and world.log.entries == {}
    world.driver.run()
    assert ("stood at", 9) in world.told and ("read ready", 1) in world.told
    world.log.complete()
    assert _sends(world) == ["stored"]


def test_compaction_trims_the_log() -> None:
    world = DriverWorld().start()
    world.does(effects.Compacted(42))
    assert world.log.trimmed == 42


def test_a_message_that_waited_until_its_entries_were_compacted_away_is_lost_and_the_node_goes_on() -> None:
    """A disk may stall for longer than it takes until a snapshot stands in place of what was to be sent."""
    world = DriverWorld().start()
    world.holds(5)
    world.does(Persist(HardState(2, None)), Send("n2", "old", 2, 3), Send("n2", "vote"))
    world.does(effects.Compacted(4))
    for index in (1, 2, 3):
        del world.log.entries[index]
    world.log.complete()
    assert _sends(world) == ["vote"]
    world.does(Send("n2", "new", 4, 5))
    assert world.transport.sent[-1] == ("n2", "new", (entry(4), entry(5)))


def test_a_message_that_waited_until_a_fetched_state_took_the_place_of_its_entries_is_lost() -> None:
    world = DriverWorld().start()
    world.holds(3)
    world.snapshots.files[9] = (mark_at(9), b"state at 9")
    world.does(Persist(HardState(2, None)), Send("n2", "old", 2, 3))
    world.does(Persist(Reset(mark_at(9))))
    world.log.complete()
    assert _sends(world) == []


# Who watches over the committee.


class Attending:
    """runtime.ports.Attendant, which notes what it hears."""

    timer = "watch"

    def __init__(self) -> None:
        self.heard_of: list[object] = []

    def start(self, notes: dict[str, bytes]) -> None:
        self.heard_of.append(("start", notes))

    def heard(self, sender: str, message: object) -> bool:
        self.heard_of.append((sender, message))
        return message == "mine"

    def fired(self) -> None:
        self.heard_of.append("fired")

    def accused(self, evidence: object) -> None:
        self.heard_of.append(evidence)

    def approved(self, token: int, error: Exception | None) -> None:
        self.heard_of.append((token, error))


def test_the_attendant_hears_every_message_and_keeps_its_own_and_its_timer_from_the_replica() -> None:
    world, attending = DriverWorld(), Attending()
    world.driver.attend(attending)
    world.start()
    world.driver.receive("n2", "mine")
    world.driver.receive("n2", "other")
    world.driver.timer_fired("watch")
    world.driver.run()
    assert attending.heard_of == [("start", {}), ("n2", "mine"), ("n2", "other"), "fired"]
    received = [event.message for event in world.replica.events if isinstance(event, events.Received)]
    assert received == ["other"]
    assert not any(isinstance(event, events.TimerFired) for event in world.replica.events)


def test_what_becomes_of_an_approval_goes_to_whoever_gave_the_token() -> None:
    world, attending = DriverWorld(), Attending()
    world.driver.attend(attending)
    world.start()
    error = NotLeader(None)
    world.does(effects.Completed((-1,)), effects.Refused((-2,), error), effects.Completed((7,)))
    assert attending.heard_of[-2:] == [(-1, None), (-2, error)]
    assert ("completed", 7) in world.told


def test_a_note_of_the_attendant_is_synced_and_nothing_of_the_replica_waits_for_it() -> None:
    world = DriverWorld().start()
    world.driver.keep(effects.Note("evictions", b"x"))
    world.driver.run()
    assert world.trace[-1] == "sync"
    world.log.complete()
    stored = [event.up_to for event in world.replica.events if isinstance(event, events.Stored)]
    assert stored in ([], [0])
    world.driver.stop()
    before = list(world.trace)
    world.driver.keep(effects.Note("evictions", b"y"))
    assert world.trace == before, "a node that stopped writes nothing"


def test_messages_of_an_attendant_are_dropped_where_there_is_none() -> None:
    world = DriverWorld().start()
    world.driver.receive("n2", Complaints(()))
    world.driver.run()
    assert not any(isinstance(event, events.Received) for event in world.replica.events)
