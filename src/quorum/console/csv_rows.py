"""A CSV file as a stream of transactions: bounded memory, and every row that is none is named by its line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from typing import IO, NamedTuple

from quorum.errors import ConfigurationError

LINE_CHARACTERS_MAX = 256 * 1024
COLUMNS_MAX = 1_000
ToTransaction = Callable[[Mapping[str, str]], bytes]
_ENDS = ("\n", "\r")
_TOO_LONG = "\0"
"""Stands for a line that was too long: no line of text begins with it."""


class Row(NamedTuple):
    """A row that begins at `line` (from 1): its transaction, or why it has none."""

    line: int
    transaction: bytes
    problem: str = ""


def rows_of(source: IO[str], to_transaction: ToTransaction) -> Iterator[Row]:
    """The rows below the first, which names the columns. Empty lines are passed over.

    Raises ConfigurationError where the first line names no columns.
    """
    reader = csv.reader(_bounded(source), strict=True)
    columns = _columns(reader)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            yield Row(line, b"", f"it cannot be read as CSV ({error})")
            continue
        if fields is None:
            return
        if fields:
            yield _row(line, fields, columns, to_transaction)


def _row(line: int, fields: list[str], columns: list[str], to_transaction: ToTransaction) -> Row:
    if fields[0].startswith(_TOO_LONG):
        return Row(line, b"", f"it has more than {LINE_CHARACTERS_MAX} characters")
    if len(fields) != len(columns):
        return Row(line, b"", f"it has {len(fields)} fields for {len(columns)} columns")
    try:
        transaction = to_transaction(dict(zip(columns, fields, strict=True)))
    except ValueError as error:
        return Row(line, b"", str(error)[:300])
    if not isinstance(transaction, bytes):
        return Row(line, b"", "the application makes no bytes of it")
    return Row(line, transaction)


def _columns(reader: Iterator[list[str]]) -> list[str]:
    try:
        columns = next(reader, [])
    except csv.Error:
        columns = []
    if not columns or len(set(columns)) < len(columns) or len(columns) > COLUMNS_MAX or _TOO_LONG in columns[0]:
        raise ConfigurationError(
            f"a CSV file was to be imported, but its first line does not name its columns, 1 to {COLUMNS_MAX}, "
            "each once. Put a line with their names before the rows."
        )
    return columns


def _bounded(source: IO[str]) -> Iterator[str]:
    """The lines of a text; one that is too long is replaced, without being held."""
    while line := source.readline(LINE_CHARACTERS_MAX):
        if len(line) < LINE_CHARACTERS_MAX or line.endswith(_ENDS):
            yield line
            continue
        while line and not line.endswith(_ENDS):
            line = source.readline(LINE_CHARACTERS_MAX)
        yield _TOO_LONG + "\n"
