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


@pytest.mark.slow
def test_members_that_may_lie_stay_linearizable_under_fire_while_one_lies():
    findings, _ = asyncio.run(
        run_drill(nodes=7, seconds=15, clients=4, seed=1, model="byzantine", lie="equivocate")
    )
    assert findings.verdict == "good", findings.problems
    assert all(findings.faults[kind] for kind in FAULTS)
    assert findings.lies == {"n1": "equivocate"} and findings.accused == ("n1",)
    assert findings.history.operations > 100 and findings.terms > 1


@pytest.mark.slow
def test_the_drill_command_takes_a_byzantine_cluster(run_json):
    code, told = run_json("drill", "--model", "byzantine", "--seconds", 8, "--faults", "kill", "--clients", 3)
    assert code == 0, told
    assert (told["verdict"], told["model"], told["nodes"], told["accused"]) == ("good", "byzantine", 4, [])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"nodes": 3}, "4 are needed"),
        ({"nodes": 6, "lie": "equivocate"}, "7 are needed"),
        ({"nodes": 7, "lie": "exaggerate"}, "Choose from alter-requests"),
        ({"nodes": 4, "stale": True}, "Leave --unsafe-reads out"),
        ({"model": "crash", "lie": "equivocate"}, "Add --model byzantine"),
    ],
    ids=json.dumps,
)
def test_a_drill_among_members_that_may_lie_that_cannot_run_is_refused(options, says):
    with pytest.raises(ConfigurationError, match=says):
        asyncio.run(run_drill(**{"model": "byzantine", "seconds": 5.0} | options))


@pytest.mark.parametrize(
    "options",
    [{"nodes": 2}, {"seconds": 1.0}, {"faults": ("flood",)}, {"clients": 0}],
    ids=json.dumps,
)
def test_a_drill_that_cannot_prove_anything_is_refused(options):
    with pytest.raises(ConfigurationError, match="Change that"):
        asyncio.run(run_drill(**options))
