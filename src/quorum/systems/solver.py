"""Dealing nodes out to two tangled expressions with a satisfiability solver. Imported only when needed."""

from __future__ import annotations

from pysat.solvers import Solver

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.systems.algebra import NEVER, Expression
from quorum.systems.circuit import Circuit
from quorum.systems.structure import Witness

CONFLICTS_MAX = 2_000_000
"""Dead ends after which the solver gives up: minutes of work, but counted, so that every run agrees."""


def deal_by_solver(
    first: Expression, second: Expression, conflicts_max: int = CONFLICTS_MAX, sharing: int = 0
) -> Witness | None:
    """A quorum of each that have at most `sharing` nodes in common; None if every two share more.

    The quorums need not be minimal. Raises ConfigurationError after `conflicts_max` dead ends without an answer.
    """
    if NEVER in (first, second):
        return None
    circuit = Circuit()
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
