"""The processes of a cluster on this machine: started, found again by their pid files, and ended.

Beside each node.toml are `node.pid`, the process that was started for it, and `node.log`, what it said. A number
from a pid file is believed only if that process was started with this very node.toml.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.runtime.config import NodeConfig, load_cluster, load_node
from quorum.runtime.first_runs import has_run
from quorum.runtime.folder import LOCK_NAME
from quorum.runtime.setup import NODE_FILE

PID_FILE, LOG_FILE, LOCK_FILE, FIRST_START_FILE = "node.pid", "node.log", ".up.lock", ".first-start"
NOBODY: Mapping[NodeId, str] = {}
GRACE_S = 10.0
POLL_S = 0.02
REASON_BYTES_MAX = 4096


class LocalNode:
    """One member of the cluster: its node.toml, and the files beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.config: NodeConfig = load_node(self.path)
        self.pid_file = self.path.parent / PID_FILE
        self.log_file = self.path.parent / LOG_FILE

    @property
    def has_run(self) -> bool:
        """Whether the node has begun a log: it may have voted, and must not begin anew."""
        return has_run(self.config.data)

    def last_words(self, since: int = 0) -> str:
        """The end of its log, from byte `since` on: why it stopped, if it did. Empty if it said nothing."""
        with suppress(OSError), self.log_file.open("rb") as log:
            log.seek(max(since, self.log_size - REASON_BYTES_MAX))
            lines = log.read().decode(errors="replace").strip().splitlines()
            return lines[-1] if lines else ""
        return ""

    @property
    def log_size(self) -> int:
        """Bytes in its log file."""
        try:
            return self.log_file.stat().st_size
        except OSError:
            return 0


