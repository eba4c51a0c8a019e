"""Locks and elections as a replicated state machine; `lock` says what its commands mean."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import chain, islice

import msgspec

from quorum.apps.batch import BatchDecoder, Refused
from quorum.apps.leases import LEASES_MAX, Leases
from quorum.apps.leaves import Leaves, View
from quorum.apps.lock import (
    CLOSED_NAMES_MAX,
    LIST_LOCKS_MAX,
    LOCKS_MAX,
    NAME_BYTES_MAX,
    READ_BYTES_MAX,
    SESSION_NAMES_MAX,
    VALUE_BYTES_MAX,
    WAITERS_MAX,
    Acquire,
    Alive,
    Busy,
    Closed,
    CloseSession,
    Command,
    Granted,
    Holder,
    KeepAlive,
    ListLocks,
    Locks,
    LockView,
    Look,
    LookSession,
    Opened,
    OpenSession,
    Proclaim,
    Proclaimed,
    Query,
    Queued,
    Release,
    Released,
    Result,
    SessionView,
    TryAcquire,
    encode_change,
)
from quorum.apps.log_clock import LogClock
from quorum.apps.pieces import digests_of
from quorum.apps.state_machine import Notice, Outputs
from quorum.entry import Buffer
from quorum.header import Header

ITEM_BYTES = 64
"""What a lock counts for READ_BYTES_MAX in addition to its name and value."""

_COMMANDS: BatchDecoder[Command] = BatchDecoder(Command)
_QUERIES: BatchDecoder[Query] = BatchDecoder(Query)
_ENCODE = msgspec.msgpack.Encoder().encode
_GRANT = struct.Struct(">QQ")  # session, token; the value follows
_WAITER = struct.Struct(">Q")  # session; the value follows
_TICKET = struct.Struct(">Q")
_FORMAT = 1
_REMEDY = "Fetch another snapshot."


class ServiceHead(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """First chunk of a snapshot: the newest session, ticket and token, and how many chunks of leases, holders and
    waiters follow."""

    format: int
    session: int
    ticket: int
    token: int
    leases: int
    holders: int
    waiters: int


_DECODE_HEAD = msgspec.msgpack.Decoder(ServiceHead)


class Lock:
    """One held lock: who holds it, and who waits. The tickets of those who wait ascend in the order they came."""

    __slots__ = ("session", "tickets", "token", "waiters")

    def __init__(self, session: int, token: int) -> None:
        self.session = session
        self.token = token
        self.tickets: list[int] = []
        self.waiters: dict[int, int] = {}

    def place(self, session: int) -> int | None:
        """0 for the holder, from 1 on in the queue, None for anybody else."""
        if session == self.session:
            return 0
        ticket = self.waiters.get(session)
        return None if ticket is None else bisect_left(self.tickets, ticket) + 1


class LockService:
    """Named locks with queues, held by sessions. Every bound must be the same on every node.

    The rows of `_holders` and `_waiters` are the state, in canonical form; `_locks` and `_names` follow from them.

    I1  a lock has one holder while it exists, and exists only while it has one.
    I2  tokens strictly grow, over all locks.
    I3  whoever holds or waits is a session that has not ended.
    """

    def __init__(self, clock: LogClock, locks_max: int = LOCKS_MAX, sessions_max: int = LEASES_MAX) -> None:
        self._clock = clock
        self._locks_max = locks_max
        self._leases = Leases(clock, sessions_max)
        self._holders = Leaves()
        self._waiters = Leaves()
        self._session = self._ticket = self._token = 0
        self._locks: dict[str, Lock] = {}
        self._names: dict[int, set[str]] = {}
        self._notices: list[Notice] = []
        self._closed_left = CLOSED_NAMES_MAX
        self._read_left = READ_BYTES_MAX

    def __len__(self) -> int:
        """The number of locks that are held."""
        return len(self._locks)

    @property
    def session_count(self) -> int:
        """The number of sessions that have not ended."""
        return len(self._leases)

    # The contract.

    def apply(self, header: Header, body: Buffer) -> Outputs:
        """Apply a batch of commands. Raises msgspec.DecodeError, state unchanged, if it is no msgpack array."""
        commands = _COMMANDS.decode(body)
        self._begin()
        results = [command if isinstance(command, Refused) else self._execute(command) for command in commands]
        return Outputs(_ENCODE(results), notices=self._taken_notices())

    def query(self, body: Buffer) -> bytes:
        """Answer a batch of reads. Raises msgspec.DecodeError if it is no msgpack array."""
        queries = _QUERIES.decode(body)
        self._read_left = READ_BYTES_MAX
        return _ENCODE([query if isinstance(query, Refused) else self._answer(query) for query in queries])

    @property
    def next_deadline_us(self) -> int | None:
        """When the next session ends, unless it is kept alive."""
        return self._leases.next_deadline_us

    def expire(self) -> Outputs:
        """End sessions whose time is over, the earliest first; what they held goes to the next in the queue."""
        self._begin()
        while self._closed_left > 0:
            ended = self._leases.expire(1)
            if not ended:
                break
            self._closed_left -= 1 + self._vacate(ended[0])
        return Outputs(b"", notices=self._taken_notices())

    def digest(self) -> bytes:
        """The root over sessions, holders, queues and the newest numbers: 32 bytes."""
        root = blake2b(b"lock1", digest_size=32)
        for number in (self._session, self._ticket, self._token):
            root.update(_TICKET.pack(number))
        for part in (self._leases, self._holders, self._waiters):
            root.update(part.digest())
        return root.digest()

    def snapshot(self) -> Iterator[bytes]:
        """Pin the present state; return its chunks."""
        head, views = self._views()
        return chain((head,), *(view.chunks() for view in views))

    def chunk_digests(self) -> Iterator[bytes]:
        """Pin the present state; give `pieces.digests_of` each chunk of `snapshot`, and b"" after slices."""
        head, views = self._views()
        return chain((digests_of(head),), *(view.chunk_digests() for view in views))

    def _views(self) -> tuple[bytes, tuple[View, ...]]:
        """The first chunk of a snapshot, and what the others are read from."""
        views = (self._leases.view(), self._holders.view(), self._waiters.view())
        head = ServiceHead(_FORMAT, self._session, self._ticket, self._token, *map(len, views))
        return _ENCODE(head), views

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state by one that `snapshot` wrote. Raises ValueError, state unchanged, if it is damaged."""
        rest = iter(chunks)
        try:
            head = _DECODE_HEAD.decode(next(rest, b""))
        except msgspec.DecodeError as error:
            raise ValueError(f"locks were to be restored, but their head is damaged: {error}. {_REMEDY}") from None
        if head.format != _FORMAT:
            raise ValueError(f"locks of format {head.format} were to be restored by {_FORMAT}. {_REMEDY}")
        leases = self._leases.empty()
        holders, waiters = self._holders.empty(), self._waiters.empty()
        leases.load(islice(rest, head.leases))
        holders.load(islice(rest, head.holders))
        waiters.load(islice(rest, head.waiters))
        locks, names = _index(leases, holders, waiters, head)
        self._leases, self._holders, self._waiters = leases, holders, waiters
        self._session, self._ticket, self._token = head.session, head.ticket, head.token
        self._locks, self._names = locks, names

    # Commands.

    def _begin(self) -> None:
        self._notices = []
        self._closed_left = CLOSED_NAMES_MAX

    def _taken_notices(self) -> tuple[Notice, ...]:
        taken, self._notices = tuple(self._notices), []
        return taken

    def _execute(self, command: Command) -> Result:
        match command:
            case KeepAlive(session):
                ttl_us = self._leases.keep_alive(session)
                return _ended(session) if ttl_us is None else Alive(ttl_us)
            case Acquire(name, session, value):
                return self._refusal(name, session, value) or self._acquire(name, session, value, waits=True)
            case TryAcquire(name, session, value):
                return self._refusal(name, session, value) or self._acquire(name, session, value, waits=False)
            case Release(name, session, token):
                return self._release(name, session, token)
            case Proclaim(name, session, value):
                return self._refusal(name, session, value) or self._proclaim(name, session, value)
            case OpenSession(ttl_us):
                return self._open(ttl_us)
            case CloseSession(session):
                return self._close(session)

    def _open(self, ttl_us: int) -> Opened | Refused:
        refused = self._leases.grant(self._session + 1, ttl_us)
        if refused is not None:
            return refused
        self._session += 1
        return Opened(self._session, ttl_us)

    def _close(self, session: int) -> Closed | Refused:
        if session not in self._leases:
            return Closed(False)
        if self._closed_left <= 0:
            return Refused(
                "sessions",
                f"the sessions closed in one batch give up more than {CLOSED_NAMES_MAX} locks and places. Close "
                "this one in another batch.",
            )
        self._leases.revoke(session)
        self._closed_left -= 1 + self._vacate(session)
        return Closed(True)

    def _refusal(self, name: str, session: int, value: bytes) -> Refused | None:
        size = len(name.encode())
        if not 0 < size <= NAME_BYTES_MAX or "\0" in name:
            return Refused(
                "name",
                f"a lock was named by {size} bytes, but names have 1 to {NAME_BYTES_MAX} bytes of UTF-8 and no "
                "zero byte. Choose another.",
            )
        if len(value) > VALUE_BYTES_MAX:
            return Refused(
                "value",
                f"a value has {len(value)} bytes, but {VALUE_BYTES_MAX} is the most. Store it elsewhere.",
            )
        return None if session in self._leases else _ended(session)

    def _acquire(self, name: str, session: int, value: bytes, waits: bool) -> Granted | Queued | Busy | Refused:
        lock = self._locks.get(name)
        if lock is not None:
            place = lock.place(session)
            if place == 0:
                return Granted(lock.token)
            if not waits:
                return Busy(lock.session, lock.token)
            if place is not None:
                return Queued(place, lock.session, lock.token)
        refused = self._refusal_of_room(lock, session)
        if refused is not None:
            return refused
        self._names.setdefault(session, set()).add(name)
        if lock is None:
            self._grant(name, session, value)
            return Granted(self._token)
        self._ticket += 1
        lock.tickets.append(self._ticket)
        lock.waiters[session] = self._ticket
        self._waiters.put(_waiter_key(name, self._ticket), _WAITER.pack(session) + value, 0)
        return Queued(len(lock.tickets), lock.session, lock.token)

    def _refusal_of_room(self, lock: Lock | None, session: int) -> Refused | None:
        if len(self._names.get(session, ())) >= SESSION_NAMES_MAX:
            return Refused(
                "session",
                f"session {session} has {SESSION_NAMES_MAX} locks and places, which is the most. Open another.",
            )
        if lock is None and len(self._locks) >= self._locks_max:
            return Refused(
                "locks", f"{self._locks_max} locks are held, which is the most. Release some, and retry."
            )
        if lock is not None and len(lock.tickets) >= WAITERS_MAX:
            return Refused("queue", f"{WAITERS_MAX} sessions wait for this lock, which is the most. Retry later.")
        return None

    def _release(self, name: str, session: int, token: int) -> Released:
        lock = self._locks.get(name)
        place = None if lock is None else lock.place(session)
        if lock is None or place is None or (token > 0 and (place > 0 or lock.token != token)):
            return Released(False, False)
        self._forget_name(session, name)
        if place > 0:
            self._unqueue(name, lock, session)
            return Released(False, True)
        self._pass_on(name, lock)
        return Released(True, False)

    def _proclaim(self, name: str, session: int, value: bytes) -> Proclaimed | Refused:
        lock = self._locks.get(name)
        if lock is None or lock.session != session:
            return Refused("holder", f"session {session} does not hold the lock {name[:80]!r}. Acquire it first.")
        self._write_holder(name, session, lock.token, value)
        return Proclaimed(lock.token)

    # How a lock changes hands.

    def _grant(self, name: str, session: int, value: bytes) -> None:
        """The session holds the lock from this entry on."""
        self._token = max(self._clock.index, self._token + 1)
        lock = self._locks.get(name)
        if lock is None:
            self._locks[name] = Lock(session, self._token)
        else:
            lock.session, lock.token = session, self._token
        self._write_holder(name, session, self._token, value)

    def _write_holder(self, name: str, session: int, token: int, value: bytes) -> None:
        self._holders.put(name.encode(), _GRANT.pack(session, token) + value, 0)
        self._notices.append(Notice(name.encode(), encode_change(Holder(session, token, value))))

    def _pass_on(self, name: str, lock: Lock) -> None:
        """The holder is gone: the first of the queue holds the lock, or nobody does."""
        if not lock.tickets:
            del self._locks[name]
            self._holders.delete(name.encode())
            self._notices.append(Notice(name.encode(), encode_change(None)))
            return
        row = self._waiters.get(_waiter_key(name, lock.tickets[0]))
        assert row is not None, "every ticket has its row"
        session, value = _WAITER.unpack_from(row.value)[0], row.value[_WAITER.size :]
        self._unqueue(name, lock, session)
        self._grant(name, session, value)

    def _unqueue(self, name: str, lock: Lock, session: int) -> None:
        ticket = lock.waiters.pop(session)
        del lock.tickets[bisect_left(lock.tickets, ticket)]
        self._waiters.delete(_waiter_key(name, ticket))

    def _vacate(self, session: int) -> int:
        """A session has ended: it gives up what it holds, in the order of the names. Returns how many names."""
        names = sorted(self._names.pop(session, ()))
        for name in names:
            lock = self._locks[name]
            if lock.session == session:
                self._pass_on(name, lock)
            else:
                self._unqueue(name, lock, session)
        return len(names)

    def _forget_name(self, session: int, name: str) -> None:
        names = self._names[session]
        names.remove(name)
        if not names:
            del self._names[session]

    # Reads.

    def _answer(self, query: Query) -> Result:
        if self._read_left <= 0:
            return _TOO_MUCH_READ
        match query:
            case Look(name, session):
                return self._view(name, session)
            case ListLocks():
                return self._list(query)
            case LookSession(session):
                ttl_us, remaining_us = self._leases.ttl_us(session), self._leases.remaining_us(session)
                self._read_left -= ITEM_BYTES
                if ttl_us is None or remaining_us is None:
                    return _ended(session)
                return SessionView(session, ttl_us, remaining_us, len(self._names.get(session, ())))

    def _view(self, name: str, session: int) -> LockView:
        lock, row = self._locks.get(name), self._holders.get(name.encode())
        self._read_left -= ITEM_BYTES + len(name)
        if lock is None or row is None:
            return LockView(name, None, 0)
        self._read_left -= len(row.value)
        holder = Holder(lock.session, lock.token, row.value[_GRANT.size :])
        return LockView(name, holder, len(lock.tickets), lock.place(session))

    def _list(self, query: ListLocks) -> Locks | Refused:
        if query.limit < 0:
            return Refused("list", f"a limit of {query.limit} locks makes no sense. Give 0 for all, or more.")
        limit = min(query.limit or LIST_LOCKS_MAX, LIST_LOCKS_MAX)
        views: list[LockView] = []
        for key, _ in self._holders.scan(query.start.encode(), None):
            if len(views) >= limit or self._read_left <= 0:
                return Locks(views, True)
            views.append(self._view(key.decode(), 0))
        return Locks(views, False)


