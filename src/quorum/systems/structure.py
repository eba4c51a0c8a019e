"""Dealing nodes out to two expressions by their structure alone: arithmetic, never a search over quorums."""

from __future__ import annotations

import enum
from typing import Final, Literal, NamedTuple

from quorum.model import NodeId
from quorum.systems.algebra import NEVER, Expression, Gate, Threshold

Witness = tuple[frozenset[NodeId], frozenset[NodeId]]
"""A set that holds a quorum of the first expression, and a disjoint one that holds one of the second."""


class Undecided(enum.Enum):
    """The structure says neither yes nor no."""

    UNDECIDED = "undecided"


UNDECIDED: Final = Undecided.UNDECIDED
Answer = Witness | None | Literal[Undecided.UNDECIDED]

PAIRS_MAX = 10_000
"""Pairs of sub-expressions looked at before the structure is given up."""


def deal_by_structure(first: Expression, second: Expression) -> Answer:
    """A witness that two expressions can miss each other, None if they cannot, or UNDECIDED.

    Never wrong; decides two weighted thresholds, trees over the same blocks of nodes, a sum whose terms it
    decides, and products (joint configurations) that meet because two of their factors do.
    """
    return _Dealer().deal(first, second)


class _Dealer:
    def __init__(self) -> None:
        self._pairs = 0

    def deal(self, first: Expression, second: Expression) -> Answer:
        self._pairs += 1
        if self._pairs > PAIRS_MAX:
            return UNDECIDED
        if NEVER in (first, second):
            return None
        if frozenset(first.nodes).isdisjoint(second.nodes):
            return frozenset(first.nodes), frozenset(second.nodes)
        votes, other_votes = first.as_threshold(), second.as_threshold()
        if votes is not None and other_votes is not None:
            return deal_votes(votes, other_votes)
        if first.leaves == second.leaves and first == second.dual():
            return None
        for rule in (_by_only_quorum, self._by_blocks, self._by_terms, self._by_factors):
            found = rule(first, second)
            if found is not UNDECIDED:
                return found
        return UNDECIDED

    def _by_terms(self, first: Expression, second: Expression) -> Answer:
        """A sum misses what one of its terms misses."""
        if isinstance(first, Gate) and first.k == 1:
            answers = (self.deal(term, second) for term in first.children)
        elif isinstance(second, Gate) and second.k == 1:
            answers = (self.deal(first, term) for term in second.children)
        else:
            return UNDECIDED
        undecided = False
        for found in answers:
            if found is UNDECIDED:
                undecided = True
            elif found is not None:
                return found
        return UNDECIDED if undecided else None

    def _by_factors(self, first: Expression, second: Expression) -> Answer:
        """A product meets what one of its factors meets; that no factor alone does proves nothing."""
        mine, theirs = _factors(first), _factors(second)
        if len(mine) == len(theirs) == 1:
            return UNDECIDED
        for factor in mine:
            for other in theirs:
                if self.deal(factor, other) is None:
                    return None
        return UNDECIDED

    def _by_blocks(self, first: Expression, second: Expression) -> Answer:
        """Two gates over the same blocks of nodes: each block serves both sides, or only one of them."""
        if not isinstance(first, Gate) or not isinstance(second, Gate):
            return UNDECIDED
        pairs = _matched(first, second)
        if pairs is None:
            return UNDECIDED
        blocks = _Blocks([], [], 0)
        for mine, theirs in pairs:
            found = self.deal(mine, theirs)
            if found is None or found is UNDECIDED:
                blocks.single.append((mine, theirs))
            else:
                blocks.shared.append(found)
            if found is UNDECIDED:
                blocks = blocks._replace(undecided=blocks.undecided + 1)
        return _deal_blocks(first, second, blocks)


class _Blocks(NamedTuple):
    """Pairs of children over common nodes: witnesses of those that serve both sides at once, and the others.

    Of the others, `undecided` may yet turn out to serve both.
    """

    shared: list[Witness]
    single: list[tuple[Expression, Expression]]
    undecided: int


def _by_only_quorum(first: Expression, second: Expression) -> Answer:
    """Where one side needs all of its nodes, the question is whether the others satisfy the other side."""
    everyone = frozenset(first.nodes) | frozenset(second.nodes)
    only = _only_quorum(first)
    if only is not None:
        return (only, everyone - only) if second.contains(everyone - only) else None
    only = _only_quorum(second)
    if only is not None:
        return (everyone - only, only) if first.contains(everyone - only) else None
    return UNDECIDED


def _only_quorum(expression: Expression) -> frozenset[NodeId] | None:
    votes = expression.as_threshold()
    if votes is None or votes.k < votes.total:
        return None
    return frozenset(node for node, weight in votes.weights if weight)


def _factors(expression: Expression) -> tuple[Expression, ...]:
    is_product = isinstance(expression, Gate) and expression.k == len(expression.children)
    return expression.children if is_product and isinstance(expression, Gate) else (expression,)


def _matched(first: Gate, second: Gate) -> list[tuple[Expression, Expression]] | None:
    """The pairs of children that share nodes, if children share them in no other way; else None."""
    homes: dict[NodeId, int] = {}
    for gate in (first, second):
        if sum(len(child.nodes) for child in gate.children) > len(gate.nodes):
            return None
    for place, child in enumerate(second.children):
        homes.update(dict.fromkeys(child.nodes, place))
    pairs: list[tuple[Expression, Expression]] = []
    taken: set[int] = set()
    for child in first.children:
        places = {homes[node] for node in child.nodes if node in homes}
        if len(places) > 1 or not taken.isdisjoint(places):
            return None
        taken |= places
        pairs += [(child, second.children[place]) for place in sorted(places)]
    return pairs


