"""Do quorums meet? Exact answers, each with two quorums that miss each other as the witness.

An expression is monotone, so a quorum of the first and one of the second miss each other exactly where the
nodes can be dealt out to the two sides such that each side is satisfied.
"""

from __future__ import annotations

from itertools import islice

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.systems.algebra import ALWAYS, NEVER, Expression
from quorum.systems.structure import UNDECIDED, Answer, Witness, deal_by_structure
from quorum.systems.system import QuorumSystem

__all__ = ["Witness", "check_raft", "disjoint_quorums", "shown", "shrunk", "verify_witness"]

QUORUMS_TRIED = 2_000
"""Above so many quorums on both sides the satisfiability solver takes over."""
NAMES_SHOWN = 12


def disjoint_quorums(first: Expression, second: Expression) -> Witness | None:
    """A quorum of the first and a quorum of the second that share no node, both minimal; None if all meet.

    Exact for every expression, repeated nodes included. Thresholds, weighted ones too, trees of the same
    shape and sums of such are settled by arithmetic; the rest by trying quorums, then by a solver.
    Raises ConfigurationError where the solver gives up: the expression is then too tangled to be trusted.
    """
    found = deal_by_structure(first, second)
    if found is UNDECIDED:
        found = _deal_by_trying(first, second)
    if found is UNDECIDED:
        from quorum.systems.solver import deal_by_solver

        found = deal_by_solver(first, second)
    if found is None:
        return None
    witness = (shrunk(first, found[0]), shrunk(second, found[1]))
    assert verify_witness(first, second, witness), "the two quorums of a witness share no node"
    return witness


def verify_witness(first: Expression, second: Expression, witness: Witness) -> bool:
    """Whether the witness proves that the two expressions do not meet. Uses no part of the search."""
    mine, theirs = witness
    return mine.isdisjoint(theirs) and first.contains(mine) and second.contains(theirs)


def check_raft(system: QuorumSystem) -> None:
    """Raise ConfigurationError, naming two quorums that miss each other, unless Raft is safe on the system.

    Every two election quorums (reads) must meet, so that a term has one leader; every election quorum must
    meet every replication quorum (writes), so that the leader has every decided entry. Both must exist.
    Source: Ongaro, "Consensus: Bridging Theory and Practice" (2014), section 3.6; Howard, Malkhi and
    Spiegelman, "Flexible Paxos" (2016), where the first condition falls away.
    """
    for role, expression in (("election", system.reads), ("replication", system.writes)):
        if expression in (ALWAYS, NEVER):
            raise ConfigurationError(
                f"Raft was asked for without {role} quorums, but no node could then decide anything. "
                "Name at least one node that votes."
            )
    _check_meet(system.reads, system.reads, "election", "a term could have two leaders")
    _check_meet(system.reads, system.writes, "replication", "a new leader could miss a decided entry")


def _check_meet(elect: Expression, other: Expression, role: str, danger: str) -> None:
    witness = disjoint_quorums(elect, other)
    if witness is None:
        return
    mine, theirs = map(shown, witness)
    raise ConfigurationError(
        f"Raft was asked for with election quorum {mine} and {role} quorum {theirs}, but they share no node: "
        f"{danger}. Let every election quorum meet every election and every replication quorum, for example "
        "by majorities for both."
    )


def shown(quorum: frozenset[NodeId]) -> str:
    """The names of a quorum for an error, the first dozen of them."""
    names = sorted(quorum)
    more = f", and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return "{" + ", ".join(names[:NAMES_SHOWN]) + more + "}"


def _deal_by_trying(first: Expression, second: Expression) -> Answer:
    """Try each quorum of one side that might be minimal against all other nodes, as long as they are few."""
    everyone = frozenset(first.nodes) | frozenset(second.nodes)
    for mine, other, swapped in ((first, second, False), (second, first, True)):
        tried = 0
        for quorum in islice(mine.candidates(), QUORUMS_TRIED):
            tried += 1
            rest = everyone - quorum
            if other.contains(rest):
                return (rest, quorum) if swapped else (quorum, rest)
        if tried < QUORUMS_TRIED:
            return None
    return UNDECIDED


def shrunk(expression: Expression, quorum: frozenset[NodeId]) -> frozenset[NodeId]:
    """A minimal quorum inside this one."""
    for node in sorted(quorum):
        smaller = quorum - {node}
        if expression.contains(smaller):
            quorum = smaller
    return quorum
