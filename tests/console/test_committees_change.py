"""Clients of real processes whose committees change: founders leave, and the primary of the third epoch dies."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from pathlib import Path

import pytest

from quorum.errors import QuorumError, RequestRefused
from quorum.runtime.config import load_cluster
from quorum.runtime.connect import connect
from quorum.runtime.local import LocalCluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
PATIENCE_S = 40.0


def restart(run, committee: Path) -> None:
    assert run("down", "--folder", committee).exit_code == 0
    started = run("up", "--folder", committee)
    assert started.exit_code == 0, started.output


def approve(run_json, committee: Path, *members: str) -> None:
    """The operators want these, as soon as they follow."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        code, done = run_json("approve", *members, "--config", committee / "cluster.toml")
        if (code == 0 and done["in_force"]) or time.monotonic() > deadline:
            assert code == 0 and done["in_force"], json.dumps(done)
            return
        time.sleep(0.2)


def status_of(run_json, committee: Path) -> dict[str, dict]:
    return run_json("status", "--config", committee / "cluster.toml")[1]["nodes"]


def until(holds, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def put_by_url(url: str, keys: Path, key: bytes) -> None:
    with connect(url, tls=keys, timeout=PATIENCE_S).sync as client:
        client.kv.put(key, b"by url")


def test_clients_go_on_although_two_founders_left_and_the_primary_dies(run, run_json, committee, tmp_path):
    config = ("--config", committee / "cluster.toml")
    assert run("kv", "put", *config, "a", "1").exit_code == 0
    old = tmp_path / "old"
    old.mkdir()
    shutil.copy(committee / "cluster.toml", old / "cluster.toml")
    shutil.copytree(committee / "keys", old / "keys")
    assert run("admit", "n5", *config).exit_code == 0
    restart(run, committee)
    approve(run_json, committee, "n1", "n2", "n3", "n4", "n5")
    approve(run_json, committee, "n2", "n3", "n4", "n5")
    assert run("admit", "n6", *config).exit_code == 0
    restart(run, committee)
    approve(run_json, committee, "n3", "n4", "n5", "n6")
    assert run("kv", "put", *config, "b", "2").exit_code == 0
    until(
        lambda: all(each["leader"] is not None for each in status_of(run_json, committee).values()),
        "n1, which left two epochs ago, learns the view",
    )
    cluster = LocalCluster(committee / "cluster.toml")
    for departed in ("n1", "n2"):
        assert cluster.signal(departed, signal.SIGKILL)
    primary = status_of(run_json, committee)["n5"]["leader"]
    assert primary in ("n3", "n4", "n5", "n6")
    assert cluster.signal(primary, signal.SIGKILL)
    result = run("kv", "put", *config, "c", "3", "--timeout", PATIENCE_S)
    assert result.exit_code == 0, result.output
    for key, value in (("a", "1"), ("b", "2"), ("c", "3")):
        assert run("kv", "get", *config, key).output.strip() == value
    # One node of the newest committee is enough to find the others, by a URL or an older file.
    alive = next(name for name in ("n5", "n6") if name != primary)
    put_by_url(
        f"quorum://{load_cluster(committee / 'cluster.toml').member(alive).advertise}", committee / "keys", b"d"
    )
    assert run("up", "--folder", committee).exit_code == 0
    for departed in ("n1", "n2"):
        assert cluster.signal(departed, signal.SIGTERM)
    result = run("kv", "put", "--config", old / "cluster.toml", "e", "5", "--timeout", PATIENCE_S)
    assert result.exit_code == 0, result.output
    assert run("kv", "get", *config, "e").output.strip() == "5"


def test_a_url_needs_the_genesis_file_and_the_clients_signing_key(run, committee, tmp_path):
    addresses = ",".join(str(member.advertise) for member in load_cluster(committee / "cluster.toml").members)
    put_by_url(f"quorum://{addresses}", committee / "keys", b"a")
    issued = run(
        "keys", "issue", "app", "--role", "data", "--out", tmp_path / "app", "--folder", committee / "keys"
    )
    assert issued.exit_code == 0
    put_by_url(f"quorum://{addresses}", tmp_path / "app", b"b")
    (tmp_path / "app" / "genesis.json").unlink()
    began = time.monotonic()
    with pytest.raises(RequestRefused, match=r"but members of this cluster may lie.*genesis\.json"):
        put_by_url(f"quorum://{addresses}", tmp_path / "app", b"c")
    with (
        pytest.raises(QuorumError, match=r"genesis\.json"),
        connect(f"quorum://{addresses}", tls=tmp_path / "app", timeout=PATIENCE_S).sync as client,
    ):
        client.kv.get(b"a")
    assert time.monotonic() - began < PATIENCE_S / 2, "at once, not after its time is over"


def test_a_client_that_stays_follows_two_changes_while_it_writes(run, run_json, committee):
    config = ("--config", committee / "cluster.toml")
    for node in ("n5", "n6"):
        assert run("admit", node, *config).exit_code == 0
    restart(run, committee)
    cluster = LocalCluster(committee / "cluster.toml")

    async def work() -> int:
        done = 0

        async def write(stop: asyncio.Event) -> None:
            nonlocal done
            async with connect(config=committee / "cluster.toml", timeout=PATIENCE_S) as client:
                while not stop.is_set():
                    await client.kv.put(b"key", b"%d" % done)
                    done += 1
                    await asyncio.sleep(0.05)

        stop = asyncio.Event()
        writing = asyncio.create_task(write(stop))
        for members in (("n2", "n3", "n4", "n5"), ("n3", "n4", "n5", "n6")):
            await asyncio.to_thread(approve, run_json, committee, *members)
        for departed in ("n1", "n2"):
            assert cluster.signal(departed, signal.SIGKILL)
        before = done
        await asyncio.sleep(2.0)
        stop.set()
        await writing
        return done - before

    assert asyncio.run(work()) > 0
