"""How likely a vote is right, and a protection there when it is needed.

Sources: IEC 61508-6 (2010), annex B, with its simplified equations as in Goble, "Control systems safety evaluation
and reliability" (1998); Fleming, "A reliability model for common mode failures in redundant safety systems"
(1975), for beta; Nitzan and Paroush, "Optimal decision rules in uncertain dichotomous choice situations" (1982);
Shapley and Grofman, "Optimizing group judgmental accuracy in the presence of interdependencies" (1984).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, fsum
from typing import NamedTuple

import numpy as np

from quorum.errors import ConfigurationError
from quorum.voting.arrays import Floats, at_least, finite, whole
from quorum.voting.refused import Refused

CHANNELS_MAX = 1_000
"""Of more channels some binomial coefficients are beyond every float."""
VOTERS_MAX = 36
"""Half of them have 2^18 outcomes, which are tried all."""


class Competence(NamedTuple):
    """The chance that a majority is right; the best weights; the chance that the vote by these is right."""

    simple_majority: float
    log_odds_weights: Floats
    log_odds_accuracy: float


def k_of_n_reliability(n: int, k: int, r: float, beta: float = 0.0) -> float:
    """The chance that `k` of `n` channels work at least, where each works with chance `r`.

    `beta` is the share of a channel's failures that strikes all at once; each alone still works with chance r.
    Source: IEC 61508-6, annex B; Fleming (1975). Raises ConfigurationError unless 1 <= k <= n and 0 <= r, beta <=
    1.
    """
    whole(n, "n", 1)
    if n > CHANNELS_MAX:
        raise ConfigurationError(f"{n} channels were given, but {CHANNELS_MAX} can be counted out. Give fewer.")
    if whole(k, "k", 1) > n:
        raise ConfigurationError(f"{k} of {n} channels were asked for, but there are fewer. Give a k of 1 to n.")
    works, share = _chance(r, "r"), _chance(beta, "beta")
    none_common = 1 - share * (1 - works)
    alone = works / none_common if none_common > 0 else 0.0
    return none_common * fsum(comb(n, i) * alone**i * (1 - alone) ** (n - i) for i in range(k, n + 1))


def pfdavg_simplified(
    lambda_du_per_h: float, proof_test_h: float, beta: float = 0.0
) -> dict[str, float] | Refused:
    """The average chance that a protection fails on demand, by its vote; repairs take no time.

    `lambda_du_per_h`: dangerous undetected failures of a channel per hour; `proof_test_h`: hours between tests
    that find them; `beta`: the share that strikes all channels. With x = lambda T and y = (1-beta) x: 1oo1 x/2,
    1oo2 y^2/3 + beta x/2, 2oo2 x, 2oo3 y^2 + beta x/2, 1oo3 y^3/4 + beta x/2.
    Bound: the equations take x to be small; above 1 they are no chances any more, and refused.
    Source: IEC 61508-6 (2010), annex B.
    """
    x = at_least(lambda_du_per_h, "lambda_du_per_h") * at_least(proof_test_h, "proof_test_h")
    share = _chance(beta, "beta")
    if x > 1:
        return Refused(f"a channel fails {x:.3g} times between two tests: the equations hold far below 1")
    y, common = (1 - share) * x, share * x / 2
    return {"1oo1": x / 2, "1oo2": y**2 / 3 + common, "2oo2": x, "2oo3": y**2 + common, "1oo3": y**3 / 4 + common}


def optimal_weighted_majority(competence: Sequence[float]) -> Competence:
    """How good a vote between two answers is, given the chance of each voter to be right, all independent.

    The best weights are ln(p / (1-p)). Chances are exact: all outcomes are added up. A tie is half right.
    T bound: none: it trusts the competences. Source: Nitzan and Paroush (1982); Shapley and Grofman (1984).
    Raises ConfigurationError unless each lies between 0 and 1 and there are 36 voters at most.
    """
    chances = finite(competence, "competence")
    if chances.ndim != 1 or (chances <= 0).any() or (chances >= 1).any() or len(chances) > VOTERS_MAX:
        raise ConfigurationError(
            f"{chances.size} competences were given, but a voter is right with a chance above 0 and below 1, and "
            f"all outcomes of {VOTERS_MAX} voters at most can be tried. Change them."
        )
    weights = np.log(chances) - np.log1p(-chances)
    return Competence(_accuracy(chances, np.ones(len(chances))), weights, _accuracy(chances, weights))


def _accuracy(chances: Floats, weights: Floats) -> float:
    """The chance that the weights of those who are right exceed the others', by halves: each sum of one half meets
    all sums of the other that outweigh it."""
    half = len(chances) // 2
    sums, odds = _outcomes(chances[:half], weights[:half])
    others, chance_of = _outcomes(chances[half:], weights[half:])
    order = np.argsort(others, kind="stable")
    others, upto = others[order], np.concatenate([[0.0], np.cumsum(chance_of[order])])
    near = 1e-12 * float(np.abs(weights).sum())  # sums nearer than this are a tie
    above = upto[-1] - upto[np.searchsorted(others, -sums + near, side="right")]
    from_tie = upto[-1] - upto[np.searchsorted(others, -sums - near, side="left")]
    return min(1.0, float((odds * (above + from_tie) / 2).sum()))


def _outcomes(chances: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Every outcome's sum of weights, those who are wrong below 0, and its chance."""
    sums, odds = np.zeros(1), np.ones(1)
    for chance, weight in zip(chances.tolist(), weights.tolist(), strict=True):
        sums = np.concatenate([sums + weight, sums - weight])
        odds = np.concatenate([odds * chance, odds * (1 - chance)])
    return sums, odds


def _chance(number: float, name: str) -> float:
    if at_least(number, name) > 1:
        raise ConfigurationError(f"{name}={number:g} was given, but it is a chance or a share. Give 0 to 1.")
    return float(number)
