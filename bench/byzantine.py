"""`python bench/byzantine.py`: members that may lie, under load: throughput, latency, and what faults cost.

Processes on loopback with mutual TLS, the client included. `batch` says how many operations a signature covers:
`session`, all that the client sends at once (at most 1,024); a number, so many; 1, every operation is signed by
itself, as ledgers want it. A block holds what at most 400 signatures cover, and 1 MiB. `memory` keeps the data in
memory, so that nothing is durable: what the disk costs, and what compares with systems that never sync. `silent`:
one of four members is stopped; `flood`: one of them sends twenty messages of junk with each of its own, and takes
what time of the cores it can. Larger committees share the cores as well. The last rows are of simulated ones
(bench/byzantine_simulated.py).

Figures of others on such a machine, for comparison: libhotstuff (C++, 0 B, not durable) 28,800 ops/s at 3,200
outstanding; BFT-SMaRt (Java, 100 B) 1,000 ops/s.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import byzantine_simulated
import machine
import signatures
from committee import READY_S, Committee, Load, committee_of, put_all_the_time, row_of
from load import PeerFailed
from ours import runner

MEMORY = Path("/dev/shm")
FAULTS = Load(1024)
"""The load under which faults are measured."""
FLOOD = "flood"


def _loads(options: argparse.Namespace, nodes: int) -> list[Load]:
    """What is measured of a committee: of four all, of larger ones less."""
    batched = [Load(512, batch=batch) for batch in options.batch]
    if nodes > 4:
        return [Load(options.outstanding[0]), Load(options.outstanding[-1]), *batched[:1]]
    rows = [Load(outstanding, size) for size in (88, 0) for outstanding in options.outstanding]
    return [*rows, Load(64, batch=1), *batched]


async def _rows(committee: Committee, name: str, loads: list[Load], seconds: float) -> list[dict[str, Any]]:
    return [await row_of(committee, name, load, seconds) for load in loads]


async def _silent(committee: Committee, seconds: float) -> dict[str, Any]:
    """Throughput with all members, and with one backup stopped."""
    whole = await row_of(committee, "all four", FAULTS, seconds)
    primary = await committee.ready()
    victim = next(node for node in committee.layout.nodes if node != primary)
    committee.processes.signal(victim, signal.SIGSTOP)
    try:
        async with committee.place.client(READY_S) as client:
            took_s = await put_all_the_time(client, FAULTS, seconds)
    finally:
        committee.processes.signal(victim, signal.SIGCONT)
    return _shares(whole["ops_per_s"], "one_silent", round(len(took_s) / seconds))


async def _flooded(committee: Committee, whole: int, seconds: float) -> dict[str, Any]:
    """Throughput where one backup floods the others, beside `whole`, without it."""
    row = await row_of(committee, "one floods", FAULTS, seconds)
    return _shares(whole, "one_floods", row["ops_per_s"])


def _shares(whole: int, name: str, rate: int) -> dict[str, Any]:
    return {"all": whole, name: rate, "share": round(rate / max(whole, 1), 3)}


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


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, one committee after the other. Raises PeerFailed."""
    run_on, seconds = runner(), options.seconds
    found: dict[str, Any] = {"machine": machine.measure(), "signatures": signatures.measure(), "rows": []}
    for nodes in options.nodes:
        with committee_of(nodes) as committee:
            found["rows"] += run_on(_rows(committee, "durable, mTLS", _loads(options, nodes), seconds))
            if nodes == 4:
                found["silent"] = run_on(_silent(committee, seconds))
                found["view_change_s"] = run_on(_view_changes(committee, options.view_changes))
    if 4 in options.nodes:
        with committee_of(4, {"n4": FLOOD}) as committee:
            found["flood"] = run_on(_flooded(committee, found["silent"]["all"], seconds))
        if MEMORY.is_dir():
            with committee_of(4, folder=MEMORY) as committee:
                found["rows"] += run_on(_rows(committee, "memory, mTLS", _loads(options, 4), seconds))
    found["simulated"] = [byzantine_simulated.measure(nodes, seconds) for nodes in options.simulated]
    return found


def _print(found: dict[str, Any]) -> None:
    for head in ("machine", "signatures"):
        print(", ".join(f"{name} {value}" for name, value in found[head].items()))
    print(
        f"{'way':<15}{'N':>4}{'in flight':>10}{'batch':>9}{'bytes':>7}{'ops/s':>9}{'p50 ms':>9}{'p99 ms':>9}"
        f"{'server':>9}{'client':>9}"
    )
    for row in found["rows"]:
        print(
            "{name:<15}{nodes:>4}{outstanding:>10}{batch:>9}{value_bytes:>7}{ops_per_s:>9}{p50_ms:>9}{p99_ms:>9}"
            "{server_cpu_s_per_10k:>9}{client_cpu_s_per_10k:>9}".format(**row)
        )
    print("server, client: CPU seconds per 10,000 operations.")
    for name, words in (("silent", "silent"), ("flood", "floods")):
        if name in found:
            each = found[name]
            print(f"one of four {words}: {each[f'one_{words}']} of {each['all']} ops/s, {each['share']:.0%}")
    if found.get("view_change_s"):
        taken_s = found["view_change_s"]
        each = ", ".join(f"{taken:.3f}" for taken in taken_s)
        print(f"view change after kill -9 of the primary: median {statistics.median(taken_s):.3f} s ({each})")
    serial = next((row["p50_ms"] for row in found["rows"] if row["outstanding"] == 1), None)
    if serial is not None:
        bound_ms = 6 * float(found["machine"]["fdatasync_p50_us"]) / 1000 + 3
        print(f"one at a time: p50 {serial} ms, beside 6 fdatasyncs and 3 ms: {bound_ms:.2f} ms")
    for row in found["simulated"]:
        print(byzantine_simulated.told(row))


def main() -> int:
    """Return the exit code: 0 done, 1 it could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python bench/byzantine.py", epilog="Example: python bench/byzantine.py --nodes 4 7 10"
    )
    parser.add_argument("--nodes", nargs="+", type=int, default=[4, 7, 10], help="Sizes of committees.")
    parser.add_argument("--outstanding", nargs="+", type=int, default=[1, 64, 1024, 3200], help="Puts in flight.")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 16, 128], help="Puts that a signature covers.")
    parser.add_argument("--simulated", nargs="*", type=int, default=[31], help="Sizes of simulated committees.")
    parser.add_argument("--seconds", type=float, default=3.0, help="How long each row is measured.")
    parser.add_argument("--view-changes", type=int, default=5, help="How often the primary is killed.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object instead of the table.")
    options = parser.parse_args()
    if min(options.nodes + options.simulated) < 4 or min(options.batch + options.outstanding) < 1:
        parser.error("committees have 4 members at least, and one put at least is in flight and signed")
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
