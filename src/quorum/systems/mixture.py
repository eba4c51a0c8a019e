"""Strategies of one side: which set of nodes to ask, and how often, without a list of all quorums."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from random import Random
from typing import NamedTuple, Protocol

from quorum.model import NodeId
from quorum.systems.flow import Walk

REJECTED_MAX = 100
"""A number that falls on a seam of the masses gives no quorum; the chance is below 1e-9 for each draw."""


class Weighted(NamedTuple):
    """A set of nodes to ask, and how often."""

    quorum: frozenset[NodeId]
    probability: float


class Mixture(Protocol):
    """A way to choose sets of nodes at random."""

    def draw(self, random: Random) -> frozenset[NodeId]:
        """A set of nodes to ask; over many draws each is chosen as often as the strategy says."""

    def listed(self, quorums_max: int) -> list[Weighted] | None:
        """All sets with their probabilities, likeliest first; None for more than `quorums_max`, or for so many
        pieces, of which two are seldom equal."""


class Listed:
    """A strategy over few sets, written out."""

    def __init__(self, sets: Sequence[Weighted]) -> None:
        total = sum(each.probability for each in sets)
        self._sets = [Weighted(each.quorum, each.probability / total) for each in sets]
        self._ends = list(accumulate(each.probability for each in self._sets))

    def draw(self, random: Random) -> frozenset[NodeId]:
        number = random.random() * self._ends[-1]
        place = next((at for at, end in enumerate(self._ends) if number < end), len(self._ends) - 1)
        return self._sets[place].quorum

    def listed(self, quorums_max: int) -> list[Weighted] | None:
        return merged(self._sets, quorums_max)


class Walked:
    """A strategy in the masses of trees, each of which is taken as often as its root has mass. `holds` says
    whether a set is one that may be asked."""

    def __init__(self, walks: Sequence[Walk], holds: Holds) -> None:
        self._walks = [walk for walk in walks if walk.mass > 0]
        self._ends = list(accumulate(walk.mass for walk in self._walks))
        self._holds = holds

    def draw(self, random: Random) -> frozenset[NodeId]:
        for _ in range(REJECTED_MAX):
            number = random.random() * self._ends[-1]
            place = next((at for at, end in enumerate(self._ends) if number < end), len(self._ends) - 1)
            walk = self._walks[place]
            found = walk.at(random.random() * walk.mass)
            if self._holds(found):
                return found
        raise AssertionError("what is drawn from the masses holds a quorum")

    def listed(self, quorums_max: int) -> list[Weighted] | None:
        found: list[Weighted] = []
        for walk in self._walks:
            cuts = walk.cuts(quorums_max)
            if cuts is None or len(found) + len(cuts) - 1 > quorums_max:
                return None
            pieces = [Weighted(walk.at((start + end) / 2), end - start) for start, end in pairwise(cuts)]
            found += [piece for piece in pieces if self._holds(piece.quorum)]
        total = sum(each.probability for each in found)
        assert abs(total - self._ends[-1]) < 1e-6, "what is cut from the masses holds a quorum, but for rounding"
        return merged([Weighted(each.quorum, each.probability / total) for each in found], quorums_max)


class Holds(Protocol):
    """Whether a set of nodes may be asked."""

    def __call__(self, nodes: frozenset[NodeId], /) -> bool: ...


def merged(sets: Sequence[Weighted], quorums_max: int) -> list[Weighted] | None:
    """Each set once, likeliest first; None for more than `quorums_max`."""
    found: dict[frozenset[NodeId], float] = {}
    for quorum, probability in sets:
        found[quorum] = found.get(quorum, 0.0) + probability
    if len(found) > quorums_max:
        return None
    return [
        Weighted(quorum, probability)
        for quorum, probability in sorted(found.items(), key=lambda each: (-each[1], sorted(each[0])))
    ]
