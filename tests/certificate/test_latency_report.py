"""Reports of round trips are signed for one meaning, one epoch and one cluster; a first primary changes what is
signed."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from quorum.certificate.approval import Change, pack_change, unpack_change
from quorum.certificate.committee import Committee, Member, check_members
from quorum.certificate.genesis import committee_of, document_of
from quorum.certificate.latency_report import (
    TOOK_US_MAX,
    LatencyReport,
    flaws_of_report,
    latency_statement,
    rows_of,
)
from quorum.errors import ConfigurationError
from quorum.membership.latency import RoundTrips

MEMBERS = tuple(Member(f"n{number}", bytes([number]) * 32) for number in range(1, 5))
COMMITTEE = Committee("c", 3, MEMBERS, 1)
REPORT = LatencyReport("n1", 3, 7, (("n2", 900), ("n4", 5_000)), b"")


@pytest.mark.parametrize(
    "other", [{"number": 8}, {"took_us": (("n2", 901), ("n4", 5_000))}, {"took_us": ()}], ids=str
)
def test_a_report_signs_what_was_measured_and_when(other: dict[str, object]):
    assert latency_statement(replace(REPORT, **other), COMMITTEE) != latency_statement(REPORT, COMMITTEE)


def test_a_report_of_another_epoch_or_cluster_is_another_statement():
    for committee in (replace(COMMITTEE, epoch=4), replace(COMMITTEE, cluster="d")):
        assert latency_statement(REPORT, committee) != latency_statement(REPORT, COMMITTEE)


@pytest.mark.parametrize(
    ("other", "flaw"),
    [
        ({"epoch": 2}, "none of epoch 3"),
        ({"by": "x"}, "by a stranger"),
        ({"took_us": (("n4", 1), ("n2", 1))}, "in order"),
        ({"took_us": (("n2", 1), ("n2", 2))}, "in order"),
        ({"took_us": tuple((f"n{number}", 1) for number in range(1, 5))}, "once at most"),
        ({"took_us": (("n1", 1),)}, "on itself"),
        ({"took_us": (("x", 1),)}, "on a stranger"),
        ({"took_us": (("n2", -1),)}, "numbers"),
        ({"took_us": (("n2", TOOK_US_MAX + 1),)}, "numbers"),
        ({"number": -1}, "numbers"),
        ({"number": 1 << 64}, "numbers"),
    ],
    ids=str,
)
def test_a_report_that_is_none_of_this_committee_is_refused_before_its_signature_is_checked(
    other: dict[str, object], flaw: str
):
    assert flaw in flaws_of_report(replace(REPORT, **other), COMMITTEE)


def test_a_report_in_form_has_no_flaws_and_becomes_a_row():
    assert flaws_of_report(REPORT, COMMITTEE) == ""
    assert rows_of([REPORT]) == {"n1": {"n2": 900, "n4": 5_000}}


def test_whatever_an_honest_member_measures_may_be_reported():
    trips = RoundTrips()
    trips.took("n2", 1 << 60, 0)
    assert flaws_of_report(replace(REPORT, took_us=tuple(trips.row(0).items())), COMMITTEE) == ""


# The first primary of a committee.


def test_a_committee_that_names_no_primary_is_signed_as_if_there_were_no_such_field():
    fields = (COMMITTEE.cluster, COMMITTEE.epoch, COMMITTEE.members, COMMITTEE.faults, COMMITTEE.quorums)
    assert COMMITTEE.packed == msgspec.msgpack.encode(fields)
    assert replace(COMMITTEE, primary="n2").membership_hash != COMMITTEE.membership_hash


@pytest.mark.parametrize("primary", ["", "n3"])
def test_a_committee_is_read_as_it_was_written_in_blocks_and_in_documents(primary: str):
    committee = replace(COMMITTEE, primary=primary)
    assert unpack_change(pack_change(Change(committee, ()))).committee == committee
    assert committee_of(document_of(committee)) == committee


def test_a_committee_with_an_empty_primary_written_out_is_not_in_the_form_that_is_its_own():
    first, second = pack_change(Change(COMMITTEE, ()))
    written_out = first.removesuffix(COMMITTEE.packed) + msgspec.msgpack.encode(COMMITTEE)
    assert written_out != first
    with pytest.raises(ValueError, match="form"):
        unpack_change((written_out, second))


def test_who_leads_first_is_a_member(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("quorum.certificate.committee.check_public_key", lambda node, key: None)
    check_members(replace(COMMITTEE, primary="n3"))
    with pytest.raises(ConfigurationError, match="no member of it"):
        check_members(replace(COMMITTEE, primary="n9"))
