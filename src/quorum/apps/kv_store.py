"""The key-value store as a replicated state machine; `kv` says what its commands mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain, islice

import msgspec

from quorum.apps.batch import BatchDecoder, Refused
from quorum.apps.history import CHANGES_MAX, History, changes_of
from quorum.apps.kv import (
    BATCH_OPERATIONS_MAX,
    COUNTED_PER_BYTE,
    ENDED_MAX,
    ITEM_BYTES,
    KEY_BYTES_MAX,
    LEASE_KEYS_MAX,
    LEASES_LISTED_MAX,
    RANGE_KEYS_MAX,
    READ_BYTES_MAX,
    VALUE_BYTES_MAX,
    Command,
    Committed,
    Compact,
    Compacted,
    Compare,
    CompareAndSwap,
    CompareRevisionAndSwap,
    Counted,
    Delete,
    Deleted,
    DeleteRange,
    Found,
    Get,
    Got,
    Item,
    LeaseCommand,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseList,
    LeaseLook,
    LeaseRevoke,
    LeaseRevoked,
    LeasesListed,
    LeaseView,
    Operation,
    OperationResult,
    Put,
    PutWithLease,
    PutWithTtl,
    Query,
    Range,
    Result,
    Swapped,
    Txn,
    Written,
)
from quorum.apps.kv_head import FORMAT, PLAIN_FORMAT, PlainHead, StoreHead, read_head
from quorum.apps.kv_leases import KeyLeases
from quorum.apps.kv_rules import refusal_of_item, refusal_of_list, refusal_of_operation, refusal_of_txn
from quorum.apps.leaves import Change, Leaves, Versioned, tombstone
from quorum.apps.log_clock import LogClock
from quorum.apps.pieces import digests_of
from quorum.apps.slices import joined
from quorum.apps.state_machine import Outputs
from quorum.entry import Buffer
from quorum.header import Header

REVISION_GAP = 10**12
"""Between a backup and what is restored from it: a year of changes at 30,000 a second."""
TOGETHER = 8
"""So many commands are written to the leaves at once; for fewer that does not pay."""
_COMMANDS: BatchDecoder[Command] = BatchDecoder(Command)
_QUERIES: BatchDecoder[Query] = BatchDecoder(Query)
_ENCODE = msgspec.msgpack.Encoder().encode
_ABSENT = Versioned(b"", 0, 0, 0)


class KeyValueStore:
    """A sorted map with revisions, compare-and-swap, transactions, ranges, prefix reads, and leases by the lease
    time of `clock` (None: time stands still).

    `history` holds its newest changes. Read it between batches.
    """

    def __init__(self, clock: LogClock | None = None) -> None:
        self._leaves = Leaves()
        self._leases = KeyLeases(clock or LogClock())
        self._lease_of = self._leases.of
        self.next_deadline_us: int | None = None
        """When the next lease ends, unless it is kept alive. A plain attribute, since it is looked at after every
        batch."""
        self._ended_left = ENDED_MAX
        self.history = History()
        self._revision = 0
        self._read_bytes_left = READ_BYTES_MAX
        self._operations_left = BATCH_OPERATIONS_MAX

    @property
    def revision(self) -> int:
        """The number of changes so far."""
        return self._revision

    def __len__(self) -> int:
        """The number of keys."""
        return len(self._leaves)

    @property
    def lease_count(self) -> int:
        """The number of leases that have not ended."""
        return len(self._leases)

    def apply(self, header: Header, body: Buffer) -> Outputs:
        """Apply a batch of commands. Raises msgspec.DecodeError, state unchanged, if it is no msgpack array."""
        commands = _COMMANDS.decode(body)
        befores = self.history.befores
        replaced_bytes = 0
        results: list[Result] = []
        if len(commands) >= TOGETHER:
            results, replaced_bytes = self._put_all(commands)
        else:
            put, revision = self._leaves.put, self._revision
            for command in commands:  # the hot path of small batches, spelled out
                if type(command) is not Put:
                    break
                key, value = command.key, command.value
                if not 0 < len(key) <= KEY_BYTES_MAX or len(value) > VALUE_BYTES_MAX:
                    break
                revision += 1
                before = put(key, value, revision)
                befores.append(before)
                results.append(Written(revision))
                if before is not None:
                    replaced_bytes += len(before.value)
            self._revision = revision
        if self._lease_of:
            self._detach_all(commands[: len(results)])
        if commands and len(results) == len(commands):
            self.history.record_puts(self._revision, body, replaced_bytes)
        else:
            self._apply_rest(commands, results, befores[len(befores) - len(results) :])
        return Outputs(_ENCODE(results))

    def _put_all(self, commands: Sequence[Command | Refused]) -> tuple[list[Result], int]:
        """Do the puts that `commands` begins with, as far as they are valid; return their results, and how many
        bytes were there before."""
        first, befores = self._revision + 1, self.history.befores
        loose = len(befores)
        replaced_bytes = self._leaves.put_all(commands, Put, first, (KEY_BYTES_MAX, VALUE_BYTES_MAX), befores)
        self._revision += len(befores) - loose
        return [Written(revision) for revision in range(first, self._revision + 1)], replaced_bytes

    def _apply_rest(
        self, commands: Sequence[Command | Refused], results: list[Result], befores: list[Versioned | None]
    ) -> None:
        """Do what follows the puts at the beginning of a batch. It is kept in the history change by change."""
        done = len(befores)
        del self.history.befores[len(self.history.befores) - done :]
        puts = commands[:done]
        for change in changes_of(puts, befores, self._revision - done + 1):  # type: ignore[arg-type]
            self.history.record(change)
        self._read_bytes_left, self._operations_left = READ_BYTES_MAX, BATCH_OPERATIONS_MAX
        self._ended_left = ENDED_MAX
        results += map(self._execute, commands[done:])
        self.history.end_batch()
        self.next_deadline_us = self._leases.next_deadline_us

    def expire(self) -> Outputs:
        """End the leases that are due, the earliest first, of equal deadlines the smallest number: each with all
        its keys, at one revision of its own. Where they are more than ENDED_MAX with their keys, the rest is left
        to the next entry."""
        self._ended_left = ENDED_MAX
        while True:
            lease = self._leases.due()
            if lease is None or not self._has_room_to_end(lease):
                break
            self._end(lease)
        self.history.end_batch()
        self.next_deadline_us = self._leases.next_deadline_us
        return Outputs(b"")

    def query(self, body: Buffer) -> bytes:
        """Answer a batch of reads. Raises msgspec.DecodeError if it is no msgpack array."""
        queries = _QUERIES.decode(body)
        self._read_bytes_left = READ_BYTES_MAX
        return _ENCODE([self._execute(query) for query in queries])

    def digest(self) -> bytes:
        """The root over the revision, the leaves and the history: 32 bytes."""
        parts = self._leaves.digest() + self.history.digest()
        if self._leases.newest:
            parts += self._leases.digest()
        head = b"kv%d" % self._format + self._revision.to_bytes(8, "little")
        return blake2b(head + parts, digest_size=32).digest()

    def digests(self) -> Iterator[bytes]:
        """The same of the present state, in slices."""
        head = b"kv%d" % self._format + self._revision.to_bytes(8, "little")
        parts = [(head, self._leaves.view().digests()), (b"", self.history.digests())]
        if self._leases.newest:
            parts.append((b"", iter((self._leases.digest(),))))
        return joined(blake2b(digest_size=32), parts)

    def snapshot(self) -> Iterator[bytes]:
        """Pin the present state (a pointer for about 100 keys or changes); return its chunks, to be read at
        leisure."""
        leaves, history = self._leaves.view(), self.history.view()
        head = iter((self._head_of(len(leaves)),))
        if self._format == PLAIN_FORMAT:
            return chain(head, leaves.chunks(), history.chunks())
        leases, rows = self._leases.views()
        return chain(head, leaves.chunks(), history.chunks(), leases.chunks(), rows.chunks())

    def chunk_digests(self) -> Iterator[bytes]:
        """Pin the present state; give `pieces.digests_of` each chunk of `snapshot`, and b"" after slices."""
        leaves, history = self._leaves.view(), self.history.chunk_digests()
        head = iter((digests_of(self._head_of(len(leaves))),))
        if self._format == PLAIN_FORMAT:
            return chain(head, leaves.chunk_digests(), history)
        leases, rows = self._leases.views()
        return chain(head, leaves.chunk_digests(), history, leases.chunk_digests(), rows.chunk_digests())

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state by one that `snapshot` wrote. Raises ValueError, state unchanged, if it is damaged."""
        rest = iter(chunks)
        head = read_head(next(rest, b""))
        leaves, history = self._leaves.empty(), History()
        leaves.load(islice(rest, head.leaves))
        if leaves.leaf_count != head.leaves:
            raise ValueError(f"{head.leaves} leaves were to be restored, {leaves.leaf_count} came. {_REMEDY}")
        history.load(rest, head.revision)
        leases = self._leases.empty()
        if head.format == FORMAT:
            leases.load(head.newest_lease, islice(rest, head.leases), islice(rest, head.attached), leaves)
        if next(rest, None) is not None:
            raise ValueError(f"a key-value store was to be restored, but something follows its end. {_REMEDY}")
        self.history.before_drop()
        history.before_drop = self.history.before_drop
        self._leaves, self.history, self._revision = leaves, history, head.revision
        self._leases, self._lease_of, self.next_deadline_us = leases, leases.of, leases.next_deadline_us

    def let_go(self) -> Iterator[object]:
        """Free the state part by part, one for each step. The store must not be used any more."""
        return chain(self._leaves.let_go(), self.history.let_go())

    def begin_anew(self) -> None:
        """Go on far above every revision that was given out after the backup, with no change before that to be
        watched: who comes with an older revision hears that it is compacted."""
        self._revision += REVISION_GAP
        self.history.skip(self._revision, 0)
        self._leases.begin_anew()

    def _head_of(self, leaves: int) -> bytes:
        """The first chunk of a snapshot."""
        if self._format == PLAIN_FORMAT:
            return _ENCODE(PlainHead(PLAIN_FORMAT, self._revision, leaves))
        leases, rows = (len(view) for view in self._leases.views())
        return _ENCODE(StoreHead(FORMAT, self._revision, leaves, self._leases.newest, leases, rows))

    @property
    def _format(self) -> int:
        """Where there never was a lease, digest and snapshot are as they were before there were leases."""
        return FORMAT if self._leases.newest else PLAIN_FORMAT

    def _execute(self, command: Command | Query | Refused) -> Result:
        match command:
            case Refused():
                return command
            case Get(key):
                return refusal_of_item(key) or self._get(key)
            case Compact(revision):
                return self._compact(revision)
            case Txn():
                return self._refusal_of_size(command) or refusal_of_txn(command) or self._commit(command)
            case CompareAndSwap() | CompareRevisionAndSwap():
                return refusal_of_item(command.key, command.value) or self._swap(command)
            case LeaseCommand():
                return self._lease(command)
            case LeaseLook():
                return self._look(command)
            case LeaseList():
                return refusal_of_list(command) or self._list(command)
            case _:
                refused = refusal_of_operation(command) or self._leases.refusal(command)
                return refused or self._operate(command, self._revision + 1)

    def _operate(self, operation: Operation, revision: int) -> OperationResult:
        """Do one valid operation, at `revision` if it changes something."""
        match operation:
            case Put():
                if self._lease_of:
                    self._leases.detach(operation.key)
                return self._put(operation, revision)
            case Delete(key):
                return self._delete(key, revision)
            case DeleteRange(start, end):
                return self._delete_range(start, end, revision)
            case Get(key):
                return self._get(key)
            case Range():
                return self._range(operation)
            case PutWithLease(key, value, lease):
                self._leases.attach(key, lease)
                return self._put(Put(key, value), revision)
            case PutWithTtl(key, value, ttl_us):
                self._leases.attach_own(key, ttl_us)
                return self._put(Put(key, value), revision)

    def _put(self, put: Put, revision: int) -> Written:
        before = self._leaves.put(put.key, put.value, revision)
        self.history.record(*changes_of((put,), (before,), revision))
        self._revision = revision
        return Written(revision)

    def _delete(self, key: bytes, revision: int) -> Deleted:
        stored = self._leaves.get(key)
        if stored is not None:
            self._leases.detach(key)
            self._leaves.delete(key)
            self.history.record(Change(key, tombstone(revision), stored))
        return self._deleted(int(stored is not None), revision)

    def _delete_range(self, start: bytes, end: bytes | None, revision: int) -> Deleted:
        count = self._leaves.count(start, end)
        if self._lease_of and count:
            self._detach_range(start, end, count)
        if count > CHANGES_MAX:
            self.history.skip(revision, count)
        else:
            for key, stored in self._leaves.scan(start, end):
                self.history.record(Change(key, tombstone(revision), stored))
        return self._deleted(self._leaves.delete_range(start, end), revision)

    # Leases.

    def _lease(self, command: LeaseCommand) -> Result:
        match command:
            case LeaseKeepAlive(lease):
                return self._leases.keep_alive(lease)
            case LeaseGrant(ttl_us):
                return self._leases.grant(ttl_us)
            case LeaseRevoke(lease) if self._has_room_to_end(lease):
                count = self._end(lease)
                return LeaseRevoked(count is not None, count or 0, self._revision)
        return _TOO_MANY_ENDED

    def _has_room_to_end(self, lease: int) -> bool:
        """Whether this batch, or this entry, may end a lease as well; the first may always."""
        return 1 + self._leases.count(lease) <= self._ended_left

    def _end(self, lease: int) -> int | None:
        """End a lease; how many keys went with it. None if there is no such lease."""
        keys = self._leases.end(lease)
        if keys is None:
            return None
        self._ended_left -= 1 + len(keys)
        revision = self._revision + 1
        for key in keys:
            stored = self._leaves.get(key)
            assert stored is not None, "what hangs on a lease is there"
            self._leaves.delete(key)
            self.history.record(Change(key, tombstone(revision), stored))
        return self._deleted(len(keys), revision).count

    def _detach_all(self, puts: Sequence[Command | Refused]) -> None:
        """Puts without a lease were done."""
        for put in puts:
            if put.key in self._lease_of:  # type: ignore[union-attr]
                self._leases.detach(put.key)  # type: ignore[union-attr]
        self.next_deadline_us = self._leases.next_deadline_us

    def _detach_range(self, start: bytes, end: bytes | None, count: int) -> None:
        """The `count` keys of a range are about to be removed. Costs those, or all that have a lease if they are
        fewer; the order is the same either way."""
        if count > len(self._lease_of):
            keys = self._leases.attached(start, end)
        else:
            keys = [key for key, _ in self._leaves.scan(start, end) if key in self._lease_of]
        for key in keys:
            self._leases.detach(key)

    def _look(self, query: LeaseLook) -> LeaseView | Refused:
        if query.limit < 0:
            return Refused("lease", f"a limit of {query.limit} keys makes no sense. Give 0 for all, or more.")
        view = self._leases.look(query.lease, query.start, query.limit or LEASE_KEYS_MAX)
        if isinstance(view, Refused):
            return view
        cost = ITEM_BYTES + sum(map(len, view.keys))
        if cost > self._read_bytes_left:
            return _TOO_MUCH_READ
        self._read_bytes_left -= cost
        return view

    def _list(self, query: LeaseList) -> LeasesListed | Refused:
        room = self._read_bytes_left // ITEM_BYTES
        if room <= 0:
            return _TOO_MUCH_READ
        leases, more = self._leases.listed(query.after, min(query.limit or room, room, LEASES_LISTED_MAX))
        self._read_bytes_left -= len(leases) * ITEM_BYTES
        return LeasesListed(leases, more, len(self._leases))

    # The rest.

    def _compact(self, revision: int) -> Compacted | Refused:
        if not 0 <= revision <= self._revision:
            return Refused(
                "revision",
                f"a compaction up to revision {revision} was asked for, but the store is at {self._revision}. "
                "Give a revision from 0 to that.",
            )
        self.history.compact(revision)
        return Compacted(self.history.compacted_revision)

    def _deleted(self, count: int, revision: int) -> Deleted:
        if count:
            self._revision = revision
        return Deleted(self._revision, count)

    def _swap(self, command: CompareAndSwap | CompareRevisionAndSwap) -> Swapped:
        stored = self._leaves.get(command.key)
        if isinstance(command, CompareAndSwap):
            holds = (None if stored is None else stored.value) == command.expected
        else:
            holds = (0 if stored is None else stored.mod_revision) == command.mod_revision
        if holds and command.value is not None:
            self._operate(Put(command.key, command.value), self._revision + 1)
        elif holds:
            self._operate(Delete(command.key), self._revision + 1)
        return Swapped(holds, self._revision)

    def _refusal_of_size(self, txn: Txn) -> Refused | None:
        self._operations_left -= len(txn.compares) + len(txn.then) + len(txn.otherwise)
        return _TOO_MANY_OPERATIONS if self._operations_left < 0 else None

    def _commit(self, txn: Txn) -> Committed | Refused:
        succeeded = all(self._holds(compare) for compare in txn.compares)
        revision = self._revision + 1
        branch = txn.then if succeeded else txn.otherwise
        refused = self._leases.refusal_of_all(branch)
        if refused is not None:
            return refused
        results = [self._operate(operation, revision) for operation in branch]
        return Committed(succeeded, self._revision, results)

    def _holds(self, compare: Compare) -> bool:
        stored = self._leaves.get(compare.key)
        if compare.field == "value":
            return stored is not None and _RELATIONS[compare.relation](stored.value, compare.operand)
        number: int = getattr(stored or _ABSENT, compare.field)
        return _RELATIONS[compare.relation](number, compare.operand)

    def _get(self, key: bytes) -> Got | Refused:
        stored = self._leaves.get(key)
        if stored is None:
            return Got(None, self._revision)
        cost = len(key) + len(stored.value) + ITEM_BYTES
        if cost > self._read_bytes_left:
            return _TOO_MUCH_READ
        self._read_bytes_left -= cost
        return Got(_item(key, stored, self._lease_of.get(key, 0)), self._revision)

    def _range(self, query: Range) -> Found | Counted | Refused:
        if query.count_only:
            return self._count(query)
        limit = min(query.limit or RANGE_KEYS_MAX, RANGE_KEYS_MAX)
        items: list[Item] = []
        leases = self._lease_of
        for key, stored in self._leaves.scan(query.start, query.end):
            cost = len(key) + len(stored.value) + ITEM_BYTES
            if len(items) == limit or cost > self._read_bytes_left:
                return Found(items, True, self._revision) if items else _TOO_MUCH_READ
            self._read_bytes_left -= cost
            items.append(_item(key, stored, leases.get(key, 0)))
        return Found(items, False, self._revision)

    def _count(self, query: Range) -> Counted | Refused:
        if self._read_bytes_left <= 0:
            return _TOO_MUCH_READ
        count = self._leaves.count(query.start, query.end)
        self._read_bytes_left -= count // COUNTED_PER_BYTE
        return Counted(count, self._revision)


_REMEDY = "Fetch another snapshot."
_RELATIONS: dict[str, Callable[[object, object], bool]] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,  # type: ignore[operator]
    ">": lambda left, right: left > right,  # type: ignore[operator]
}
_TOO_MUCH_READ = Refused(
    "read", f"more than {READ_BYTES_MAX} bytes were read in one batch. Read the rest in another batch."
)

_TOO_MANY_OPERATIONS = Refused(
    "txn",
    f"the transactions of one batch have more than {BATCH_OPERATIONS_MAX} comparisons and operations together. "
    "Send this one in another batch.",
)


_TOO_MANY_ENDED = Refused(
    "leases",
    f"the leases revoked in one batch are more than {ENDED_MAX} together with their keys. Revoke this one in "
    "another batch.",
)


def _item(key: bytes, stored: Versioned, lease: int) -> Item:
    return Item(key, stored.value, stored.create_revision, stored.mod_revision, stored.version, lease)
