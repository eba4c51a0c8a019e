"""`python bench/byzantine.py`: members that may lie, under load: throughput, latency, and what faults cost.

Processes on loopback with mutual TLS, the client included. `batch` says how many operations a signature covers:
`session`, all that the client sends at once (at most 1,024); a number, so many; 1, every operation is signed by
itself, as ledgers want it. A block holds what at most 400 signatures cover, and 1 MiB. `memory` keeps the data in
memory, so that nothing is durable: what the disk costs, and what compares with systems that never sync. One of
four members is silent: it is stopped; it floods: it sends twenty messages of junk with each of its own, and takes
what time of the cores it can. Both are medians, in alternation with no fault (bench/byzantine_faults.py). Larger
committees share the cores as well. The last rows are of simulated ones
(bench/byzantine_simulated.py).

Figures of others on such a machine, for comparison: libhotstuff (C++, 0 B, not durable) 28,800 ops/s at 3,200
outstanding; BFT-SMaRt (Java, 100 B) 1,000 ops/s.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import byzantine_faults
import byzantine_simulated
import machine
import signatures
from committee import Committee, Load, committee_of, row_of
from load import PeerFailed
from ours import runner

MEMORY = Path("/dev/shm")
DURABLE, VOLATILE = "durable, mTLS", "memory, mTLS"


def _loads(options: argparse.Namespace, nodes: int) -> list[Load]:
    """What is measured of a committee: the same signatures for all sizes; of four all sessions, of larger ones the
    first and the last."""
    signed = [*(Load(512, batch=batch) for batch in options.batch), Load(512, 0, batch=1)]
    if nodes > 4:
        ends = dict.fromkeys((options.outstanding[0], options.outstanding[-1]))
        return [*map(Load, ends), *signed]
    rows = [Load(outstanding, size) for size in (88, 0) for outstanding in options.outstanding]
    return [*rows, Load(64, batch=1), *signed]


async def _rows(committee: Committee, name: str, loads: list[Load], seconds: float) -> list[dict[str, Any]]:
    return [await row_of(committee, name, load, seconds) for load in loads]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, one committee after the other. Raises PeerFailed."""
    run_on, seconds = runner(), options.seconds
    found: dict[str, Any] = {"machine": machine.measure(), "signatures": signatures.measure(), "rows": []}
    for nodes in options.nodes:
        with committee_of(nodes) as committee:
            found["rows"] += run_on(_rows(committee, DURABLE, _loads(options, nodes), seconds))
            if nodes == 4:
                found["silent"] = run_on(byzantine_faults.silent(committee, seconds, options.repeats))
                found["view_change"] = run_on(byzantine_faults.view_changes(committee, options.view_changes))
    if 4 in options.nodes:
        found["one_at_a_time"] = _one_at_a_time(found)
        with committee_of(4, {"n4": byzantine_faults.FLOOD}) as committee:
            found["flood"] = run_on(byzantine_faults.flooded(committee, "n4", seconds, options.repeats))
        if MEMORY.is_dir():
            with committee_of(4, folder=MEMORY) as committee:
                found["rows"] += run_on(_rows(committee, VOLATILE, _loads(options, 4), seconds))
    found["simulated"] = [byzantine_simulated.measure(nodes, seconds) for nodes in options.simulated]
    return found


def _one_at_a_time(found: dict[str, Any]) -> dict[str, Any] | None:
    """The latency of one put at a time, of four durable members, beside what this disk allows. None: no row."""
    rows = [row for row in found["rows"] if (row["name"], row["nodes"], row["outstanding"]) == (DURABLE, 4, 1)]
    if not rows:
        return None
    bound_ms = 6 * float(found["machine"]["fdatasync_p50_us"]) / 1000 + 3
    p50_ms = rows[0]["p50_ms"]
    return {"p50_ms": p50_ms, "bound_ms": round(bound_ms, 2), "ratio": round(p50_ms / bound_ms, 2)}


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
    for line in byzantine_faults.told(found):
        print(line)
    if (serial := found.get("one_at_a_time")) is not None:
        verdict = "met" if serial["ratio"] <= 1 else "not met"
        print(
            f"one at a time, four durable members: p50 {serial['p50_ms']} ms, {serial['ratio']:.2f} of "
            f"6 fdatasync p50 + 3 ms ({serial['bound_ms']} ms), {verdict}"
        )
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
    parser.add_argument(
        "--repeats", type=int, default=3, help="Each fault is the median of so many runs, and as many without it."
    )
    parser.add_argument(
        "--view-changes", type=int, default=5, help="How often the primary is killed, and how often stopped."
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object instead of the table.")
    options = parser.parse_args()
    if min(options.nodes + options.simulated) < 4 or min(options.batch + options.outstanding) < 1:
        parser.error("committees have 4 members at least, and one put at least is in flight and signed")
    if options.repeats < 1:
        parser.error("a median of no runs was asked for: give --repeats 1 or more")
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
