"""Two certificates that contradict each other name who lied, and no honest member, whatever else was signed.

Row 36 of the adversarial checklist (tests/README.md), its second half. `protocols/pbft/test_forks.py` has the same
with replicas that were really led apart.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from certificate.committees import committee_of, header_of, key_of, signed_by
from certificate.light_chains import Chain, certificate_in, change_to, committee_with
from certificate.test_light_client import FOUR, LATER_US
from quorum.certificate.block import BlockCertificate, BlockHeader
from quorum.certificate.chain_forms import ChainedCertificate
from quorum.certificate.committee import Committee
from quorum.certificate.conflict import (
    Conflict,
    SignedClaim,
    blame,
    conflict_of,
    flaws_of_path,
)
from quorum.certificate.evidence import Claim, accused, verify_evidence
from quorum.certificate.following import follow
from quorum.certificate.light_client import Followed
from quorum.certificate.trust import LightBlock, Trusted
from quorum.certificate.vote import VoteKind
from quorum.certificate.witnesses import Comparison, compare
from quorum.model import quorum_size

SIZES = ((4, 1), (5, 1), (6, 1), (7, 2), (8, 2), (9, 2), (10, 3))


def conflict_between(committee: Committee, *certificates: BlockCertificate, path=()) -> Conflict:
    conflict, reasons = conflict_of(*[LightBlock(committee, each) for each in certificates], path)
    assert conflict is not None, reasons
    return conflict


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_row_36_conflicting_valid_headers_name_t_plus_1_signers(count: int, faults: int) -> None:
    """Every two quorums: whoever is in both is named, T+1 at least, and nobody else."""
    committee = committee_of(count, faults)
    size = quorum_size(count, faults, "byzantine")
    headers = header_of(committee), header_of(committee, (b"other",))
    first = signed_by(committee.nodes[:size], committee, headers[0])
    for others in itertools.islice(itertools.combinations(committee.nodes, size), 60):
        second = signed_by(others, committee, headers[1])
        evidence = blame(conflict_between(committee, first, second), committee)
        assert [accused(each) for each in evidence] == sorted(set(others) & set(committee.nodes[:size]))
        assert len(evidence) > faults
        assert all(verify_evidence(each, committee).valid for each in evidence)


def test_what_does_not_contradict_is_no_conflict() -> None:
    committee = committee_of(4)
    header = header_of(committee)
    first, again = (
        signed_by(committee.nodes[:3], committee, header),
        signed_by(committee.nodes[1:], committee, header),
    )
    weak = signed_by(committee.nodes[:2], committee, header_of(committee, (b"x",)))
    later = signed_by(committee.nodes, committee, header, view=7)
    for second, words in ((again, "one block"), (later, "one block"), (weak, "no quorum")):
        for pair in ((first, second), (second, first)):
            conflict, reasons = conflict_of(*[LightBlock(committee, each) for each in pair])
            assert conflict is None and words in reasons[0]


def headers_after(
    committee: Committee, before: BlockHeader, count: int, *, mark: bytes = b""
) -> list[BlockHeader]:
    made = []
    for _ in range(count):
        header = header_of(committee, (b"r", mark), sequence=before.sequence + 1)
        before = replace(header, parent=before.digest())
        made.append(before)
    return made


@pytest.mark.parametrize("between", [0, 1, 5])
def test_row_36_a_path_of_headers_shows_a_conflict_of_different_places(between: int) -> None:
    committee = committee_of(4)
    first, other = header_of(committee), header_of(committee, (b"other",))
    early = signed_by(committee.nodes[:3], committee, first)
    apart = headers_after(committee, other, between + 1)
    late = signed_by(committee.nodes[1:], committee, apart[-1])
    conflict = conflict_between(committee, late, early, path=apart[:-1])
    assert (conflict.first, conflict.second) == (early, late)
    assert blame(conflict, committee) == (), "an honest member may have learnt of another chain in between"
    follows = headers_after(committee, first, between + 1)
    blocks = LightBlock(committee, early), LightBlock(committee, signed_by(FOUR, committee, follows[-1]))
    assert "follows" in conflict_of(*blocks, follows[:-1])[1][0]


def test_a_path_that_leads_elsewhere_shows_nothing() -> None:
    committee = committee_of(4)
    first = header_of(committee)
    chain = headers_after(committee, header_of(committee, (b"other",)), 6)
    path, last = chain[:-1], chain[-1]
    assert not flaws_of_path(path, first, last)
    for broken in (
        path[1:],
        path[:-1],
        path[::-1],
        [*path, path[-1]],
        [replace(path[0], count=9), *path[1:]],
        [*path[:-1], replace(path[-1], count=9)],
    ):
        assert flaws_of_path(broken, first, last)
    assert not flaws_of_path([], first, headers_after(committee, first, 1)[0])
    assert "more than" in flaws_of_path([first] * 65_537, first, last)[0]
    same = LightBlock(committee, signed_by(FOUR, committee, first))
    other = LightBlock(committee, signed_by(FOUR, committee, header_of(committee, (b"z",))))
    assert conflict_of(same, other, path)[0] is None


# --- nobody honest is ever named -------------------------------------------------------------------------

PLACE = st.tuples(st.integers(0, 3), st.integers(1, 3))
DIGESTS = tuple(bytes([number]) * 32 for number in range(1, 4))


def voted(committee: Committee, member: str, kind: VoteKind, view: int, sequence: int, digest: bytes) -> bytes:
    return key_of(member).sign(committee.domain.statement(kind, view, sequence, digest)).signature


@st.composite
def signed_by_many(draw, committee: Committee, liars: frozenset[str]):
    """Claims as messages would bring them. Liars sign anything; an honest member one digest for each type and
    place, and after a vote to commit no lesser claim; votes that are in nobody's hand are forged."""
    chosen: dict[tuple[str, VoteKind, int, int], bytes] = {}
    newest: dict[str, tuple[int, int]] = {}
    claims = []

    def vote(member: str, kind: VoteKind, view: int, sequence: int, digest: bytes) -> bytes | None:
        if member not in liars:
            if chosen.setdefault((member, kind, view, sequence), digest) != digest:
                return None
            if kind == VoteKind.COMMIT:
                if view < claimed_in.get(member, 0):
                    return None
                newest[member] = max(newest.get(member, (0, 0)), (view, sequence))
        return voted(committee, member, kind, view, sequence, digest)

    claimed_in: dict[str, int] = {}
    for view in range(1, 5):
        for member in draw(st.lists(st.sampled_from(committee.nodes), unique=True)):
            at = draw(PLACE)
            digest = draw(st.sampled_from(DIGESTS))
            kind = draw(st.sampled_from((VoteKind.PREPARE, VoteKind.COMMIT)))
            signatures = []
            for signer in draw(st.lists(st.sampled_from(committee.nodes), unique=True)):
                signature = vote(signer, kind, *at, digest)
                signatures.append((signer, signature or draw(st.sampled_from((bytes(64), b"short")))))
            if member not in liars:
                at = max(at, newest.get(member, (0, 0)))
                claimed_in[member] = view
            claim = Claim(*at, digest)
            own = voted(committee, member, VoteKind.VIEW_CHANGE, view, claim.sequence, claim.digest_of_claim())
            claims.append(SignedClaim(member, view, claim, kind, tuple(signatures), own))
    commits = []
    for digest in DIGESTS[:2]:
        view, sequence = draw(PLACE)
        signed = [(each, vote(each, VoteKind.COMMIT, view, sequence, digest)) for each in committee.nodes]
        commits.append((view, sequence, digest, tuple((each, own) for each, own in signed if own is not None)))
    return claims, commits


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_row_36_37_no_honest_member_is_named_however_many_lie(data) -> None:
    committee = committee_of(data.draw(st.sampled_from((4, 5, 7))))
    liars = frozenset(data.draw(st.lists(st.sampled_from(committee.nodes), unique=True)))
    claims, _ = data.draw(signed_by_many(committee, liars))
    headers = header_of(committee), header_of(committee, (b"other",))
    one, other = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
    certificates = []
    for view, header in ((one, headers[0]), (other, headers[1])):
        signers = data.draw(st.lists(st.sampled_from(committee.nodes), unique=True))
        if certificates and view == one:
            signers = [each for each in signers if each in liars or each not in dict(certificates[0].signatures)]
        honest = {each.member: each for each in claims if each.member not in liars and each.view > view}
        lesser = {name for name, each in honest.items() if (each.claim.view, each.claim.sequence) < (view, 5)}
        certificates.append(signed_by(sorted(set(signers) - lesser), committee, header, view))
    lesser = [
        each
        for each in claims
        if each.member not in liars
        and any(
            each.member in dict(certificate.signatures)
            and certificate.view < each.view
            and (each.claim.view, each.claim.sequence) < (certificate.view, certificate.header.sequence)
            for certificate in certificates
        )
    ]
    conflict = Conflict(*certificates)
    evidence = blame(conflict, committee, [each for each in claims if each not in lesser])
    assert {accused(each) for each in evidence} <= liars
    assert all(verify_evidence(each, committee).valid for each in evidence)


