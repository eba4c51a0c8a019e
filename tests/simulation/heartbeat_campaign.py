"""False evictions by the hour, and failures that are found: `python -m tests.simulation.heartbeat_campaign`.

The usual limits must put out at most one node that is well in 10,000 node-hours of lost, late and rare heartbeats
and of pauses of the observer's own. With real failures in the same weather each that lasts must be found, and no
committee be smaller than the floor. A node-hour is an hour of one observer hearing one node.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator
from multiprocessing import Pool
from typing import Any

import numpy as np

from quorum.membership.observation import Limits

from .failures_seen import Found, Observer
from .heartbeats import HOUR_TURNS, Seen, Weather, draw, watch

WELL = Weather()
FAILING = Weather(failures=1 / 1800)
PEERS, TURNS, CLUSTERS = 4, HOUR_TURNS // 2, 250
HOURS_A_BATCH = CLUSTERS * PEERS * TURNS / HOUR_TURNS
FALSE_MAX = 1.0
"""False evictions in 10,000 node-hours."""
FLOOR = 3


def run_well(seed: int) -> Seen:
    """One batch in which nobody fails."""
    return watch(draw(seed, CLUSTERS, PEERS, TURNS, WELL), Limits())


def run_failing(seed: int) -> Found:
    """One observer for an hour, in which its peers fail."""
    return Observer(draw(seed, 1, PEERS, HOUR_TURNS, FAILING), 0, floor=FLOOR).run()


def _told(what: str, results: Iterator[Any], count: int) -> list[Any]:
    began, found = time.monotonic(), []
    for number, result in enumerate(results, 1):
        found.append(result)
        print(f"\r{what}: {number} of {count}", end="", file=sys.stderr, flush=True)
    print(f", {time.monotonic() - began:.0f} s", file=sys.stderr)
    return found


def report(seen: list[Seen], found: list[Found]) -> dict[str, Any]:
    """What it came to."""
    hours = len(seen) * HOURS_A_BATCH
    false = sum(int(one.evicted.sum()) for one in seen)
    times = sorted(time_us / 1e6 for one in found for time_us in one.found_us)
    result = {
        "node_hours": hours,
        "heartbeats": round(hours * HOUR_TURNS),
        "suspected_turns": sum(int(one.suspected.sum()) for one in seen),
        "longest_suspicion_s": max(int(one.longest_us.max()) for one in seen) / 1e6,
        "false_evictions": false,
        "false_in_10000_node_hours": false * 10_000 / hours,
        "failing_node_hours": len(found) * PEERS,
        "failures": sum(one.failures for one in found),
        "missed": sum(one.missed for one in found),
        "false_beside_failures": sum(one.false for one in found),
        "found_after_s": {"median": statistics.median(times), "most": times[-1]} if times else None,
        "smallest_committee": min((one.fewest for one in found), default=None),
        "changes": sum(one.changes for one in found),
    }
    is_calm = false * 10_000 <= FALSE_MAX * max(hours, 10_000) and not result["false_beside_failures"]
    is_seen = not result["missed"] and (not found or result["smallest_committee"] >= FLOOR)
    return result | {"passed": bool(is_calm and is_seen)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.heartbeat_campaign", description=__doc__)
    parser.add_argument("--node-hours", type=int, default=30_000, help="without failures (30000)")
    parser.add_argument("--failing", type=int, default=200, help="node-hours with failures (200)")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (2)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args(arguments)
    if given.node_hours < 1 or given.failing < 0 or given.workers < 1:
        parser.error("give one node-hour and one worker at least")
    batches, observers = math.ceil(given.node_hours / HOURS_A_BATCH), math.ceil(given.failing / PEERS)
    with Pool(given.workers, initializer=np.seterr, initargs=("raise",)) as pool:
        seen = _told("without failures", pool.imap_unordered(run_well, range(batches)), batches)
        found = _told("with failures", pool.imap(run_failing, range(10_000, 10_000 + observers)), observers)
    result = report(seen, found)
    if given.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name.replace('_', ' '):28}{value}")
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
