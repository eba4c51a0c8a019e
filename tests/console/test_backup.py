"""Backup and restore on real clusters: mutual TLS, durable, the commands as a person runs them."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from quorum.apps.kv_store import REVISION_GAP
from quorum.errors import QuorumError
from quorum.runtime import keyring
from quorum.runtime.backup import take_backup
from quorum.runtime.connect import at_config, connect
from quorum.runtime.local import LocalCluster
from quorum.runtime.restore import INDEX_GAP

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> Iterator[Path]:
    """The folder of a running cluster of five."""
    made = tmp_path_factory.mktemp("old") / ".quorum"
    result = run("up", "--folder", made, "--nodes", 5)
    assert result.exit_code == 0, result.output
    yield made
    run("down", "--folder", made)
    assert LocalCluster(made / "cluster.toml").running() == {}


@pytest.fixture(scope="module")
def at(folder) -> tuple[str, str]:
    return ("--config", str(folder / "cluster.toml"))


@pytest.fixture(scope="module")
def saved(run_json, run, at, tmp_path_factory) -> Path:
    """A backup of that cluster, taken after some writes and before another."""
    path = tmp_path_factory.mktemp("backups") / "friday.backup"
    for number in range(20):
        assert run("kv", "put", f"key/{number}", f"value {number}", *at).exit_code == 0
    assert run("decide", "color", "green", *at).exit_code == 0
    code, answer = run_json("backup", path, "--timeout", 30, *at)
    assert code == 0 and answer["backup"]["bytes"] == path.stat().st_size
    assert run("kv", "put", "key/later", "too late", *at).exit_code == 0
    return path


def test_a_backup_holds_what_was_acknowledged_before_it_and_names_its_origin(run, run_json, at, saved):
    code, answer = run_json("backup", "--verify", saved)
    overview = run_json("status", *at)[1]
    assert code == 0 and answer["whole"]
    assert answer["backup"]["cluster"] == overview["cluster"]
    assert answer["backup"]["voters"] == ["n1", "n2", "n3", "n4", "n5"]
    assert answer["backup"]["index"] >= 21
    assert "whole: every byte" in run("backup", "--verify", saved).stdout
    assert saved.stat().st_mode & 0o777 == 0o600


def test_nothing_is_overwritten_and_nothing_half_written_stays(run, at, saved):
    before = saved.read_bytes()
    refused = run("backup", saved, *at)
    assert refused.exit_code == 2 and "it exists" in refused.stderr
    assert saved.read_bytes() == before and os.listdir(saved.parent) == [saved.name]


def test_every_node_gives_a_backup_also_a_follower(run_json, at, tmp_path):
    for node in ("n1", "n2", "n3"):
        code, answer = run_json("backup", tmp_path / node, "--node", node, "--timeout", 30, *at)
        assert code == 0 and answer["node"] == node
        assert run_json("backup", "--verify", tmp_path / node)[0] == 0


def test_a_node_that_is_no_member_is_asked_wrongly(run, at, tmp_path):
    refused = run("backup", tmp_path / "backup", "--node", "n9", *at)
    assert refused.exit_code == 2 and "no such node" in refused.stderr


def test_a_client_without_the_role_admin_gets_none(folder, tmp_path):
    keyring.issue(folder / "keys", "reader", kind="client", role="data")
    place = at_config(folder / "cluster.toml", identity="client.reader")

    async def ask() -> None:
        async with place.node("n1") as connection:
            await take_backup(connection, place.cluster_id, tmp_path / "stolen", lambda done, total: None)

    with pytest.raises(QuorumError, match="Use an admin certificate"):
        asyncio.run(ask())
    assert os.listdir(tmp_path) == []


def test_damage_is_found_and_never_restored(run, run_json, saved, tmp_path):
    damaged = tmp_path / "damaged"
    content = bytearray(saved.read_bytes())
    content[-100] ^= 1
    damaged.write_bytes(content)
    code, answer = run_json("backup", "--verify", damaged)
    assert code == 1 and not answer["whole"] and answer["offset"] is not None
    refused = run("restore", damaged, tmp_path / "new")
    assert refused.exit_code == 3 and "digest" in refused.stderr
    assert sorted(os.listdir(tmp_path)) == ["damaged"]
    assert run("restore", tmp_path / "absent", tmp_path / "new").exit_code == 2


def test_a_restored_cluster_goes_on_with_the_state_as_another_cluster(run, run_json, folder, at, saved, tmp_path):
    """The data is there, writes go on, and no member, key, session or token of the old cluster counts."""
    new = tmp_path / "new"
    code, restored = run_json("restore", saved, new, "--names", "x,y,z")
    assert code == 0
    old_id = run_json("status", *at)[1]["cluster"]
    assert restored["cluster_id"] != old_id and restored["backup"]["cluster"] == old_id
    assert restored["index"] == restored["backup"]["index"] + INDEX_GAP
    for node in ("x", "y", "z"):
        code, report = run_json("verify-data", new / node / "data")
        assert code == 0 and report["cluster"] == restored["cluster_id"] and report["start"] == "clean"
    again = run("restore", saved, new, "--names", "x,y,z")
    assert again.exit_code == 2 and "exists" in again.stderr
    assert run("up", "--folder", new).exit_code == 0
    try:
        here = ("--config", str(new / "cluster.toml"))
        assert run("kv", "get", "key/7", *here).stdout == "value 7\n"
        assert run("kv", "get", "key/later", *here).exit_code == 1
        assert run_json("kv", "put", "key/first", "anew", *here)[1]["revision"] > REVISION_GAP
        assert run_json("decide", "color", "red", *here)[1]["value"] == "green"
        assert run("kv", "put", "key/new", "goes on", *here).exit_code == 0
        overview = run_json("status", *here)[1]
        assert overview["healthy"] and overview["cluster"] == restored["cluster_id"]
        assert overview["term"] > restored["backup"]["term"]
        status = overview["nodes"][overview["leader"]]
        assert status["voters"] == ["x", "y", "z"] and status["epoch"] == restored["backup"]["epoch"] + 1
        _check_fencing(folder, new)
        _check_old_keys_are_refused(folder, new)
        assert run("down", "--folder", new).exit_code == 0
        assert run("up", "--folder", new).exit_code == 0, "it starts again like any cluster"
        assert run("kv", "get", "key/new", *here).stdout == "goes on\n"
    finally:
        run("down", "--folder", new)


def _check_fencing(old: Path, new: Path) -> None:
    """A token granted after the restore is larger than any of the old cluster, also after the backup."""
    with connect(config=old / "cluster.toml").sync as client, client.lock("l") as before:
        older = before.token
    with connect(config=new / "cluster.toml").sync as client, client.lock("l") as after:
        assert after.token > older


def _check_old_keys_are_refused(old: Path, new: Path) -> None:
    place = at_config(new / "cluster.toml", tls=old / "keys")

    async def ask() -> None:
        async with place.node("x") as connection:
            await connection.status()

    with pytest.raises((QuorumError, OSError)):
        asyncio.run(ask())


def test_a_node_of_the_old_cluster_cannot_join_the_new_one(run, folder, saved, tmp_path):
    """Its data folder says whose it is, before any key is looked at."""
    assert run("restore", saved, tmp_path / "new").exit_code == 0
    shutil.rmtree(tmp_path / "new" / "n1" / "data")
    shutil.copytree(folder / "n1" / "data", tmp_path / "new" / "n1" / "data")
    refused = run("node", "--config", tmp_path / "new" / "n1" / "node.toml")
    assert refused.exit_code == 2 and "belongs to node n1 of cluster" in refused.stderr
