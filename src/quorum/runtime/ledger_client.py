"""The ledger for asyncio programs: submit transactions, read blocks, ask its application, and get proofs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol, TypeVar

from quorum.apps.ledger import (
    LIST_BLOCKS_MAX,
    Block,
    Blocks,
    Check,
    Checked,
    Found,
    GetBlock,
    GetBlocks,
    GetTransaction,
    Look,
    Receipt,
    Value,
)
from quorum.certificate.committee import Committee
from quorum.certificate.ledger_block import HASH_BYTES, LedgerHeader
from quorum.certificate.ledger_proof import LedgerProof
from quorum.errors import ConfigurationError, LocalProtocolError, QuorumError, WrongType
from quorum.runtime.ledger_proofs import ProofSource, Wanted, best_proof
from quorum.runtime.signing import BATCH, is_each

R = TypeVar("R")


class Asker(Protocol):
    """What the ledger needs of a client (runtime.client.Client)."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def signs(self) -> bool: ...

    def ask(self, queue: str, item: Any, expected: type[R]) -> asyncio.Future[R]: ...


class LedgerClient:
    """The ledger of a cluster (apps.ledger has the semantics). Transactions are bytes, hashes have 32.

    Every call raises ApplicationError where the ledger or its application refuses, ConfigurationError where the
    cluster runs no ledger, WrongType for an argument of a wrong type, and what Client says.
    """

    def __init__(self, client: Asker, source: ProofSource | None = None) -> None:
        self._client = client
        self._source = source

    async def submit(self, transaction: bytes, sign: str = BATCH) -> Receipt:
        """Put a transaction into the ledger; return where it stands and what became of it. One that is there is
        not executed again. Raises ApplicationError where it is not admitted.

        `sign` says what the client signs where members may lie: "batch", all that waits together, once; "each",
        this transaction alone, as a request that can be shown to others by itself. Raises ConfigurationError for
        "each" where nobody signs."""
        return await self.submit_soon(transaction, sign)

    def submit_soon(self, transaction: bytes, sign: str = BATCH) -> asyncio.Future[Receipt]:
        """As `submit`, without a coroutine for each: for many under way at once. What waits together stands in one
        block, but for what is signed alone; that may be executed in another order than it was asked for."""
        queue = "ledger each" if is_each(sign, self._client) else "ledger"
        return self._client.ask(queue, _bytes(transaction, "a transaction"), Receipt)

    async def check(self, transaction: bytes) -> Checked:
        """Whether a transaction would be admitted now; nothing is ordered for good."""
        return await self._client.ask("ledger read", Check(_bytes(transaction, "a transaction")), Checked)

    async def get(self, name: bytes) -> Found:
        """The transaction of this hash, and its receipt."""
        return await self._client.ask("ledger read", GetTransaction(_hash(name)), Found)

    async def blocks(self, first: int = 0, limit: int = 0) -> Blocks:
        """Headers from block `first` on, at most `limit` of them, and never more than LIST_BLOCKS_MAX."""
        return await self._client.ask("ledger read", GetBlocks(_number(first), _number(limit)), Blocks)

    async def all_blocks(self, first: int = 0) -> AsyncIterator[LedgerHeader]:
        """Every header from block `first` on up to the newest there is now, read in pages."""
        last: int | None = None
        while True:
            page = await self.blocks(first, LIST_BLOCKS_MAX)
            last = page.roots.number if last is None else last
            for header in page.headers:
                if header.number <= last:
                    yield header
            if not page.headers or page.headers[-1].number >= last:
                return
            first = page.headers[-1].number + 1

    async def block(self, number: int, first: int = 0) -> Block:
        """A block with its transactions and results from place `first` on, as many as fit into one answer."""
        return await self._client.ask("ledger read", GetBlock(_number(number), _number(first)), Block)

    async def query(self, path: str) -> Value:
        """The application's answer to a question."""
        return await self._client.ask("ledger read", Look(_text(path)), Value)

    async def prove(self, name: bytes, certify: bool = False) -> LedgerProof:
        """The proof of the transaction of this hash, verified. Where members may lie it is signed by a quorum as
        soon as the state that has the transaction is certified, which happens every 128 blocks; with `certify` it
        is waited for, and empty requests are ordered until then. Without, it may have no signatures as yet.

        Raises QuorumError where no node has a proof that holds.
        """
        return await self._proof(Wanted(GetTransaction(_hash(name))), certify)

    async def prove_query(self, path: str, certify: bool = False) -> LedgerProof:
        """The proof of the application's answer to a question, verified: as of now; or where members may lie as of
        the newest certified state, unless `certify` waits for one that is as of now or later.

        Raises QuorumError where no node has a proof that holds.
        """
        now = await self.query(path)  # which key answers it, T+1 members must say
        return await self._proof(Wanted(Look(path), now.key, now.roots.number), certify)

    async def _proof(self, wanted: Wanted, certify: bool) -> LedgerProof:
        source = self._source
        if source is None:
            raise LocalProtocolError(
                "a proof was asked for, but this client cannot ask nodes one by one. Connect anew."
            )
        committee = source.committee()
        if certify and committee is None:
            raise ConfigurationError(
                "a signed proof was asked for, but members that only crash sign nothing. Ask for one without."
            )
        deadline = self._client.loop.time() + CERTIFY_S
        while True:
            proof = await best_proof(source, committee, wanted)
            if _is_enough(proof, wanted, committee, certify):
                return proof
            if self._client.loop.time() > deadline:
                raise QuorumError(
                    f"a proof was asked for, but no node gave one that is new enough within {CERTIFY_S:g} s. The "
                    "ledger goes on: ask again."
                )
            await self._let_time_pass(committee)

    async def _let_time_pass(self, committee: Committee | None) -> None:
        """Where nobody signs a node may have to catch up. Where members do, each read is ordered in a block of its
        own, and the state is certified sooner."""
        if committee is None:
            await asyncio.sleep(PAUSE_S)
            return
        for _ in range(BLOCKS_AT_ONCE):
            await self.blocks(0, 1)


