"""`python bench/control.py`: one distributed control decision of five nodes, from readings sent to known by all.

Five node processes on loopback with mutual TLS, and five clients in this process, each the owner of one channel.
In each tick every client sends its reading; what is measured ends when the last of the five knows the decision,
and when the first does. In crash mode a client is told by the node that leads, where members may lie by the node
that it stands beside; "T+1" is without such a node: it asks until T+1 members have said the same. Durable: every
node syncs what it stores before that counts. In memory: the data is in memory, so that nothing is durable. The
difference is what durability costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import machine
from load import PeerFailed, percentile
from ours import runner
from peers.processes import Processes
from quorum.apps.control import Decided
from quorum.errors import QuorumError
from quorum.runtime.client import Client
from quorum.runtime.connect import at_config
from quorum.runtime.control_client import ControlClient
from quorum.runtime.keyring import issue
from quorum.runtime.place import Place
from quorum.runtime.setup import init_cluster
from quorum.voting.control.channels import Channel, Reading

NODES, FAULTS = 5, 1
MEMORY = Path("/dev/shm")
LOOP = "bench"
READY_S = 30.0
WARM_UP_TICKS = 50
BAR_MS = 5.0


class Members:
    """The node processes of one cluster, and a client for each channel."""

    def __init__(self, processes: Processes, folder: Path, model: str) -> None:
        self.processes = processes
        self.layout = init_cluster(folder, nodes=NODES, model=model)
        names = [issue(self.layout.keys, f"probe{at}", kind="client") for at in range(1, NODES + 1)]
        self.places: list[Place] = [at_config(self.layout.cluster, identity=name) for name in names]
        self._admin = at_config(self.layout.cluster)
        for node, path in self.layout.nodes.items():
            command = [sys.executable, "-m", "quorum", "node", "--config", str(path), "--bootstrap"]
            processes.start(node, command)

    async def ready(self) -> None:
        """Wait until one leads and all are connected. Raises PeerFailed."""
        deadline = time.perf_counter() + READY_S
        while time.perf_counter() < deadline:
            self.processes.check_alive()
            found = []
            for node in self.layout.nodes:
                with suppress(OSError, QuorumError):
                    async with self._admin.node(node) as connection:
                        found.append(json.loads(await connection.status()))
            is_led = any(each["role"] in ("leader", "primary") for each in found)
            if is_led and len(found) == NODES and all(len(each["connected"]) == NODES - 1 for each in found):
                return
            await asyncio.sleep(0.1)
        raise PeerFailed(f"the nodes were not ready within {READY_S:.0f} s.")


@contextmanager
def members_of(model: str, folder: Path | None) -> Iterator[Members]:
    """Running nodes, their data in `folder`, or where Python puts temporary files."""
    with Processes() as processes, tempfile.TemporaryDirectory(dir=folder or processes.folder) as inside:
        yield Members(processes, Path(inside) / "cluster", model)


class Probe:
    """One client, which owns one channel."""

    def __init__(self, client: Client, channel: str, heard: ControlClient | None) -> None:
        self.client, self.channel = client, channel
        self.heard = heard
        """Where it is told of decisions; None: it asks for them."""
        self._known: tuple[int, float, Decided] | None = None
        self._stirred = asyncio.Event()

    async def follow(self) -> None:
        """Hear of decisions, where one member is believed."""
        assert self.heard is not None, "somebody tells it"
        async for decided in self.heard.decisions(LOOP, 0):
            self._know(decided)

    async def tick(self, tick: int, value: float) -> tuple[float, Decided]:
        """Report; return when the decision was known here, and the decision."""
        reported = await self.client.control.report(LOOP, tick, [Reading(self.channel, 0, value)])
        if reported.decided is not None:
            self._know(reported.decided)
        while self._known is None or self._known[0] != tick:
            if self.heard is None:
                found = await self.client.control.decision(LOOP, tick)
                if found is not None:
                    self._know(found)
            else:
                self._stirred.clear()
                await self._stirred.wait()
        return self._known[1:]

    def _know(self, decided: Decided) -> None:
        if self._known is None or self._known[0] != decided.tick:
            self._known = decided.tick, time.perf_counter(), decided
            self._stirred.set()


async def _row(members: Members, name: str, beside: bool, ticks: int, period_s: float) -> dict[str, Any]:
    """Latencies of so many ticks, in milliseconds. Raises PeerFailed."""
    await members.ready()
    async with AsyncExitStack() as stack:
        probes = []
        for at, (place, node) in enumerate(zip(members.places, members.layout.nodes, strict=True), 1):
            client = await stack.enter_async_context(place.client(READY_S))
            heard = None if client.signs else client.control
            if beside:
                own = await stack.enter_async_context(place.client_at(node, READY_S))
                heard = ControlClient(own, is_at_node=True)
            probes.append(Probe(client, f"c{at}", heard))
        owners = {probe.channel: place.caller for probe, place in zip(probes, members.places, strict=True)}
        await probes[0].client.control.declare(
            LOOP,
            [Channel(name=channel, half_width=0.5) for channel in owners],
            "3oo5 3oo4 2oo3",
            faults=FAULTS,
            period=period_s,
            deadline=period_s,
            owners=owners,
        )
        following = [asyncio.create_task(probe.follow()) for probe in probes if probe.heard is not None]
        try:
            first_s, last_s = await _ticks(probes, ticks, period_s)
        finally:
            for task in following:
                task.cancel()
    return {
        "name": name,
        "ticks": len(last_s),
        "p50_ms": round(percentile(last_s, 0.5) * 1e3, 2),
        "p99_ms": round(percentile(last_s, 0.99) * 1e3, 2),
        "first_p50_ms": round(percentile(first_s, 0.5) * 1e3, 2),
        "first_p99_ms": round(percentile(first_s, 0.99) * 1e3, 2),
    }


async def _ticks(probes: list[Probe], ticks: int, period_s: float) -> tuple[list[float], list[float]]:
    """Seconds until the first and until the last probe knew, both sorted. Raises PeerFailed where two of them
    know different decisions."""
    first_s, last_s = [], []
    for tick in range(WARM_UP_TICKS + ticks):
        began_s = time.perf_counter()
        known = await asyncio.gather(*(probe.tick(tick, 20.0 + at / 10) for at, probe in enumerate(probes)))
        if len({each.index for _, each in known}) != 1 or any(each.value is None for _, each in known):
            raise PeerFailed(f"tick {tick} was decided differently: {known}")
        if tick >= WARM_UP_TICKS:
            first_s.append(min(at_s for at_s, _ in known) - began_s)
            last_s.append(max(at_s for at_s, _ in known) - began_s)
        await asyncio.sleep(max(0.0, period_s - (time.perf_counter() - began_s)))
    return sorted(first_s), sorted(last_s)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for. Raises PeerFailed."""
    found: dict[str, Any] = {"machine": machine.measure(), "rows": []}
    for model in options.models:
        for name, folder in (("memory", MEMORY), ("durable", None)):
            if folder is not None and not folder.is_dir():
                print(f"{folder} is not there: {model} in memory is left out", file=sys.stderr)
                continue
            with members_of(model, folder) as members:
                beside = model == "byzantine"
                row = _row(members, f"{model}, {name}", beside, options.ticks, options.period_ms / 1e3)
                found["rows"].append(runner()(row))
            if beside and folder is not None:
                with members_of(model, folder) as members:
                    row = _row(members, f"{model}, T+1", False, options.ticks, options.period_ms / 1e3)
                    found["rows"].append(runner()(row))
    return found


