"""Snapshots of a replica: taken, given and got, through the driver that runs it. Writes and loads end by hand."""

from __future__ import annotations

import pytest

from quorum.errors import ConfigurationError, QuorumError, StorageCorrupt, StorageError, StorageFullError
from quorum.protocols import effects, events
from quorum.protocols.effects import Persist, Reset
from quorum.runtime.messages import Chunk, ChunkRequest
from runtime.driver_world import DriverWorld, entry, mark_at


def _sends(world: DriverWorld) -> list[object]:
    return [message for _, message, _ in world.transport.sent]


def test_a_snapshot_is_of_exactly_the_index_that_was_asked_for() -> None:
    """Applying stops there for a moment, and goes on while the snapshot is written."""
    world = DriverWorld().start()
    world.holds(9)
    world.does(effects.Commit(1, 9), effects.Checkpoint(mark_at(5)))
    ((mark, chunks, done),) = world.snapshots.writes
    assert (mark.index, mark.time_us, chunks) == (5, 5, [b"state at 5"])
    assert world.driver.applied_index == 9
    done(mark_at(5), None)
    world.driver.run()
    assert world.replica.events[-1] == events.CheckpointReady(1_000, mark_at(5))


def test_a_snapshot_that_finds_no_space_is_tried_again_later() -> None:
    world = DriverWorld().start()
    world.holds(5)
    world.does(effects.Commit(1, 5), effects.Checkpoint(mark_at(5)))
    world.snapshots.writes.popleft()[2](None, StorageFullError("no space"))
    world.driver.run()
    assert world.told == [("degraded",)] and not world.driver.stopped
    assert world.replica.events[-1] == events.CheckpointFailed(1_000)


def test_a_snapshot_that_cannot_be_written_stops_the_node() -> None:
    world = DriverWorld().start()
    world.holds(5)
    world.does(effects.Commit(1, 5), effects.Checkpoint(mark_at(5)))
    world.snapshots.writes.popleft()[2](None, StorageError("the disk is gone"))
    assert world.told == [("failed", "StorageError")] and world.driver.stopped


def test_a_checkpoint_that_a_fetched_snapshot_overtook_is_answered_by_it() -> None:
    """Otherwise the replica would wait for it for ever, and never compact its log again."""
    world = DriverWorld().start()
    world.does(effects.Checkpoint(mark_at(5)))
    world.snapshots.files[9] = (mark_at(9), b"state at 9")
    world.does(Persist(Reset(mark_at(9))))
    world.log.complete()
    world.log.entries[10] = entry(10)
    world.does(effects.Commit(10, 10))
    world.run_out()
    assert not world.snapshots.writes
    assert events.CheckpointReady(1_000, mark_at(9)) in world.replica.events


def test_a_snapshot_is_fetched_and_then_installed() -> None:
    world = DriverWorld().start()
    world.does(effects.FetchSnapshot("n2", mark_at(9, size=10)))
    assert _sends(world) == [ChunkRequest(9, 0)]
    world.driver.receive("n2", Chunk(9, 0), (b"01234",))
    world.driver.receive("n2", Chunk(9, 5), (b"56789",))
    world.driver.run()
    assert _sends(world) == [ChunkRequest(9, 0), ChunkRequest(9, 5)]
    assert world.replica.events[-1] == events.Installed(1_000, mark_at(9, size=10))


@pytest.mark.parametrize("error", [StorageCorrupt("another digest"), ConfigurationError("another cluster")])
def test_a_snapshot_that_is_not_what_was_promised_is_evidence(error: QuorumError) -> None:
    world = DriverWorld().start()
    world.snapshots.refusal = error
    world.does(effects.FetchSnapshot("n2", mark_at(9, size=5)))
    world.driver.receive("n2", Chunk(9, 0), (b"01234",))
    world.driver.run()
    assert world.told == [("misbehaved", "n2")]
    assert not any(isinstance(event, events.Installed) for event in world.replica.events)
    world.does(effects.FetchSnapshot("n2", mark_at(9, size=5)))
    assert _sends(world) == [ChunkRequest(9, 0), ChunkRequest(9, 0)]


@pytest.mark.parametrize(
    ("error", "told", "stopped"),
    [
        (StorageFullError("no space"), ("degraded",), False),
        (StorageError("gone"), ("failed", "StorageError"), True),
    ],
    ids=["full", "failing"],
)
def test_a_disk_that_refuses_a_fetched_snapshot_is_nobody_elses_fault(
    error: StorageError, told: tuple[str, ...], stopped: bool
) -> None:
    world = DriverWorld().start()
    world.snapshots.refusal = error
    world.does(effects.FetchSnapshot("n2", mark_at(9, size=5)))
    world.driver.receive("n2", Chunk(9, 0), (b"01234",))
    assert world.told == [told] and world.driver.stopped == stopped


