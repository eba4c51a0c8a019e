"""A real node whose disk runs full, on a file system of its own: it degrades, and goes on when there is space."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quorum.runtime.connect import connect
from quorum.runtime.local import LocalCluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
SMALL, LARGE = "size=100m", "size=400m"
"""A segment of the log has 64 MiB, so the second one does not fit into the small one."""


def mount(path: Path, options: str) -> bool:
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


@pytest.fixture
def folder(run, tmp_path) -> Iterator[Path]:
    """A running cluster of five; the data of n1 is on a small file system."""
    made = tmp_path / ".quorum"
    assert run("init", "--folder", made, "--nodes", 5).exit_code == 0
    data = made / "n1" / "data"
    data.mkdir(mode=0o700)
    if not mount(data, SMALL):
        pytest.skip("no file system can be mounted here")
    try:
        data.chmod(0o700)
        assert run("up", "--folder", made).exit_code == 0
        yield made
    finally:
        run("down", "--folder", made)
        subprocess.run(["umount", data], check=True)


def eventually(holds: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def test_a_node_without_space_degrades_and_recovers_without_a_restart(run, run_json, folder):
    at = ("--config", str(folder / "cluster.toml"))
    cluster = LocalCluster(folder / "cluster.toml")
    pid = cluster.running()["n1"]
    run("transfer", "n1", *at)

    def n1() -> dict:
        return run_json("status", *at)[1]["nodes"]["n1"]

    with connect(config=folder / "cluster.toml", timeout=60).sync as client:
        for number in range(80):
            client.kv.put(b"key %d" % number, bytes(1 << 20))
        assert eventually(lambda: n1()["no_space"])
        client.kv.put(b"last", b"acknowledged by the others")
        overview = run_json("status", *at)[1]
        assert overview["healthy"] and overview["leader"] != "n1"
        assert any("n1 has no space left on its disk" in warning for warning in overview["warnings"])
        assert cluster.running()["n1"] == pid, "it runs on"
        assert client.kv.get(b"key 79").value == bytes(1 << 20)
        subprocess.run(["mount", "-o", f"remount,{LARGE}", folder / "n1" / "data"], check=True)
        assert eventually(lambda: not n1()["no_space"] and n1()["lag"] == 0)
        assert cluster.running()["n1"] == pid
    assert run("down", "--folder", folder).exit_code == 0
    assert run("verify-data", folder / "n1" / "data").exit_code == 0
