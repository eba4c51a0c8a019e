"""The light client believes what somebody honest vouches for, and nothing else, however the committees overlap.

Row 36 of the adversarial checklist (tests/README.md), its first half; `test_conflict.py` has the second.
"""

from __future__ import annotations

import itertools
from math import log2

import pytest
from msgspec.structs import replace

from certificate.committees import key_of, signed_by
from certificate.light_chains import (
    HOUR_US,
    NOW_US,
    Chain,
    certificate_in,
    committee_with,
)
from quorum.certificate.block import BlockCertificate, verify_block
from quorum.certificate.committee import Committee, Member, check_committee
from quorum.certificate.light_client import Followed, LightClient, Refused, WantBlock, WantChange
from quorum.certificate.trust import (
    DAY_US,
    LightBlock,
    Trust,
    Trusted,
    TrustRules,
    judge_step,
    vouchers,
)
from quorum.errors import LocalProtocolError

LATER_US = NOW_US + 13 * DAY_US
FOUR = ("n1", "n2", "n3", "n4")


def rolling(epochs: int, size: int = 4) -> Chain:
    """Each epoch one member goes and another comes."""
    return Chain([[f"n{number:03}" for number in range(epoch, epoch + size)] for epoch in range(epochs + 1)])


def client_for(
    chain: Chain, epochs=None, now_us: int = LATER_US, trusted: Trusted | None = None, skips: bool = True
) -> LightClient:
    every = range(1, chain.last) if epochs is None else epochs
    start = trusted or Trusted(chain.committees[0])
    return LightClient(start, chain.block(chain.last), now_us, None, every, skips)


# --- what is believed ----------------------------------------------------------------------------------


def test_row_36_a_committee_that_stays_is_skipped_over_without_a_question() -> None:
    chain = Chain([FOUR] * 50)
    found = chain.drive(client_for(chain))
    assert isinstance(found, Followed) and not chain.asked
    assert found.trusted == Trusted(chain.committees[49], chain.block(49).certificate)


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 16, 40])
def test_row_36_with_too_little_overlap_it_bisects(epochs: int) -> None:
    """Two of four go on together for two epochs: T+1 vouch at that distance, and no further."""
    chain = rolling(epochs)
    found = chain.drive(client_for(chain))
    assert isinstance(found, Followed) and found.trusted.committee.epoch == epochs
    assert len(chain.asked) == len(set(map(str, chain.asked))), "nothing is asked for twice"
    far = [block.committee.epoch for block in found.passed]
    assert far == sorted(far) and all(after - before <= 2 for before, after in itertools.pairwise([0, *far]))


def test_row_36_one_revolution_among_many_epochs_costs_a_logarithm() -> None:
    """The committee stays but for one epoch at which everybody is replaced."""
    for changed in (1, 100, 255):
        chain = Chain([FOUR] * changed + [("m1", "m2", "m3", "m4")] * (256 - changed))
        found = chain.drive(client_for(chain))
        assert isinstance(found, Followed)
        assert len(chain.asked) <= 2 * log2(256) + 2
        assert sum(isinstance(each, WantChange) for each in chain.asked) == 1


def test_without_blocks_between_every_change_is_followed() -> None:
    chain = rolling(9, size=7)
    found = chain.drive(client_for(chain, epochs=()))
    assert isinstance(found, Followed)
    assert all(isinstance(each, WantChange) for each in chain.asked) and len(chain.asked) <= 9


def test_blocks_and_changes_that_cannot_be_had_are_done_without_where_another_way_leads() -> None:
    chain = Chain([FOUR, FOUR, ("n1", "n2", "z1", "z2"), ("z1", "z2", "z3", "z4")])
    lacking = (WantBlock(1), WantChange(0), WantChange(1), WantChange(2))
    found = chain.drive(client_for(chain), lacking)
    assert isinstance(found, Followed) and [block.committee.epoch for block in found.passed] == [2, 3]
    missing = chain.drive(client_for(chain), (WantBlock(1), WantBlock(2), WantChange(0)))
    assert isinstance(missing, Refused) and missing.missing == (1, 3)
    assert "0 of epoch 0 signed for epoch 3, 2 are needed." in missing.reasons


def test_a_way_around_a_pivot_that_leads_nowhere_is_found() -> None:
    """0 vouches for 2, and 2 for 5; 3 is a dead end that is tried first."""
    ab, bc = ("a1", "a2", "b1", "b2"), ("b1", "b2", "c1", "c2")
    odd = ("x1", "x2", "x3", "x4")
    chain = Chain([("a1", "a2", "a3", "a4"), odd, ab, odd, odd, bc])
    found = chain.drive(client_for(chain, epochs=(2, 3)), [WantChange(epoch) for epoch in range(5)])
    assert isinstance(found, Followed) and [block.committee.epoch for block in found.passed] == [2, 5]


