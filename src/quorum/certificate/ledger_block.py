"""What a ledger is made of, as an auditor sees it: transactions, their results, blocks in a chain, and one root.

Ledger blocks are the ledger's own and have numbers of their own: one for each batch of transactions that the log
decides. Under PBFT the block that members sign may hold several of them.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final

import msgspec

from quorum.certificate.merkle import leaf_of

HASH_BYTES: Final = 32
NO_LEDGER_PARENT: Final = bytes(HASH_BYTES)
"""The parent of ledger block 1."""

_HEADER = struct.Struct(">QqI32s32s32s32s")
_ROOT = struct.Struct(">Q32s32s32s")
_CODE = struct.Struct(">B")
_NUMBER = struct.Struct(">Q")

DONE: Final = 0
"""The result of a transaction that did what it should."""
FAILED: Final = 1
"""The result of one that is in the block and changed nothing; the data say why."""


class TransactionResult(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """What became of a transaction in its block: DONE or FAILED, and what the application says to it."""

    code: int
    data: bytes = b""

    def leaf(self) -> bytes:
        """The hash that stands for it under a block's `results_root`. Raises struct.error for a code out of
        range."""
        return leaf_of(_CODE.pack(self.code) + self.data)


class LedgerHeader(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """The head of a ledger block of `count` transactions, decided at log time `time_us` (microseconds since 1970).

    `transactions_root` is the Merkle root over the transactions' hashes, `results_root` that over their results,
    and `state_root` that of the application's state after the block.
    """

    number: int
    time_us: int
    count: int
    parent: bytes
    transactions_root: bytes
    results_root: bytes
    state_root: bytes

    def digest(self) -> bytes:
        """The 32 bytes by which the next block names this one. Raises struct.error for numbers out of range."""
        packed = _HEADER.pack(
            self.number,
            self.time_us,
            self.count,
            self.parent,
            self.transactions_root,
            self.results_root,
            self.state_root,
        )
        return blake2b(packed, digest_size=HASH_BYTES, person=b"quorum ledger 1").digest()


class LedgerRoots(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """A whole ledger in four parts: how many blocks it has had, the digest of the newest one, the root of the
    application's state, and the root of the map from the numbers of the blocks that are kept to their digests."""

    number: int
    head: bytes
    state_root: bytes
    blocks_root: bytes

    def digest(self) -> bytes:
        """The ledger's root: 32 bytes. Raises struct.error for a number out of range."""
        packed = _ROOT.pack(self.number, self.head, self.state_root, self.blocks_root)
        return blake2b(packed, digest_size=HASH_BYTES, person=b"quorum ledgers 1").digest()


def transaction_hash(transaction: bytes) -> bytes:
    """The name of a transaction: blake2b with 32 bytes, as `b2sum -l 256` prints it."""
    return blake2b(transaction, digest_size=HASH_BYTES).digest()


def block_key(number: int) -> bytes:
    """The key of a block in the map under `blocks_root`."""
    return _NUMBER.pack(number)
