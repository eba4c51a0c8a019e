"""The blocks that a ledger keeps: in a chain, found by number, their transactions by hash; the oldest are
forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from quorum.apps.ledger_map import AuthenticatedMap
from quorum.certificate.ledger_block import (
    NO_LEDGER_PARENT,
    LedgerHeader,
    LedgerRoots,
    TransactionResult,
    block_key,
    transaction_hash,
)
from quorum.certificate.merkle import leaf_of, root_of

TRANSACTION_BYTES = 128
"""A transaction counts for so many bytes more than it and its result have."""


class KeptBlock(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """One block, whole."""

    header: LedgerHeader
    transactions: tuple[bytes, ...]
    results: tuple[TransactionResult, ...]

    @property
    def size(self) -> int:
        """What it counts against the bytes that are kept."""
        said = sum(len(result.data) for result in self.results)
        return sum(map(len, self.transactions)) + said + TRANSACTION_BYTES * len(self.transactions)


def transactions_root(transactions: Sequence[bytes]) -> bytes:
    """The Merkle root over the hashes of transactions."""
    return root_of(leaf_of(transaction_hash(each)) for each in transactions)


def results_root(results: Sequence[TransactionResult]) -> bytes:
    """The Merkle root over results."""
    return root_of(result.leaf() for result in results)


class LedgerChain:
    """I1  the kept blocks are dense, and each names the one before it by digest.
    I2  a transaction is in one kept block at most.
    """

    def __init__(self, transactions_max: int, bytes_max: int) -> None:
        self._transactions_max = transactions_max
        self._bytes_max = bytes_max
        self._blocks: dict[int, KeptBlock] = {}
        self._places: dict[bytes, tuple[int, int]] = {}
        self._bytes = 0
        self.number = 0
        """Of the newest block; 0 before the first."""
        self.head = NO_LEDGER_PARENT
        self.digests = AuthenticatedMap()
        """From the numbers of the kept blocks to their digests."""

    def __len__(self) -> int:
        """How many transactions are kept."""
        return len(self._places)

    @property
    def first(self) -> int:
        """The oldest block that is kept; one behind the newest where there is none."""
        return self.number - len(self._blocks) + 1

    def roots(self, state_root: bytes) -> LedgerRoots:
        """The ledger whose application's state has this root."""
        return LedgerRoots(self.number, self.head, state_root, self.digests.root)

    def block(self, number: int) -> KeptBlock | None:
        """The block of this number, if it is kept."""
        return self._blocks.get(number)

    def place(self, name: bytes) -> tuple[int, int] | None:
        """Block and place of the transaction of this hash, if it is kept."""
        return self._places.get(name)

    def blocks(self) -> Iterator[KeptBlock]:
        """The kept blocks as they are now, oldest first, to be read while others come."""
        return iter(tuple(self._blocks.values()))

    def append(self, block: KeptBlock) -> None:
        """Add the next block; forget the oldest ones that are too many."""
        header = block.header
        assert header.number == self.number + 1, "I1: a block came out of order"
        assert header.parent == self.head, "I1: a block came behind another parent"
        self._enter(block)
        self.number, self.head = header.number, header.digest()
        changes: dict[bytes, bytes | None] = {block_key(header.number): self.head}
        while self._is_full() and len(self._blocks) > 1:
            changes[block_key(self._forget())] = None
        self.digests = self.digests.with_changes(changes)

    def load(self, number: int, head: bytes, blocks: Sequence[KeptBlock]) -> None:
        """Replace everything by these blocks, the newest of which has this number and digest. Raises ValueError,
        nothing changed, for blocks that are no such chain."""
        loaded = LedgerChain(self._transactions_max, self._bytes_max)
        loaded.number = number - len(blocks)
        loaded.head = blocks[0].header.parent if blocks else NO_LEDGER_PARENT
        for block in blocks:
            header = block.header
            _require(header.number == loaded.number + 1 > 0, "its blocks are not dense")
            _require(header.parent == loaded.head, "a block names another parent")
            _require(header.count == len(block.transactions) == len(block.results), "a block is not whole")
            _require(header.transactions_root == transactions_root(block.transactions), "transactions are altered")
            _require(header.results_root == results_root(block.results), "results are altered")
            loaded.append(block)
        _require((loaded.number, loaded.head) == (number, head), "its newest block is another one")
        _require(number == 0 or bool(blocks), "it has no block")
        _require(len(loaded._places) == sum(len(block.transactions) for block in blocks), "a transaction is twice")
        self.__dict__.update(loaded.__dict__)

    def _enter(self, block: KeptBlock) -> None:
        number = block.header.number
        self._blocks[number] = block
        for place, transaction in enumerate(block.transactions):
            self._places[transaction_hash(transaction)] = number, place
        self._bytes += block.size

    def _is_full(self) -> bool:
        return len(self._places) > self._transactions_max or self._bytes > self._bytes_max

    def _forget(self) -> int:
        number = next(iter(self._blocks))
        block = self._blocks.pop(number)
        for transaction in block.transactions:
            del self._places[transaction_hash(transaction)]
        self._bytes -= block.size
        return number


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(f"a ledger was to be restored, but {otherwise}. Fetch another snapshot.")
