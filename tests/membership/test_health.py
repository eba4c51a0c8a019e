"""Suspicions and returns that have to last, and what people are told about them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.membership.health import BEHIND, LATE, LIED, UNREACHABLE, HealthBook
from quorum.membership.observation import Limits, Observation

S = 1_000_000
LIMITS = Limits(hold_us=10 * S, stable_us=10 * S, stable_max_us=80 * S, forgive_us=600 * S)
BAD = Observation("b", phi=9.0)
WELL = Observation("b")


class Watched:
    """One voter that is looked at every second."""

    def __init__(self, voters: tuple[str, ...] = ("a", "b")) -> None:
        self.book = HealthBook(LIMITS)
        self.voters = voters
        self.now_us = 0

    def see(self, seen: Observation, seconds: int = 1) -> bool:
        """Whether it is fit after being seen like this for so long."""
        for _ in range(seconds):
            self.book.see([seen], self.voters, self.now_us)
            self.now_us += S
        return "b" in self.book.fit


def unfit(book: HealthBook) -> tuple[tuple[str, str], ...]:
    """Who may not vote, and why."""
    return tuple((node, health.reason) for node, health in book.items() if not health.is_fit)


def test_a_suspicion_counts_once_it_has_lasted() -> None:
    watched = Watched()
    assert watched.see(WELL)
    assert watched.see(BAD, 10)
    assert not watched.see(BAD)
    assert unfit(watched.book) == (("b", UNREACHABLE),)


def test_one_good_moment_ends_a_suspicion() -> None:
    watched = Watched()
    for _ in range(20):
        assert watched.see(BAD, 9) and watched.see(WELL)


def test_who_did_not_catch_up_is_out_at_once_and_waits_twice_as_long_each_time() -> None:
    watched = Watched(voters=("a",))
    watched.see(WELL, 10)
    for wait_s in (20, 40, 80, 80):
        assert watched.see(WELL)
        watched.book.fall_short(["b", "stranger"], watched.now_us)
        assert unfit(watched.book) == (("b", BEHIND),)
        watched.book.fall_short(["b"], watched.now_us)
        assert not watched.see(WELL, wait_s)


def test_a_proven_lie_counts_at_once_and_for_ever() -> None:
    watched = Watched()
    assert watched.see(WELL)
    assert not watched.see(Observation("b", lied=True))
    assert not watched.see(WELL, 2_000)
    assert unfit(watched.book) == (("b", LIED),)


def test_who_was_out_returns_once_it_has_been_well_for_long_enough() -> None:
    watched = Watched()
    watched.see(BAD, 11)
    assert not watched.see(WELL, 10)
    assert watched.see(WELL)


def test_each_return_that_does_not_last_doubles_the_next_wait_up_to_a_limit() -> None:
    watched = Watched()
    watched.see(WELL)
    waits = []
    for _ in range(7):
        while watched.see(BAD):
            pass
        began_us = watched.now_us
        while not watched.see(WELL):
            pass
        waits.append((watched.now_us - began_us) // S - 1)
    assert waits == [10, 20, 40, 80, 80, 80, 80]


def test_a_return_that_lasts_is_forgiven() -> None:
    watched = Watched()
    for _ in range(3):
        watched.see(BAD, 11)
        watched.see(WELL, 100)
    watched.see(WELL, 601)
    watched.see(BAD, 11)
    watched.see(WELL, 10)
    assert watched.see(WELL)


def test_a_standby_has_to_show_first_that_it_is_well() -> None:
    watched = Watched(voters=("a",))
    assert not watched.see(WELL, 10)
    assert watched.see(WELL)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (Observation("b", phi=8.0), UNREACHABLE),
        (Observation("b", lag_entries=LIMITS.lag_entries_max + 1), BEHIND),
        (Observation("b", missed=0.51), LATE),
        (Observation("b", phi=7.9, lag_entries=LIMITS.lag_entries_max, missed=0.5, latency_us=10**9), ""),
    ],
)
def test_what_is_wrong_with_a_node_is_named(seen: Observation, reason: str) -> None:
    watched = Watched()
    watched.see(seen, 11)
    assert unfit(watched.book) == ((("b", reason),) if reason else ())


def test_people_are_told_since_when_and_what_brings_it_back() -> None:
    watched = Watched()
    watched.see(WELL, 5)
    assert "fit to vote for 4 s" in watched.book.explain("b", watched.now_us - S)
    watched.see(BAD, 4)
    assert "will be out in 7 s" in watched.book.explain("b", watched.now_us - S)
    watched.see(BAD, 10)
    assert "unreachable. It may return after 10 s of being well" in watched.book.explain("b", watched.now_us)
    watched.see(WELL, 4)
    assert "may return in 7 s" in watched.book.explain("b", watched.now_us - S)
    watched.see(Observation("b", lied=True))
    watched.see(WELL, 20)
    assert "proven to lie. Only another key" in watched.book.explain("b", watched.now_us)
    assert "no member" in watched.book.explain("z", watched.now_us)


@given(seen=st.lists(st.sampled_from([BAD, WELL]), max_size=300))
def test_nobody_is_out_who_was_not_badly_seen_for_the_whole_hold(seen: list[Observation]) -> None:
    """I1."""
    watched = Watched()
    was_fit = True
    for at, each in enumerate(seen):
        is_fit = watched.see(each)
        if was_fit and not is_fit:
            assert all(one is BAD for one in seen[at - 10 : at + 1]) and at >= 10
        if is_fit and not was_fit:
            assert all(one is WELL for one in seen[at - 10 : at + 1])
        was_fit = is_fit
