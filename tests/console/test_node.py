"""`quorum node` as a process: what it refuses, with which exit code, and how it ends."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quorum.runtime.keyring import renew
from quorum.runtime.setup import ClusterLayout, init_cluster

pytestmark = pytest.mark.cluster
PATIENCE_S = 30


def command(path: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "quorum", "node", "--config", str(path), *options]


def ended(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The end of a node that does not start."""
    done = subprocess.run(command(path, *options), capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert "Traceback" not in done.stderr
    return done


@contextmanager
def serving(path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A node that has said on stdout that it listens."""
    node = subprocess.Popen(
        command(path, "--json", *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert node.stdout is not None
        assert json.loads(node.stdout.readline())["pid"] == node.pid
        yield node
    finally:
        node.kill()
        node.communicate()


def stopped(node: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str]:
    node.send_signal(number)
    _, log = node.communicate(timeout=PATIENCE_S)
    return node.returncode, log


@pytest.fixture
def cluster(tmp_path) -> ClusterLayout:
    return init_cluster(tmp_path / "c", nodes=1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_stops_in_good_order_and_is_not_begun_twice(cluster, number):
    with serving(cluster.nodes["n1"], "--bootstrap") as node:
        code, log = stopped(node, number)
    assert code == 0 and "stopped in good order" in log
    again = ended(cluster.nodes["n1"], "--bootstrap")
    assert again.returncode == 2 and "already run" in again.stderr


def test_a_log_in_json_has_one_object_on_each_line(cluster):
    with serving(cluster.nodes["n1"], "--bootstrap", "--log-format", "json") as node:
        code, log = stopped(node)
    lines = [json.loads(line) for line in log.splitlines()]
    assert code == 0
    assert all({"time", "level", "node", "logger", "message"} <= set(line) for line in lines)
    refused = ended(cluster.nodes["n1"], "--bootstrap", "--log-format", "json")
    assert refused.returncode == 2
    assert json.loads(refused.stderr.splitlines()[-1])["level"] == "critical"


def test_a_port_in_use_is_refused_with_the_remedy_and_loses_nothing(cluster):
    with socket.socket() as taken:
        taken.bind(cluster.config.members[0].listen)
        taken.listen()
        refused = ended(cluster.nodes["n1"], "--bootstrap")
    assert refused.returncode == 2
    assert "address already in use" in refused.stderr and "listen" in refused.stderr
    with serving(cluster.nodes["n1"]) as node:
        assert stopped(node)[0] == 0


def test_a_node_without_data_is_refused_unless_the_cluster_begins(cluster):
    refused = ended(cluster.nodes["n1"])
    assert refused.returncode == 2 and "--bootstrap" in refused.stderr


def test_the_data_folder_of_another_node_is_refused(tmp_path):
    layout = init_cluster(tmp_path / "c", nodes=2)
    with serving(layout.nodes["n1"], "--bootstrap") as node:
        stopped(node)
    shutil.copytree(layout.folder / "n1" / "data", layout.folder / "n2" / "data")
    refused = ended(layout.nodes["n2"])
    assert refused.returncode == 2 and "belongs to node n1" in refused.stderr


def test_an_expired_certificate_is_refused_with_the_remedy(cluster):
    renew(cluster.keys, "n1", days=-1)
    refused = ended(cluster.nodes["n1"], "--bootstrap")
    assert refused.returncode == 2 and "expired" in refused.stderr and "renew" in refused.stderr


def test_damaged_data_ends_the_node_with_exit_code_3_and_is_left_as_it_is(cluster):
    with serving(cluster.nodes["n1"], "--bootstrap") as node:
        stopped(node)
    segment = min((cluster.folder / "n1" / "data" / "wal").iterdir())
    data = bytearray(segment.read_bytes())
    data[:64] = bytes(byte ^ 0xFF for byte in data[:64])
    segment.write_bytes(data)
    refused = ended(cluster.nodes["n1"])
    assert refused.returncode == 3, refused.stderr
    assert segment.read_bytes() == data


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('node = "n1"', 'node = "n9"', "no such member"),
        ('node = "n1"', 'knot = "n1"', "knot"),
        ('log_level = "info"', "log_level = 7", "log_level"),
        ("cluster =", "cluster = 1 #", "cluster"),
        ("[", "[", ""),
    ],
)
def test_a_wrong_node_toml_is_refused_naming_the_key(old, new, says, cluster):
    path = cluster.nodes["n1"]
    path.write_text(path.read_text().replace(old, new) if says else "= [")
    refused = ended(path, "--bootstrap")
    assert refused.returncode == 2 and says in refused.stderr
    assert refused.stderr.startswith("Error: ")


def test_a_node_ends_with_the_process_that_started_it(cluster):
    starter = (
        "import subprocess, sys; node = subprocess.Popen(sys.argv[1:], stdout=sys.stdout, stderr=sys.stderr); "
        "input()"
    )
    arguments = command(cluster.nodes["n1"], "--bootstrap", "--with-parent", "--json")
    parent = subprocess.Popen(
        [sys.executable, "-c", starter, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None and json.loads(parent.stdout.readline())["node"] == "n1"
    parent.kill()
    _, log = parent.communicate(timeout=PATIENCE_S)
    assert "stopped in good order" in log
