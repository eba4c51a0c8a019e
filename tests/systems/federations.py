"""Random small federations and brute force, for the tests of federated quorums."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

from hypothesis import strategies as st

from quorum.systems.federated.federation import QuorumSet

QuorumSets = dict[str, QuorumSet | None]
NODES = ("a", "b", "c", "d", "e", "f")
TEAMS = (("a1", "a2", "a3"), ("b1", "b2"), ("c1", "c2"))


class Answer(NamedTuple):
    """What brute force says."""

    intersection: bool
    top_tier: tuple[str, ...]
    blocking: int
    splitting: int | None
    quorum: int | None


def of(threshold: int, *members: str | QuorumSet) -> QuorumSet:
    """A quorum set, written briefly."""
    inner = tuple(each for each in members if isinstance(each, QuorumSet))
    return QuorumSet(threshold, tuple(each for each in members if isinstance(each, str)), inner)


@st.composite
def quorum_sets(draw: st.DrawFn, names: tuple[str, ...], depth: int = 2) -> QuorumSet:
    """Any quorum set, down to a depth."""
    members: list[str | QuorumSet] = list(draw(st.lists(st.sampled_from(names), unique=True, max_size=4)))
    if depth and draw(st.integers(0, 2)) == 0:
        members += draw(st.lists(quorum_sets(names, depth - 1), min_size=1, max_size=2))
    if not members:
        members = [draw(st.sampled_from(names))]
    return of(draw(st.integers(1, len(members))), *members)


@st.composite
def tangles(draw: st.DrawFn) -> QuorumSets:
    """Up to six nodes whose quorum sets are shared or not, with unknown ones and missing nodes among them."""
    names = NODES[: draw(st.integers(1, len(NODES)))]
    known = (*names, "gone") if draw(st.booleans()) else names
    pool = draw(st.lists(quorum_sets(known), min_size=1, max_size=len(names)))
    one = st.one_of(st.sampled_from(pool), quorum_sets(known), st.none())
    return {name: draw(one) for name in names}


@st.composite
def teamed(draw: st.DrawFn) -> QuorumSets:
    """Teams of nodes that mostly want the same, and one node that follows them: here symmetries are found."""
    teams = TEAMS[: draw(st.integers(2, len(TEAMS)))]
    lists = [of(draw(st.integers(1, len(team))), *team) for team in teams]
    wanted = st.lists(st.sampled_from(lists), min_size=1, unique=True)
    any_rule = wanted.flatmap(lambda use: st.integers(1, len(use)).map(lambda k: of(k, *use)))
    common = of(draw(st.integers(1, len(lists))), *lists)
    rules = [draw(st.one_of(st.just(common), st.just(common), any_rule)) for _ in teams]
    found: QuorumSets = {name: rule for team, rule in zip(teams, rules, strict=True) for name in team}
    if draw(st.booleans()):
        found["w"] = draw(st.one_of(any_rule, st.sampled_from(sorted(found)).map(lambda name: of(1, name))))
    return found


def subsets(nodes: Iterable[str]) -> Iterator[frozenset[str]]:
    ordered = sorted(nodes)
    for size in range(len(ordered) + 1):
        yield from map(frozenset, combinations(ordered, size))


def satisfied(wanted: QuorumSet, nodes: frozenset[str]) -> bool:
    votes = sum(name in nodes for name in wanted.validators) + sum(satisfied(each, nodes) for each in wanted.inner)
    return votes >= wanted.threshold


def quorums(sets: Mapping[str, QuorumSet | None], deleted: frozenset[str] = frozenset()) -> list[frozenset[str]]:
    """All minimal quorums, after some nodes are deleted from the slices of all others."""
    found: list[frozenset[str]] = []
    for nodes in subsets(set(sets) - deleted):
        if not nodes or any(each <= nodes for each in found):
            continue
        wanted = [sets[name] for name in nodes]
        if all(each is not None and satisfied(each, nodes | deleted) for each in wanted):
            found.append(nodes)
    return found


def core_of(sets: QuorumSets) -> frozenset[str]:
    """Nodes that reach each other over nodes of quorums, where such a component holds a quorum."""
    minimal = quorums(sets)
    alive: set[str] = set()
    for nodes in subsets(sets):
        if nodes and all((mine := sets[name]) is not None and satisfied(mine, nodes) for name in nodes):
            alive |= nodes
    reach = {name: {name} for name in alive}
    for _ in alive:
        for name in alive:
            for other in list(reach[name]):
                mine = sets[other]
                assert mine is not None
                reach[name] |= named(mine) & alive
    components = [{other for other in reach[name] if name in reach[other]} for name in alive]
    return frozenset().union(*(each for each in components if any(quorum <= each for quorum in minimal)))


def named(wanted: QuorumSet) -> set[str]:
    return set(wanted.validators).union(*map(named, wanted.inner))


def brute_force(sets: QuorumSets, scope: str, groups: Mapping[str, str] | None = None) -> Answer:
    """Every figure by looking at every set of nodes."""

    def size(nodes: frozenset[str]) -> int:
        return len(nodes) if groups is None else len({groups[name] for name in nodes})

    minimal = quorums(sets)
    scoped = {name: sets[name] for name in core_of(sets)} if scope == "core" else sets
    top = frozenset().union(*minimal)
    return Answer(
        all(one & other for one in minimal for other in minimal),
        tuple(sorted(top if groups is None else {groups[name] for name in top})),
        min(size(nodes) for nodes in subsets(sets) if all(nodes & each for each in minimal)),
        min((size(nodes) for nodes in subsets(scoped) if is_split(quorums(scoped, nodes))), default=None),
        min(map(size, minimal), default=None),
    )


def is_split(minimal: list[frozenset[str]]) -> bool:
    return any(not one & other for one in minimal for other in minimal)
