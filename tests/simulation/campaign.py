"""The whole simulation campaign: `python -m tests.simulation.campaign` from the root of the repository.

Every seed runs three times: twice in a process, and once more under another PYTHONHASHSEED. All three traces
must be the same, every claim must hold, and every rare branch must have been met somewhere. With `--runs 1` every
seed runs once, half of them under each value: three times as many seeds in the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import msgspec

from quorum.checkers.progress import Sometimes
from quorum.sim.campaign import Outcome

from .plans import EXPECTED, NODES, OPERATIONS_MIN, shortcoming
from .shard import Job, Run

HASH_SEEDS = (0, 4242)
RUNS = 3
JOBS_PER_PROCESS = 12
BRANCHES_FROM = 200
"""A campaign of fewer seeds may miss a rare branch by chance."""
_PACKAGE = __package__ or ""
_ROOT = Path(__file__).resolve().parents[len(_PACKAGE.split("."))]


class Tally:
    """What the runs showed so far. A subclass is of another campaign, with a command and a process of its own."""

    command = "tests.simulation.campaign"
    shard = "shard"
    expected = EXPECTED
    branches_from = BRANCHES_FROM

    def __init__(self, nodes: tuple[int, ...]) -> None:
        self.nodes = nodes
        self.failures: dict[int, str] = {}
        self.traces: dict[int, list[str]] = {}
        self.sometimes = Sometimes()
        self.totals = dict.fromkeys(("events", "operations", "unknown", "decided", "leaders"), 0)
        self.simulated_us = 0
        self.operations_least = 0
        self.events_run = 0
        self.cpu_s = 0.0

    @property
    def rate(self) -> int:
        """Events per CPU second of one core, over all runs."""
        return round(self.events_run / max(self.cpu_s, 1e-9))

    def add(self, run: Run) -> None:
        """Take one run; the first of a seed counts in the totals."""
        outcome = run.outcome
        self.events_run += outcome.events
        self.cpu_s += run.cpu_s
        traces = self.traces.setdefault(outcome.seed, [])
        if not traces:
            self.sometimes.merge(Sometimes(outcome.sometimes))
            self.simulated_us += outcome.simulated_us
            self.operations_least = min(self.operations_least or outcome.operations, outcome.operations)
            for name in self.totals:
                self.totals[name] += getattr(outcome, name)
        traces.append(outcome.trace)
        why = self.shortcoming(outcome)
        if len(set(traces)) > 1:
            why = f"the runs of one seed differ: traces {', '.join(sorted(set(traces)))}"
        if why and outcome.seed not in self.failures:
            self.failures[outcome.seed] = why
            print(f"\nseed {outcome.seed} failed: {why[:1000]}\n  {self.replay(outcome.seed)}", file=sys.stderr)

    def shortcoming(self, outcome: Outcome) -> str:
        """Why a run does not count as passed; empty if it does."""
        return shortcoming(outcome)

    def replay(self, seed: int) -> str:
        """The one line that runs a seed again."""
        nodes = ",".join(map(str, self.nodes))
        return f"python -m {self.command} --first {seed} --seeds 1 --nodes {nodes}"


def jobs_of(seeds: range, nodes: tuple[int, ...], runs: int = RUNS) -> Iterator[tuple[int, list[Job]]]:
    """(PYTHONHASHSEED, jobs) of each process. Even seeds run once more under one value, odd ones under the
    other."""
    for begin in range(seeds.start, seeds.stop, JOBS_PER_PROCESS):
        chunk = range(begin, min(begin + JOBS_PER_PROCESS, seeds.stop))
        for which, hash_seed in enumerate(HASH_SEEDS):
            times = {seed: (runs + (seed % 2 == which)) // 2 for seed in chunk}
            yield hash_seed, [Job(seed, count, nodes) for seed, count in times.items() if count]


def run_process(hash_seed: int, jobs: list[Job], shard: str = Tally.shard) -> list[Run]:
    """Run jobs under one PYTHONHASHSEED, by the module `shard`. Raises CalledProcessError if the process dies."""
    done = subprocess.run(
        [sys.executable, "-m", f"{_PACKAGE}.{shard}"],
        input=msgspec.json.encode(jobs),
        stdout=subprocess.PIPE,
        cwd=_ROOT,
        env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
        check=True,
    )
    return [msgspec.json.decode(line, type=Run) for line in done.stdout.splitlines()]


def run_campaign(
    seeds: range,
    nodes: tuple[int, ...],
    workers: int,
    quiet: bool = False,
    kind: type[Tally] = Tally,
    runs: int = RUNS,
) -> Tally:
    """Run every seed of `seeds` so many times; a process that dies counts as a failure of its seeds."""
    tally = kind(nodes)
    began = time.monotonic()
    total, done, shown = len(seeds) * runs, 0, 0
    with ThreadPoolExecutor(workers) as pool:
        processes = jobs_of(seeds, nodes, runs)
        tasks = {pool.submit(run_process, value, jobs, kind.shard): jobs for value, jobs in processes if jobs}
        for task in as_completed(tasks):
            jobs = tasks[task]
            done += sum(job.times for job in jobs)
            try:
                for run in task.result():
                    tally.add(run)
            except (subprocess.CalledProcessError, msgspec.MsgspecError) as error:
                for job in jobs:
                    tally.failures.setdefault(job.seed, f"the process of this seed died: {error}")
            if not quiet and (sys.stderr.isatty() or done * 20 // total > shown):
                shown = done * 20 // total
                _show_progress(tally, done, total, time.monotonic() - began)
    for seed in seeds:
        if len(tally.traces.get(seed, ())) != runs:
            tally.failures.setdefault(seed, f"{len(tally.traces.get(seed, ()))} of {runs} runs ended")
    return tally


def _show_progress(tally: Tally, done: int, total: int, seconds: float) -> None:
    left = seconds / done * (total - done)
    line = f"{done}/{total} runs, {len(tally.failures)} failed, {tally.rate} events/s a core, {left:.0f} s left"
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{line:<78}" + ("\n" if done == total else ""))
        sys.stderr.flush()
    else:
        print(line, file=sys.stderr, flush=True)


def report(tally: Tally, seeds: range, seconds: float) -> dict[str, object]:
    """The result for programs; `passed` says whether everything held."""
    unmet = list(tally.sometimes.missing(tally.expected)) if len(seeds) >= tally.branches_from else []
    failed = [
        {"seed": seed, "failure": why, "replay": tally.replay(seed)}
        for seed, why in sorted(tally.failures.items())
    ]
    return {
        "passed": not failed and not unmet,
        "first": seeds.start,
        "seeds": len(seeds),
        "runs": sum(map(len, tally.traces.values())),
        "nodes": list(tally.nodes),
        "failed": failed,
        "branches_unmet": unmet,
        **tally.totals,
        "operations_least": tally.operations_least,
        "simulated_hours": round(tally.simulated_us / 3.6e9, 2),
        "seconds": round(seconds, 1),
        "events_per_cpu_second": tally.rate,
        "sometimes": dict(sorted(tally.sometimes.counts.items())),
    }


def print_report(result: dict[str, object]) -> None:
    """The result for people."""
    sometimes, failed, unmet = result.pop("sometimes"), result.pop("failed"), result.pop("branches_unmet")
    assert isinstance(sometimes, dict) and isinstance(failed, list) and isinstance(unmet, list)
    for name, count in sometimes.items():
        print(f"  {count:>9}  {name}")
    for name, value in result.items():
        print(f"{name}: {value}")
    for failure in failed:
        print(f"seed {failure['seed']} failed: {failure['failure'][:1000]}\n  {failure['replay']}")
    for name in unmet:
        print(f"never met: {name}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.campaign", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds (1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (2)")
    parser.add_argument("--nodes", default=",".join(map(str, NODES)), help="node counts, in turn (3,5,7)")
    parser.add_argument("--runs", type=int, default=RUNS, choices=(1, 2, 3), help="runs of each seed (3)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args(arguments)
    nodes = tuple(int(count) for count in given.nodes.split(",") if count.isdigit())
    if given.seeds < 1 or given.workers < 1 or not nodes or min(nodes) < 3:
        parser.error("give one seed and one worker at least, and node counts of 3 or more such as 3,5,7")
    seeds = range(given.first, given.first + given.seeds)
    began = time.monotonic()
    print(
        f"{len(seeds)} seeds, {given.runs} runs each, {OPERATIONS_MIN} operations, 60 simulated seconds at least",
        file=sys.stderr,
    )
    tally = run_campaign(seeds, nodes, given.workers, runs=given.runs)
    result = report(tally, seeds, time.monotonic() - began)
    passed = bool(result["passed"])
    if given.json:
        print(json.dumps(result))
    else:
        print_report(result)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
