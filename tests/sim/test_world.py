"""Virtual time, crashes, pauses and clocks; and the invariants that a world checks as things happen."""

from __future__ import annotations

import pytest

from quorum.checkers.violation import Violation
from quorum.membership.observation import Limits
from quorum.model import Configuration
from quorum.protocols.raft.settings import Settings
from quorum.sim.node import EPOCH_US, SimClock
from quorum.sim.world import World

SECOND_US = 1_000_000


def booted(count: int = 3, seed: int = 0, **named: bool) -> World:
    """A cluster that has elected a leader."""
    world = World(seed, Configuration(epoch=1, voters=tuple(f"n{i}" for i in range(1, count + 1))), **named)
    world.boot()
    assert world.run_until(lambda: world.leader() is not None, 10 * SECOND_US)
    return world


def test_what_is_due_at_one_time_happens_in_the_order_of_scheduling():
    world = World(0, Configuration(epoch=1, voters=("n1",)))
    done: list[int] = []
    for number in range(5):
        world.schedule(10, done.append, number)
    world.schedule(5, done.append, 9)
    world.run(9)
    assert done == [9] and world.now_us == 9
    world.run(10)
    assert done == [9, 0, 1, 2, 3, 4]


def test_run_until_stops_at_the_event_that_reaches_it_or_at_the_end():
    world = World(0, Configuration(epoch=1, voters=("n1",)))
    done: list[int] = []
    world.schedule(10, done.append, 1)
    world.schedule(20, done.append, 2)
    assert world.run_until(lambda: done == [1], 100) and world.now_us == 10
    assert not world.run_until(lambda: len(done) == 3, 100) and world.now_us == 110


def test_one_generator_a_purpose_so_that_drawing_from_one_does_not_shift_another():
    world = World(4, Configuration(epoch=1, voters=("n1",)))
    first = world.random("a").random()
    world.random("b").random()
    assert world.random("a").random() == first != world.random("b").random()


def test_a_crashed_leader_is_replaced_and_comes_back_as_a_follower_with_its_term():
    world = booted()
    old = world.leader()
    assert old is not None
    term = world.nodes[old].replica.state.term
    world.run(world.now_us + SECOND_US)
    world.crash(old)
    assert not world.nodes[old].is_up
    assert world.run_until(lambda: world.leader() not in (None, old), 5 * SECOND_US)
    world.restart(old)
    assert world.nodes[old].replica.state.term >= term
    assert world.run_until(lambda: world.nodes[old].replica.leader == world.leader(), 5 * SECOND_US)


def test_a_seen_crash_is_noticed_at_once_and_an_unseen_one_after_the_timeout():
    noticed_us, missed_us = (replaced_after_us(seen) for seen in (True, False))
    assert noticed_us < 200_000
    assert missed_us > 500_000


def replaced_after_us(seen: bool) -> int:
    """How long a crashed leader is missed."""
    world = booted(seed=2)
    old, at = world.leader(), world.now_us
    world.crash(old, seen=seen)
    assert world.run_until(lambda: world.leader() not in (None, old), 10 * SECOND_US)
    return world.now_us - at


def test_crashing_what_is_down_and_restarting_what_is_up_change_nothing():
    world = booted()
    world.restart("n1")
    world.crash("n1")
    world.nodes["n1"].crash()
    assert world.sometimes.counts.get("restart", 0) == 0


def test_a_paused_node_holds_every_event_and_takes_them_in_order_later():
    world = booted()
    follower = next(name for name in world.nodes if name != world.leader())
    node = world.nodes[follower]
    node.pause()
    heard_us = node.replica.state.leader_heard_us
    world.run(world.now_us + 400_000)
    assert node.replica.state.leader_heard_us == heard_us
    node.resume()
    assert node.replica.state.leader_heard_us > heard_us


def test_a_message_to_a_node_that_was_cut_off_meanwhile_is_lost():
    world = booted()
    leader = world.leader()
    others = [name for name in world.nodes if name != leader]
    world.network.partition([leader], others)
    assert world.run_until(lambda: world.leader() in others, 10 * SECOND_US)
    world.network.heal()
    assert world.run_until(lambda: world.nodes[leader].replica.leader in others, 5 * SECOND_US)


def test_a_clock_drifts_and_jumps_but_never_goes_back():
    world = World(0, Configuration(epoch=1, voters=("n1",)))
    clock = SimClock(world)
    assert clock.now_us() == EPOCH_US
    clock.set_rate(2.0)
    world.run(1_000)
    assert clock.now_us() == EPOCH_US + 2_000
    clock.set_rate(0.5)
    world.run(3_000)
    clock.jump(50)
    assert clock.now_us() == EPOCH_US + 3_050


def test_two_leaders_of_one_term_break_election_safety():
    world = booted()
    leader = world.leader()
    other = next(node for name, node in world.nodes.items() if name != leader)
    term = world.nodes[leader].replica.state.term
    with pytest.raises(Violation, match="election safety"):
        world.role_changed(other, "leader", term)


def test_a_node_that_stops_accuses_or_sees_another_diverge_breaks_the_run():
    node = booted().nodes["n1"]
    for complain in (
        lambda: node.failed(RuntimeError("gone")),
        lambda: node.peer_misbehaved("n2", "sent nonsense"),
        lambda: node.diverged("n2", 7),
    ):
        with pytest.raises(Violation, match="no correct node"):
            complain()


def test_a_world_of_bytes_and_disks_elects_and_survives_a_power_cut_of_everybody():
    world = booted(seed=3, wire=True, disk=True)
    world.run(world.now_us + SECOND_US)
    terms = {name: node.replica.state.term for name, node in world.nodes.items()}
    for name in world.nodes:
        world.crash(name)
    for name in world.nodes:
        world.restart(name)
        assert world.nodes[name].replica.state.term >= terms[name]
    assert world.run_until(lambda: world.leader() is not None, 10 * SECOND_US)


def test_rare_branches_are_counted_where_they_happen():
    world = booted(seed=1)
    leader = world.leader()
    world.network.partition([leader], [name for name in world.nodes if name != leader])
    world.run(world.now_us + 6 * SECOND_US)
    world.network.heal()
    world.run(world.now_us + 3 * SECOND_US)
    assert world.sometimes.counts["leader steps down without a quorum"] >= 1
    assert world.sometimes.counts["leader elected"] >= 2


def test_settings_reach_every_replica():
    world = World(0, Configuration(epoch=1, voters=("n1",)), Settings(snapshot_entries=7))
    world.boot()
    assert world.nodes["n1"].replica.state.settings.snapshot_entries == 7


def test_a_world_of_its_own_limits_keeps_them_unless_it_is_given_others():
    class Quick(World):
        limits = Limits(hold_us=1)

    one = Configuration(epoch=1, voters=("n1",))
    assert Quick(0, one).limits == Limits(hold_us=1)
    assert Quick(0, one, limits=Limits(hold_us=2)).limits == Limits(hold_us=2)
    assert World(0, one).limits is None
