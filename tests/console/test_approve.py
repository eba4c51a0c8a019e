"""`quorum approve`: what members say of themselves is one vote each; and with five real processes, of which one
leaves the committee."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from certificate.committees import committee_of
from console.test_inquiry import status
from quorum.console.approval_asked import is_in_force
from quorum.console.approve import newest_epoch
from quorum.console.inquiry import Silence
from quorum.errors import ConfigurationError
from quorum.runtime.connect import at_config
from quorum.runtime.local import LocalCluster

FOUR = ("n1", "n2", "n3", "n4")


def statuses(epochs: dict[str, int], **instead):
    return {node: replace(status(node), epoch=epoch, voters=FOUR, **instead) for node, epoch in epochs.items()}


def test_a_liar_cannot_name_the_epoch_that_all_others_are_in():
    assert newest_epoch(statuses({"n1": 2, "n2": 10**12, "n3": 2, "n4": 2}), FOUR, 1) == 2
    assert newest_epoch(statuses({"n1": 0, "n2": 2, "n3": 2, "n4": 1}), FOUR, 1) == 2, "nor one that is over"
    assert newest_epoch(statuses({"n1": 3, "n2": 3, "n3": 2, "n4": 2}), FOUR, 1) == 3, (
        "who is behind does not count"
    )
    assert newest_epoch(statuses({"n1": 2, "n2": 2, "n3": 2, "n4": 2, "n5": 9, "n6": 9}), FOUR, 1) == 2, (
        "nor do others"
    )
    few = statuses({"n1": 2}) | {node: Silence(node, "does not answer") for node in ("n2", "n3", "n4")}
    with pytest.raises(ConfigurationError, match="1 of its members say theirs, and 2 are needed"):
        newest_epoch(few, FOUR, 1)


def test_a_committee_acts_if_more_than_may_lie_say_so_whatever_names_they_give():
    committee = committee_of(4, epoch=2)
    assert is_in_force(statuses({"n1": 2, "n2": 2, "n3": 1, "n4": 1}), committee)
    assert not is_in_force(statuses({"n1": 2, "n2": 1, "n3": 1, "n4": 1}), committee)
    assert not is_in_force(statuses({"n1": 2, "n5": 2, "n6": 2}, node="n3"), committee), "n5 and n6 are no members"
    assert is_in_force(statuses({"n1": 2, "n2": 2}, node="n9"), committee)


@pytest.fixture
def folder(run, tmp_path) -> Iterator[Path]:
    """The folder of a running committee of five."""
    made = tmp_path / ".quorum"
    assert run("init", "--folder", made, "--nodes", 5, "--model", "byzantine").exit_code == 0
    assert run("up", "--folder", made).exit_code == 0
    yield made
    run("down", "--folder", made)


async def newest_certificate(config: Path) -> bytes:
    async with at_config(config).node("n2") as node:
        return await node.certificate("")


@pytest.mark.cluster
@pytest.mark.slow
def test_a_member_leaves_the_committee_while_clients_write(run, run_json, folder):
    config = ("--config", folder / "cluster.toml")
    assert run("kv", "put", *config, "a", "1").exit_code == 0
    began = time.monotonic()
    code, alone = run_json("approve", "n1", "n2", "n3", "n4", "--at", "n1", *config)
    assert (code, alone["approved"], alone["in_force"], alone["noted"]) == (0, ["n1"], False, True)
    assert (alone["known"], alone["needed"]) == (["n1"], 4)
    (seen,) = run_json("status", *config)[1]["proposed"]
    assert (seen["members"], seen["faults"], seen["approved"]) == (["n1", "n2", "n3", "n4"], 1, ["n1"])
    both = run("approve", "n1", "n2", "n3", "n4", "--at", "n2", *config)
    assert both.exit_code == 0 and "noted at n2\n2 of 4 needed have approved" in both.output
    assert time.monotonic() - began < 25, "nobody waits for operators who say nothing yet"
    code, done = run_json("approve", "n1", "n2", "n3", "n4", *config)
    assert (code, done["epoch"], done["in_force"]) == (0, 2, True), json.dumps(done)
    assert done["refused"] == {}, "a member that the change reached first refused nothing"
    code, again = run_json("approve", "n1", "n2", "n3", "n4", *config)
    assert (code, again["epoch"], again["already"], again["approved"]) == (0, 2, True, [])
    lower = run("approve", "n1", "n2", "n3", *config)
    assert lower.exit_code == 2 and "--faults 0" in lower.stderr
    unknown = run("approve", "n1", "n2", "n3", "n4", "--at", "n9", *config)
    assert unknown.exit_code == 2 and "Name one of n1, n2, n3, n4, n5" in unknown.stderr
    assert run("kv", "put", *config, "b", "2").exit_code == 0
    assert run("kv", "get", *config, "a").output.strip() == "1"
    _, seen = run_json("status", *config)
    assert {node["epoch"] for node in seen["nodes"].values()} == {2}
    proof = asyncio.run(newest_certificate(folder / "cluster.toml"))
    (folder / "chain.json").write_bytes(proof)
    judged = run("verify", folder / "chain.json")
    assert judged.exit_code == 0 and "epoch 2" in judged.output
    code, back = run_json("approve", "n1", "n2", "n3", "n4", "n5", "--timeout", 2, *config)
    assert code == 1 and "Make a fresh key" in back["refused"]["n1"]


@pytest.mark.cluster
@pytest.mark.slow
def test_a_dry_run_asks_nobody_and_is_refused_as_the_approval_would_be(run, run_json, folder):
    at = ("--config", str(folder / "cluster.toml"))
    code, planned = run_json("approve", "n1", "n2", "n3", "n4", "--dry-run", *at)
    assert (code, planned["planned"], planned["in_force"], planned["approved"]) == (0, True, False, [])
    assert run_json("status", *at)[1]["proposed"] == [], "nobody heard of it"
    refused = run("approve", "n1", "n2", "n3", "--dry-run", *at)
    assert refused.exit_code == 2 and "of 3 members only 0 may lie" in refused.stderr


@pytest.mark.cluster
@pytest.mark.slow
def test_an_epoch_outlives_a_power_cut(run, run_json, folder):
    config = ("--config", folder / "cluster.toml")
    assert run_json("approve", "n1", "n2", "n3", "n4", *config)[0] == 0
    cluster = LocalCluster(folder / "cluster.toml")
    for node in cluster.nodes:
        assert cluster.signal(node, 9)
    assert run("up", "--folder", folder).exit_code == 0
    assert run("kv", "put", *config, "a", "1").exit_code == 0
    _, seen = run_json("status", *config)
    assert {node["epoch"] for node in seen["nodes"].values()} == {2}
    assert not seen["nodes"]["n5"]["may_vote"]


@pytest.mark.cluster
@pytest.mark.slow
def test_a_newcomer_follows_and_gets_a_vote(run, run_json, tmp_path):
    made = tmp_path / ".quorum"
    config = ("--config", made / "cluster.toml")
    assert run("init", "--folder", made, "--nodes", 4, "--model", "byzantine").exit_code == 0
    assert run("up", "--folder", made).exit_code == 0
    try:
        assert run("kv", "put", *config, "a", "1").exit_code == 0
        assert "quorum approve n1 n2 n3 n4 n5" in run("admit", "n5", *config).output
        assert run("down", "--folder", made).exit_code == 0
        assert run("up", "--folder", made).exit_code == 0
        _, seen = run_json("status", *config)
        assert not seen["nodes"]["n5"]["may_vote"]
        assert seen["nodes"]["n5"]["connected"] == ["n1", "n2", "n3", "n4"]
        assert not any("may not vote" in warning for warning in seen["warnings"])
        code, done = run_json("approve", "n1", "n2", "n3", "n4", "n5", *config)
        assert (code, done["in_force"]) == (0, True), json.dumps(done)
        assert "n5" in done["refused"]
        assert run("kv", "put", *config, "b", "2").exit_code == 0
        assert run("kv", "get", *config, "a").output.strip() == "1"
        _, seen = run_json("status", *config)
        assert seen["nodes"]["n5"]["may_vote"]
        assert {node["epoch"] for node in seen["nodes"].values()} == {2}
    finally:
        run("down", "--folder", made)


def test_a_cluster_of_crash_mode_has_no_committee_to_approve_of(run, tmp_path):
    made = tmp_path / ".quorum"
    assert run("init", "--folder", made, "--nodes", 3).exit_code == 0
    result = run("approve", "n1", "n2", "n3", "--config", made / "cluster.toml")
    assert result.exit_code != 0
    assert "quorum admit" in result.output + result.stderr