def test_forged_votes_and_odd_claims_hide_nobody_and_break_nothing() -> None:
    committee = committee_of(4)
    first = signed_by(FOUR[:3], committee, header_of(committee), view=0)
    second = signed_by(FOUR[1:], committee, header_of(committee, (b"x",)), view=2)
    digest = first.header.digest()

    def claim_of(member: str, claim: Claim, view: int = 1, **more) -> SignedClaim:
        own = voted(committee, member, VoteKind.VIEW_CHANGE, view, claim.sequence, claim.digest_of_claim())
        return SignedClaim(member, view, claim, more.get("vote", 2), more.get("signatures", ()), own)

    nothing = Claim(0, 0, bytes(32))
    true = claim_of("n2", nothing)
    odd = [
        claim_of("n9", nothing),
        replace(true, claim=Claim(-1, 0, digest), view=4),
        replace(true, claim=Claim(2**70, 0, digest), view=5),
        replace(true, claim=Claim(0, 1, b""), view=6),
        claim_of("n3", Claim(0, 1, digest), vote=99),
        claim_of("n1", Claim(0, 5, digest), signatures=(("n4", bytes(64)), ("n9", bytes(64)), ("n4", b""))),
        replace(true, signature=bytes(64), view=3),
    ]
    named = [accused(each) for each in blame(Conflict(first, second), committee, [*odd, true])]
    assert named == ["n2", "n3"], "n3's claim of another kind of vote hides block 5 just as well"
    assert blame(Conflict(first, second), committee_of(4, epoch=1), [true]) == ()


