"""How sure one may be that a channel is gone, from how long it has been silent.

Sources: Hayashibara, Defago, Yared and Katayama, "The phi accrual failure detector" (2004), section 4; Lakshman
and Malik, "Cassandra: a decentralized structured storage system" (2010), section 5.3, for exponential arrivals.
"""

from __future__ import annotations

from math import erfc, log, log1p, pi, sqrt

from quorum.voting.arrays import at_least

_FAR = 20.0


def phi_accrual_normal(elapsed_ms: float, mean_ms: float, std_ms: float) -> float:
    """-log10 of the chance of a longer silence than `elapsed_ms`, where gaps are normal, by the exact tail.

    Times are in milliseconds. 1 comes once in 10 silences without a failure, 2 once in 100.
    Source: Hayashibara et al. (2004), section 4.
    """
    elapsed, mean = at_least(elapsed_ms, "elapsed_ms"), at_least(mean_ms, "mean_ms")
    x = (elapsed - mean) / at_least(std_ms, "std_ms", above=True) / sqrt(2)
    if x < _FAR:
        return max(0.0, -log(erfc(x) / 2) / log(10))
    half = 1 / (2 * x * x)  # far out the chance is below every float: erfc by its asymptotic series
    series = log1p(-half + 3 * half**2 - 15 * half**3)
    return (x * x + log(2 * x * sqrt(pi)) - series) / log(10)


def phi_accrual_exponential(elapsed_ms: float, mean_ms: float) -> float:
    """-log10 of the chance of a longer silence than `elapsed_ms`, where gaps are exponential: elapsed/mean/ln 10.

    Times are in milliseconds. Source: Lakshman and Malik (2010), section 5.3.
    """
    return at_least(elapsed_ms, "elapsed_ms") / at_least(mean_ms, "mean_ms", above=True) / log(10)
