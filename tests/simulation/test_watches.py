"""Watches of keys under every fault: each watcher is told exactly what the log says, in order, once."""

from __future__ import annotations

from functools import cache
from unittest.mock import patch

import pytest

from quorum.runtime.key_place import KeyWatch
from quorum.sim.faults import ALL_FAULTS
from simulation.watch_workload import Run

_asks = KeyWatch.asks


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 7))])
def test_watchers_are_told_exactly_the_log_whatever_fails(seed):
    Run(seed, ALL_FAULTS, wire=seed % 2 == 0).check()


@cache
def compacting(seed: int) -> Run:
    return Run(seed, ALL_FAULTS, compacts=True)


@pytest.mark.parametrize("seed", [11, 12, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (13, 14))])
def test_where_old_changes_are_forgotten_a_watcher_hears_so_and_nothing_else_is_missing(seed):
    run = compacting(seed)
    run.check()
    for watcher in run.watchers:
        for handle, error in watcher.compacted.items():
            assert watcher.first[handle] <= error.asked < error.first


def test_watchers_had_to_move_and_met_compactions_somewhere():
    """Otherwise the tests above show nothing."""
    runs = [compacting(seed) for seed in (11, 12)]
    assert sum(len(watcher.compacted) for run in runs for watcher in run.watchers) > 0
    assert sum(run.moves for run in runs) > 5


def _skip(self: KeyWatch) -> bytes:
    self.through += self.through != self.interest.revision - 1
    return _asks(self)


def _repeat(self: KeyWatch) -> bytes:
    self.through -= self.through != self.interest.revision - 1
    return _asks(self)


@pytest.mark.parametrize(
    "planted", [_skip, _repeat], ids=["watch skips at reconnect", "watch repeats at reconnect"]
)
def test_a_planted_bug_is_caught(planted):
    """Negative control."""
    with patch.object(KeyWatch, "asks", planted):
        run = Run(1, ("crash", "isolate"))
    with pytest.raises(AssertionError, match=r"l\d/\d+"):
        run.check()