# --- the rule ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "faults"), [(1, 0), (4, 1), (5, 1), (6, 1), (7, 2), (10, 3)])
def test_row_36_exactly_t_plus_1_trusted_signers_let_it_skip(size: int, faults: int) -> None:
    old = committee_with([f"n{number:02}" for number in range(size)], 0, faults)
    for shared in range(size + 1):
        new = committee_with(
            [*old.nodes[:shared], *[f"x{number:02}" for number in range(size - shared)]], 5, faults
        )
        block = LightBlock(new, certificate_in(new, signers=new.nodes))
        trust, reasons = judge_step(old, block)
        assert trust is (Trust.GIVEN if shared > faults else Trust.NOT_ENOUGH), reasons
        assert len(vouchers(old, block)) == shared


def test_members_that_did_not_sign_vouch_for_nothing() -> None:
    old, new = committee_with(FOUR, 0), committee_with((*FOUR, "x1", "x2", "x3"), 3, 2)
    assert judge_step(old, LightBlock(new, certificate_in(new, signers=new.nodes[:5]))).trust is Trust.GIVEN
    few = certificate_in(new, signers=("n4", "x1", "x2", "x3"))
    assert judge_step(old, LightBlock(new, few)).trust is Trust.NOT_ENOUGH


def test_who_has_the_name_of_a_trusted_member_and_another_key_is_a_stranger() -> None:
    old = committee_with(FOUR, 0)
    renamed = tuple(
        replace(member, public_key=bytes(key_of(f"x{member.node}").verify_key)) for member in old.members
    )
    new = replace(old, epoch=4, members=renamed)
    unsigned = certificate_in(old)
    header = replace(unsigned.header, membership_hash=new.membership_hash)
    statement = new.domain.statement(3, 3, header.sequence, header.digest())
    signatures = tuple((name, key_of(f"x{name}").sign(statement).signature) for name in new.nodes)
    certificate = replace(unsigned, epoch=4, header=header, signatures=signatures)
    assert verify_block(certificate, new).valid
    assert judge_step(old, LightBlock(new, certificate)).trust is Trust.NOT_ENOUGH


def test_a_trusted_key_vouches_under_any_name() -> None:
    old = committee_with(FOUR, 0)
    members = tuple(replace(member, node=f"z{member.node}") for member in old.members)
    new = replace(old, epoch=4, members=members)
    header = replace(certificate_in(old).header, membership_hash=new.membership_hash, sequence=401)
    statement = new.domain.statement(3, 3, header.sequence, header.digest())
    signatures = tuple((f"z{name}", key_of(name).sign(statement).signature) for name in FOUR)
    certificate = replace(certificate_in(old), epoch=4, header=header, signatures=signatures)
    assert judge_step(old, LightBlock(new, certificate)).trust is Trust.GIVEN


def test_weights_count_for_quorums_and_heads_for_trust() -> None:
    """T bounds how many lie, not how much weight does: the heaviest member alone vouches for nothing."""
    weighted = [
        Member(f"n{n}", bytes(key_of(f"n{n}").verify_key), weight) for n, weight in enumerate((5, 3, 3, 3, 3))
    ]
    old = Committee("q0123456789abcdef", 0, tuple(weighted), 1)
    check_committee(old)
    one = committee_with(("n0", "x1", "x2", "x3"), 1)
    two = committee_with(("n1", "n2", "x1", "x2"), 1)
    assert judge_step(old, LightBlock(one, certificate_in(one, signers=one.nodes))).trust is Trust.NOT_ENOUGH
    assert judge_step(old, LightBlock(two, certificate_in(two, signers=two.nodes))).trust is Trust.GIVEN


# --- what is refused -----------------------------------------------------------------------------------


def test_row_36_a_target_that_its_own_committee_did_not_decide_is_refused() -> None:
    old, new = committee_with(FOUR, 0), committee_with(FOUR, 3)
    good = certificate_in(new)
    broken = {
        "no quorum": certificate_in(new, signers=("n1", "n2")),
        "the signature of n2 is wrong": replace(
            good,
            signatures=tuple((name, bytes(64) if name == "n2" else signed) for name, signed in good.signatures),
        ),
        "another committee": replace(good, header=replace(good.header, membership_hash=bytes(32))),
        "of epoch 2": replace(good, epoch=2),
        "of cluster 'other'": replace(good, cluster="other"),
    }
    for words, certificate in broken.items():
        trust, reasons = judge_step(old, LightBlock(new, certificate))
        assert trust is Trust.REFUSED and words in " ".join(reasons), reasons


