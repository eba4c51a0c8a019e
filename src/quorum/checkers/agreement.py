"""Do the nodes agree? Checkers that a simulation feeds while it runs; each raises Violation at the first breach.

Every call costs a few dictionary look-ups. A cluster with several logs takes one set of checkers for each log.
"""

from __future__ import annotations

from collections.abc import Callable

from quorum.checkers.violation import Violation
from quorum.model import NodeId

Identity = tuple[int, bytes]
"""What an entry is: its term and the digest of its content."""
Lookup = Callable[[int], Identity | None]
"""A node's log: the entry at an index, or None where it has none."""


class ElectionSafety:
    """At most one leader in each term. Source: Ongaro and Ousterhout (2014), figure 3."""

    def __init__(self) -> None:
        self._leaders: dict[int, NodeId] = {}

    def leader(self, term: int, node: NodeId) -> None:
        """`node` became leader in `term`. Saying so again is no breach."""
        known = self._leaders.setdefault(term, node)
        if known != node:
            raise Violation("election safety", f"{known} and {node} both lead term {term}", (known, node))


class StateMachineSafety:
    """All nodes commit the same entry at each index, each node in order and without gaps.

    Source: Ongaro and Ousterhout (2014), figure 3, State Machine Safety.
    """

    def __init__(self) -> None:
        self._decided: list[tuple[int, bytes, NodeId]] = []
        self._next: dict[NodeId, int] = {}

    @property
    def last(self) -> int:
        """The highest index that any node committed; 0 if none did."""
        return len(self._decided)

    def identity(self, index: int) -> Identity:
        """The entry decided at `index`, from 1 to `last`."""
        return self._decided[index - 1][:2]

    def committed(self, node: NodeId, index: int, term: int, digest: bytes) -> None:
        """`node` committed the entry of `term` and `digest` at `index`."""
        wanted = self._next.get(node, 1)
        if index != wanted:
            raise Violation("commit order", f"{node} committed index {index} where {wanted} was next", (node,))
        self._next[node] = index + 1
        decided = self._decided
        if index > len(decided):
            decided.append((term, digest, node))
            return
        known_term, known_digest, first = decided[index - 1]
        if known_digest != digest or known_term != term:
            raise Violation(
                "state machine safety",
                f"at index {index}, {first} committed {_named(known_term, known_digest)} "
                f"and {node} {_named(term, digest)}",
                (first, node),
            )

    def starts_after(self, node: NodeId, index: int) -> None:
        """`node` has a snapshot up to `index` (0: none), after a restart or a fetch: the next one follows."""
        if not 0 <= index <= len(self._decided):
            raise Violation(
                "state machine safety",
                f"{node} has a snapshot up to index {index}, but only {len(self._decided)} entries are committed",
                (node,),
            )
        self._next[node] = index + 1


class LeaderCompleteness:
    """Every entry committed in an earlier term is in the log of each later leader.

    Source: Ongaro and Ousterhout (2014), figure 3. An entry counts as committed in the highest term that had a
    leader when it was first seen committed: never too low, so that a leader of an old term who learns late of
    its election is not accused. The newest `recent` entries are compared; older ones are left to
    StateMachineSafety.
    """

    def __init__(self, decided: StateMachineSafety, recent: int = 4096) -> None:
        self._decided = decided
        self._recent = recent
        self._reigns: list[tuple[int, int]] = []  # (a leader's term, the last index committed when it was elected)
        self._term_max = 0

    def leader_log(self, node: NodeId, term: int, lookup: Lookup, snapshot_index: int = 0) -> None:
        """`node` became leader in `term`; `lookup` is its log, above its snapshot up to `snapshot_index`."""
        decided = self._decided
        owed = decided.last
        if term <= self._term_max:  # what was committed under this or a later leader is not owed
            owed = min(last for reign, last in self._reigns if reign >= term)
        for index in range(owed, max(snapshot_index, owed - self._recent, 0), -1):
            found, committed = lookup(index), decided.identity(index)
            if found != committed:
                has = "nothing" if found is None else _named(*found)
                raise Violation(
                    "leader completeness",
                    f"{node} leads term {term} and has {has} at index {index}, "
                    f"where {_named(*committed)} is committed",
                    (node,),
                )
        self._reigns.append((term, decided.last))
        self._term_max = max(self._term_max, term)


