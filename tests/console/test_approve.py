"""`quorum approve`, with five real processes of which one leaves the committee."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quorum.runtime.connect import at_config
from quorum.runtime.local import LocalCluster


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
