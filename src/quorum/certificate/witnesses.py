"""Whether two documents, each of which a light client believes, tell one story; if not, who signed both.

Somebody who holds T+1 keys of a trusted committee can make a light client believe anything. A second source that
is not in their hands shows it. Source: CometBFT, light client attack detection.
"""

from __future__ import annotations

import msgspec

from quorum.certificate.block import BlockCertificate
from quorum.certificate.chain_forms import ChainedCertificate
from quorum.certificate.committee import Committee
from quorum.certificate.conflict import Conflict, conflicts_between
from quorum.certificate.following import follow
from quorum.certificate.light_client import Followed
from quorum.certificate.trust import LightBlock, Trusted, TrustRules

Document = BlockCertificate | ChainedCertificate


class Comparison(msgspec.Struct, frozen=True):
    """`agrees`: both are about one block. Else `conflict`, signed by `committee`, or the reasons why there is
    none. `parted`: one of the two is certainly a lie, whether or not a conflict could be proved.
    """

    agrees: bool
    parted: bool
    conflict: Conflict | None
    committee: Committee | None
    reasons: tuple[str, ...]


def compare(
    trusted: Trusted,
    followed: Followed,
    told: Document,
    witness: Document,
    now_us: int,
    rules: TrustRules | None = None,
) -> Comparison:
    """Compare what was `followed` by the document `told` with what a witness says, from the same trust."""
    other = follow(trusted, witness, now_us, rules)
    if not isinstance(other, Followed):
        return Comparison(False, False, None, None, other.reasons)
    mine, theirs = followed.trusted, other.trusted
    assert mine.certificate is not None and theirs.certificate is not None, "a target was followed"
    first, second = mine.certificate.header, theirs.certificate.header
    if first.digest() == second.digest():
        return Comparison(True, False, None, None, ())
    own = _in_steps(trusted, told, followed, now_us, rules)
    others = _in_steps(trusted, witness, other, now_us, rules)
    found = conflicts_between(own, others)
    if found:
        return Comparison(False, True, *found[0], ())
    committees = {block.committee.epoch: block.committee for block in own}
    for block in others:
        epoch = block.committee.epoch
        if epoch in committees and committees[epoch].membership_hash != block.committee.membership_hash:
            reason = f"they lead to different committees of epoch {epoch}, by changes that are not both given."
            return Comparison(False, True, None, None, (reason,))
    if first.sequence == second.sequence:
        return Comparison(False, True, None, None, (f"they are about different blocks {first.sequence}.",))
    reason = f"it is about block {second.sequence}, not {first.sequence}: the two were not compared."
    return Comparison(False, False, None, None, (reason,))


def _in_steps(
    trusted: Trusted, document: Document, followed: Followed, now_us: int, rules: TrustRules | None
) -> tuple[LightBlock, ...]:
    """Every block on the way, if every change is given; else those that it was followed by."""
    whole = follow(trusted, document, now_us, rules, skips=False)
    return whole.passed if isinstance(whole, Followed) else followed.passed
