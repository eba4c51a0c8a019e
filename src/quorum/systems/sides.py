"""One side of a quorum system, reads or writes, in a linear program: as masses of trees, or set by set."""

from __future__ import annotations

from itertools import islice
from typing import Protocol

from quorum.errors import NoStrategy
from quorum.model import NodeId
from quorum.systems.algebra import Expression
from quorum.systems.figures import Latency, latency_of
from quorum.systems.flow import Flow, Shares, Walk, lay, new_shares
from quorum.systems.mass_tree import Choice, Tangled, Tree, edges_of, leaves_of, surviving, tree_of, within
from quorum.systems.mixture import Listed, Mixture, Walked, Weighted
from quorum.systems.pricing import Contact, Pricer, pricer_of
from quorum.systems.program import Budget, Program, Vector

TIMED_EDGES_MAX = 20_000
"""A tree is repeated for each latency where that is asked for, and else where it has no more masses in all."""
CANDIDATES_MAX = 3_000
LISTED_MAX = 300
"""Of a tangled expression with so many quorums each gets its column; else they are found as they are needed."""
MASS_MIN = 1e-12


class Side(Protocol):
    """What a linear program has of one side."""

    name: str
    shares: Shares
    """Of each node, how likely it is asked."""
    waits: list[tuple[int, float]]
    """Seconds that are taken, factor times column; empty where the side is not timed."""
    is_timed: bool

    def mixture(self, values: Vector) -> Mixture:
        """The strategy that the values of the columns are."""


class TreeSide:
    """Masses of trees: one for each latency, of the nodes that answer within it, or one without regard to time."""

    def __init__(self, name: str, expression: Expression, failures: int) -> None:
        self.name = name
        self.shares = new_shares()
        self.waits: list[tuple[int, float]] = []
        self.is_timed = False
        self._expression, self._failures = expression, failures
        self._flows: list[Flow] = []

    def lay_untimed(self, program: Program, tree: Tree) -> None:
        """One tree that has all of the mass."""
        self._flows = [lay(program, tree, program.column(1.0, 1.0), self.shares)]

    @property
    def root(self) -> int:
        """The column with the mass of the first tree."""
        return self._flows[0].column

    def lay_timed(self, program: Program, tree: Tree, latency: Latency) -> None:
        """A tree for each latency; that one may be taken where a quorum answers within it."""
        self.is_timed = True
        for wait in sorted(set(map(latency, leaves_of(tree)))):
            root = program.column()
            if self._failures:
                self._lay_flat(program, tree, root, latency, wait)
            else:
                left = within(tree, lambda node, wait=wait: latency(node) <= wait)  # type: ignore[misc]
                if left is None:
                    program.row([(root, 1.0)], 0.0, 0.0)
                    continue
                self._flows.append(lay(program, left, root, self.shares))
            self.waits.append((root, wait))
        program.row([(flow.column, 1.0) for flow in self._flows], 1.0, 1.0)

    def _lay_flat(self, program: Program, tree: Tree, root: int, latency: Latency, wait: float) -> None:
        """k + failures of the nodes, of which k answer in time: the fastest stand first on the line, so that every
        quorum drawn has at least as many of them as the mean has, rounded down."""
        assert isinstance(tree, Choice), "a single node survives no failure"
        nodes = sorted((str(part) for part in tree.parts), key=lambda node: (latency(node), node))
        flow = lay(program, Choice(tree.k + self._failures, tuple(nodes)), root, self.shares)
        fast = [(part.column, 1.0) for part in flow.parts if latency(part.node) <= wait]
        program.row([*fast, (root, -float(tree.k))], lower=0.0)
        self._flows.append(flow)

    def mixture(self, values: Vector) -> Mixture:
        walks = [Walk(flow, values) for flow in self._flows if values[flow.column] > MASS_MIN]
        return Walked(walks, self._expression.contains)


class ColumnSide:
    """One column for each contact, as they are found. `pricer` is None where all are there."""

    def __init__(self, name: str, expression: Expression, failures: int, latency: Latency, budget: Budget) -> None:
        self.name = name
        self.shares = new_shares()
        self.waits: list[tuple[int, float]] = []
        self.is_timed = True
        self.expression = expression
        self.contacts: dict[int, Contact] = {}
        self.row = -1
        quorums = _few_quorums(expression) if not failures else None
        self.pricer: Pricer | None = None
        if quorums is None:
            self.pricer = pricer_of(expression, failures, latency, budget)
            offers = self.pricer.offers(dict.fromkeys(expression.nodes, 1.0), 0.0)
            self.first = [offer.contact for offer in offers]
        else:
            self.first = [Contact(quorum, latency_of(expression, quorum, latency)) for quorum in quorums]
        if not self.first:
            raise no_resilient(name, failures)

    def lay(self, program: Program) -> None:
        """The row that lets probabilities sum to 1."""
        self.row = program.row([], 1.0, 1.0)

    def has(self, contact: Contact) -> bool:
        """Whether there is a column for it."""
        return contact in self.contacts.values()

    def mixture(self, values: Vector) -> Mixture:
        return Listed(
            [
                Weighted(contact.nodes, float(values[column]))
                for column, contact in self.contacts.items()
                if values[column] > MASS_MIN
            ]
        )


def side_of(
    program: Program,
    budget: Budget,
    name: str,
    expression: Expression,
    failures: int,
    latency: Latency,
    must_time: bool,
) -> TreeSide | ColumnSide:
    """Lay one side into the program, by trees where that is exact. Raises NoStrategy where no set of nodes holds a
    quorum after so many failures."""
    tree = tree_of(expression)
    if tree is None:
        return ColumnSide(name, expression, failures, latency, budget)
    nodes = list(leaves_of(tree))
    is_flat = isinstance(tree, Choice) and all(isinstance(part, str) for part in tree.parts)
    waits = len(set(map(latency, nodes)))
    can_time = not failures or (is_flat and len(set(nodes)) == len(nodes)) or waits == 1
    left: Tree | None = tree
    if failures:
        if len(set(nodes)) < len(nodes) or (must_time and not can_time):
            return ColumnSide(name, expression, failures, latency, budget)
        try:
            left = surviving(tree, failures + 1)
        except Tangled:
            return ColumnSide(name, expression, failures, latency, budget)
    if left is None:
        raise no_resilient(name, failures)
    side = TreeSide(name, expression, failures)
    if waits == 1:
        side.lay_untimed(program, left)
        side.is_timed = True
        side.waits = [(side.root, latency(nodes[0]))]
    elif can_time and (must_time or waits * edges_of(left) <= TIMED_EDGES_MAX):
        side.lay_timed(program, tree, latency)
    else:
        side.lay_untimed(program, left)
    return side


def no_resilient(side: str, failures: int) -> NoStrategy:
    """The refusal of a side that has no set of nodes which survives so many failures."""
    return NoStrategy(
        f"{side} were asked for that survive the loss of any {failures} of the nodes asked, but even all "
        f"nodes together hold no quorum then. Ask for fewer with --f, or let the {side} need fewer nodes.",
        ("f",),
        side,
    )


def _few_quorums(expression: Expression) -> list[frozenset[NodeId]] | None:
    """All minimal quorums, where they are few and quickly told."""
    candidates = list(islice(expression.candidates(), CANDIDATES_MAX + 1))
    if len(candidates) > CANDIDATES_MAX:
        return None
    found = [
        quorum
        for quorum in dict.fromkeys(candidates)
        if not any(expression.contains(quorum - {node}) for node in sorted(quorum))
    ]
    return found if len(found) <= LISTED_MAX else None
