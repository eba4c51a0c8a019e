"""A quorum system: which sets may read (elect), and which may write (replicate)."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.systems.algebra import Expression
from quorum.systems.expression import parse


class QuorumSystem:
    """Read quorums and write quorums over one set of nodes. Immutable, hashable.

    For Raft and Paxos the reads are the election quorums and the writes the replication quorums
    (Howard, Malkhi and Spiegelman, "Flexible Paxos", 2016). Either side may be text. A side that is
    omitted is the dual of the other: the least demanding one that still meets every quorum of it.
    Whether the two sides meet is not judged here: see `check`.
    Raises ConfigurationError if both sides are missing, or a text is no expression.
    """

    __slots__ = ("nodes", "reads", "writes")
    nodes: tuple[NodeId, ...]
    reads: Expression
    writes: Expression

    def __init__(self, reads: Expression | str | None = None, writes: Expression | str | None = None) -> None:
        if reads is None and writes is None:
            raise ConfigurationError(
                "a quorum system was asked for without reads or writes, but one side cannot be guessed. "
                "Give at least one of them; the other may be omitted."
            )
        read = _expression(reads) if reads is not None else None
        write = _expression(writes) if writes is not None else None
        read = read if read is not None or write is None else write.dual()
        write = write if write is not None or read is None else read.dual()
        assert read is not None and write is not None, "one side was given, and gave the other"
        object.__setattr__(self, "reads", read)
        object.__setattr__(self, "writes", write)
        object.__setattr__(self, "nodes", tuple(sorted({*read.nodes, *write.nodes})))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} cannot be set: a quorum system does not change. Build another one.")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QuorumSystem):
            return NotImplemented
        return self.reads == other.reads and self.writes == other.writes

    def __hash__(self) -> int:
        return hash((self.reads, self.writes))

    def __copy__(self) -> QuorumSystem:
        return self

    def __deepcopy__(self, memo: object) -> QuorumSystem:
        return self

    def __repr__(self) -> str:
        return f"QuorumSystem(reads={str(self.reads)!r}, writes={str(self.writes)!r})"

    def is_read_quorum(self, nodes: Iterable[NodeId]) -> bool:
        """Whether these nodes hold a read (election) quorum. Unknown ids among them do not matter."""
        return self.reads.contains(_as_set(nodes))

    def is_write_quorum(self, nodes: Iterable[NodeId]) -> bool:
        """Whether these nodes hold a write (replication) quorum. Unknown ids among them do not matter."""
        return self.writes.contains(_as_set(nodes))


def _expression(given: Expression | str) -> Expression:
    return given if isinstance(given, Expression) else parse(given)


def _as_set(nodes: Iterable[NodeId]) -> AbstractSet[NodeId]:
    return nodes if isinstance(nodes, AbstractSet) else frozenset(nodes)
