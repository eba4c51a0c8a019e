"""Does a witness prove that two quorums share no node? Shares no code with the search, and reads the quorum sets
as they were given."""

from __future__ import annotations

from collections.abc import Mapping, Set

from quorum.model import NodeId
from quorum.systems.federated.federation import QuorumSet


def is_quorum(quorum_sets: Mapping[NodeId, QuorumSet | None], nodes: Set[NodeId]) -> bool:
    """Whether the nodes, one at least, satisfy the quorum set of each of them. Linear in what is written down."""
    return bool(nodes) and all(
        (mine := quorum_sets.get(node)) is not None and _is_satisfied(mine, nodes) for node in nodes
    )


def verify_disjoint(
    quorum_sets: Mapping[NodeId, QuorumSet | None], first: Set[NodeId], second: Set[NodeId]
) -> bool:
    """Whether both are quorums, and share no node."""
    return first.isdisjoint(second) and is_quorum(quorum_sets, first) and is_quorum(quorum_sets, second)


def _is_satisfied(quorum_set: QuorumSet, nodes: Set[NodeId]) -> bool:
    votes = [validator in nodes for validator in quorum_set.validators]
    votes += [_is_satisfied(each, nodes) for each in quorum_set.inner]
    return sum(votes) >= quorum_set.threshold
