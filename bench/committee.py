"""A committee of member processes on loopback, and closed loops of puts against it."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from load import PeerFailed, percentile
from peers.processes import Processes
from quorum.apps import kv
from quorum.apps.catalogue import KV_APP
from quorum.errors import QuorumError
from quorum.runtime.client import Client
from quorum.runtime.connect import at_config
from quorum.runtime.place import Place
from quorum.runtime.setup import init_cluster

READY_S = 30.0
WARM_UP_S = 1.0
KEYS = 10_000


class Load(NamedTuple):
    """How puts are made: `outstanding` at a time, of `value_bytes` each. `batch`: how many a signature covers; 0:
    all that the client sends at once, as its session does; 1: each alone, as by `quorum.connect(sign="each")`."""

    outstanding: int
    value_bytes: int = 88
    batch: int = 0

    @property
    def loops(self) -> int:
        """How many wait for an answer of their own."""
        return max(1, self.outstanding // max(1, self.batch))


class Committee:
    """The member processes of one cluster; `lies` says which of them lie, and how (sim.adversary.BEHAVIOURS)."""

    def __init__(
        self, processes: Processes, folder: Path, nodes: int, lies: Mapping[str, str], insecure: bool = False
    ) -> None:
        self.processes = processes
        self.layout = init_cluster(
            folder, nodes=nodes, model="byzantine", insecure=insecure, allow_faults=bool(lies)
        )
        self.place: Place = at_config(self.layout.cluster)
        for node in self.layout.nodes:
            self.start(node, "--bootstrap", *(("--lie", lies[node]) if node in lies else ()))

    def start(self, node: str, *options: str) -> None:
        """Start a member, or start it again with what it left behind."""
        command = [sys.executable, "-m", "quorum", "node", "--config", str(self.layout.nodes[node]), *options]
        self.processes.start(node, command)

    async def restart(self, node: str, *options: str) -> None:
        """Kill a member, if it runs, and start it again. Raises PeerFailed unless it catches up."""
        self.processes.kill(node)
        self.processes.reap(node)
        self.start(node, *options)
        await self.caught_up()

    async def statuses(self) -> dict[str, dict[str, Any]]:
        """What each member that answers says of itself."""
        found = {}
        for node in self.layout.nodes:
            try:
                async with self.place.node(node) as connection:
                    found[node] = json.loads(await connection.status())
            except (OSError, QuorumError):
                continue
        return found

    async def ready(self) -> str:
        """Wait until all are connected; return the primary. Raises PeerFailed."""
        deadline, count = time.perf_counter() + READY_S, len(self.layout.nodes)
        while time.perf_counter() < deadline:
            self.processes.check_alive()
            found = await self.statuses()
            linked = [each for each in found.values() if len(each["connected"]) == count - 1]
            primaries = [each for each in found.values() if each["role"] == "primary"]
            if len(linked) == count and primaries:
                return max(primaries, key=lambda each: each["term"])["node"]
            await asyncio.sleep(0.1)
        raise PeerFailed(f"the committee was not ready within {READY_S:.0f} s.")

    async def caught_up(self) -> None:
        """Wait until all are connected and have applied the same, so that nobody's way back is measured as well.
        Raises PeerFailed."""
        deadline = time.perf_counter() + READY_S
        while time.perf_counter() < deadline:
            await self.ready()
            if len({each["applied_index"] for each in (await self.statuses()).values()}) == 1:
                return
            await asyncio.sleep(0.1)
        raise PeerFailed(f"the members did not catch up within {READY_S:.0f} s.")


@contextmanager
def committee_of(
    nodes: int, lies: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[Committee]:
    """A committee with mutual TLS, its data in `folder`, or where Python puts temporary files."""
    with Processes() as processes, tempfile.TemporaryDirectory(dir=folder or processes.folder) as inside:
        yield Committee(processes, Path(inside) / "cluster", nodes, lies or {})


async def put_all_the_time(client: Client, load: Load, seconds: float) -> list[float]:
    """A closed loop; how long each put took, in seconds, after a warm-up."""
    took_s: list[float] = []
    measured_from_s = time.perf_counter() + WARM_UP_S
    stop_s = measured_from_s + seconds
    value, loops, step = b"v" * load.value_bytes, load.loops, max(load.batch, 1)

    async def one(place: int) -> None:
        number = place * step
        while (began_s := time.perf_counter()) < stop_s:
            keys = [b"key%09d" % ((number + each) % KEYS) for each in range(step)]
            number += loops * step
            if load.batch > 1:
                body = kv.encode_batch([kv.Put(key, value) for key in keys])
                await client.ask_alone(KV_APP, body, kv.decode_results, False)
            else:
                await client.kv.put(keys[0], value)
            if began_s >= measured_from_s:
                took_s.extend([time.perf_counter() - began_s] * step)

    await asyncio.gather(*(one(place) for place in range(loops)))
    return took_s


async def row_of(committee: Committee, name: str, load: Load, seconds: float) -> dict[str, Any]:
    """Throughput, latency and CPU time under this load. Raises PeerFailed."""
    await committee.ready()
    committee.place.sign_each = load.batch == 1
    async with committee.place.client(READY_S) as client:
        await client.kv.put(b"warm", b"up")
        before, own_s = committee.processes.cpu_s(), time.process_time()
        took_s = await put_all_the_time(client, load, seconds)
        used_s = committee.processes.cpu_s() - before
        own_s = time.process_time() - own_s
    if not took_s:
        raise PeerFailed(f"{name}: no put was answered within {seconds:.1f} s.")
    took_s.sort()
    per_10k = 10_000 / (len(took_s) * (seconds + WARM_UP_S) / seconds)
    return {
        "name": name,
        "nodes": len(committee.layout.nodes),
        "outstanding": load.outstanding,
        "batch": load.batch or "session",
        "value_bytes": load.value_bytes,
        "ops_per_s": round(len(took_s) / seconds),
        "p50_ms": round(percentile(took_s, 0.5) * 1e3, 2),
        "p99_ms": round(percentile(took_s, 0.99) * 1e3, 2),
        "server_cpu_s_per_10k": round(used_s * per_10k, 3),
        "client_cpu_s_per_10k": round(own_s * per_10k, 3),
    }
