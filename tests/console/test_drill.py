"""Real processes under kill -9, SIGSTOP and partitions give a linearizable history, and stale reads do not."""

from __future__ import annotations

import asyncio
import json

import pytest

from quorum.checkers.history import read_history, write_history
from quorum.checkers.linearizability import check_linearizable
from quorum.console.drill import FAULTS, run_drill
from quorum.errors import ConfigurationError

pytestmark = pytest.mark.cluster


@pytest.mark.slow
def test_a_cluster_under_fire_is_linearizable_and_loses_nothing(tmp_path):
    findings, history = asyncio.run(run_drill(nodes=3, seconds=20, clients=6, seed=1))
    assert findings.verdict == "good", findings.problems
    assert all(findings.faults[kind] for kind in FAULTS)
    assert findings.history.operations > 500 and findings.acknowledged > 20 and findings.terms > 1
    write_history(history, tmp_path / "history.jsonl")
    assert check_linearizable(read_history(tmp_path / "history.jsonl"))


@pytest.mark.slow
def test_the_same_cluster_with_reads_at_any_node_is_not_linearizable():
    """The negative control: a judge that never says no proves nothing."""
    findings, _ = asyncio.run(run_drill(nodes=3, seconds=20, clients=6, seed=1, stale=True))
    assert findings.history.verdict == "not linearizable"
    assert findings.verdict == "bad"


@pytest.mark.slow
def test_the_demo_ends_well_and_with_unsafe_reads_it_does_not(run_json):
    code, told = run_json("demo", "--seconds", 12, "--nodes", 3)
    assert code == 0, told
    assert told["verdict"] == "good" and told["faults"]["kill"] and told["faults"]["split"]
    story = told["story"]
    assert story["decision"] in ("red", "green", "blue") and story["minority_refused"]
    code, told = run_json("demo", "--seconds", 12, "--nodes", 3, "--unsafe-reads")
    assert code == 1 and told["history"]["verdict"] == "not linearizable"


@pytest.mark.parametrize(
    "options",
    [{"nodes": 2}, {"seconds": 1.0}, {"faults": ("flood",)}, {"clients": 0}],
    ids=json.dumps,
)
def test_a_drill_that_cannot_prove_anything_is_refused(options):
    with pytest.raises(ConfigurationError, match="Change that"):
        asyncio.run(run_drill(**options))
