"""What the first line of a table, and the cells below it, look like: where they cannot be what was asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

SEPARATORS: Final[Mapping[str, str]] = {";": "';'", "\t": "tabs", "|": "'|'"}
TIME_NAMES: Final = frozenset(
    ("date", "datetime", "day", "hour", "month", "round", "tick", "time", "timestamp", "week", "when", "year")
)
"""Columns of these names say when a row was."""
ROWS_ASCENDING_MIN: Final = 3
"""In fewer rows numbers ascend by chance."""

_NUMBER = re.compile(r"[ \t]*-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?[ \t]*")
_CLOCK = r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp][Mm])?(Z| ?[-+]\d{2}:?\d{2})?"
_DATE = r"(\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})"
_TIME = re.compile(rf"({_DATE}([T ]{_CLOCK})?|{_CLOCK})")


def is_number(text: str) -> bool:
    """Whether a cell is a finite number, written with a point."""
    return _NUMBER.fullmatch(text) is not None


def is_time(text: str) -> bool:
    """Whether a cell is a date, a time of day, or both."""
    return _TIME.fullmatch(text.strip()) is not None


def separator_of(names: Sequence[str]) -> str:
    """What seems to stand between the columns instead of commas, for people; "" where commas do."""
    if len(names) > 1:
        return ""
    return next((shown for each, shown in SEPARATORS.items() if names and each in names[0]), "")


def are_values(names: Sequence[str]) -> bool:
    """Whether these names are numbers and times, as in a file without a line of names."""
    return bool(names) and all(is_number(name) or is_time(name) or not name.strip() for name in names)


def not_of_voters(columns: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """The first column of a table of rounds that can hardly be a voter's, and why: its name says when, it holds
    numbers or times that no other column holds, or it differs in every row from all that is said elsewhere."""
    for name in columns:
        if name.lower() in TIME_NAMES:
            return name, "is named as one that says when a round was"
    kinds = {name: _holds_times(cells) for name, cells in columns.items()}
    if any(kinds.values()) and not all(kinds[name] for name, cells in columns.items() if any(cells)):
        lone = [name for name, holds in kinds.items() if holds]
        if len(lone) == 1:
            return lone[0], "holds numbers or times, and no other one does"
    if len(columns) == 1:
        return None
    apart = next((name for name in columns if _stands_apart(name, columns)), None)
    if apart is not None:
        return apart, "says something else in every row, which no other one says"
    ascending = [name for name, cells in columns.items() if _ascends(cells)]
    if len(ascending) == 1:
        return ascending[0], "counts upwards from row to row"
    return None


def _holds_times(cells: Sequence[str]) -> bool:
    given = [cell for cell in cells if cell]
    return bool(given) and all(is_time(cell) or is_number(cell) for cell in given)


def _stands_apart(name: str, columns: Mapping[str, Sequence[str]]) -> bool:
    cells = columns[name]
    if len(cells) < 2 or not all(cells) or len(set(cells)) < len(cells):
        return False
    return all(set(cells).isdisjoint(others) for other, others in columns.items() if other != name)


def _ascends(cells: Sequence[str]) -> bool:
    if len(cells) < ROWS_ASCENDING_MIN or not all(map(is_number, cells)):
        return False
    numbers = [float(cell) for cell in cells]
    return all(one < other for one, other in pairwise(numbers))
