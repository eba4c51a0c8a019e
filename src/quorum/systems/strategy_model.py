"""The linear program of a strategy: both sides, the load of each node, the limits. Imported only when needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.systems.algebra import Expression
from quorum.systems.architecture import Architecture
from quorum.systems.optimum import AIMS, Aim, Limits
from quorum.systems.pricing import Contact
from quorum.systems.program import Budget, Program, Vector
from quorum.systems.sides import ColumnSide, TreeSide, side_of

SPREAD_MAX = 1e9
KEPT_SLACK = 1e-9
LIMIT_SLACK = 1e-11
"""Limits hold up to this share of them, for rounding."""

_Side = TreeSide | ColumnSide


def unit_of(architecture: Architecture) -> float:
    """Operations per second for which loads are near 1: of a quorum that is the least busy if asked alone.

    Raises ConfigurationError for capacities or latencies so far apart that a program would lose their digits.
    """
    traits = [architecture.traits(node) for node in architecture.system.nodes]
    for name, values in (
        ("capacities", [each for one in traits for each in (one.read_capacity, one.write_capacity)]),
        ("latencies", [each.latency for each in traits if each.latency]),
    ):
        if values and max(values) > SPREAD_MAX * min(values):
            raise ConfigurationError(
                f"nodes with {name} from {min(values):g} to {max(values):g} were given, but figures are exact up "
                f"to {SPREAD_MAX:g} times as much only. Leave nodes that play no part out of the expressions."
            )
    share, system = architecture.mean_read_fraction, architecture.system
    costs = (
        share * least_of(system.reads, lambda node: 1 / architecture.traits(node).read_capacity),
        (1 - share) * least_of(system.writes, lambda node: 1 / architecture.traits(node).write_capacity),
    )
    return 1 / max(costs)


def least_of(expression: Expression, cost: Callable[[NodeId], float]) -> float:
    """The least cost such that the nodes which cost no more hold a quorum."""
    ordered = sorted((cost(node), node) for node in expression.nodes)
    low, high = 1, len(ordered)
    while low < high:
        middle = (low + high) // 2
        if expression.contains({node for _, node in ordered[:middle]}):
            high = middle
        else:
            low = middle + 1
    return ordered[low - 1][0]


class StrategyModel:
    """The program: strategies of both sides, the load of each node at each read fraction, and the limits."""

    def __init__(
        self,
        architecture: Architecture,
        failures: int,
        limits: Limits,
        budget: Budget,
        must_time: bool,
        unit: float,
    ) -> None:
        self.architecture, self.limits, self.budget, self.unit = architecture, limits, budget, unit
        self.program = program = Program()
        system, mixes = architecture.system, architecture.mixes
        self.peaks = [program.column() for _ in mixes]
        self.excess = {
            name: program.column() for name, limit in zip(AIMS, limits, strict=True) if limit is not None
        }
        share = architecture.mean_read_fraction
        self.sides: list[tuple[_Side, float]] = []
        for name, expression, part in (("reads", system.reads, share), ("writes", system.writes, 1 - share)):
            side = side_of(program, budget, name, expression, failures, self._latency, must_time and part > 0)
            self.sides.append((side, part))
        self.is_timed = all(side.is_timed for side, part in self.sides if part)
        parts = ((system.reads, share), (system.writes, 1 - share))
        typical = [least_of(expression, self._latency) for expression, part in parts if part]
        some = [wait for node in system.nodes if (wait := self._latency(node))]
        self.wait_unit = max(typical) or min(some, default=1.0)
        self.load_rows: dict[tuple[NodeId, int], int] = {}
        self.terms: dict[Aim, list[tuple[int, float]]] = {"load": [], "network": [], "latency": []}
        self._lay_loads()
        self._lay_aims()
        for side, _ in self.sides:
            if isinstance(side, ColumnSide):
                side.lay(program)
                for contact in side.first:
                    self.add(side, contact)

    def _latency(self, node: NodeId) -> float:
        return self.architecture.traits(node).latency

    def _costs(self, node: NodeId, mix: int) -> tuple[float, float]:
        """What a read and a write add to the load of a node, in units of the program."""
        traits, fraction = self.architecture.traits(node), self.architecture.mixes[mix].fraction
        return fraction * self.unit / traits.read_capacity, (1 - fraction) * self.unit / traits.write_capacity

    def _lay_loads(self) -> None:
        for node in self.architecture.system.nodes:
            for mix, peak in enumerate(self.peaks):
                terms = [(peak, -1.0)]
                for (side, _), cost in zip(self.sides, self._costs(node, mix), strict=True):
                    if cost:
                        terms += [(column, cost * factor) for column, factor in side.shares.get(node, ())]
                self.load_rows[node, mix] = self.program.row(terms, upper=0.0)

    def _lay_aims(self) -> None:
        """Each aim in units in which it is near 1."""
        mixes = self.architecture.mixes
        self.terms["load"] = [(peak, mix.weight) for peak, mix in zip(self.peaks, mixes, strict=True)]
        for side, part in self.sides:
            if part:
                for node in sorted(side.shares):
                    self.terms["network"] += [(column, part * factor) for column, factor in side.shares[node]]
                self.terms["latency"] += [(column, part * wait / self.wait_unit) for column, wait in side.waits]
        self.caps: list[tuple[Aim, int, float]] = []
        self.limit_rows = {
            name: self._cap(name, self._per_unit(name), LIMIT_SLACK, [(column, -1.0)])
            for name, column in self.excess.items()
        }

    def _cap(self, name: Aim, most: float, slack: float, excess: list[tuple[int, float]]) -> int:
        """A row by which an aim comes to no more than `most`, in units of the program."""
        terms = [(place, value / most) for place, value in self.terms[name]]
        row = self.program.row([*terms, *excess], upper=1.0 + slack)
        self.caps.append((name, row, most))
        return row

    def keep(self, name: Aim, value: float) -> None:
        """From now on an aim comes to no more than this value, which it can have."""
        if value > 0:
            self._cap(name, value, KEPT_SLACK, [])

    def _per_unit(self, name: Aim) -> float:
        """The limit of an aim in units of the program."""
        limit = self.limits[AIMS.index(name)]
        assert limit is not None, "only what is limited has a row"
        return limit * {"load": self.unit, "network": 1.0, "latency": 1 / self.wait_unit}[name]

    def rows_of(self, node: NodeId, place: int) -> list[tuple[int, float]]:
        """The rows of a node's load, and what one more set of a side with it adds there."""
        return [(self.load_rows[node, mix], self._costs(node, mix)[place]) for mix in range(len(self.peaks))]

    def add(self, side: ColumnSide, contact: Contact) -> None:
        """A column for one contact of a side."""
        place = [each for each, _ in self.sides].index(side)
        part = self.sides[place][1]
        terms = [(side.row, 1.0)]
        for node in sorted(contact.nodes):
            terms += self.rows_of(node, place)
        network, wait = part * len(contact.nodes), part * contact.latency / self.wait_unit
        terms += [
            (row, {"load": 0.0, "network": network, "latency": wait}[name] / scale)
            for name, row, scale in self.caps
        ]
        column = self.program.column(terms=[(row, value) for row, value in terms if value])
        side.contacts[column] = contact
        for node in sorted(contact.nodes):
            side.shares[node].append((column, 1.0))
        if part:
            side.waits.append((column, contact.latency))
            self.terms["network"].append((column, network))
            self.terms["latency"].append((column, wait))

    def aim(self, name: Aim | Literal["excess"]) -> Vector:
        """The costs of an aim, or of all limits that are not kept."""
        if name == "excess":
            return self.program.costs((column, 1.0) for column in self.excess.values())
        return self.program.costs(self.terms[name])

    def forbid_excess(self) -> None:
        """From now on limits are kept."""
        for column in self.excess.values():
            self.program.bound(column, 0.0, 0.0)
