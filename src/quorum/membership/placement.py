"""Who should lead and who should be heavy: the placement with the shortest predicted decision.

Every node that has the same reports finds the same placement: times are whole, ties are broken by what is there
already and then by name, and the search draws from a generator that it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from math import comb
from random import Random
from typing import NamedTuple

from quorum.membership.latency import FAR_US, Latencies
from quorum.membership.prediction import predict_us
from quorum.model import FaultModel, NodeId
from quorum.systems.algebra import Threshold
from quorum.systems.weights import Scheme, assign, decide_by, scheme_for

PREDICTIONS_MAX = 20_000
"""So many placements are tried one by one; beyond, some are drawn."""
DRAWS = 3_000
LINKS_MAX = 3_000_000
"""Fewer are drawn where each looks at many links, so that N = 100 takes seconds, too."""


class Placement(NamedTuple):
    """`leader` proposes, members weigh `weights` (1 where none is given), and a decision should take
    `latency_us`."""

    leader: NodeId
    weights: dict[NodeId, int]
    latency_us: int


def placement_of(
    latencies: Latencies, leader: NodeId, weights: Mapping[NodeId, int], faults: int, model: FaultModel
) -> Placement:
    """What is predicted of a placement. Raises ConfigurationError for weights beyond the bound."""
    whole = {node: weights.get(node, 1) for node in latencies.nodes}
    votes = decide_by(whole, faults, model).as_threshold()
    assert votes is not None, "weights decide by a threshold"
    return Placement(leader, whole, predict_us(latencies, leader, votes, model))


def best_placement(
    latencies: Latencies,
    leaders: Iterable[NodeId],
    faults: int,
    model: FaultModel,
    present: Placement,
    random: Random | None = None,
) -> Placement:
    """The best placement under one of these leaders, by the WHEAT weights for N and T.

    Exact where nodes crash, and elsewhere up to PREDICTIONS_MAX placements (N = 12 and about); beyond by threshold
    accepting (Dueck and Scheuer 1990) from a good start, with `random`.
    """
    who = sorted(set(leaders))
    scheme = scheme_for(len(latencies.nodes), faults, model)
    if scheme is None:
        equal = dict.fromkeys(latencies.nodes, 1)
        found = [placement_of(latencies, leader, equal, faults, model) for leader in who]
        return min(found, key=lambda each: _order(each, present))
    search = _Search(latencies, scheme, faults, model, present)
    if model == "crash":
        return search.best((leader, search.near(leader)) for leader in who)
    if len(who) * comb(len(latencies.nodes), scheme.n_vmax) <= PREDICTIONS_MAX:
        return search.best((leader, heavy) for leader in who for heavy in search.every())
    return search.drawn(who, random or Random(0))


def _order(
    placement: Placement, present: Placement
) -> tuple[int, bool, int, NodeId, tuple[tuple[NodeId, int], ...]]:
    """The shorter decision, then the leader who leads, then who weighs what it weighed, then the name."""
    moved = sum(weight != present.weights.get(node) for node, weight in placement.weights.items())
    is_moved = placement.leader != present.leader
    return placement.latency_us, is_moved, moved, placement.leader, tuple(sorted(placement.weights.items()))


Heavy = tuple[NodeId, ...]


class _Search:
    def __init__(
        self, latencies: Latencies, scheme: Scheme, faults: int, model: FaultModel, present: Placement
    ) -> None:
        self._latencies, self._scheme = latencies, scheme
        self._faults, self._model = faults, model
        self._present = present
        self._votes: dict[Heavy, Threshold] = {}

    def every(self) -> Iterator[Heavy]:
        """Everybody who may be heavy."""
        return combinations(self._latencies.nodes, self._scheme.n_vmax)

    def near(self, leader: NodeId) -> Heavy:
        """The leader and those nearest to it. Where one round decides nobody else does better: whoever is heavy
        should have answered by then."""
        held = self._present.weights
        by_distance = sorted(
            self._latencies.nodes,
            key=lambda node: (self._latencies.rtt_us(leader, node), node != leader, -held.get(node, 1), node),
        )
        return tuple(sorted(by_distance[: self._scheme.n_vmax]))

    def at(self, leader: NodeId, heavy: Heavy) -> Placement:
        votes = self._votes.get(heavy)
        if votes is None:
            weights = assign(self._scheme, self._latencies.nodes, heavy)
            found = decide_by(weights, self._faults, self._model).as_threshold()
            assert found is not None, "weights decide by a threshold"
            votes = self._votes[heavy] = found
        latency_us = predict_us(self._latencies, leader, votes, self._model)
        return Placement(leader, dict(votes.weights), latency_us)

    def best(self, some: Iterable[tuple[NodeId, Heavy]]) -> Placement:
        return min(
            (self.at(leader, heavy) for leader, heavy in some), key=lambda each: _order(each, self._present)
        )

    def _remoteness(self, leader: NodeId) -> tuple[int, NodeId]:
        distance = self._latencies.distance(leader)
        return FAR_US if distance is None else distance, leader

    def drawn(self, leaders: list[NodeId], random: Random) -> Placement:
        """Move one node's weight or the lead at a time; take what is not worse by more than a limit that falls."""
        nodes = self._latencies.nodes
        draws = min(DRAWS, LINKS_MAX // len(nodes) ** 2)
        nearest = sorted(leaders, key=self._remoteness)[: max(1, draws)]
        here = best = self.best((leader, self.near(leader)) for leader in nearest)
        for step in range(draws):
            limit_us = min(FAR_US, best.latency_us) * (draws - step) // (5 * draws)
            leader = leaders[random.randrange(len(leaders))] if random.randrange(4) == 0 else here.leader
            heavy = [node for node in nodes if here.weights[node] == self._scheme.vmax]
            light = [node for node in nodes if here.weights[node] != self._scheme.vmax]
            one, other = heavy[random.randrange(len(heavy))], light[random.randrange(len(light))]
            there = self.at(leader, tuple(sorted({*heavy, other} - {one})))
            if there.latency_us <= here.latency_us + limit_us:
                here = there
            if _order(here, self._present) < _order(best, self._present):
                best = here
            self._votes.clear()
        return best
