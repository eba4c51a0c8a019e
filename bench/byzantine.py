"""`python bench/byzantine.py`: members that may lie, under load: throughput, latency, and what faults cost.

Four processes on loopback with mutual TLS, clients included. `batch`: one signature for all operations that a
client sends at once (the session is authenticated, each batch is signed); `request`: every operation is signed by
itself, as ledgers want it. `memory` keeps the data in memory, so that nothing is durable: what the disk costs, and
what compares with systems that never sync. `silent`: one of the four members is stopped.

Figures of others on such a machine, for comparison: libhotstuff (C++, 0 B, not durable) 28,800 ops/s at 3,200
outstanding; BFT-SMaRt (Java, 100 B) 1,000 ops/s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import machine
from load import PeerFailed, percentile
from ours import runner
from peers.processes import Processes
from quorum.apps import kv
from quorum.apps.catalogue import KV_APP
from quorum.errors import QuorumError
from quorum.runtime.connect import Place, at_config
from quorum.runtime.node_connection import NodeConnection
from quorum.runtime.setup import init_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quorum.runtime.client import Client

NODES = 4
READY_S = 30.0
WARM_UP_S = 1.0
KEYS = 10_000
MEMORY = Path("/dev/shm")


class Committee:
    """The member processes of one cluster."""

    def __init__(self, processes: Processes, folder: Path, insecure: bool) -> None:
        self.processes = processes
        self.layout = init_cluster(folder, nodes=NODES, model="byzantine", insecure=insecure)
        self.place: Place = at_config(self.layout.cluster)
        for node in self.layout.nodes:
            self.start(node, "--bootstrap")

    def start(self, node: str, *options: str) -> None:
        """Start a member, or start it again with what it left behind."""
        command = [sys.executable, "-m", "quorum", "node", "--config", str(self.layout.nodes[node]), *options]
        self.processes.start(node, command)

    async def statuses(self) -> dict[str, dict[str, Any]]:
        """What each member that answers says of itself."""
        found = {}
        for node in self.layout.nodes:
            try:
                async with self.place.node(node) as connection:
                    found[node] = await _status(connection)
            except (OSError, QuorumError):
                continue
        return found

    async def ready(self) -> str:
        """Wait until all are connected; return the primary."""
        deadline = time.perf_counter() + READY_S
        while time.perf_counter() < deadline:
            self.processes.check_alive()
            found = await self.statuses()
            linked = [each for each in found.values() if len(each["connected"]) == NODES - 1]
            primaries = [each for each in found.values() if each["role"] == "primary"]
            if len(linked) == NODES and primaries:
                return max(primaries, key=lambda each: each["term"])["node"]
            await asyncio.sleep(0.1)
        raise PeerFailed(f"the committee was not ready within {READY_S:.0f} s.")


async def _status(connection: NodeConnection) -> dict[str, Any]:
    return json.loads(await connection.status())


async def _load(client: Client, outstanding: int, seconds: float, value: bytes, alone: bool) -> list[float]:
    """A closed loop of puts; how long each took, in seconds."""
    took_s: list[float] = []
    stop_s = time.perf_counter() + WARM_UP_S + seconds
    measured_from_s = time.perf_counter() + WARM_UP_S

    async def one(place: int) -> None:
        number = place
        while (began_s := time.perf_counter()) < stop_s:
            key = b"key%09d" % (number % KEYS)
            number += outstanding
            if alone:
                body = kv.encode_batch([kv.Put(key, value)])
                await client.ask_alone(KV_APP, body, kv.decode_results, False)
            else:
                await client.kv.put(key, value)
            if began_s >= measured_from_s:
                took_s.append(time.perf_counter() - began_s)

    await asyncio.gather(*(one(place) for place in range(outstanding)))
    return took_s


async def _row(
    committee: Committee, name: str, outstanding: int, seconds: float, value: bytes, alone: bool
) -> dict:
    await committee.ready()
    async with committee.place.client(READY_S) as client:
        await client.kv.put(b"warm", b"up")
        before = committee.processes.cpu_s()
        own = time.process_time()
        took_s = await _load(client, outstanding, seconds, value, alone)
        used_s = committee.processes.cpu_s() - before
        own_s = time.process_time() - own
    took_s.sort()
    per_10k = 10_000 / max(len(took_s) * (seconds + WARM_UP_S) / seconds, 1)
    return {
        "name": name,
        "outstanding": outstanding,
        "value_bytes": len(value),
        "ops_per_s": round(len(took_s) / seconds),
        "p50_ms": round(percentile(took_s, 0.5) * 1e3, 2),
        "p99_ms": round(percentile(took_s, 0.99) * 1e3, 2),
        "server_cpu_s_per_10k": round(used_s * per_10k, 3),
        "client_cpu_s_per_10k": round(own_s * per_10k, 3),
    }


async def _rows(committee: Committee, name: str, options: argparse.Namespace) -> list[dict]:
    rows = []
    for size in (88, 0):
        for outstanding in options.outstanding:
            rows.append(await _row(committee, name, outstanding, options.seconds, b"v" * size, False))
    for outstanding in (64, 512):
        rows.append(await _row(committee, f"{name}, request", outstanding, options.seconds, b"v" * 88, True))
    return rows


async def _silent(committee: Committee, options: argparse.Namespace) -> dict:
    """Throughput with all members, and with one backup stopped."""
    primary = await committee.ready()
    whole = await _row(committee, "all four", 1024, options.seconds, b"v" * 88, False)
    primary = await committee.ready()
    victim = next(node for node in committee.layout.nodes if node != primary)
    committee.processes.signal(victim, signal.SIGSTOP)
    try:
        async with committee.place.client(READY_S) as client:
            took_s = await _load(client, 1024, options.seconds, b"v" * 88, False)
    finally:
        committee.processes.signal(victim, signal.SIGCONT)
    rate = len(took_s) / options.seconds
    return {
        "all": whole["ops_per_s"],
        "one_silent": round(rate),
        "share": round(rate / max(whole["ops_per_s"], 1), 3),
    }


async def _view_changes(committee: Committee, count: int) -> list[float]:
    """From kill -9 of the primary to the next decided put, in seconds; the client tries all the time."""
    taken_s = []
    for _ in range(count):
        primary = await committee.ready()
        async with committee.place.client(READY_S) as client:
            await client.kv.put(b"before", b"kill")
            committee.processes.kill(primary)
            began_s = time.perf_counter()
            await client.kv.put(b"after", b"kill")
            taken_s.append(time.perf_counter() - began_s)
        committee.processes.reap(primary)
        committee.start(primary)
    return taken_s


@contextmanager
def _committee(insecure: bool, folder: Path | None = None) -> Iterator[Committee]:
    with Processes() as processes:
        if folder is None:
            yield Committee(processes, processes.folder / "cluster", insecure)
        else:
            with tempfile.TemporaryDirectory(dir=folder) as inside:
                yield Committee(processes, Path(inside) / "cluster", insecure)


def main() -> int:
    """Return the exit code: 0 done, 1 it could not be measured."""
    parser = argparse.ArgumentParser(prog="python bench/byzantine.py", epilog="Example: python bench/byzantine.py")
    parser.add_argument("--outstanding", nargs="+", type=int, default=[1, 64, 1024, 3200], help="Puts in flight.")
    parser.add_argument("--seconds", type=float, default=4.0, help="How long each row is measured.")
    parser.add_argument("--view-changes", type=int, default=5, help="How often the primary is killed.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object instead of the table.")
    options = parser.parse_args()
    limits, run_on = machine.measure(), runner()
    try:
        with _committee(insecure=False) as committee:
            rows = run_on(_rows(committee, "durable, mTLS", options))
            silent = run_on(_silent(committee, options))
            view_changes = run_on(_view_changes(committee, options.view_changes))
        if MEMORY.is_dir():
            with _committee(insecure=False, folder=MEMORY) as committee:
                rows += run_on(_rows(committee, "memory, mTLS", options))
    except PeerFailed as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    found = {"machine": limits, "rows": rows, "silent": silent, "view_change_s": view_changes}
    if options.json:
        print(json.dumps(found))
        return 0
    print(", ".join(f"{name} {value}" for name, value in limits.items()))
    print(
        f"{'way':<24}{'in flight':>10}{'bytes':>7}{'ops/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'server':>9}{'client':>9}"
    )
    for row in rows:
        print(
            "{name:<24}{outstanding:>10}{value_bytes:>7}{ops_per_s:>9}{p50_ms:>9}{p99_ms:>9}"
            "{server_cpu_s_per_10k:>9}{client_cpu_s_per_10k:>9}".format(**row)
        )
    print("server, client: CPU seconds per 10,000 operations.")
    print(f"one of four silent: {silent['one_silent']} of {silent['all']} ops/s, {silent['share']:.0%}")
    if view_changes:
        each = ", ".join(f"{taken:.3f}" for taken in view_changes)
        print(f"view change after kill -9 of the primary: median {statistics.median(view_changes):.3f} s ({each})")
    serial = next((row["p50_ms"] for row in rows if row["outstanding"] == 1), None)
    if serial is not None:
        bound_ms = 6 * float(limits["fdatasync_p50_us"]) / 1000 + 3  # type: ignore[arg-type]
        print(f"one at a time: p50 {serial} ms, beside 6 fdatasyncs and 3 ms: {bound_ms:.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
