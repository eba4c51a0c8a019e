"""Evidence of a later epoch is judged by the first committee, through the changes that stand in its file."""

from __future__ import annotations

from certificate.committees import key_of
from certificate.test_epochs import GENESIS, chain
from quorum.certificate.audit import judge_evidence
from quorum.certificate.committee import Committee
from quorum.certificate.evidence import Equivocation, SignedVote
from quorum.certificate.evidence_forms import decode_evidence, encode_evidence
from quorum.certificate.vote import VoteKind

CHANGES = chain(3)
LAST = CHANGES[-1].committee


def lie_in(committee: Committee, member: str) -> Equivocation:
    def vote(digest: bytes) -> SignedVote:
        statement = committee.domain.statement(VoteKind.COMMIT, 7, 5, digest)
        return SignedVote(member, VoteKind.COMMIT, 7, 5, digest, key_of(member).sign(statement).signature)

    return Equivocation(vote(b"\x01" * 32), vote(b"\x02" * 32))


def test_evidence_of_a_later_epoch_convinces_whoever_trusts_the_first_committee_or_one_in_between():
    document = encode_evidence(lie_in(LAST, LAST.nodes[0]), LAST, CHANGES)
    for trusted in (GENESIS, CHANGES[0].committee, LAST):
        audit = judge_evidence(decode_evidence(document), trusted)
        assert (audit.valid, audit.epoch, audit.accused) == (True, 3, LAST.nodes[0])


def test_without_the_changes_it_does_not_and_the_reason_says_so():
    document = encode_evidence(lie_in(LAST, LAST.nodes[0]), LAST)
    audit = judge_evidence(decode_evidence(document), GENESIS)
    assert not audit.valid
    assert audit.reasons == ("it is of epoch 3, the committee is of epoch 0.",)


def test_changes_that_do_not_hold_convince_nobody():
    document = encode_evidence(lie_in(LAST, LAST.nodes[0]), LAST, [CHANGES[0], CHANGES[2]])
    audit = judge_evidence(decode_evidence(document), GENESIS)
    assert not audit.valid
    assert "the change from epoch 1 does not hold" in audit.reasons[0]
