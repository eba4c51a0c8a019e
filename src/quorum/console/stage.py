"""What is shown of a demo or drill while it runs, and its summary: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING

import click

from quorum.console.drill import Findings
from quorum.console.watch import Event
from quorum.console.window import window_lines

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_WIDTH = 110
WIDE = 160
"""Columns of a terminal in which an event and how the cluster stood have room beside each other."""
TICK_S = 0.2


class Stage:
    """Shows events as they come, above a progress bar where stdout is a terminal. `quiet` shows nothing."""

    def __init__(self, title: str, seconds: float, quiet: bool = False) -> None:
        self._title = title
        self._seconds = seconds
        self._quiet = quiet
        self._began_s = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._votes_width = 0

    def __enter__(self) -> Stage:
        if not self._quiet and sys.stdout.isatty():
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(TextColumn("{task.description}"), BarColumn(None), TimeElapsedColumn())
            self._task = self._bar.add_task(self._title, total=self._seconds)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, event: Event) -> None:
        """One event, with how the cluster stood: beside it, or below it on a terminal that is not wide enough."""
        who, attempt = ("primary", "view") if event.may_lie else ("leader", "term")
        at = f"{event.at_s:6.2f} s  "
        votes = event.votes.line(event.heard)
        self._votes_width = max(self._votes_width, len(votes))
        stood = (
            f"{who} {event.leader or '-':<3} {attempt} {event.term:<3} commit {event.commit_index:<6} "
            f"{votes:<{self._votes_width}}"
        )
        line = f"{at}{stood}  {event.text}"
        if self._bar is None or self._task is None:
            self.say(line)
            return
        self._bar.update(self._task, description=votes)
        if self._bar.console.width >= WIDE:
            self.say(line)
        else:
            self.say(f"{at}{event.text}")
            self.say(f"{' ' * len(at)}{stood.rstrip()}", style="dim")

    @asynccontextmanager
    async def ticking(self) -> AsyncIterator[None]:
        """The bar moves meanwhile."""

        async def tick() -> None:
            while True:
                self.tick()
                await asyncio.sleep(TICK_S)

        task = asyncio.ensure_future(tick())
        try:
            yield
        finally:
            task.cancel()

    def tick(self) -> None:
        """Move the bar on to now."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=min(self._seconds, time.monotonic() - self._began_s))

    def say(self, line: str, style: str | None = None) -> None:
        """One line; its style shows on a terminal."""
        if self._bar is not None and self._task is not None:
            self._bar.console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)
            self.tick()
        elif not self._quiet:
            click.echo(line)


def summary(findings: Findings, more: tuple[tuple[str, str], ...] = ()) -> None:
    """The table at the end, and the verdict."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    failovers = ", ".join(f"{taken} ms" for taken in findings.failover_ms) or "none measured"
    lost = f"{len(findings.lost)} lost" if findings.lost else "all there"
    done = ", ".join(f"{count} x {kind}" for kind, count in findings.faults.items())
    rows = (
        ("nodes", f"{findings.nodes} processes, mutual TLS, durable"),
        ("faults", done),
        ("leaderships seen", str(findings.terms)),
        ("failover after kill -9", failovers),
        *more,
        ("history", f"{findings.history.operations} operations, {findings.unknown} of unknown outcome"),
        ("judged", findings.history.verdict),
        ("acknowledged writes", f"{findings.acknowledged}, {lost}"),
        (
            "end state",
            f"{'equal' if findings.states_equal else 'NOT EQUAL'} on all nodes at {findings.applied_index}",
        ),
        ("time", f"{findings.seconds:g} s"),
    )
    for name, text in rows:
        table.add_row(name, text)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = max(console.width, PLAIN_WIDTH)
    console.print(table)
    for problem in findings.problems:
        click.echo(f"problem: {problem}")
    for line in window_lines(findings.history.window or ()):
        click.echo(f"  {line}")
    click.echo(f"verdict: {findings.verdict}")
