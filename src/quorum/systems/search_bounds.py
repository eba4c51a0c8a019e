"""What no quorum system can beat, and what one tree cannot beat at given prices: both without a linear program."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from quorum.systems.architecture import Mix, NodeTraits
from quorum.systems.optimum import Aim
from quorum.systems.search_trees import Shape

HALVINGS = 60


def floor_of(
    aim: Aim, nodes: Sequence[NodeTraits], mixes: Sequence[Mix], resilience: int = 0, failures: int = 0
) -> float:
    """What no quorum system over these nodes has less of, tree or not: load (seconds), network load (nodes) or
    latency (seconds). The system stands `resilience` losses, and every set that is asked stands `failures`.

    What is left of a set after the failures stands the losses of the system, so it has so many nodes and one more.
    """
    least = max(resilience, failures) + 1
    if aim == "network":
        return float(least + failures)
    if aim == "latency":
        return sorted(each.latency for each in nodes)[min(least, len(nodes)) - 1]
    shared, asked = 2 * failures + 1, least + failures
    apart = sum(mix.weight * _least_load(nodes, mix.fraction, shared, asked) for mix in mixes)
    # One strategy serves all read fractions, so no node has more on average than the mean of the loads.
    mean = min(1.0, sum(mix.weight * mix.fraction for mix in mixes))
    return max(apart, _least_load(nodes, mean, shared, asked))


def _least_load(nodes: Sequence[NodeTraits], fraction: float, shared: int, asked: int) -> float:
    """The least load at one read fraction.

    A read set and a write set, drawn apart from each other, share the sum over nodes of r times w on average, r
    and w being how often the node is asked. That comes to `shared` at least: otherwise two sets share no node once
    those that one of them loses, and those that the other loses, are gone. A node with a load L takes r and w with
    fraction * r / read_capacity + (1 - fraction) * w / write_capacity <= L. With equal capacities and as many
    reads as writes L is 1 / sqrt(n). Source of that bound: Naor and Wool, "The Load, Capacity, and Availability of
    Quorum Systems" (1998), section 4; sizes (`asked`, their c / n) are used in the same way.
    """
    costs = [(fraction / each.read_capacity, (1 - fraction) / each.write_capacity) for each in nodes]
    low, high = 0.0, max(map(sum, costs))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if sum(_product_max(read, write, middle) for read, write in costs) < shared:
            low = middle
        else:
            high = middle
    by_size = [0.0]
    for capacities in ([each.read_capacity for each in nodes], [each.write_capacity for each in nodes]):
        read = min(capacity * cost[0] for capacity, cost in zip(capacities, costs, strict=True))
        write = min(capacity * cost[1] for capacity, cost in zip(capacities, costs, strict=True))
        by_size.append(asked * (read + write) / sum(capacities))
    return max(low, *by_size)


def _product_max(read: float, write: float, load: float) -> float:
    """The most that r * w comes to, both from 0 to 1, with read * r + write * w <= load."""
    if read + write <= load:
        return 1.0
    r = min(1.0, load / (2 * read)) if read else 1.0
    w = min(1.0, (load - read * r) / write) if write else 1.0
    if w == 1.0 and read:
        r = min(1.0, (load - write) / read)
    return r * w


class Cut(NamedTuple):
    """Prices at which one tree was best, or could not keep the limits. They say of every tree what it costs at
    least.

    `reads` and `writes` are what asking a node of each kind costs, `read_wait` and `write_wait` what a second
    costs; `allowed` is the part of it that the limits give back.
    Source: weak duality of linear programs; the prices may be any that are not negative, so rounding in them does
    no harm.
    """

    reads: Sequence[float]
    writes: Sequence[float]
    read_wait: float
    write_wait: float
    allowed: float


class Pricer:
    """What trees cost at least at the prices of one cut; `latencies` are those of the kinds. `is_valued` says
    whether that is in units of the aim; else a tree that costs anything cannot keep the limits."""

    def __init__(self, cut: Cut, latencies: Sequence[float], failures: int, is_valued: bool = True) -> None:
        self.is_valued = is_valued
        self.cut, self._latencies, self._failures = cut, latencies, failures
        self._kept: dict[tuple[Shape, bool, int, float], float] = {}
        self._waits = sorted(set(latencies))

    def least(self, shape: Shape) -> float:
        """Less than this no strategy of the tree costs, in units of the aim."""
        cut = self.cut
        return self._side(shape, False, cut.read_wait) + self._side(shape, True, cut.write_wait) - cut.allowed

    def _side(self, shape: Shape, is_writes: bool, wait: float) -> float:
        level = self._failures + 1
        asked = self._gate(shape, is_writes, level, math.inf)
        if not wait:
            return asked
        return min(wait * most + max(asked, self._gate(shape, is_writes, 1, most)) for most in self._waits)

    def _cost(self, shape: Shape, is_writes: bool, level: int, most: float) -> float:
        """The least price of a set that holds a quorum, after `level` - 1 losses still, of nodes that answer
        within `most` seconds; or less, where a gate would need parts that stand different losses."""
        if not shape.parts:
            if level > 1 or self._latencies[shape.kind] > most:
                return math.inf
            return (self.cut.writes if is_writes else self.cut.reads)[shape.kind]
        key = (shape, is_writes, level, most)
        found = self._kept.get(key)
        if found is None:
            found = self._gate(shape, is_writes, level, most)
            self._kept[key] = found
        return found

    def _gate(self, shape: Shape, is_writes: bool, level: int, most: float) -> float:
        if not shape.parts:
            return self._cost(shape, is_writes, level, most)
        k = len(shape.parts) - shape.k + 1 if is_writes else shape.k
        if level == 1:
            return sum(sorted([self._cost(part, is_writes, 1, most) for part in shape.parts])[:k])
        best = math.inf
        for count, weakest in _divided(level, len(shape.parts) - k + 1):
            costs = sorted([self._cost(part, is_writes, weakest, most) for part in shape.parts])
            best = min(best, sum(costs[: k - 1 + count]))
        return best


def _divided(level: int, parts_max: int) -> Iterator[tuple[int, int]]:
    """Into how many parts a level may be divided, and how low the least of them may be: losses that k of m parts
    stand are dealt out to the m - k + 1 weakest of them, see `mass_tree.surviving`."""
    for count in range(1, min(level, parts_max) + 1):
        yield count, level if count == 1 else 1
