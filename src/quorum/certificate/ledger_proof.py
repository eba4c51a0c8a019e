"""What a ledger proves to whoever trusts a committee's keys, or a ledger's root: a transaction with its result,
or what is under a key of the application's state.

The way goes up: a transaction is in its block, the block in the ledger, the ledger's root in the head of a state,
that head is the state's first piece, and a header that a quorum signed names the root over its pieces. Nothing is
believed on it before it is computed again.
"""

from __future__ import annotations

from struct import error as struct_error

import msgspec

from quorum.certificate.block import BlockCertificate
from quorum.certificate.epochs import EpochChange
from quorum.certificate.ledger_block import (
    LedgerHeader,
    LedgerRoots,
    TransactionResult,
    block_key,
    transaction_hash,
)
from quorum.certificate.merkle import is_under, leaf_of
from quorum.certificate.sparse_merkle import MapPath, is_mapped
from quorum.certificate.state_head import ProvenHead


class TransactionProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`transaction` stands at `place` (from 0) of the block of `header`, and became `result`.

    `path` and `result_path` are the hashes beside their ways to the header's roots, lowest first; `block_path`
    proves the block in the ledger.
    """

    transaction: bytes
    place: int
    result: TransactionResult
    header: LedgerHeader
    path: tuple[bytes, ...]
    result_path: tuple[bytes, ...]
    block_path: MapPath


class ValueProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`value` is under `key` of the application's state; None: nothing is. The application answers `question` by
    that key, which is not proven: who verifies must know what key is meant."""

    question: str
    key: bytes
    value: bytes | None
    path: MapPath


class Anchor(msgspec.Struct, frozen=True):
    """What leads from the ledger's root to signatures: `state` is the head of the state that the header of
    `certificate` names, in which the ledger is application `app`. `changes` lead from the first committee to the
    one that signed."""

    app: int
    state: ProvenHead
    certificate: BlockCertificate
    changes: tuple[EpochChange, ...] = ()


class LedgerProof(msgspec.Struct, frozen=True):
    """`subject` holds in the ledger of these `roots`. Without an `anchor` nobody signed that: it convinces whoever
    knows the ledger's root from elsewhere."""

    roots: LedgerRoots
    subject: TransactionProof | ValueProof
    anchor: Anchor | None = None


def flaws_of_ledger_proof(proof: LedgerProof) -> list[str]:
    """What keeps the proof from leading to the header that its anchor's certificate is about. The certificate
    and the changes before it are judged elsewhere (`block.verify_block`, `epochs.verify_epochs`)."""
    try:
        return _flaws_of_subject(proof.subject, proof.roots) + _flaws_of_anchor(proof)
    except (struct_error, ValueError, OverflowError) as error:
        return [f"it is none: {error}."]


def _flaws_of_subject(subject: TransactionProof | ValueProof, roots: LedgerRoots) -> list[str]:
    if isinstance(subject, ValueProof):
        if is_mapped(roots.state_root, subject.key, subject.value, subject.path):
            return []
        return ["the application's state has something else under that key."]
    header, flaws = subject.header, []
    leaf = leaf_of(transaction_hash(subject.transaction))
    if not is_under(header.transactions_root, leaf, subject.place, header.count, subject.path):
        flaws.append("the transaction is not in the ledger block.")
    if not is_under(header.results_root, subject.result.leaf(), subject.place, header.count, subject.result_path):
        flaws.append("the transaction has another result.")
    if not is_mapped(roots.blocks_root, block_key(header.number), header.digest(), subject.block_path):
        flaws.append("the ledger block is not in the ledger.")
    return flaws


def _flaws_of_anchor(proof: LedgerProof) -> list[str]:
    anchor = proof.anchor
    if anchor is None:
        return []
    flaws = []
    if anchor.state.root_of(anchor.app) != proof.roots.digest():
        flaws.append("the ledger is not in the state.")
    if not anchor.state.is_of(anchor.certificate.header.state_root):
        flaws.append("the state is not the one that the signed header names.")
    return flaws
