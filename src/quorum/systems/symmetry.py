"""Linear programs made smaller where rows and columns are alike: equal nodes then cost as one.

Rows and columns get the same colour as long as nothing tells them apart: bounds, costs, and the factors that they
have with rows or columns of each colour. A program has an optimum in which columns of one colour have one value,
and one row of each colour is enough to find it. Source: Grohe, Kersting, Mladenov and Selman, "Dimension Reduction
via Colour Refinement" (2014), theorem 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quorum.systems.program import Arrays, Solution, Vector

Colours = NDArray[np.int64]


class Reduced(NamedTuple):
    """A smaller program, the colour of each column and row of the larger one, and how many have each colour."""

    arrays: Arrays
    columns: Colours
    rows: Colours
    column_counts: NDArray[np.int64]
    row_counts: NDArray[np.int64]

    def costs(self, costs: Vector) -> Vector:
        """An aim of the larger program, for the smaller one."""
        return np.bincount(self.columns, costs, minlength=len(self.column_counts)).astype(np.float64)

    def lifted(self, solution: Solution) -> Solution:
        """A solution of the smaller program as one of the larger: prices are shared out among equals."""
        return Solution(
            solution.value,
            solution.columns[self.columns],
            (solution.prices / self.row_counts)[self.rows],
            (solution.reduced / self.column_counts)[self.columns],
        )


def reduced(arrays: Arrays, aims: Sequence[Vector]) -> Reduced:
    """The smaller program, for these aims."""
    columns = _numbered([arrays.lower, arrays.upper, *aims], len(arrays.lower))
    rows = _numbered([arrays.row_lower, arrays.row_upper], len(arrays.row_lower))
    kinds = np.unique(arrays.values, return_inverse=True)[1].reshape(-1).astype(np.int64)
    by_row, by_column = np.argsort(arrays.rows, kind="stable"), np.argsort(arrays.indices, kind="stable")
    while True:
        before = int(columns.max(initial=-1)), int(rows.max(initial=-1))
        rows = _refined(rows, arrays.rows, arrays.indices, columns, kinds, by_row)
        columns = _refined(columns, arrays.indices, arrays.rows, rows, kinds, by_column)
        if before == (int(columns.max(initial=-1)), int(rows.max(initial=-1))):
            return _quotient(arrays, columns, rows)


def _numbered(keys: Sequence[Vector | Colours], size: int) -> Colours:
    """Numbers from 0, the same where all keys are the same."""
    if not size:
        return np.zeros(0, np.int64)
    table = np.stack(keys, axis=1)
    return np.unique(table, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _refined(
    mine: Colours,
    places: Colours,
    others: Colours,
    theirs: Colours,
    kinds: Colours,
    order: NDArray[np.intp],
) -> Colours:
    """Colours that tell apart, too, which factors there are with others of which colour."""
    if not len(places):
        return mine
    count = int(theirs.max(initial=0)) + 1
    marks = _mixed((kinds * count + theirs[others]).astype(np.uint64))
    sums = np.zeros((len(mine), 2), np.uint64)
    sorted_places = places[order]
    starts = np.flatnonzero(np.concatenate([[True], sorted_places[1:] != sorted_places[:-1]]))
    sums[sorted_places[starts], 0] = np.add.reduceat(marks[order], starts)
    sums[sorted_places[starts], 1] = np.add.reduceat(_mixed(marks)[order], starts)
    table = np.column_stack([mine.astype(np.uint64), sums])
    return np.unique(table, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers scattered over 64 bits, so that sums of different ones differ. Source: Steele, Lea and Flood, "Fast
    Splittable Pseudorandom Number Generators" (2014), figure 16."""
    with np.errstate(over="ignore"):
        numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
        numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return numbers ^ (numbers >> np.uint64(31))


def _quotient(arrays: Arrays, columns: Colours, rows: Colours) -> Reduced:
    _, first_column, column_counts = np.unique(columns, return_index=True, return_counts=True)
    _, first_row, row_counts = np.unique(rows, return_index=True, return_counts=True)
    is_first = np.zeros(len(rows), bool)
    is_first[first_row] = True
    kept = is_first[arrays.rows]
    width = max(1, len(column_counts))
    cells, where = np.unique(rows[arrays.rows[kept]] * width + columns[arrays.indices[kept]], return_inverse=True)
    smaller = Arrays(
        arrays.lower[first_column],
        arrays.upper[first_column],
        arrays.row_lower[first_row],
        arrays.row_upper[first_row],
        cells // width,
        cells % width,
        np.bincount(where.reshape(-1), arrays.values[kept], minlength=len(cells)).astype(np.float64),
    )
    return Reduced(smaller, columns, rows, column_counts, row_counts)
