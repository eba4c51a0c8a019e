"""A point that lies among right ones whoever of N points are wrong, in any number of dimensions.

Sources: Vaidya and Garg, "Byzantine vector consensus in complete graphs" (2013); Mendes and Herlihy,
"Multidimensional approximate agreement in Byzantine asynchronous systems" (2013). Imported only when needed.
"""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import NamedTuple

import highspy
import numpy as np
import numpy.typing as npt

from quorum.errors import ConfigurationError
from quorum.voting.arrays import Floats, finite, whole
from quorum.voting.refused import Refused, below_bound

COLUMNS_MAX = 20_000
"""Larger programs take longer than a person waits."""


class SafePoint(NamedTuple):
    """A point of the safe area, and how many nodes it takes: exactly so in synchronous rounds; for approximate
    agreement where nothing is said about time."""

    safe_area_point: Floats
    min_n_sync: int
    min_n_async_approx: int


def byzantine_vector_safe_area(points: npt.ArrayLike, faults: int) -> SafePoint | Refused:
    """A point in the hull of every choice of N-T of the N points in d dimensions: the centre, that is the mean of
    the lowest and highest points of that area on each axis.

    T bound: N >= max(3T+1, (d+1)T+1) for exact agreement in synchronous rounds; (d+2)T+1 for approximate agreement
    in asynchronous ones. The right points are one of the choices, so the point lies in their hull.
    Source: Vaidya and Garg (2013), theorems 1 and 4. Raises ConfigurationError where the choices are too many.
    """
    table = finite(points, "points", axes=2)
    if table.ndim != 2:
        raise ConfigurationError(
            "points of several ticks were given, but they are decided one by one. Give one table."
        )
    count, dimensions = table.shape
    needed = max(3 * whole(faults, "T") + 1, (dimensions + 1) * faults + 1)
    refused = below_bound(count, needed, faults)
    if refused is not None:
        return refused
    unique = np.unique(table, axis=0)
    centre, extent = unique.mean(axis=0), float(np.abs(unique - unique.mean(axis=0)).max()) or 1.0
    if dimensions == 1:
        ordered = np.sort(table[:, 0])
        point = np.asarray([(ordered[faults] + ordered[count - 1 - faults]) / 2])
    elif faults == 0 or len(unique) == 1:
        point = (table.min(axis=0) + table.max(axis=0)) / 2 if len(unique) == 1 else table.mean(axis=0)
    else:
        point = centre + extent * _centre_of_hulls((table - centre) / extent, faults)
    return SafePoint(point, needed, (dimensions + 2) * faults + 1)


def _centre_of_hulls(table: Floats, faults: int) -> Floats:
    """The mean of the extreme points, on each axis, of the intersection of all hulls of N-T points."""
    count, dimensions = table.shape
    columns = comb(count, faults) * (count - faults)
    if columns > COLUMNS_MAX:
        raise ConfigurationError(
            f"a safe point of {count} points was asked for with T={faults}, but that has {comb(count, faults):,} "
            f"choices of points, {columns:,} terms. Stay below {COLUMNS_MAX:,}: give fewer points, or a lower T."
        )
    program = _program(table, faults)
    found = []
    for axis in range(dimensions):
        for sign in (1.0, -1.0):
            program.changeColCost(axis, sign)
            program.run()
            if program.getModelStatus() != highspy.HighsModelStatus.kOptimal:
                raise ConfigurationError(
                    f"a safe point of {count} points was asked for, but they are too near a degenerate case to be "
                    "told apart in floating point. Round them, or leave out repeated ones."
                )
            found.append(np.asarray(program.getSolution().col_value[:dimensions]))
            program.changeColCost(axis, 0.0)
    return np.asarray(np.mean(found, axis=0))


def _program(table: Floats, faults: int) -> highspy.Highs:
    """Columns: the point, then the shares of each choice. A choice's shares sum to 1 and mix to the point."""
    count, dimensions = table.shape
    choices = list(combinations(range(count), count - faults))
    program = highspy.Highs()  # type: ignore[no-untyped-call]
    program.setOptionValue("output_flag", False)
    program.setOptionValue("threads", 1)
    for tolerance in ("primal_feasibility_tolerance", "dual_feasibility_tolerance"):
        program.setOptionValue(tolerance, 1e-10)
    for _ in range(dimensions):
        program.addVar(-highspy.kHighsInf, highspy.kHighsInf)
    for _ in range(len(choices) * (count - faults)):
        program.addVar(0.0, 1.0)
    for place, chosen in enumerate(choices):
        first = dimensions + place * (count - faults)
        shares = np.arange(first, first + count - faults, dtype=np.int32)
        program.addRow(1.0, 1.0, len(shares), shares, np.ones(len(shares)))
        for axis in range(dimensions):
            columns = np.concatenate([shares, np.asarray([axis], dtype=np.int32)])
            values = np.concatenate([table[list(chosen), axis], [-1.0]])
            program.addRow(0.0, 0.0, len(columns), columns, values)
    return program