class LocalCluster:
    """The members of one cluster.toml whose node.toml files are beside it, as processes of this machine.

    Raises ConfigurationError when a node.toml is missing or wrong.
    """

    def __init__(self, cluster: Path) -> None:
        self.path = cluster.resolve()
        self.folder = self.path.parent
        self.config = load_cluster(self.path)
        self.nodes: dict[NodeId, LocalNode] = {}
        for member in self.config.members:
            path = self.folder / member.id / NODE_FILE
            if not path.is_file():
                raise ConfigurationError(
                    f"the nodes of {cluster} were asked for, but there is no {path}. Run this on the machine and "
                    "in the folder where `quorum up` or `quorum init` made the cluster. If it is that folder, and "
                    f"the data of {member.id} is lost for good: quorum evict {member.id}, where the others still "
                    "decide; else see quorum recover --dry-run."
                )
            self.nodes[member.id] = LocalNode(path)
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._log_starts: dict[NodeId, int] = {}

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody else starts or ends these processes meanwhile. Raises ConfigurationError if somebody does."""
        with (self.folder / LOCK_FILE).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigurationError(
                    f"{self.folder} was to be started or stopped, but another command is doing that now. "
                    "Wait for it, then look with `quorum status`."
                ) from None
            yield

    def pid(self, node: NodeId) -> int | None:
        """The running process of a node, or None. A number that belongs to another program is nobody's.

        Where the pid file is missing or old, as after a start that was cut short, the lock of the data folder
        tells who holds it.
        """
        local = self.nodes[node]
        self._reap()
        ours = f"quorum node --config {local.path}"
        for path in (local.pid_file, local.config.data / LOCK_NAME):
            pid = _number_in(path)
            # A process that has just been started may have no command line yet.
            if pid in self._children or (pid > 0 and ours in _command_of(pid)):
                return pid
        return None

    def running(self) -> dict[NodeId, int]:
        """Every node that runs, and its process."""
        found = {node: self.pid(node) for node in self.nodes}
        return {node: pid for node, pid in found.items() if pid is not None}

    def start_all(
        self, allow_faults: bool = False, with_parent: bool = False, lies: Mapping[NodeId, str] = NOBODY
    ) -> tuple[NodeId, ...]:
        """Start every node that does not run; return which. The first time, and only then, they begin a cluster.

        A first start that was cut short is gone on with: until `first_start_done` the nodes that never ran may
        still begin. Afterwards a node without data is started as it is, and will refuse. `lies` are for drills.
        """
        marker = self.folder / FIRST_START_FILE
        if not any(local.has_run for local in self.nodes.values()):
            marker.touch()
        begins = self.never_led
        running = self.running()
        started = tuple(node for node in self.nodes if node not in running)
        for node in started:
            self.start(
                node,
                bootstrap=begins and not self.nodes[node].has_run,
                allow_faults=allow_faults,
                with_parent=with_parent,
                lie=lies.get(node, ""),
            )
        return started

    @property
    def never_led(self) -> bool:
        """Whether its first start is still to be done: nobody has led, so nothing was ever decided."""
        return (self.folder / FIRST_START_FILE).exists()

    def first_start_done(self) -> None:
        """The new cluster has a leader: from now on nobody begins anew."""
        (self.folder / FIRST_START_FILE).unlink(missing_ok=True)

    def start(
        self,
        node: NodeId,
        *,
        bootstrap: bool = False,
        join: bool = False,
        allow_faults: bool = False,
        with_parent: bool = False,
        lie: str = "",
    ) -> int:
        """Start the process of a node, detached from this one; return its pid. It needs time to be ready.

        `with_parent`: it ends when the process that started it does.
        """
        local = self.nodes[node]
        flags = {
            "--bootstrap": bootstrap,
            "--join": join,
            "--allow-faults": allow_faults,
            "--with-parent": with_parent,
        }
        command = [sys.executable, "-m", "quorum", "node", "--config", str(local.path)]
        command += [flag for flag, is_set in flags.items() if is_set]
        if lie:
            command += ["--lie", lie]
        self._log_starts[node] = local.log_size
        with local.log_file.open("ab") as log:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._children[child.pid] = child
        try:
            local.pid_file.write_text(f"{child.pid}\n")
        except OSError:  # nobody would find it again
            child.kill()
            child.wait()
            raise
        return child.pid

    def failures(self, nodes: Sequence[NodeId]) -> dict[NodeId, str]:
        """Those of `nodes` that this object started and that have ended, with their last words."""
        return {
            node: self.nodes[node].last_words(self._log_starts.get(node, 0)) or "it ended without a word"
            for node in nodes
            if self.pid(node) is None
        }

    def signal(self, node: NodeId, number: int) -> bool:
        """Send a signal to a node's process; False if it does not run."""
        pid = self.pid(node)
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def stop_all(self, grace_s: float = GRACE_S) -> dict[NodeId, str]:
        """End every node: SIGTERM, and after `grace_s` SIGKILL. Returns "stopped" or "killed" by node."""
        return self.stop(tuple(self.nodes), grace_s)

    def stop(self, nodes: Sequence[NodeId], grace_s: float = GRACE_S) -> dict[NodeId, str]:
        """End these nodes, as `stop_all` does; those that do not run are left out."""
        pids = {node: pid for node, pid in self.running().items() if node in nodes}
        for node in pids:
            self.signal(node, signal.SIGCONT)
            self.signal(node, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and any(self.pid(node) for node in pids):
            time.sleep(POLL_S)
        ended = {node: "killed" if self.signal(node, signal.SIGKILL) else "stopped" for node in pids}
        while any(self.pid(node) for node in pids):
            time.sleep(POLL_S)
        for node in pids:
            self.nodes[node].pid_file.unlink(missing_ok=True)
        for child in self._children.values():
            if child.pid in pids.values():
                child.wait()  # it has ended, but a moment may pass until it can be reaped
        self._reap()
        return ended

    def let_go(self) -> None:
        """The processes started here outlive this one, and nobody waits for them."""
        for child in self._children.values():
            child.returncode = 0
        self._children.clear()

    def _reap(self) -> None:
        """Forget the children that have ended, so that they do not stay as zombies."""
        self._children = {pid: child for pid, child in self._children.items() if child.poll() is None}


def stop_by_files(folder: Path, grace_s: float = GRACE_S) -> dict[NodeId, str]:
    """End the nodes whose pid files are below `folder`, where no configuration can be read that names them. As
    `LocalCluster.stop_all`."""

    def runs(node: NodeId) -> bool:
        return f"quorum node --config {folder / node / NODE_FILE}" in _command_of(pids[node])

    folder = folder.resolve()
    pids = {path.parent.name: _number_in(path) for path in sorted(folder.glob(f"*/{PID_FILE}"))}
    pids = {node: pid for node, pid in pids.items() if pid > 0}
    pids = {node: pid for node, pid in pids.items() if runs(node)}
    for number, patience_s in ((signal.SIGCONT, 0.0), (signal.SIGTERM, grace_s), (signal.SIGKILL, grace_s)):
        left = [node for node in pids if runs(node)]
        for node in left:
            with suppress(ProcessLookupError):
                os.kill(pids[node], number)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and any(runs(node) for node in pids):
            time.sleep(POLL_S)
    killed = left
    for node in pids:
        (folder / node / PID_FILE).unlink(missing_ok=True)
    return {node: "killed" if node in killed else "stopped" for node in pids}


def _number_in(path: Path) -> int:
    """The process number that a file holds; 0 if it holds none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _command_of(pid: int) -> str:
    """The command line of a process; empty when there is none, or it has ended and waits to be reaped."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    asked = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return asked.stdout