def two_views(committee: Committee) -> Conflict:
    """n1 to n3 voted to commit a block in view 0, and another was certified in view 2."""
    first = signed_by(FOUR[:3], committee, header_of(committee), view=0)
    return Conflict(first, signed_by(FOUR[1:], committee, header_of(committee, (b"x",)), view=2))


def asked_for(committee: Committee, member: str, view: int, claim: Claim, **more) -> SignedClaim:
    own = voted(committee, member, VoteKind.VIEW_CHANGE, view, claim.sequence, claim.digest_of_claim())
    return SignedClaim(member, view, claim, VoteKind.PREPARE, more.get("signatures", ()), own)


NOTHING = Claim(0, 0, bytes(32))
HONEST_LOOKING = Claim(0, 5, bytes(32))


@given(st.permutations(["true", "forged", "of another", "more than it had", "again"]))
@settings(deadline=None)
def test_a_forged_claim_in_the_same_view_hides_no_true_one_in_whatever_order_they_come(order: list[str]) -> None:
    committee = committee_of(4)
    true = asked_for(committee, "n2", 1, NOTHING)
    claims = {
        "true": true,
        "forged": replace(true, signature=bytes(64)),
        "of another": replace(asked_for(committee, "n3", 1, NOTHING), member="n2"),
        "more than it had": asked_for(committee, "n2", 1, HONEST_LOOKING),
        "again": true,
    }
    assert [accused(each) for each in blame(two_views(committee), committee, [claims[way] for way in order])] == [
        "n2"
    ]
    without = [claims[way] for way in order if way not in ("true", "again")]
    assert blame(two_views(committee), committee, without) == ()


