"""How many nodes may be lost, whichever they are, so that a quorum is left."""

from __future__ import annotations

from typing import NamedTuple

from quorum.systems.algebra import Expression, Gate, Threshold
from quorum.systems.diagram import Diagram, TooTangled, order_of
from quorum.systems.optimum import SECONDS_MAX
from quorum.systems.system import QuorumSystem


class Resilience(NamedTuple):
    """Losses that leave a read quorum, a write quorum, and both: the smallest set of nodes that meets every
    quorum has one node more. Source: Naor and Wool, "The Load, Capacity, and Availability of Quorum Systems",
    1998."""

    reads: int
    writes: int
    both: int


def resilience_of(system: QuorumSystem) -> Resilience:
    """Exact for every expression. Raises ConfigurationError where a solver gives up on a tangled one."""
    reads = fewest_to_stop(system.reads) - 1
    writes = reads if system.reads == system.writes else fewest_to_stop(system.writes) - 1
    return Resilience(reads, writes, min(reads, writes))


def fewest_to_stop(expression: Expression) -> int:
    """How many nodes the smallest set has without which there is no quorum."""
    if expression.read_once:
        return _of_tree(expression)
    if isinstance(expression, Gate) and expression.k == len(expression.children):  # whoever stops one, stops all
        return min(map(fewest_to_stop, expression.children))
    try:
        diagram = Diagram(order_of(expression))
        return diagram.fewest_false(diagram.of(expression))
    except TooTangled:
        return _by_program(expression.dual())


def _of_tree(expression: Expression) -> int:
    match expression:
        case Threshold():
            left = expression.total
            for count, (_, weight) in enumerate(sorted(expression.weights, key=lambda vote: -vote[1]), 1):
                left -= weight
                if left < expression.k:
                    return count
            raise AssertionError("a threshold is within the total")
        case Gate():
            each = sorted(map(_of_tree, expression.children))
            return sum(each[: len(each) - expression.k + 1])
    return 1


def _by_program(dual: Expression) -> int:
    from quorum.systems.pricing import ProgramPricer
    from quorum.systems.program import Budget

    pricer = ProgramPricer(dual, 0, lambda node: 1.0, Budget(SECONDS_MAX))
    return round(min(offer.price for offer in pricer.offers(dict.fromkeys(dual.nodes, 1.0), 0.0)))
