"""What ends by itself, in whole simulated clusters: idle ones, without a leader, restarted, with wrong clocks."""

from __future__ import annotations

import pytest

from alarms import APP, Alarms
from quorum.apps.host import Host
from quorum.apps.log_clock import GAP_US_MAX, TICK_US_MAX, LogClock
from quorum.entry import TICK, entry_identity
from quorum.model import Configuration
from quorum.sim.client import SimClient
from quorum.sim.world import World

SECOND_US = 1_000_000
TTL_US = 5 * SECOND_US
SLACK_US = 100_000
"""What committing takes, and drifting clocks."""


class AlarmWorld(World):
    def make_host(self) -> Host:
        clock = LogClock()
        return Host({APP: Alarms(clock, TTL_US)}, clock=clock)


class Cluster:
    """Three nodes, one lease."""

    def __init__(self, seed: int) -> None:
        self.world = AlarmWorld(seed, Configuration(epoch=1, voters=("n1", "n2", "n3")))
        self.world.boot()
        self.client = SimClient(self.world, "c1", lambda *answer: None)
        self.client.start()
        self.client.session.submit(0, APP, 1, b"7")
        assert self.world.run_until(lambda: all(self.held()), 10 * SECOND_US)
        self.granted_us = self.world.now_us

    def alarms(self) -> list[Alarms]:
        return [node.host._applications[APP] for node in self.world.nodes.values() if node.host is not None]

    def held(self) -> list[bool]:
        return [7 in alarms.leases for alarms in self.alarms()]

    def lasts_us(self) -> int:
        """How long the lease is held, from when it was granted until the first replica lets it end."""
        assert self.world.run_until(lambda: not all(self.held()), 3600 * SECOND_US), "the lease never ends"
        lasted_us = self.world.now_us - self.granted_us
        assert self.world.run_until(lambda: not any(self.held()), SECOND_US), "a replica keeps it"
        return lasted_us

    def ticks(self) -> int:
        log = next(node.log for node in self.world.nodes.values() if node.is_up)
        last = max(node.driver.applied_index for node in self.world.nodes.values() if node.driver)
        return sum(entry_identity(entry)[2] == TICK for entry in log.read(1, last, 1 << 40))


@pytest.fixture(params=[1, 2, 3])
def cluster(request) -> Cluster:
    return Cluster(request.param)


def test_a_lease_ends_on_time_in_an_idle_cluster(cluster):
    assert TTL_US - SLACK_US <= cluster.lasts_us() <= TTL_US + SLACK_US


def test_ticks_come_once_a_second_while_something_waits_and_not_afterwards(cluster):
    cluster.lasts_us()
    assert cluster.ticks() == TTL_US // TICK_US_MAX
    last = cluster.world.agreement.decided.last
    cluster.world.run(cluster.world.now_us + 60 * SECOND_US)
    assert cluster.world.agreement.decided.last == last


def test_lease_time_stands_still_while_nobody_leads(cluster):
    world = cluster.world
    world.network.partition(["n1"], ["n2"], ["n3"])
    world.run(world.now_us + 60 * SECOND_US)
    assert all(cluster.held())
    world.network.heal()
    assert world.run_until(lambda: world.leader() is not None, 10 * SECOND_US)
    led_us = world.now_us - cluster.granted_us
    assert TTL_US - TICK_US_MAX <= cluster.lasts_us() - led_us <= TTL_US + SLACK_US


def test_a_lease_outlives_a_time_when_every_node_is_down(cluster):
    world = cluster.world
    for node in sorted(world.nodes):
        world.crash(node)
    world.run(world.now_us + 600 * SECOND_US)
    for node in sorted(world.nodes):
        world.restart(node)
    assert world.run_until(lambda: all(cluster.held()), 10 * SECOND_US)
    led_us = world.now_us - cluster.granted_us
    assert TTL_US - TICK_US_MAX <= cluster.lasts_us() - led_us <= TTL_US + SLACK_US


def test_a_crashed_leader_prolongs_a_lease_by_the_time_without_one(cluster):
    world = cluster.world
    world.run(world.now_us + SECOND_US)
    world.crash(world.leader(), seen=False)
    assert TTL_US - SLACK_US <= cluster.lasts_us() <= TTL_US + 5 * SECOND_US


def test_a_leader_whose_clock_jumps_by_an_hour_takes_a_bounded_time_from_a_lease(cluster):
    world = cluster.world
    world.nodes[world.leader()].clock.jump(3600 * SECOND_US)
    assert TTL_US - GAP_US_MAX - SLACK_US <= cluster.lasts_us() <= TTL_US + SLACK_US


def test_a_new_leader_whose_clock_is_an_hour_behind_lets_leases_end_on_time(cluster):
    world = cluster.world
    old = world.leader()
    world.nodes[old].clock.jump(3600 * SECOND_US)
    world.run(world.now_us + SECOND_US)
    world.crash(old)
    assert cluster.lasts_us() <= TTL_US + 3 * SECOND_US
