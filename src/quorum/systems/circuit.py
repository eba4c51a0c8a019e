"""Clauses for a satisfiability solver out of thresholds and expressions. Knows no solver itself."""

from __future__ import annotations

from collections.abc import Callable

from quorum.model import NodeId
from quorum.systems.algebra import ALWAYS, Expression, Gate

Clause = list[int]


class Circuit:
    """Clauses by which a true gate forces enough of its inputs. The converse is not needed: all is monotone.

    Source: Plaisted and Greenbaum, "A Structure-Preserving Clause Form Translation" (1986).
    """

    def __init__(self) -> None:
        self.clauses: list[Clause] = []
        self._variables = 0

    def variable(self) -> int:
        """A fresh variable."""
        self._variables += 1
        return self._variables

    def require(self, expression: Expression, nodes: dict[NodeId, int]) -> None:
        """The nodes that are true shall hold a quorum."""
        if expression != ALWAYS:
            self.clauses.append([self._gate(expression, nodes)])

    def keep_apart(self, pairs: list[tuple[int, int]], sharing: int) -> None:
        """Of these pairs of variables at most `sharing` shall be true both."""
        if sharing >= len(pairs):
            return
        if sharing == 0:
            self.clauses += [[-one, -other] for one, other in pairs]
            return
        apart = [(self.variable(), 1) for _ in pairs]
        self.clauses += [[-literal, -one, -other] for (literal, _), (one, other) in zip(apart, pairs, strict=True)]
        self.clauses.append([self.at_least(len(pairs) - sharing, apart)])

    def _gate(self, expression: Expression, nodes: dict[NodeId, int]) -> int:
        votes = expression.as_threshold()
        if votes is not None:
            inputs = [(nodes[node], weight) for node, weight in votes.weights if weight]
            return self.at_least(votes.k, inputs)
        assert isinstance(expression, Gate), "everything but a gate is a threshold"
        return self.at_least(expression.k, [(self._gate(child, nodes), 1) for child in expression.children])

    def at_least(self, k: int, inputs: list[tuple[int, int]]) -> int:
        """A variable that is true only where the weights of true inputs, at most all of them, sum to `k` or more.

        Inputs are pairs of a literal and its weight, which is positive, as is `k`. State (place, lacking): the
        inputs from `place` on are worth `lacking` or more. If it holds, they are worth `lacking` less this weight
        without this input; and without its help, `lacking`.
        """
        left = [weight for _, weight in inputs]
        for place in range(len(left) - 2, -1, -1):
            left[place] += left[place + 1]
        left.append(0)
        states: dict[tuple[int, int], int] = {}
        waiting: list[tuple[int, int]] = []

        def state(place: int, lacking: int) -> int:
            if (place, lacking) not in states:
                states[place, lacking] = self.variable()
                waiting.append((place, lacking))
            return states[place, lacking]

        root = state(0, k)
        while waiting:
            place, lacking = waiting.pop()
            self._step(states[place, lacking], place, lacking, inputs, left, state)
        return root

    def _step(
        self,
        here: int,
        place: int,
        lacking: int,
        inputs: list[tuple[int, int]],
        left: list[int],
        state: Callable[[int, int], int],
    ) -> None:
        literal, weight = inputs[place]
        without = [state(place + 1, lacking)] if left[place + 1] >= lacking else []
        self.clauses.append([-here, literal, *without])
        if lacking > weight:
            self.clauses.append([-here, state(place + 1, lacking - weight)])
