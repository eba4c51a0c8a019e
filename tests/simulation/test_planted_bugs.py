"""Negative controls: the simulator breaks the right claim for each planted bug, and none without it."""

from __future__ import annotations

import pytest

from quorum.errors import ConfigurationError
from quorum.sim.campaign import Plan, run_seed
from simulation.planted import BUGS, Bug, planted, run_with, run_without, search
from simulation.planted_adaptive import ADAPTIVE


@pytest.mark.slow
@pytest.mark.parametrize("bug", [*BUGS, *ADAPTIVE], ids=lambda bug: bug.name)
def test_the_simulator_catches(bug: Bug):
    hits = search(bug, range(bug.plan.seed, bug.plan.seed + bug.tries))
    assert hits, f"not caught; look for another seed: python -m tests.simulation.planted --search '{bug.name}'"
    seed, outcome = hits[0]
    assert outcome.failure.startswith(bug.claims), outcome.failure
    assert run_without(bug, seed).failure == ""


def test_a_planted_bug_leaves_the_code_as_it_was():
    bug = BUGS[0]
    before = [getattr(owner, name) for owner, name, _ in bug.patches]
    with planted(bug):
        assert [getattr(owner, name) for owner, name, _ in bug.patches] != before
    assert [getattr(owner, name) for owner, name, _ in bug.patches] == before


def test_a_bug_is_caught_in_the_same_way_each_time():
    bug = next(bug for bug in BUGS if bug.name == "quorum N/2")
    assert run_with(bug, bug.plan.seed) == run_with(bug, bug.plan.seed)


def test_quorums_of_half_the_nodes_are_refused_before_anything_runs():
    with pytest.raises(ConfigurationError, match="share no node"):
        run_seed(
            Plan(0, nodes=4, seconds=20, reads="choose(2, n1, n2, n3, n4)", writes="choose(2, n1, n2, n3, n4)")
        )
