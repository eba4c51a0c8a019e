"""A ledger's proof as JSON: one line with sorted keys, bytes as base64url without padding; unknown fields are
refused."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from quorum.certificate import block_forms, chain_forms
from quorum.certificate.base64url import bytes_in, text_of
from quorum.certificate.json_text import read_once
from quorum.certificate.ledger_block import LedgerHeader, LedgerRoots, TransactionResult
from quorum.certificate.ledger_proof import Anchor, LedgerProof, TransactionProof, ValueProof
from quorum.certificate.sparse_merkle import MapPath
from quorum.certificate.state_head import ProvenHead
from quorum.certificate.state_pieces import PieceProof
from quorum.entry import Buffer
from quorum.errors import ConfigurationError

FORMAT: Final = "quorum-ledger-1"
CHANGES_BYTES_MAX: Final = 2 * 1024 * 1024
"""What the changes of epoch in a proof may have: about 1,800 of committees of 4, or 15 of 1,000 members."""
LEDGER_PROOF_BYTES_MAX: Final = block_forms.CERTIFICATE_BYTES_MAX + CHANGES_BYTES_MAX + 256 * 1024
"""A transaction or a value of 64 KiB has 87,382 characters here, all the rest of a proof fewer; and there is a
certificate, with changes of epoch."""


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the parts."""


class _Path(_Document, frozen=True, forbid_unknown_fields=True):
    beside: tuple[str, ...]
    other: tuple[str, str] | None = None


class _Roots(_Document, frozen=True, forbid_unknown_fields=True):
    number: int
    head: str
    state: str
    blocks: str


class _Header(_Document, frozen=True, forbid_unknown_fields=True):
    number: int
    time_us: int
    count: int
    parent: str
    transactions: str
    results: str
    state: str


class _Transaction(_Document, frozen=True, forbid_unknown_fields=True):
    transaction: str
    place: int
    code: int
    data: str
    block: _Header
    path: tuple[str, ...]
    result_path: tuple[str, ...]
    block_path: _Path


class _Value(_Document, frozen=True, forbid_unknown_fields=True):
    question: str
    key: str
    value: str | None
    path: _Path


class _Anchor(_Document, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    app: int
    head: str
    pieces: int
    tree: str
    group: str
    path: tuple[str, ...]
    certificate: block_forms.BlockDocument
    changes: tuple[chain_forms.ChangeDocument, ...] = ()


class _Proof(_Document, frozen=True, forbid_unknown_fields=True):
    format: Literal["quorum-ledger-1"]
    ledger: _Roots
    transaction: _Transaction | None = None
    value: _Value | None = None
    anchor: _Anchor | None = None


_JSON = msgspec.json.Encoder(order="deterministic")
_DECODE = msgspec.json.Decoder(_Proof)


def encode_ledger_proof(proof: LedgerProof) -> bytes:
    """The document of a proof."""
    roots, subject, anchor = proof.roots, proof.subject, proof.anchor
    return _JSON.encode(
        _Proof(
            FORMAT,
            _Roots(roots.number, text_of(roots.head), text_of(roots.state_root), text_of(roots.blocks_root)),
            _transaction_document(subject) if isinstance(subject, TransactionProof) else None,
            _value_document(subject) if isinstance(subject, ValueProof) else None,
            None if anchor is None else _anchor_document(anchor),
        )
    )


def decode_ledger_proof(text: Buffer | str) -> LedgerProof:
    """Read the document, unverified. Raises ConfigurationError if it is none."""
    try:
        if len(text) > LEDGER_PROOF_BYTES_MAX:
            raise ValueError(f"it has {len(text)} bytes, more than the {LEDGER_PROOF_BYTES_MAX} allowed")
        return _proof_of(read_once(_DECODE, text))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"a ledger's proof was to be read, but this is none: {error}. Give the file as it was written."
        ) from None


def _proof_of(read: _Proof) -> LedgerProof:
    subject: TransactionProof | ValueProof
    if read.transaction is not None and read.value is None:
        subject = _transaction_of(read.transaction)
    elif read.value is not None and read.transaction is None:
        subject = _value_of(read.value)
    else:
        raise ValueError("it is about one transaction or one value, and not about both or neither")
    roots = read.ledger
    return LedgerProof(
        LedgerRoots(roots.number, bytes_in(roots.head), bytes_in(roots.state), bytes_in(roots.blocks)),
        subject,
        None if read.anchor is None else _anchor_of(read.anchor),
    )


def _transaction_document(proof: TransactionProof) -> _Transaction:
    header = proof.header
    hashes = (header.parent, header.transactions_root, header.results_root, header.state_root)
    return _Transaction(
        text_of(proof.transaction),
        proof.place,
        proof.result.code,
        text_of(proof.result.data),
        _Header(header.number, header.time_us, header.count, *map(text_of, hashes)),
        tuple(map(text_of, proof.path)),
        tuple(map(text_of, proof.result_path)),
        _path_document(proof.block_path),
    )


def _transaction_of(read: _Transaction) -> TransactionProof:
    block = read.block
    hashes = (block.parent, block.transactions, block.results, block.state)
    return TransactionProof(
        bytes_in(read.transaction),
        read.place,
        TransactionResult(read.code, bytes_in(read.data)),
        LedgerHeader(block.number, block.time_us, block.count, *map(bytes_in, hashes)),
        tuple(map(bytes_in, read.path)),
        tuple(map(bytes_in, read.result_path)),
        _path_of(read.block_path),
    )


def _value_document(proof: ValueProof) -> _Value:
    value = None if proof.value is None else text_of(proof.value)
    return _Value(proof.question, text_of(proof.key), value, _path_document(proof.path))


def _value_of(read: _Value) -> ValueProof:
    value = None if read.value is None else bytes_in(read.value)
    return ValueProof(read.question, bytes_in(read.key), value, _path_of(read.path))


def _anchor_document(anchor: Anchor) -> _Anchor:
    proof = anchor.state.proof
    return _Anchor(
        anchor.app,
        text_of(anchor.state.head),
        proof.count,
        text_of(proof.tree),
        text_of(proof.group),
        tuple(map(text_of, proof.path)),
        block_forms.document_of(anchor.certificate),
        tuple(map(chain_forms.document_of, anchor.changes)),
    )


def _anchor_of(read: _Anchor) -> Anchor:
    path = tuple(map(bytes_in, read.path))
    proof = PieceProof(read.pieces, bytes_in(read.tree), bytes_in(read.group), path)
    state = ProvenHead(bytes_in(read.head), proof)
    changes = tuple(map(chain_forms.change_of, read.changes))
    return Anchor(read.app, state, block_forms.certificate_of(read.certificate), changes)


def _path_document(path: MapPath) -> _Path:
    other = None if path.other is None else (text_of(path.other[0]), text_of(path.other[1]))
    return _Path(tuple(map(text_of, path.beside)), other)


def _path_of(read: _Path) -> MapPath:
    other = None if read.other is None else (bytes_in(read.other[0]), bytes_in(read.other[1]))
    return MapPath(tuple(map(bytes_in, read.beside)), other)
