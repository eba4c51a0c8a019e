"""How long a node's loop stands still while 200 MB of state are snapshotted, sent and installed.

`python bench/snapshot.py [--state-mb 200] [--value-bytes 88]`: three nodes under mutual TLS are filled, then
put under a light load while each takes two snapshots and is asked for its status, and a new node is admitted
that has to fetch the snapshot. Every node watches its own loop (`watched_node.py`). The table says, for each
phase and node, the worst stall; "own" is without the time for which the thread was ready to run and the machine
had no core for it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import machine
from changing import ChangingMembers, Paced
from load import PeerFailed, percentile
from ours import runner
from peers.processes import Processes, measurable
from quorum.membership.reconfiguration import Admit

FILL_OUTSTANDING = 2048
SNAPSHOT_S = 120.0
SETTLE_S = 1.0
NEWCOMER = "n4"
KEY_BYTES = 12


@dataclass(frozen=True)
class Stalls:
    """One node in one phase: how often its loop stood still for more than 5 ms, and the worst, in milliseconds."""

    phase: str
    node: str
    role: str
    seconds: float
    count: int
    worst_ms: float
    own_worst_ms: float
    own_over_20_ms: int


class Measured:
    """A cluster of three, its load, and what was seen phase by phase."""

    def __init__(self, members: ChangingMembers) -> None:
        self.members = members
        self.rows: list[Stalls] = []
        self._roles: dict[str, str] = {}

    async def phase(self, name: str, doing) -> None:  # type: ignore[no-untyped-def]
        """Await `doing`, then a second more, and note each node's stalls meanwhile."""
        print(f"{name} ...", file=sys.stderr)
        leader = await self.members.leading() if not self._roles else self._roles["leader"]
        self._roles["leader"] = leader
        began = time.monotonic()
        await doing
        await asyncio.sleep(SETTLE_S)
        ended = time.monotonic()
        newcomers = [NEWCOMER] if self.members.stalls_of(NEWCOMER).exists() else []
        for node in (*self.members.endpoints, *newcomers):
            role = "leader" if node == leader else "newcomer" if node == NEWCOMER else "follower"
            self.rows.append(_stalls(self.members.stalls_of(node), name, node, role, began, ended))


def _stalls(path: Path, phase: str, node: str, role: str, began: float, ended: float) -> Stalls:
    seen = []
    for line in path.read_text().splitlines() if path.exists() else ():
        if not line.startswith("#"):
            at, late_ms, waited_ms = map(float, line.split())
            if began <= at and at - late_ms / 1e3 <= ended:
                seen.append((late_ms, max(0.0, late_ms - waited_ms)))
    worst, own = (max((each[place] for each in seen), default=0.0) for place in (0, 1))
    over = sum(each[1] > 20 for each in seen)
    return Stalls(phase, node, role, round(ended - began, 1), len(seen), round(worst, 1), round(own, 1), over)


async def fill(members: ChangingMembers, state_bytes: int, value_bytes: int) -> int:
    """Write so many bytes of keys and values; return the number of keys."""
    count = state_bytes // (KEY_BYTES + value_bytes)
    value, done = b"v" * value_bytes, asyncio.Event()
    issued = answered = 0
    async with members.client() as client:

        def put() -> None:
            nonlocal issued
            client.kv.put_soon(b"key%09d" % (issued * 7919 % count), value).add_done_callback(heard)
            issued += 1

        def heard(future: asyncio.Future) -> None:
            nonlocal answered
            future.result()
            answered += 1
            if issued < count:
                put()
            elif answered == count:
                done.set()

        for _ in range(min(FILL_OUTSTANDING, count)):
            put()
        await asyncio.wait_for(done.wait(), SNAPSHOT_S * 2)
        found = await client.kv.range(b"", None, limit=1)
        assert found.items, "what was written is there"
    return count


async def snapshots(members: ChangingMembers) -> None:
    """Let every node write a snapshot with all that is committed now, one node after the other."""
    for node in list(members.endpoints):
        async with asyncio.timeout(SNAPSHOT_S), members.node(node) as connection:
            await connection.backup()


async def statuses(members: ChangingMembers) -> None:
    """Ask every node for its status, three times."""
    for _ in range(3):
        for node in members.endpoints:
            await members.status(node)
        await asyncio.sleep(0.5)


