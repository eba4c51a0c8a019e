"""Epochs: the last committee is trusted because the first one is, step by step."""

from __future__ import annotations

import itertools

import msgspec

from certificate.committees import committee_of, header_of, signed_by
from quorum.certificate.committee import Committee
from quorum.certificate.epochs import EpochChange, epoch_request, verify_epochs
from quorum.certificate.merkle import leaf_of, path_of

GENESIS = committee_of(4)


def change(old: Committee, new: Committee, signers: tuple[str, ...] | None = None) -> EpochChange:
    requests = [b"before", epoch_request(new), b"after"]
    header = header_of(old, requests, sequence=old.epoch + 9)
    signed = signed_by(signers or old.nodes[:-1], old, header)
    return EpochChange(new, signed, 1, path_of([leaf_of(request) for request in requests], 1))


def chain(length: int) -> list[EpochChange]:
    committees = [GENESIS]
    for epoch in range(1, length + 1):
        committees.append(committee_of(4, epoch=epoch, first=1 + epoch))
    return [change(old, new) for old, new in itertools.pairwise(committees)]


def test_the_last_committee_is_reached_although_no_first_member_is_left() -> None:
    changes = chain(6)
    last, verdict = verify_epochs(GENESIS, changes)
    assert verdict.valid and last.epoch == 6
    assert not set(last.nodes) & set(GENESIS.nodes)
    assert verify_epochs(GENESIS, []) == (GENESIS, verdict)


def test_a_missing_or_swapped_step_breaks_the_chain_where_it_is() -> None:
    changes = chain(4)
    for broken in ([*changes[:2], changes[3]], [changes[0], changes[2], changes[1]], changes[1:]):
        last, verdict = verify_epochs(GENESIS, broken)
        assert not verdict.valid
        assert f"the change from epoch {last.epoch} does not hold" in verdict.reasons[0]


def test_a_committee_that_the_old_one_did_not_sign_is_refused() -> None:
    new = committee_of(4, epoch=1)
    honest = change(GENESIS, new)
    too_few = change(GENESIS, new, GENESIS.nodes[:2])
    other = msgspec.structs.replace(honest, committee=committee_of(5, epoch=1))
    jumps = change(GENESIS, committee_of(4, epoch=2))
    elsewhere = change(GENESIS, msgspec.structs.replace(new, cluster="q-other"))
    unsafe = change(GENESIS, committee_of(4, faults=2, epoch=1))
    misplaced = msgspec.structs.replace(honest, place=0)
    assert verify_epochs(GENESIS, [honest])[1].valid
    for step, words in (
        (too_few, "no quorum"),
        (other, "not in the block"),
        (jumps, "leads to epoch 2"),
        (elsewhere, "q-other"),
        (unsafe, "could not decide"),
        (misplaced, "not in the block"),
    ):
        last, verdict = verify_epochs(GENESIS, [step])
        assert not verdict.valid and last is GENESIS
        assert words in verdict.reasons[0]
