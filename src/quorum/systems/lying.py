"""How likely a system is safe, and how likely it is live, where each node is good, crashed or lying.

Safe: every read quorum shares a node with every write quorum that does not lie, as data that is signed needs; a
node that has crashed may have voted before, and counts as one that does not lie. Live: the good nodes hold a read
and a write quorum. Source: Malkhi and Reiter, "Byzantine Quorum Systems" (1998), section 5, with a probability for
each fault in place of a bound on their number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.systems.algebra import Expression, Gate, Node, Threshold
from quorum.systems.architecture import probability
from quorum.systems.availability import log_chance, settled
from quorum.systems.diagram import Chance, Diagram, TooTangled, log_sum, order_of
from quorum.systems.state_tree import States, StateTree
from quorum.systems.system import QuorumSystem


class Faults(NamedTuple):
    """How likely a node has crashed, and how likely it lies; never both."""

    crashed: Fraction | float | str = 0
    lying: Fraction | float | str = 0


class Trust(NamedTuple):
    """The chance of being safe, of being live, and of both at once; `Chance.fails` is the logarithm of its
    complement."""

    safe: Chance
    live: Chance
    both: Chance


def trust_of(system: QuorumSystem, faults: Mapping[NodeId, Faults]) -> Trust:
    """Exact, for faults that are independent; a node that is not in `faults` is good.

    Raises ConfigurationError for a probability that is none, and where an expression is too tangled.
    """
    known = {node: _checked(node, faults.get(node, Faults())) for node in system.nodes}
    found = _by_tree(system, known)
    if found is None:
        try:
            found = _by_diagram(system, known)
        except TooTangled:
            raise ConfigurationError(
                f"the safety of {len(system.nodes)} nodes of which some may lie was asked for, but their "
                "expressions are too tangled for an exact answer. Name each node once a side, in the same gates."
            ) from None
    return Trust(*map(settled, found))


class _Fault(NamedTuple):
    crashed: Fraction
    lying: Fraction


def _checked(node: NodeId, faults: Faults) -> _Fault:
    crashed, lying = (probability(each, f"node {node}") for each in faults)
    if crashed + lying > 1:
        raise ConfigurationError(
            f"node {node} was said to crash with {float(crashed):g} and to lie with {float(lying):g}, but it is "
            "in one state at a time. Let the two sum to 1 at most."
        )
    return _Fault(crashed, lying)


def danger_of(reads: Expression, writes: Expression) -> Expression | None:
    """Which sets of liars make a system unsafe, as an expression; None where the two sides do not match, or
    where none are needed.

    A part of which both sides can be served at once, by liars who tell each side what it wants, is lost; any other
    part serves one of the two. So parts that are lost and parts that are dealt out must suffice for both sides.
    """
    if isinstance(reads, Node) and isinstance(writes, Node):
        return reads if reads == writes else None
    mine, theirs = _counted(reads), _counted(writes)
    if mine is None or theirs is None:
        return None
    (k, parts), (other_k, others) = mine, theirs
    by_nodes = {part.nodes: part for part in others}
    if {part.nodes for part in parts} != by_nodes.keys() or not (reads.read_once and writes.read_once):
        return None
    lost = [danger_of(part, by_nodes[part.nodes]) for part in parts]
    below = [part for part in lost if part is not None]
    if len(below) < len(parts):
        return None
    size = len(parts)
    least = next(s for s in range(size + 1) if max(0, k - s) + max(0, other_k - s) <= size - s)
    return Gate(least, tuple(below)) if least else None  # as it stands: it must match the other sides


def _counted(expression: Expression) -> tuple[int, list[Expression]] | None:
    """The gate as a count of parts; None where they weigh differently."""
    match expression:
        case Gate():
            return expression.k, list(expression.children)
        case Threshold():
            votes = [(node, weight) for node, weight in expression.weights if weight]
            if len({weight for _, weight in votes}) == 1:
                return -(-expression.k // votes[0][1]), [Node(node) for node, _ in votes]
    return None


class _FaultTree(StateTree):
    """States of danger and of sides that are live: a liar is in danger and not live, a crashed node is neither."""

    def __init__(self, faults: Mapping[NodeId, _Fault]) -> None:
        super().__init__({}, {}, {})
        self._faults = faults

    def of_node(self, node: NodeId, sides: int, zones_up: Mapping[str, bool]) -> States:
        crashed, lying = self._faults[node]
        states = {
            (True, *[False] * (sides - 1)): lying,
            (False, *[False] * (sides - 1)): crashed,
            (False, *[True] * (sides - 1)): 1 - crashed - lying,
        }
        return {state: log_chance(chance).fails for state, chance in states.items() if chance}


def _by_tree(system: QuorumSystem, faults: Mapping[NodeId, _Fault]) -> tuple[Chance, Chance, Chance] | None:
    danger = danger_of(system.reads, system.writes)
    if danger is None:
        return None
    sides = (system.reads,) if system.reads == system.writes else (system.reads, system.writes)
    states = _FaultTree(faults).states((danger, *sides), {})
    if states is None:
        return None
    sums = [[-math.inf, -math.inf] for _ in range(3)]
    for (lost, *live), chance in states.items():
        for pair, holds in zip(sums, (not lost, all(live), not lost and all(live)), strict=True):
            pair[not holds] = log_sum(pair[not holds], chance)
    safe, alive, both = (Chance(*pair) for pair in sums)
    return safe, alive, both


def _by_diagram(system: QuorumSystem, faults: Mapping[NodeId, _Fault]) -> tuple[Chance, Chance, Chance]:
    """Three variables for a node: whether it lies, whether it has crashed if it does not, and which side an honest
    one serves; the last is chosen by whoever wants to do harm."""
    order = order_of(system.reads, system.writes)
    diagram = Diagram([f"{what} {node}" for node in order for what in ("lies", "crashed", "serves")])

    def serves(expression: Expression, is_read: bool) -> int:
        side = diagram.variable if is_read else diagram.opposite
        return diagram.of(
            expression, lambda node: diagram.either(diagram.variable(f"lies {node}"), side(f"serves {node}"))
        )

    def good(node: NodeId) -> int:
        return diagram.both(diagram.opposite(f"lies {node}"), diagram.opposite(f"crashed {node}"))

    harmed = diagram.both(serves(system.reads, True), serves(system.writes, False))
    safe = diagram.negated(diagram.some(harmed, [f"serves {node}" for node in order]))
    live = diagram.both(diagram.of(system.reads, good), diagram.of(system.writes, good))
    chances = {f"serves {node}": Chance(math.log(0.5), math.log(0.5)) for node in order}
    for node in order:
        crashed, lying = faults[node]
        honest = 1 - lying
        chances[f"lies {node}"] = _reverse(log_chance(lying))
        chances[f"crashed {node}"] = _reverse(log_chance(crashed / honest if honest else Fraction(0)))
    found = [diagram.chance(root, chances) for root in (safe, live, diagram.both(safe, live))]
    return found[0], found[1], found[2]


def _reverse(chance: Chance) -> Chance:
    return Chance(chance.fails, chance.holds)
