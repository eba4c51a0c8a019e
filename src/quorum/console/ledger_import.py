"""`quorum ledger import`: the rows of a CSV file become transactions, as a stream that can be taken up again.

A row's transaction has a name, its hash. So to import a file again, or a longer one, executes nothing twice, and
nothing has to be remembered of how far an import came.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import FunctionType
from typing import IO

import click
import msgspec

from quorum.apps.ledger import Receipt
from quorum.apps.ledger_application import LedgerApplication
from quorum.certificate.ledger_block import DONE
from quorum.console.command import AnswerNo, command, print_json, with_cluster
from quorum.console.csv_rows import Reading, Row, rows_of
from quorum.console.inquiry import run_client
from quorum.console.ledger_shown import result_text
from quorum.console.row_problems import FAILED, MALFORMED, Problem, RowProblems
from quorum.errors import ApplicationError, ConfigurationError, QuorumError
from quorum.runtime.client import Client
from quorum.runtime.config import find_config, load_cluster
from quorum.runtime.ledger_class import load_ledger
from quorum.runtime.signing import BATCH, EACH

WINDOW = 512
PROGRESS_S = 1.0


class Imported(msgspec.Struct):
    """What became of the rows so far. `repeated` of the `known` ones this import put there itself, as rows before
    them in the file. `problems` has the first PROBLEMS_KEPT of those that are not done."""

    rows: int = 0
    new: int = 0
    known: int = 0
    failed: int = 0
    refused: int = 0
    malformed: int = 0
    last_line: int = 0
    stopped: bool = False
    repeated: int = 0
    problems: list[Problem] = []

    @property
    def is_done(self) -> bool:
        """Whether every row is in the ledger, and did what it should."""
        return not (self.failed or self.refused or self.malformed or self.stopped)

    def line(self) -> str:
        """For people."""
        of_file = f" ({self.repeated} of them earlier in this file)" if self.repeated else ""
        return (
            f"{self.rows} rows: {self.new} new, {self.known} there before{of_file}, {self.failed} failed, "
            f"{self.refused} refused, {self.malformed} malformed"
        )


@command("import", "quorum ledger import transfers.csv")
@click.argument("file", metavar="CSV")
@click.option("--strict", is_flag=True, help="Stop at the first row that is not done.")
@click.option("--window", type=click.IntRange(1, 1024), default=WINDOW, help="Rows under way at once.")
@click.option("--sign-each", is_flag=True, help="Sign each row alone, where members may lie; see docs/ledger.md.")
@with_cluster
def import_(
    file: str, strict: bool, window: int, sign_each: bool, config: Path | None, timeout: float, as_json: bool
) -> None:
    """Put the rows of a CSV file ("-": standard input) into the ledger, in their order.

    The first line names the columns; the ledger's application says what transaction a row stands for. A row that
    is in the ledger already is not executed again, so an import that broke off is just run again. Rows that are
    malformed, refused or fail are named by their lines on stderr, and the others go on. Where one depends on such
    a row before it, that is said. Exit 1 if there were any.
    """
    application = _application(config)
    with _opened(file) as source:
        rows = rows_of(source, reading_of(application))
        importer = Importer(rows, window, strict, EACH if sign_each else BATCH)
        imported = run_client(config, timeout, importer.run)
    if importer.note:
        click.echo(importer.note, err=True)
    if as_json:
        print_json(imported)
    else:
        click.echo(imported.line())
    if not imported.is_done:
        raise AnswerNo


class Importer:
    """Sends rows window by window. Each is answered before the next is sent, so that rows are executed in their
    order; the next one is read meanwhile.

    I1  no more than two windows of rows are in memory.
    """

    def __init__(self, rows: Iterator[Row], window: int, strict: bool, sign: str = BATCH) -> None:
        self._rows = rows
        self._window = window
        self._strict = strict
        self._sign = sign
        self._problems = RowProblems()
        self._imported = Imported(problems=self._problems.kept)
        self._told_s = time.monotonic()
        self._first_block = 0
        """The first block with a row of this import (0: none yet): what is in later ones repeats a row."""

    @property
    def note(self) -> str:
        """What to know of the rows that are not done, together; "" for nothing."""
        return self._problems.note

    async def run(self, client: Client) -> Imported:
        """Import everything. What is raised meanwhile says on stderr how far all is in."""
        imported = self._imported
        window = await self._read()
        try:
            while window and not imported.stopped:
                reading = asyncio.create_task(self._read())
                try:
                    await self._send(client, window)
                finally:
                    following = await reading
                window = following
        except QuorumError:
            done = f"{imported.line()}, up to line {imported.last_line}"
            click.echo(f"{done}. Run the import again: what is in the ledger is not executed twice.", err=True)
            raise
        return imported

    async def _read(self) -> list[Row]:
        return await asyncio.to_thread(lambda: list(islice(self._rows, self._window)))

    async def _send(self, client: Client, window: list[Row]) -> None:
        """One window; with `strict` row by row, so that nothing behind a bad one is in."""
        for rows in ([row] for row in window) if self._strict else (window,):
            futures = [
                None if row.problem else client.ledger.submit_soon(row.transaction, self._sign) for row in rows
            ]
            waiting = [future for future in futures if future is not None]
            await asyncio.gather(*waiting, return_exceptions=True)
            for row, future in zip(rows, futures, strict=True):
                self._count(row, None if future is None else _outcome(future))
            if self._imported.stopped:
                return
        if time.monotonic() - self._told_s >= PROGRESS_S:
            self._told_s = time.monotonic()
            click.echo(self._imported.line(), err=True)

    def _count(self, row: Row, outcome: Receipt | ApplicationError | None) -> None:
        imported = self._imported
        imported.rows += 1
        imported.last_line = row.line
        if outcome is None:
            imported.malformed += 1
            self._tell(row, MALFORMED, row.problem)
        elif isinstance(outcome, ApplicationError):
            imported.refused += 1
            self._tell(row, outcome.kind, outcome.message)
        elif outcome.result.code != DONE:
            imported.failed += 1
            self._tell(row, FAILED, f"in block {outcome.number} it {result_text(outcome.result)}")
        else:
            self._problems.done(row)
            imported.new += outcome.first
            imported.known += not outcome.first
            self._first_block = self._first_block or (outcome.number if outcome.first else 0)
            imported.repeated += not outcome.first and 0 < self._first_block <= outcome.number

    def _tell(self, row: Row, kind: str, why: str) -> None:
        self._problems.tell(row, kind, why)
        self._imported.stopped = self._imported.stopped or self._strict


def reading_of(application: type[LedgerApplication]) -> Reading:
    """How the application reads the rows of a file. Raises ConfigurationError where it would need an instance."""
    for hook in ("transaction_of", "account_of"):
        if isinstance(inspect.getattr_static(application, hook), FunctionType):
            raise ConfigurationError(
                f"rows were to be read by {application.__name__}.{hook}, but that is a method of an instance, and "
                f"files are read by the class alone. Write @classmethod above it: def {hook}(cls, row)."
            )
    columns = application.columns
    needed = tuple(columns) if isinstance(columns, (tuple, list)) else ()
    return Reading(application.transaction_of, needed, application.account_of)


def _outcome(future: asyncio.Future[Receipt]) -> Receipt | ApplicationError:
    """The receipt, or why there is none. Raises what is not about the row."""
    try:
        return future.result()
    except ApplicationError as error:
        return error


def _application(config: Path | None) -> type[LedgerApplication]:
    path = find_config(config)
    application = load_ledger(load_cluster(path).ledger, path.parent)
    if application is None:
        raise ConfigurationError(
            f"rows were to become transactions, but {path} names no ledger's application, which knows how. Write "
            'ledger = "MODULE:CLASS" there, for every node.'
        )
    return application


@contextmanager
def _opened(file: str) -> Iterator[IO[str]]:
    """The text of a file. Bytes that are no UTF-8 spoil their row alone."""
    if file == "-":
        yield io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="surrogateescape", newline="")
        return
    try:
        source = Path(file).open(encoding="utf-8-sig", errors="surrogateescape", newline="")  # noqa: SIM115
    except OSError as error:
        raise ConfigurationError(
            f"rows were to be read from {file}, but that failed ({error.strerror}). Name a CSV file, or - for "
            "standard input."
        ) from None
    try:
        yield source
    finally:
        source.close()
