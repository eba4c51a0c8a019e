"""The best quorum system over given nodes, by load, network load or latency, within limits.

Looked at are all trees of gates in which no node repeats, each once (`search_trees`), as reads, with their dual as
writes: then no two quorums miss each other, and neither side could ask for less. Named constructions come first,
so that good systems are known early. A tree is left out where the prices of an earlier one prove that it is no
better (`search_bounds`); only what is left costs a linear program. Source of such a search, with other rules:
Whittaker, Charapko, Hellerstein, Howard and Stoica, "Read-Write Quorum Systems Made Practical" (2021), section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from quorum.errors import ConfigurationError, NoStrategy
from quorum.model import NodeId
from quorum.systems.architecture import Architecture, NodeTraits, shown
from quorum.systems.check import disjoint_quorums
from quorum.systems.optimum import AIMS, Aim, Limits, Optimum, optimise
from quorum.systems.resilience import resilience_of
from quorum.systems.search_bounds import Cut, Pricer, floor_of
from quorum.systems.search_seeds import Kinds, kinds_of, named_shapes, named_systems, neighbours
from quorum.systems.search_trees import Shape, Shapes
from quorum.systems.system import QuorumSystem

NODES_MAX = 100
SECONDS_MAX = 86_400.0
KEPT_MAX = 1_000_000
"""Trees kept as parts of larger ones; then the search ends as if time were up."""
CUTS_MAX = 30
BETTER = 1e-9
"""What is better by less than this share is not better."""
EXHAUSTIBLE_NODES_MAX = 6
"""With more nodes what is best is looked for among the neighbours of good systems, before all are."""
TICKS = 64
GRACE_SECONDS = 1.0
"""What a program that has begun may take beyond the time of the search."""
REFUSAL_SECONDS_MIN = 1.0
"""Time to find out which limit binds, for each."""

Clock = Callable[[], float]
"""Seconds, from any beginning."""
Progress = Callable[[int, float | None], None]
"""Told every now and then: how many systems were met, and the best value as yet."""


class Found(NamedTuple):
    """The best system, and what it can do.

    `proved`: no tree without repeated nodes has less of the aim, and none at all where `bound` is the value.
    `bound` is in units of the aim: no quorum system has less of it. `seen` counts the systems met, `pruned` those
    of them that needed no linear program.
    """

    architecture: Architecture
    optimum: Optimum
    proved: bool
    bound: float
    seen: int
    pruned: int

    @property
    def system(self) -> QuorumSystem:
        """The best one."""
        return self.architecture.system

    @property
    def gap(self) -> float:
        """By which share of the value another system could be better at most; 0 where none can."""
        return max(0.0, 1 - self.bound / self.optimum.value) if self.optimum.value else 0.0


def search(
    architecture: Architecture,
    clock: Clock,
    aim: Aim = "load",
    resilience: int = 0,
    failures: int = 0,
    limits: Limits | None = None,
    seconds_max: float = 10.0,
    progress: Progress = lambda seen, best: None,
) -> Found:
    """The best quorum system over the nodes of an architecture, whose own system is one of those looked at.

    It stands `resilience` losses, and every set that is asked stands `failures`. Nodes may be left out. The search
    ends when all trees were met, or after `seconds_max` by the clock. Raises NoStrategy where no system keeps to
    the limits, or none was found in time; ConfigurationError for a question that makes no sense.
    """
    limits = limits or Limits()
    _check(architecture, aim, resilience, failures, limits, seconds_max)
    run = _Search(architecture, clock, aim, max(resilience, failures), failures, limits, seconds_max, progress)
    run.check_floors()
    is_complete = run.complete()
    if run.best is None:
        raise run.refusal(is_complete)
    planned = run.planned(run.best)
    optimum = optimise(planned, aim, failures, limits)
    bound = min(run.floor(aim), optimum.value)
    proved = is_complete or optimum.value <= bound * (1 + BETTER)
    return Found(planned, optimum, proved, bound, run.seen, run.pruned)


class _OutOfTime(Exception):
    """The search ends with what it has."""


class _Search:
    """One search: the best system as yet, and the prices that were met."""

    def __init__(
        self,
        architecture: Architecture,
        clock: Clock,
        aim: Aim,
        resilience: int,
        failures: int,
        limits: Limits,
        seconds_max: float,
        progress: Progress,
    ) -> None:
        self.architecture, self.aim, self.limits = architecture, aim, limits
        self.resilience, self.failures = resilience, failures
        self.nodes = sorted({*architecture.nodes, *architecture.system.nodes})
        self.traits: Mapping[NodeId, NodeTraits] = {node: architecture.traits(node) for node in self.nodes}
        is_timed = aim == "latency" or limits.latency is not None
        self.kinds: Kinds = kinds_of(self.traits, is_timed)
        self._floor = self.floor(aim)
        self.best: QuorumSystem | None = None
        self.best_shape: Shape | None = None
        self.value = float("inf")
        self.seen = self.pruned = 0
        self._cuts: list[Pricer] = []
        self._clock, self._end, self._seconds_max = clock, clock() + seconds_max, seconds_max
        self._progress, self._ticks = progress, 0

    def planned(self, system: QuorumSystem) -> Architecture:
        """The nodes with another system."""
        mixes = {mix.fraction: mix.weight for mix in self.architecture.mixes}
        return Architecture(system, self.traits, self.architecture.zones, mixes)

    def floor(self, aim: Aim) -> float:
        """What no system over the nodes has less of."""
        nodes = list(self.traits.values())
        return floor_of(aim, nodes, self.architecture.mixes, self.resilience, self.failures)

    def check_floors(self) -> None:
        """Raise NoStrategy for a limit that no system keeps."""
        for name, limit in zip(AIMS, self.limits, strict=True):
            if limit is not None and limit < (least := self.floor(name)) * (1 - BETTER):
                raise NoStrategy(
                    f"a {name} of at most {limit:g} was asked for, but no quorum system over these nodes has "
                    f"less than {least:.6g}. Raise the {name} limit, or add nodes.",
                    (name,),
                )

    def complete(self) -> bool:
        """Look at systems until all were met, or none can be better, or time is up: False then."""
        try:
            self._try_named()
            if len(self.nodes) > EXHAUSTIBLE_NODES_MAX:
                self._climb()
            shapes = Shapes(self._tick)
            for shape in shapes.within(self.kinds.counts, 2 * self.resilience + 1):
                if self._is_unbeatable():
                    return True
                self._try(shape)
        except _OutOfTime:
            return False
        return True

    def _is_unbeatable(self) -> bool:
        return self.best is not None and self.value <= self._floor * (1 + BETTER)

    def _try_named(self) -> None:
        """Constructions of the literature, and the system that the nodes have; the most promising first."""
        capacity = {
            (node, place): each.read_capacity + each.write_capacity
            for node, each in self.traits.items()
            for place in range(len(self.architecture.mixes))
        }
        self._cuts.append(self._pricer(True, capacity, {}))
        for shape in self._promising(named_shapes(self.kinds, self.traits)):
            self._try(shape)
        for system in (self.architecture.system, *named_systems(self.traits)):
            self._check_time()
            if disjoint_quorums(system.reads, system.writes) is None:
                self._try_system(system)

    def _promising(self, shapes: Iterable[Shape]) -> list[Shape]:
        """The trees by what they cost at least at the prices that cut last, cheapest first."""
        pricer = self._cuts[0]
        costs: list[tuple[float, Shape]] = []
        for shape in shapes:
            self._tick(0)
            costs.append((pricer.least(shape), shape))
        return [shape for _, shape in sorted(costs, key=lambda each: each[0])]

    def _climb(self) -> None:
        """From the best tree to a better neighbour, as long as there is one."""
        before = None
        while self.best_shape is not None and before is not self.best_shape:
            before = self.best_shape
            for shape in self._promising(neighbours(before, self.kinds.counts)):
                self._try(shape)
                if self.best_shape is not before:
                    break

    def _tick(self, kept: int) -> None:
        self._ticks += 1
        if self._ticks % TICKS == 1:
            self._check_time()
        if kept > KEPT_MAX:
            raise _OutOfTime

    def _check_time(self) -> None:
        self._progress(self.seen, None if self.best is None else self.value)
        if self._clock() >= self._end:
            raise _OutOfTime

    def _try(self, shape: Shape) -> None:
        """Take a tree if it is better than all before."""
        self._tick(0)
        self.seen += 1
        if shape.resilience < self.resilience or self._is_cut(shape):
            self.pruned += 1
            return
        expression = shape.expression(self.kinds.members)
        if self._judge(QuorumSystem(expression)):
            self.best_shape = shape

    def _try_system(self, system: QuorumSystem) -> None:
        """The same for a system that may be no tree; one that takes too long is left out."""
        self.seen += 1
        try:
            if resilience_of(system).both >= self.resilience:
                self._judge(system)
            else:
                self.pruned += 1
        except ConfigurationError:
            self.pruned += 1

    def _is_cut(self, shape: Shape) -> bool:
        """Whether some prices show that the tree is no better, or cannot keep the limits."""
        for place, pricer in enumerate(self._cuts):
            least = pricer.least(shape)
            if least >= self.value * (1 - BETTER) if pricer.is_valued else least > BETTER:
                if place:  # what has just cut is likely to cut the next
                    self._cuts.insert(0, self._cuts.pop(place))
                return True
        return False

    def _judge(self, system: QuorumSystem) -> bool:
        """Whether a system is the best as yet; its prices are kept."""
        from quorum.systems.program import Budget
        from quorum.systems.search_optimum import least

        self._check_time()
        budget = Budget(max(0.0, self._end - self._clock()) + GRACE_SECONDS)
        try:
            found = least(self.planned(system), self.aim, self.failures, self.limits, budget)
        except NoStrategy:  # what is asked would not survive the failures
            return False
        except ConfigurationError:
            if self._clock() >= self._end:
                raise _OutOfTime from None
            raise
        self._cuts.insert(0, self._pricer(found.value is not None, found.nodes, found.limits))
        del self._cuts[CUTS_MAX:]
        if found.value is None or found.value >= self.value * (1 - BETTER):
            return False
        self.best, self.value = system, found.value
        return True

    def _pricer(
        self, is_valued: bool, prices: Mapping[tuple[NodeId, int], float], limit_prices: Mapping[Aim, float]
    ) -> Pricer:
        """The prices of a program as prices of kinds; nodes of one kind share theirs."""
        of_aim = {name: limit_prices.get(name, 0.0) + float(is_valued and name == self.aim) for name in AIMS}
        share = self.architecture.mean_read_fraction
        members = self.kinds.members
        reads = [share * of_aim["network"]] * len(members)
        writes = [(1 - share) * of_aim["network"]] * len(members)
        for place, mix in enumerate(self.architecture.mixes):
            each = [sum(prices.get((node, place), 0.0) for node in nodes) for nodes in members]
            total = sum(each)
            for kind, nodes in enumerate(members):
                part = each[kind] / total / len(nodes) if total else 1 / len(self.nodes)
                part *= of_aim["load"] * mix.weight
                traits = self.traits[nodes[0]]
                reads[kind] += part * mix.fraction / traits.read_capacity
                writes[kind] += part * (1 - mix.fraction) / traits.write_capacity
        allowed = sum(
            limit_prices.get(name, 0.0) * limit * (1 + BETTER)
            for name, limit in zip(AIMS, self.limits, strict=True)
            if limit is not None
        )
        waits = share * of_aim["latency"], (1 - share) * of_aim["latency"]
        latencies = [self.traits[nodes[0]].latency for nodes in members]
        return Pricer(Cut(reads, writes, *waits, allowed), latencies, self.failures, is_valued)

    def refusal(self, is_complete: bool) -> NoStrategy:
        """Why there is no system: limits that bind, or time."""
        named = [(name, limit) for name, limit in zip(AIMS, self.limits, strict=True) if limit is not None]
        asked = " and ".join(f"a {name} of at most {limit:g}" for name, limit in named) or "a system"
        if not is_complete:
            return NoStrategy(
                f"{asked} was to be found within {self._seconds_max:g} s, but until then no system was met that "
                f"fits ({self.seen:,} were met). There may be one: give more time, or ask for less.",
                tuple(name for name, _ in named),
            )
        least = []
        for name, limit in named:
            value, is_proved = self._alone(name)
            if is_proved and value > limit * (1 + BETTER):
                return NoStrategy(
                    f"a {name} of at most {limit:g} was asked for, but no system without repeated nodes has less "
                    f"than {value:.10g}. Raise the {name} limit, or add nodes.",
                    (name,),
                )
            least.append(f"{name} {value:.6g}")
        return NoStrategy(
            f"{asked} were asked for at once, but no system without repeated nodes has all (each alone could "
            f"come down to: {', '.join(least)}). Raise one of these limits, or add nodes.",
            tuple(name for name, _ in named),
        )

    def _alone(self, name: Aim) -> tuple[float, bool]:
        """The least of an aim without any limits, and whether that is proved, in the time that is left."""
        left = max(REFUSAL_SECONDS_MIN, self._end - self._clock())
        other = _Search(
            self.architecture,
            self._clock,
            name,
            self.resilience,
            self.failures,
            Limits(),
            left,
            self._progress,
        )
        is_proved = other.complete()
        return other.value, is_proved


def _check(
    architecture: Architecture, aim: Aim, resilience: int, failures: int, limits: Limits, seconds_max: float
) -> None:
    """Raise ConfigurationError for what makes no sense, NoStrategy for more losses than nodes stand."""
    if aim not in AIMS:
        raise ConfigurationError(
            f"the system with the best {shown(aim)} was asked for, but systems are judged by load, network or "
            "latency. Name one."
        )
    count = len({*architecture.nodes, *architecture.system.nodes})
    if count > NODES_MAX:
        raise ConfigurationError(
            f"the best system over {count:,} nodes was asked for, but {NODES_MAX} is the limit. Search with one "
            "node for each group that is alike."
        )
    for what, value in (("system", resilience), ("strategy", failures)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ConfigurationError(
                f"a {what} that survives {shown(value)} failures was asked for, but they are counted. Use a whole "
                "number from 0."
            )
        if 2 * value + 1 > count:
            raise NoStrategy(
                f"a {what} over {count} nodes that survives the loss of any {value} was asked for, but quorums "
                f"would be left that miss each other, once with these {value} lost and once with others: it takes "
                f"{2 * value + 1:,} nodes. Ask for fewer losses, or add nodes.",
                ("f",),
            )
    for name, limit in zip(AIMS, limits, strict=True):
        if limit is not None and not 0 < limit < float("inf"):
            raise ConfigurationError(
                f"the {name} was limited to {shown(limit)}, but a limit is above 0. Use a number, or leave it out."
            )
    if not 0 < seconds_max <= SECONDS_MAX:
        raise ConfigurationError(
            f"a search of {shown(seconds_max)} s was asked for, but it lasts above 0 and at most "
            f"{SECONDS_MAX:,.0f} s. Change the time."
        )
