"""A CSV file as a stream of transactions: bounded memory, and every row that is none is named by its line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, NamedTuple

from quorum.errors import ConfigurationError

if TYPE_CHECKING:
    from _csv import Reader

LINE_CHARACTERS_MAX = 256 * 1024
COLUMNS_MAX = 1_000
COLUMNS_SHOWN_MAX, COLUMN_SHOWN_MAX = 20, 40
ACCOUNT_CHARACTERS_MAX = 200
ToTransaction = Callable[[Mapping[str, str]], bytes]
_ENDS = ("\n", "\r")
_TOO_LONG = "\0"
"""Stands for a line that was too long: no line of text begins with it."""


class Row(NamedTuple):
    """A row that begins at `line` (from 1): its transaction, or why it has none. `account`: whose it is, where the
    application tells; the rows of one account may depend on those before them."""

    line: int
    transaction: bytes
    problem: str = ""
    account: str = ""


class Reading(NamedTuple):
    """How an application reads rows: into transactions, from columns that it needs, of accounts that it tells."""

    to_transaction: ToTransaction
    needed: Sequence[str] = ()
    account_of: Callable[[Mapping[str, str]], str] = lambda row: ""


def rows_of(source: IO[str], reading: Reading) -> Iterator[Row]:
    """The rows below the first, which names the columns and is read at once. Empty lines are passed over.

    Raises ConfigurationError where the first line names no columns, or not those that the application needs.
    """
    reader = csv.reader(_bounded(source), strict=True)
    columns = _columns(reader)
    missing = [column for column in reading.needed if column not in columns]
    if missing:
        raise _lacking(missing, columns)
    return _rows(reader, columns, reading)


def _rows(reader: Reader, columns: list[str], reading: Reading) -> Iterator[Row]:
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
            yield _row(line, fields, columns, reading)


def _row(line: int, fields: list[str], columns: list[str], reading: Reading) -> Row:
    if fields[0].startswith(_TOO_LONG):
        return Row(line, b"", f"it has more than {LINE_CHARACTERS_MAX} characters")
    if any(_has_half(field) for field in fields):
        return Row(line, b"", "it has bytes that are no UTF-8; save the file as UTF-8")
    if len(fields) != len(columns):
        return Row(line, b"", f"it has {len(fields)} fields for {len(columns)} columns")
    row = dict(zip(columns, fields, strict=True))
    account = _account(row, reading)
    try:
        transaction = reading.to_transaction(row)
    except ValueError as error:
        return Row(line, b"", str(error)[:300], account)
    except KeyError as error:
        if error.args and isinstance(error.args[0], str) and error.args[0] not in columns:
            raise _lacking([error.args[0]], columns) from None
        return Row(line, b"", _raised(error), account)
    except Exception as error:
        return Row(line, b"", _raised(error), account)
    if not isinstance(transaction, bytes):
        return Row(line, b"", "the application makes no bytes of it", account)
    return Row(line, transaction, account=account)


def _has_half(text: str) -> bool:
    """Whether a byte that is no UTF-8 was read as half a character, which no text has."""
    return any("\ud800" <= each <= "\udfff" for each in text)


def _account(row: Mapping[str, str], reading: Reading) -> str:
    try:
        return str(reading.account_of(row))[:ACCOUNT_CHARACTERS_MAX]
    except Exception:  # what is wrong is said of the row when its transaction is made
        return ""


def _raised(error: Exception) -> str:
    return f"the application's transaction_of raised {type(error).__name__}: {str(error)[:200]}"


def _lacking(missing: list[str], columns: list[str]) -> ConfigurationError:
    named = ", ".join(repr(column[:COLUMN_SHOWN_MAX]) for column in missing[:COLUMNS_SHOWN_MAX])
    there = ", ".join(repr(column[:COLUMN_SHOWN_MAX]) for column in columns[:COLUMNS_SHOWN_MAX])
    return ConfigurationError(
        f"a CSV file was to be imported, but its first line does not name the column{'s' * (len(missing) > 1)} "
        f"{named}, which the ledger's application needs; it names {there}. Put a line with all of them before the "
        "rows."
    )


def _columns(reader: Iterator[list[str]]) -> list[str]:
    try:
        columns = next(reader, [])
    except csv.Error:
        columns = []
    if any(_has_half(column) for column in columns):
        raise ConfigurationError(
            "a CSV file was to be imported, but its first line has bytes that are no UTF-8. Save the file as "
            "UTF-8."
        )
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
