"""How likely a live quorum is: exact, for failures that are independent or that take whole zones.

Trees are worked out by convolution of how many parts of a gate are up; where nodes repeat, a decision diagram does
it. Both chances, of being up and of being down, are sums of positive terms in logarithms: an unavailability of
1e-39 is as exact as one of 0.1. Source: Barlow and Heidtmann, "Computing k-out-of-n System Reliability" (1984).
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.systems.algebra import Expression, Gate, both
from quorum.systems.architecture import Architecture
from quorum.systems.diagram import Chance, Diagram, TooTangled, order_of
from quorum.systems.state_tree import CERTAIN, NEVER_UP, StateTree, all_of

SIDES_MAX = 4
"""Expressions that are worked out at once; each doubles the states of every part."""


class Availability(NamedTuple):
    """The chance of a live read quorum, of a live write quorum, and of both at once. `Chance.fails` is the
    logarithm of the unavailability."""

    reads: Chance
    writes: Chance
    both: Chance


def availability_of(architecture: Architecture) -> Availability:
    """How likely quorums are alive, given the failure probabilities of nodes and zones; who has none never fails.

    Raises ConfigurationError where an expression with repeated nodes, or with zones across its gates, is too
    tangled for an exact answer.
    """
    failures = Failures(architecture)
    reads, writes = architecture.system.reads, architecture.system.writes
    one = failures.chance(reads)
    if reads == writes:
        return Availability(one, one, one)
    return Availability(one, failures.chance(writes), failures.chance_of_both(reads, writes))


class Failures:
    """The failure probabilities of an architecture, ready to be asked."""

    def __init__(self, architecture: Architecture) -> None:
        self._zones = {zone: log_chance(failed) for zone, failed in architecture.zones.items()}
        self._nodes: dict[NodeId, Chance] = {}
        self._zone_of: dict[NodeId, str] = {}
        for node in architecture.system.nodes:
            traits = architecture.traits(node)
            failed = traits.failure_probability
            self._nodes[node] = CERTAIN if failed is None else log_chance(failed)
            if traits.zone in self._zones and architecture.zones[traits.zone]:
                self._zone_of[node] = traits.zone

    def chance(self, expression: Expression) -> Chance:
        """How likely the live nodes hold a quorum of it."""
        return self._answer((expression,))

    def chance_of_both(self, first: Expression, second: Expression) -> Chance:
        """How likely they hold a quorum of each of the two."""
        joined = _as_one_threshold(first, second)
        return self._answer((joined,) if joined is not None else (first, second))

    def _answer(self, expressions: tuple[Expression, ...]) -> Chance:
        tree = StateTree(self._nodes, self._zone_of, self._zones)
        products = [product for each in expressions for product in _products(each)]
        if len(products) <= SIDES_MAX and all(each.read_once for each in products):
            states = tree.states(tuple(products), {})
            if states is not None:
                return settled(all_of(states))
        try:
            return self._by_diagram(expressions)
        except TooTangled:
            raise ConfigurationError(
                f"the availability of an expression that names {len(expressions[0].nodes)} nodes "
                f"{sum(each.leaves for each in expressions)} times was asked for, but an exact answer would take "
                "too long. Name each node once, or let zones fit the gates."
            ) from None

    def _by_diagram(self, expressions: tuple[Expression, ...]) -> Chance:
        """Zones are variables of their own, each before its first node: a node is up where both are."""
        order: dict[str, None] = {}
        for node in order_of(*expressions):
            if node in self._zone_of:
                order[f"zone {self._zone_of[node]}"] = None
            order[f"node {node}"] = None
        diagram = Diagram(list(order))

        def leaf(node: NodeId) -> int:
            up = diagram.variable(f"node {node}")
            zone = self._zone_of.get(node)
            return up if zone is None else diagram.both(up, diagram.variable(f"zone {zone}"))

        root = diagram.of(expressions[0], leaf)
        for expression in expressions[1:]:
            root = diagram.both(root, diagram.of(expression, leaf))
        chances = {f"node {node}": chance for node, chance in self._nodes.items()}
        chances |= {f"zone {zone}": chance for zone, chance in self._zones.items()}
        return settled(diagram.chance(root, chances))


def log_chance(failed: Fraction) -> Chance:
    """Of what fails with this probability: neither chance is rounded before its logarithm is taken."""
    if failed in (0, 1):
        return NEVER_UP if failed else CERTAIN
    up, down = failed.denominator - failed.numerator, failed.numerator
    if failed < Fraction(1, 2):
        return Chance(math.log1p(-down / failed.denominator), math.log(down) - math.log(failed.denominator))
    return Chance(math.log(up) - math.log(failed.denominator), math.log1p(-up / failed.denominator))


def _products(expression: Expression) -> list[Expression]:
    """Expressions that all must hold, so that no node repeats in one: for a grid, a row and a node of each."""
    if expression.read_once or not isinstance(expression, Gate) or expression.k < len(expression.children):
        return [expression]
    groups: list[tuple[set[NodeId], list[Expression]]] = []
    for factor in expression.children:
        nodes = set(factor.nodes)
        home = next((group for group in groups if group[0].isdisjoint(nodes)), None)
        if home is None:
            groups.append((nodes, [factor]))
        else:
            home[0].update(nodes)
            home[1].append(factor)
    return [both(*factors) for _, factors in groups]


def _as_one_threshold(first: Expression, second: Expression) -> Expression | None:
    """The one that implies the other, where both count the same nodes with the same weights."""
    mine, theirs = first.as_threshold(), second.as_threshold()
    if mine is None or theirs is None or mine.weights != theirs.weights:
        return None
    return first if mine.k >= theirs.k else second


def settled(chance: Chance) -> Chance:
    """The two chances sum to 1: the larger follows from the smaller, which has all its digits."""
    if chance.fails <= chance.holds:
        return Chance(math.log1p(-math.exp(chance.fails)), chance.fails)
    return Chance(chance.holds, math.log1p(-math.exp(chance.holds)))
