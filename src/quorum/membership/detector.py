"""How sure this node may be that another one is gone, from the times at which it was heard.

The detector says no yes or no: phi is 1 where a silence this long comes once in 10 without a failure, 2 where it
comes once in 100, and so on. Which phi means what is for a policy to say; a suspicion changes nothing by itself.

Sources: Hayashibara, Defago, Yared and Katayama, "The phi accrual failure detector" (2004), section 4, for phi
over a window of arrivals; Dadgar, Phillips and Currey, "Lifeguard: local health awareness for more accurate
failure detection" (2017), for a node that distrusts its own clock first.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping

from quorum.model import NodeId

WINDOW = 200
"""Gaps between arrivals that are remembered of each node."""
GAPS_MIN = 4
"""With fewer gaps the expected one stands for all."""
SPREAD_SHARE = 0.1
"""The spread of arrivals is taken to be this share of their mean at least: a quiet network is no promise."""
PHI_MAX = 300.0
"""Silences beyond this are told apart no more."""
HEALTH_MAX = 8
"""The most by which a node that is slow itself stretches what it allows others (Lifeguard, S)."""


class ArrivalGaps:
    """The gaps between arrivals from one node, and the last one. Sums are kept, so that each costs the same.

    I1  the sums are those of the gaps in the window: they are integers, so nothing is lost by adding and removing.
    """

    __slots__ = ("_gaps", "_squares", "_sum", "last_us")

    def __init__(self, now_us: int) -> None:
        self.last_us = now_us
        self._gaps: deque[int] = deque()
        self._sum = self._squares = 0

    def heard(self, now_us: int) -> None:
        """Something arrived. Times that go back count as now."""
        gap_us = max(0, now_us - self.last_us)
        self.last_us += gap_us
        self._gaps.append(gap_us)
        self._sum += gap_us
        self._squares += gap_us * gap_us
        if len(self._gaps) > WINDOW:
            oldest = self._gaps.popleft()
            self._sum -= oldest
            self._squares -= oldest * oldest

    def mean_and_spread(self, expected_us: int) -> tuple[float, float]:
        """Mean and standard deviation of a gap, in microseconds; never more eager than `expected_us` allows."""
        count = len(self._gaps)
        if count < GAPS_MIN:
            return float(expected_us), expected_us / 4
        mean = self._sum / count
        spread = math.sqrt(max(0, count * self._squares - self._sum * self._sum)) / count
        mean = max(mean, float(expected_us))
        return mean, max(spread, SPREAD_SHARE * mean)


class LocalHealth:
    """How slow this node is itself: 0 is well. What it allows others grows with it, so that a node that was paused
    accuses nobody (Lifeguard, local health multiplier)."""

    __slots__ = ("_late_us", "score")

    def __init__(self, late_us: int) -> None:
        self._late_us = late_us
        self.score = 0

    def ran(self, late_us: int) -> None:
        """A timer of this node fired `late_us` after it was due. Much lateness counts several times at once, and
        each turn in time takes one back."""
        if late_us >= self._late_us:
            self.score = min(HEALTH_MAX, self.score + min(HEALTH_MAX, late_us // self._late_us))
        elif self.score > 0:
            self.score -= 1

    @property
    def stretch(self) -> int:
        """By how much silences of others are divided."""
        return 1 + self.score


class Detector:
    """Phi of every node that should be heard about every `expected_us`."""

    def __init__(self, expected_us: int, late_us: int | None = None) -> None:
        if expected_us <= 0:
            raise ValueError(
                f"nodes were to be heard every {expected_us} us, but that is no time. Give more than 0."
            )
        self._expected_us = expected_us
        self._arrivals: dict[NodeId, ArrivalGaps] = {}
        self.health = LocalHealth(expected_us if late_us is None else late_us)

    def watch(self, nodes: Iterable[NodeId], now_us: int) -> None:
        """These are watched from now on, and no others. Who is new begins as if it had just been heard."""
        known = self._arrivals
        self._arrivals = {node: known.get(node) or ArrivalGaps(now_us) for node in sorted(set(nodes))}

    def heard(self, node: NodeId, now_us: int) -> None:
        """A message of `node` arrived."""
        arrivals = self._arrivals.get(node)
        if arrivals is not None:
            arrivals.heard(now_us)

    def ran(self, due_us: int, now_us: int) -> None:
        """This node's own turn, due at `due_us`, comes now: how late it is says how well the node is. Silences
        that it slept through are not held against anybody."""
        late_us = max(0, now_us - due_us)
        self.health.ran(late_us)
        if late_us >= self._expected_us:
            for arrivals in self._arrivals.values():
                arrivals.last_us = min(now_us, arrivals.last_us + late_us)

    def phi(self, node: NodeId, now_us: int) -> float:
        """How sure it is that `node` is gone: 0 to PHI_MAX. 0 for a node that is not watched."""
        arrivals = self._arrivals.get(node)
        if arrivals is None:
            return 0.0
        mean, spread = arrivals.mean_and_spread(self._expected_us)
        silent_us = (now_us - arrivals.last_us) / self.health.stretch
        return phi_of(silent_us, mean, spread)

    def all(self, now_us: int) -> Mapping[NodeId, float]:
        """Phi of every node that is watched, by name."""
        return {node: self.phi(node, now_us) for node in self._arrivals}


def phi_of(silent_us: float, mean_us: float, spread_us: float) -> float:
    """-log10 of the chance that a gap is longer than `silent_us`, for gaps with a normal distribution.

    Far out the chance is below every float; there its logarithm comes from the tail's asymptotic form, erfc(x)
    about exp(-x^2) / (x sqrt(pi)).
    """
    x = (silent_us - mean_us) / (spread_us * math.sqrt(2))
    if x < 20:
        return min(PHI_MAX, max(0.0, -math.log10(math.erfc(x) / 2)))
    return min(PHI_MAX, (x * x + math.log(2 * x * math.sqrt(math.pi))) / math.log(10))
