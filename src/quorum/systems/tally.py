"""Counting votes and acknowledgements against an expression: who won, and what is committed."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

from quorum.model import NodeId
from quorum.systems.algebra import ALWAYS, NEVER, Expression, Gate

INFINITY = 2**63 - 1
"""The committed index of a configuration without nodes: it holds nothing back, alone or in a joint one."""

Committed = Callable[[Mapping[NodeId, int]], int]


class Outcome(enum.Enum):
    """What the votes so far decide."""

    PENDING = "pending"
    LOST = "lost"
    WON = "won"


class Tally:
    """One vote, counted by the voter's identity. WON and LOST are final.

    LOST as soon as the voters who have not refused no longer hold a quorum. One weighted threshold costs
    a few additions a vote; any other expression is evaluated again at each vote.
    """

    __slots__ = ("_expression", "_granted", "_nodes", "_refused", "_spare", "_votes", "_wanted", "outcome")

    def __init__(self, expression: Expression) -> None:
        self._expression = expression
        self._granted: set[NodeId] = set()
        self._refused: set[NodeId] = set()
        self._nodes = frozenset(expression.nodes)
        self._votes = expression.as_threshold()
        self._wanted = self._votes.k if self._votes else 0
        self._spare = self._votes.total - self._votes.k if self._votes else 0
        self.outcome = self._judge() if not self._votes else Outcome.PENDING

    @property
    def granted(self) -> frozenset[NodeId]:
        """Who voted yes."""
        return frozenset(self._granted)

    @property
    def refused(self) -> frozenset[NodeId]:
        """Who voted no."""
        return frozenset(self._refused)

    def vote(self, voter: NodeId, granted: bool) -> Outcome:
        """Count one vote and return the outcome so far.

        The first vote of a voter stands, whatever it says later; a voter outside the expression is ignored.
        """
        if voter not in self._nodes or voter in self._granted or voter in self._refused:
            return self.outcome
        (self._granted if granted else self._refused).add(voter)
        if self._votes is not None:
            weight = self._votes.weight(voter)
            self._wanted -= weight if granted else 0
            self._spare -= 0 if granted else weight
        if self.outcome is Outcome.PENDING:
            self.outcome = self._judge()
        return self.outcome

    def _judge(self) -> Outcome:
        if self._votes is not None:
            won, lost = self._wanted <= 0, self._spare < 0
        else:
            won = self._expression.contains(self._granted)
            lost = not self._expression.contains(self._nodes - self._refused)
        assert not (won and lost), "no vote counts on both sides"
        if won:
            return Outcome.WON
        return Outcome.LOST if lost else Outcome.PENDING


def committed_index(expression: Expression, acked: Mapping[NodeId, int]) -> int:
    """The largest index i such that the nodes that acknowledged i or more hold a quorum.

    A node missing from `acked` acknowledged nothing: 0. INFINITY where no node needs to.
    """
    return compile_committed(expression)(acked)


def compile_committed(expression: Expression) -> Committed:
    """Compile `committed_index` for one expression: build once for each configuration, call for each round.

    An expression is monotone, so its committed index is computed gate by gate: k of n children is the k-th
    highest of their indexes, and a weighted threshold is the index at which the highest ones reach it.
    """
    if expression == ALWAYS:
        return lambda acked: INFINITY
    if expression == NEVER:
        return lambda acked: 0
    threshold = expression.as_threshold()
    if threshold is not None and threshold.uniform:
        weight = threshold.weights[0][1]
        return _compile_plain(tuple(node for node, _ in threshold.weights), -(-threshold.k // weight))
    if threshold is not None:
        return _compile_weighted(threshold.weights, threshold.k)
    assert isinstance(expression, Gate), "everything but a gate is a threshold"
    parts = tuple(compile_committed(child) for child in expression.children)
    return _compile_gate(parts, expression.k)


def _compile_plain(nodes: tuple[NodeId, ...], k: int) -> Committed:
    place = len(nodes) - k

    def committed(acked: Mapping[NodeId, int]) -> int:
        get = acked.get
        indexes = [get(node, 0) for node in nodes]
        indexes.sort()
        return indexes[place]

    return committed


def _compile_weighted(weights: tuple[tuple[NodeId, int], ...], k: int) -> Committed:
    def committed(acked: Mapping[NodeId, int]) -> int:
        get = acked.get
        held = 0
        for index, weight in sorted([(get(node, 0), weight) for node, weight in weights], reverse=True):
            held += weight
            if held >= k:
                return index
        raise AssertionError("the weights sum to k or more")

    return committed


def _compile_gate(parts: tuple[Committed, ...], k: int) -> Committed:
    if len(parts) == 2:
        first, second = parts
        choice: Callable[[int, int], int] = max if k == 1 else min
        return lambda acked: choice(first(acked), second(acked))
    place = len(parts) - k

    def committed(acked: Mapping[NodeId, int]) -> int:
        return sorted([part(acked) for part in parts])[place]

    return committed