async def join(members: ChangingMembers) -> None:
    """Admit a new node, which must fetch the snapshot, and wait until it votes."""
    address = members.enrol(NEWCOMER)
    await members.change(Admit(NEWCOMER, "voter", address))


async def measure(options: argparse.Namespace) -> tuple[list[Stalls], dict[str, object]]:
    limits = {"snapshot_entries": 10**9, "snapshot_bytes": 2**40, "log_kept_entries": 100}
    with Processes() as processes:
        members = ChangingMembers(processes, processes.folder / "cluster", 3, limits, watched=True)
        await members.leader()
        measured = Measured(members)
        keys = 0

        async def filled() -> None:
            nonlocal keys
            keys = await fill(members, options.state_mb * 1_000_000, options.value_bytes)

        if options.fill_watched:
            await measured.phase("fill", filled())
        else:
            await filled()
        term_before = (await members.status(await members.leading()))["term"]
        async with members.client() as client:
            load = Paced(client, options.load)
            driving = asyncio.create_task(load.run())
            await measured.phase("light load alone", asyncio.sleep(4.0))
            await measured.phase("snapshot", snapshots(members))
            await measured.phase("second snapshot", snapshots(members))
            await measured.phase("status", statuses(members))
            began = time.perf_counter()
            await measured.phase("join", join(members))
            joined_s = time.perf_counter() - began - SETTLE_S
            await load.stop()
            await driving
            latencies = load.between(0.0, float("inf"))
        status = await members.status(await members.leading())
        facts = {
            "keys": keys,
            "joined_s": round(joined_s, 1),
            "snapshot_mb": round(_largest_snapshot(members) / 1e6, 1),
            "terms": [term_before, status["term"]],
            "put_p50_ms": round(percentile(latencies, 0.5) * 1e3, 2),
            "put_p99_ms": round(percentile(latencies, 0.99) * 1e3, 2),
            "put_worst_ms": round(latencies[-1] * 1e3, 1) if latencies else 0.0,
            "puts_failed": load.failed,
            "rss_mb": processes.rss_mb(),
        }
        if options.keep_stalls:
            for node in (*members.endpoints, NEWCOMER):
                text = members.stalls_of(node).read_text() if members.stalls_of(node).exists() else ""
                (Path(options.keep_stalls) / f"{node}.stalls").write_text(text)
    return measured.rows, facts


def _largest_snapshot(members: ChangingMembers) -> int:
    return max((path.stat().st_size for path in members.layout.folder.rglob("*.snap")), default=0)


def table(rows: list[Stalls]) -> str:
    head = (
        f"{'phase':<18}{'node':<6}{'role':<10}{'s':>7}{'> 5 ms':>8}{'worst ms':>10}{'own ms':>9}{'own > 20':>10}"
    )
    lines = [head]
    lines += [
        f"{row.phase:<18}{row.node:<6}{row.role:<10}{row.seconds:>7.1f}{row.count:>8}{row.worst_ms:>10.1f}"
        f"{row.own_worst_ms:>9.1f}{row.own_over_20_ms:>10}"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> int:
    """Return the exit code: 0 measured, 1 it could not be."""
    parser = argparse.ArgumentParser(
        prog="python bench/snapshot.py", epilog="Example: python bench/snapshot.py --value-bytes 1000"
    )
    parser.add_argument("--state-mb", type=int, default=200, help="Keys and values, in MB.")
    parser.add_argument("--value-bytes", type=int, default=88, help="Bytes per value; the key has 12 more.")
    parser.add_argument("--load", type=float, default=1000, help="Puts per second meanwhile.")
    parser.add_argument("--fill-watched", action="store_true", help="Show the stalls while it is filled, too.")
    parser.add_argument("--keep-stalls", metavar="FOLDER", help="Copy what the nodes wrote down to FOLDER.")
    parser.add_argument("--json", metavar="FILE", help="Also write one JSON object to FILE.")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the nodes are ended, too
    if reason := measurable():
        parser.error(reason)
    limits = machine.measure()
    try:
        rows, facts = runner()(measure(options))
    except (PeerFailed, TimeoutError) as error:
        print(f"the stalls were not measured: {error}", file=sys.stderr)
        return 1
    print(", ".join(f"{name} {value}" for name, value in limits.items()))
    print(table(rows))
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    if options.json:
        report = {"machine": limits, "facts": facts, "rows": [asdict(row) for row in rows]}
        Path(options.json).write_text(json.dumps(report, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
