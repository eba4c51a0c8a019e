"""A block's certificate with the changes of epoch that lead to its committee, as one JSON document.

One line with sorted keys; unknown fields are refused. Nothing is believed here: see `epochs.verify_epochs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from quorum.certificate import block_forms, genesis
from quorum.certificate.base64url import bytes_in, text_of
from quorum.certificate.block import BlockCertificate
from quorum.certificate.epochs import EpochChange
from quorum.certificate.json_text import read_once
from quorum.entry import Buffer
from quorum.errors import ConfigurationError

FORMAT: Final = "quorum-chain-1"
CHAIN_BYTES_MAX: Final = 16 * 1024 * 1024


class ChangeDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change of epoch inside a document."""

    committee: genesis.CommitteeDocument
    certificate: block_forms.BlockDocument
    place: int
    path: tuple[str, ...]


class _Chain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["quorum-chain-1"]
    changes: tuple[ChangeDocument, ...]
    certificate: block_forms.BlockDocument


class ChainedCertificate(msgspec.Struct, frozen=True):
    """`changes` lead from the genesis committee to the one that signed `certificate`."""

    changes: tuple[EpochChange, ...]
    certificate: BlockCertificate


_JSON = msgspec.json.Encoder(order="deterministic")
_DECODE = msgspec.json.Decoder(_Chain)


def encode_chain(changes: Sequence[EpochChange], certificate: BlockCertificate) -> bytes:
    """The document of a certificate and all changes before it, oldest first."""
    return _JSON.encode(_Chain(FORMAT, tuple(map(document_of, changes)), block_forms.document_of(certificate)))


def decode_chain(text: Buffer | str) -> ChainedCertificate:
    """Read the document, unverified. Raises ConfigurationError if it is none."""
    try:
        if len(text) > CHAIN_BYTES_MAX:
            raise ValueError(f"it has {len(text)} bytes, more than the {CHAIN_BYTES_MAX} allowed")
        read = read_once(_DECODE, text)
        changes = tuple(map(change_of, read.changes))
        return ChainedCertificate(changes, block_forms.certificate_of(read.certificate))
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigurationError(
            f"a certificate with its changes of epoch was to be read, but this is none: {error}. Give the file as "
            "it was written."
        ) from None


def document_of(change: EpochChange) -> ChangeDocument:
    """The JSON form of a change before it is text."""
    return ChangeDocument(
        genesis.document_of(change.committee),
        block_forms.document_of(change.certificate),
        change.place,
        tuple(map(text_of, change.path)),
    )


def change_of(read: ChangeDocument) -> EpochChange:
    """What the document says, unverified. Raises ValueError where it is none."""
    certificate = block_forms.certificate_of(read.certificate)
    path = tuple(map(bytes_in, read.path))
    return EpochChange(genesis.committee_of(read.committee), certificate, read.place, path)
