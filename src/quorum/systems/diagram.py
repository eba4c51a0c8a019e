"""Binary decision diagrams of quorum expressions: which nodes are up decides, one after the other.

Source: Bryant, "Graph-Based Algorithms for Boolean Function Manipulation" (1986). Home-made, since three of the
walks are in no library: exact chances in logarithms, the cheapest quorum, and sets that survive failures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from quorum.model import NodeId
from quorum.systems.algebra import Expression, Gate, Node, Threshold

FALSE, TRUE = 0, 1
PLACES_MAX = 200_000
"""Places of one diagram; what needs more is too tangled for it."""
VARIABLES_MAX = 300
"""Walks that build a diagram are recursive, one level for each variable."""


class TooTangled(Exception):
    """The diagram would be too large."""


class Chance(NamedTuple):
    """Natural logarithms of how likely something holds, and does not. Both are kept: one of them may be so near to
    certain that the other is lost in rounding."""

    holds: float
    fails: float


class Diagram:
    """Places share what they have in common; children have smaller numbers than their parents."""

    def __init__(self, order: Sequence[str]) -> None:
        if len(order) > VARIABLES_MAX:
            raise TooTangled
        self.order = tuple(order)
        self._level = {name: place for place, name in enumerate(order)}
        end = len(order)
        self._levels, self._low, self._high = [end, end], [FALSE, TRUE], [FALSE, TRUE]
        self._known: dict[tuple[int, int, int], int] = {}
        self._ands: dict[tuple[int, int], int] = {}
        self._ors: dict[tuple[int, int], int] = {}

    def _place(self, level: int, low: int, high: int) -> int:
        if low == high:
            return low
        key = (level, low, high)
        found = self._known.get(key)
        if found is None:
            if len(self._levels) > PLACES_MAX:
                raise TooTangled
            found = self._known[key] = len(self._levels)
            self._levels.append(level)
            self._low.append(low)
            self._high.append(high)
        return found

    def variable(self, name: str) -> int:
        """True where the one variable is."""
        return self._place(self._level[name], FALSE, TRUE)

    def opposite(self, name: str) -> int:
        """True where the one variable is not."""
        return self._place(self._level[name], TRUE, FALSE)

    def some(self, root: int, names: Iterable[str]) -> int:
        """Where some values of these variables make `root` true."""
        levels = {self._level[name] for name in names}
        known: dict[int, int] = {}

        def without(place: int) -> int:
            if place in (FALSE, TRUE):
                return place
            found = known.get(place)
            if found is None:
                level, low, high = self._levels[place], without(self._low[place]), without(self._high[place])
                found = known[place] = self.either(low, high) if level in levels else self._place(level, low, high)
            return found

        return without(root)

    def negated(self, root: int) -> int:
        """Where `root` is false."""
        known = {FALSE: TRUE, TRUE: FALSE}

        def other(place: int) -> int:
            found = known.get(place)
            if found is None:
                low, high = other(self._low[place]), other(self._high[place])
                found = known[place] = self._place(self._levels[place], low, high)
            return found

        return other(root)

    def both(self, one: int, other: int) -> int:
        """Where both are true."""
        if other in (one, TRUE):
            return one
        if one == TRUE:
            return other
        if FALSE in (one, other):
            return FALSE
        return self._combined(self.both, self._ands, one, other)

    def either(self, one: int, other: int) -> int:
        """Where one of the two is true."""
        if other in (one, FALSE):
            return one
        if one == FALSE:
            return other
        if TRUE in (one, other):
            return TRUE
        return self._combined(self.either, self._ors, one, other)

    def _combined(
        self, rule: Callable[[int, int], int], known: dict[tuple[int, int], int], one: int, other: int
    ) -> int:
        key = (one, other) if one < other else (other, one)
        found = known.get(key)
        if found is None:
            level = min(self._levels[one], self._levels[other])
            (one_low, one_high), (other_low, other_high) = self._split(one, level), self._split(other, level)
            low, high = rule(one_low, other_low), rule(one_high, other_high)
            found = known[key] = self._place(level, low, high)
        return found

    def _split(self, place: int, level: int) -> tuple[int, int]:
        return (self._low[place], self._high[place]) if self._levels[place] == level else (place, place)

    def of(self, expression: Expression, leaf: Callable[[NodeId], int] | None = None) -> int:
        """Where the nodes that are true hold a quorum. `leaf` says when a node counts; else by its own name."""
        leaf = leaf or self.variable
        match expression:
            case Node():
                return leaf(expression.id)
            case Threshold():
                votes = [(leaf(node), weight) for node, weight in expression.weights if weight]
            case Gate():
                votes = [(self.of(child, leaf), 1) for child in expression.children]
            case _:
                raise AssertionError("an expression is a node, a threshold or a gate")
        return self._at_least(votes, expression.k)

    def _at_least(self, votes: list[tuple[int, int]], k: int) -> int:
        """Where the weights of those that are true sum to `k`. Only sums that can be reached are looked at, those
        of the lowest variables last, as they are above all others."""
        votes = sorted(votes, key=lambda vote: self._levels[vote[0]])
        left = [0] * (len(votes) + 1)
        for place in range(len(votes) - 1, -1, -1):
            left[place] = left[place + 1] + votes[place][1]
        reached: list[set[int]] = [{k}]  # votes still wanted before each place
        for place, (_, weight) in enumerate(votes):
            after = reached[-1] | {lacking - weight for lacking in reached[-1]}
            reached.append({lacking for lacking in after if 0 < lacking <= left[place + 1]})
        sums: dict[int, int] = {}
        for place in range(len(votes) - 1, -1, -1):
            child, weight = votes[place]
            below, sums = sums, {}
            for lacking in reached[place]:
                low = below.get(lacking, FALSE)
                high = TRUE if lacking <= weight else below.get(lacking - weight, FALSE)
                sums[lacking] = self.either(low, self.both(child, high))
        return sums.get(k, TRUE if k <= 0 else FALSE)

    def surviving(self, root: int, failures: int) -> int:
        """Sets for which `root`, monotone, is true still after any `failures` of their members are lost."""
        known: dict[tuple[int, int], int] = {}

        def survives(place: int, left: int) -> int:
            if left == 0 or place in (FALSE, TRUE):
                return place
            found = known.get((place, left))
            if found is None:
                low, high = self._low[place], self._high[place]
                kept = self.both(survives(high, left), survives(low, left - 1))
                found = known[place, left] = self._place(self._levels[place], survives(low, left), kept)
            return found

        return survives(root, failures)

    def size(self, root: int) -> int:
        """How many places lie at or before `root`."""
        return root + 1

    def chance(self, root: int, chances: Mapping[str, Chance]) -> Chance:
        """How likely `root` is true, where variables are true independently of each other."""
        each = [chances[name] for name in self.order]
        holds, fails = [-math.inf, 0.0], [0.0, -math.inf]
        for place in range(2, root + 1):
            one = each[self._levels[place]]
            low, high = self._low[place], self._high[place]
            holds.append(log_sum(one.holds + holds[high], one.fails + holds[low]))
            fails.append(log_sum(one.holds + fails[high], one.fails + fails[low]))
        return Chance(holds[root], fails[root])

    def cheapest(self, root: int, prices: Mapping[str, float]) -> tuple[float, frozenset[str]] | None:
        """The set of the lowest price for which `root` is true; None where there is none of finite price."""
        each = [prices[name] for name in self.order]
        least = [math.inf, 0.0]
        for place in range(2, root + 1):
            least.append(min(least[self._low[place]], least[self._high[place]] + each[self._levels[place]]))
        if math.isinf(least[root]):
            return None
        chosen = []
        place = root
        while place > TRUE:
            level, low, high = self._levels[place], self._low[place], self._high[place]
            if least[low] <= least[high] + each[level]:
                place = low
            else:
                chosen.append(self.order[level])
                place = high
        return least[root], frozenset(chosen)

    def fewest_false(self, root: int) -> int:
        """The fewest variables that make `root` false by being false."""
        least: list[float] = [0.0, math.inf]
        for place in range(2, root + 1):
            least.append(min(least[self._high[place]], least[self._low[place]] + 1))
        return int(least[root])


def log_sum(one: float, other: float) -> float:
    """The logarithm of the sum of two numbers, given theirs."""
    high, low = (one, other) if one >= other else (other, one)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def order_of(*expressions: Expression) -> list[NodeId]:
    """The nodes in the order in which they are first named: what stands together is decided together."""
    found: dict[NodeId, None] = {}
    waiting = list(reversed(expressions))
    while waiting:
        expression = waiting.pop()
        match expression:
            case Node():
                found[expression.id] = None
            case Threshold():
                heaviest = sorted(expression.weights, key=lambda vote: -vote[1])  # they decide most
                found.update(dict.fromkeys(node for node, weight in heaviest if weight))
            case Gate():
                waiting += reversed(expression.children)
    return list(found)
