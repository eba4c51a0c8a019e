"""What every voter asks of its arrays: numbers, finite, in the shape that it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from quorum.errors import ConfigurationError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

CHUNK_TICKS = 16_384
"""So many ticks are decided at once: their columns stay in the processor's cache."""


def finite(values: npt.ArrayLike, name: str, axes: int = 1) -> Floats:
    """The values as an array of at least `axes` axes, none of them empty.

    Raises ConfigurationError for what is no number, or not a finite one.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(
            f"{name} were given to a voter, but they are no table of numbers. Give numbers, as many in each row."
        ) from None
    if array.ndim < axes or array.size == 0:
        raise ConfigurationError(
            f"{name} were given to a voter in the shape {array.shape}, but it reads {axes} axes or more, none "
            "empty. Give one value for each channel at least."
        )
    if not np.isfinite(array).all():
        raise ConfigurationError(
            f"{name} were given to a voter, but some are not finite. Leave out channels without a value first."
        )
    return array


def whole(number: int, name: str, least: int = 0) -> int:
    """A count, `least` or more. Raises ConfigurationError for anything else."""
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise ConfigurationError(
            f"{name}={str(number)[:40]} was given to a voter, but it counts. Give a whole number, {least} or more."
        )
    return number


def at_least(number: float, name: str, least: float = 0.0, *, above: bool = False) -> float:
    """A finite number, `least` or more (or above it). Raises ConfigurationError for anything else."""
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    try:
        value = float(number) if is_number else float("nan")
    except OverflowError:
        value = float("inf")
    if not np.isfinite(value) or value < least or (above and value == least):
        bound = f"above {least:g}" if above else f"{least:g} or more"
        raise ConfigurationError(
            f"{name}={str(number)[:40]} was given to a voter, but it must be a number. Give one that is {bound}."
        )
    return value


def in_chunks(decide: Callable[..., tuple[npt.NDArray[Any], ...]], *columns: Floats) -> list[npt.NDArray[Any]]:
    """Run `decide` on pieces of the columns along their last axis, the ticks; what it returns is joined again."""
    ticks = columns[0].shape[-1]
    parts = [
        decide(*(np.ascontiguousarray(column[..., first : first + CHUNK_TICKS]) for column in columns))
        for first in range(0, ticks, CHUNK_TICKS)
    ]
    return [np.concatenate(pieces, axis=-1) for pieces in zip(*parts, strict=True)]
