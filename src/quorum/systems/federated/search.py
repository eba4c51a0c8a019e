"""Exact searches over all sets of nodes of a federation, by a satisfiability solver. Imported only when needed.

Smallest sets are found from above: a set, then one that is smaller, until the solver proves that there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

from pysat.solvers import Solver

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.systems.circuit import Circuit
from quorum.systems.federated.federation import UNKNOWN, Federation, NodeMask, places
from quorum.systems.federated.symmetry import Symmetry, symmetry_of

CONFLICTS_MAX: Final = 2_000_000
"""Dead ends after which one question is given up: minutes of work, but counted, so that every run agrees."""

Groups = Mapping[NodeId, str]


def disjoint_quorums(federation: Federation) -> tuple[NodeMask, NodeMask] | None:
    """Two quorums that share no node; None if every two meet.

    The question is NP-complete: Lachowski, "Complexity of the quorum intersection property of the Federated
    Byzantine Agreement System" (2019).
    """
    search = Search(federation)
    mine, theirs = search.literals(), search.literals()
    for node, (one, other) in enumerate(zip(mine, theirs, strict=True)):
        search.clauses.append([-one, -other])
        search.agree(node, one, mine)
        search.agree(node, other, theirs)
    search.clauses += [list(mine), list(theirs)]
    search.order(mine, theirs)
    search.order_sides(mine, theirs)
    with search.solver() as solver:
        found = _answer(solver)
    return None if found is None else (held(mine, found), held(theirs, found))


def smallest_quorum(federation: Federation, groups: Groups | None = None) -> NodeMask | None:
    """A quorum with the fewest nodes, or nodes of the fewest groups; None if there is none."""
    search = Search(federation, groups)
    mine = search.literals()
    for node, literal in enumerate(mine):
        search.agree(node, literal, mine)
    search.clauses.append(list(mine))
    search.order(mine)
    return search.smallest(mine)


def smallest_blocking(federation: Federation, groups: Groups | None = None) -> NodeMask:
    """The fewest nodes, or groups, without which no quorum is left; none at all where there is no quorum.

    Source: Florian, Henningsen, Ndolo and Scheuermann, "The sum of its parts: Analysis of federated Byzantine
    agreement systems" (2022), section 4.
    """
    search = Search(federation, groups)
    gone = search.literals()
    search.leave_no_quorum([-literal for literal in gone])
    search.order(gone)
    found = search.smallest(gone)
    assert found is not None, "without any node there is no quorum"
    return found


def top_tier(federation: Federation) -> NodeMask:
    """All nodes of minimal quorums.

    A node is in one exactly where some quorum has it and holds no quorum without it. So each node is asked for
    until it was seen, or something that may stand in its place.
    """
    search = Search(federation)
    mine, without = search.literals(), search.literals()
    left = search.literals()
    for node, literal in enumerate(mine):
        search.agree(node, literal, mine)
        search.clauses += [[-without[node], literal], [-literal, without[node], left[node]]]
    search.leave_no_quorum(left)
    seen = 0
    with search.solver() as solver:
        for node in places(federation.everyone):
            if seen >> node & 1:
                continue
            others = [-literal for place, literal in enumerate(without) if place != node]
            found = _answer(solver, [without[node], *others])
            if found is not None:
                quorum = federation.minimal_quorum(held(mine, found), keep=1 << node)
                assert quorum >> node & 1, "the node cannot be left out"
                seen |= search.symmetry.orbit(quorum)
    return seen


def held(literals: list[int], true: set[int]) -> NodeMask:
    return sum(1 << node for node, literal in enumerate(literals) if literal in true)


class Search:
    """One formula about the nodes of a federation, and the solver's answers to it."""

    def __init__(self, federation: Federation, groups: Groups | None = None) -> None:
        self._federation = federation
        self._groups = groups
        self.circuit = Circuit()
        self._gates: dict[tuple[int, int], int | None] = {}
        self.clauses = self.circuit.clauses
        self.symmetry: Symmetry = symmetry_of(federation, groups)

    def literals(self) -> list[int]:
        """A fresh variable for each node."""
        return [self.circuit.variable() for _ in self._federation.names]

    def agree(self, node: int, condition: int, chosen: list[int]) -> None:
        """Where the condition holds, the chosen nodes satisfy the node's quorum set."""
        rule = self._federation.rule_of[node]
        gate = None if rule == UNKNOWN else self.satisfied(rule, chosen)
        self.clauses.append([-condition] if gate is None else [-condition, gate])

    def leave_no_quorum(self, left: list[int]) -> None:
        """No set of nodes that are left is a quorum: one after the other they fall, since too many of those that
        they need are gone or fell before. Nodes of one rule fall together."""
        of = self._federation.rule_of
        rules = sorted({rule for rule in of if rule != UNKNOWN})
        bits = max(1, (len(rules) - 1).bit_length())
        turns = {rule: [self.circuit.variable() for _ in range(bits)] for rule in rules}
        self._someone_falls_first(rules, left)
        for rule in rules:
            lost = [self.circuit.variable() for _ in left]
            earlier: dict[int, int] = {}
            for node in places(self._federation.reach[rule]):
                if of[node] == rule:
                    self.clauses.append([-lost[node], -left[node]])
                elif of[node] != UNKNOWN:
                    if of[node] not in earlier:
                        earlier[of[node]] = self._earlier(turns[of[node]], turns[rule])
                    self.clauses.append([-lost[node], -left[node], earlier[of[node]]])
            gate = self._failed(rule, lost, {})
            if gate:
                self.clauses += [[-literal, gate] for node, literal in enumerate(left) if of[node] == rule]

    def _earlier(self, one: list[int], other: list[int]) -> int:
        """A literal that is true only where the first row of literals is below the second, as binary numbers."""
        first = here = self.circuit.variable()
        for place, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            last = place == len(one) - 1
            rest = [] if last else [self.circuit.variable()]
            self.clauses += [[-here, -mine, theirs], [-here, -mine, *rest], [-here, theirs, *rest]]
            here = here if last else rest[0]
        return first

    def _someone_falls_first(self, rules: list[int], left: list[int]) -> None:
        """Where any node is left, some rule fails by those who are gone alone. It follows from the above, but by
        too many steps for the solver, and it says at once how few cannot suffice."""
        nobody = self.circuit.variable()
        self.clauses += [[-nobody, -literal] for literal in left]
        gone = [-literal for literal in left]
        known: dict[int, int] = {}
        gates = [self._failed(rule, gone, known) for rule in rules]
        if all(gates):
            self.clauses.append([nobody, *gates])

    def order(self, *vectors: list[int]) -> None:
        """Of all that differ by swaps alone, look at the one in which what became of the nodes descends."""

        def seen(nodes: list[int]) -> list[int]:
            return [vector[node] for node in nodes for vector in vectors]

        for alike in self.symmetry.nodes:
            for first, second in pairwise(alike):
                self._descend(seen([first]), seen([second]))
        for lists in self.symmetry.lists:
            for one, other in pairwise(lists):
                self._descend(seen(one), seen(other))

    def order_sides(self, one: list[int], other: list[int]) -> None:
        """Two sides may be swapped as a whole: the first that has a node alone is the first side."""
        first = [node for lists in self.symmetry.lists for each in lists for node in each]
        nodes = first + [node for node in range(len(one)) if node not in set(first)]
        self._descend([one[node] for node in nodes], [other[node] for node in nodes])

    def solver(self) -> Solver:
        """A solver for the formula as it is now, to be used as a context."""
        return Solver(name="glucose4", bootstrap_with=self.clauses)

    def smallest(self, chosen: list[int], below: NodeMask | None = None) -> NodeMask | None:
        """A smallest set of chosen nodes, in nodes or groups; None if there is none smaller than `below`."""
        prices = self._prices(chosen)
        found: NodeMask | None = None
        if below is not None:
            self._cheaper(prices, below)
        with self.solver() as solver:
            taken = len(self.clauses)
            while (true := _answer(solver)) is not None:
                found = held(chosen, true)
                if not found:
                    break
                self._cheaper(prices, found)
                for clause in self.clauses[taken:]:
                    solver.add_clause(clause)
                taken = len(self.clauses)
        return found

    def _cheaper(self, prices: list[int], than: NodeMask) -> None:
        """Pay less than for this set."""
        free = [(-price, 1) for price in prices]
        self.clauses.append([self.circuit.at_least(len(free) - self._paid(than) + 1, free)])

    def _prices(self, chosen: list[int]) -> list[int]:
        """One literal for each node, or each group, that is true where any of it is chosen."""
        if self._groups is None:
            return chosen
        prices: dict[str, int] = {}
        for name, literal in zip(self._federation.names, chosen, strict=True):
            group = self._groups[name]
            if group not in prices:
                prices[group] = self.circuit.variable()
            self.clauses.append([-literal, prices[group]])
        return list(prices.values())

    def _paid(self, mask: NodeMask) -> int:
        if self._groups is None:
            return mask.bit_count()
        return len({self._groups[name] for name in self._federation.named(mask)})

    def satisfied(self, rule: int, chosen: list[int]) -> int | None:
        """A literal that is true only where the chosen nodes satisfy the rule; None if none can."""
        key = (rule, chosen[0])
        if key not in self._gates:
            k, members, children = self._federation.rules[rule]
            inputs = [(chosen[node], 1) for node in places(members)]
            gates = [self.satisfied(child, chosen) for child in children]
            inputs += [(gate, 1) for gate in gates if gate is not None]
            self._gates[key] = self.circuit.at_least(k, inputs) if len(inputs) >= k else None
        return self._gates[key]

    def _failed(self, rule: int, lost: list[int], known: dict[int, int]) -> int:
        """A literal that is true only where so many are lost that the rule fails; 0 if it always does."""
        if rule not in known:
            k, members, children = self._federation.rules[rule]
            inputs = [(lost[node], 1) for node in places(members)]
            gates = [self._failed(child, lost, known) for child in children]
            inputs += [(gate, 1) for gate in gates if gate]
            needed = len(inputs) - k + 1
            known[rule] = self.circuit.at_least(needed, inputs) if needed > 0 else 0
        return known[rule]

    def _descend(self, one: list[int], other: list[int]) -> None:
        """The first of two rows of literals is not below the second, read as numbers in binary."""
        same: int | None = None
        for high, low in zip(one, other, strict=True):
            so_far = [] if same is None else [-same]
            self.clauses.append([*so_far, high, -low])
            following = self.circuit.variable()
            self.clauses += [[*so_far, -high, -low, following], [*so_far, high, low, following]]
            same = following


def _answer(solver: Solver, assumptions: list[int] | None = None) -> set[int] | None:
    """The variables that are true in some solution; None if there is none.

    Raises ConfigurationError after CONFLICTS_MAX dead ends without an answer.
    """
    solver.conf_budget(CONFLICTS_MAX)
    answer = solver.solve_limited(assumptions=assumptions or [])
    if answer is None:
        raise ConfigurationError(
            f"an exact analysis of federated quorums was asked for, but {CONFLICTS_MAX:,} attempts did not settle "
            "it. Ask for fewer nodes, as with the scope core."
        )
    return {literal for literal in solver.get_model() if literal > 0} if answer else None
