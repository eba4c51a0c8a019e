"""Evidence as one JSON document, with the cluster and the epoch that its signatures are of, and for a later epoch
the changes that lead to it.

One line with sorted keys; unknown fields are refused. Nothing is believed here: see `evidence.verify_evidence`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from quorum.certificate.base64url import bytes_in, text_of
from quorum.certificate.chain_forms import CHAIN_BYTES_MAX, ChangeDocument, change_of, document_of
from quorum.certificate.committee import Committee
from quorum.certificate.epochs import EpochChange
from quorum.certificate.evidence import Claim, Equivocation, Evidence, HiddenVote, SignedVote
from quorum.certificate.json_text import read_once
from quorum.certificate.vote import VoteKind
from quorum.entry import Buffer
from quorum.errors import ConfigurationError
from quorum.model import NodeId

FORMAT: Final = "quorum-evidence-1"
EVIDENCE_BYTES_MAX: Final = 64 * 1024 + CHAIN_BYTES_MAX


class _Vote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`vote` is the name of a `VoteKind`."""

    member: NodeId
    vote: str
    view: int
    sequence: int
    digest: str
    signature: str


class _Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    view: int
    sequence: int
    digest: str


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Two votes; with `claim` the first is to commit, the second asks for a view with that claim."""

    format: Literal["quorum-evidence-1"]
    cluster: str
    epoch: int
    votes: tuple[_Vote, _Vote]
    claim: _Claim | None = None
    changes: tuple[ChangeDocument, ...] = ()


class EvidenceFile(msgspec.Struct, frozen=True):
    """Evidence, and what the file says about whose it is. `changes` lead to the committee of its epoch."""

    cluster: str
    epoch: int
    evidence: Evidence
    changes: tuple[EpochChange, ...] = ()


_JSON = msgspec.json.Encoder(order="deterministic")
_DECODE = msgspec.json.Decoder(_Document)


def encode_evidence(evidence: Evidence, committee: Committee, changes: Sequence[EpochChange] = ()) -> bytes:
    """The document of evidence against a member of `committee`, to which `changes` lead."""
    if isinstance(evidence, Equivocation):
        votes, claim = (evidence.first, evidence.second), None
    else:
        held = evidence.claim
        votes = (evidence.commit, evidence.view_change)
        claim = _Claim(held.view, held.sequence, text_of(held.digest))
    first, second = map(_vote_document, votes)
    led = tuple(map(document_of, changes))
    return _JSON.encode(_Document(FORMAT, committee.cluster, committee.epoch, (first, second), claim, led))


def decode_evidence(text: Buffer | str) -> EvidenceFile:
    """Read the document, unverified. Raises ConfigurationError if it is none."""
    try:
        if len(text) > EVIDENCE_BYTES_MAX:
            raise ValueError(f"it has {len(text)} bytes, more than the {EVIDENCE_BYTES_MAX} allowed")
        read = read_once(_DECODE, text)
        first, second = map(_vote_in, read.votes)
        evidence: Evidence = Equivocation(first, second)
        if read.claim is not None:
            claim = Claim(read.claim.view, read.claim.sequence, bytes_in(read.claim.digest))
            evidence = HiddenVote(first, second, claim)
        return EvidenceFile(read.cluster, read.epoch, evidence, tuple(map(change_of, read.changes)))
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigurationError(
            f"evidence was to be read, but this is none: {error}. Give the file as it was written."
        ) from None


def _vote_document(vote: SignedVote) -> _Vote:
    signature = text_of(vote.signature)
    return _Vote(vote.member, vote.kind.name, vote.view, vote.sequence, text_of(vote.digest), signature)


def _vote_in(read: _Vote) -> SignedVote:
    if read.vote not in VoteKind.__members__:
        raise ValueError(f"{read.vote[:40]!r} is no type of vote")
    kind = VoteKind[read.vote]
    digest, signature = bytes_in(read.digest), bytes_in(read.signature)
    return SignedVote(read.member, kind, read.view, read.sequence, digest, signature)
