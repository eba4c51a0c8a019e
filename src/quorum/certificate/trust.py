"""What a light client may believe after what it believes: one step, from a trusted committee to a later block.

A skip over epochs needs T+1 members of the trusted committee, by the keys that it names, among the signers: of
those one at least is honest, and an honest member signs for the true committee of its epoch alone. T+1 is exact
for every committee: T may all lie, and how many of N, or how much weight, T+1 members are plays no part in it.
Source: CometBFT, light client verification, CMBC-VAL-CONTAINS-CORR and CMBC-VAL-COMMIT (Braithwaite et al., "A
Tendermint Light Client", 2020): there more than a third of the power plays this part, as less than that may lie.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

import msgspec

from quorum.certificate.block import BlockCertificate, BlockHeader, verify_block
from quorum.certificate.committee import Committee, check_committee, check_members
from quorum.errors import ConfigurationError
from quorum.model import NodeId

DAY_US: Final = 86_400_000_000


class LightBlock(msgspec.Struct, frozen=True):
    """A block's certificate with the committee that signed it; neither is believed."""

    committee: Committee
    certificate: BlockCertificate


class Trusted(msgspec.Struct, frozen=True):
    """What a light client believes: the committee of an epoch, and the newest block that it has verified, which
    is of that epoch (None: the committee is taken from a genesis file)."""

    committee: Committee
    certificate: BlockCertificate | None = None


class TrustRules(msgspec.Struct, frozen=True):
    """`period_us`: how long at most T members of a committee lie, or lose their keys, counted from a block of
    theirs; older trust is none. `ahead_us`: how far a block's time may be ahead of the caller's clock."""

    period_us: int = 14 * DAY_US
    ahead_us: int = 10_000_000


class Trust(enum.Enum):
    """The answer about a block: believe it; ask for one between; it is wrong."""

    GIVEN = "given"
    NOT_ENOUGH = "not enough"
    REFUSED = "refused"


class Judgement(NamedTuple):
    """An answer, and everything that speaks against the block."""

    trust: Trust
    reasons: tuple[str, ...] = ()


def vouchers(trusted: Committee, block: LightBlock) -> tuple[NodeId, ...]:
    """The signers named by the block whose keys are of the trusted committee, whatever they are called there."""
    known, keys = frozenset(trusted.keys.values()), block.committee.keys
    return tuple(signer for signer, _ in block.certificate.signatures if keys.get(signer) in known)


def judge_step(trusted: Committee, block: LightBlock) -> Judgement:
    """Whether a committee that is trusted vouches for a block of its own epoch, or of any later one.

    Of a later one T+1 of its members must have signed, and a quorum of the block's own committee, which must be
    sound. Nothing of the block is used before it is verified, but to see that too few vouch for it.
    """
    theirs, certificate = block.committee, block.certificate
    if theirs.cluster != trusted.cluster:
        return _refused(f"it is of cluster {theirs.cluster[:40]!r}, not of {trusted.cluster[:40]!r}.")
    if theirs.epoch < trusted.epoch:
        return _refused(f"it is of epoch {theirs.epoch}, before epoch {trusted.epoch}, which is trusted.")
    try:
        check_members(theirs)
        is_same = theirs.epoch == trusted.epoch
        if is_same and theirs.membership_hash != trusted.membership_hash:
            return _refused(f"it names another committee for epoch {theirs.epoch}.")
        vouching = len(set(vouchers(trusted, block)))
        if not is_same and vouching <= trusted.faults:
            return Judgement(
                Trust.NOT_ENOUGH,
                (
                    f"{vouching} of epoch {trusted.epoch} signed for epoch {theirs.epoch}, "
                    f"{trusted.faults + 1} are needed.",
                ),
            )
        verdict = verify_block(certificate, theirs)
        if not verdict.valid:
            return Judgement(Trust.REFUSED, verdict.reasons)
        if not is_same:
            check_committee(theirs)  # last: somebody honest signed for it, so it does not take for ever
    except ConfigurationError as error:
        return _refused(f"its committee could not decide: {error}")
    return Judgement(Trust.GIVEN)


def flaws_of_trust(trusted: Trusted, now_us: int, rules: TrustRules) -> list[str]:
    """What keeps the caller from starting with this trust at the time `now_us` (microseconds since 1970)."""
    if trusted.certificate is None:
        return []
    header = trusted.certificate.header
    if header.time_us + rules.period_us < now_us:
        days = (now_us - header.time_us) // DAY_US
        return [
            f"block {header.sequence}, which is trusted, is {days} days old, more than the {_days(rules)} "
            "allowed: begin again with a genesis file, or a newer block, from where you trust it."
        ]
    return flaws_of_time(header, now_us, rules)


def flaws_of_time(header: BlockHeader, now_us: int, rules: TrustRules) -> list[str]:
    """A block from the future would never grow too old; or the caller's clock is wrong."""
    if header.time_us > now_us + rules.ahead_us:
        return [f"block {header.sequence} is {(header.time_us - now_us) // 1_000_000} s ahead of the clock here."]
    return []


def flaws_of_order(newest: BlockHeader, header: BlockHeader) -> list[str]:
    """What keeps `header` from standing at or behind `newest` in one chain, as far as the two say."""
    if header.sequence < newest.sequence:
        return [f"it is block {header.sequence}, before block {newest.sequence}, which is trusted."]
    if header.sequence == newest.sequence and header.digest() != newest.digest():
        return [f"it is another block {header.sequence} than the one that is trusted."]
    if header.time_us < newest.time_us:
        return [f"block {header.sequence} has a time before that of block {newest.sequence}, which is trusted."]
    return []


def _days(rules: TrustRules) -> str:
    return f"{rules.period_us / DAY_US:g}"


def _refused(reason: str) -> Judgement:
    return Judgement(Trust.REFUSED, (reason,))
