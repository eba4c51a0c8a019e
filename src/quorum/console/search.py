"""`quorum search`: the best quorum system over the nodes of a file, within limits."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quorum.console.command import command, plain, print_json, seconds_option
from quorum.systems.optimum import AIMS, Aim, Limits

if TYPE_CHECKING:
    from quorum.systems.search import Found, Progress


@command("search", "quorum search system.toml --optimise load --resilience 1")
@click.argument("system", type=click.Path(path_type=Path))
@click.option("--optimise", type=click.Choice(AIMS), default="load", help="What is to be as small as possible.")
@click.option("--resilience", type=click.IntRange(0), default=0, help="A quorum is left after any so many losses.")
@click.option(
    "--f", "losses", type=click.IntRange(0), default=0, help="Sets that are asked survive the loss of any so many."
)
@click.option("--load-limit", type=float, help="At most this load: 1/load operations per second are served.")
@click.option("--network-limit", type=float, help="At most so many nodes are asked for an operation, on average.")
@click.option("--latency-limit", type=float, help="At most so many seconds for an operation, on average.")
@seconds_option("--time-limit", 10.0, "Seconds, then the best as yet is told.")
def search(
    system: Path,
    optimise: Aim,
    resilience: int,
    losses: int,
    load_limit: float | None,
    network_limit: float | None,
    latency_limit: float | None,
    time_limit: float,
    as_json: bool,
) -> None:
    """Find the best quorum system over given nodes, within limits.

    SYSTEM is a TOML or JSON file as `quorum analyse` takes; - is standard input. Nodes may be left out. Its own
    reads and writes, if any, are one of the systems that are looked at.

    Looked at are all expressions in which no node repeats; then the answer is proved to be the best of them. Up to
    six nodes take about a second. When time is up, the best as yet is told, and how much better another could be.
    Exit 1 if nothing keeps to the limits, or nothing was found in time.
    """
    from quorum.console.analyse_system import Analysis, facts_of, lines_of, read_system
    from quorum.systems.availability import availability_of
    from quorum.systems.resilience import resilience_of
    from quorum.systems.search import search as search_systems

    given = read_system(system)
    limits = Limits(load_limit, network_limit, latency_limit)
    with _bar(time_limit, as_json) as progress:
        found = search_systems(given, time.monotonic, optimise, resilience, losses, limits, time_limit, progress)
    planned = found.architecture
    available = availability_of(planned) if planned.fails else None
    analysis = Analysis(planned, found.optimum, resilience_of(found.system), available)
    if as_json:
        print_json(told(found) | facts_of(analysis, is_explained=False))
        return
    for line in [*_lines(found), "", *lines_of(analysis)]:
        click.echo(line)


def told(found: Found) -> dict[str, Any]:
    """What a search says for programs, beside the figures of the system."""
    return {
        "reads": str(found.system.reads),
        "writes": str(found.system.writes),
        "optimised": found.optimum.aim,
        "value": found.optimum.value,
        "bound": found.bound,
        "gap": found.gap,
        "proved": found.proved,
        "seen": found.seen,
        "pruned": found.pruned,
    }


_UNITS: dict[Aim, str] = {"load": "a load", "network": "a network load", "latency": "a latency"}


def _lines(found: Found) -> list[str]:
    """What a search says for people."""
    sides = {"reads": found.system.reads, "writes": found.system.writes}
    lines = [plain(f"{side:16}{expression}") for side, expression in sides.items()]
    met = f"{found.seen:,} systems were met, {found.pruned:,} of them ruled out without a program"
    below = f"none at all has {_UNITS[found.optimum.aim]} below {found.bound:.6g}"
    if found.gap < GAP_SHOWN:
        proof = "yes: no quorum system is better"
    elif found.proved:
        proof = f"yes, among those in which no node repeats; {below} ({found.gap:.1%} less)"
    else:
        proof = f"no, time was up; {below} ({found.gap:.1%} less)"
    return [*lines, f"{'best':16}{proof}", f"{'search':16}{met}"]


GAP_SHOWN = 1e-9


@contextmanager
def _bar(seconds: float, quiet: bool) -> Iterator[Progress]:
    """A bar on stderr that fills as time passes, with what was met."""
    if quiet or not sys.stderr.isatty():
        yield lambda seen, best: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    begin = time.monotonic()
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("searching", total=seconds)

        def show(seen: int, best: float | None) -> None:
            text = f"{seen:,} systems met" + ("" if best is None else f", best {best:.6g}")
            bar.update(task, completed=time.monotonic() - begin, description=text)

        yield show
