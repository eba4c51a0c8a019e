"""A ledger in a program that has not its application: carried from one snapshot to another, checked, never run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from quorum.apps import ledger_snapshot
from quorum.apps.ledger import BYTES_KEPT, TRANSACTIONS_KEPT
from quorum.apps.ledger_chain import LedgerChain
from quorum.apps.state_machine import Outputs
from quorum.entry import Buffer
from quorum.errors import LocalProtocolError
from quorum.header import Header


class CarriedLedger:
    """What a snapshot holds of a ledger, chunk by chunk; nothing, where its cluster has none."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._root: bytes | None = None

    def apply(self, header: Header, body: Buffer) -> Outputs:
        """Raises LocalProtocolError."""
        raise _not_run()

    def query(self, body: Buffer) -> bytes:
        """Raises LocalProtocolError."""
        raise _not_run()

    def digest(self) -> bytes:
        """32 bytes over the chunks."""
        return blake2b(b"".join(self._chunks), digest_size=32).digest()

    def proof_root(self) -> bytes | None:
        """The ledger's root; None where there is none."""
        return self._root

    def snapshot(self) -> Iterator[bytes]:
        """The chunks, as they came."""
        return iter(tuple(self._chunks))

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over the chunks. Raises ValueError, nothing changed, for some that are no ledger's."""
        kept = list(chunks)
        chain = LedgerChain(TRANSACTIONS_KEPT, BYTES_KEPT)
        state = ledger_snapshot.read(kept, chain)
        self._chunks = kept
        self._root = None if state is None else chain.roots(state.root).digest()


def _not_run() -> LocalProtocolError:
    return LocalProtocolError(
        "a ledger was asked, but here it is only carried from a backup, without its application. Ask a node of a "
        "cluster whose cluster.toml names it."
    )