def test_a_committee_that_could_not_decide_is_refused_without_an_error() -> None:
    old, new = committee_with(FOUR, 0), committee_with(FOUR, 3)
    odd = (
        replace(new, faults=2),
        replace(new, quorums="choose(2, n1, n2, n3, n4)"),
        replace(new, quorums="((("),
        replace(new, quorums="n1*n2*n3*n9"),
        replace(new, members=new.members[::-1]),
        replace(new, members=(new.members[0], *new.members)),
        replace(new, members=tuple(replace(each, weight=0) for each in new.members)),
        replace(new, members=tuple(replace(each, public_key=bytes(32)) for each in new.members)),
    )
    for committee in odd:
        certificate = certificate_in(new)
        header = replace(certificate.header, membership_hash=committee.membership_hash)
        again = signed_by(FOUR, replace(new, members=new.members), header)
        assert judge_step(old, LightBlock(committee, again)).trust is Trust.REFUSED


def test_nothing_goes_back() -> None:
    chain = Chain([FOUR] * 4)
    newer = certificate_in(chain.committees[3], 70)
    trusted = Trusted(chain.committees[3], newer)
    older = LightBlock(chain.committees[3], certificate_in(chain.committees[3], 60))
    past = LightBlock(chain.committees[2], certificate_in(chain.committees[2]))
    other = LightBlock(chain.committees[3], certificate_in(chain.committees[3], 70, requests=(b"z",)))
    early = certificate_in(chain.committees[3], 80)
    early = signed_by(FOUR, chain.committees[3], replace(early.header, time_us=newer.header.time_us - 1))
    for block, words in (
        (older, "before block 371"),
        (past, "before epoch 3"),
        (other, "another block 371"),
        (LightBlock(chain.committees[3], early), "a time before"),
    ):
        found = LightClient(trusted, block, LATER_US).begin()
        assert isinstance(found, Refused) and words in found.reasons[0], found
    same = LightClient(trusted, LightBlock(chain.committees[3], newer), LATER_US).begin()
    assert isinstance(same, Followed) and same.trusted == trusted


def test_a_change_of_epoch_goes_no_further_back_than_a_block() -> None:
    """An epoch ends with the block of its change: none of the epoch stands behind it, and time goes on."""
    chain = Chain([FOUR] * 3)
    old, change = chain.committees[1], chain.change(1)
    last = change.certificate.header
    assert (last.sequence, old.epoch) == (200, 1)

    def after(trusted: BlockCertificate):
        client = client_for(chain, epochs=(), trusted=Trusted(old, trusted), skips=False)
        assert client.begin() == WantChange(1)
        return client.give(change)

    for header, words in (
        (replace(last, sequence=201), "it is block 200, before block 201"),
        (replace(last, state_root=bytes(32)), "another block 200"),
        (replace(last, sequence=199, time_us=last.time_us + 1), "a time before that of block 199"),
    ):
        found = after(signed_by(FOUR, old, header))
        assert isinstance(found, Refused) and words in found.reasons[0], found
        assert found.reasons[0].startswith("the change from epoch 1 does not hold: ")
    for trusted in (change.certificate, certificate_in(old, 98)):
        assert isinstance(after(trusted), Followed), "the block with the change may be the one that is trusted"


def test_trust_grows_old_and_the_future_is_not_believed() -> None:
    chain = Chain([FOUR] * 2)
    trusted = Trusted(chain.committees[0], certificate_in(chain.committees[0]))
    rules = TrustRules(period_us=5 * HOUR_US, ahead_us=10_000_000)

    def at(now_us: int):
        return LightClient(trusted, chain.block(1), now_us, rules).begin()

    made_us = trusted.certificate.header.time_us
    assert isinstance(at(made_us + 5 * HOUR_US), Followed)
    assert "days old" in at(made_us + 5 * HOUR_US + 1).reasons[0]
    target_us = chain.block(1).certificate.header.time_us
    assert isinstance(at(target_us - 10_000_000), Followed)
    assert "ahead of the clock" in at(target_us - 10_000_001).reasons[0]
    assert "ahead of the clock" in at(0).reasons[0]


def test_what_was_not_asked_for_is_the_callers_mistake() -> None:
    chain = rolling(8)
    client = client_for(chain)
    assert client.begin() == WantBlock(4)
    with pytest.raises(LocalProtocolError, match="Give what it asks for"):
        client.give(chain.change(0))
    refused = client.give(chain.block(5))
    assert isinstance(refused, Refused) and "a block of epoch 4 was wanted" in refused.reasons[0]
    with pytest.raises(LocalProtocolError):
        client.give(None)
