"""Who leaves or joins next where members may lie: by evidence, by T+1 complaints, never below 3T+1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.certificate.complaint import Complaint
from quorum.membership.committee_policy import (
    Held,
    Oversight,
    floor_of,
    no_adaptivity,
    usual_policy,
    wish_of,
)
from quorum.membership.complaints import AGE_BLOCKS_MAX, ComplaintBook
from quorum.membership.observation import Limits, Observation

FIVE = ("n1", "n2", "n3", "n4", "n5")
FOUR = FIVE[:4]
LIMITS = Limits(hold_us=10, stable_us=10)


@pytest.mark.parametrize(("nodes", "faults"), [(5, 1), (6, 1), (8, 2), (11, 3)])
def test_adaptive_is_the_usual_policy_where_somebody_can_leave(nodes: int, faults: int):
    assert usual_policy(nodes, faults) == "adaptive"


@pytest.mark.parametrize(("nodes", "faults"), [(4, 1), (7, 2), (10, 3), (4, 0), (1, 0)])
def test_fixed_is_the_usual_policy_where_nobody_can_or_the_committee_is_small(nodes: int, faults: int):
    assert usual_policy(nodes, faults) == "fixed"


def test_a_liar_leaves_before_a_slow_member_and_several_in_the_order_of_complaints():
    assert wish_of(Held(FIVE, 1, liars=("n5", "n4"), considered=("n1",))).leaves == "n4"
    assert wish_of(Held(FIVE, 1, considered=("n3", "n2"))).leaves == "n3"
    assert wish_of(Held(FIVE, 1, liars=("n3",), considered=("n9", "n2"))).leaves == "n3"


def test_nobody_leaves_a_committee_of_3t_plus_1_and_the_refusal_says_why_and_what_to_do():
    wish = wish_of(Held(FOUR, 1, liars=("n4",), considered=("n2",)))
    assert wish.leaves is None
    assert "n4 was to leave" in wish.refused
    assert "T=1 needs 3T+1=4" in wish.refused
    assert "quorum admit" in wish.refused


def test_at_the_floor_whoever_is_well_again_comes_back_first_so_that_a_liar_can_leave():
    wish = wish_of(Held(FOUR, 1, liars=("n4",), ready=("n5",)))
    assert (wish.leaves, wish.joins) == (None, "n5")
    assert "n4 was to leave" in wish.refused
    assert wish_of(Held(FIVE, 1, liars=("n4",))).leaves == "n4"


def test_one_joins_at_a_time_and_only_when_nobody_has_to_leave():
    assert wish_of(Held(FIVE, 1, ready=("n7", "n6"))).joins == "n6"
    wish = wish_of(Held(FIVE, 1, considered=("n1",), ready=("n6",)))
    assert (wish.leaves, wish.joins) == ("n1", None)


def test_that_no_adaptivity_is_left_is_said_at_the_floor_and_nowhere_else():
    assert "no adaptivity is left" in no_adaptivity(4, 1)
    assert no_adaptivity(5, 1) == ""


nodes = st.sampled_from([f"n{number}" for number in range(1, 12)])


@given(
    st.sets(nodes, min_size=1),
    st.integers(0, 3),
    st.sets(nodes),
    st.sets(nodes),
    st.sets(nodes),
)
def test_whatever_is_held_one_member_moves_at_most_for_a_reason_and_3t_plus_1_stay(
    members: set[str], faults: int, liars: set[str], considered: set[str], ready: set[str]
):
    held = Held(tuple(sorted(members)), faults, tuple(liars), tuple(considered), tuple(ready))
    wish = wish_of(held)
    wanted = set(wish.members(held.members))
    assert len(wanted ^ members) <= 1
    if wish.leaves is not None:
        assert wish.leaves in liars | considered
        assert len(wanted) >= floor_of(faults)
    if wish.joins is not None:
        assert wish.joins in ready - members


@given(st.permutations(["n5", "n4", "n2"]), st.permutations(["n1", "n3"]))
def test_members_that_hold_the_same_want_the_same(liars: list[str], considered: list[str]):
    assert wish_of(Held(FIVE, 1, tuple(liars), tuple(considered))).leaves == "n2"


def looked(oversight: Oversight, book: ComplaintBook, now_us: int, height: int = 0, **bad: float) -> list:
    seen = [Observation(node, phi=bad.get(node, 0.0)) for node in FIVE if node != "n1"]
    return oversight.step("n1", book, FIVE, seen, height, now_us)


def take(book: ComplaintBook, words: list[tuple[str, bool]], number: int, height: int = 0) -> None:
    for accused, stands in words:
        book.take(Complaint("n1", accused, 1, height, number, stands, b""))


def test_a_member_complains_once_a_suspicion_has_lasted_and_takes_it_back_when_it_is_over():
    oversight, book = Oversight(LIMITS), ComplaintBook(1, FIVE, 1)
    assert looked(oversight, book, 0, n5=99) == []
    words = looked(oversight, book, 10, n5=99)
    assert words == [("n5", True)]
    take(book, words, 1)
    assert looked(oversight, book, 11, n5=99) == []
    assert looked(oversight, book, 12) == [("n5", False)]


def test_a_complaint_that_ages_is_said_again():
    oversight, book = Oversight(LIMITS), ComplaintBook(1, FIVE, 1)
    looked(oversight, book, 0, n5=99)
    take(book, looked(oversight, book, 10, n5=99), 1)
    assert looked(oversight, book, 20, AGE_BLOCKS_MAX // 2, n5=99) == []
    assert looked(oversight, book, 30, AGE_BLOCKS_MAX // 2 + 1, n5=99) == [("n5", True)]


def test_nobody_complains_of_itself_nor_of_a_liar_for_whom_there_is_evidence():
    oversight, book = Oversight(LIMITS), ComplaintBook(1, FIVE, 1)
    seen = [Observation(node, lied=node == "n5") for node in FIVE]
    assert oversight.step("n1", book, FIVE, seen, 0, 0) == []
    assert oversight.step("n1", book, FIVE, seen, 0, 99) == []
