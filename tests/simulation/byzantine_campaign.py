"""The campaign with liars: `python -m tests.simulation.byzantine_campaign` from the root of the repository.

As the other one (tests.simulation.campaign) every seed runs twice in a process and once more under another
PYTHONHASHSEED, and all three traces must be the same. In each, up to T of 4 to 9 members lie all the time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from quorum.sim.campaign import Outcome

from .byzantine_plans import EXPECTED, NODES, OPERATIONS_MIN, SECONDS, shortcoming
from .campaign import RUNS, Tally, print_report, report, run_campaign


class ByzantineTally(Tally):
    """The campaign with liars: up to T of the members lie all the time."""

    command = "tests.simulation.byzantine_campaign"
    shard = "byzantine_shard"
    expected = EXPECTED
    nodes = NODES
    seconds, operations_min = SECONDS, OPERATIONS_MIN

    def shortcoming(self, outcome: Outcome) -> str:
        return shortcoming(outcome)


def main(arguments: list[str] | None = None, kind: type[ByzantineTally] = ByzantineTally) -> int:
    parser = argparse.ArgumentParser(prog=f"python -m {kind.command}", description=kind.__doc__)
    usual = ",".join(map(str, kind.nodes))
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds (1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (2)")
    parser.add_argument("--nodes", default=usual, help=f"node counts, drawn ({usual})")
    parser.add_argument("--runs", type=int, default=RUNS, choices=(1, 2, 3), help="runs of each seed (3)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args(arguments)
    nodes = tuple(int(count) for count in given.nodes.split(",") if count.isdigit())
    if given.seeds < 1 or given.workers < 1 or not nodes or min(nodes) < 4:
        parser.error("give one seed and one worker at least, and node counts of 4 or more such as 4,7")
    seeds = range(given.first, given.first + given.seeds)
    began = time.monotonic()
    print(
        f"{len(seeds)} seeds, {given.runs} runs each, {kind.operations_min} operations, {kind.seconds} simulated "
        f"seconds at least, T of {given.nodes} members lie",
        file=sys.stderr,
    )
    tally = run_campaign(seeds, nodes, given.workers, kind=kind, runs=given.runs)
    result = report(tally, seeds, time.monotonic() - began)
    passed = bool(result["passed"])
    if given.json:
        print(json.dumps(result))
    else:
        print_report(result)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
