"""The campaign of ballots: `python -m tests.simulation.ballot_campaign` from the root of the repository.

Clients open ballots of every kind and rule, vote, stay silent, lie, accuse, adapt, close and forget, on clusters
that crash and on committees of which one member lies. An observer who knows every vote that was ever signed hears
every answer. As in tests.simulation.campaign every seed runs twice in a process and once more under another
PYTHONHASHSEED, and all three traces must be the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from quorum.sim.campaign import Outcome

from . import ballot_observer as seen
from .ballot_plans import EXPECTED, NODES, shortcoming
from .campaign import RUNS, Tally, print_report, report, run_campaign

CONFLICTS = (seen.ONE_END, seen.FORGERY)
"""The claims that are broken where one ballot is decided in two ways."""


class BallotTally(Tally):
    """Ballots under every fault: each has one outcome, whatever happens."""

    command = "tests.simulation.ballot_campaign"
    shard = "ballot_shard"
    expected = EXPECTED
    branches_from = 40

    def shortcoming(self, outcome: Outcome) -> str:
        return shortcoming(outcome)


def figures(tally: BallotTally) -> dict[str, int]:
    """What the ballots of a campaign came to."""
    counts = tally.sometimes.counts
    return {
        "ballots": counts.get(seen.OPENED, 0),
        "decisions": counts.get(seen.WON, 0),
        "lost": counts.get(seen.LOST, 0),
        "rounds_changed": counts.get(seen.ROUNDS, 0),
        "lies_punished": counts.get(seen.LIES, 0),
        "opinions_revealed": counts.get(seen.REVEALED, 0),
        "deadlines_expired": counts.get(seen.EXPIRED, 0),
        "forgeries_tried": counts.get(seen.FORGED, 0),
        "conflicting_decisions": sum(why.startswith(CONFLICTS) for why in tally.failures.values()),
    }


def main(arguments: list[str] | None = None) -> int:
    usual = ",".join(map(str, NODES))
    parser = argparse.ArgumentParser(prog=f"python -m {BallotTally.command}", description=BallotTally.__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many seeds (500)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (2)")
    parser.add_argument("--nodes", default=usual, help=f"node counts, drawn; of 4 and more one may lie ({usual})")
    parser.add_argument("--runs", type=int, default=RUNS, choices=(1, 2, 3), help="runs of each seed (3)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args(arguments)
    nodes = tuple(int(count) for count in given.nodes.split(",") if count.isdigit())
    if given.seeds < 1 or given.workers < 1 or not nodes or min(nodes) < 3:
        parser.error("give one seed and one worker at least, and node counts of 3 or more such as 3,4,5")
    seeds = range(given.first, given.first + given.seeds)
    began = time.monotonic()
    print(f"{len(seeds)} seeds of ballots, {given.runs} runs each", file=sys.stderr)
    tally = run_campaign(seeds, nodes, given.workers, kind=BallotTally, runs=given.runs)
    assert isinstance(tally, BallotTally), "it is of the kind that was asked for"
    result = report(tally, seeds, time.monotonic() - began) | figures(tally)
    passed = bool(result["passed"])
    if given.json:
        print(json.dumps(result))
    else:
        print_report(result)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