CERTIFY_S = 60.0
"""Seconds for which a proof that is new enough is waited for: a state is certified at every 128 blocks, and a
cluster that goes on orders that many empty ones far sooner."""
PAUSE_S = 0.05
"""Seconds between two questions where nobody signs. What a node lacks it has with the next message or two of the
leader; a shorter pause would ask in vain."""
BLOCKS_AT_ONCE = 16
"""Empty blocks between two questions: eight times as many certify the state, and a proof that comes sooner, since
others have requests ordered too, is not waited for much longer than needed."""


def _is_enough(proof: LedgerProof, wanted: Wanted, committee: Committee | None, certify: bool) -> bool:
    """Whether a proof is what was asked for."""
    if committee is None:  # nobody signs
        return wanted.suits(proof)
    if certify:
        return proof.anchor is not None and wanted.suits(proof)
    return True


def _bytes(value: object, what: str) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise WrongType(f"{what} was to be sent as {type(value).__name__}, but it is bytes. Encode it first.")
    return bytes(value)


def _hash(name: object) -> bytes:
    data = _bytes(name, "a transaction's hash")
    if len(data) != HASH_BYTES:
        raise LocalProtocolError(
            f"a transaction was asked for by {len(data)} bytes, but a hash has {HASH_BYTES}. Give blake2b of the "
            "transaction (quorum.certificate.ledger_block.transaction_hash)."
        )
    return data


def _text(path: object) -> str:
    if not isinstance(path, str):
        raise WrongType(f"a ledger was asked {path!r:.40}, but a question is text. Give a str.")
    return path


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongType(f"{value!r:.40} was given as the number of a block, but it is none. Give an int.")
    if not 0 <= value < 1 << 63:
        raise LocalProtocolError(f"block {value} was asked for, but blocks count from 1. Give a number of one.")
    return value
