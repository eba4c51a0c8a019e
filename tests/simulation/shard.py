"""One process of the campaign: jobs on stdin, one line of JSON for each run on stdout.

A process of its own, because PYTHONHASHSEED is fixed when Python starts.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

import msgspec

from quorum.sim.campaign import Outcome

from .plans import run_planned


class Job(msgspec.Struct, frozen=True):
    """Run `seed` so many `times`, one after the other."""

    seed: int
    times: int
    nodes: tuple[int, ...]


class Run(msgspec.Struct, frozen=True):
    """One run of a seed. `cpu_s`: the CPU time it took."""

    outcome: Outcome
    cpu_s: float


def main(run: Callable[[int, tuple[int, ...]], Outcome] = run_planned) -> None:
    """Do the jobs; `run` runs one seed among these node counts."""
    logging.getLogger("quorum").setLevel(logging.ERROR)
    for job in msgspec.json.decode(sys.stdin.buffer.read(), type=list[Job]):
        for _ in range(job.times):
            began = time.process_time()
            outcome = run(job.seed, job.nodes)
            line = msgspec.json.encode(Run(outcome, time.process_time() - began))
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
