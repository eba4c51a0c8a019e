"""The key-value store as a replicated state machine; `kv` says what its commands mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from itertools import chain

import msgspec

from quorum.apps.batch import BatchDecoder, Refused
from quorum.apps.kv import (
    BATCH_OPERATIONS_MAX,
    COUNTED_PER_BYTE,
    ITEM_BYTES,
    KEY_BYTES_MAX,
    RANGE_KEYS_MAX,
    READ_BYTES_MAX,
    TXN_COMPARES_MAX,
    TXN_OPERATIONS_MAX,
    VALUE_BYTES_MAX,
    Command,
    Committed,
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
from quorum.apps.leaves import Leaves, Versioned, View
from quorum.apps.state_machine import Outputs
from quorum.entry import Buffer, Header


class StoreHead(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """First chunk of a snapshot."""

    format: int
    revision: int
    leaves: int


_FORMAT = 1
_COMMANDS: BatchDecoder[Command] = BatchDecoder(Command)
_QUERIES: BatchDecoder[Query] = BatchDecoder(Query)
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE_HEAD = msgspec.msgpack.Decoder(StoreHead)
_ABSENT = Versioned(b"", 0, 0, 0)


class KeyValueStore:
    """A sorted map with revisions, compare-and-swap, transactions, ranges and prefix reads."""

    def __init__(self) -> None:
        self._leaves = Leaves()
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
        put = self._leaves.put
        results: list[Result] = []
        append = results.append
        for command in commands:
            if type(command) is Put:  # the hot path, spelled out
                key, value = command.key, command.value
                if 0 < len(key) <= KEY_BYTES_MAX and len(value) <= VALUE_BYTES_MAX:
                    self._revision = revision = self._revision + 1
                    put(key, value, revision)
                    append(Written(revision))
                    continue
            append(self._execute(command))
        return Outputs(_ENCODE(results))

    def query(self, body: Buffer) -> bytes:
        """Answer a batch of reads. Raises msgspec.DecodeError if it is no msgpack array."""
        queries = _QUERIES.decode(body)
        self._read_bytes_left = READ_BYTES_MAX
        return _ENCODE([self._execute(query) for query in queries])

    def digest(self) -> bytes:
        """The root over the revision and the leaves: 32 bytes."""
        head = b"kv1" + self._revision.to_bytes(8, "little")
        return blake2b(head + self._leaves.digest(), digest_size=32).digest()

    def snapshot(self) -> Iterator[bytes]:
        """Pin the present state (one pointer per 256 keys or 64 KiB); return its chunks, to be read at leisure."""
        view: View = self._leaves.view()
        return chain((_ENCODE(StoreHead(_FORMAT, self._revision, len(view))),), view.chunks())

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
        restored = self._leaves.empty()
        restored.load(rest)
        if restored.leaf_count != head.leaves:
            raise ValueError(f"{head.leaves} leaves were to be restored, {restored.leaf_count} came. {_REMEDY}")
        self._leaves, self._revision = restored, head.revision

    def _execute(self, command: Command | Refused) -> Result:
        match command:
            case Refused():
                return command
            case Txn():
                return self._refusal_of_size(command) or _refusal_of_txn(command) or self._commit(command)
            case CompareAndSwap() | CompareRevisionAndSwap():
                return _refusal_of_item(command.key, command.value) or self._swap(command)
            case _:
                return _refusal_of_operation(command) or self._operate(command, self._revision + 1)

    def _operate(self, operation: Operation, revision: int) -> OperationResult:
        """Do one valid operation, at `revision` if it changes something."""
        match operation:
            case Put(key, value):
                self._leaves.put(key, value, revision)
                self._revision = revision
                return Written(revision)
            case Delete(key):
                return self._deleted(int(self._leaves.delete(key)), revision)
            case DeleteRange(start, end):
                return self._deleted(self._leaves.delete_range(start, end), revision)
            case Get(key):
                return self._get(key)
            case Range():
                return self._range(operation)

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


def _refusal_of_item(key: bytes, value: bytes | None = None) -> Refused | None:
    if not 0 < len(key) <= KEY_BYTES_MAX:
        return Refused("key", f"a key has {len(key)} bytes, but keys have 1 to {KEY_BYTES_MAX}. Choose another.")
    if value is not None and len(value) > VALUE_BYTES_MAX:
        return Refused(
            "value", f"a value has {len(value)} bytes, but {VALUE_BYTES_MAX} is the most. Store it in pieces."
        )
    return None


def _refusal_of_operation(operation: Operation) -> Refused | None:
    match operation:
        case Put(key, value):
            return _refusal_of_item(key, value)
        case Delete(key) | Get(key):
            return _refusal_of_item(key)
        case DeleteRange(start, end) | Range(start, end):
            longest = max(len(start), len(end or b""))
            if longest > KEY_BYTES_MAX + 1:  # a key and the zero byte that names the place behind it
                return Refused(
                    "range", f"a bound has {longest} bytes, but keys have {KEY_BYTES_MAX} at most. Shorten it."
                )
            if isinstance(operation, Range) and operation.limit < 0:
                return Refused(
                    "range", f"a limit of {operation.limit} keys makes no sense. Give 0 for all, or more."
                )
            return None


def _refusal_of_txn(txn: Txn) -> Refused | None:
    """Why a transaction cannot be done, before any of it is."""
    if len(txn.compares) > TXN_COMPARES_MAX or max(len(txn.then), len(txn.otherwise)) > TXN_OPERATIONS_MAX:
        return Refused(
            "txn",
            f"a transaction may have {TXN_COMPARES_MAX} comparisons and {TXN_OPERATIONS_MAX} operations in a "
            "branch, but this one has more. Split it.",
        )
    for compare in txn.compares:
        refusal = _refusal_of_item(compare.key)
        if refusal is None and isinstance(compare.operand, bytes) != (compare.field == "value"):
            refusal = Refused("txn", f"{compare.field} is compared with an operand of another type. Give its own.")
        if refusal is not None:
            return refusal
    for branch in (txn.then, txn.otherwise):
        for operation in branch:
            refusal = _refusal_of_operation(operation)
            if refusal is not None:
                return refusal
        if _writes_twice(branch):
            return Refused(
                "txn", "a branch writes one key twice, so its outcome is unclear. Keep one write per key."
            )
    return None


def _writes_twice(branch: list[Operation]) -> bool:
    puts = [operation.key for operation in branch if isinstance(operation, Put)]
    if len(set(puts)) < len(puts):
        return True
    deleted = {operation.key for operation in branch if isinstance(operation, Delete)}
    ranges = [(operation.start, operation.end) for operation in branch if isinstance(operation, DeleteRange)]
    return any(
        key in deleted or any(start <= key and (end is None or key < end) for start, end in ranges) for key in puts
    )
