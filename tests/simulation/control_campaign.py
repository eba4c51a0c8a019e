"""Seeds of distributed control loops: `python -m tests.simulation.control_campaign --seeds 100`.

`--seed` runs one again. A seed whose claims hold prints one line; one that breaks a claim prints it, and how to
run it again, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys

from quorum.sim.control_scene import LIES, ControlPlan, run_control_seed

USUAL = ControlPlan(0)


def main() -> int:
    """Return the exit code: 0 every claim held, 1 one did not."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.control_campaign")
    parser.add_argument("--seed", type=int, help="Run this one alone.")
    parser.add_argument("--seeds", type=int, default=20, help="How many, from 1 on.")
    parser.add_argument("--model", choices=("crash", "byzantine"), default="crash")
    parser.add_argument("--liars", type=int, default=USUAL.liars)
    parser.add_argument("--lie", choices=LIES, default="")
    parser.add_argument("--seconds", type=int, default=USUAL.seconds)
    parser.add_argument("--strikes", default=",".join(USUAL.strikes), help="Faults of nodes; none: none.")
    given = parser.parse_args()
    strikes = () if given.strikes == "none" else tuple(given.strikes.split(","))
    failed = 0
    for seed in [given.seed] if given.seed is not None else range(1, given.seeds + 1):
        plan = ControlPlan(
            seed, given.model, liars=given.liars, lie=given.lie, seconds=given.seconds, strikes=strikes
        )
        outcome = run_control_seed(plan)
        failed += bool(outcome.failure)
        counts = f"{len(outcome.decisions)} ticks decided, {outcome.due} of them due, {outcome.refused} refused"
        print(f"seed {seed}: {outcome.failure or 'every claim held'}; {counts}; trace {outcome.trace[:16]}")
        if outcome.failure:
            print(f"  {outcome.replay}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