def _print(found: dict[str, Any]) -> None:
    print(", ".join(f"{name} {value}" for name, value in found["machine"].items()))
    print(f"{NODES} nodes, T={FAULTS}, mTLS; ms from readings sent until all {NODES} clients know (the first)")
    rows = {row["name"]: row for row in found["rows"]}
    for row in rows.values():
        print(
            "{name:<20}{ticks:>6} ticks  p50 {p50_ms:>6} ({first_p50_ms})  p99 {p99_ms:>6} ({first_p99_ms})"
            "".format(**row)
        )
    for model in ("crash", "byzantine"):
        memory, durable = rows.get(f"{model}, memory"), rows.get(f"{model}, durable")
        if memory and durable:
            more = durable["p50_ms"] - memory["p50_ms"], durable["p99_ms"] - memory["p99_ms"]
            print(f"{model}: durability costs {more[0]:.2f} ms at p50, {more[1]:.2f} ms at p99")
        if memory:
            verdict = "met" if memory["p50_ms"] <= BAR_MS else "not met"
            print(f"{model}: p50 of {memory['p50_ms']} ms in memory, at most {BAR_MS:g} ms wanted: {verdict}")


def main() -> int:
    """Return the exit code: 0 done, 1 it could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python bench/control.py", epilog="Example: python bench/control.py --models crash --ticks 200"
    )
    parser.add_argument("--models", nargs="+", choices=("crash", "byzantine"), default=["crash", "byzantine"])
    parser.add_argument("--ticks", type=int, default=200, help="So many are measured of each.")
    parser.add_argument("--period-ms", type=float, default=50.0, help="From tick to tick.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object instead of the table.")
    options = parser.parse_args()
    if options.ticks < 10 or options.period_ms <= 0:
        parser.error("fewer than 10 ticks, or no time between them, say nothing. Give more.")
    try:
        found = measure(options)
    except PeerFailed as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(found))
    else:
        _print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
