"""The policy on a real cluster of five processes: who is lost is put out of the vote, and taken back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quorum.runtime.local import LocalCluster

pytestmark = pytest.mark.cluster
WAIT_S = 30.0


@pytest.fixture
def folder(run, tmp_path) -> Iterator[Path]:
    """The folder of a running cluster of five, in which suspicions last a second."""
    made = tmp_path / ".quorum"
    assert run("init", "--folder", made, "--nodes", 5).exit_code == 0
    config = made / "cluster.toml"
    config.write_text(config.read_text().replace('hold = "10s"', 'hold = "1s"').replace('"10s"', '"1s"'))
    result = run("up", "--folder", made)
    assert result.exit_code == 0 and "policy adaptive" in result.output, result.output
    yield made
    run("down", "--folder", made)
    assert LocalCluster(config).running() == {}


def until(look: Callable[[], Any], found: Callable[[Any], bool]) -> Any:
    """What `look` gives once it is as wanted; the last of it where that never happens."""
    deadline = time.monotonic() + WAIT_S
    while not found(seen := look()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return seen


def test_a_lost_member_is_put_out_explained_and_taken_back(run, run_json, folder):
    at = ("--config", str(folder / "cluster.toml"))

    def policy() -> dict[str, Any]:
        return run_json("policy", "show", *at)[1]

    first = until(policy, lambda shown: len(shown["explained"]) == 5)
    assert (first["policy"], first["floor"], len(first["voters"])) == ("adaptive", 3, 5)
    leads = run_json("members", *at)[1]["leader"]
    victim = next(node for node in ("n1", "n2") if node != leads)
    os.kill(LocalCluster(folder / "cluster.toml").running()[victim], signal.SIGKILL)

    shown = until(policy, lambda shown: victim in shown["out"])
    assert shown["out"][victim]["reason"] == "unreachable" and len(shown["voters"]) == 3
    explained = run_json("explain", victim, *at)[1]
    assert (explained["votes"], explained["reason"], explained["policy"]) == (False, "unreachable", "adaptive")
    assert "It may return after" in explained["text"] and explained["since"].startswith("20")
    (spare,) = set(shown["out"]) - {victim}
    assert "as large as the policy wants it" in run("explain", spare, *at).output
    rows = {row["node"]: row for row in run_json("members", *at)[1]["members"]}
    assert (rows[victim]["role"], rows[victim]["votes"]) == ("standby", 0)
    assert run("kv", "put", "a", "1", *at).exit_code == 0

    assert run("up", "--folder", folder).exit_code == 0
    assert len(until(policy, lambda shown: len(shown["voters"]) == 5)["voters"]) == 5
    assert run_json("explain", victim, *at)[1]["votes"]


def test_an_operator_sees_a_change_before_it_is_made_and_sets_the_policy(run, run_json, folder):
    at = ("--config", str(folder / "cluster.toml"))
    leads = run_json("members", *at)[1]["leader"]
    other = next(node for node in ("n1", "n2") if node != leads)
    before = run_json("members", *at)[1]["epoch"]
    asked = (
        ("demote", other),
        ("evict", other),
        ("prefer", other, "3"),
        ("admit", "n6"),
        ("quorums", "--writes", "majority(n1, n2, n3, n4, n5)"),
        ("policy", "set", "participation", "--faults", "2"),
    )
    for command in asked:
        code, following = run_json(*command, "--dry-run", *at)
        assert code == 0, (command, following)
        assert (following["changed"], following["epoch"]) == (False, before + 1), command
    code, following = run_json("transfer", other, "--dry-run", *at)
    assert (code, following["changed"], following["leader"], following["would_lead"]) == (0, False, leads, other)
    assert run("transfer", "n9", "--dry-run", *at).exit_code == 2
    told = run("promote", other, "--dry-run", *at)
    assert told.exit_code == 0 and "nothing would be: " in told.stdout and "is a voter already" in told.stdout
    assert run("evict", "n9", "--dry-run", *at).exit_code == 1
    assert run_json("members", *at)[1]["epoch"] == before, "nothing was changed"
    assert not (folder / "n6").exists()

    code, shown = run_json("policy", "set", "participation", "--faults", "2", *at)
    assert (code, shown["policy"], shown["faults"]) == (0, "participation", 2)
    shown = until(lambda: run_json("policy", "show", *at)[1], lambda shown: len(shown["voters"]) == 4)
    assert len(shown["voters"]) == 4 and len(shown["standbys"]) == 1, "n = N-T+1"

    assert run("policy", "set", "fixed", *at).exit_code == 0
    assert run("demote", other, *at).exit_code == 0
    assert "only an operator" in run("explain", other, *at).output


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("set", "participation", "--faults", "9"), "2T+1 = 19"),
        (("set", "adaptive", "--floor", "2"), "Give 3 or more"),
        (("set", "custom"), "no function"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(run, folder, asked, said):
    result = run("policy", *asked, "--config", str(folder / "cluster.toml"))
    assert result.exit_code != 0 and said in result.output + result.stderr


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, "there is no module 'policy_of_nodes'"),
        ("def other(situation): ...\n", "policy_of_nodes has no choose"),
        ("choose = 3\n", "that is no function"),
        ("raise ValueError('five')\n", "failed with ValueError: five"),
    ],
)
def test_up_points_to_a_custom_function_that_cannot_be_used_and_not_to_a_recovery(run, tmp_path, written, said):
    """Nothing is lost where nobody has ever led."""
    made = tmp_path / ".quorum"
    assert run("init", "--folder", made, "--nodes", 3).exit_code == 0
    config = made / "cluster.toml"
    text = config.read_text().replace('policy = "fixed"', 'policy = "custom"')
    config.write_text(text.replace("floor = 3", 'function = "policy_of_nodes:choose"\nfloor = 3'))
    if written is not None:
        (made / "policy_of_nodes.py").write_text(written)
    up = run("up", "--folder", made)
    assert up.exit_code == 1
    assert "the custom policy was to be policy_of_nodes:choose, but " in up.stderr
    assert said in up.stderr and "`quorum policy set`" in up.stderr
    assert "recover" not in up.stderr and "Traceback" not in up.stderr
    run("down", "--folder", made)
