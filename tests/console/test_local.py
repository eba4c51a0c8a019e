"""Processes of a local cluster: whose they are, and what becomes of pid files that lie."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from quorum.errors import ConfigurationError
from quorum.runtime import local
from quorum.runtime.local import LocalCluster
from quorum.runtime.setup import init_cluster


@pytest.fixture
def cluster(tmp_path) -> LocalCluster:
    return LocalCluster(init_cluster(tmp_path / "c", nodes=1).cluster)


@pytest.mark.parametrize(
    "content", ["", "abc", "-1", "0", "1", pytest.param(str(os.getpid()), id="our own"), "99999999"]
)
def test_a_pid_file_that_names_no_node_of_ours_is_not_believed(content, cluster):
    """The number may belong to anybody by now: nobody else's process is ever signalled."""
    cluster.nodes["n1"].pid_file.write_text(content)
    assert cluster.running() == {}
    assert cluster.signal("n1", signal.SIGTERM) is False
    assert cluster.stop_all() == {}


def test_a_process_that_was_just_started_runs_even_while_it_has_no_command_line(cluster, monkeypatch):
    """For a moment after it began the system shows none."""
    monkeypatch.setattr(local, "_command_of", lambda pid: "")
    pid = cluster.start("n1", bootstrap=True)
    assert cluster.running() == {"n1": pid} and cluster.failures(["n1"]) == {}
    cluster.signal("n1", signal.SIGKILL)
    os.waitpid(pid, 0)
    assert cluster.running() == {}


def test_a_node_whose_pid_file_is_lost_is_found_by_the_lock_of_its_data(cluster):
    """As after a start that was killed before it had written the file."""
    pid = cluster.start("n1", bootstrap=True)
    try:
        deadline = time.monotonic() + 20
        lock = cluster.nodes["n1"].config.data / "lock"
        while not (lock.exists() and lock.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        cluster.nodes["n1"].pid_file.unlink()
        other = LocalCluster(cluster.path)
        assert other.running() == {"n1": pid} and other.start_all() == ()
    finally:
        assert cluster.stop_all(grace_s=10.0) == {"n1": "stopped"}
    assert other.running() == {}


def test_a_node_whose_pid_file_cannot_be_written_is_not_left_running(cluster, monkeypatch):
    cluster.nodes["n1"].pid_file.mkdir()
    started = []
    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kw: started.append(real(*args, **kw)) or started[-1])
    with pytest.raises(IsADirectoryError):
        cluster.start("n1", bootstrap=True)
    assert started[0].returncode is not None


def test_a_cluster_without_its_node_files_is_refused(cluster):
    cluster.nodes["n1"].path.unlink()
    with pytest.raises(ConfigurationError, match="there is no"):
        LocalCluster(cluster.path)


def test_two_commands_do_not_start_and_stop_at_once(cluster):
    other = LocalCluster(cluster.path)
    with cluster.exclusive(), pytest.raises(ConfigurationError, match="another command"), other.exclusive():
        pass
    with other.exclusive():
        pass


def test_only_a_node_that_never_ran_may_begin_and_damage_is_not_new(cluster):
    local = cluster.nodes["n1"]
    assert local.has_run is False
    local.config.data.mkdir()
    for damaged in (b"{", b'{"format": 1, "cluster": "\xff", "node": "n1", "used": false}'):
        (local.config.data / "identity.json").write_bytes(damaged)
        assert local.has_run is True


def test_a_first_start_that_was_cut_short_is_gone_on_with_and_later_ones_begin_nothing(tmp_path, monkeypatch):
    cluster = LocalCluster(init_cluster(tmp_path / "c", nodes=3).cluster)
    begun = []
    monkeypatch.setattr(cluster, "start", lambda node, bootstrap, **_: begun.append((node, bootstrap)))
    cluster.start_all()
    assert begun == [("n1", True), ("n2", True), ("n3", True)]
    used = cluster.nodes["n1"].config.data
    used.mkdir()
    (used / "identity.json").write_text('{"format": 1, "cluster": "c", "node": "n1", "used": true}')
    begun.clear()
    cluster.start_all()
    assert begun == [("n1", False), ("n2", True), ("n3", True)]
    cluster.first_start_done()
    begun.clear()
    cluster.start_all()
    assert begun == [("n1", False), ("n2", False), ("n3", False)], "a node that lost its data must not begin anew"


def test_down_ends_the_nodes_of_a_cluster_whose_file_was_broken_meanwhile(cluster, run):
    """Only what was started with a node.toml of this folder, whatever the pid files say."""
    folder = cluster.folder
    for stranger in ("n2", "n3"):
        (folder / stranger).mkdir()
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    ours = subprocess.Popen([*words, f"quorum node --config {folder / 'n1' / 'node.toml'}"])
    other = subprocess.Popen([*words, "quorum node --config /elsewhere/n2/node.toml"])
    try:
        (folder / "n1" / "node.pid").write_text(f"{ours.pid}\n")
        (folder / "n2" / "node.pid").write_text(f"{other.pid}\n")
        (folder / "n3" / "node.pid").write_text("nonsense")
        cluster.path.write_text("cluster_id = [typo")
        ended = run("down", "--folder", folder, "--grace", 5)
        assert ended.exit_code == 0 and "n1 stopped" in ended.stdout and "n2" not in ended.stdout
        assert "stopped all the same" in ended.stderr
        assert ours.wait(5) != 0 and other.poll() is None
        again = run("down", "--folder", folder)
        assert again.exit_code == 2 and "TOML was expected" in again.stderr, "nothing runs: the mistake is all"
    finally:
        for each in (ours, other):
            each.kill()
            each.wait()
