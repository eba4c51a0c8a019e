"""A committee as JSON: the genesis file, which is all that an auditor has to trust, and each later committee.

One line with sorted keys. Public keys are base64url without padding; unknown fields are refused.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from quorum.certificate.base64url import bytes_in, text_of
from quorum.certificate.committee import Committee, Member, check_committee
from quorum.certificate.json_text import read_once
from quorum.certificate.vote import NUMBER_MAX
from quorum.entry import Buffer
from quorum.errors import ConfigurationError
from quorum.model import NodeId

FORMAT: Final = "quorum-genesis-1"
FILE_NAME: Final = "genesis.json"
GENESIS_BYTES_MAX: Final = 1024 * 1024


class MemberDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One member; a weight of 1 is left out."""

    node: NodeId
    key: str
    weight: int = 1


class CommitteeDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A committee inside a document; quorums that follow from members and faults are left out, and so is a first
    primary that is not named."""

    cluster: str
    epoch: int
    faults: int
    members: tuple[MemberDocument, ...]
    quorums: str = ""
    primary: NodeId = ""


class _Genesis(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["quorum-genesis-1"]
    committee: CommitteeDocument


_JSON = msgspec.json.Encoder(order="deterministic")
_DECODE = msgspec.json.Decoder(_Genesis)


def document_of(committee: Committee) -> CommitteeDocument:
    """The JSON form of a committee before it is text."""
    members = tuple(MemberDocument(each.node, text_of(each.public_key), each.weight) for each in committee.members)
    numbers = committee.epoch, committee.faults
    return CommitteeDocument(committee.cluster, *numbers, members, committee.quorums, committee.primary)


def committee_of(read: CommitteeDocument) -> Committee:
    """What the document says, not checked for safety. Raises ValueError for a key that is no base64url text, and
    for numbers that no committee has."""
    numbers = (read.epoch, read.faults, *(each.weight for each in read.members))
    if not all(0 <= number <= NUMBER_MAX for number in numbers):
        raise ValueError(f"its numbers do not lie between 0 and {NUMBER_MAX}")
    members = tuple(Member(each.node, bytes_in(each.key), each.weight) for each in read.members)
    return Committee(read.cluster, read.epoch, members, read.faults, read.quorums, read.primary)


def encode_genesis(committee: Committee) -> bytes:
    """The genesis file of a cluster that begins with this committee."""
    return _JSON.encode(_Genesis(FORMAT, document_of(committee)))


def decode_genesis(text: Buffer | str) -> Committee:
    """Read a genesis file. Raises ConfigurationError if it is none, or its committee is not safe and live."""
    try:
        if len(text) > GENESIS_BYTES_MAX:
            raise ValueError(f"it has {len(text)} bytes, more than the {GENESIS_BYTES_MAX} allowed")
        committee = committee_of(read_once(_DECODE, text).committee)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigurationError(
            f"a genesis file was to be read, but this is none: {error}. Give the {FILE_NAME} of the cluster as it "
            "was written."
        ) from None
    check_committee(committee)
    return committee
