"""A member's word that another one of its committee is slow or gone, or is well again.

It is no evidence: nobody can check it, and a liar may say it of anybody. So one alone counts for nothing; among
T+1 of different members is that of an honest one. It is signed, so that whoever holds it can show it to others.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from quorum.certificate.committee import Committee
from quorum.certificate.vote import DIGEST_BYTES, NUMBER_MAX, VoteKind
from quorum.model import NodeId


class Complaint(msgspec.Struct, frozen=True, array_like=True):
    """`by` complains of `accused` in `epoch`, or with `stands` false takes that back.

    `height` is the newest block that `by` knew to be decided; `number` grows with every word of `by`, so that the
    newest one counts.
    """

    by: NodeId
    accused: NodeId
    epoch: int
    height: int
    number: int
    stands: bool
    signature: bytes


def complaint_statement(complaint: Complaint, committee: Committee) -> bytes:
    """What `by` signs: good in one epoch of one cluster, and for nothing else."""
    said = complaint.accused.encode() + bytes([0, complaint.stands])
    digest = blake2b(said, digest_size=DIGEST_BYTES, person=b"quorum complaint").digest()
    return committee.domain.statement(VoteKind.COMPLAIN, complaint.number, complaint.height, digest)


def flaws_of_complaint(complaint: Complaint, committee: Committee) -> str:
    """Why a complaint cannot be one of this committee's, before its signature is checked; empty: it may be."""
    if complaint.epoch != committee.epoch:
        return f"a complaint of epoch {complaint.epoch} is none of epoch {committee.epoch}."
    if complaint.by not in committee.keys or complaint.accused not in committee.keys:
        return "a complaint by a stranger, or of one."
    if complaint.by == complaint.accused:
        return "a complaint of a member about itself."
    if not (0 <= complaint.number <= NUMBER_MAX and 0 <= complaint.height <= NUMBER_MAX):
        return "a complaint with numbers outside every chain of blocks."
    return ""
