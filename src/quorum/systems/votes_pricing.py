"""The cheapest set of nodes that has the votes, by dynamic programming over votes, exact for any weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from quorum.model import NodeId
from quorum.systems.algebra import Threshold

CELLS_MAX = 50_000_000
"""Nodes times votes times failures, one byte for each."""


def fits(votes: Threshold, failures: int) -> bool:
    """Whether there is room for it."""
    return len(votes.weights) * (votes.k + 1) * (failures + 1) <= CELLS_MAX


def cheapest_votes(
    votes: Threshold, failures: int, prices: Mapping[NodeId, float]
) -> tuple[float, frozenset[NodeId]] | None:
    """The set of the lowest price that has `k` votes without its `failures` heaviest nodes, and that price; None
    for none of a finite price.

    Heaviest first, the first `failures` nodes that are taken count for nothing. `least[free, lacking]` is the
    least price at which the nodes looked at so far, lightest first, give what is lacking, `free` of them not
    counting.
    """
    heaviest = sorted((vote for vote in votes.weights if vote[1]), key=lambda vote: (-vote[1], vote[0]))
    least = np.full((failures + 1, votes.k + 1), np.inf)
    least[:, 0] = 0.0
    taken: list[NDArray[np.bool_]] = []
    for node, weight in reversed(heaviest):
        counted = np.empty_like(least)
        counted[1:] = least[:-1]
        step = min(weight, votes.k + 1)
        counted[0, :step] = least[0, 0]
        counted[0, step:] = least[0, : votes.k + 1 - step]
        counted += prices[node]
        is_taken = counted < least
        taken.append(is_taken)
        least = np.where(is_taken, counted, least)
    if np.isinf(least[failures, votes.k]):
        return None
    chosen, free, lacking = [], failures, votes.k
    for (node, weight), is_taken in zip(heaviest, reversed(taken), strict=True):
        if is_taken[free, lacking]:
            chosen.append(node)
            free, lacking = (free - 1, lacking) if free else (0, max(0, lacking - weight))
    return sum(prices[node] for node in chosen), frozenset(chosen)
