"""Linear programs, built row by row and solved by HiGHS, one aim after the other. Imported only when needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import highspy
import numpy as np
from numpy.typing import NDArray

from quorum.errors import ConfigurationError

INFINITY = float("inf")
TOLERANCE = 1e-10
"""What HiGHS may take for zero, the least that it accepts; programs are scaled so that answers are near 1."""
TIED = 1e-7
"""A price below this is none, where people are told: prices are near 1, or 0."""
PRICED, ROUNDING = 1e-9, 1e-13
"""What has a smaller price may move, as long as nothing gets worse: so much, and so much of the largest price."""

RETRIES = (("presolve", "off"), ("simplex_strategy", 4), ("primal_feasibility_tolerance", 1e-8))
"""Where factors lie far apart, one way to solve may fail; that nothing fits is believed when all say so."""

Vector = NDArray[np.float64]
Terms = Iterable[tuple[int, float]]


class Solution(NamedTuple):
    """The best value found, what it takes, and the price of each row: by how much the value grows with its bound.
    `reduced` has the same for bounds of columns."""

    value: float
    columns: Vector
    prices: Vector
    reduced: Vector


class Program:
    """Columns within bounds, rows of their sums within bounds, and aims to make as small as possible."""

    def __init__(self) -> None:
        self._lower: list[float] = []
        self._upper: list[float] = []
        self._row_lower: list[float] = []
        self._row_upper: list[float] = []
        self._starts: list[int] = [0]
        self._indices: list[int] = []
        self._values: list[float] = []
        self._added: list[tuple[int, int, float]] = []

    @property
    def columns(self) -> int:
        """How many columns there are."""
        return len(self._lower)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self._row_lower)

    def column(self, lower: float = 0.0, upper: float = INFINITY, terms: Terms = ()) -> int:
        """A new column; `terms` are its factors in rows that are there already."""
        self._lower.append(lower)
        self._upper.append(upper)
        place = len(self._lower) - 1
        self._added += [(row, place, value) for row, value in terms]
        return place

    def bound(self, column: int, lower: float, upper: float) -> None:
        """Other bounds for a column."""
        self._lower[column], self._upper[column] = lower, upper

    def row(self, terms: Terms, lower: float = -INFINITY, upper: float = INFINITY) -> int:
        """A new row: the sum of factor times column lies within the bounds."""
        for place, value in terms:
            self._indices.append(place)
            self._values.append(value)
        self._starts.append(len(self._indices))
        self._row_lower.append(lower)
        self._row_upper.append(upper)
        return len(self._row_lower) - 1

    def arrays(self) -> Arrays:
        """The program as arrays, row by row; what stands twice at one place is summed."""
        starts = np.array(self._starts, np.int64)
        counts = starts[1:] - starts[:-1]
        rows = np.repeat(np.arange(self.rows, dtype=np.int64), counts)
        indices = np.array(self._indices, np.int64)
        values = np.array(self._values, np.float64)
        if self._added:
            more = np.array(self._added)
            rows = np.concatenate([rows, more[:, 0].astype(np.int64)])
            indices = np.concatenate([indices, more[:, 1].astype(np.int64)])
            values = np.concatenate([values, more[:, 2]])
        width = max(1, self.columns)
        cells, where = np.unique(rows * width + indices, return_inverse=True)
        summed = np.bincount(where.reshape(-1), values, minlength=len(cells)).astype(np.float64)
        bounds = (self._lower, self._upper, self._row_lower, self._row_upper)
        lower, upper, row_lower, row_upper = (np.array(each, np.float64) for each in bounds)
        return Arrays(lower, upper, row_lower, row_upper, cells // width, cells % width, summed)

    def costs(self, terms: Terms) -> Vector:
        """An aim as a vector: factor times column, summed."""
        costs = np.zeros(self.columns)
        for place, value in terms:
            costs[place] += value
        return costs


class Arrays(NamedTuple):
    """A program: bounds of columns and rows, and its factors, one entry for each, row by row."""

    lower: Vector
    upper: Vector
    row_lower: Vector
    row_upper: Vector
    rows: NDArray[np.int64]
    indices: NDArray[np.int64]
    values: Vector


class Budget:
    """Seconds that the solver may still take, over all programs of one question."""

    def __init__(self, seconds: float) -> None:
        self.seconds = self.left = seconds

    def spend(self, solver: Any) -> None:
        """Solve what is in the solver. Raises ConfigurationError where the time is over before it is done."""
        if self.left > 0:
            solver.setOptionValue("time_limit", solver.getRunTime() + self.left)
            before = solver.getRunTime()
            solver.run()
            self.left -= solver.getRunTime() - before
        statuses = highspy.HighsModelStatus
        if self.left <= 0 or solver.getModelStatus() == statuses.kTimeLimit:
            raise ConfigurationError(
                f"an optimum was to be found within {self.seconds:g} s, but the solver is not done by then. Write "
                "the expressions with fewer repeated nodes, ask for fewer failures, or give it more time."
            )


class Face:
    """What is left of a program after some aims were met: each later aim keeps all earlier ones as good."""

    def __init__(self, arrays: Arrays, budget: Budget, integral: Sequence[int] = ()) -> None:
        self._arrays, self._budget = arrays, budget
        self._solver = solver_of(arrays, integral)

    def minimise(self, costs: Vector) -> Solution | None:
        """The least that `costs` can come to; None where no values fit, or there is no least."""
        places = np.arange(len(costs), dtype=np.int32)
        self._solver.changeColsCost(len(costs), places, costs)
        return run(self._solver, self._budget)

    def keep(self, solution: Solution) -> None:
        """From now on only what is as good as this solution, which `minimise` returned last.

        What has a price stays where it is: complementary slackness then makes every point left an optimum, and
        no tolerance is given away.
        """
        solver, arrays = self._solver, self._arrays
        priced = PRICED + ROUNDING * float(np.abs(solution.prices).max(initial=0))
        for place in np.flatnonzero(np.abs(solution.reduced) > priced):
            value = _nearest(solution.columns[place], arrays.lower[place], arrays.upper[place])
            solver.changeColBounds(int(place), value, value)
        sums = self.sums(solution)
        for place in np.flatnonzero(np.abs(solution.prices) > priced):
            value = _nearest(sums[place], arrays.row_lower[place], arrays.row_upper[place])
            solver.changeRowBounds(int(place), value, value)

    def sums(self, solution: Solution) -> Vector:
        """What each row comes to."""
        products = self._arrays.values * solution.columns[self._arrays.indices]
        return np.bincount(self._arrays.rows, products, minlength=len(self._arrays.row_lower)).astype(np.float64)


def _nearest(value: float, lower: float, upper: float) -> float:
    return float(lower if abs(value - lower) <= abs(value - upper) else upper)


class _Quiet(highspy.Highs):
    """Without the callbacks of `Highs`, which print a banner on standard output as they are set."""

    def __init__(self) -> None:
        super(highspy.Highs, self).__init__()


def solver_of(arrays: Arrays, integral: Sequence[int] = ()) -> Any:
    """HiGHS with the program in it, quiet and exact. The columns in `integral` take whole numbers only."""
    counts = np.bincount(arrays.rows, minlength=len(arrays.row_lower))
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(arrays.lower), len(arrays.row_lower)
    lp.col_cost_ = np.zeros(len(arrays.lower))
    lp.col_lower_, lp.col_upper_ = arrays.lower, arrays.upper
    lp.row_lower_, lp.row_upper_ = arrays.row_lower, arrays.row_upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    lp.a_matrix_.index_ = arrays.indices.astype(np.int32)
    lp.a_matrix_.value_ = arrays.values
    if integral:
        whole = set(integral)
        kinds = highspy.HighsVarType
        lp.integrality_ = [kinds.kInteger if at in whole else kinds.kContinuous for at in range(lp.num_col_)]
    solver = _Quiet()
    for option, value in (
        ("output_flag", False),
        ("threads", 1),
        ("primal_feasibility_tolerance", TOLERANCE),
        ("dual_feasibility_tolerance", TOLERANCE),
        ("small_matrix_value", 1e-12),
        ("mip_rel_gap", 0.0),
        ("mip_abs_gap", 1e-12),
    ):
        solver.setOptionValue(option, value)
    status = solver.passModel(lp)
    assert status != highspy.HighsStatus.kError, "the arrays are a program"
    return solver


def run(solver: Any, budget: Budget) -> Solution | None:
    """Solve what is in the solver; None where nothing fits, or there is no least. Raises
    ConfigurationError where it gives up."""
    statuses = highspy.HighsModelStatus
    budget.spend(solver)
    for option, value in RETRIES:
        if solver.getModelStatus() == statuses.kOptimal:
            break
        solver.clearSolver()
        before = solver.getOptionValue(option)[1]
        solver.setOptionValue(option, value)
        budget.spend(solver)
        solver.setOptionValue(option, before)
    status = solver.getModelStatus()
    if status in (statuses.kInfeasible, statuses.kUnboundedOrInfeasible, statuses.kUnbounded):
        return None
    if status != statuses.kOptimal:
        raise ConfigurationError(
            f"a program of {solver.getNumCol():,} columns was to be solved, but the solver ended with "
            f"{solver.modelStatusToString(status)!r}. Bring capacities and latencies nearer to each other."
        )
    found = solver.getSolution()
    return Solution(
        float(solver.getInfo().objective_function_value),
        np.array(found.col_value),
        np.array(found.row_dual),
        np.array(found.col_dual),
    )
