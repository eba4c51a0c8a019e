"""The key-value store as its clients see it: commands, queries, results and their encoding.

A batch is a msgpack array of commands, its reply the array of their results, one for each, in order. The store
has one revision; it grows by one with every command or transaction that changes something. Each key remembers the
revision that created it, the one that last wrote it, and its version, the number of writes since it was created
(semantics as in the etcd v3 API).

A key may hang on a lease: it is removed when the lease ends. A lease ends when it is revoked, or when its time is
over by lease time (`log_clock`) and it was not kept alive; all its keys are then removed at one revision. A write
without a lease takes the key off the lease. `PutWithTtl` gives a key a lease of its own, which ends with it.

A command that cannot be done gets `Refused` as its result and changes nothing;
the others of its batch stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from quorum.apps.batch import Refused
from quorum.entry import Buffer

KEY_BYTES_MAX = 4096
VALUE_BYTES_MAX = 1024 * 1024
TXN_COMPARES_MAX = 128
TXN_OPERATIONS_MAX = 128
"""In each branch of a transaction."""
BATCH_OPERATIONS_MAX = 16_384
"""Comparisons and operations in all transactions of one batch together."""
RANGE_KEYS_MAX = 10_000
"""One `Range` gives at most so many items, then says `more`."""
LEASES_LISTED_MAX = 10_000
"""One `LeaseList` gives at most so many leases, then says `more`."""
LEASE_KEYS_MAX = 4096
"""On one lease: its end removes them all at one log entry, which must not take long."""
ENDED_MAX = LEASE_KEYS_MAX + 1
"""The leases revoked in one batch, or ended at one entry, and their keys are at most so many together; the next
entry goes on with what is due."""
READ_BYTES_MAX = 8 * 1024 * 1024
"""All reads in one batch or query together give at most so many bytes of keys and values, about."""
ITEM_BYTES = 64
"""What an item counts for READ_BYTES_MAX in addition to its key and value."""
COUNTED_PER_BYTE = 64
"""So many keys that a range counts, instead of reading them, cost as much as a byte that is read."""


class Put(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1, forbid_unknown_fields=True):
    """Write `value` under `key`. Result: Written."""

    key: bytes
    value: bytes


class PutWithLease(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=10, forbid_unknown_fields=True):
    """Write `value` under `key`, which hangs on `lease` from now on. Result: Written; Refused if the lease has
    ended, or is another key's own."""

    key: bytes
    value: bytes
    lease: int


class PutWithTtl(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=11, forbid_unknown_fields=True):
    """Write `value` under `key` for `ttl_us` microseconds of lease time: a new lease of its own, that ends with
    it. Result: Written."""

    key: bytes
    value: bytes
    ttl_us: int


class Delete(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2, forbid_unknown_fields=True):
    """Remove `key`, if it is there. Result: Deleted."""

    key: bytes


class DeleteRange(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=3, forbid_unknown_fields=True):
    """Remove every key from `start` up to but without `end` (None: to the last). Result: Deleted."""

    start: bytes
    end: bytes | None


class CompareAndSwap(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=4, forbid_unknown_fields=True):
    """Replace the value of `key` if it is `expected`; None means absent, before or after. Result: Swapped."""

    key: bytes
    expected: bytes | None
    value: bytes | None


class CompareRevisionAndSwap(
    msgspec.Struct, frozen=True, gc=False, array_like=True, tag=5, forbid_unknown_fields=True
):
    """Replace the value of `key` (None: remove it) if it was last written at `mod_revision` (0: absent).
    Result: Swapped."""

    key: bytes
    mod_revision: int
    value: bytes | None


class Get(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=6, forbid_unknown_fields=True):
    """Read one key. Result: Got."""

    key: bytes


class Range(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=7, forbid_unknown_fields=True):
    """Read the keys from `start` up to but without `end` (None: to the last), ascending, at most `limit` of them
    (0: RANGE_KEYS_MAX). Result: Found, or Counted with `count_only`."""

    start: bytes
    end: bytes | None
    limit: int = 0
    count_only: bool = False


