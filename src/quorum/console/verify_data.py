"""`quorum verify-data`: the offline check of a data folder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quorum.console.command import AnswerNo, command, print_json

if TYPE_CHECKING:
    from quorum.runtime.verify_data import FolderReport, Progress

PLAIN_WIDTH = 110


@command("verify-data", "quorum verify-data .quorum/n1/data")
@click.argument("folder", type=click.Path(path_type=Path))
def verify_data(folder: Path, as_json: bool) -> None:
    """Check the data folder of a node that does not run, without changing a byte.

    Reads every record of the log and every snapshot, and says what a start would do. Exit 1 when something is
    damaged, with its file and offset.
    """
    from quorum.runtime.verify_data import verify_data as verify

    with unlogged(), progress_bar(f"reading {folder}", as_json) as progress:
        report = verify(folder, progress)
    if as_json:
        print_json(report)
    else:
        _draw(report)
    if not report.sound:
        raise AnswerNo


@contextmanager
def unlogged() -> Iterator[None]:
    """Recovery would say what it cut, and here nothing is."""
    log = logging.getLogger("quorum")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


@contextmanager
def progress_bar(text: str, quiet: bool) -> Iterator[Progress]:
    """A bar on stderr over bytes done and in all; nothing where that is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _draw(report: FolderReport) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = max(console.width, PLAIN_WIDTH)
    if report.node:
        console.print(f"node {report.node} of cluster {report.cluster}, epoch {report.epoch}")
        console.print(f"term {report.term}, vote {report.vote or 'none'}, {_entries(report)}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("file", "bytes", "entries", "first", "last", "term", "ends"):
        table.add_column(name, justify="left" if name in ("file", "ends") else "right")
    for segment in report.segments:
        bounds = (segment.first_index, segment.last_index, segment.last_term) if segment.entries else ("", "", "")
        table.add_row(
            segment.file, str(segment.bytes), str(segment.entries), *map(str, bounds), segment.ends, style=None
        )
    for snapshot in report.snapshots:
        table.add_row(snapshot.file, str(snapshot.bytes), "", "", str(snapshot.index), str(snapshot.term), "whole")
    if table.row_count:
        console.print(table)
    for damage in report.damage:
        place = damage.file if damage.offset is None else f"{damage.file}, offset {damage.offset}"
        console.print(f"damaged: {place}\n  {damage.text}", markup=False)
    console.print(f"a start: {report.start} ({report.start_text})", markup=False)
    console.print("sound" if report.sound else "not sound")


def _entries(report: FolderReport) -> str:
    if not report.entries:
        return f"no entries after {report.last_index}"
    first, last = report.first_index, report.last_index
    return f"{report.entries} entries, {first} to {last}, the last of term {report.last_term}"
