"""Ticks: log time moves while something waits to expire, and only then."""

from __future__ import annotations

import pytest

from quorum.apps.answer import Failure
from quorum.apps.log_clock import TICK_US_MAX
from quorum.errors import StorageFullError
from quorum.protocols import events
from quorum.protocols.effects import Commit, Entries, Persist
from quorum.runtime.driver import SPACE
from quorum.runtime.ticks import TICK, TICK_US_MIN
from runtime.driver_world import DriverWorld, entry


def leading(expires_in_us: int | None) -> DriverWorld:
    """A leader that has applied entry 1, after which something is due in `expires_in_us`."""
    world = DriverWorld().start()
    world.replica.leader = "n1"
    world.told_to.expires_in_us = expires_in_us
    apply_next(world)
    return world


def apply_next(world: DriverWorld) -> None:
    index = world.driver.applied_index + 1
    world.log.entries[index] = entry(index)
    world.does(Commit(index, index))


def fire(world: DriverWorld) -> list[events.Event]:
    """The timer runs out; what the replica hears of it."""
    del world.timers.delays[TICK]
    world.replica.events.clear()
    world.driver.timer_fired(TICK)
    world.driver.run()
    return list(world.replica.events)


@pytest.mark.parametrize(
    ("expires_in_us", "delay_us"),
    [(300_000, 300_000), (86_400_000_000, TICK_US_MAX), (0, TICK_US_MIN), (1, TICK_US_MIN)],
)
def test_the_timer_runs_to_the_deadline_and_a_second_at_most(expires_in_us, delay_us):
    assert leading(expires_in_us).timers.delays == {TICK: delay_us}


def test_no_timer_runs_where_nothing_waits_or_another_leads():
    assert leading(None).timers.delays == {}
    world = DriverWorld().start()
    world.replica.leader, world.told_to.expires_in_us = "n2", 1000
    apply_next(world)
    assert world.timers.delays == {}


def test_when_it_runs_out_the_replica_is_asked_for_a_tick():
    assert fire(leading(300_000)) == [events.TickWanted(1_000)]


def test_nobody_is_asked_if_nothing_waits_any_more():
    world = leading(300_000)
    world.told_to.expires_in_us = None
    assert fire(world) == []


def test_the_next_timer_runs_only_once_the_tick_is_applied():
    world = leading(300_000)
    fire(world)
    world.does()
    assert world.timers.delays == {}
    apply_next(world)
    assert world.timers.delays == {TICK: 300_000}


def test_an_earlier_deadline_replaces_the_timer_and_a_later_one_does_not():
    world = leading(300_000)
    for expires_in_us, delay_us in ((200_000, 200_000), (900_000, 200_000), (100_000, 100_000)):
        world.told_to.expires_in_us = expires_in_us
        apply_next(world)
        assert world.timers.delays == {TICK: delay_us}


def test_a_cluster_whose_expiry_fails_is_not_hurried_and_its_operator_hears_of_it():
    world = leading(None)
    world.told_to.expires_in_us, world.told_to.expiry_failure = 0, Failure("ValueError", "broken")
    apply_next(world)
    assert world.timers.delays == {TICK: TICK_US_MAX}
    fire(world)
    assert ("degraded",) in world.told


def test_a_tick_that_a_full_disk_kept_back_is_asked_for_again_once_there_is_space():
    """Otherwise nothing would expire until somebody sends a command."""
    world = leading(300_000)
    world.does(Persist(Entries(2, (entry(2),))))
    world.log.complete(StorageFullError("no space"))
    fire(world)  # the replica orders none
    assert TICK not in world.timers.delays
    world.driver.timer_fired(SPACE)
    world.driver.run()
    world.log.complete()
    world.driver.run()
    assert world.timers.delays[TICK] == 300_000
