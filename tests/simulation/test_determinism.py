"""Same seed, same run: byte for byte, in any process, whatever Python's hash seed."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.sim.campaign import Plan, run_seed
from simulation.campaign import HASH_SEEDS, RUNS, jobs_of, run_campaign, run_process
from simulation.plans import NODES, plan_of, run_planned
from simulation.shard import Job


@settings(max_examples=6)
@given(st.integers(0, 2**32), st.sampled_from([3, 4, 5]))
def test_the_same_seed_gives_the_same_run(seed: int, nodes: int):
    plan = Plan(seed, nodes, seconds=16, clients=3)
    assert run_seed(plan)[0] == run_seed(plan)[0]


def test_another_seed_gives_another_run():
    traces = {run_seed(Plan(seed, nodes=3, seconds=14, clients=2))[0].trace for seed in range(5)}
    assert len(traces) == 5


@pytest.mark.slow
def test_two_values_of_the_hash_seed_give_the_same_traces():
    jobs = [Job(seed, 1, (3,)) for seed in (0, 13)]  # bytes and disk; a quorum system
    here = [run_planned(job.seed, job.nodes).trace for job in jobs]
    for hash_seed in HASH_SEEDS:
        assert [run.outcome.trace for run in run_process(hash_seed, jobs)] == here


def test_messages_as_bytes_change_nothing_but_the_time_it_takes():
    plan = Plan(9, nodes=5, seconds=25, clients=5)
    plain, bytewise = (run_seed(msgspec.structs.replace(plan, wire=wire))[0] for wire in (False, True))
    assert plain.trace == bytewise.trace


def test_keeping_the_last_events_changes_nothing():
    plan = Plan(9, nodes=3, seconds=15, clients=2)
    kept, _, world = run_seed(msgspec.structs.replace(plan, keep=5))
    assert kept.trace == run_seed(plan)[0].trace
    assert len(world.trace.tail) == 5


@pytest.mark.parametrize("count", [1, 2, RUNS])
def test_every_seed_of_a_campaign_runs_as_often_as_asked_and_under_both_hash_seeds(count: int):
    runs: dict[int, list[int]] = {}
    for hash_seed, jobs in jobs_of(range(7, 40), NODES, count):
        for job in jobs:
            runs.setdefault(job.seed, []).extend([hash_seed] * job.times)
    assert sorted(runs) == list(range(7, 40))
    assert all(len(values) == count for values in runs.values())
    assert all(set(values) == set(HASH_SEEDS) for values in runs.values()) or count == 1
    assert {value for values in runs.values() for value in values} == set(HASH_SEEDS)


@pytest.mark.slow
def test_a_small_campaign_passes_and_counts_each_seed_once():
    tally = run_campaign(range(100, 103), NODES, workers=2, quiet=True)
    assert tally.failures == {}
    assert {len(traces) for traces in tally.traces.values()} == {RUNS}
    assert tally.simulated_us == 3 * plan_of(100).seconds * 1_000_000
