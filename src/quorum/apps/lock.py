"""Locks and elections as their clients see them: commands, queries, results and their encoding.

A lock has a name, at most one holder, and a queue of those who wait, first come, first served. Whoever asks does
so in a session: a lease that ends unless it is kept alive (`leases`). A session that ends, by its own wish or
because its time is over, gives up what it holds and leaves every queue.

Each grant has a token. Tokens strictly grow over all locks of a cluster: a token is the index of the log entry
that granted, or one more than the newest token where that is larger (several grants at one entry). A resource that
remembers the largest token it has seen, and refuses smaller ones, is safe from holders that believe they still
hold a lock. Without such a resource a lock is advisory: no lock service can know whether a holder is still acting.
Source: Gray and Cheriton, "Leases" (1989); Burrows, "The Chubby lock service" (2006), section 2.4, sequencers.

An election is a lock with a value: to campaign is to acquire, to proclaim is to change the value while holding, to
resign is to release, and whoever looks sees the leader's value and token.

A batch is a msgpack array of commands, its reply the array of their results, one for each, in order. A command
that cannot be done gets `Refused` as its result and changes nothing; the others of its batch stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from quorum.apps.batch import Refused
from quorum.entry import Buffer

NAME_BYTES_MAX = 512
VALUE_BYTES_MAX = 4096
LOCKS_MAX = 100_000
"""Locks that are held at one time; one that nobody holds costs nothing."""
WAITERS_MAX = 10_000
"""In the queue of one lock."""
SESSION_NAMES_MAX = 1_000
"""Locks that one session holds or waits for."""
LIST_LOCKS_MAX = 1_000
"""One `ListLocks` gives at most so many, then says `more`."""
READ_BYTES_MAX = 4 * 1024 * 1024
"""All reads in one batch or query together give at most so many bytes of names and values, about."""
CLOSED_NAMES_MAX = 16_384
"""Locks and places in queues that the sessions closed in one batch, or ended at one entry, give up, about."""


class _Command(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """Base of what a client may send."""


class OpenSession(_Command, frozen=True, gc=False, array_like=True, tag=1, forbid_unknown_fields=True):
    """A session that ends after `ttl_us` microseconds unless it is kept alive. Result: Opened."""

    ttl_us: int


class KeepAlive(_Command, frozen=True, gc=False, array_like=True, tag=2, forbid_unknown_fields=True):
    """Let the session last for its whole time from now on. Result: Alive; Refused if it has ended."""

    session: int


class CloseSession(_Command, frozen=True, gc=False, array_like=True, tag=3, forbid_unknown_fields=True):
    """End the session now: it gives up what it holds and leaves every queue. Result: Closed."""

    session: int


class Acquire(_Command, frozen=True, gc=False, array_like=True, tag=4, forbid_unknown_fields=True):
    """Hold the lock, or queue for it. Asking again changes nothing, also not the value, and gives the same token
    or the present place. Result: Granted or Queued."""

    name: str
    session: int
    value: bytes = b""


class TryAcquire(_Command, frozen=True, gc=False, array_like=True, tag=5, forbid_unknown_fields=True):
    """Hold the lock if nobody does. Result: Granted or Busy."""

    name: str
    session: int
    value: bytes = b""


class Release(_Command, frozen=True, gc=False, array_like=True, tag=6, forbid_unknown_fields=True):
    """Give the lock up, or leave its queue; the next in the queue holds it. With a `token` above 0 only that very
    grant is given up. Result: Released."""

    name: str
    session: int
    token: int = 0


class Proclaim(_Command, frozen=True, gc=False, array_like=True, tag=7, forbid_unknown_fields=True):
    """The holder changes its value; the token stays. Result: Proclaimed; Refused for anybody else."""

    name: str
    session: int
    value: bytes


class Look(_Command, frozen=True, gc=False, array_like=True, tag=8, forbid_unknown_fields=True):
    """Read one lock; `session` (0: nobody's) is whose place is told. Result: LockView."""

    name: str
    session: int = 0


class ListLocks(_Command, frozen=True, gc=False, array_like=True, tag=9, forbid_unknown_fields=True):
    """Read the held locks from `start` on, in the order of their names' bytes, at most `limit` of them (0:
    LIST_LOCKS_MAX). Result: Locks."""

    start: str = ""
    limit: int = 0


class LookSession(_Command, frozen=True, gc=False, array_like=True, tag=10, forbid_unknown_fields=True):
    """Read one session. Result: SessionView; Refused if it has ended."""

    session: int


Command: TypeAlias = OpenSession | KeepAlive | CloseSession | Acquire | TryAcquire | Release | Proclaim
Query: TypeAlias = Look | ListLocks | LookSession


class Opened(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """The session's name, never used twice, and its time."""

    session: int
    ttl_us: int


class Alive(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
    """The session lasts for `ttl_us` from this entry on."""

    ttl_us: int


class Closed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=3):
    """Whether there was such a session."""

    existed: bool


class Granted(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=4):
    """The session holds the lock."""

    token: int


class Queued(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=5):
    """The session waits; it is the `place`-th in the queue, from 1 on. `holder` is the holding session."""

    place: int
    holder: int
    token: int


class Busy(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=6):
    """Another session holds the lock, and nothing was changed."""

    holder: int
    token: int


class Released(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=7):
    """What the session gave up: the lock, its place in the queue, or neither."""

    held: bool
    queued: bool


class Proclaimed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=8):
    """The value is the new one; `token` is still the grant's."""

    token: int


class Holder(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Who holds a lock, by which grant, and with which value."""

    session: int
    token: int
    value: bytes


class LockView(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=9):
    """A lock as it stands. `waiting` is the length of its queue; `place` is that of the session that was named: 0
    if it holds the lock, from 1 on in the queue, None if neither."""

    name: str
    holder: Holder | None
    waiting: int
    place: int | None = None


class Locks(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=10):
    """Locks in the order of their names. With `more`, go on with `ListLocks(locks[-1].name + "\\0")`."""

    locks: list[LockView]
    more: bool


class SessionView(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=11):
    """A session as it stands: its time, what is left of it, how many locks it holds or waits for."""

    session: int
    ttl_us: int
    remaining_us: int
    names: int


Result: TypeAlias = (
    Opened
    | Alive
    | Closed
    | Granted
    | Queued
    | Busy
    | Released
    | Proclaimed
    | LockView
    | Locks
    | SessionView
    | Refused
)


class Change(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The body of a notice; its topic is the lock's name in UTF-8. Who holds the lock from now on, None: nobody.
    A new value of the same holder is a change, too."""

    holder: Holder | None


_ENCODE = msgspec.msgpack.Encoder()
_DECODE_RESULTS: msgspec.msgpack.Decoder[list[Result]] = msgspec.msgpack.Decoder(list[Result])
_DECODE_CHANGE = msgspec.msgpack.Decoder(Change)


def encode_batch(commands: Sequence[Command]) -> bytes:
    """The body of a batch of commands."""
    return _ENCODE.encode(commands)


def encode_query(queries: Sequence[Query]) -> bytes:
    """The body of a batch of reads."""
    return _ENCODE.encode(queries)


def decode_results(body: Buffer) -> list[Result]:
    """The results in the reply to a batch or a query, in order. Raises msgspec.DecodeError if it is none."""
    return _DECODE_RESULTS.decode(body)


def encode_change(holder: Holder | None) -> bytes:
    """The body of the notice that `holder` holds a lock now."""
    return _ENCODE.encode(Change(holder))


def decode_change(body: Buffer) -> Change:
    """The change in the body of a notice. Raises msgspec.DecodeError if it is none."""
    return _DECODE_CHANGE.decode(body)