def _deal_blocks(first: Gate, second: Gate, blocks: _Blocks) -> Answer:
    """Children that share no node serve their own side; of the single blocks each side takes what it lacks."""
    common = len(blocks.shared) + len(blocks.single)
    wanted = [gate.k - (len(gate.children) - common) for gate in (first, second)]

    def fits(shared: int) -> bool:
        return sum(max(0, count - shared) for count in wanted) <= common - shared

    if not fits(len(blocks.shared) + blocks.undecided):
        return None
    if not fits(len(blocks.shared)):
        return UNDECIDED
    mine = {node for node in first.nodes if node not in set(second.nodes)}
    theirs = {node for node in second.nodes if node not in set(first.nodes)}
    for found in blocks.shared:
        mine |= found[0]
        theirs |= found[1]
    taken = max(0, wanted[0] - len(blocks.shared))
    for place, (child, other) in enumerate(blocks.single):
        if place < taken:
            mine.update(child.nodes)
        else:
            theirs.update(other.nodes)
    return frozenset(mine), frozenset(theirs)


class _Vote(NamedTuple):
    """A node that has weight on both sides."""

    node: NodeId
    mine: int
    theirs: int


def deal_votes(first: Threshold, second: Threshold) -> Witness | None:
    """A witness that two weighted thresholds can miss each other, or None. Exact, and never a search.

    A node that counts on one side only serves it. Equal weights are counted; the same weights on both
    sides are a subset sum; different weights keep the best total of one side for each total of the other.
    """
    mine = frozenset(node for node, weight in first.weights if weight and not second.weight(node))
    theirs = frozenset(node for node, weight in second.weights if weight and not first.weight(node))
    common = [
        _Vote(node, weight, second.weight(node))
        for node, weight in first.weights
        if weight and second.weight(node)
    ]
    common.sort(key=lambda vote: (-vote.mine - vote.theirs, vote.node))
    wanted = max(0, first.k - sum(map(first.weight, sorted(mine))))
    other_wanted = max(0, second.k - sum(map(second.weight, sorted(theirs))))
    chosen = _choose_votes(common, wanted, other_wanted)
    if chosen is None:
        return None
    return mine | chosen, theirs | {vote.node for vote in common if vote.node not in chosen}


def _choose_votes(votes: list[_Vote], wanted: int, other_wanted: int) -> frozenset[NodeId] | None:
    """Nodes worth `wanted` to the first side, such that the rest is worth `other_wanted` to the second."""
    if sum(vote.mine for vote in votes) < wanted or sum(vote.theirs for vote in votes) < other_wanted:
        return None
    if not wanted:
        return frozenset()
    if len({(vote.mine, vote.theirs) for vote in votes}) == 1:
        count = -(-wanted // votes[0].mine)
        enough = (len(votes) - count) * votes[0].theirs >= other_wanted
        return frozenset(vote.node for vote in votes[:count]) if enough else None
    if all(vote.mine == vote.theirs for vote in votes):
        return _subset_sum(votes, wanted, sum(vote.mine for vote in votes) - other_wanted)
    return _best_totals(votes, wanted, other_wanted)


def _subset_sum(votes: list[_Vote], least: int, most: int) -> frozenset[NodeId] | None:
    """Nodes whose weights sum to `least` to `most`. Bit i of a number is set where the sum i is reachable."""
    if least > most:
        return None
    within = (1 << (most + 1)) - 1
    reachable = [1]
    for vote in votes:
        reachable.append(reachable[-1] | (reachable[-1] << vote.mine) & within)
    good = reachable[-1] >> least
    if not good:
        return None
    total = least + (good & -good).bit_length() - 1
    chosen = set()
    for place in range(len(votes) - 1, -1, -1):
        if not reachable[place] >> total & 1:
            total -= votes[place].mine
            chosen.add(votes[place].node)
    assert total == 0, "the sum was reached from nothing"
    return frozenset(chosen)


class _Choice(NamedTuple):
    """Totals so far, none above what is wanted, and the nodes taken by the first side as a chain."""

    mine: int
    theirs: int
    taken: tuple[NodeId, object] | None


def _best_totals(votes: list[_Vote], wanted: int, other_wanted: int) -> frozenset[NodeId] | None:
    """Deal node after node; of the ways so far keep those that no other way equals on both sides."""
    left, other_left = sum(vote.mine for vote in votes), sum(vote.theirs for vote in votes)
    ways = [_Choice(0, 0, None)]
    for vote in votes:
        left, other_left = left - vote.mine, other_left - vote.theirs
        taking = [_Choice(min(wanted, way.mine + vote.mine), way.theirs, (vote.node, way.taken)) for way in ways]
        leaving = [way._replace(theirs=min(other_wanted, way.theirs + vote.theirs)) for way in ways]
        ways = []
        for way in sorted(taking + leaving, key=lambda way: (-way.mine, -way.theirs)):
            hopeful = way.mine + left >= wanted and way.theirs + other_left >= other_wanted
            if hopeful and (not ways or way.theirs > ways[-1].theirs):
                ways.append(way)
    if not ways:
        return None
    chosen = set()
    link: object = ways[0].taken
    while isinstance(link, tuple):
        chosen.add(link[0])
        link = link[1]
    return frozenset(chosen)
