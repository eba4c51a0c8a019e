"""Which channels to leave out, or which one to follow: gates and selectors, which do not vote on values.

Sources: Iglewicz and Hoaglin, "How to detect and handle outliers" (1993); the PX4 autopilot's DataValidatorGroup.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quorum.errors import ConfigurationError
from quorum.voting.arrays import Flags, Floats, at_least, finite
from quorum.voting.refused import Refused

SCORE_AT_MAD = 0.6745
"""The third quartile of the normal distribution: scales a median deviation to a standard one."""
MIN_REGULAR_CONFIDENCE = 0.9
NEAR = 0.01
"""Confidences nearer than this are equal, and priority decides."""


class Outliers(NamedTuple):
    """Which channels are outliers; the median, and the median absolute deviation from it, not scaled."""

    outliers: Flags
    median: Floats
    mad: Floats


def modified_z_score(values: npt.ArrayLike, cut: float = 3.5) -> Outliers:
    """The channels whose modified z-score, 0.6745 |x - median| / MAD, is above `cut`.

    Where more than half of the values are equal the MAD is 0, and every other value is an outlier.
    T bound: floor((N-1)/2): median and MAD stay within what right values allow.
    Source: Iglewicz and Hoaglin (1993), who advise a cut of 3.5.
    """
    array = finite(values, "values")
    at_least(cut, "cut")
    median = np.median(array, axis=-1, keepdims=True)
    deviations = np.abs(array - median)
    mad = np.median(deviations, axis=-1, keepdims=True)
    return Outliers(deviations * SCORE_AT_MAD > cut * mad, median[..., 0], mad[..., 0])


def px4_data_validator_group(
    current: int | None,
    confidence: Sequence[float],
    priority: Sequence[float],
    min_regular_confidence: float = MIN_REGULAR_CONFIDENCE,
) -> int | Refused:
    """The channel that PX4 would follow: it begins with the current one, and goes through all in the order of
    index.

    A channel replaces the best so far if its confidence (0 to 1) is above 0, and: it is regular and the best so
    far is not; or it is higher, at the same priority or a higher one; or within 0.01, at a higher priority. A
    current channel stays where none does, also at confidence 0.
    T bound: none. It compares no values: a liar that is confident is followed. For comparison only.
    Source: PX4, data_validator_group.cpp, get_best.
    """
    trust, rank = finite(confidence, "confidence"), finite(priority, "priority")
    at_least(min_regular_confidence, "min_regular_confidence")
    if trust.ndim != 1 or rank.shape != trust.shape or (trust < 0).any() or (trust > 1).any():
        raise ConfigurationError(
            "confidences and priorities were given, but they must be one for each channel, and confidences 0 to 1."
            " Change them."
        )
    best, best_trust, best_rank = -1, -1.0, float("-inf")
    if current is not None and current != -1:
        if isinstance(current, bool) or not isinstance(current, int) or not 0 <= current < len(trust):
            raise ConfigurationError(
                f"current={str(current)[:40]} was given for {len(trust)} channels, but they are counted from 0. "
                f"Give 0 to {len(trust) - 1}, or -1 for none."
            )
        best, best_trust, best_rank = current, float(trust[current]), float(rank[current])
    for channel, (here, at) in enumerate(zip(trust.tolist(), rank.tolist(), strict=True)):
        becomes_regular = best_trust < min_regular_confidence <= here
        is_surer = here > best_trust and at >= best_rank
        is_preferred = abs(here - best_trust) < NEAR and at > best_rank
        if here > 0 and (becomes_regular or is_surer or is_preferred):
            best, best_trust, best_rank = channel, here, at
    return best if best >= 0 else Refused("no channel has a confidence above 0, and none was followed before")
