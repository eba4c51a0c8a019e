"""Complaints and readmissions are signed for one meaning, one epoch and one cluster."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from quorum.certificate.committee import Committee, Member
from quorum.certificate.complaint import Complaint, complaint_statement, flaws_of_complaint
from quorum.certificate.readmission import (
    Readmission,
    ShownState,
    is_in_form,
    readmission_statement,
    shown_statement,
)

MEMBERS = tuple(Member(f"n{number}", bytes([number]) * 32) for number in range(1, 5))
COMMITTEE = Committee("c", 3, MEMBERS, 1)
WORD = Complaint("n1", "n2", 3, 40, 7, True, b"")
ASKED = Readmission("n5", bytes(32), 4, b"", b"")
SHOWN = ShownState("n5", 1, 40, bytes(32), 32, bytes(32), b"")


@pytest.mark.parametrize(
    "other",
    [{"accused": "n3"}, {"height": 41}, {"number": 8}, {"stands": False}],
    ids=str,
)
def test_a_complaint_signs_whom_when_and_whether_it_stands(other: dict[str, object]):
    assert complaint_statement(replace(WORD, **other), COMMITTEE) != complaint_statement(WORD, COMMITTEE)


def test_a_complaint_of_another_epoch_or_cluster_is_another_statement():
    for committee in (replace(COMMITTEE, epoch=4), replace(COMMITTEE, cluster="d")):
        assert complaint_statement(WORD, committee) != complaint_statement(WORD, COMMITTEE)


@pytest.mark.parametrize(
    ("other", "flaw"),
    [
        ({"epoch": 2}, "none of epoch 3"),
        ({"by": "x"}, "stranger"),
        ({"accused": "x"}, "stranger"),
        ({"accused": "n1"}, "about itself"),
        ({"number": -1}, "numbers"),
        ({"height": 1 << 64}, "numbers"),
    ],
    ids=str,
)
def test_a_complaint_that_cannot_be_is_refused_before_its_signature_is_checked(
    other: dict[str, object], flaw: str
):
    assert flaws_of_complaint(WORD, COMMITTEE) == ""
    assert flaw in flaws_of_complaint(replace(WORD, **other), COMMITTEE)


@pytest.mark.parametrize("other", [{"node": "n6"}, {"public_key": bytes([1]) * 32}, {"since": 5}], ids=str)
def test_a_request_to_come_back_signs_who_with_which_key_and_since_when(other: dict[str, object]):
    assert readmission_statement(replace(ASKED, **other), "c") != readmission_statement(ASKED, "c")
    assert readmission_statement(ASKED, "d") != readmission_statement(ASKED, "c")


@pytest.mark.parametrize(
    "other",
    [
        {"node": "n6"},
        {"number": 2},
        {"height": 41},
        {"digest": bytes([1]) * 32},
        {"state_height": 33},
        {"state_root": bytes([1]) * 32},
    ],
    ids=str,
)
def test_what_is_shown_is_signed_whole(other: dict[str, object]):
    assert shown_statement(replace(SHOWN, **other), "c", 4) != shown_statement(SHOWN, "c", 4)
    assert shown_statement(SHOWN, "c", 5) != shown_statement(SHOWN, "c", 4)


def test_what_nobody_can_sign_is_in_no_form():
    assert is_in_form(SHOWN)
    assert not is_in_form(replace(SHOWN, digest=b""))
    assert not is_in_form(replace(SHOWN, height=-1))
