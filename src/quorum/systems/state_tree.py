"""How likely the parts of a tree are up, from the leaves to the root, for one expression or several at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from quorum.model import NodeId
from quorum.systems.algebra import Expression, Gate, Node, Threshold
from quorum.systems.diagram import Chance, log_sum

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Counts = NDArray[np.float64]

ZONE_STATES_MAX = 4_096
"""Zones that cut across the parts of a gate are gone through, up and down, as long as there are so few ways."""
WORK_MAX = 300_000_000
"""Sums for one gate; where more would be, its parts are not counted."""
CERTAIN, NEVER_UP = Chance(0.0, -math.inf), Chance(-math.inf, 0.0)

States = dict[tuple[bool, ...], float]
"""Of several expressions at once: which of them hold, and the logarithm of how likely that is."""


def all_of(states: States) -> Chance:
    """How likely every expression holds, and that some does not."""
    holds, fails = -math.inf, -math.inf
    for state, chance in states.items():
        if all(state):
            holds = log_sum(holds, chance)
        else:
            fails = log_sum(fails, chance)
    return Chance(holds, fails)


class StateTree:
    """Works out states from the leaves up. Zones of which nodes stand in several parts of a gate are gone through
    there; each group of parts that share such zones is independent of the others."""

    def __init__(
        self, nodes: Mapping[NodeId, Chance], zone_of: Mapping[NodeId, str], zones: Mapping[str, Chance]
    ) -> None:
        self._nodes, self._zone_of, self._zones = nodes, zone_of, zones

    def states(self, expressions: tuple[Expression, ...], zones_up: Mapping[str, bool]) -> States | None:
        """None where the parts of the expressions do not match, or zones leave too many ways. `zones_up` are the
        zones that are settled already."""
        if all(isinstance(each, Node) for each in expressions) and len(set(expressions)) == 1:
            return self.of_node(expressions[0].nodes[0], len(expressions), zones_up)
        parts = _matched(expressions)
        if parts is None:
            return None
        wanted = [_wanted(each) for each in expressions]
        sizes = [_total(each) for each in expressions]
        tally = _Tally(wanted, sizes)
        if tally.cells * len(parts) > WORK_MAX:
            return None
        counts = tally.none()
        for group, zones in self._groups(parts, zones_up):
            if 2 ** len(zones) > ZONE_STATES_MAX:
                return None
            mixed = None
            for ups in product((True, False), repeat=len(zones)):
                settled = {**zones_up, **dict(zip(zones, ups, strict=True))}
                chance = sum(
                    self._zones[zone].holds if up else self._zones[zone].fails
                    for zone, up in zip(zones, ups, strict=True)
                )
                if chance == -math.inf:
                    continue
                each = self._counted(tally, counts if not zones else tally.none(), group, settled)
                if each is None:
                    return None
                mixed = tally.added(mixed, each + chance)
            assert mixed is not None, "a zone is up or down"
            counts = mixed if not zones else tally.joined(counts, mixed)
        return tally.states(counts)

    def _counted(
        self, tally: _Tally, counts: Counts, group: Sequence[_Part], settled: Mapping[str, bool]
    ) -> Counts | None:
        for part in group:
            below = self.states(part.expressions, settled)
            if below is None:
                return None
            counts = tally.counted(counts, below, part.weights)
        return counts

    def of_node(self, node: NodeId, sides: int, zones_up: Mapping[str, bool]) -> States:
        """The states of one node, in so many expressions."""
        chance = self._nodes[node]
        zone = self._zone_of.get(node)
        if zone is not None:
            zone_chance = self._zones[zone]
            if zone in zones_up:
                chance = chance if zones_up[zone] else NEVER_UP
            else:
                fails = log_sum(zone_chance.fails, zone_chance.holds + chance.fails)
                chance = Chance(chance.holds + zone_chance.holds, fails)
        found = {(True,) * sides: chance.holds, (False,) * sides: chance.fails}
        return {state: each for state, each in found.items() if each > -math.inf}

    def _groups(
        self, parts: Sequence[_Part], zones_up: Mapping[str, bool]
    ) -> list[tuple[list[_Part], tuple[str, ...]]]:
        """Parts that share a zone together, with the zones that they share; all others alone."""
        homes: dict[str, list[int]] = {}
        for place, part in enumerate(parts):
            zones = {self._zone_of[node] for node in part.expressions[0].nodes if node in self._zone_of}
            for zone in zones - set(zones_up):
                homes.setdefault(zone, []).append(place)
        shared = {zone: places for zone, places in homes.items() if len(places) > 1}
        leader = list(range(len(parts)))

        def find(place: int) -> int:
            while leader[place] != place:
                leader[place] = leader[leader[place]]
                place = leader[place]
            return place

        for places in shared.values():
            for place in places[1:]:
                leader[find(place)] = find(places[0])
        groups: dict[int, list[_Part]] = {}
        for place, part in enumerate(parts):
            groups.setdefault(find(place), []).append(part)
        zones_of: dict[int, list[str]] = {}
        for zone in sorted(shared):
            zones_of.setdefault(find(shared[zone][0]), []).append(zone)
        return [(group, tuple(zones_of.get(place, ()))) for place, group in groups.items()]


class _Part(NamedTuple):
    """What stands at the same place of each expression, and how much it counts there."""

    expressions: tuple[Expression, ...]
    weights: tuple[int, ...]


def _parts(expression: Expression) -> list[tuple[Expression, int]]:
    match expression:
        case Gate():
            return [(child, 1) for child in expression.children]
        case Threshold():
            return [(Node(node), weight) for node, weight in expression.weights if weight]
    return [(expression, 1)]


def _wanted(expression: Expression) -> int:
    return expression.k if isinstance(expression, (Gate, Threshold)) else 1


def _total(expression: Expression) -> int:
    return sum(weight for _, weight in _parts(expression))


def _matched(expressions: tuple[Expression, ...]) -> list[_Part] | None:
    """The parts of all expressions, matched by their nodes; None where they do not match."""
    if len(expressions) == 1:
        return [_Part((part,), (weight,)) for part, weight in _parts(expressions[0])]
    sides = [{part.nodes: (part, weight) for part, weight in _parts(each)} for each in expressions]
    if any(side.keys() != sides[0].keys() for side in sides):
        return None
    at = [[side[nodes] for side in sides] for nodes in sides[0]]
    return [_Part(tuple(part for part, _ in each), tuple(weight for _, weight in each)) for each in at]


class _Tally:
    """How likely so many parts are up, for each expression, as logarithms. Counts stop where they decide: at `k`
    that are up, or, where that is less, at as many that are down as leave no quorum."""

    def __init__(self, wanted: Sequence[int], totals: Sequence[int]) -> None:
        import numpy as np

        self._np = np
        self._counts_up = [k <= total - k + 1 for k, total in zip(wanted, totals, strict=True)]
        self._ends = [min(k, total - k + 1) for k, total in zip(wanted, totals, strict=True)]
        self.cells = math.prod(end + 1 for end in self._ends)

    def none(self) -> Counts:
        """Nothing was counted yet."""
        counts = self._np.full([end + 1 for end in self._ends], -math.inf)
        counts[(0,) * len(self._ends)] = 0.0
        return counts

    def added(self, one: Counts | None, other: Counts) -> Counts:
        """Either of two cases."""
        return other if one is None else self._np.logaddexp(one, other)

    def counted(self, counts: Counts, below: States, weights: Sequence[int]) -> Counts:
        """One part more."""
        found = None
        for state, chance in below.items():
            steps = [
                weight if up == counts_up else 0
                for up, counts_up, weight in zip(state, self._counts_up, weights, strict=True)
            ]
            found = self.added(found, self._shifted(counts, steps) + chance)
        assert found is not None, "a part is up or down"
        return found

    def _shifted(self, counts: Counts, steps: Sequence[int]) -> Counts:
        for axis, step in enumerate(steps):
            if not step:
                continue
            np, end = self._np, self._ends[axis]
            moved = np.full(counts.shape, -math.inf)
            source, target = [slice(None)] * counts.ndim, [slice(None)] * counts.ndim
            if step < end:
                source[axis], target[axis] = slice(0, end - step), slice(step, end)
                moved[tuple(target)] = counts[tuple(source)]
            over = [slice(None)] * counts.ndim
            over[axis] = slice(max(0, end - step), end + 1)
            last = tuple(end if each == axis else slice(None) for each in range(counts.ndim))
            moved[last] = np.logaddexp.reduce(counts[tuple(over)], axis=axis)
            counts = moved
        return counts

    def joined(self, one: Counts, other: Counts) -> Counts:
        """Two groups that are independent of each other."""
        found = None
        for place in self._np.argwhere(other > -math.inf):
            moved = self._shifted(one, [int(step) for step in place]) + other[tuple(place)]
            found = self.added(found, moved)
        assert found is not None, "something was counted"
        return found

    def states(self, counts: Counts) -> States:
        """Which expressions hold, and how likely that is."""
        found: States = {}
        for ends in product((False, True), repeat=len(self._ends)):
            place = tuple(end if is_end else slice(0, end) for end, is_end in zip(self._ends, ends, strict=True))
            chance = float(self._np.logaddexp.reduce(counts[place], axis=None))
            if chance > -math.inf:
                found[tuple(is_end == up for is_end, up in zip(ends, self._counts_up, strict=True))] = chance
        return found
