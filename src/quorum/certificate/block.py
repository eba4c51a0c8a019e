"""What a Byzantine cluster decided: a block of requests, and the certificate that convinces anybody with the keys.

Blocks form a chain: a header names its parent by digest, so one certificate covers every block before its own.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from quorum.certificate.committee import Committee
from quorum.certificate.decision import Verdict
from quorum.certificate.evidence import SignedVote, is_signed_vote
from quorum.certificate.keys import SIGNATURE_BYTES, CheckSignature, is_signed
from quorum.certificate.merkle import ROOT_BYTES
from quorum.certificate.vote import DIGEST_BYTES, NUMBER_MAX, VoteKind
from quorum.model import NodeId

NO_PARENT: Final = bytes(DIGEST_BYTES)
"""The parent of the first block."""

HEADER: Final = struct.Struct(">QQQQ32s32s32s32s")
"""The fixed form of a header: its fields, in order."""


class BlockHeader(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the digest of a block covers. Times are microseconds since 1970.

    `requests_root` is the Merkle root over the `count` requests of the block. `state_root` is the digest of the
    state after block `state_sequence`, the newest that the primary had when it made this one.
    """

    sequence: int
    time_us: int
    count: int
    state_sequence: int
    membership_hash: bytes
    parent: bytes
    requests_root: bytes
    state_root: bytes

    def packed(self) -> bytes:
        """The header as fixed bytes, first in a block. Numbers are 0 to 2^64-1, hashes have 32 bytes."""
        return HEADER.pack(
            self.sequence,
            self.time_us,
            self.count,
            self.state_sequence,
            self.membership_hash,
            self.parent,
            self.requests_root,
            self.state_root,
        )

    def digest(self) -> bytes:
        """The 32 bytes that members vote for."""
        return blake2b(self.packed(), digest_size=DIGEST_BYTES, person=b"quorum block 1").digest()


def header_of(packed: bytes | bytearray | memoryview) -> BlockHeader:
    """The header with which these bytes begin. Raises ValueError if they are too short for one."""
    if len(packed) < HEADER.size:
        raise ValueError(f"{len(packed)} bytes are too short for a block's header of {HEADER.size}")
    return BlockHeader(*HEADER.unpack_from(packed))


class BlockCertificate(msgspec.Struct, frozen=True, gc=False):
    """The commit votes of a quorum for one block, all of one view of one epoch of one cluster.

    `signatures` are (member, its signature over the COMMIT statement), sorted by member, each once.
    """

    cluster: str
    epoch: int
    view: int
    header: BlockHeader
    signatures: tuple[tuple[NodeId, bytes], ...]


def certify(
    committee: Committee, view: int, header: BlockHeader, signatures: Mapping[NodeId, bytes]
) -> BlockCertificate:
    """Put the members' commit votes for a block together. They are taken as they are: see `verify_block`."""
    return BlockCertificate(committee.cluster, committee.epoch, view, header, tuple(sorted(signatures.items())))


def verify_block(
    certificate: BlockCertificate, committee: Committee, check: CheckSignature = is_signed
) -> Verdict:
    """Judge a certificate by the committee that the caller trusts: the one way in which any code does so.

    `check` says whether a key signed a message; a simulator may have tokens in place of Ed25519.
    Nothing of the certificate is used before it is checked. Every signature given must be right, also beyond the
    quorum: a certificate with a wrong one in it was put together by somebody who does not check.
    """
    reasons = _flaws_of_form(certificate, committee)
    if reasons:
        return Verdict(False, False, tuple(reasons))
    reasons = [
        f"the signature of {vote.member} is wrong."
        for vote in commit_votes(certificate)
        if not is_signed_vote(vote, committee, check)
    ]
    signed = not reasons
    reasons += _flaws_of_quorum(certificate, committee)
    return Verdict(not reasons, signed, tuple(reasons))


def flaws_of_block(certificate: BlockCertificate, committee: Committee) -> list[str]:
    """What is wrong with a certificate before any signature is checked. Where that is nothing, it holds exactly if
    each of its `commit_votes` is signed by its member: `verify_block` for whoever has them checked elsewhere."""
    return _flaws_of_form(certificate, committee) or _flaws_of_quorum(certificate, committee)


def commit_votes(certificate: BlockCertificate) -> tuple[SignedVote, ...]:
    """The votes that a certificate is made of, in its order: what each signature must be over."""
    header = certificate.header
    digest = header.digest()
    return tuple(
        SignedVote(member, VoteKind.COMMIT, certificate.view, header.sequence, digest, signature)
        for member, signature in certificate.signatures
    )


def _flaws_of_quorum(certificate: BlockCertificate, committee: Committee) -> list[str]:
    signers = frozenset(member for member, _ in certificate.signatures)
    if committee.system.is_write_quorum(signers):
        return []
    return [f"the {len(signers)} who signed hold no quorum of epoch {committee.epoch}."]


def _flaws_of_form(certificate: BlockCertificate, committee: Committee) -> list[str]:
    header, flaws = certificate.header, []
    if certificate.cluster != committee.cluster:
        flaws.append(f"it is of cluster {certificate.cluster[:40]!r}, not of {committee.cluster[:40]!r}.")
    if certificate.epoch != committee.epoch:
        flaws.append(f"it is of epoch {certificate.epoch}, the committee is of epoch {committee.epoch}.")
    if header.membership_hash != committee.membership_hash:
        flaws.append(f"it names another committee for epoch {certificate.epoch}.")
    numbers = (certificate.view, header.sequence, header.time_us, header.count, header.state_sequence)
    if min(numbers) < 0 or max(numbers) > NUMBER_MAX or not header.state_sequence < header.sequence:
        flaws.append("its numbers lie outside every chain of blocks.")
    if {len(header.parent), len(header.requests_root), len(header.state_root)} != {ROOT_BYTES}:
        flaws.append(f"its hashes do not have {ROOT_BYTES} bytes each.")
    signers = [member for member, _ in certificate.signatures]
    if signers != sorted(set(signers)):
        flaws.append("its signers are not sorted, or one is named twice.")
    strangers = sorted(set(signers) - set(committee.nodes))
    if strangers:
        named = ", ".join(stranger[:40] for stranger in strangers[:5])
        flaws.append(f"{named} signed without being of epoch {committee.epoch}.")
    if any(len(signature) != SIGNATURE_BYTES for _, signature in certificate.signatures):
        flaws.append(f"a signature does not have {SIGNATURE_BYTES} bytes.")
    return flaws