class CommitOrder:
    """Within one life of a node its commit index never decreases."""

    def __init__(self) -> None:
        self._highest: dict[NodeId, int] = {}

    def commit_index(self, node: NodeId, index: int) -> None:
        """`node` now has this commit index."""
        before = self._highest.get(node, 0)
        if index < before:
            raise Violation("commit order", f"the commit index of {node} fell from {before} to {index}", (node,))
        self._highest[node] = index

    def restarted(self, node: NodeId) -> None:
        """A new life begins: the commit index is not durable, so it may begin below."""
        self._highest.pop(node, None)


class StateDigests:
    """Replicas that applied the same entries have the same state. Keeps the newest `kept` indexes reported."""

    def __init__(self, kept: int = 1024) -> None:
        self._kept = kept
        self._at: dict[int, dict[NodeId, bytes]] = {}

    def digest(self, node: NodeId, index: int, digest: bytes) -> None:
        """The state of `node` after it applied `index` has this digest.

        The Violation names the minority: those whose digest fewer nodes share. Of two nodes neither can be named.
        """
        known = self._at.get(index)
        if known is None:
            if len(self._at) >= self._kept:
                del self._at[next(iter(self._at))]
            self._at[index] = {node: digest}
            return
        before = known.setdefault(node, digest)
        if before != digest:
            raise Violation(
                "state digests",
                f"{node} applied index {index} twice and reached {before.hex()}, then {digest.hex()}",
                (node,),
            )
        if len(set(known.values())) > 1:
            self._accuse(index, known)

    @staticmethod
    def _accuse(index: int, known: dict[NodeId, bytes]) -> None:
        camps: dict[bytes, list[NodeId]] = {}
        for node in sorted(known):
            camps.setdefault(known[node], []).append(node)
        ordered = sorted(camps.items(), key=lambda camp: (-len(camp[1]), camp[1]))
        seen = "; ".join(f"{', '.join(nodes)} reached {digest.hex()}" for digest, nodes in ordered)
        if len(ordered[0][1]) > len(ordered[1][1]):
            minority = tuple(sorted(node for _, nodes in ordered[1:] for node in nodes))
            raise Violation(
                "state digests", f"after index {index} {seen}: {', '.join(minority)} differs", minority
            )
        raise Violation(
            "state digests", f"after index {index} {seen}: no majority tells who is wrong", tuple(known)
        )


class Agreement:
    """All of these checkers for one log, fed by one set of calls."""

    def __init__(self) -> None:
        self.elections = ElectionSafety()
        self.decided = StateMachineSafety()
        self.completeness = LeaderCompleteness(self.decided)
        self.order = CommitOrder()
        self.digests = StateDigests()
        self.committed = self.decided.committed
        self.commit_index = self.order.commit_index
        self.digest = self.digests.digest

    def leader(self, node: NodeId, term: int, lookup: Lookup, snapshot_index: int = 0) -> None:
        """`node` became leader in `term`; see ElectionSafety.leader and LeaderCompleteness.leader_log."""
        self.elections.leader(term, node)
        self.completeness.leader_log(node, term, lookup, snapshot_index)

    def restarted(self, node: NodeId, snapshot_index: int = 0) -> None:
        """`node` begins a new life from its snapshot, or from nothing."""
        self.order.restarted(node)
        self.decided.starts_after(node, snapshot_index)

    def installed(self, node: NodeId, snapshot_index: int) -> None:
        """`node` replaced its state by a snapshot it fetched."""
        self.decided.starts_after(node, snapshot_index)


def _named(term: int, digest: bytes) -> str:
    return f"{digest.hex()} of term {term}"