@pytest.mark.parametrize("hidden_by", [(), (("n4", bytes(64)),)], ids=["none", "forged"])
def test_a_claim_whose_votes_were_taken_off_or_forged_hides_no_true_votes(hidden_by: tuple) -> None:
    """The signature of a claim does not cover the votes behind it: whoever passes it on may change them."""
    committee = committee_of(4)
    digests = DIGESTS[:2]
    claims = [
        asked_for(
            committee,
            member,
            1,
            Claim(0, 6, digest),
            signatures=(("n4", voted(committee, "n4", VoteKind.PREPARE, 0, 6, digest)),),
        )
        for member, digest in zip(("n1", "n2"), digests)
    ]
    stripped = [replace(each, signatures=hidden_by) for each in claims]
    assert [accused(each) for each in blame(two_views(committee), committee, [*stripped, *claims])] == ["n4"]
    assert blame(two_views(committee), committee, stripped) == ()


def test_a_member_that_signs_claims_without_end_pushes_out_its_own_alone(monkeypatch) -> None:
    monkeypatch.setattr("quorum.certificate.conflict.CHANGES_MAX", 40)
    committee = committee_of(4)
    flood = [asked_for(committee, "n1", view, HONEST_LOOKING) for view in range(1, 60)]
    true = asked_for(committee, "n2", 1, NOTHING)
    assert [accused(each) for each in blame(two_views(committee), committee, [*flood, true])] == ["n2"]


# --- witnesses -----------------------------------------------------------------------------------------


def compared(zero: Committee, told: ChainedCertificate, witness: ChainedCertificate) -> Comparison:
    trusted = Trusted(zero)
    followed = follow(trusted, told, LATER_US)
    assert isinstance(followed, Followed)
    return compare(trusted, followed, told, witness, LATER_US)


def test_row_36_a_witness_with_another_block_names_who_signed_both() -> None:
    chain = Chain([FOUR, FOUR, ("n3", "n4", "n5", "n6")])
    last = chain.committees[2]
    told = ChainedCertificate(tuple(chain.changes()), certificate_in(last))
    fork = replace(told, certificate=certificate_in(last, requests=(b"fork",), signers=last.nodes[1:]))
    found = compared(chain.committees[0], told, fork)
    assert found.parted and not found.agrees and found.conflict is not None and found.committee == last
    assert [accused(each) for each in blame(found.conflict, last)] == ["n4", "n5"]
    assert compared(chain.committees[0], told, told).agrees
    assert compared(chain.committees[0], told, replace(told, changes=())).reasons == (
        "it is of epoch 2, and nobody says who is of it: epoch 0 is trusted.",
    )
    newer = compared(chain.committees[0], told, replace(told, certificate=certificate_in(last, 60)))
    assert not newer.parted and "were not compared" in newer.reasons[0]


def test_row_36_sources_that_part_at_a_change_of_epoch_are_compared_there() -> None:
    """They lead to different committees, and may be skipped to; both changes stand at one place, signed by the
    committee before."""
    zero = committee_with(FOUR, 0)
    ways = []
    for names, signers in ((("n1", "n2", "n5", "n6"), FOUR[:3]), (("n2", "n3", "n7", "n8"), FOUR[1:])):
        new = committee_with(names, 1)
        ways.append(ChainedCertificate((change_to(zero, new, signers),), certificate_in(new, 5)))
    found = compared(zero, *ways)
    assert found.parted and found.conflict is not None and found.committee == zero
    assert [accused(each) for each in blame(found.conflict, zero)] == ["n2", "n3"]
    # Without the change of one of them there is no such proof; that one of the two is a lie is seen all the same.
    last = committee_with(("n1", "n2", "n3", "n9"), 2)
    first, second = (
        ChainedCertificate((*way.changes, change_to(way.changes[0].committee, last)), certificate_in(last, place))
        for way, place in zip(ways, (5, 6), strict=True)
    )
    skipped = replace(second, changes=second.changes[1:])
    assert compared(zero, first, second).conflict is not None
    assert not compared(zero, first, skipped).agrees
    other = committee_with(("n1", "n2", "n3", "n8"), 2)
    lie = ChainedCertificate((change_to(ways[0].changes[0].committee, other),), certificate_in(other, 5))
    found = compared(zero, first, lie)
    assert found.parted and found.conflict is None and "different committees of epoch 2" in found.reasons[0]
