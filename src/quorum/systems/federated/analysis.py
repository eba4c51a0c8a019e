"""How safe and how live a federation is: do its quorums meet, and how few nodes can stop it, or split it.

All answers are exact. Source of the terms: Florian, Henningsen, Ndolo and Scheuermann, "The sum of its parts:
Analysis of federated Byzantine agreement systems" (2022), sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from quorum.model import NodeId
from quorum.systems.federated.core import core, quorum_components
from quorum.systems.federated.federation import UNKNOWN, Federation, NodeMask
from quorum.systems.federated.witness import verify_disjoint

Scope = Literal["core", "all"]
Disjoint = tuple[frozenset[NodeId], frozenset[NodeId]]


class Figures(msgspec.Struct, frozen=True):
    """What was found. With groups, sets of nodes are counted by the groups that they belong to."""

    scope: Scope
    nodes: int
    """How many nodes the scope has."""
    witness: Disjoint | None
    """Two minimal quorums that share no node; None: every two meet."""
    top_tier: tuple[str, ...]
    """The nodes of all minimal quorums, or the groups of these nodes, by name."""
    blocking: frozenset[NodeId]
    """A smallest set without which no quorum is left; empty where there is no quorum anyway."""
    splitting: frozenset[NodeId] | None
    """A smallest set that can lead two quorums apart; empty where they are apart; None: no set can."""
    quorum: frozenset[NodeId] | None
    """A smallest quorum; None: there is none."""
    groups: Mapping[NodeId, str] | None = None

    @property
    def intersection(self) -> bool:
        """Whether every two quorums share a node. So it is where there is none."""
        return self.witness is None

    @property
    def minimal_blocking_size(self) -> int:
        """In nodes, or groups."""
        return self._size(self.blocking)

    @property
    def minimal_splitting_size(self) -> int | None:
        """In nodes, or groups; None: no set can split it."""
        return None if self.splitting is None else self._size(self.splitting)

    @property
    def minimal_quorum_size(self) -> int | None:
        """In nodes, or groups; None: there is no quorum."""
        return None if self.quorum is None else self._size(self.quorum)

    def counted(self, nodes: frozenset[NodeId]) -> tuple[str, ...]:
        """The nodes as they are counted: themselves, or their groups, by name."""
        return tuple(sorted(nodes if self.groups is None else {self.groups[node] for node in nodes}))

    def _size(self, nodes: frozenset[NodeId]) -> int:
        return len(self.counted(nodes))


def analyse(federation: Federation, scope: Scope = "core", groups: Mapping[NodeId, str] | None = None) -> Figures:
    """All figures of a federation.

    `scope` "core": only nodes of strongly connected components that hold a quorum, as published figures have it;
    "all": also those who follow them. This changes the splitting sets alone, since a node at the edge that trusts
    few is split off by few. `groups` has the group of every node; then figures count groups, and a group splits,
    blocks or makes a quorum by those of its nodes that it takes.

    Raises ConfigurationError where the solver gives up.
    """
    inner = federation.restricted(core(federation))
    looked_at = inner if scope == "core" else federation
    witness = find_disjoint(inner)
    if not inner.names:
        splitting = _splitting(looked_at, groups)
        return Figures(scope, len(looked_at.names), None, (), frozenset(), splitting, None, groups)
    from quorum.systems.federated import search

    found = search.smallest_quorum(inner, groups)
    assert found is not None, "a core has a quorum"
    return Figures(
        scope,
        len(looked_at.names),
        witness,
        _top_tier(inner, groups),
        inner.named(search.smallest_blocking(inner, groups)),
        frozenset() if witness is not None else _splitting(looked_at, groups),
        inner.named(found),
        groups,
    )


def find_disjoint(federation: Federation) -> Disjoint | None:
    """Two minimal quorums that share no node; None if every two meet. Raises ConfigurationError as `analyse`."""
    components = quorum_components(federation)
    found: tuple[NodeMask, NodeMask] | None = None
    if len(components) > 1:
        found = components[0], components[1]
    elif components and not _is_alike(federation.restricted(components[0])):
        from quorum.systems.federated.search import disjoint_quorums

        inner = federation.restricted(federation.greatest_quorum(components[0]))
        apart = disjoint_quorums(inner)
        if apart is not None:
            found = federation.mask(inner.named(apart[0])), federation.mask(inner.named(apart[1]))
    if found is None:
        return None
    first, second = (federation.named(federation.minimal_quorum(each)) for each in found)
    assert verify_disjoint(federation.quorum_sets, first, second), "the witness holds"
    return first, second


def _is_alike(federation: Federation) -> bool:
    """Whether all nodes have one quorum set in which no node repeats, and no two sets apart can satisfy it. Then
    every two quorums meet, which needs no solver."""
    rules = set(federation.rule_of)
    if len(rules) != 1 or UNKNOWN in rules:
        return False
    rule = rules.pop()
    named = sum(federation.rules[place].members.bit_count() for place in federation.below(rule))
    return named == federation.reach[rule].bit_count() and _sides(federation, rule) < 2


def _sides(federation: Federation, rule: int) -> int:
    """How many of two sides that share no node can satisfy the rule at once, where no node repeats in it."""
    k, members, children = federation.rules[rule]
    each = [_sides(federation, child) for child in children]
    single = members.bit_count() + sum(sides > 0 for sides in each)
    return 0 if single < k else 1 + (members.bit_count() + sum(each) >= 2 * k)


def _splitting(federation: Federation, groups: Mapping[NodeId, str] | None) -> frozenset[NodeId] | None:
    from quorum.systems.federated.splitting import smallest_splitting

    found = smallest_splitting(federation, groups)
    return None if found is None else federation.named(found)


def _top_tier(federation: Federation, groups: Mapping[NodeId, str] | None) -> tuple[str, ...]:
    from quorum.systems.federated.search import top_tier

    names = federation.named(top_tier(federation))
    return tuple(sorted(names if groups is None else {groups[name] for name in names}))
