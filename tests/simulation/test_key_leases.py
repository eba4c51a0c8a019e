"""Leases of keys under every fault: never early and never late by lease time, the same on all replicas, kept by
snapshots and restarts; and where clocks keep time nobody believes in a lease that has ended."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from quorum.apps import catalogue
from quorum.apps.catalogue import KV_APP
from quorum.apps.host import Host
from quorum.apps.kv import Range, decode_results, encode_query
from quorum.apps.kv_leases import KeyLeases
from quorum.apps.log_clock import LogClock
from quorum.checkers.agreement import Violation
from quorum.model import Configuration
from quorum.protocols.raft.settings import Settings
from quorum.sim.faults import ALL_FAULTS, Nemesis
from quorum.sim.world import World
from simulation.key_lease_workload import Judged, LeaseWorker, Model, Recorder, RecordingHost
from simulation.lock_workload import SECOND_US

pytestmark = pytest.mark.slow

CALM_US = 20 * SECOND_US
"""Long enough for every lease to end."""
SEEDS = range(1, 7)


class LeaseWorld(World):
    """Keeps the log, to be judged afterwards."""

    def __init__(self, seed: int, nodes: int) -> None:
        self.recorder = Recorder(self)
        names = tuple(f"n{number}" for number in range(1, nodes + 1))
        super().__init__(
            seed, Configuration(epoch=1, voters=names), Settings(snapshot_entries=40, log_kept_entries=20)
        )

    def make_host(self) -> Any:
        clock = LogClock()
        return RecordingHost(Host(catalogue.applications(clock), clock=clock), self.recorder)


class Run:
    """A world after its run, in which every node ended alike, every worker was answered and every lease ended."""

    def __init__(self, seed: int, faults: tuple[str, ...], nodes: int = 3, seconds: int = 60) -> None:
        self.world = LeaseWorld(seed, nodes)
        stop_us = seconds * SECOND_US - CALM_US
        self.workers = [LeaseWorker(self.world, f"w{number}", stop_us) for number in range(1, 6)]
        self.world.boot()
        for worker in self.workers:
            worker.start()
        Nemesis(self.world, faults, stop_us).start()
        self.world.run(seconds * SECOND_US)
        assert all(worker.is_done for worker in self.workers), "a worker waits for ever"
        hosts = [node.host for node in self.world.nodes.values()]
        assert len({host.digest() for host in hosts}) == 1
        assert all(host.application(KV_APP).lease_count == 0 for host in hosts), "a lease never ended"
        self.digest = hosts[0].digest()

    def judge(self) -> Model:
        """Apply the whole log anew, beside the model, and compare them at each entry."""
        model, clock = Model(), LogClock()
        store = Judged(clock, model)
        host = Host({**catalogue.applications(clock), KV_APP: store}, clock=clock)
        for index in sorted(self.world.recorder.entries):
            header, body = self.world.recorder.entries[index]
            model.advance(header)
            host.apply(header, body)
            (found,) = decode_results(host.query(KV_APP, encode_query([Range(b"", None)])).body)
            assert {item.key: item.lease for item in found.items} == model.keys, f"at entry {index}"
            assert store.lease_count == len(model.leases), f"at entry {index}"
        assert host.digest() == self.digest
        return model


@pytest.mark.parametrize("seed", SEEDS)
def test_leases_end_when_their_time_is_over_and_not_before_whatever_fails(seed):
    run = Run(seed, ALL_FAULTS, nodes=3 + 2 * (seed % 2))
    assert len(run.judge().ends) > 10


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_believes_in_a_lease_that_has_ended_where_clocks_keep_time(seed):
    run = Run(seed, tuple(fault for fault in ALL_FAULTS if fault != "clock"))
    ends = run.judge().ends
    believed = [belief for worker in run.workers for belief in worker.believed if belief.lease in ends]
    assert len(believed) > 10
    for belief in believed:
        assert run.world.recorder.applied_us[ends[belief.lease]] >= belief.until_us


def test_workers_found_their_leases_ended_somewhere():
    """Otherwise the tests above show little."""
    assert sum(worker.found_ended for seed in (1, 2) for worker in Run(seed, ("isolate", "crash")).workers) > 0


def test_clocks_that_run_twice_as_fast_end_leases_that_somebody_believes_in():
    """Which is why a lease is trusted for a part of its time, and clocks must keep to the rest."""
    caught = 0
    for seed in SEEDS:
        run = Run(seed, ("clock",))
        ends, applied_us = run.judge().ends, run.world.recorder.applied_us
        believed = [belief for worker in run.workers for belief in worker.believed if belief.lease in ends]
        caught += sum(applied_us[ends[belief.lease]] < belief.until_us for belief in believed)
    assert caught > 0


# Planted bugs.


def _load_nothing(self: KeyLeases, newest: int, leases: Any, rows: Any, holds: Any) -> None:
    """The leases are read over, as if they were no part of the state."""
    assert list(leases) is not None and list(rows) is not None


def test_leases_that_are_not_in_the_snapshot_are_caught():
    with patch.object(KeyLeases, "load", _load_nothing), pytest.raises(Violation, match="state digests"):
        Run(1, ("crash", "crash-all"))
    Run(1, ("crash", "crash-all")).judge()


_due = KeyLeases.due


def _due_by_the_last_digit(self: KeyLeases) -> int | None:
    """Ends what is left of some leases early."""
    lease = _due(self)
    soon = (each for each in self._table.ids() if (self._table.remaining_us(each) or 0) < SECOND_US)
    return lease if lease is not None else next((each for each in soon if each % 10 == 7), None)


def test_leases_that_end_early_are_caught():
    with patch.object(KeyLeases, "due", _due_by_the_last_digit):
        run = Run(1, ("crash",))
        with pytest.raises(AssertionError, match="at entry"):
            run.judge()