def test_a_part_that_is_complete_after_a_restart_is_installed_without_asking() -> None:
    """Nobody would answer a request for what lies behind the end."""
    world = DriverWorld().start()
    world.snapshots.receive(mark_at(9, size=5), 0, b"01234")
    world.does(effects.FetchSnapshot("n2", mark_at(9, size=5)))
    assert _sends(world) == []
    assert world.replica.events[-1] == events.Installed(1_000, mark_at(9, size=5))


def test_a_fetch_ends_with_the_connection_to_its_source() -> None:
    world = DriverWorld().start()
    world.does(effects.FetchSnapshot("n2", mark_at(9, size=10)))
    world.driver.peer_lost("n2")
    world.driver.receive("n2", Chunk(9, 0), (b"01234",))
    world.driver.run()
    assert _sends(world) == [ChunkRequest(9, 0)]


def test_a_peer_that_fetches_is_served() -> None:
    world = DriverWorld().start()
    world.snapshots.files[9] = (mark_at(9), b"0123456789")
    world.driver.receive("n3", ChunkRequest(9, 4))
    assert world.transport.sent == [("n3", Chunk(9, 4), (b"456789",))]


def test_a_fetched_snapshot_is_loaded_beside_the_state_and_taken_over_at_once() -> None:
    """Until then the node goes on from what it has; offers that come again change nothing."""
    world = DriverWorld().start()
    world.told_to.has_spare = True
    mark = mark_at(9, size=5)
    world.does(effects.FetchSnapshot("n2", mark))
    world.driver.receive("n2", Chunk(9, 0), (b"01234",))
    world.does(effects.FetchSnapshot("n2", mark))
    assert _sends(world) == [ChunkRequest(9, 0)] and world.told_to.restored == []
    world.snapshots.end_load()
    world.does()
    assert world.replica.events[-2] == events.Installed(1_000, mark)
    world.does(Persist(Reset(mark)))
    assert world.told_to.restored == [b"01234"] and "adopt" in world.trace
    assert world.driver.applied_index == 9
    (spare,) = world.told_to.spares
    assert spare.restored == b"", "what was replaced is freed after the round"


def test_what_was_loaded_is_not_taken_over_for_another_snapshot() -> None:
    world = DriverWorld().start()
    world.told_to.has_spare = True
    world.snapshots.receive(mark_at(9, size=5), 0, b"01234")
    world.does(effects.FetchSnapshot("n2", mark_at(9, size=5)))
    world.snapshots.end_load()
    world.snapshots.files[12] = (mark_at(12), b"state at 12")
    world.does(Persist(Reset(mark_at(12))))
    assert world.told_to.restored == [b"state at 12"] and "adopt" not in world.trace


def test_a_snapshot_that_this_release_cannot_read_stops_the_node() -> None:
    world = DriverWorld().start()
    world.told_to.has_spare = True
    world.snapshots.receive(mark_at(9, size=5), 0, b"01234")
    world.does(effects.FetchSnapshot("n2", mark_at(9, size=5)))
    _, _, done = world.snapshots.loads.pop()
    done(ValueError("another format"))
    assert world.told == [("failed", "StorageCorrupt")] and world.driver.stopped


def test_a_witness_writes_one_place_at_a_time() -> None:
    """The leader repeats its offer with each heartbeat, and a disk may take longer than that for an empty file."""
    world = DriverWorld().start()
    world.told_to.keeps_state = False
    world.does(effects.FetchSnapshot("n2", mark_at(9)))
    world.does(effects.FetchSnapshot("n2", mark_at(9)))
    ((mark, chunks, done),) = world.snapshots.writes
    assert (mark, chunks) == (mark_at(9, digest=b"", size=0), [])
    world.snapshots.writes.clear()
    done(mark, None)
    world.driver.run()
    assert world.replica.events[-1] == events.Installed(1_000, mark)
    world.does(effects.FetchSnapshot("n2", mark_at(12)))
    assert len(world.snapshots.writes) == 1


def test_a_snapshot_that_is_due_while_a_witness_writes_what_it_fetched_is_asked_for_again() -> None:
    world = DriverWorld().start()
    world.told_to.keeps_state = False
    world.holds(5)
    world.does(effects.FetchSnapshot("n2", mark_at(9)))
    world.does(effects.Commit(1, 5), effects.Checkpoint(mark_at(5)))
    world.driver.run()
    assert len(world.snapshots.writes) == 1
    assert world.replica.events[-1] == events.CheckpointFailed(1_000)
