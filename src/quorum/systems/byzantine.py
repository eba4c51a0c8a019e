"""Quorum systems whose nodes may lie: every two quorums share an honest node, whoever the T liars are.

Such a system is called a dissemination system: what it stores is signed, so one honest node in common is enough.
Source: Malkhi and Reiter, "Byzantine Quorum Systems" (1998), section 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from quorum.errors import ConfigurationError
from quorum.model import NodeId, check_fault_budget, quorum_size
from quorum.systems.algebra import ALWAYS, NEVER, Expression, Node, Threshold, choose
from quorum.systems.check import disjoint_quorums, shown, shrunk
from quorum.systems.structure import Witness, deal_votes
from quorum.systems.system import QuorumSystem


def byzantine(nodes: Iterable[NodeId], faults: int) -> QuorumSystem:
    """Any ceil((N+T+1)/2) of the nodes, to read and to write.

    Raises ConfigurationError for a node named twice, and where N < 3T+1.
    """
    named = tuple(nodes)
    if len(set(named)) < len(named):
        raise ConfigurationError(
            f"a Byzantine quorum was asked for among {len(named)} nodes, but one is named twice and would count "
            "twice. Name each node once."
        )
    check_fault_budget(len(named), faults, "byzantine")
    decide = choose(quorum_size(len(named), faults, "byzantine"), *(Node(node) for node in named))
    return QuorumSystem(decide, decide)


def weighted_byzantine(weights: Mapping[NodeId, int], faults: int) -> QuorumSystem:
    """The fewest votes of which every two quorums share more than the `faults` heaviest nodes have together.

    Raises ConfigurationError where no quorum would be left without those nodes, N < 3T+1, or a weight or T is no
    count.
    """
    check_fault_budget(len(weights), faults, "byzantine")
    total = Threshold(weights, 1).total
    heaviest = sum(sorted(weights.values(), reverse=True)[:faults])
    votes = (total + heaviest) // 2 + 1
    if votes > total - heaviest:
        raise ConfigurationError(
            f"votes were asked for of which {faults} nodes may have {heaviest} of {total}, but those could stop "
            f"every quorum of {votes}. Give every {faults} nodes less than a third of the votes."
        )
    decide = Threshold(weights, votes)
    return QuorumSystem(decide, decide)


def sharing_at_most(first: Expression, second: Expression, count: int) -> Witness | None:
    """A quorum of each that have at most `count` nodes in common; None if every two share more.

    Exact for every expression: one weighted threshold by arithmetic, anything else by a solver.
    Raises ConfigurationError where the solver gives up.
    """
    if NEVER in (first, second):
        return None
    if count <= 0:
        return disjoint_quorums(first, second) if count == 0 else None
    votes = first.as_threshold()
    if votes is not None and first == second:
        found = _votes_sharing(votes, count)
    else:
        from quorum.systems.solver import deal_by_solver

        found = deal_by_solver(first, second, sharing=count)
    if found is None:
        return None
    witness = shrunk(first, found[0]), shrunk(second, found[1])
    assert verify_sharing(first, second, count, witness), "the quorums of a witness share few nodes"
    return witness


def verify_sharing(first: Expression, second: Expression, count: int, witness: Witness) -> bool:
    """Whether the witness proves that two quorums share at most `count` nodes. Uses no part of the search."""
    mine, theirs = witness
    return len(mine & theirs) <= count and first.contains(mine) and second.contains(theirs)


def blocking_set(expression: Expression, count: int) -> frozenset[NodeId] | None:
    """At most `count` nodes without which no quorum is left, none of them to spare; None if so few cannot stop it.

    Exact: the sets that meet every quorum are the quorums of the dual.
    Raises ConfigurationError where the solver gives up.
    """
    if expression == ALWAYS or count < 0:
        return None
    dual = expression.dual()
    votes = dual.as_threshold()
    if votes is not None:
        heaviest = sorted(votes.weights, key=lambda vote: (-vote[1], vote[0]))[:count]
        found: frozenset[NodeId] | None = frozenset(node for node, _ in heaviest)
        if not dual.contains(frozenset(node for node, _ in heaviest)):
            found = None
    else:
        from quorum.systems.solver import deal_by_solver

        everyone = Threshold(dict.fromkeys(dual.nodes, 1), len(dual.nodes))
        pair = deal_by_solver(dual, everyone, sharing=count)
        found = None if pair is None else pair[0]
    return None if found is None else shrunk(dual, found)


def check_byzantine(system: QuorumSystem, faults: int) -> None:
    """Raise ConfigurationError, with the witness, unless PBFT is safe and live on the system with T liars.

    Reads are writes: view changes and decisions use the same quorums. Every two share T+1 nodes, so an honest
    one; and whichever T nodes are silent, a quorum is left.
    Source: Castro and Liskov, "Practical Byzantine Fault Tolerance" (1999), section 4.2, for N = 3T+1; Malkhi and
    Reiter, "Byzantine Quorum Systems" (1998), definition 5.1, for any system.
    """
    if faults < 0:
        raise ConfigurationError(
            f"PBFT was asked for with T={faults} liars, but T counts nodes. Give a whole number, 0 or more."
        )
    decide = system.writes
    if decide in (ALWAYS, NEVER):
        raise ConfigurationError(
            "PBFT was asked for without quorums, but no node could then decide anything. "
            "Name at least one node that votes."
        )
    if system.reads != decide:
        raise ConfigurationError(
            f"PBFT was asked for with reads {str(system.reads)[:80]!r} and writes {str(decide)[:80]!r}, but it "
            "changes views by the same quorums by which it decides. Give one expression for both."
        )
    witness = sharing_at_most(decide, decide, faults)
    if witness is not None:
        mine, theirs = map(shown, witness)
        raise ConfigurationError(
            f"PBFT was asked for with quorums {mine} and {theirs} and T={faults} liars, but the two share "
            f"{len(witness[0] & witness[1])} nodes: if those lie, two values are decided. Let every two quorums "
            f"share {faults + 1} nodes, for example by ceil((N+T+1)/2) of the nodes."
        )
    silent = blocking_set(decide, faults)
    if silent is not None:
        raise ConfigurationError(
            f"PBFT was asked for with T={faults} liars, but without {shown(silent)} no quorum is left, so they "
            "could stop every decision. Use smaller quorums, more nodes (3T+1 or more), or a smaller T."
        )


def _votes_sharing(votes: Threshold, count: int) -> Witness | None:
    """Two quorums of one threshold that share the `count` heaviest nodes and no other, if there are any.

    No other choice does better: where a lighter node is shared and a heavier one is not, trading the two takes
    no votes from either side.
    """
    heaviest = sorted((vote for vote in votes.weights if vote[1]), key=lambda vote: (-vote[1], vote[0]))
    shared = frozenset(node for node, _ in heaviest[:count])
    rest = dict(heaviest[count:])
    wanted = votes.k - sum(weight for _, weight in heaviest[:count])
    if wanted <= 0:
        return shared, shared
    if sum(rest.values()) < wanted:
        return None
    fewer = Threshold(rest, wanted)
    dealt = deal_votes(fewer, fewer)
    return None if dealt is None else (shared | dealt[0], shared | dealt[1])
