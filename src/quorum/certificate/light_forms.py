"""What a light client believes, as one JSON document to keep between runs.

One line with sorted keys; unknown fields are refused. Whoever can change the file decides what is believed.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from quorum.certificate import block_forms, genesis
from quorum.certificate.block import verify_block
from quorum.certificate.committee import check_committee
from quorum.certificate.json_text import read_once
from quorum.certificate.trust import Trusted
from quorum.entry import Buffer
from quorum.errors import ConfigurationError

FORMAT: Final = "quorum-light-1"
LIGHT_BYTES_MAX: Final = genesis.GENESIS_BYTES_MAX + block_forms.CERTIFICATE_BYTES_MAX


class _Light(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Without `certificate` nothing but the genesis is believed yet."""

    format: Literal["quorum-light-1"]
    committee: genesis.CommitteeDocument
    certificate: block_forms.BlockDocument | None = None


_JSON = msgspec.json.Encoder(order="deterministic")
_DECODE = msgspec.json.Decoder(_Light)


def encode_light(trusted: Trusted) -> bytes:
    """The document of what is believed."""
    certificate = trusted.certificate
    document = None if certificate is None else block_forms.document_of(certificate)
    return _JSON.encode(_Light(FORMAT, genesis.document_of(trusted.committee), document))


def decode_light(text: Buffer | str) -> Trusted:
    """Read the document. Raises ConfigurationError if it is none, or does not agree with itself: the committee
    must be safe and live, and have signed the block."""
    try:
        if len(text) > LIGHT_BYTES_MAX:
            raise ValueError(f"it has {len(text)} bytes, more than the {LIGHT_BYTES_MAX} allowed")
        read = read_once(_DECODE, text)
        committee = genesis.committee_of(read.committee)
        certificate = None if read.certificate is None else block_forms.certificate_of(read.certificate)
    except (msgspec.DecodeError, ValueError) as error:
        raise _unreadable(f"{error}.") from None
    check_committee(committee)
    if certificate is not None:
        verdict = verify_block(certificate, committee)
        if not verdict.valid:
            raise _unreadable(verdict.reasons[0])
    return Trusted(committee, certificate)


def _unreadable(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the memory of a light client was to be read, but this is none: {why} Give the file as it was written, "
        "or begin again from the genesis file."
    )
