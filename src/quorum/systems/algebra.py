"""The algebra of quorums: monotone expressions over node ids. `expression.parse` reads them from text."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Self

from quorum.errors import ConfigurationError
from quorum.model import NodeId

ID_CHARACTERS_MAX = 255
DEPTH_MAX = 60
"""Levels of nesting; every walk over an expression is recursive, and stays far from the interpreter's limit."""
LEAVES_MAX = 1_000_000
TOTAL_WEIGHT_MAX = 1_000_000
"""Votes of one weighted threshold together; exact checks take time and memory in proportion."""

_PLAIN_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Expression(ABC):
    """Which sets of nodes hold a quorum. Immutable, hashable; equal when written the same way.

    Built from `Node`, `+` (either), `*` (both), `choose`, `majority` and `Threshold`. The children of a
    gate are positions, not names: in `choose(2, a, a, b)` node `a` alone satisfies two of the three.
    """

    __slots__ = ("_hash", "_identity", "_nodes", "depth", "leaves")

    depth: int
    """Levels, a single node being one."""
    leaves: int
    """How many times nodes are named, repetitions included."""
    _hash: int
    _identity: tuple[object, ...]
    _nodes: tuple[NodeId, ...] | None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} cannot be set: expressions do not change. Build another one.")

    def _seal(self, identity: tuple[object, ...], depth: int, leaves: int) -> None:
        _check_extent(depth, leaves)
        _set(self, "_identity", identity)
        _set(self, "_hash", hash((type(self).__name__, identity)))
        _set(self, "_nodes", None)
        _set(self, "depth", depth)
        _set(self, "leaves", leaves)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Expression):
            return NotImplemented
        if self is other:
            return True
        return self._hash == other._hash and type(self) is type(other) and self._identity == other._identity

    def __hash__(self) -> int:
        return self._hash

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return f"parse({str(self)!r})"

    def __add__(self, other: Expression) -> Expression:
        """Either: a quorum of one of the two."""
        return either(self, other) if isinstance(other, Expression) else NotImplemented

    def __mul__(self, other: Expression) -> Expression:
        """Both: a quorum of each."""
        return both(self, other) if isinstance(other, Expression) else NotImplemented

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The distinct ids, sorted."""
        if self._nodes is None:
            found: set[NodeId] = set()
            self._collect(found)
            _set(self, "_nodes", tuple(sorted(found)))
        assert self._nodes is not None, "the ids were collected just now"
        return self._nodes

    @property
    def read_once(self) -> bool:
        """No node is named twice; most questions then have an answer in linear time."""
        return len(self.nodes) == self.leaves

    @abstractmethod
    def contains(self, nodes: AbstractSet[NodeId]) -> bool:
        """Whether this set of nodes holds a quorum. Unknown ids in it do not matter."""

    @abstractmethod
    def dual(self) -> Expression:
        """The sets that meet every quorum of this one. The dual of the dual is the expression itself."""

    @abstractmethod
    def renamed(self, names: Mapping[NodeId, NodeId]) -> Expression:
        """The same expression with other names for some of its nodes."""

    @abstractmethod
    def as_threshold(self) -> Threshold | None:
        """The same quorums as one weighted threshold, where this is a single gate over nodes; else None."""

    def quorums(self) -> Iterator[frozenset[NodeId]]:
        """Yield the minimal quorums lazily, each once, in a stable order. There may be very many."""
        if self.read_once:
            yield from self.candidates()
            return
        seen: set[frozenset[NodeId]] = set()
        for quorum in self.candidates():
            if quorum not in seen and not any(self.contains(quorum - {node}) for node in sorted(quorum)):
                seen.add(quorum)
                yield quorum

    @abstractmethod
    def candidates(self) -> Iterator[frozenset[NodeId]]:
        """Quorums, every minimal one among them; exactly the minimal ones where no node repeats.

        The next one takes polynomial time, however many are not minimal.
        """

    @abstractmethod
    def _collect(self, found: set[NodeId]) -> None:
        """Add every id to `found`."""


_set = object.__setattr__  # the one way past Expression.__setattr__, used during construction


class Node(Expression):
    """One node: a set holds a quorum when the node is in it. Raises ConfigurationError for a bad id."""

    __slots__ = ("id",)
    id: NodeId

    def __init__(self, id: NodeId) -> None:
        _set(self, "id", check_id(id))
        self._seal((id,), 1, 1)

    def __str__(self) -> str:
        return quoted(self.id)

    def contains(self, nodes: AbstractSet[NodeId]) -> bool:
        return self.id in nodes

    def dual(self) -> Expression:
        return self

    def renamed(self, names: Mapping[NodeId, NodeId]) -> Expression:
        return Node(names.get(self.id, self.id))

    def as_threshold(self) -> Threshold:
        return Threshold(((self.id, 1),), 1)

    def candidates(self) -> Iterator[frozenset[NodeId]]:
        yield frozenset((self.id,))

    def _collect(self, found: set[NodeId]) -> None:
        found.add(self.id)


class Gate(Expression):
    """At least `k` of `children`. Made by `+`, `*`, `choose` and `majority`, which check and simplify."""

    __slots__ = ("_members", "_threshold", "children", "k")
    k: int
    children: tuple[Expression, ...]
    _members: frozenset[NodeId] | None
    _threshold: Threshold | None

    def __init__(self, k: int, children: tuple[Expression, ...]) -> None:
        _set(self, "k", k)
        _set(self, "children", children)
        depth = 1 + max((child.depth for child in children), default=0)
        self._seal((k, children), depth, sum(child.leaves for child in children))
        votes = Counter(child.id for child in children if isinstance(child, Node))
        flat = bool(votes) and votes.total() == len(children)
        _set(self, "_members", frozenset(votes) if flat and len(votes) == len(children) else None)
        _set(self, "_threshold", Threshold(votes, k) if flat else None)

    def __str__(self) -> str:
        if self.children and self.k == 1:
            return " + ".join(map(str, self.children))
        if self.children and self.k == len(self.children):
            return " * ".join(f"({child})" if _is_either(child) else str(child) for child in self.children)
        inside = ", ".join(map(str, self.children))
        if self.k == len(self.children) // 2 + 1 and self.children:
            return f"majority({inside})"
        return f"choose({self.k}, {inside})" if inside else f"choose({self.k})"

    def contains(self, nodes: AbstractSet[NodeId]) -> bool:
        if self._members is not None:
            return len(self._members & nodes) >= self.k
        wanted = self.k
        for child in self.children:
            if wanted and child.contains(nodes):
                wanted -= 1
        return not wanted

    def dual(self) -> Expression:
        k = len(self.children) - self.k + 1
        return Gate(k, tuple(child.dual() for child in self.children))

    def renamed(self, names: Mapping[NodeId, NodeId]) -> Expression:
        return Gate(self.k, tuple(child.renamed(names) for child in self.children))

    def as_threshold(self) -> Threshold | None:
        return self._threshold

    def candidates(self) -> Iterator[frozenset[NodeId]]:
        """Walk the children in order; each is held already, is added, or is left out if enough remain.

        A child that is held costs nothing, so repeated children do not multiply the walk.
        """
        if self.k == 0:
            yield frozenset()
        if not self.children:
            return
        walk = [self._ways(0, frozenset(), 0)]
        while walk:
            step = next(walk[-1], None)
            if step is None:
                walk.pop()
            elif step[1] == self.k:
                yield step[0]
            else:
                walk.append(self._ways(len(walk), *step))

    def _ways(self, at: int, held: frozenset[NodeId], count: int) -> Iterator[tuple[frozenset[NodeId], int]]:
        child = self.children[at]
        if child.contains(held):
            yield held, count + 1
            return
        for quorum in child.candidates():
            yield held | quorum, count + 1
        if count + len(self.children) - at - 1 >= self.k:
            yield held, count

    def _collect(self, found: set[NodeId]) -> None:
        for child in self.children:
            child._collect(found)


class Threshold(Expression):
    """Weighted votes: a set holds a quorum when its weights sum to `k` or more.

    `weights` maps ids to whole numbers >= 0 (votes); a node of weight 0 is named, but never needed.
    Raises ConfigurationError unless 1 <= k <= the sum of the weights <= TOTAL_WEIGHT_MAX.
    Source: Gifford, "Weighted Voting for Replicated Data" (1979).
    """

    __slots__ = ("_votes", "k", "total", "weights")
    k: int
    total: int
    weights: tuple[tuple[NodeId, int], ...]
    _votes: dict[NodeId, int]

    def __init__(self, weights: Mapping[NodeId, int] | Iterable[tuple[NodeId, int]], k: int) -> None:
        pairs = list(weights.items() if isinstance(weights, Mapping) else weights)
        for node, weight in pairs:
            _check_weight(node, weight)
        votes = dict(pairs)
        if len(votes) < len(pairs):
            raise ConfigurationError(
                f"{len(pairs)} weights were given for {len(votes)} nodes, but a node has one weight. "
                "Name each node once."
            )
        total = sum(votes.values())
        _check_votes_wanted(k, total)
        _set(self, "_votes", votes)
        _set(self, "weights", tuple(sorted(votes.items())))
        _set(self, "k", k)
        _set(self, "total", total)
        self._seal((self.weights, k), 1, len(votes))

    def __str__(self) -> str:
        votes = ", ".join(f"{quoted(node)}={weight}" for node, weight in self.weights)
        return f"threshold({self.k}, {votes})"

    def weight(self, node: NodeId) -> int:
        """The votes of one node; 0 for a stranger."""
        return self._votes.get(node, 0)

    @property
    def uniform(self) -> bool:
        """Every node has the same weight: how many come is all that counts."""
        return len(set(self._votes.values())) == 1

    def contains(self, nodes: AbstractSet[NodeId]) -> bool:
        return sum(weight for node, weight in self.weights if node in nodes) >= self.k

    def dual(self) -> Expression:
        return Threshold(self.weights, self.total - self.k + 1)

    def renamed(self, names: Mapping[NodeId, NodeId]) -> Expression:
        return Threshold({names.get(node, node): weight for node, weight in self.weights}, self.k)

    def as_threshold(self) -> Threshold:
        return self

    def candidates(self) -> Iterator[frozenset[NodeId]]:
        """Heaviest first, so that the node which reaches `k` is the lightest: what is found is minimal."""
        heaviest = sorted(self.weights, key=lambda vote: (-vote[1], vote[0]))
        left = [weight for _, weight in heaviest]
        for at in range(len(left) - 2, -1, -1):
            left[at] += left[at + 1]
        chosen: list[int] = []
        held, at = 0, 0
        while True:
            if held < self.k and at < len(left) and held + left[at] >= self.k:
                chosen.append(at)
                held += heaviest[at][1]
                at += 1
                continue
            if held >= self.k:
                yield frozenset(heaviest[place][0] for place in chosen)
            if not chosen:
                return
            at = chosen.pop()
            held -= heaviest[at][1]
            at += 1

    def _collect(self, found: set[NodeId]) -> None:
        found.update(self._votes)


def choose(k: int, *expressions: Expression) -> Expression:
    """At least `k` of the expressions; each is a position of its own, even when two name one node.

    Raises ConfigurationError unless 1 <= k <= the number of expressions.
    """
    for expression in expressions:
        if not isinstance(expression, Expression):
            raise ConfigurationError(
                f"choose was given {str(expression)[:40]!r}, but it combines expressions. "
                "Wrap an id in Node(...), or a text in parse(...)."
            )
    if not _is_whole(k) or not 1 <= k <= len(expressions):
        raise ConfigurationError(
            f"choose({str(k)[:20]}, ...) was asked for among {len(expressions)} expressions, but no set can "
            f"hold that many. Use a whole number from 1 to {len(expressions)}, and name at least one."
        )
    return _gate(k, expressions)


def majority(*expressions: Expression) -> Expression:
    """More than half of the expressions: choose(n // 2 + 1, ...). Raises ConfigurationError for none."""
    return choose(len(expressions) // 2 + 1, *expressions)


def either(*expressions: Expression) -> Expression:
    """A quorum of at least one of the expressions; NEVER for none. The same as `+` between them."""
    return _gate(1, expressions)


def both(*expressions: Expression) -> Expression:
    """A quorum of every one of the expressions; ALWAYS for none. The same as `*` between them."""
    return _gate(len(expressions), expressions)


def _gate(k: int, expressions: Iterable[Expression]) -> Expression:
    """k of the expressions, simplified: constants fold away, either in either and both in both flatten."""
    children: list[Expression] = []
    for expression in expressions:
        if expression == ALWAYS:
            k -= 1
        elif expression != NEVER:
            children.append(expression)
    if k <= 0 or k > len(children):
        return ALWAYS if k <= 0 else NEVER
    if len(children) == 1:
        return children[0]
    if k == 1:
        flat = [part for child in children for part in (_parts(child) if _is_either(child) else (child,))]
        return Gate(1, tuple(flat))
    if k == len(children):
        flat = [part for child in children for part in (_parts(child) if _is_both(child) else (child,))]
        return Gate(len(flat), tuple(flat))
    return Gate(k, tuple(children))


def _parts(expression: Expression) -> tuple[Expression, ...]:
    return expression.children if isinstance(expression, Gate) else (expression,)


def _is_either(expression: Expression) -> bool:
    return isinstance(expression, Gate) and expression.k == 1


def _is_both(expression: Expression) -> bool:
    return isinstance(expression, Gate) and expression.k == len(expression.children)


def quoted(node: NodeId) -> str:
    """The id as it stands in text: bare if it is a plain name, else in double quotes."""
    if _PLAIN_ID.fullmatch(node):
        return node
    escaped = node.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def check_id(node: NodeId) -> NodeId:
    """Return `node` if an expression may name it. Raises ConfigurationError."""
    if not isinstance(node, str) or not 0 < len(node) <= ID_CHARACTERS_MAX or not node.isprintable():
        raise ConfigurationError(
            f"{str(node)[:40]!r} was given as a node id, but it could not be shown in a message. "
            f"Use 1 to {ID_CHARACTERS_MAX} printable characters."
        )
    return node


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_weight(node: NodeId, weight: int) -> None:
    check_id(node)
    if not _is_whole(weight) or not 0 <= weight <= TOTAL_WEIGHT_MAX:
        raise ConfigurationError(
            f"{node} was given the weight {str(weight)[:20]}, but a weight counts votes. "
            f"Use a whole number from 0 to {TOTAL_WEIGHT_MAX:,}; scale all weights down together if need be."
        )


def _check_votes_wanted(k: int, total: int) -> None:
    if not 1 <= total <= TOTAL_WEIGHT_MAX:
        raise ConfigurationError(
            f"a threshold over {total} votes was asked for, but they must be countable. "
            f"Let the weights sum to 1 to {TOTAL_WEIGHT_MAX:,}; only their proportions matter."
        )
    if not _is_whole(k) or not 1 <= k <= total:
        raise ConfigurationError(
            f"a threshold of {str(k)[:20]} of {total} votes was asked for, but no set can hold that. "
            f"Use a whole number from 1 to {total}."
        )


def _check_extent(depth: int, leaves: int) -> None:
    if depth > DEPTH_MAX:
        raise ConfigurationError(
            f"an expression {depth} levels deep was asked for, but {DEPTH_MAX} is the limit. "
            "Flatten it: a + (b + c) is a + b + c."
        )
    if leaves > LEAVES_MAX:
        raise ConfigurationError(
            f"an expression that names nodes {leaves:,} times was asked for, but {LEAVES_MAX:,} is the limit. "
            "Use choose or threshold in place of a written-out list."
        )


ALWAYS: Expression = Gate(0, ())
"""Over no nodes, satisfied by every set: the empty configuration. It has no text."""
NEVER: Expression = Gate(1, ())
"""The dual of ALWAYS: no set satisfies it. It has no text."""
