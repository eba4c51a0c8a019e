"""The states of replicas are compared, through the driver: who differs is named, and its state not passed on."""

from __future__ import annotations

from itertools import count

from quorum.protocols import effects, events
from quorum.runtime.digests import PENDING_MAX, SLICE_US
from quorum.runtime.messages import Chunk, ChunkRequest, PieceRequest, Pieces, StateDigest
from runtime.driver_world import DriverWorld, mark_at


def test_a_replica_whose_state_differs_is_named() -> None:
    world = DriverWorld(digest_entries=5).start()
    world.holds(5)
    world.does(effects.Commit(1, 5))
    assert [message for _, message, _ in world.transport.sent] == [StateDigest(5, b"state")] * 2
    assert world.told == [("state at", 5, b"state")]
    world.driver.receive("n2", StateDigest(5, b"other"))
    assert world.told[1:] == []
    world.driver.receive("n3", StateDigest(5, b"state"))
    assert world.told[1:] == [("diverged", "n2", 5)]


def differing() -> DriverWorld:
    """The state of this node is not that of the two others."""
    world = DriverWorld(digest_entries=5).start()
    world.holds(10)
    world.does(effects.Commit(1, 5))
    world.driver.receive("n2", StateDigest(5, b"other"))
    world.driver.receive("n3", StateDigest(5, b"other"))
    world.driver.run()
    return world


def doubts(world: DriverWorld) -> list[bool]:
    return [event.differs for event in world.replica.events if isinstance(event, events.StateDoubted)]


def test_a_node_that_differs_from_a_quorum_tells_its_replica_and_passes_its_state_to_nobody() -> None:
    """Whoever joined by its snapshot would have its state, and a backup of it would outlive it."""
    world = differing()
    assert world.told[1:] == [("diverged", "n1", 5)] and doubts(world) == [True]
    world.snapshots.files[9] = (mark_at(9), b"0123456789")
    world.transport.sent.clear()
    world.driver.receive("n3", ChunkRequest(9, 4))
    world.driver.receive("n3", PieceRequest(9, b"root", 4))
    gone = Pieces(9, b"root", 4, (), None)
    assert world.transport.sent == [("n3", Chunk(9, 4, True), ()), ("n3", gone, ())]
    world.driver.want_snapshot(77)
    assert world.told[-1] == ("refused", 77, "ConfigurationError")


def test_a_node_that_agrees_with_a_quorum_again_is_as_good_as_before() -> None:
    world = differing()
    world.does(effects.Commit(6, 10))
    world.driver.receive("n2", StateDigest(10, b"state"))
    world.driver.run()
    assert doubts(world) == [True, False]
    world.snapshots.files[9] = (mark_at(9), b"0123456789")
    world.transport.sent.clear()
    world.driver.receive("n3", ChunkRequest(9, 4))
    assert world.transport.sent == [("n3", Chunk(9, 4), (b"456789",))]


def test_a_leader_takes_nobodys_word_for_it() -> None:
    """One other that differs is not a quorum."""
    world = DriverWorld(digest_entries=5).start()
    world.holds(5)
    world.does(effects.Commit(1, 5))
    world.driver.receive("n2", StateDigest(5, b"other"))
    world.driver.run()
    assert doubts(world) == [] and not world.driver.comparison.differs


def test_a_digest_of_a_large_state_is_computed_in_slices_between_rounds() -> None:
    """It is that of the state as it was, and what comes meanwhile does not wait for it."""
    world = DriverWorld(digest_entries=5).start()
    world.told_to.digest_slices = 3
    world.clock.now_us = count(1_000, SLICE_US + 1).__next__  # type: ignore[method-assign]
    world.holds(6)
    world.does(effects.Commit(1, 5))
    assert world.told == []
    world.does(effects.Commit(6, 6))
    assert world.driver.applied_index == 6 and world.told == []
    assert world.run_out() > 1
    assert world.told == [("state at", 5, b"state")]


def test_many_digests_at_once_are_computed_without_waiting() -> None:
    """Each pins a state."""
    world = DriverWorld().start()
    world.told_to.digest_slices = 1
    told: list[tuple[int, bytes]] = []
    for _ in range(PENDING_MAX + 2):
        world.driver.want_digest(lambda *what: told.append(what))
    assert told == [(0, b"state")] * 2
    world.run_out()
    assert told == [(0, b"state")] * (PENDING_MAX + 2)
