"""Dealing nodes out to two tangled expressions with a satisfiability solver. Imported only when needed."""

from __future__ import annotations

from collections.abc import Callable

from pysat.solvers import Solver

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.systems.algebra import ALWAYS, NEVER, Expression, Gate
from quorum.systems.structure import Witness

CONFLICTS_MAX = 2_000_000
"""Dead ends after which the solver gives up: minutes of work, but counted, so that every run agrees."""

_Clause = list[int]


def deal_by_solver(
    first: Expression, second: Expression, conflicts_max: int = CONFLICTS_MAX, sharing: int = 0
) -> Witness | None:
    """A quorum of each that have at most `sharing` nodes in common; None if every two share more.

    The quorums need not be minimal. Raises ConfigurationError after `conflicts_max` dead ends without an answer.
    """
    if NEVER in (first, second):
        return None
    circuit = _Circuit()
    mine = {node: circuit.variable() for node in first.nodes}
    theirs = {node: circuit.variable() for node in second.nodes}
    circuit.require(first, mine)
    circuit.require(second, theirs)
    circuit.keep_apart([(mine[node], theirs[node]) for node in first.nodes if node in theirs], sharing)
    with Solver(name="glucose4", bootstrap_with=circuit.clauses) as solver:
        solver.conf_budget(conflicts_max)
        answer = solver.solve_limited()
        if answer is None:
            raise ConfigurationError(
                f"a check of two expressions that name nodes {first.leaves} and {second.leaves} times was asked "
                f"for, but {conflicts_max:,} attempts did not settle it. Write them with fewer repeated nodes."
            )
        if not answer:
            return None
        true = {variable for variable in solver.get_model() if variable > 0}
    return _held(mine, true), _held(theirs, true)


def _held(variables: dict[NodeId, int], true: set[int]) -> frozenset[NodeId]:
    return frozenset(node for node, variable in variables.items() if variable in true)


class _Circuit:
    """Clauses by which a true gate forces enough of its inputs. The converse is not needed: all is monotone.

    Source: Plaisted and Greenbaum, "A Structure-Preserving Clause Form Translation" (1986).
    """

    def __init__(self) -> None:
        self.clauses: list[_Clause] = []
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
        self.clauses.append([self._at_least(len(pairs) - sharing, apart)])

    def _gate(self, expression: Expression, nodes: dict[NodeId, int]) -> int:
        votes = expression.as_threshold()
        if votes is not None:
            inputs = [(nodes[node], weight) for node, weight in votes.weights if weight]
            return self._at_least(votes.k, inputs)
        assert isinstance(expression, Gate), "everything but a gate is a threshold"
        return self._at_least(expression.k, [(self._gate(child, nodes), 1) for child in expression.children])

    def _at_least(self, k: int, inputs: list[tuple[int, int]]) -> int:
        """A variable that is true only where the weights of true inputs sum to `k` or more.

        State (place, lacking): the inputs from `place` on are worth `lacking` or more. If it holds, they are
        worth `lacking` less this weight without this input; and without its help, `lacking`.
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
