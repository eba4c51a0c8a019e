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
    ITEM_BYTES,
    KEY_BYTES_MAX,
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
    Operation,
    OperationResult,
    Put,
    Query,
    Range,
    Result,
    Swapped,
    Txn,
    Written,
)
from quorum.apps.kv_rules import refusal_of_item, refusal_of_operation, refusal_of_txn
from quorum.apps.leaves import Change, Leaves, Versioned, tombstone
from quorum.apps.state_machine import Outputs
from quorum.entry import Buffer
from quorum.header import Header


class StoreHead(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """First chunk of a snapshot; so many leaves follow, then the history."""

    format: int
    revision: int
    leaves: int


_FORMAT = 2
REVISION_GAP = 10**12
"""Between a backup and what is restored from it: a year of changes at 30,000 a second."""
TOGETHER = 8
"""So many commands are written to the leaves at once; for fewer that does not pay."""
_COMMANDS: BatchDecoder[Command] = BatchDecoder(Command)
_QUERIES: BatchDecoder[Query] = BatchDecoder(Query)
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE_HEAD = msgspec.msgpack.Decoder(StoreHead)
_ABSENT = Versioned(b"", 0, 0, 0)


class KeyValueStore:
    """A sorted map with revisions, compare-and-swap, transactions, ranges and prefix reads.

    `history` holds its newest changes. Read it between batches.
    """

    def __init__(self) -> None:
        self._leaves = Leaves()
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

    def apply(self, header: Header, body: Buffer) -> Outputs:
        """Apply a batch of commands. Raises msgspec.DecodeError, state unchanged, if it is no msgpack array."""
        commands = _COMMANDS.decode(body)
        self._read_bytes_left, self._operations_left = READ_BYTES_MAX, BATCH_OPERATIONS_MAX
        befores = self.history.befores
        loose, replaced_bytes = len(befores), 0
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
        if commands and len(results) == len(commands):
            self.history.record_puts(self._revision, body, replaced_bytes)
        else:
            self._apply_rest(commands, results, befores[loose:])
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
        results += map(self._execute, commands[done:])
        self.history.end_batch()

    def query(self, body: Buffer) -> bytes:
        """Answer a batch of reads. Raises msgspec.DecodeError if it is no msgpack array."""
        queries = _QUERIES.decode(body)
        self._read_bytes_left = READ_BYTES_MAX
        return _ENCODE([self._execute(query) for query in queries])

    def digest(self) -> bytes:
        """The root over the revision, the leaves and the history: 32 bytes."""
        head = b"kv2" + self._revision.to_bytes(8, "little")
        return blake2b(head + self._leaves.digest() + self.history.digest(), digest_size=32).digest()

    def snapshot(self) -> Iterator[bytes]:
        """Pin the present state (a pointer for about 100 keys or changes); return its chunks, to be read at
        leisure."""
        leaves, history = self._leaves.view(), self.history.view()
        head = _ENCODE(StoreHead(_FORMAT, self._revision, len(leaves)))
        return chain((head,), leaves.chunks(), history.chunks())

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state by one that `snapshot` wrote. Raises ValueError, state unchanged, if it is damaged."""
        rest = iter(chunks)
        try:
            head = _DECODE_HEAD.decode(next(rest, b""))
        except msgspec.DecodeError as error:
            raise ValueError(
                f"a key-value store was to be restored, but its head is damaged: {error}. {_REMEDY}"
            ) from None
        if head.format != _FORMAT:
            raise ValueError(
                f"a key-value store of format {head.format} was to be restored by {_FORMAT}. {_REMEDY}"
            )
        leaves, history = self._leaves.empty(), History()
        leaves.load(islice(rest, head.leaves))
        if leaves.leaf_count != head.leaves:
            raise ValueError(f"{head.leaves} leaves were to be restored, {leaves.leaf_count} came. {_REMEDY}")
        history.load(rest, head.revision)
        if next(rest, None) is not None:
            raise ValueError(f"a key-value store was to be restored, but something follows its end. {_REMEDY}")
        self.history.before_drop()
        history.before_drop = self.history.before_drop
        self._leaves, self.history, self._revision = leaves, history, head.revision

    def begin_anew(self) -> None:
        """Go on far above every revision that was given out after the backup, with no change before that to be
        watched: who comes with an older revision hears that it is compacted."""
        self._revision += REVISION_GAP
        self.history.skip(self._revision, 0)

    def _execute(self, command: Command | Refused) -> Result:
        match command:
            case Refused():
                return command
            case Compact(revision):
                return self._compact(revision)
            case Txn():
                return self._refusal_of_size(command) or refusal_of_txn(command) or self._commit(command)
            case CompareAndSwap() | CompareRevisionAndSwap():
                return refusal_of_item(command.key, command.value) or self._swap(command)
            case _:
                return refusal_of_operation(command) or self._operate(command, self._revision + 1)

    def _operate(self, operation: Operation, revision: int) -> OperationResult:
        """Do one valid operation, at `revision` if it changes something."""
        match operation:
            case Put(key, value):
                before = self._leaves.put(key, value, revision)
                self.history.record(*changes_of((operation,), (before,), revision))
                self._revision = revision
                return Written(revision)
            case Delete(key):
                return self._delete(key, revision)
            case DeleteRange(start, end):
                return self._delete_range(start, end, revision)
            case Get(key):
                return self._get(key)
            case Range():
                return self._range(operation)

    def _delete(self, key: bytes, revision: int) -> Deleted:
        stored = self._leaves.get(key)
        if stored is not None:
            self._leaves.delete(key)
            self.history.record(Change(key, tombstone(revision), stored))
        return self._deleted(int(stored is not None), revision)

    def _delete_range(self, start: bytes, end: bytes | None, revision: int) -> Deleted:
        count = self._leaves.count(start, end)
        if count > CHANGES_MAX:
            self.history.skip(revision, count)
        else:
            for key, stored in self._leaves.scan(start, end):
                self.history.record(Change(key, tombstone(revision), stored))
        return self._deleted(self._leaves.delete_range(start, end), revision)

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

    def _commit(self, txn: Txn) -> Committed:
        succeeded = all(self._holds(compare) for compare in txn.compares)
        revision = self._revision + 1
        branch = txn.then if succeeded else txn.otherwise
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
        return Got(_item(key, stored), self._revision)

    def _range(self, query: Range) -> Found | Counted | Refused:
        if query.count_only:
            return self._count(query)
        limit = min(query.limit or RANGE_KEYS_MAX, RANGE_KEYS_MAX)
        items: list[Item] = []
        for key, stored in self._leaves.scan(query.start, query.end):
            cost = len(key) + len(stored.value) + ITEM_BYTES
            if len(items) == limit or cost > self._read_bytes_left:
                return Found(items, True, self._revision) if items else _TOO_MUCH_READ
            self._read_bytes_left -= cost
            items.append(_item(key, stored))
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


def _item(key: bytes, stored: Versioned) -> Item:
    return Item(key, stored.value, stored.create_revision, stored.mod_revision, stored.version)
