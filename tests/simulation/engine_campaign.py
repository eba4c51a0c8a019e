"""The real engine beside the exact chain: `python -m tests.simulation.engine_campaign`.

Five replicas crash and are repaired (`participation_engine`), with a fixed and with an adaptive committee. The
share of time without a leader that has a quorum must be what the chain says, within three standard errors, at the
rate of change that the engine had.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from multiprocessing import Pool
from typing import Any

from .participation_campaign import SIGMAS
from .participation_engine import EngineCase, Watched, run_engine, together, verdict

SECONDS = 10_000
CASES = ((EngineCase(policy="fixed", life_s=150), 4), (EngineCase(life_s=150), 16))
"""Each with its seeds, of SECONDS simulated seconds."""
Seed = tuple[EngineCase, int]


def run_one(asked: Seed) -> Watched:
    case, seed = asked
    return run_engine(case, seed, SECONDS)


def facts(case: EngineCase, watched: Watched) -> dict[str, Any]:
    """For programs."""
    measured, ratio, exact = verdict(case, watched)
    deviation = measured.deviation(exact)
    return {
        **case._asdict(),
        **measured._asdict(),
        "reconfiguration_ratio": ratio if case.policy != "fixed" else None,
        "exact": exact,
        "sigmas": deviation,
        "changes": watched.changes,
        "elections": watched.short,
        "election_s": watched.short_s,
        "simulated_s": watched.simulated_s,
        "agrees": abs(deviation) <= SIGMAS,
    }


def show(row: dict[str, Any]) -> None:
    rate = f", changes {row['reconfiguration_ratio']:.1f} times as fast as repairs" if row["changes"] else ""
    print(f"N={row['nodes']} {row['policy']}, ratio {row['ratio']:g}{rate}, {row['simulated_s']:.0f} s simulated")
    print(
        f"  exact {row['exact']:.3e}, measured {row['unavailability']:.3e} +- {row['error']:.1e}: "
        f"{row['sigmas']:+.2f} standard errors; {row['losses']} losses, {row['changes']} changes"
    )
    print(
        f"  beside that {row['elections']} elections, {row['election_s']:.1f} s in all; smallest committee "
        f"{row['fewest']}",
        flush=True,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.engine_campaign", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="run so many times as many seeds (1)")
    parser.add_argument("--policy", choices=("fixed", "adaptive"), help="this one alone")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (2)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args(arguments)
    if given.scale <= 0 or given.workers < 1:
        parser.error("give a scale above 0 and one worker at least")
    rows = []
    with Pool(given.workers) as pool:
        for case, usual in CASES:
            if given.policy not in (None, case.policy):
                continue
            began, seeds, found = time.monotonic(), max(1, round(usual * given.scale)), list[Watched]()
            for watched in pool.imap(run_one, [(case, seed) for seed in range(seeds)]):
                found.append(watched)
                so_far = verdict(case, together(found))[0]
                told = f"{len(found)} of {seeds}: {so_far.unavailability:.2e} +- {so_far.error:.1e} so far"
                print(f"\r{case.policy}: {told}", end="", file=sys.stderr, flush=True)
            print(f", {time.monotonic() - began:.0f} s", file=sys.stderr)
            rows.append(facts(case, together(found)))
            if not given.json:
                show(rows[-1])
    passed = all(row["agrees"] for row in rows)
    if given.json:
        print(json.dumps({"passed": passed, "cases": rows}))
    else:
        print("agree within 3 standard errors" if passed else "FAILED: not all agree within 3 standard errors")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
