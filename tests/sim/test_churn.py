"""The members of a simulated cluster change all the time, and every claim holds."""

from __future__ import annotations

import pytest

from quorum.sim import churn
from quorum.sim.campaign import Plan, run_seed
from quorum.sim.faults import LEASE_FAULTS


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_members_come_and_go_under_every_fault(seed):
    outcome, _, world = run_seed(Plan(seed=seed, nodes=3, seconds=40, spares=4, witnesses=1, snapshot_entries=20))
    assert outcome.failure == "", outcome.replay
    assert world.sometimes.counts[churn.CHANGED] > 0 and outcome.decided > 50


def test_reads_by_leases_are_linearizable_on_clocks_that_drift():
    outcome, _, _ = run_seed(Plan(seed=3, nodes=5, seconds=40, faults=LEASE_FAULTS, lease=True))
    assert outcome.failure == "", outcome.replay


def test_a_run_with_an_operator_is_replayed_by_its_command():
    plan = Plan(seed=1, nodes=3, seconds=30, spares=3, witnesses=1, churn_ms=500, lease=True, faults=("drift",))
    first, again = run_seed(plan)[0], run_seed(plan)[0]
    assert first == again
    assert "--spares 3 --witnesses 1 --churn-ms 500 --lease" in first.replay
