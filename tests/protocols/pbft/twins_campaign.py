"""All scenarios of twins: `python -m tests.protocols.pbft.twins_campaign` from the root of the repository.

Four members, one of whom runs twice: every two rounds of partitions, three rounds up to symmetry, and 20,000 drawn
with four to seven rounds. Honest members must decide the same, everything must be decided once the network is
whole, and nobody but the member with the twin may be blamed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from multiprocessing import get_context

from quorum.sim.twins import Ending, count, described, ending_of, scenario_of

PROGRESS_S = 10.0
COMMAND = "python -m tests.protocols.pbft.twins_campaign"


def endings(numbers: range, workers: int) -> Iterator[Ending]:
    """Play them, in any order; with one worker in this process."""
    if workers == 1:
        yield from map(ending_of, numbers)
        return
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(ending_of, numbers, chunksize=20)


def report(found: Iterable[Ending], total: int) -> dict[str, object]:
    """Count what came; say on stderr how far it is, and each failure with the command that plays it again."""
    began = said = time.monotonic()
    failures: list[dict[str, object]] = []
    done = blocks = caught = stops = view = 0
    for each in found:
        done, blocks, caught = done + 1, blocks + each.blocks, caught + each.is_caught
        view, stops = max(view, each.view), stops + each.stops
        if each.failure:
            again = f"{COMMAND} --first {each.number} --scenarios 1"
            scenario = described(scenario_of(each.number))
            failures.append(
                {"number": each.number, "failure": each.failure, "scenario": scenario, "command": again}
            )
            print(f"{each.number}: {each.failure}\n  {scenario}\n  {again}", file=sys.stderr)
        if time.monotonic() - said > PROGRESS_S:
            said = time.monotonic()
            print(f"{done} of {total}, {len(failures)} failed", file=sys.stderr)
    return {
        "passed": not failures and blocks > 0,
        "scenarios": done,
        "blocks": blocks,
        "caught": caught,
        "stops": stops,
        "newest_view": view,
        "failures": failures,
        "seconds": round(time.monotonic() - began, 1),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="the number of the first scenario (0)")
    parser.add_argument("--scenarios", type=int, help="how many; all that are left where not given")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (2)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args(arguments)
    left = count() - given.first
    wanted = left if given.scenarios is None else given.scenarios
    if given.first < 0 or not 1 <= wanted <= left or given.workers < 1:
        parser.error(f"scenarios are numbered 0 to {count() - 1}; give some of these, and a worker at least")
    numbers = range(given.first, given.first + wanted)
    if wanted == 1:
        print(described(scenario_of(given.first)), file=sys.stderr)
    result = report(endings(numbers, given.workers), wanted)
    if given.json:
        print(json.dumps(result))
    else:
        verdict = "passed" if result["passed"] else "FAILED"
        print(
            f"{verdict}: {result['scenarios']} scenarios in {result['seconds']} s, {result['blocks']} blocks "
            f"decided, the member with a twin caught in {result['caught']}, {result['stops']} stops of a copy, "
            f"views up to {result['newest_view']}"
        )
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
