"""Committees that overlap as they please, and up to T liars in each: what the light client believes and keeps.

Row 36 of the adversarial checklist (tests/README.md).
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from certificate.light_chains import Chain, certificate_in, change_to, committee_with, quorum_of
from certificate.test_light_client import FOUR, LATER_US, client_for, rolling
from quorum.certificate.chain_forms import ChainedCertificate
from quorum.certificate.committee import Committee
from quorum.certificate.following import follow
from quorum.certificate.light_client import Followed, LightClient, WantBlock, WantChange
from quorum.certificate.light_forms import decode_light, encode_light
from quorum.certificate.trust import LightBlock, Trust, Trusted, judge_step
from quorum.errors import ConfigurationError

NAMES = tuple(f"n{number:02}" for number in range(12))


@st.composite
def histories(draw):
    """Committees that overlap as they please, each with its own T; who lies: T of each at most."""
    committees = []
    for epoch in range(draw(st.integers(2, 6))):
        size = draw(st.sampled_from((4, 5, 7)))
        names = draw(st.lists(st.sampled_from(NAMES), min_size=size, max_size=size, unique=True))
        committees.append(committee_with(names, epoch))
    liars: set[str] = set()
    for name in draw(st.permutations(NAMES)):
        more = liars | {name}
        if all(len(more & set(each.nodes)) <= each.faults for each in committees):
            liars = more
    return committees, frozenset(liars)


def forged_block(draw, epoch: int, liars: frozenset[str], honest_keys: tuple[Committee, ...]) -> LightBlock:
    """Whatever liars can make: any committee that they like, with strangers, signed by whom they own."""
    others = draw(st.lists(st.sampled_from(NAMES), max_size=6, unique=True))
    named = sorted({*liars, *others, *(f"evil{number}" for number in range(draw(st.integers(0, 8))))})
    faults = draw(st.integers(0, max(0, (len(named) - 1) // 3)))
    committee = committee_with(named or ["evil0"], epoch, faults)
    signers = [name for name in committee.nodes if name in liars or name.startswith("evil")]
    block = certificate_in(committee, draw(st.integers(0, 98)), signers, (b"a lie",))
    others = {
        name: draw(
            st.sampled_from((bytes(64), dict(certificate_in(honest_keys[0]).signatures).get(name, bytes(64))))
        )
        for name in draw(st.lists(st.sampled_from(committee.nodes), max_size=3))
        if name not in signers
    }
    return LightBlock(
        committee, replace(block, signatures=tuple(sorted({**dict(block.signatures), **others}.items())))
    )


@given(histories(), st.data())
@settings(max_examples=150, deadline=None)
def test_row_36_t_liars_of_each_epoch_never_make_it_believe_what_nobody_honest_signed(history, data) -> None:
    """They choose target, pivots and changes; now and then they give true ones. What is believed at the end is of
    a true committee, signed by a quorum of it."""
    committees, liars = history
    last = len(committees) - 1
    trusted = Trusted(committees[0])
    target_epoch = data.draw(st.integers(0, last), "target")

    def block(epoch: int) -> LightBlock:
        if data.draw(st.booleans(), "true"):
            return LightBlock(committees[epoch], certificate_in(committees[epoch]))
        return forged_block(data.draw, epoch, liars, tuple(committees))

    client = LightClient(trusted, block(target_epoch), LATER_US, None, range(1, target_epoch))
    outcome = client.begin()
    for _ in range(2 * len(committees) + 2):
        if not isinstance(outcome, WantBlock | WantChange):
            break
        if isinstance(outcome, WantBlock):
            outcome = client.give(block(outcome.epoch))
        elif data.draw(st.booleans(), "true change"):
            outcome = client.give(change_to(committees[outcome.epoch], committees[outcome.epoch + 1]))
        else:
            new = forged_block(data.draw, outcome.epoch + 1, liars, tuple(committees)).committee
            own = [name for name in committees[outcome.epoch].nodes if name in liars]
            outcome = client.give(change_to(committees[outcome.epoch], new, own))
    else:
        pytest.fail("it asks for ever")
    believed = client.committee
    assert believed in committees
    if isinstance(outcome, Followed):
        certificate = outcome.trusted.certificate
        assert certificate == certificate_in(committees[certificate.epoch])


@given(histories())
@settings(max_examples=60, deadline=None)
def test_an_honest_source_always_leads_to_the_target(history) -> None:
    committees, _ = history
    chain = Chain([])
    chain.committees = committees
    found = chain.drive(client_for(chain))
    assert isinstance(found, Followed) and found.trusted.committee == committees[-1]


def test_row_36_with_t_plus_1_keys_of_the_trusted_committee_it_can_be_fooled() -> None:
    """The negative control: beyond the bound a skip proves nothing, and only a witness shows it."""
    old = committee_with(FOUR, 0)
    for liars, trust in ((("n1",), Trust.NOT_ENOUGH), (("n1", "n2"), Trust.GIVEN)):
        evil = committee_with((*liars, *[f"evil{number}" for number in range(4 - len(liars))]), 9)
        assert judge_step(old, LightBlock(evil, certificate_in(evil, signers=evil.nodes))).trust is trust


# --- documents -----------------------------------------------------------------------------------------


@given(histories(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_document_with_any_changes_left_out_is_followed_or_what_is_missing_is_named(history, data) -> None:
    """All the changes always do; a document that is followed is so by an honest committee."""
    committees, _ = history
    every = [change_to(old, new) for old, new in itertools.pairwise(committees)]
    kept = [change for change in every if data.draw(st.booleans())]
    document = ChainedCertificate(tuple(kept), certificate_in(committees[-1]))
    trusted = Trusted(committees[0])
    found = follow(trusted, document, LATER_US)
    if isinstance(found, Followed):
        assert found.trusted == Trusted(committees[-1], document.certificate)
    else:
        assert len(kept) < len(every) and found.missing is not None
        first, last = found.missing
        assert 1 <= first <= last == len(committees) - 1
    whole = replace(document, changes=tuple(every))
    assert isinstance(follow(trusted, whole, LATER_US), Followed)


def test_what_is_believed_is_kept_and_read_again() -> None:
    chain = rolling(3)
    found = chain.drive(client_for(chain))
    for trusted in (found.trusted, Trusted(chain.committees[0])):
        text = encode_light(trusted)
        assert decode_light(text) == trusted and encode_light(decode_light(text)) == text
        assert b'"format":"quorum-light-1"' in text and b" " not in text


@pytest.mark.parametrize("change", ["extra", "signer", "committee", "cut", "large", "number"])
def test_a_memory_that_is_none_is_refused(change: str) -> None:
    committee = committee_with(FOUR, 2)
    text = encode_light(Trusted(committee, certificate_in(committee))).decode()
    spoilt = {
        "extra": text[:-1] + ',"extra":1}',
        "signer": text.replace('"n2":"', '"n2":"AAAA', 1),
        "committee": text.replace('"faults":1', '"faults":0', 1),
        "cut": text[:-30],
        "large": text + " " * (3 << 20),
        "number": text.replace('"faults":1', f'"faults":{10**30}', 1),
    }[change]
    with pytest.raises(ConfigurationError, match=r"Give the file as it was written|Use |Add "):
        decode_light(spoilt)


def test_quorums_in_the_tests_are_quorums() -> None:
    for size in (1, 4, 5, 7, 10):
        committee = committee_with([f"n{number:02}" for number in range(size)], 0)
        assert committee.system.is_write_quorum(frozenset(quorum_of(committee)))
        assert not committee.system.is_write_quorum(frozenset(quorum_of(committee)[1:]))
