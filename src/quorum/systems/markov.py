"""Continuous-time Markov chains with few states: how much of the time each state lasts, in the long run.

Source: Grassmann, Taksar and Heyman, "Regenerative analysis and steady state distributions for Markov chains"
(1985): elimination without a subtraction, so that a probability of 1e-30 has as many right digits as one of 1/2.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

State = TypeVar("State", bound=Hashable)


def stationary(start: State, moves: Callable[[State], Iterable[tuple[State, float]]]) -> dict[State, float]:
    """The long-run share of time in every state that can be reached from `start`, each with the share of time.

    `moves(state)` gives the states that may follow and the rate of each, which is positive; the same state may be
    named twice. The chain must come back to `start` from everywhere.
    """
    import numpy as np  # not loaded for those who never ask

    places, rates = _reached(start, moves)
    flow = np.zeros((len(places), len(places)))
    for place, following in enumerate(rates):
        for state, rate in following:
            if places[state] != place:
                flow[place, places[state]] += rate
    for last in range(len(places) - 1, 0, -1):
        flow[:last, last] /= flow[last, :last].sum()
        flow[:last, :last] += np.outer(flow[:last, last], flow[last, :last])
    share = np.zeros(len(places))
    share[0] = 1.0
    for place in range(1, len(places)):
        share[place] = share[:place] @ flow[:place, place]
    share /= share.sum()
    return dict(zip(places, share.tolist(), strict=True))


def _reached(
    start: State, moves: Callable[[State], Iterable[tuple[State, float]]]
) -> tuple[dict[State, int], list[list[tuple[State, float]]]]:
    """Every state that can be reached, numbered as found, and what may follow each."""
    places: dict[State, int] = {start: 0}
    found: list[State] = [start]
    rates: list[list[tuple[State, float]]] = []
    for state in found:  # grows while it is read
        following = list(moves(state))
        rates.append(following)
        for after, _ in following:
            if after not in places:
                places[after] = len(places)
                found.append(after)
    return places, rates
