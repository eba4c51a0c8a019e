"""Committees with keys, and votes by them, for the tests of certificates."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from nacl.signing import SigningKey

from quorum.certificate.block import NO_PARENT, BlockCertificate, BlockHeader, certify
from quorum.certificate.committee import Committee, Member
from quorum.certificate.merkle import leaf_of, root_of
from quorum.certificate.vote import VoteKind


def key_of(node: str) -> SigningKey:
    return SigningKey(blake2b(node.encode(), digest_size=32).digest())


def committee_of(size: int, faults: int | None = None, *, epoch: int = 0, first: int = 1, **more) -> Committee:
    names = sorted(f"n{number}" for number in range(first, first + size))
    members = tuple(Member(name, bytes(key_of(name).verify_key)) for name in names)
    return Committee("q0123456789abcdef", epoch, members, (size - 1) // 3 if faults is None else faults, **more)


def header_of(committee: Committee, requests: Iterable[bytes] = (b"a", b"b"), sequence: int = 5) -> BlockHeader:
    leaves = [leaf_of(request) for request in requests]
    return BlockHeader(
        sequence,
        1_700_000_000_000_000,
        len(leaves),
        sequence - 1,
        committee.membership_hash,
        NO_PARENT,
        root_of(leaves),
        bytes(range(32)),
    )


def signed_by(
    signers: Iterable[str], committee: Committee, header: BlockHeader, view: int = 3, **instead
) -> BlockCertificate:
    """A certificate with true signatures; `instead` may give another kind, signed_view or digest to sign."""
    statement = committee.domain.statement(
        instead.get("kind", VoteKind.COMMIT),
        instead.get("signed_view", view),
        header.sequence,
        instead.get("digest", header.digest()),
    )
    return certify(
        committee, view, header, {signer: key_of(signer).sign(statement).signature for signer in signers}
    )
