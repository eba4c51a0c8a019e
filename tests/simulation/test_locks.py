"""Locks under every fault: tokens grow and belong to one, the guarded store takes no stale write, and where clocks
keep time nobody believes to hold what another holds."""

from __future__ import annotations

from itertools import pairwise

import pytest

from quorum.apps import kv, lock
from quorum.apps.catalogue import KV_APP
from quorum.model import Configuration
from quorum.protocols.raft.settings import Settings
from quorum.sim.faults import ALL_FAULTS, Nemesis
from quorum.sim.world import World
from simulation.lock_workload import LOCKS, SECOND_US, TTL_US, LockWorker, Script, Setup, Step, Write

pytestmark = pytest.mark.slow

CALM_US = 25 * SECOND_US
"""Long enough for everybody who queues to hold the lock in turn."""


def run(
    seed: int, faults: tuple[str, ...], nodes: int = 3, seconds: int = 70, make: type[LockWorker] = LockWorker
) -> list[LockWorker]:
    """The workers after a run in which every node ended alike and every worker was answered."""
    names = tuple(f"n{number}" for number in range(1, nodes + 1))
    world = World(seed, Configuration(epoch=1, voters=names), Settings(snapshot_entries=50, log_kept_entries=25))
    stop_us = seconds * SECOND_US - CALM_US
    workers = [make(world, f"w{number}", stop_us) for number in range(1, 6)]
    world.boot()
    setup = Setup(world, "setup", stop_us)
    setup.start()
    assert world.run_until(lambda: setup.is_done, 30 * SECOND_US)
    for worker in workers:
        worker.start()
    Nemesis(world, faults, stop_us).start()
    world.run(seconds * SECOND_US)
    assert all(worker.is_done for worker in workers), "a worker waits for ever"
    assert len({node.host.digest() for node in world.nodes.values()}) == 1
    held = [node.host._applications[3] for node in world.nodes.values()]
    assert all(len(locks) == locks.session_count == 0 for locks in held), "what its holder forgot is held for ever"
    return workers


def check_tokens(workers: list[LockWorker]) -> None:
    """A token belongs to one grant."""
    tokens = [token for worker in workers for _, token in worker.tokens]
    assert len(set(tokens)) == len(tokens) > 20


def check_store(workers: list[LockWorker]) -> None:
    """The order of accepted writes is the order of their tokens."""
    for name in LOCKS:
        writes = sorted(write[1:] for worker in workers for write in worker.writes if write.lock == name)
        assert len(writes) > 10
        assert all(earlier[1] <= later[1] for earlier, later in pairwise(writes))
        assert len({(token, worker) for _, token, worker in writes}) == len({token for _, token, _ in writes})


def overlaps(workers: list[LockWorker]) -> int:
    """How often two believed to hold one lock."""
    count = 0
    for name in LOCKS:
        beliefs = sorted(
            (belief.since_us, belief.until_us, belief.token)
            for worker in workers
            for belief in worker.beliefs
            if belief.lock == name
        )
        for earlier, later in pairwise(beliefs):
            count += later[0] < earlier[1] and later[2] != earlier[2]
    return count


SEEDS = range(1, 7)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_stale_write_is_accepted_whatever_fails(seed):
    workers = run(seed, ALL_FAULTS, nodes=3 + 2 * (seed % 2))
    check_tokens(workers)
    check_store(workers)


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_believes_to_hold_what_another_holds_where_clocks_keep_time(seed):
    workers = run(seed, tuple(fault for fault in ALL_FAULTS if fault != "clock"))
    check_store(workers)
    assert overlaps(workers) == 0


def test_writes_were_fenced_somewhere():
    """Otherwise the two tests above show nothing."""
    assert sum(worker.fenced for seed in (1, 2) for worker in run(seed, ("isolate", "crash"))) > 0


class Unguarded(LockWorker):
    """Negative control: its store looks at no token."""

    def write(self, name: str, token: int) -> Script:
        put = [kv.Put(name.encode(), self.name.encode())]
        done = yield Step(KV_APP, kv.Txn([], put, []))
        if isinstance(done, kv.Committed):
            self.writes.append(Write(name, done.revision, token, self.name))


def test_a_store_without_a_guard_takes_stale_writes():
    workers = run(1, ("isolate", "crash"), make=Unguarded)
    with pytest.raises(AssertionError):
        check_store(workers)


def test_clocks_that_run_twice_as_fast_make_two_believe_to_hold_one_lock():
    """Which is why a lock is advisory, and its resource must look at the token."""
    assert sum(overlaps(run(seed, ("clock",))) for seed in SEEDS) > 0


class Paused(LockWorker):
    """Takes the lock, stands still for three times its session's time, then writes as if nothing had happened."""

    def script(self) -> Script:
        session = yield from self.open()
        token = yield from self.acquire("red", session)
        yield from self.sleep(3 * TTL_US)
        yield from self.write("red", token)


class Next(LockWorker):
    """Queues for the lock, writes once it holds it, and goes on holding it."""

    def script(self) -> Script:
        yield from self.sleep(SECOND_US)
        session = yield from self.open()
        token = yield from self.acquire("red", session)
        yield from self.write("red", token)
        while self.world.now_us < self.stop_us:
            yield from self.sleep(SECOND_US)
            yield from self.prolong(lock.KeepAlive(session))


def test_a_paused_holder_whose_time_is_over_is_fenced():
    world = World(5, Configuration(epoch=1, voters=("n1", "n2", "n3")))
    world.boot()
    setup, paused, following = (
        make(world, name, 20 * SECOND_US) for make, name in ((Setup, "s"), (Paused, "p"), (Next, "n"))
    )
    setup.start()
    assert world.run_until(lambda: setup.is_done, 10 * SECOND_US)
    for worker in (paused, following):
        worker.start()
    world.run(20 * SECOND_US)
    ((_, old),), ((_, new),) = paused.tokens, following.tokens
    assert old < new
    assert [write.token for write in following.writes] == [new]
    assert paused.is_done and (paused.fenced, paused.writes) == (1, [])
