"""How large the quorums of one expression are, and how many losses leave one: what people are shown of it."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from itertools import combinations
from typing import NamedTuple

from quorum.systems.algebra import ALWAYS, NEVER, Expression, Threshold

STEPS_MAX = 500_000
"""Sums that are tried for one figure; where more would be, it is not told."""
NODES_TRIED_MAX = 10
"""Of an expression that is no weighted threshold, every set of so many nodes is looked at."""


class Extent(NamedTuple):
    """`total` votes, of which `quorum` decide (None where votes alone do not tell). `smallest` and `largest`: how
    many nodes the smallest and the largest minimal quorum have. `survives`: whichever so many nodes are lost, a
    quorum is left. None: too large to tell."""

    total: int | None
    quorum: int | None
    smallest: int | None
    largest: int | None
    survives: int | None


@functools.lru_cache(maxsize=64)
def extent_of(expression: Expression) -> Extent:
    """The figures of an expression: exact, or None."""
    if expression in (ALWAYS, NEVER):
        return Extent(None, None, 0, 0, None)
    votes = expression.as_threshold()
    if votes is None:
        return _by_trying(expression)
    weights = [weight for _, weight in votes.weights if weight]
    return Extent(
        votes.total,
        votes.k,
        _fewest(weights, votes.k),
        largest_minimal(votes),
        _fewest(weights, votes.total - votes.k + 1) - 1,
    )


def largest_minimal(votes: Threshold) -> int | None:
    """How many nodes the largest quorum has of which none can be spared; None where that takes too many sums.

    A minimal quorum has less than `k` votes without its lightest node. So for each weight that the lightest may
    have, the most nodes that sum to less than `k` without one of it, and to `k` with it, are looked for: a
    knapsack, over the sums below `k`.
    """
    weights = sorted((weight for _, weight in votes.weights if weight), reverse=True)
    if votes.uniform:
        return -(-votes.k // weights[0])
    lightest = sorted(set(weights))
    if len(lightest) * len(weights) * votes.k > STEPS_MAX:
        return None
    best = 0
    for least in lightest:
        others = [weight for weight in weights if weight >= least]
        others.remove(least)
        most: list[int] = [0] + [-1] * (votes.k - 1)  # most[s]: the most nodes that sum to s; -1: none do
        for weight in others:
            for held in range(votes.k - 1, weight - 1, -1):
                if most[held - weight] >= 0:
                    most[held] = max(most[held], most[held - weight] + 1)
        for held in range(max(0, votes.k - least), votes.k):
            if most[held] >= 0:
                best = max(best, most[held] + 1)
    return best


def _fewest(weights: Iterable[int], wanted: int) -> int:
    """How many of the heaviest reach `wanted`: fewer cannot."""
    held = 0
    for count, weight in enumerate(sorted(weights, reverse=True), 1):
        held += weight
        if held >= wanted:
            return count
    raise AssertionError("a threshold is within the total")


def _by_trying(expression: Expression) -> Extent:
    nodes = expression.nodes
    if len(nodes) > NODES_TRIED_MAX:
        return Extent(None, None, None, None, None)
    sizes = [
        size
        for size in range(1, len(nodes) + 1)
        if any(_is_minimal(expression, frozenset(some)) for some in combinations(nodes, size))
    ]
    everyone, survives = frozenset(nodes), 0
    while all(expression.contains(everyone - set(lost)) for lost in combinations(nodes, survives + 1)):
        survives += 1
    return Extent(None, None, sizes[0], sizes[-1], survives)


def _is_minimal(expression: Expression, some: frozenset[str]) -> bool:
    return expression.contains(some) and not any(expression.contains(some - {node}) for node in some)
