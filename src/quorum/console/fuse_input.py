"""The input of a voter: one JSON object, each key of it read as what the voter takes, or told apart from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from quorum.console.command import plain
from quorum.errors import ConfigurationError

ITEMS_MAX = 10_000
"""In one list: some rules compare each with each."""
POINTS_MAX = 1_000
MAGNITUDE_MAX = 1e100
"""Beyond it squares and products leave the floats."""

Reader = Callable[[str, Any], Any]


def object_in(data: bytes) -> dict[str, Any]:
    """The one JSON object in `data`. Raises ConfigurationError for anything else."""
    import msgspec

    if not data.strip():
        raise ConfigurationError(
            "the input of a voter was to be read from standard input, but that is empty. Give one object, as in "
            '{"values": [1, 2, 3]}, or name a file of ticks: --input.'
        )
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"the input of a voter was to be read, but it is no JSON: {plain(str(error), 200)}. Give one object, "
            'as in {"values": [1, 2, 3]}; NaN and infinities are no values.'
        ) from None
    if not isinstance(found, dict):
        raise ConfigurationError(
            f"the input of a voter was to be read, but it is {_kind(found)}, not an object. Give one, as in "
            '{"values": [1, 2, 3]}.'
        )
    return found


def fields_in(
    given: Mapping[str, Any], name: str, needed: Mapping[str, Reader], optional: Mapping[str, Reader]
) -> dict[str, Any]:
    """Each key of the input, read. Raises ConfigurationError for a key too few, or too many, or a wrong value."""
    missing = [key for key in needed if key not in given]
    unknown = [key for key in given if key not in needed and key not in optional]
    if missing or unknown:
        why = f"{_listed(missing)} is missing" if missing else f"{_listed(unknown)} is nothing that it reads"
        may = f" It may have {_listed(list(optional))}." if optional else ""
        raise ConfigurationError(f"{name} was asked for, but {why}. Give {_listed(list(needed))}.{may}")
    readers = {**needed, **optional}
    return {key: readers[key](key, value) for key, value in given.items()}


def _listed(keys: list[str]) -> str:
    return ", ".join(repr(plain(key, 40)) for key in keys[:10])


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {str(value)[:30]}"
        case str():
            return f"the text {plain(value, 30)!r}"
        case list():
            return "a list" if value else "an empty list"
    return "an object"


def _wrong(key: str, value: Any, wanted: str) -> ConfigurationError:
    return ConfigurationError(f"{key!r} was read, but it holds {_kind(value)}. Give {wanted}.")


def number(key: str, value: Any) -> float:
    """A finite number that its square leaves finite."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number:
        raise _wrong(key, value, "a number")
    if abs(value) > MAGNITUDE_MAX or not isfinite(value):
        raise _wrong(key, value, f"a number from {-MAGNITUDE_MAX:g} to {MAGNITUDE_MAX:g}; else change its unit")
    return float(value)


def count(key: str, value: Any) -> int:
    """A whole number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1_000_000:
        raise _wrong(key, value, "a whole number from 0 to 1000000")
    return value


def channel(key: str, value: Any) -> int | None:
    """The index of a channel; null or -1 for none."""
    return None if value is None or value == -1 else count(key, value)


def flag(key: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise _wrong(key, value, "true or false")
    return value


def items(key: str, value: Any, wanted: str = "a list, not empty", most: int = ITEMS_MAX) -> list[Any]:
    """A list with something in it, and not too much."""
    if not isinstance(value, list) or not value:
        raise _wrong(key, value, wanted)
    if len(value) > most:
        raise ConfigurationError(
            f"{key!r} was read, but it has {len(value)} items, and one decision takes {most} at most. Give fewer."
        )
    return value


def numbers(key: str, value: Any) -> list[float]:
    """A list of numbers."""
    return [number(key, each) for each in items(key, value, "a list of numbers, not empty")]


def table(key: str, value: Any) -> list[list[float]]:
    """A list of rows of numbers, all of one length."""
    return _equally_long(
        key, [numbers(key, each) for each in items(key, value, "a list of lists of numbers", most=POINTS_MAX)]
    )


def rounds(key: str, value: Any) -> list[list[float]]:
    """A list of rounds, each with a number for each channel."""
    rows = [numbers(key, each) for each in items(key, value, "a list of lists of numbers")]
    items(key, rows[0], most=POINTS_MAX)
    return _equally_long(key, rows)


def _equally_long(key: str, rows: list[list[float]]) -> list[list[float]]:
    if len({len(row) for row in rows}) != 1:
        raise ConfigurationError(f"{key!r} was read, but its rows differ in length. Give as many numbers in each.")
    return rows


def pairs(key: str, value: Any) -> list[list[float]]:
    """A list of two numbers each."""
    wanted = "a list of pairs of numbers"
    rows = items(key, value, wanted)
    for row in rows:
        if not isinstance(row, list) or len(row) != 2:
            raise _wrong(key, row, wanted)
    return [[number(key, each) for each in row] for row in rows]


def votes(key: str, value: Any) -> list[bool]:
    """A list of true and false, for which 1 and 0 may stand."""
    wanted = "a list of true and false"
    found = items(key, value, wanted)
    for each in found:
        if not isinstance(each, int) or each not in (0, 1):
            raise _wrong(key, each, wanted)
    return [bool(each) for each in found]


def labels(key: str, value: Any) -> list[float] | list[str]:
    """A list of numbers, or a list of texts."""
    found = items(key, value, "a list of numbers, or of texts")
    if all(isinstance(each, str) for each in found):
        return list(found)
    return [number(key, each) for each in found]


def vector(key: str, value: Any) -> list[float]:
    """A list of numbers; one number alone is a list of one."""
    return numbers(key, value if isinstance(value, list) else [value])


def matrix(key: str, value: Any) -> list[list[float]]:
    """A table of numbers; one number alone is a table of one."""
    return table(key, value if isinstance(value, list) else [[value]])


def equal_or_numbers(key: str, value: Any) -> list[float] | None:
    """A list of weights; null, "equal" or "uniform" where all weigh the same."""
    return None if value is None or value in ("equal", "uniform") else numbers(key, value)


def criterion(key: str, value: Any) -> str:
    """What shall be least: "trace" or "determinant"."""
    names = {"trace": "trace", "determinant": "determinant", "det": "determinant"}
    if not isinstance(value, str) or value not in names:
        raise _wrong(key, value, '"trace" or "determinant"')
    return names[value]


def masses(key: str, value: Any) -> dict[str, float]:
    """Numbers by name."""
    if not isinstance(value, dict) or not value or len(value) > POINTS_MAX:
        raise _wrong(key, value, f'1 to {POINTS_MAX} masses by set, as in {{"A": 0.6, "AB": 0.4}}')
    return {plain(name, 80): number(key, each) for name, each in value.items()}
