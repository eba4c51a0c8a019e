"""The policy code beside the exact chain: `python -m tests.simulation.participation_campaign`.

Every case is run for so many mean times to failure of one node, in pieces with seeds of their own, and must agree
with the exact figure within three standard errors.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from multiprocessing import Pool
from typing import Any

from .participation_events import Case, Cluster, Cycle, Measured, measure

SIGMAS = 3.0
PIECES = 8
CASES: tuple[tuple[Case, int], ...] = (
    (Case(5, 20, "fixed"), 200_000),
    (Case(5, 20), 800_000),
    (Case(5, 20, reconfiguration_ratio=10), 200_000),
    (Case(5, 20, reconfiguration_ratio=1), 200_000),
    (Case(5, 5, "fixed"), 50_000),
    (Case(5, 5), 200_000),
    (Case(5, 5, change="joint"), 20_000),
    (Case(7, 5, "fixed"), 50_000),
    (Case(7, 5), 200_000),
    (Case(9, 3, "fixed"), 50_000),
    (Case(9, 3), 200_000),
)
"""Each with the mean times to failure to run for. More nodes are repaired less fast here: where a quorum is lost
once in ten thousand lives, counting losses takes too long."""
Piece = tuple[Case, int, float]


def run_piece(piece: Piece) -> list[Cycle]:
    """The cycles of one piece of a case."""
    case, seed, lives = piece
    return list(Cluster(case, seed).cycles(lives))


def run_cases(cases: tuple[tuple[Case, float], ...], workers: int) -> Iterator[tuple[Case, Measured]]:
    """Each case and what was measured, as they come; progress on stderr."""
    with Pool(workers) as pool:
        for case, lives in cases:
            began, found = time.monotonic(), list[Cycle]()
            pieces = [(case, seed, lives / PIECES) for seed in range(PIECES)]
            for number, cycles in enumerate(pool.imap(run_piece, pieces), 1):
                found += cycles
                print(f"\r{case}: {number} of {PIECES}", end="", file=sys.stderr, flush=True)
            print(f", {time.monotonic() - began:.0f} s", file=sys.stderr)
            yield case, measure(found)


def facts(case: Case, measured: Measured) -> dict[str, Any]:
    """For programs."""
    deviation = measured.deviation(case.exact)
    return {
        **case._asdict(),
        **measured._asdict(),
        "exact": case.exact,
        "sigmas": deviation,
        "agrees": abs(deviation) <= SIGMAS,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.participation_campaign", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="run each case so many times as long (1)")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (2)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args(arguments)
    if given.scale <= 0 or given.workers < 1:
        parser.error("give a scale above 0 and one worker at least")
    cases = tuple((case, lives * given.scale) for case, lives in CASES)
    rows = []
    if not given.json:
        print(f"{'case':46}{'exact':>11}{'measured':>11}{'error':>10}{'sigmas':>8}{'losses':>8}{'cycles':>9}")
    for case, measured in run_cases(cases, given.workers):
        rows.append({"case": str(case), **facts(case, measured)})
        if not given.json:
            print(_line(rows[-1]), flush=True)
    passed = all(row["agrees"] for row in rows)
    if given.json:
        print(json.dumps({"passed": passed, "cases": rows}))
    else:
        print("agree within 3 standard errors" if passed else "FAILED: not all agree within 3 standard errors")
    return 0 if passed else 1


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['case']:46}{row['exact']:>11.3e}{row['unavailability']:>11.3e}{row['error']:>10.1e}"
        f"{row['sigmas']:>8.2f}{row['losses']:>8}{row['cycles']:>9}"
    )


if __name__ == "__main__":
    sys.exit(main())