class Compare(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """One condition of a transaction: `field` of `key`, related to `operand` (bytes for the value, else int).

    An absent key has version, create and mod revision 0, and no comparison of its value holds.
    """

    key: bytes
    field: Literal["value", "version", "create_revision", "mod_revision"]
    relation: Literal["=", "!=", "<", ">"]
    operand: bytes | int


Operation: TypeAlias = Put | Delete | DeleteRange | Get | Range | PutWithLease | PutWithTtl


class Txn(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=8, forbid_unknown_fields=True):
    """If all of `compares` hold, do `then`, otherwise `otherwise`: all of it, in order, at one revision.

    In either branch no key may be written twice, nor put and deleted. Result: Committed.
    """

    compares: list[Compare]
    then: list[Operation]
    otherwise: list[Operation]


class Compact(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=9, forbid_unknown_fields=True):
    """Forget the changes up to `revision`: no watch can begin there any more. Result: Compacted."""

    revision: int


class LeaseCommand(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """Base of what grants, prolongs and ends leases."""


class LeaseGrant(LeaseCommand, frozen=True, gc=False, array_like=True, tag=12, forbid_unknown_fields=True):
    """A lease that ends after `ttl_us` microseconds of lease time unless it is kept alive. Result:
    LeaseGranted."""

    ttl_us: int


class LeaseKeepAlive(LeaseCommand, frozen=True, gc=False, array_like=True, tag=13, forbid_unknown_fields=True):
    """Let the lease last for its whole time from now on. Result: LeaseKept; Refused if it has ended."""

    lease: int


class LeaseRevoke(LeaseCommand, frozen=True, gc=False, array_like=True, tag=14, forbid_unknown_fields=True):
    """End the lease now: all its keys are removed. Result: LeaseRevoked."""

    lease: int


class LeaseLook(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=15, forbid_unknown_fields=True):
    """Read a lease, and its keys from `start` on, ascending, at most `limit` of them (0: all there may be).
    Result: LeaseView; Refused if it has ended."""

    lease: int
    start: bytes = b""
    limit: int = 0


class LeaseList(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=16, forbid_unknown_fields=True):
    """Read the leases behind the one of number `after`, ascending, at most `limit` of them (0: LEASES_LISTED_MAX).
    Result: LeasesListed."""

    after: int = 0
    limit: int = 0


Command: TypeAlias = (
    Put
    | Delete
    | DeleteRange
    | CompareAndSwap
    | CompareRevisionAndSwap
    | Get
    | Range
    | Txn
    | Compact
    | PutWithLease
    | PutWithTtl
    | LeaseGrant
    | LeaseKeepAlive
    | LeaseRevoke
)
"""What a batch may hold. A read in a batch is answered from the state at its place in the log."""
Query: TypeAlias = Get | Range | LeaseLook | LeaseList


class Item(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A key and what the store knows of it."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0
    """What it hangs on; 0: nothing."""


class Written(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """Done; `revision` is the key's new mod_revision."""

    revision: int


class Deleted(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
    """`count` keys were removed; `revision` is the store's afterwards."""

    revision: int
    count: int


class Swapped(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=3):
    """Whether the comparison held and the value was replaced; `revision` is the store's afterwards."""

    succeeded: bool
    revision: int


class Got(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=4):
    """The item under the key, or None, in the store at `revision`."""

    item: Item | None
    revision: int


class Found(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=5):
    """Items of a range, ascending. With `more`, go on with `Range(items[-1].key + b"\\0", end)`."""

    items: list[Item]
    more: bool
    revision: int


class Counted(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=6):
    """How many keys a range holds."""

    count: int
    revision: int


class LeaseGranted(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=9):
    """The lease's name, never used twice, and its time."""

    lease: int
    ttl_us: int


class LeaseKept(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=10):
    """The lease lasts for `ttl_us` from this entry on."""

    ttl_us: int


class LeaseRevoked(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=11):
    """Whether there was such a lease, and how many keys it took with it; `revision` is the store's afterwards."""

    existed: bool
    count: int
    revision: int


class LeaseView(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=12):
    """A lease as it stands: its time, what is left of it, how many keys hang on it, and which. With `more`, go on
    with `LeaseLook(lease, keys[-1] + b"\\0")`."""

    lease: int
    ttl_us: int
    remaining_us: int
    count: int
    keys: list[bytes]
    more: bool


class ListedLease(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A lease in a list: its time, what is left of it, and how many keys hang on it. `is_own`: it was made for one
    key that was put with a time."""

    lease: int
    ttl_us: int
    remaining_us: int
    count: int
    is_own: bool


class LeasesListed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=13):
    """Leases, ascending, out of `total`. With `more`, go on with `LeaseList(leases[-1].lease)`."""

    leases: list[ListedLease]
    more: bool
    total: int


OperationResult: TypeAlias = Written | Deleted | Got | Found | Counted | Refused


class Committed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=7):
    """A transaction: whether its conditions held, and the results of the branch that was done.

    Only a read may be refused in it (READ_BYTES_MAX); a transaction that breaks another rule is refused whole.
    """

    succeeded: bool
    revision: int
    results: list[OperationResult]


class Compacted(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=8):
    """The changes up to `revision` are forgotten; those behind it are kept."""

    revision: int


Result: TypeAlias = (
    Written
    | Deleted
    | Swapped
    | Got
    | Found
    | Counted
    | Committed
    | Compacted
    | LeaseGranted
    | LeaseKept
    | LeaseRevoked
    | LeaseView
    | LeasesListed
    | Refused
)

_ENCODE = msgspec.msgpack.Encoder()
_DECODE_RESULTS: msgspec.msgpack.Decoder[list[Result]] = msgspec.msgpack.Decoder(list[Result])


def encode_batch(commands: Sequence[Command]) -> bytes:
    """The body of a batch of commands."""
    return _ENCODE.encode(commands)


def encode_query(queries: Sequence[Query]) -> bytes:
    """The body of a batch of reads."""
    return _ENCODE.encode(queries)


def decode_results(body: Buffer) -> list[Result]:
    """The results in the reply to a batch or a query, in order. Raises msgspec.DecodeError if it is none."""
    return _DECODE_RESULTS.decode(body)


def prefix_end(prefix: bytes) -> bytes | None:
    """The `end` of the range of all keys that begin with `prefix`; None if no key lies behind them."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else None
