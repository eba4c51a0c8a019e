"""The ledger as its clients see it: transactions, receipts, questions, answers and their encoding.

A batch is a msgpack array of transactions (bytes), its reply the array of `Receipt`, or `Refused`, one for each.
All that are admitted stand in one ledger block, in the order that the application gives them. A transaction is
known by its hash: one that is in the ledger already is not executed again, and its receipt says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from quorum.apps.batch import Refused
from quorum.certificate.ledger_block import LedgerHeader, LedgerRoots, TransactionResult
from quorum.entry import Buffer

TRANSACTION_BYTES_MAX = 64 * 1024
BATCH_TRANSACTIONS_MAX = 1_024
"""In one batch, so in one block: what a block costs every node is bounded."""
PATH_BYTES_MAX = 512
LIST_BLOCKS_MAX = 1_000
TRANSACTIONS_KEPT = 1_000_000
BYTES_KEPT = 256 * 1024 * 1024
"""Of transactions and results. When more are there, the oldest blocks are forgotten: see docs/ledger.md."""
READ_BYTES_MAX = 4 * 1024 * 1024
LEFT_OUT = "left-out"
"""The reason of a refusal by `prepare`: the transaction may be sent again, as it is."""


class Receipt(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A transaction stands at `place` (from 0) of ledger block `number`, with this result. `first`: this very
    submission put it there; otherwise it was there before, and nothing was done now."""

    hash: bytes
    number: int
    place: int
    result: TransactionResult
    first: bool


class Check(msgspec.Struct, frozen=True, array_like=True, tag=1, forbid_unknown_fields=True):
    """Would this transaction be admitted now? Answer: Checked."""

    transaction: bytes


class GetTransaction(msgspec.Struct, frozen=True, array_like=True, tag=2, forbid_unknown_fields=True):
    """The transaction of this hash. Answer: Found."""

    hash: bytes


class GetBlocks(msgspec.Struct, frozen=True, array_like=True, tag=3, forbid_unknown_fields=True):
    """Blocks from number `first` on, at most `limit` (0: LIST_BLOCKS_MAX). Answer: Blocks."""

    first: int
    limit: int = 0


class GetBlock(msgspec.Struct, frozen=True, array_like=True, tag=4, forbid_unknown_fields=True):
    """The transactions of one block, from `first` (0 or more) on. Answer: Block."""

    number: int
    first: int = 0


class Look(msgspec.Struct, frozen=True, array_like=True, tag=5, forbid_unknown_fields=True):
    """Ask the application `path`. Answer: Value."""

    path: str


Question: TypeAlias = Check | GetTransaction | GetBlocks | GetBlock | Look


class Checked(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The hash of the transaction, and why it would not be admitted ("": it would). `number`: the block that it is
    in already, or 0."""

    hash: bytes
    reason: str
    message: str
    number: int


class Found(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A transaction and where it stands; None: the ledger does not hold it."""

    transaction: bytes | None
    receipt: Receipt | None


class Blocks(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Headers, ascending. `first` is the oldest block that is kept, `roots` the whole ledger now."""

    headers: list[LedgerHeader]
    first: int
    roots: LedgerRoots


class Block(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """A block with its transactions and results from the one on that was asked for, as many as fit; None: it is
    not kept."""

    header: LedgerHeader | None
    transactions: list[bytes]
    results: list[TransactionResult]


class Value(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """What is under the key that answers the question; `roots` is the ledger in which it is so."""

    key: bytes
    value: bytes | None
    roots: LedgerRoots


Answer: TypeAlias = Receipt | Checked | Found | Blocks | Block | Value | Refused

_ENCODE = msgspec.msgpack.Encoder()
_DECODE: msgspec.msgpack.Decoder[list[Answer]] = msgspec.msgpack.Decoder(list[Answer])


def encode_batch(transactions: Sequence[bytes]) -> bytes:
    """The body of a batch of transactions."""
    return _ENCODE.encode(transactions)


def encode_query(questions: Sequence[Question]) -> bytes:
    """The body of a batch of questions."""
    return _ENCODE.encode(questions)


def encode_answers(answers: Sequence[Answer]) -> bytes:
    """The reply to a batch of either."""
    return _ENCODE.encode(answers)


def decode_results(body: Buffer) -> list[Answer]:
    """The results in a reply, in order. Raises msgspec.DecodeError if it is none."""
    return _DECODE.decode(body)
