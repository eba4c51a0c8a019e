"""Voters over vectors: rows of a table are points, of which up to T are wrong.

Sources: Vardi and Zhang, "The multivariate L1-median and associated data depth" (2000); Yin, Chen, Ramchandran and
Bartlett, "Byzantine-robust distributed learning: towards optimal statistical rates" (2018); Blanchard, El Mhamdi,
Guerraoui and Stainer, "Machine learning with adversaries: Byzantine tolerant gradient descent" (2017).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quorum.errors import ConfigurationError
from quorum.voting.arrays import Floats, Integers, finite, whole
from quorum.voting.refused import Refused, below_bound

SMALLEST = 1e-140
"""Beside the furthest point: by smaller extents nothing is measured, since squares would leave the floats."""
STEPS_MAX = 5_000
"""Steps after which the search for a geometric median takes what it has."""
ONE_POINT = 1e-10
"""Beside the extent of the points: what is nearer than this is at one place."""
PRECISION = 1e-13
"""Where a step is shorter than this, beside the extent of the points, the search ends."""


class Krum(NamedTuple):
    """The chosen point by its index, and the score of each."""

    chosen: Integers
    scores: Floats


class MultiKrum(NamedTuple):
    """The mean of the chosen points, their indices from the best on, and the score of each."""

    point: Floats
    indices: Integers
    scores: Floats


def coordinate_trimmed_mean(points: npt.ArrayLike, trim: int) -> Floats | Refused:
    """On each axis the mean of what is left of N points without the `trim` lowest and highest.

    T bound: T <= trim < N/2; each coordinate lies among right ones, the point perhaps outside their hull.
    Source: Yin et al. (2018), definition 2.
    """
    array = finite(points, "points", axes=2)
    count = array.shape[-2]
    refused = below_bound(count, 2 * whole(trim, "trim") + 1, trim)
    if refused is not None:
        return refused
    return np.asarray(np.sort(array, axis=-2)[..., trim : count - trim, :].mean(axis=-2))


def krum(points: npt.ArrayLike, faults: int) -> Krum | Refused:
    """The point whose N-T-2 nearest others are nearest, by the sum of squared distances; of equals the first.

    T bound: N >= 2T+3; the point is one that was given, near right ones, and perhaps a liar's.
    Source: Blanchard et al. (2017), section 4.
    """
    scores = _krum_scores(points, faults)
    return scores if isinstance(scores, Refused) else Krum(scores.argmin(axis=-1), scores)


def multi_krum(points: npt.ArrayLike, faults: int, m: int) -> MultiKrum | Refused:
    """The mean of the `m` points with the lowest Krum scores; m = 1 is Krum.

    T bound: N >= 2T+3, and m <= N-T. Source: Blanchard et al. (2017), multi-Krum.
    """
    array = finite(points, "points", axes=2)
    scores = _krum_scores(array, faults)
    if isinstance(scores, Refused):
        return scores
    if whole(m, "m", 1) > array.shape[-2] - faults:
        return Refused(f"the mean of {m} points holds a wrong one if {faults} of {array.shape[-2]} are wrong")
    indices = np.argsort(scores, axis=-1, kind="stable")[..., :m]
    chosen = np.take_along_axis(array, indices[..., None], axis=-2)
    return MultiKrum(chosen.mean(axis=-2), indices, scores)


def _krum_scores(points: npt.ArrayLike, faults: int) -> Floats | Refused:
    array = finite(points, "points", axes=2)
    count = array.shape[-2]
    refused = below_bound(count, 2 * whole(faults, "T") + 3, faults)
    if refused is not None:
        return refused
    scores = np.empty(array.shape[:-1])
    for point in range(count):
        squares = ((array - array[..., point, None, :]) ** 2).sum(axis=-1)
        squares[..., point] = np.inf  # not its own neighbour
        nearest = np.sort(squares, axis=-1)[..., : count - faults - 2]
        scores[..., point] = nearest.sum(axis=-1)
    return scores


def geometric_median(points: npt.ArrayLike, faults: int | None = None) -> Floats | Refused:
    """The point with the least sum of distances to N points; on one line, the middle of all such points.

    T bound: T < N/2: it stays within a bounded distance of right points. Refused below 2T+1 where `faults` is
    given. Found to 1e-9 of the middle distance from the centre. Source: Vardi and Zhang (2000).
    """
    table = _table(points)
    refused = None if faults is None else below_bound(len(table), 2 * whole(faults, "T") + 1, faults)
    if refused is not None:
        return refused
    centre = np.median(table, axis=0)
    lengths = np.linalg.norm(table - centre, axis=1)
    if not (lengths > 0).any():
        return np.asarray(centre)
    extent = float(np.median(lengths[lengths > 0]))  # a liar far away must not cost the others their digits
    extent = max(extent, SMALLEST * float(lengths.max()))
    away = (table - centre) / extent
    basis = np.linalg.qr(away.T)[0].T if away.shape[1] > len(away) else np.eye(away.shape[1])
    away = away @ basis.T  # N points span N dimensions at most
    on_line = _median_on_line(away)
    found = _median_in_space(away) if on_line is None else on_line
    return np.asarray(centre + extent * (found @ basis))


def _table(points: npt.ArrayLike) -> Floats:
    """One tick of points. Raises ConfigurationError for more."""
    table = finite(points, "points", axes=2)
    if table.ndim != 2:
        raise ConfigurationError(
            "points of several ticks were given, but they are decided one by one. Give one table."
        )
    return table


def _median_on_line(away: Floats) -> Floats | None:
    """The middle of the median of points on one line; None where they are on none."""
    origin = away[0]
    furthest = away[np.argmax(((away - origin) ** 2).sum(axis=1))] - origin
    direction = furthest / np.linalg.norm(furthest)
    along = (away - origin) @ direction
    beside = away - origin - along[:, None] * direction
    if (np.linalg.norm(beside, axis=1) > 1e-12 * np.maximum(1.0, np.abs(along))).any():
        return None
    ordered = np.sort(along)
    middle = (ordered[(len(along) - 1) // 2] + ordered[len(along) // 2]) / 2
    return np.asarray(origin + middle * direction)


def _median_in_space(away: Floats) -> Floats:
    """From the best of the given points, which is often the median, by Newton's method or by Weiszfeld's step,
    whichever makes the sum less."""
    here: Floats = away[int(np.argmin([_sum_of_distances(away, point) for point in away]))]
    for _ in range(STEPS_MAX):
        step = _step_towards_median(away, here)
        here = here + step
        if float(np.abs(step).max()) < PRECISION:
            break
    return here


def _step_towards_median(away: Floats, here: Floats) -> Floats:
    offsets = away - here
    lengths = np.linalg.norm(offsets, axis=1)
    others = lengths > ONE_POINT
    if not others.all():  # on given points: away from them, unless they hold it (Vardi and Zhang)
        units = offsets[others] / lengths[others, None]
        pull, own = units.sum(axis=0), int((~others).sum())
        size = float(np.linalg.norm(pull))
        if size <= own + PRECISION:
            return np.zeros(len(here))
        return np.asarray((1 - own / size) * pull / (1 / lengths[others]).sum())
    units = offsets / lengths[:, None]
    pull, weight = units.sum(axis=0), float((1 / lengths).sum())
    weiszfeld = np.asarray(pull / weight)
    curvature = weight * np.eye(len(here)) - (units / lengths[:, None]).T @ units
    try:
        newton = np.asarray(np.linalg.solve(curvature, pull))
    except np.linalg.LinAlgError:
        return weiszfeld
    better = _sum_of_distances(away, here + newton) <= _sum_of_distances(away, here + weiszfeld)
    return newton if better else weiszfeld


def _sum_of_distances(away: Floats, here: Floats) -> float:
    return float(np.linalg.norm(away - here, axis=1).sum())
