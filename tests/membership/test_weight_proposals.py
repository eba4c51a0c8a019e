"""Which proposals of other weights a member takes up: by the reports of N-T members, in time, and few."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from quorum.certificate.committee import Committee, Member
from quorum.certificate.latency_report import LatencyReport
from quorum.membership.weight_proposals import (
    APPROVED_MAX,
    MEMBERS_MAX,
    OLD_REPORTS,
    WeightProposals,
    following_from,
)

NAMES = ("n1", "n2", "n3", "n4", "n5")
COMMITTEE = Committee("c", 4, tuple(Member(name, bytes([at]) * 32) for at, name in enumerate(NAMES)), 1)
PERIOD_US, REPORT_US = 1_000, 10
OLD_US = OLD_REPORTS * REPORT_US
LATE_US = 50_000
"""Long after the epoch began."""


def report(by: str, number: int = 1_000_000, near: tuple[str, ...] = NAMES[:3]) -> LatencyReport:
    took = tuple((other, 10_000 if {by, other} <= set(near) else 200_000) for other in NAMES if other != by)
    return LatencyReport(by, COMMITTEE.epoch, number, took, b"")


REPORTS = tuple(report(name) for name in NAMES)


def proposals(since_us: int = 0, committee: Committee = COMMITTEE) -> WeightProposals:
    return WeightProposals(committee, since_us, PERIOD_US, REPORT_US)


def test_reports_of_all_but_t_members_in_order_are_taken_up():
    assert proposals().why_not("n1", REPORTS, LATE_US) == ""
    assert proposals().why_not("n1", REPORTS[1:], LATE_US) == ""


@pytest.mark.parametrize(
    ("reports", "why"),
    [
        (REPORTS[:3], "3 members report, and 4 should"),
        ((), "0 members report, and 4 should"),
        ((*REPORTS[:4], REPORTS[3]), "one member each"),
        (REPORTS[::-1], "one member each"),
        ((*REPORTS[:4], replace(REPORTS[4], by="x")), "one member each"),
    ],
    ids=["too few", "none", "one twice", "out of order", "a stranger"],
)
def test_fewer_or_other_reports_are_not(reports: tuple[LatencyReport, ...], why: str):
    assert why in proposals().why_not("n1", reports, LATE_US)


def test_t_old_reports_may_be_a_liars_doing_and_one_more_is_the_primarys():
    held = proposals()
    for name in NAMES[:2]:
        held.take(report(name, 1_000_001 + OLD_US), LATE_US)
    assert "n1, n2 are old" in held.why_not("n3", REPORTS, LATE_US)
    assert held.why_not("n3", (report("n1", 1_000_001), *REPORTS[1:]), LATE_US) == "", "one is old, and T = 1"


def test_nothing_is_taken_up_before_half_a_period_nor_proposed_before_a_whole_one():
    fresh = proposals(LATE_US)
    assert "just begun" in fresh.why_not("n1", REPORTS, LATE_US + PERIOD_US // 2 - 1)
    assert fresh.why_not("n1", REPORTS, LATE_US + PERIOD_US // 2) == ""
    assert not fresh.looks(LATE_US + PERIOD_US - 1)
    assert fresh.looks(LATE_US + PERIOD_US)
    assert fresh.looks(LATE_US + PERIOD_US + 1), "it found too few reports, and did not look"


def test_a_primary_looks_once_in_a_period():
    held = proposals()
    held.looked(LATE_US)
    assert not held.looks(LATE_US + PERIOD_US - 1)
    assert held.looks(LATE_US + PERIOD_US)


def test_each_primary_is_heeded_once_in_half_a_period_and_few_committees_are_approved_of():
    held = proposals()
    held.heed("n1", LATE_US)
    assert "n1 proposed other weights just now" in held.why_not("n1", REPORTS, LATE_US + PERIOD_US // 2 - 1)
    assert held.why_not("n1", REPORTS, LATE_US + PERIOD_US // 2) == ""
    for _ in range(APPROVED_MAX):
        assert held.why_not("n2", REPORTS, LATE_US) == "" and held.looks(LATE_US)
        held.approved()
    assert "approved of in epoch 4 before" in held.why_not("n2", REPORTS, LATE_US)
    assert not held.looks(LATE_US), "what this one proposed could not have its own approval"


def test_the_newest_report_of_each_counts_while_it_is_fresh():
    held = proposals()
    held.take(report("n2", 7), 100)
    held.take(report("n1", 9), 100)
    held.take(report("n2", 6), 150)
    assert held.fresh(100 + OLD_US) == (report("n1", 9), report("n2", 7))
    assert held.fresh(101 + OLD_US) == ()
    assert held.is_news(report("n2", 8), 150) and not held.is_news(report("n2", 7), 150)
    assert held.holds(report("n2", 7)) and not held.holds(report("n2", 7, NAMES))


def test_a_member_whose_clock_was_set_back_is_heard_again():
    held = proposals()
    held.take(report("n2", 7), 100)
    held.take(report("n2", 3), 100 + OLD_US)
    assert held.holds(report("n2", 7)), "it may be a late message"
    held.take(report("n2", 4), 101 + OLD_US)
    assert held.fresh(101 + OLD_US) == (report("n2", 4),)


def test_a_very_large_committee_is_left_as_it_is_whatever_its_primary_proposes():
    members = tuple(Member(f"n{at:04}", at.to_bytes(32, "big")) for at in range(MEMBERS_MAX + 1))
    held = proposals(0, Committee("c", 1, members, 33))
    reports = tuple(LatencyReport(member.node, 1, 1, (), b"") for member in members)
    assert not held.looks(LATE_US)
    assert "keeps its weights" in held.why_not("n0000", reports, LATE_US)


def test_the_next_committee_names_weights_and_the_first_primary():
    weighed = following_from(COMMITTEE, "n5", REPORTS)
    assert weighed is not None
    committee = weighed.committee
    assert (committee.epoch, committee.nodes, committee.faults) == (5, NAMES, 1)
    assert committee.primary in NAMES[:3]
    assert {member.node for member in committee.members if member.weight == 2} < set(NAMES[:3])
    assert committee.keys == COMMITTEE.keys


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_whoever_has_the_same_reports_computes_the_same(seed: int):
    random = Random(seed)
    near = tuple(random.sample(NAMES, 3))
    reports = [report(name, near=near) for name in random.sample(NAMES, 4)]
    found = following_from(COMMITTEE, "n1", reports)
    random.shuffle(reports)
    again = following_from(replace(COMMITTEE), "n1", reports)
    assert found == again
