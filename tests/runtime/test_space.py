"""A full disk degrades a node and stops nothing: nothing unsynced is acknowledged, and it goes on by itself."""

from __future__ import annotations

from quorum.errors import StorageError, StorageFullError
from quorum.protocols import effects, events
from quorum.runtime.driver import SPACE
from runtime.driver_world import DriverWorld, entry

FULL = StorageFullError("no space")
PERSIST = effects.Persist(effects.Entries(1, (entry(1),)))
ACKNOWLEDGE = effects.Send("n2", "stored")


def world_that_is_full() -> DriverWorld:
    world = DriverWorld().start()
    world.does(PERSIST, ACKNOWLEDGE)
    world.log.complete(FULL)
    world.driver.run()
    return world


def test_what_could_not_be_synced_is_not_acknowledged_and_the_replica_is_told() -> None:
    world = world_that_is_full()
    assert ("degraded",) in world.told and not world.driver.stopped
    assert world.driver.is_full
    assert not any(record == ("send", "n2", "stored", 0) or "stored" in str(record) for record in world.trace)
    assert world.stored() == []
    assert [type(event) for event in world.replica.events][-1] is events.StorageFull


def test_no_sync_is_tried_before_its_time_whatever_comes_in() -> None:
    world = world_that_is_full()
    syncs = world.trace.count("sync")
    world.does(effects.Persist(effects.Entries(2, (entry(2),))))
    world.does(effects.Send("n3", "a heartbeat's answer"))
    assert world.trace.count("sync") == syncs
    assert any("a heartbeat's answer" in str(record) for record in world.trace), "what needs no disk leaves"


def test_it_tries_again_each_second_and_goes_on_when_there_is_space() -> None:
    world = world_that_is_full()
    world.does(effects.Persist(effects.Entries(2, (entry(2),))), effects.Send("n2", "stored two"))
    for _ in range(3):
        world.driver.timer_fired(SPACE)
        world.driver.run()
        world.log.complete(FULL)
        world.driver.run()
    assert world.told.count(("degraded",)) == 1, "it is said once"
    world.driver.timer_fired(SPACE)
    world.driver.run()
    world.log.complete()
    world.driver.run()
    assert ("space is back",) in world.told and not world.driver.is_full
    assert world.stored() == [2]
    kinds = [type(event) for event in world.replica.events]
    assert kinds.count(events.StorageFull) == 1 and kinds.count(events.StorageBack) == 1
    sent = [str(record) for record in world.trace if "stored" in str(record)]
    assert len(sent) == 2, "what waited left, in order, once"


def test_a_broken_disk_still_stops_the_node() -> None:
    world = DriverWorld().start()
    world.does(PERSIST, ACKNOWLEDGE)
    world.log.complete(StorageError("broken"))
    assert world.driver.stopped and ("failed", "StorageError") in world.told


def test_a_disk_that_breaks_while_it_is_full_stops_the_node() -> None:
    world = world_that_is_full()
    world.driver.timer_fired(SPACE)
    world.driver.run()
    world.log.complete(StorageError("broken"))
    assert world.driver.stopped
