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

PLANES_MAX = 20_000
"""More of them take longer than a person waits."""
ON_PLANE = 1e-11
"""A point whose distance from a plane is this share of its distance from a point of it lies on the plane."""
ONE_POINT = 1e-10
"""Of the extent of the area: points nearer than this hold no plane, since its direction would be rounding."""
LOOSENED = (0.0, 1e-9, 1e-8, 1e-7)
"""Of the extent of the area: by so much half-spaces are widened, step by step, while rounding leaves nothing."""
SMALLEST = 1e-140
"""Beside the furthest point: an area whose extent is smaller is one point."""
SLACK = 1e-9
"""Of the extent of the area: so much may a coordinate that was found still move, while the next is sought."""


class SafePoint(NamedTuple):
    """A point of the safe area, and how many nodes it takes: exactly so in synchronous rounds; for approximate
    agreement where nothing is said about time."""

    safe_area_point: Floats
    min_n_sync: int
    min_n_async_approx: int


def byzantine_vector_safe_area(points: npt.ArrayLike, faults: int) -> SafePoint | Refused:
    """A point in the hull of every choice of N-T of the N points in d dimensions.

    It is the middle of that area on the first axis, then of what is left of it on the second, and so on; the mean
    of all points where T is 0.

    T bound: N >= max(3T+1, (d+1)T+1) for exact agreement in synchronous rounds; (d+2)T+1 for approximate agreement
    in asynchronous ones. The right points are one of the choices, so the point lies in their hull.
    Source: Vaidya and Garg (2013). Raises ConfigurationError where the choices are too many.
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
    return SafePoint(_centre(table, faults), needed, (dimensions + 2) * faults + 1)


def _centre(table: Floats, faults: int) -> Floats:
    """The centre of the safe area of points, of whatever dimension they are."""
    count = len(table)
    ordered = np.sort(table, axis=0)
    low, high = ordered[faults], ordered[count - 1 - faults]  # the area lies between these
    extent = float((high - low).max())
    if faults == 0 or extent == 0.0 or table.shape[1] == 1:
        return np.asarray(low + (table - low).mean(axis=0) if faults == 0 else low + (high - low) / 2)
    middle = low + (high - low) / 2
    if extent <= SMALLEST * float(np.abs(table - middle).max()) or extent < np.finfo(float).tiny / SMALLEST:
        return np.asarray(middle)  # squares of what is measured by so small an extent leave the floats
    away = (table - middle) / extent  # a liar that is far away must not cost the others their digits
    lengths = np.linalg.norm(away - away[0], axis=1)
    directions = (away - away[0])[lengths > 0] / lengths[lengths > 0, None]
    _, sizes, basis = np.linalg.svd(directions, full_matrices=False)
    basis = basis[sizes > 1e-10 * sizes[0]]
    if len(basis) < table.shape[1]:  # all on one line or plane: decide within it
        return np.asarray(middle + extent * (away[0] + _centre((away - away[0]) @ basis.T, faults) @ basis))
    normals, offsets = _half_spaces(away, faults)
    bounds = ((low - middle) / extent, (high - middle) / extent)
    for loose in LOOSENED:
        found = _middle_of(normals, offsets + loose, bounds[0] - loose, bounds[1] + loose)
        if found is not None:
            return np.asarray(middle + extent * found)
    if extent <= SLACK * float(np.median(np.linalg.norm(table - middle, axis=1))):
        return np.asarray(middle)  # beside the other points the area is one point
    raise ConfigurationError(
        f"a safe point of {count} points was asked for, but they are too nearly degenerate to be told apart in "
        "floating point. Round them."
    )


def _half_spaces(away: Floats, faults: int) -> tuple[Floats, Floats]:
    """The safe area as normals and offsets, normal @ z <= offset: of every plane through d points, the sides
    beyond which T points at most are.

    Each face of a hull of N-T points, extended by other points where that hull is flat, is one of them.
    """
    count, dimensions = away.shape
    if comb(count, dimensions) > PLANES_MAX:
        raise ConfigurationError(
            f"a safe point of {count} points in {dimensions} dimensions was asked for, but that has "
            f"{comb(count, dimensions):,} planes through points, above {PLANES_MAX:,}. Give fewer points."
        )
    near = np.argsort(np.linalg.norm(away, axis=1), kind="stable")  # each plane is held by its nearest point
    chosen = near[np.asarray(list(combinations(range(count), dimensions)))]
    bases = away[chosen[:, 0]]
    edges = away[chosen[:, 1:]] - bases[:, None]
    lengths = np.linalg.norm(edges, axis=-1, keepdims=True)
    edges = np.where(lengths > ONE_POINT, edges / np.maximum(lengths, ONE_POINT), 0.0)
    _, sizes, axes = np.linalg.svd(edges, full_matrices=True)
    spans = sizes[:, -1] > 1e-10
    normals, bases = axes[spans, -1], bases[spans]
    apart = away[None] - bases[:, None]
    heights = (apart @ normals[..., None])[..., 0]
    slack = ON_PLANE * np.linalg.norm(apart, axis=-1)
    offsets = (normals * bases).sum(axis=-1)
    above = (heights > slack).sum(axis=-1) <= faults
    below = (heights < -slack).sum(axis=-1) <= faults
    return np.concatenate([normals[above], -normals[below]]), np.concatenate([offsets[above], -offsets[below]])


def _middle_of(normals: Floats, offsets: Floats, low: Floats, high: Floats) -> Floats | None:
    """The middle of what half-spaces share on the first axis, then of what is left on the second, and so on; None
    where rounding leaves nothing that they share."""
    dimensions = normals.shape[1]
    program = _QuietProgram()  # type: ignore[no-untyped-call]
    program.setOptionValue("output_flag", False)
    program.setOptionValue("threads", 1)
    program.setOptionValue("presolve", "off")
    for tolerance in ("primal_feasibility_tolerance", "dual_feasibility_tolerance"):
        program.setOptionValue(tolerance, 1e-10)
    for axis in range(dimensions):
        program.addVar(low[axis], high[axis])
    places = np.arange(dimensions, dtype=np.int32)
    for normal, offset in zip(normals, offsets, strict=True):
        program.addRow(-highspy.kHighsInf, offset, dimensions, places, normal)
    point = np.zeros(dimensions)
    for axis in range(dimensions):
        least, most = _extreme(program, axis, 1.0), _extreme(program, axis, -1.0)
        if least is None or most is None:
            return None
        point[axis] = (least + most) / 2
        program.changeColBounds(axis, point[axis] - SLACK, point[axis] + SLACK)
    return point


def _extreme(program: highspy.Highs, axis: int, sign: float) -> float | None:
    """The lowest coordinate (sign 1) or the highest (-1) on this axis; None where the program has no solution."""
    program.changeColCost(axis, sign)
    program.clearSolver()  # a basis of the last question may be none for thin areas
    program.run()
    if program.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    program.changeColCost(axis, 0.0)
    return float(program.getSolution().col_value[axis])


class _QuietProgram(highspy.Highs):
    """A linear program that says nothing: setting up callbacks would print a banner to standard output."""

    def enableCallbacks(self) -> None:
        """None are used."""
