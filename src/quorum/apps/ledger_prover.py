"""Proofs of a ledger, made on one node: of a version whose root is in a state that a quorum signed, where there
is one."""

from __future__ import annotations

from quorum.apps.batch import Refused
from quorum.apps.ledger_machine import LedgerMachine, Version
from quorum.apps.ledger_reads import key_of
from quorum.certificate.ledger_block import block_key, transaction_hash
from quorum.certificate.ledger_proof import LedgerProof, TransactionProof, ValueProof
from quorum.certificate.merkle import leaf_of, path_of
from quorum.errors import QuorumError


def prove_transaction(ledger: LedgerMachine, name: bytes, version: Version) -> LedgerProof | None:
    """The proof of the transaction of this hash in a version of the ledger; None: that version does not have it.

    Raises QuorumError where the ledger does not hold it.
    """
    place = ledger.chain.place(name)
    block = None if place is None else ledger.chain.block(place[0])
    if place is None or block is None:
        raise QuorumError(
            f"transaction {name.hex()[:16]} was to be proven, but the ledger does not hold it. Submit it, or look "
            "whether its block was forgotten: `quorum ledger blocks`."
        )
    digest, path = version.blocks.prove(block_key(place[0]))
    if digest is None:
        return None
    at, header = place[1], block.header
    transactions = [leaf_of(transaction_hash(each)) for each in block.transactions]
    results = [result.leaf() for result in block.results]
    subject = TransactionProof(
        block.transactions[at],
        at,
        block.results[at],
        header,
        path_of(transactions, at),
        path_of(results, at),
        path,
    )
    return LedgerProof(version.roots, subject)


def prove_value(ledger: LedgerMachine, question: str, version: Version) -> LedgerProof:
    """The proof of the answer to a question in a version of the ledger. Raises QuorumError where the application
    refuses the question."""
    key = key_of(ledger, question)
    if isinstance(key, Refused):
        raise QuorumError(
            f"{question[:60]!r} was asked, but the application refuses that ({key.message}). Ask else."
        )
    value, path = version.state.prove(key)
    return LedgerProof(version.roots, ValueProof(question, key, value, path))


def present(ledger: LedgerMachine) -> Version:
    """The ledger as it is now."""
    return Version(ledger.roots, ledger.state, ledger.chain.digests)
