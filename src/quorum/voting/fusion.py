"""Fusion of estimates that are believed: how to weigh what is honest but not equally good.

None of these stands against a liar. They run among the survivors of a voter that does.

Sources: Aitken, "On least squares and linear combinations of observations" (1935); Julier and Uhlmann, "A
non-divergent estimation algorithm in the presence of unknown correlations" (1997); Shafer, "A mathematical theory
of evidence" (1976); Zadeh, "A simple view of the Dempster-Shafer theory of evidence" (1986).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import fsum, isfinite
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from quorum.errors import ConfigurationError
from quorum.voting.arrays import Floats, at_least, finite
from quorum.voting.refused import Refused

Criterion = Literal["trace", "determinant"]
HALVINGS = 200
MASS_TOLERANCE = 1e-6


class Estimate(NamedTuple):
    """A value and its variance, in the unit of the value and in its square."""

    value: Floats
    variance: Floats


class Intersected(NamedTuple):
    """The share of the first estimate, the fused vector and its covariance."""

    omega: float
    x: Floats
    P: Floats


class Belief(NamedTuple):
    """Mass by set of hypotheses (letters in order), and the mass that contradicted itself."""

    masses: dict[str, float]
    conflict: float


def inverse_variance(values: npt.ArrayLike, variances: npt.ArrayLike) -> Estimate:
    """The unbiased mean with the least variance: weights are 1/variance, and errors independent.

    T bound: 0. A liar that claims a small variance takes all.
    Source: Aitken (1935). Raises ConfigurationError for a variance that is not above 0.
    """
    array, spread = finite(values, "values"), finite(variances, "variances")
    if spread.shape[-1] != array.shape[-1] or (spread <= 0).any():
        raise ConfigurationError(
            "variances were given for values, but they must be one for each, and above 0. Change them."
        )
    least = spread.min(axis=-1, keepdims=True)
    weights = least / spread  # relative to the best, so that nothing leaves the floats
    total = weights.sum(axis=-1)
    return Estimate((weights * array).sum(axis=-1) / total, least[..., 0] / total)


def covariance_intersection(
    x1: npt.ArrayLike, P1: npt.ArrayLike, x2: npt.ArrayLike, P2: npt.ArrayLike, criterion: Criterion = "trace"
) -> Intersected:
    """Two estimates whose errors may be correlated in any way: information is mixed by omega and 1-omega.

    P^-1 = omega P1^-1 + (1-omega) P2^-1, with the omega of 0 to 1 that makes the trace or the determinant of P
    least; 1/2 where all are equal. If both covariances are honest, so is P.
    T bound: 0. Source: Julier and Uhlmann (1997). Raises ConfigurationError for a P that is no covariance.
    """
    if criterion not in ("trace", "determinant"):
        raise ConfigurationError(
            f"criterion {str(criterion)[:40]!r} was given, but P has a trace and a determinant. Give one of those."
        )
    first, second = _vector(x1, "x1"), _vector(x2, "x2")
    one, other = _information(P1, "P1", len(first)), _information(P2, "P2", len(second))
    if len(first) != len(second):
        raise ConfigurationError(
            f"vectors of {len(first)} and {len(second)} numbers were given, but they must estimate the same. Give "
            "two of one length."
        )
    omega = _least(one, other, criterion)
    P = np.linalg.inv(omega * one + (1 - omega) * other)
    P = (P + P.T) / 2
    return Intersected(omega, P @ (omega * (one @ first) + (1 - omega) * (other @ second)), P)


def _least(one: Floats, other: Floats, criterion: Criterion) -> float:
    """The omega at which the criterion, which is convex in it, falls no more. Halving ends at neighbouring
    floats."""

    def slope(omega: float) -> float:
        P = np.linalg.inv(omega * one + (1 - omega) * other)
        change = P @ (one - other)
        return -float(np.trace(change @ P) if criterion == "trace" else np.trace(change))

    if np.allclose(one, other, rtol=1e-14, atol=0.0):
        return 0.5
    if slope(0.0) >= 0:
        return 0.0
    if slope(1.0) <= 0:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2


def _vector(x: npt.ArrayLike, name: str) -> Floats:
    vector = finite(x, name)
    if vector.ndim != 1:
        raise ConfigurationError(f"{name} was given in the shape {vector.shape}, but it is a vector. Give a list.")
    return vector


def _information(P: npt.ArrayLike, name: str, size: int) -> Floats:
    """The inverse of a covariance. Raises ConfigurationError for what is none."""
    matrix = finite(P, name, axes=2)
    scale = float(np.abs(matrix).max())
    if matrix.shape == (size, size) and np.allclose(matrix, matrix.T, rtol=1e-9, atol=1e-12 * scale):
        try:
            np.linalg.cholesky(matrix)
            return np.asarray(np.linalg.inv(matrix))
        except np.linalg.LinAlgError:
            pass
    raise ConfigurationError(
        f"{name} was given as the covariance of {size} numbers, but it is no symmetric, positive definite table "
        f"of {size} rows and columns. Change it."
    )


def dempster_rule(
    m1: Mapping[str, float], m2: Mapping[str, float], conflict_limit: float | None = None
) -> Belief | Refused:
    """Two bodies of evidence multiplied, without what contradicts itself, and scaled to 1.

    A set of hypotheses is written as their letters. Refused where nothing but contradiction is left, and where the
    conflict is above `conflict_limit`: near 1 the rule is sure of what nobody believes (Zadeh).
    T bound: 0. Source: Shafer (1976), chapter 3; Zadeh (1986) for the gate.
    """
    first, second = _masses(m1, "m1"), _masses(m2, "m2")
    if conflict_limit is not None:
        at_least(conflict_limit, "conflict_limit")
    agreed: dict[str, list[float]] = {}
    against: list[float] = []
    for one, mass in first.items():
        for other, weight in second.items():
            common = "".join(sorted(one & other))
            (agreed.setdefault(common, []) if common else against).append(mass * weight)
    conflict = fsum(against)
    total = fsum(each for products in agreed.values() for each in products)
    if total <= 0:
        return Refused("the two contradict each other in everything")
    if conflict_limit is not None and conflict > conflict_limit:
        return Refused(f"the conflict is {conflict:.6g}, above the limit of {conflict_limit:g}")
    return Belief({name: fsum(products) / total for name, products in sorted(agreed.items())}, conflict)


def _masses(given: Mapping[str, float], name: str) -> dict[frozenset[str], float]:
    """Masses above 0 by set. Raises ConfigurationError unless they are 0 or more and sum to 1."""
    masses: dict[frozenset[str], float] = {}
    for letters, mass in given.items():
        hypotheses = frozenset(letters)
        is_number = isinstance(mass, (int, float)) and not isinstance(mass, bool) and isfinite(mass)
        if not letters or len(hypotheses) != len(letters) or not is_number or mass < 0 or hypotheses in masses:
            raise ConfigurationError(
                f"{name} has {letters[:40]!r}: {str(mass)[:40]}, but masses are 0 or more, and each has its "
                "own set, written as different letters, one for each hypothesis. Change it."
            )
        masses[hypotheses] = float(mass)
    total = fsum(masses.values())
    if abs(total - 1) > MASS_TOLERANCE:
        raise ConfigurationError(f"the masses of {name} sum to {total:.9g}, but evidence sums to 1. Scale them.")
    return {hypotheses: mass for hypotheses, mass in masses.items() if mass > 0}
