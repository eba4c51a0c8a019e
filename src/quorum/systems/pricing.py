"""The cheapest quorum at given prices of its nodes, exactly: how columns of a linear program are found.

Votes are counted; else a decision diagram is walked, where it stays small, or a program in whole numbers solved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from quorum.model import NodeId
from quorum.systems.algebra import Expression, Gate, Node, Threshold
from quorum.systems.check import shrunk
from quorum.systems.diagram import FALSE, Diagram, TooTangled, order_of
from quorum.systems.figures import Latency, latency_of
from quorum.systems.program import Budget, Face, Program
from quorum.systems.votes_pricing import cheapest_votes, fits


class Contact(NamedTuple):
    """Nodes that are contacted together, and the seconds until those that answered first hold a quorum."""

    nodes: frozenset[NodeId]
    latency: float


class Offer(NamedTuple):
    """A contact and its price, the lowest there is of its kind."""

    price: float
    contact: Contact


class Pricer(Protocol):
    """Finds cheapest contacts of one expression."""

    def offers(self, prices: Mapping[NodeId, float], per_second: float) -> list[Offer]:
        """Contacts of low price, among them the lowest of all: of nodes, each by its price, and of each second
        that they take. Empty where no contact survives the failures. Prices are 0 or above."""


def pricer_of(expression: Expression, failures: int, latency: Latency, budget: Budget) -> Pricer:
    """The pricer that suits an expression; contacts hold a quorum after any `failures` of them are lost."""
    votes = expression.as_threshold()
    alike = not failures or len(set(map(latency, expression.nodes))) == 1
    if votes is not None and alike and fits(votes, failures):
        return VotesPricer(votes, failures, latency)
    try:
        return DiagramPricer(expression, failures, latency)
    except TooTangled:
        return ProgramPricer(expression, failures, latency, budget)


class VotesPricer:
    """By the votes that are lacking. With failures only where all nodes answer at the same time."""

    def __init__(self, votes: Threshold, failures: int, latency: Latency) -> None:
        self._votes, self._failures, self._latency = votes, failures, latency
        self._waits = sorted({latency(node) for node in votes.nodes})

    def offers(self, prices: Mapping[NodeId, float], per_second: float) -> list[Offer]:
        found = []
        for wait in self._waits if per_second > 0 else self._waits[-1:]:
            allowed = {node: price if self._latency(node) <= wait else math.inf for node, price in prices.items()}
            cheapest = cheapest_votes(self._votes, self._failures, allowed)
            if cheapest is not None:
                price, nodes = cheapest
                taken = latency_of(self._votes, nodes, self._latency)
                if not self._failures:
                    nodes = shrunk(self._votes, nodes)
                found.append(Offer(price + per_second * taken, Contact(nodes, taken)))
        return found


class DiagramPricer:
    """By the shortest path through a decision diagram. Raises TooTangled where that would be too large."""

    def __init__(self, expression: Expression, failures: int, latency: Latency) -> None:
        self._expression, self._failures, self._latency = expression, failures, latency
        self._diagram = diagram = Diagram(order_of(expression))
        self._any = diagram.surviving(diagram.of(expression), failures)
        self._waits = sorted({latency(node) for node in diagram.order})
        self._within: dict[float, int] = {}

    def offers(self, prices: Mapping[NodeId, float], per_second: float) -> list[Offer]:
        waits = self._waits if per_second > 0 else self._waits[-1:]
        found = []
        for wait in waits:
            offer = self._offer(wait, prices, per_second)
            if offer is not None:
                found.append(offer)
        return found

    def _offer(self, wait: float, prices: Mapping[NodeId, float], per_second: float) -> Offer | None:
        if self._failures:
            cheapest = self._diagram.cheapest(self._root(wait), prices)
        else:
            allowed = {
                node: prices[node] if self._latency(node) <= wait else math.inf for node in self._diagram.order
            }
            cheapest = self._diagram.cheapest(self._any, allowed)  # minimal: what costs nothing is left out, too
        if cheapest is None:
            return None
        price, nodes = cheapest
        taken = latency_of(self._expression, nodes, self._latency)
        return Offer(price + per_second * taken, Contact(nodes, taken))

    def _root(self, wait: float) -> int:
        """Sets that survive the failures and hold a quorum of nodes that answer within `wait`."""
        if wait == self._waits[-1]:
            return self._any
        if wait not in self._within:
            diagram = self._diagram
            fast = diagram.of(
                self._expression, lambda node: diagram.variable(node) if self._latency(node) <= wait else FALSE
            )
            self._within[wait] = diagram.both(self._any, fast)
        return self._within[wait]


class ProgramPricer:
    """By a program in whole numbers: a gate is true only where enough of its parts are.

    Sets that survive failures meet every set that stops all quorums more than `failures` times; such sets are
    found one by one, as they are missed.
    """

    def __init__(self, expression: Expression, failures: int, latency: Latency, budget: Budget) -> None:
        self._budget = budget
        self._expression, self._failures, self._latency = expression, failures, latency
        self._dual = expression.dual()
        self._waits = sorted({latency(node) for node in expression.nodes})
        self._missed: list[frozenset[NodeId]] = []

    def offers(self, prices: Mapping[NodeId, float], per_second: float) -> list[Offer]:
        while True:
            nodes = self._cheapest(prices, per_second)
            if nodes is None:
                return []
            missed = self._stopped_by(nodes) if self._failures else None
            if missed is None:
                break
            self._missed.append(missed)
        taken = latency_of(self._expression, nodes, self._latency)
        if not self._failures:
            nodes = shrunk(self._expression, frozenset(node for node in nodes if self._latency(node) <= taken))
        price = sum(prices[node] for node in sorted(nodes)) + per_second * taken
        return [Offer(price, Contact(nodes, taken))]

    def _cheapest(self, prices: Mapping[NodeId, float], per_second: float) -> frozenset[NodeId] | None:
        program = Program()
        chosen = {node: program.column(0.0, 1.0) for node in self._expression.nodes}
        whole = list(chosen.values())
        aim = [(chosen[node], prices[node]) for node in chosen]
        fast = chosen
        if per_second > 0 and len(self._waits) > 1:
            steps = [program.column(0.0, 1.0) for _ in self._waits]
            whole += steps
            program.row([(step, 1.0) for step in steps], 1.0, 1.0)
            aim += [(step, per_second * wait) for step, wait in zip(steps, self._waits, strict=True)]
            fast = {node: program.column(0.0, 1.0) for node in chosen}
            for node, column in fast.items():
                program.row([(column, 1.0), (chosen[node], -1.0)], upper=0.0)
                late = [
                    (step, -1.0)
                    for step, wait in zip(steps, self._waits, strict=True)
                    if wait >= self._latency(node)
                ]
                program.row([(column, 1.0), *late], upper=0.0)
            whole += fast.values()
        whole += require(program, self._expression, fast)
        for missed in self._missed:
            program.row([(chosen[node], 1.0) for node in sorted(missed)], lower=self._failures + 1.0)
        return self._solved(program, chosen, aim, whole)

    def _stopped_by(self, nodes: frozenset[NodeId]) -> frozenset[NodeId] | None:
        """A set that stops all quorums and has too few of these nodes; None where there is none."""
        program = Program()
        stopping = {node: program.column(0.0, 1.0) for node in self._dual.nodes}
        whole = [*stopping.values(), *require(program, self._dual, stopping)]
        found = self._solved(program, stopping, [(stopping[node], 1.0) for node in sorted(nodes)], whole)
        assert found is not None, "all nodes together stop every quorum"
        return shrunk(self._dual, found) if len(found & nodes) <= self._failures else None

    def _solved(
        self, program: Program, chosen: Mapping[NodeId, int], aim: list[tuple[int, float]], whole: list[int]
    ) -> frozenset[NodeId] | None:
        solution = Face(program.arrays(), self._budget, whole).minimise(program.costs(aim))
        if solution is None:
            return None
        return frozenset(node for node, column in chosen.items() if solution.columns[column] > 0.5)


def require(program: Program, expression: Expression, nodes: Mapping[NodeId, int]) -> list[int]:
    """The nodes whose columns are 1 shall hold a quorum. Returns the columns of inner gates, which are whole."""
    inner: list[int] = []

    def below(part: Expression) -> int:
        if isinstance(part, Node):
            return nodes[part.id]
        column = program.column(0.0, 1.0)
        inner.append(column)
        enough(part, column)
        return column

    def enough(part: Expression, column: int | None) -> None:
        match part:
            case Threshold():
                terms = [(nodes[node], float(min(weight, part.k))) for node, weight in part.weights if weight]
            case Gate():
                terms = [(below(child), 1.0) for child in part.children]
            case _:
                raise AssertionError("a node has its own column")
        if column is None:
            program.row(terms, lower=float(part.k))
        else:
            program.row([*terms, (column, -float(part.k))], lower=0.0)

    if isinstance(expression, Node):
        program.row([(nodes[expression.id], 1.0)], lower=1.0)
    else:
        enough(expression, None)
    return inner
