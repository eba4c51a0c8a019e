"""The replicated state machine of a ledger: one block for each batch that brings something new.

What a batch does is a function of the log alone, also where the application raises: a transaction that is not
admitted, or a block that cannot be made, is an answer to its sender and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from quorum.apps import ledger_snapshot
from quorum.apps.batch import MESSAGE_CHARS_MAX, BatchDecoder, Refused
from quorum.apps.call_depth import at_full_depth
from quorum.apps.ledger import (
    BATCH_TRANSACTIONS_MAX,
    BYTES_KEPT,
    LEFT_OUT,
    TRANSACTION_BYTES_MAX,
    TRANSACTIONS_KEPT,
    Receipt,
    encode_answers,
)
from quorum.apps.ledger_application import (
    BlockContext,
    LedgerApplication,
    LedgerState,
    Refusal,
    checked_result,
    said_of,
)
from quorum.apps.ledger_chain import KeptBlock, LedgerChain, results_root, transactions_root
from quorum.apps.ledger_map import AuthenticatedMap
from quorum.apps.ledger_reads import answers_of
from quorum.apps.state_machine import Outputs
from quorum.certificate.ledger_block import LedgerHeader, LedgerRoots, TransactionResult, transaction_hash
from quorum.entry import Buffer
from quorum.header import Header

STATE_KEYS_MAX = 1_000_000
VERSIONS_KEPT = 128
_TRANSACTIONS: BatchDecoder[bytes] = BatchDecoder(bytes)


class Version(msgspec.Struct, frozen=True):
    """A ledger as it was when its digest was taken: what a later proof is made from."""

    roots: LedgerRoots
    state: AuthenticatedMap
    blocks: AuthenticatedMap


class LedgerMachine:
    """A ledger that runs `application`. The bounds must be the same on every node."""

    def __init__(
        self,
        application: LedgerApplication,
        transactions_max: int = TRANSACTIONS_KEPT,
        bytes_max: int = BYTES_KEPT,
    ) -> None:
        self.application = application
        self.chain = LedgerChain(transactions_max, bytes_max)
        self._versions: dict[bytes, Version] = {}
        self._block_digests = ledger_snapshot.BlockDigests()
        first = LedgerState(AuthenticatedMap())
        application.begin(first)
        self.state = AuthenticatedMap().with_changes(first.changes)

    @property
    def roots(self) -> LedgerRoots:
        """The whole ledger in four parts."""
        return self.chain.roots(self.state.root)

    def apply(self, header: Header, body: Buffer) -> Outputs:
        """Make a block of what is new and admitted. Raises msgspec.DecodeError if the body is no msgpack array."""
        batch = _TRANSACTIONS.decode(body)
        if len(batch) > BATCH_TRANSACTIONS_MAX:
            return Outputs(encode_answers([_TOO_MANY] * len(batch)))
        answers: list[Receipt | Refused | None] = [self._screened(each) for each in batch]
        new = {at: each for at, each in enumerate(batch) if answers[at] is None and isinstance(each, bytes)}
        admitted = list(dict.fromkeys(new.values()))  # one that is twice in the batch stands once in the block
        refusals = self._append(header, admitted) if admitted else {}
        told: set[bytes] = set()
        for at, transaction in new.items():
            receipt = self.receipt(transaction_hash(transaction), transaction not in told)
            answers[at] = refusals.get(transaction) or receipt
            told.add(transaction)
        return Outputs(encode_answers([answer for answer in answers if answer is not None]))

    def query(self, body: Buffer) -> bytes:
        """Answer questions. Raises msgspec.DecodeError if the body is no msgpack array."""
        return answers_of(self, body)

    def receipt(self, name: bytes, first: bool = False) -> Receipt | None:
        """Where the transaction of this hash stands; None: it is not kept."""
        place = self.chain.place(name)
        if place is None:
            return None
        block = self.chain.block(place[0])
        assert block is not None, "a place is in a kept block"
        return Receipt(name, *place, block.results[place[1]], first)

    def refusal(self, transaction: bytes) -> Refused | None:
        """Why a transaction would not be admitted now; None: it would."""
        if len(transaction) > TRANSACTION_BYTES_MAX:
            return _refused(
                "size",
                f"a transaction was to be recorded, but it has {len(transaction)} bytes, and "
                f"{TRANSACTION_BYTES_MAX} are the most. Record the digest of what is larger.",
            )
        try:
            at_full_depth(lambda: self.application.check(transaction, LedgerState(self.state)))
        except MemoryError:
            raise
        except Exception as error:
            return _refused(*said_of(error))
        return None

    def digest(self) -> bytes:
        """The ledger's root: 32 bytes. The ledger as it is now can be proven from as long as it is among the
        newest VERSIONS_KEPT of which a digest was taken."""
        roots = self.roots
        root = roots.digest()
        self._versions.pop(root, None)
        self._versions[root] = Version(roots, self.state, self.chain.digests)
        if len(self._versions) > VERSIONS_KEPT:
            del self._versions[next(iter(self._versions))]
        return root

    def proof_root(self) -> bytes:
        """The same: where states are signed, their heads name it."""
        return self.digest()

    def version(self, root: bytes) -> Version | None:
        """The ledger as it was when its digest was this; None: that is not kept here."""
        return self._versions.get(root)

    def snapshot(self) -> Iterator[bytes]:
        """Pin the present ledger; return its chunks."""
        return ledger_snapshot.write(self.chain, self.state)

    def chunk_digests(self) -> Iterator[bytes]:
        """Pin the present ledger; return the digests of its chunks, and b"" after each slice of work. Those of
        blocks are computed once."""
        return self._block_digests.digests(self.chain, self.state)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the ledger. Raises ValueError, nothing changed, if the chunks are damaged. No chunks are the
        snapshot of a cluster that had no ledger."""
        state = ledger_snapshot.read(chunks, self.chain)
        if state is not None:
            self.state = state
            self._versions.clear()
            self._block_digests = ledger_snapshot.BlockDigests()

    def _screened(self, transaction: bytes | Refused) -> Receipt | Refused | None:
        """What can be said without a block; None: the transaction is new and admitted."""
        if isinstance(transaction, Refused):
            return transaction
        return self.receipt(transaction_hash(transaction)) or self.refusal(transaction)

    def _append(self, header: Header, admitted: Sequence[bytes]) -> dict[bytes, Refused]:
        """Let the application make the next block; return what is not in it, and why."""
        block = BlockContext(self.chain.number + 1, header.time_us, header.entropy)
        try:
            made, after = at_full_depth(lambda: self._make(block, admitted))
        except MemoryError:
            raise
        except Exception as error:
            return dict.fromkeys(admitted, _refused(*said_of(error)))
        self.state = after
        self.chain.append(made)
        chosen = frozenset(made.transactions)
        return {each: _LEFT_OUT for each in admitted if each not in chosen}

    def _make(self, block: BlockContext, admitted: Sequence[bytes]) -> tuple[KeptBlock, AuthenticatedMap]:
        """The next block and the state after it. Nothing is changed here; whatever the application raises, is
        raised."""
        application, state = self.application, LedgerState(self.state)
        chosen = _chosen(admitted, application.prepare(admitted, LedgerState(self.state)))
        if not chosen:
            raise Refusal(_LEFT_OUT.reason, _LEFT_OUT.message)
        application.process(block, chosen, LedgerState(self.state))
        results = tuple(map(checked_result, application.finalize(block, chosen, state)))
        after = self._changed(state)
        made = self._made(block, chosen, results, after)
        application.commit(made.header)
        return made, after

    def _changed(self, state: LedgerState) -> AuthenticatedMap:
        after = self.state.with_changes(state.changes)
        if len(after) > STATE_KEYS_MAX and len(after) > len(self.state):
            raise Refusal(
                "state",
                f"a block was executed, but the state would have {len(after)} keys after it, and {STATE_KEYS_MAX} "
                "are the most. Let the application remove some, or record digests.",
            )
        return after

    def _made(
        self,
        block: BlockContext,
        chosen: tuple[bytes, ...],
        results: tuple[TransactionResult, ...],
        after: AuthenticatedMap,
    ) -> KeptBlock:
        if len(results) != len(chosen):
            raise ValueError(
                f"a block was executed, but the application gave {len(results)} results for {len(chosen)} "
                "transactions. Correct its finalize: it gives one for each, in order."
            )
        roots = transactions_root(chosen), results_root(results), after.root
        header = LedgerHeader(block.number, block.time_us, len(chosen), self.chain.head, *roots)
        return KeptBlock(header, chosen, results)


def _chosen(admitted: Sequence[bytes], places: Sequence[int]) -> tuple[bytes, ...]:
    """The transactions at these places. Raises ValueError for places that are not, or are named twice."""
    order = list(places)
    if any(type(place) is not int or not 0 <= place < len(admitted) for place in order):
        raise ValueError(
            "a block was to be prepared, but the application chose transactions that are not there. Correct its "
            "prepare: it returns places in what it is given."
        )
    if len(set(order)) != len(order):
        raise ValueError(
            "a block was to be prepared, but the application chose a transaction twice. Correct its prepare: it "
            "returns each place once at most."
        )
    return tuple(admitted[place] for place in order)


def _refused(reason: str, message: str) -> Refused:
    return Refused(reason, message[:MESSAGE_CHARS_MAX])


_TOO_MANY = _refused(
    "batch",
    f"a batch of transactions was sent, but it has more than the {BATCH_TRANSACTIONS_MAX} that a block may hold. "
    "Send it in parts.",
)
_LEFT_OUT = _refused(
    LEFT_OUT,
    "a transaction was sent, but the application left it out of the block: what it must follow is not there yet, "
    "or another has its place, such as its nonce. Look at the state before you send it, or another one, again.",
)
