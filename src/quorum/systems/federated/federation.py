"""Personal quorum sets, and the quorums they make.

Each node says for itself whom it needs: its quorum set is k of a list of nodes and of further such sets. A set of
nodes satisfies it when it holds k of them. A quorum is a set of nodes, one at least, that satisfies the quorum set
of every one of its members.

Source: Mazieres, "The Stellar Consensus Protocol" (2015), sections 3 (slices, quorums) and 4.2 (deleting nodes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from quorum.errors import ConfigurationError
from quorum.model import NodeId

DEPTH_MAX: Final = 32
"""Quorum sets inside each other. The network that this comes from allows four."""
UNKNOWN: Final = -1
"""In place of a gate: nobody knows the node's quorum set, so that no quorum has this node."""

NodeMask = int
"""A set of nodes of one federation: bit i stands for the i-th of its nodes."""


class QuorumSet(msgspec.Struct, frozen=True):
    """Satisfied by whoever holds `threshold` of the validators and inner sets; each that is listed counts once."""

    threshold: int
    validators: tuple[NodeId, ...] = ()
    inner: tuple[QuorumSet, ...] = ()


class Rule(NamedTuple):
    """A quorum set as it is evaluated: `k` of the nodes in `members` and of the rules `children`, which are places
    of rules before this one."""

    k: int
    members: NodeMask
    children: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many may be counted."""
        return self.members.bit_count() + len(self.children)


class Federation:
    """Nodes with a quorum set each. A node that is only named by others is missing: no quorum has it, and it still
    counts among those of whom k are needed.

    `rules` holds each different quorum set once; `rule_of[i]` is the place of that of node i, or UNKNOWN.
    Raises ConfigurationError for quorum sets that mean nothing.
    """

    def __init__(self, quorum_sets: Mapping[NodeId, QuorumSet | None]) -> None:
        self.quorum_sets = dict(quorum_sets)
        self.names: tuple[NodeId, ...] = tuple(sorted(self.quorum_sets))
        self.everyone: NodeMask = (1 << len(self.names)) - 1
        self._bit = {name: 1 << place for place, name in enumerate(self.names)}
        self._places: dict[Rule, int] = {}
        self.rule_of = [self._root(name) for name in self.names]
        self.rules: tuple[Rule, ...] = tuple(self._places)
        self.reach = self._reach()

    def mask(self, names: Iterable[NodeId]) -> NodeMask:
        """The set of these nodes. Raises KeyError for one that the federation does not have."""
        mask = 0
        for name in names:
            mask |= self._bit[name]
        return mask

    def named(self, mask: NodeMask) -> frozenset[NodeId]:
        """The nodes of a set, by name."""
        return frozenset(self.names[place] for place in places(mask))

    def restricted(self, mask: NodeMask) -> Federation:
        """The federation of these nodes alone; all others are missing in it."""
        return Federation({name: self.quorum_sets[name] for name in sorted(self.named(mask))})

    def below(self, rule: int) -> list[int]:
        """The rule and all that stand in it, each as often as it does."""
        return [rule, *(each for child in self.rules[rule].children for each in self.below(child))]

    def satisfies(self, mask: NodeMask, rule: int, known: dict[int, bool]) -> bool:
        """Whether the set satisfies the rule at this place. `known` keeps what was found out for this set."""
        if rule not in known:
            k, members, children = self.rules[rule]
            votes = (members & mask).bit_count()
            for child in children if votes < k else ():
                votes += self.satisfies(mask, child, known)
            known[rule] = votes >= k
        return known[rule]

    def greatest_quorum(self, mask: NodeMask) -> NodeMask:
        """The union of all quorums inside the set; 0 if there is none."""
        while True:
            known: dict[int, bool] = {UNKNOWN: False}
            left = 0
            for place in places(mask):
                if self.satisfies(mask, self.rule_of[place], known):
                    left |= 1 << place
            if left == mask:
                return mask
            mask = left

    def minimal_quorum(self, mask: NodeMask, keep: NodeMask = 0) -> NodeMask:
        """A quorum inside the set, which has one, that has none inside it. Nodes of `keep` are the last to go."""
        quorum = self.greatest_quorum(mask)
        assert quorum, "there is a quorum to shrink"
        for place in sorted(places(quorum), key=lambda place: bool(keep >> place & 1)):
            smaller = self.greatest_quorum(quorum & ~(1 << place))
            if smaller:
                quorum = smaller
        return quorum

    def _root(self, name: NodeId) -> int:
        quorum_set = self.quorum_sets[name]
        return UNKNOWN if quorum_set is None else self._place(quorum_set, name, 1)

    def _place(self, quorum_set: QuorumSet, of: NodeId, depth: int) -> int:
        """The place of a quorum set among the rules, which it joins if it is new."""
        _check(quorum_set, of, depth)
        children = tuple(sorted(self._place(each, of, depth + 1) for each in quorum_set.inner))
        members = 0
        for name in quorum_set.validators:
            members |= self._bit.get(name, 0)
        return self._places.setdefault(Rule(quorum_set.threshold, members, children), len(self._places))

    def _reach(self) -> tuple[NodeMask, ...]:
        """For each rule, all nodes that it names at any depth."""
        reach: list[NodeMask] = []
        for _, members, children in self.rules:
            for child in children:
                members |= reach[child]
            reach.append(members)
        return tuple(reach)


def places(mask: NodeMask) -> Iterator[int]:
    """The places of the nodes of a set, from the first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _check(quorum_set: QuorumSet, of: NodeId, depth: int) -> None:
    """Raise ConfigurationError for a quorum set that means nothing, or is one by mistake."""
    if depth > DEPTH_MAX:
        raise ConfigurationError(
            f"the quorum set of {of[:80]} was given with more than {DEPTH_MAX} sets inside each other, but nobody "
            "writes those. Say it with fewer levels."
        )
    size = len(quorum_set.validators) + len(quorum_set.inner)
    if not 1 <= quorum_set.threshold <= size:
        raise ConfigurationError(
            f"the quorum set of {of[:80]} was given with threshold {quorum_set.threshold} of {size} members, but "
            "it lies from 1 to the number of members. Correct it; a node whose quorum set is not known has none, "
            "or an empty one."
        )
    if len(set(quorum_set.validators)) < size - len(quorum_set.inner):
        twice = next(name for name in quorum_set.validators if quorum_set.validators.count(name) > 1)
        raise ConfigurationError(
            f"the quorum set of {of[:80]} was given with {twice[:80]} twice in one list, but a node has one vote. "
            "Name it once."
        )
