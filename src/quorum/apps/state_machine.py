"""The contract of a replicated application: deterministic, and told everything by the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeGuard

import msgspec

from quorum.entry import Buffer
from quorum.header import Header


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An answer to an earlier request of a session (a lock that was queued and is now granted)."""

    client: int
    sequence: int
    body: bytes


class Notice(msgspec.Struct, frozen=True, gc=False):
    """Something that happened, for whoever watches `topic` of this application. The host fills in which one it is,
    so that applications need not know each other's topics."""

    topic: bytes
    body: bytes
    app: int = 0


class Task(msgspec.Struct, frozen=True, gc=False):
    """Work for one node outside the log; its result may come back only as a command."""

    name: str
    body: bytes


class Outputs(msgspec.Struct, frozen=True, gc=False):
    """What applying one batch gives: the answer to it, answers to others, notices, tasks.

    `reply` is a pure function of the log, so that the answers of several replicas can be compared.
    """

    reply: bytes
    replies: tuple[Reply, ...] = ()
    notices: tuple[Notice, ...] = ()
    tasks: tuple[Task, ...] = ()


class StateMachine(Protocol):
    """What an application must be. Nothing here may read a clock, a file or unseeded randomness."""

    def apply(self, header: Header, body: Buffer) -> Outputs:
        """Apply one batch of `header.count` commands; time and randomness come from the header.

        An exception is caught by the host and goes back to the caller as ApplicationError.
        """
        ...

    def query(self, body: Buffer) -> bytes:
        """Answer a batch of reads from the present state, which must not change."""
        ...

    def digest(self) -> bytes:
        """The Merkle root (32 bytes) over the canonical chunks of the state, kept incrementally."""
        ...

    def snapshot(self) -> Iterator[bytes]:
        """A point-in-time view, taken in about O(1), read in slices while commands go on being applied.

        The chunks are a function of the log, like all else: where members may lie, blocks name their digests.
        """
        ...

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state by one that `snapshot` wrote. Raises ValueError if the chunks are damaged."""
        ...


class Expiring(StateMachine, Protocol):
    """A state machine in which something ends by itself: leases, sessions, held locks.

    It reads lease time from the `log_clock.LogClock` of its host, which it is given at construction. The host
    calls `expire` at the first entry at which lease time has reached `next_deadline_us`, before that entry's own
    command, on every replica alike. What `expire` gives goes out with that entry.
    """

    @property
    def next_deadline_us(self) -> int | None:
        """The lease time at which something ends if nothing happens until then; None: nothing will. About O(1)."""
        ...

    def expire(self) -> Outputs:
        """End what is due by now; the `reply` of the outputs is ignored. May leave a rest for the next entry.

        An exception leaves the state as it is then and its outputs are lost; the next entry tries again. Since it
        is a function of the log, all replicas stay alike.
        """
        ...


class Attributed(StateMachine, Protocol):
    """A state machine to which it matters who sends a command. The host calls `apply_from` instead of `apply`."""

    def apply_from(self, header: Header, body: Buffer, caller: str) -> Outputs:
        """As `apply`, for a batch of `caller`: in crash mode the name that TLS verified when the session was
        opened, where members may lie the sender's public key in hexadecimal digits. "": nobody vouches for one."""
        ...


class Vetting(StateMachine, Protocol):
    """A state machine that looks at what a leader is about to propose."""

    def vet(self, body: Buffer) -> None:
        """Judge a batch of this application, cheaply: it is asked for each. Raises LocalProtocolError, saying why,
        for one that must not get into the log."""
        ...


class Sliced(StateMachine, Protocol):
    """A state machine whose state may be large: its digest is computed in slices."""

    def digests(self) -> Iterator[bytes]:
        """Pin the present state; yield b"" after each slice of about 100 KB, then its `digest`."""
        ...


class Chunked(StateMachine, Protocol):
    """A state machine that keeps the digests of its snapshot's chunks, and makes only the chunks that changed."""

    def chunk_digests(self) -> Iterator[bytes]:
        """Pin the present state; yield `pieces.digests_of` each chunk that `snapshot` would give now, in order,
        and b"" after each slice of about 50 KB of work."""
        ...


def is_chunked(application: StateMachine) -> TypeGuard[Chunked]:
    """Whether the class of an application has `chunk_digests`."""
    return callable(getattr(type(application), "chunk_digests", None))


class Provable(StateMachine, Protocol):
    """A state machine that proves what it holds under a root of its own. Where blocks are applied, the head of the
    state names that root, so that a proof goes on from it to the root that a certified block names."""

    def proof_root(self) -> bytes | None:
        """The root of the present state: 32 bytes, at little cost. None: a snapshot has nothing of it."""
        ...


def is_provable(application: StateMachine) -> TypeGuard[Provable]:
    """Whether the class of an application has `proof_root`."""
    return callable(getattr(type(application), "proof_root", None))


def is_sliced(application: StateMachine) -> TypeGuard[Sliced]:
    """Whether the class of an application has `digests`."""
    return callable(getattr(type(application), "digests", None))


class Large(StateMachine, Protocol):
    """A state machine whose state may take long to free: a tenth of a second for a million keys."""

    def let_go(self) -> Iterator[object]:
        """Free the state part by part, one for each step. Nothing else is asked of it any more."""
        ...


def is_large(application: StateMachine) -> TypeGuard[Large]:
    """Whether the class of an application has a `let_go`."""
    return callable(getattr(type(application), "let_go", None))


class Renewable(StateMachine, Protocol):
    """A state machine with numbers of its own that must not be given out again after a restore."""

    def begin_anew(self) -> None:
        """The state goes on in another cluster, which does not know what the old one did after the backup."""
        ...


def is_renewable(application: StateMachine) -> TypeGuard[Renewable]:
    """Whether the class of an application has a `begin_anew`."""
    return callable(getattr(type(application), "begin_anew", None))


def is_attributed(application: StateMachine) -> TypeGuard[Attributed]:
    """Whether the class of an application has an `apply_from`."""
    return callable(getattr(type(application), "apply_from", None))


def is_vetting(application: StateMachine) -> TypeGuard[Vetting]:
    """Whether the class of an application has a `vet`."""
    return callable(getattr(type(application), "vet", None))


def is_expiring(application: StateMachine) -> TypeGuard[Expiring]:
    """Whether the class of an application has an `expire`; nothing is asked of the object itself."""
    return callable(getattr(type(application), "expire", None))
