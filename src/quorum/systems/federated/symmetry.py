"""Nodes, and whole lists of nodes, that may change places without changing anything.

The nodes of an organisation usually have one quorum set and stand in one list, and many organisations stand beside
each other in the same way. A search need look at one arrangement of each: that in which the nodes of a class, and
then the lists of a class, stand in the order of what became of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from quorum.model import NodeId
from quorum.systems.federated.federation import UNKNOWN, Federation, NodeMask, places


class Symmetry(NamedTuple):
    """Classes of nodes any two of which may be swapped, and classes of lists of such nodes that may be swapped as
    a whole. Each class has two members at least; all are places of nodes."""

    nodes: list[list[int]]
    lists: list[list[list[int]]]
    teams: list[int]
    """Rules that are lists of nodes which stand nowhere else and all have one quorum set, as organisations do."""

    def orbit(self, mask: NodeMask) -> NodeMask:
        """All nodes that some swaps put in the place of one in the set."""
        for alike in (*self.nodes, *([place for each in lists for place in each] for lists in self.lists)):
            together = sum(1 << place for place in alike)
            if mask & together:
                mask |= together
        return mask


def symmetry_of(federation: Federation, groups: Mapping[NodeId, str] | None = None) -> Symmetry:
    """Symmetries that every quorum, and every group of nodes, keeps. Not all: those that are seen at a glance."""
    parents = _parents(federation)
    group_of = _groups(federation, groups)
    stands_in = _stands_in(federation)
    alike: dict[object, list[int]] = {}
    for node in places(federation.everyone):
        alike.setdefault((federation.rule_of[node], stands_in[node], group_of[node]), []).append(node)
    lists: dict[object, list[list[int]]] = {}
    teams = []
    for rule, (k, members, children) in enumerate(federation.rules):
        inside = list(places(members))
        if (
            children
            or len(inside) < k
            or rule in federation.rule_of
            or any(stands_in[x] != (rule,) for x in inside)
        ):
            continue
        wanted = {federation.rule_of[node] for node in inside}
        if len(wanted) != 1 or UNKNOWN in wanted:
            continue
        teams.append(rule)
        if kind := _kind(federation, members, group_of):
            signature = (k, len(inside), tuple(parents[rule]), wanted.pop(), kind)
            lists.setdefault(signature, []).append(inside)
    return Symmetry(
        [each for each in alike.values() if len(each) > 1],
        [each for each in lists.values() if len(each) > 1],
        teams,
    )


def _parents(federation: Federation) -> list[list[int]]:
    """For each rule those in which it stands, as often as it does."""
    parents: list[list[int]] = [[] for _ in federation.rules]
    for rule, (_, _, children) in enumerate(federation.rules):
        for child in children:
            parents[child].append(rule)
    return parents


def _stands_in(federation: Federation) -> list[tuple[int, ...]]:
    """For each node the rules that name it directly."""
    found: list[list[int]] = [[] for _ in federation.names]
    for rule, (_, members, _) in enumerate(federation.rules):
        for node in places(members):
            found[node].append(rule)
    return [tuple(each) for each in found]


def _groups(federation: Federation, groups: Mapping[NodeId, str] | None) -> list[str]:
    """For each node its group; empty where it is alone in it."""
    if groups is None:
        return ["" for _ in federation.names]
    counts = _counted(groups[name] for name in federation.names)
    return [groups[name] if counts[groups[name]] > 1 else "" for name in federation.names]


def _kind(federation: Federation, members: NodeMask, group_of: list[str]) -> str:
    """How a list lies to the groups: "single" nodes, the "whole" of one group; empty for all else."""
    names = {group_of[node] for node in places(members)}
    if names == {""}:
        return "single"
    inside = sum(1 << node for node, group in enumerate(group_of) if group in names)
    return "whole" if len(names) == 1 and inside == members else ""


def _counted(titles: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for title in titles:
        counts[title] = counts.get(title, 0) + 1
    return counts