_TOO_MUCH_READ = Refused(
    "read", f"more than {READ_BYTES_MAX} bytes were read in one batch. Read the rest in another batch."
)


def _ended(session: int) -> Refused:
    return Refused("ended", f"session {session} has ended, or never was. Whatever it held is lost; open another.")


def _waiter_key(name: str, ticket: int) -> bytes:
    """Names hold no zero byte, so that the waiters of a lock stand together, in the order of their tickets."""
    return name.encode() + b"\0" + _TICKET.pack(ticket)


def _index(
    leases: Leases, holders: Leaves, waiters: Leaves, head: ServiceHead
) -> tuple[dict[str, Lock], dict[int, set[str]]]:
    """What follows from the rows. Raises ValueError where they contradict each other."""
    locks: dict[str, Lock] = {}
    names: dict[int, set[str]] = {}
    _require(max(leases.ids(), default=0) <= head.session, "a session is newer than the newest")
    for key, row in holders.scan(b"", None):
        name = _read_name(key)
        _require(len(row.value) >= _GRANT.size, "a holder's row is short")
        session, token = _GRANT.unpack_from(row.value)
        _require(token <= head.token, "a token is larger than the newest")
        locks[name] = Lock(session, token)
        _add_name(names, leases, session, name)
    for key, row in waiters.scan(b"", None):
        _require(len(key) > _TICKET.size and len(row.value) >= _WAITER.size, "a waiter's row is short")
        name, ticket = _read_name(key[: -_TICKET.size - 1]), _TICKET.unpack(key[-_TICKET.size :])[0]
        lock, session = locks.get(name), _WAITER.unpack_from(row.value)[0]
        _require(lock is not None and ticket <= head.ticket, "somebody waits for what nobody holds")
        assert lock is not None
        lock.tickets.append(ticket)
        lock.waiters[session] = ticket
        _add_name(names, leases, session, name)
    return locks, names


def _add_name(names: dict[int, set[str]], leases: Leases, session: int, name: str) -> None:
    of_session = names.setdefault(session, set())
    _require(session in leases, "a session that has ended holds or waits")
    _require(name not in of_session, "a session stands twice at one lock")
    of_session.add(name)


def _read_name(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        _require(False, "a name is no UTF-8")
        raise


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(f"locks were to be restored, but {otherwise}. {_REMEDY}")
