"""A bar on stderr for runs that take a while: drawn on a terminal, and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(total: int, is_quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Gives what is to be called for each of `total` runs that ends, with what to say of all so far. The bar goes
    when the body ends. Nothing is drawn, nor rich imported, with `is_quiet` and where stderr is no terminal."""
    if is_quiet or sys.stderr is None or not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    is_shared = sys.stdout is not None and sys.stdout.isatty()  # elsewhere, what is printed must stay in it
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=is_shared)
    with bar:
        task = bar.add_task("0 failed", total=total)

        def advance(text: str) -> None:
            bar.update(task, advance=1, description=text)

        yield advance
