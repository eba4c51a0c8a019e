"""From the genesis committee to any later one: every change is decided, and signed, by the epoch before it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from quorum.certificate.block import BlockCertificate, flaws_of_block, verify_block
from quorum.certificate.committee import Committee, check_committee
from quorum.certificate.decision import Verdict
from quorum.certificate.keys import CheckSignature, is_signed
from quorum.certificate.merkle import is_under, leaf_of
from quorum.certificate.requests import EPOCH_TAG
from quorum.errors import ConfigurationError
from quorum.model import NodeId


class EpochChange(msgspec.Struct, frozen=True):
    """One step: the old committee's `certificate` is for a block whose request at `place` is the new committee.

    `approvals`, of a quorum of the old committee (certificate.approval), stand beside it in that block; members
    tell each other of them, and who follows the changes needs them not.
    """

    committee: Committee
    certificate: BlockCertificate
    place: int
    path: tuple[bytes, ...]
    approvals: tuple[tuple[NodeId, bytes], ...] = ()


def epoch_request(committee: Committee) -> bytes:
    """The request that puts `committee` into force, as it stands in a block."""
    return EPOCH_TAG + committee.packed


def verify_epochs(
    genesis: Committee, changes: Sequence[EpochChange], check: CheckSignature = is_signed
) -> tuple[Committee, Verdict]:
    """Follow the changes from a committee that the caller trusts; return the last one reached, and the verdict.

    The verdict's reasons say at which epoch the chain breaks; the committee is then the last good one.
    """
    trusted = genesis
    for change in changes:
        reasons = _flaws(trusted, change, check)
        if reasons:
            where = f"the change from epoch {trusted.epoch} does not hold: "
            return trusted, Verdict(False, False, tuple(where + reason for reason in reasons))
        trusted = change.committee
    return trusted, Verdict(True, True, ())


def leading_to(changes: Sequence[EpochChange], epoch: int) -> tuple[EpochChange, ...]:
    """Those of the changes that lead to an epoch, and no further."""
    return tuple(change for change in changes if change.committee.epoch <= epoch)


def flaws_of_change(trusted: Committee, change: EpochChange) -> list[str]:
    """What is wrong with a step before any signature, and the new committee, is checked."""
    return flaws_of_block(change.certificate, trusted) or _flaws_of_place(trusted, change)


def _flaws(trusted: Committee, change: EpochChange, check: CheckSignature) -> list[str]:
    verdict = verify_block(change.certificate, trusted, check)
    if not verdict.valid:
        return list(verdict.reasons)
    flaws = _flaws_of_place(trusted, change)
    if flaws:
        return flaws
    try:
        check_committee(change.committee)  # last: the quorums of whoever was never decided could take for ever
    except ConfigurationError as error:
        return [f"the new committee could not decide: {error}"]
    return []


def _flaws_of_place(trusted: Committee, change: EpochChange) -> list[str]:
    following = change.committee
    if following.cluster != trusted.cluster or following.epoch != trusted.epoch + 1:
        return [f"it leads to epoch {following.epoch} of cluster {following.cluster[:40]!r}."]
    header = change.certificate.header
    leaf = leaf_of(epoch_request(following))
    if not is_under(header.requests_root, leaf, change.place, header.count, change.path):
        return ["the new committee is not in the block that was signed."]
    return []
