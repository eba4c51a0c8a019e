"""A measured cluster whose members change: nodes that watch their own loop, newcomers, and a paced load."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from load import PeerFailed
from ours import Members
from peers.processes import Processes
from quorum.membership.reconfiguration import Change
from quorum.runtime.client import Client
from quorum.runtime.enrol import add_member
from quorum.runtime.node_connection import NodeConnection
from quorum.runtime.setup import NODE_FILE

TURN_S = 0.005
READY_S = 60.0
CHANGE_S = 300.0
KEYS = 100_000
VALUE_BYTES = 88


class ChangingMembers(Members):
    """Members that come and go. `limits` are written into cluster.toml; `watched` nodes note their stalls."""

    def __init__(
        self,
        processes: Processes,
        folder: Path,
        nodes: int,
        limits: Mapping[str, int],
        insecure: bool = False,
        watched: bool = False,
    ) -> None:
        self._limits = limits
        self._watched = watched
        self._is_new = True
        super().__init__(processes, folder, insecure, nodes=nodes)
        self._is_new = False

    def start(self, node: str, *options: str) -> None:
        if self._is_new:
            _write_limits(self.layout.cluster, self._limits)
        runner = [str(Path(__file__).with_name("watched_node.py")), str(self.stalls_of(node))]
        command = [sys.executable, *(runner if self._watched else ["-m", "quorum"]), "node"]
        path = self.layout.folder / node / NODE_FILE
        self.processes.start(node, [*command, "--config", str(path), *options])

    def stalls_of(self, node: str) -> Path:
        """Where a watched node writes its stalls."""
        return self.processes.folder / f"{node}.stalls"

    def enrol(self, node: str) -> str:
        """Write a new member's files and start it, empty; return its address."""
        config = add_member(self.layout.cluster, node)
        address = next(str(member.advertise) for member in config.members if member.id == node)
        self.start(node, "--join")
        return address

    async def change(self, change: Change) -> float:
        """Have a change decided by whoever leads; return how many seconds it took."""
        leader = await self.leading()
        began = time.perf_counter()
        async with asyncio.timeout(CHANGE_S), self.node(leader) as connection:
            await connection.change(change)
        return time.perf_counter() - began

    def node(self, node: str) -> NodeConnection:
        return NodeConnection(self.endpoints[node], self.dialler())

    async def status(self, node: str) -> dict:
        """What a node says of itself."""
        async with asyncio.timeout(READY_S), self.node(node) as connection:
            return json.loads(await connection.status())

    async def leading(self) -> str:
        """Who leads now. Raises PeerFailed after a minute without."""
        deadline = time.perf_counter() + READY_S
        while time.perf_counter() < deadline:
            for node in self.endpoints:
                try:
                    if (await self.status(node))["role"] == "leader":
                        return node
                except (OSError, TimeoutError):
                    continue
            await asyncio.sleep(0.05)
        raise PeerFailed(f"quorum: a node was to lead, but none did within {READY_S:.0f} s.")


class Paced:
    """An open loop: `per_second` puts, whatever the answers do. Beyond `outstanding_max` it waits, and counts the
    puts that it could not make as late."""

    def __init__(self, client: Client, per_second: float, outstanding_max: int = 20_000) -> None:
        self._client = client
        self._per_second = per_second
        self._max = outstanding_max
        self._value = b"v" * VALUE_BYTES
        self._number = 0
        self._is_stopping = False
        self.inflight = 0
        self.late = 0
        self.failed = 0
        self.answers: list[tuple[float, float]] = []
        """When each answer came (perf_counter), and how many seconds after the put was due."""

    async def run(self) -> None:
        began, issued = time.perf_counter(), 0
        while not self._is_stopping:
            now = time.perf_counter()
            due = int((now - began) * self._per_second) - issued
            room = min(due, self._max - self.inflight)
            for _ in range(room):
                self._put(now)
            self.late += due - room
            issued += due
            await asyncio.sleep(TURN_S)

    async def stop(self) -> None:
        """Put nothing more, and wait for what is in flight."""
        self._is_stopping = True
        deadline = time.perf_counter() + READY_S
        while self.inflight and time.perf_counter() < deadline:
            await asyncio.sleep(TURN_S)

    def _put(self, began: float) -> None:
        self._number += 1
        self.inflight += 1

        def answered(future: asyncio.Future) -> None:
            self.inflight -= 1
            if future.cancelled() or future.exception() is not None:
                self.failed += 1
                return
            now = time.perf_counter()
            self.answers.append((now, now - began))

        key = b"key%09d" % (self._number % KEYS)
        self._client.kv.put_soon(key, self._value).add_done_callback(answered)

    def between(self, begin: float, end: float) -> list[float]:
        """The latencies of the puts that were answered in that time, sorted."""
        return sorted(took for at, took in self.answers if begin <= at < end)


def _write_limits(cluster: Path, limits: Mapping[str, int]) -> None:
    """Put `limits` into cluster.toml, before any node has read it."""
    text = cluster.read_text()
    for name, value in limits.items():
        text = re.sub(rf"(?m)^{name} = .*$\n?", "", text)
        text = text.replace("[limits]\n", f"[limits]\n{name} = {value}\n", 1)
    cluster.write_text(text)
