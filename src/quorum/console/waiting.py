"""What a command waits for, said while it waits: nobody should sit before silence."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

AGAIN_S = 5.0
"""So often a line says what is still waited for, where stderr is no terminal."""


@contextmanager
def waiting(first: str, quiet: bool = False, again_s: float = AGAIN_S) -> Iterator[Callable[[str], None]]:
    """Gives what is told, often, what is waited for. On a terminal the newest stands there, `first` before any;
    elsewhere, and where `quiet`, a line on stderr says it every `again_s` seconds."""
    if quiet or not sys.stderr.isatty():
        yield _lines(again_s)
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(first) as status:
        yield lambda text: status.update(escape(text))


def _lines(again_s: float) -> Callable[[str], None]:
    began_s = told_s = time.monotonic()

    def show(text: str) -> None:
        nonlocal told_s
        now_s = time.monotonic()
        if now_s - told_s >= again_s:
            told_s = now_s
            click.echo(f"after {now_s - began_s:.0f} s {text}", err=True)

    return show
