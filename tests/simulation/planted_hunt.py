"""Hunts for seeds at which a campaign catches a planted bug."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from quorum.sim.campaign import Outcome


class Planted(Protocol):
    """What a hunt knows of a bug."""

    @property
    def name(self) -> str: ...


B = TypeVar("B", bound=Planted)
Run = Callable[[B, int], Outcome]


def search(run_with: Run[B], bug: B, seeds: Sequence[int], enough: int = 1) -> list[tuple[int, Outcome]]:
    """The first `enough` of `seeds` whose run breaks a claim with the bug."""
    hits: list[tuple[int, Outcome]] = []
    for seed in seeds:
        outcome = run_with(bug, seed)
        if outcome.failure:
            hits.append((seed, outcome))
            if len(hits) >= enough:
                break
    return hits


def hunt(
    program: str,
    about: str | None,
    bugs: Sequence[B],
    run_with: Run[B],
    run_without: Run[B],
    arguments: list[str] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """The command `python -m tests.simulation.PROGRAM`: which seeds find each bug, and what is so without it."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.simulation.{program}", description=about)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds to try at most (100)")
    parser.add_argument("--hits", type=int, default=3, help="stop after so many (3)")
    parser.add_argument("names", nargs="*", help="bugs, by a part of their names; all without")
    given = parser.parse_args(arguments)
    for bug in bugs:
        if given.names and not any(name in bug.name for name in given.names):
            continue
        began = time.process_time()
        hits = search(run_with, bug, range(given.first, given.first + given.seeds), given.hits)
        say(f"{bug.name}: {time.process_time() - began:.1f} s CPU, {'seeds' if hits else 'not found'}")
        for seed, outcome in hits:
            healthy = run_without(bug, seed).failure or "passes"
            say(f"  {seed}: {outcome.failure[:150]} | without it: {healthy[:100]}")
