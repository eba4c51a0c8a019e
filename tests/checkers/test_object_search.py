"""The search for a linearization of any object, against a search by brute force, and its honesty at the budget."""

from __future__ import annotations

from itertools import permutations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.checkers.object_search import Interval, check_object

Call = tuple[str, int, Any]
"""("add" or "get", argument, what was told)."""


class Sum:
    """A number to which commands add modulo 4; they tell the new sum."""

    def __init__(self, calls: list[Call]) -> None:
        self.calls = calls
        self.value = 0

    def state(self) -> int:
        return self.value

    def save(self) -> int:
        return self.value

    def restore(self, saved: int) -> None:
        self.value = saved

    def take(self, operation: int) -> bool:
        _, n, told = self.calls[operation]
        self.value = (self.value + n) % 4
        return told is None or told == self.value

    def fits(self, operation: int) -> bool:
        return self.calls[operation][2] == self.value


def judge(intervals: list[Interval], calls: list[Call], steps_max: int = 100_000) -> str:
    return check_object(intervals, Sum(calls), steps_max).verdict


def by_brute_force(intervals: list[Interval], calls: list[Call]) -> bool:
    """Try every order of every choice of the unknown commands."""
    known = [i for i, each in enumerate(intervals) if each.completed is not None]
    unknown = [i for i, each in enumerate(intervals) if each.completed is None and not each.is_query]
    for choice in range(1 << len(unknown)):
        chosen = known + [i for bit, i in enumerate(unknown) if choice >> bit & 1]
        for order in permutations(chosen):
            model = Sum(calls)
            place = {i: at for at, i in enumerate(order)}
            in_order = all(
                intervals[a].completed is None
                or intervals[a].completed > intervals[b].invoked
                or place[a] < place[b]
                for a in order
                for b in order
            )
            if in_order and all(model.fits(i) if intervals[i].is_query else model.take(i) for i in order):
                return True
    return False


@st.composite
def histories(draw: Any) -> tuple[list[Interval], list[Call]]:
    count = draw(st.integers(1, 5))
    ranks = draw(st.permutations(range(2 * count)))
    intervals, calls = [], []
    for i in range(count):
        begin, end = sorted(ranks[2 * i : 2 * i + 2])
        is_query, is_known = draw(st.booleans()), draw(st.integers(0, 3)) > 0
        told = draw(st.integers(0, 3)) if is_known else None
        intervals.append(Interval(begin, end if is_known else None, is_query, draw(st.integers(0, 9))))
        calls.append(("get" if is_query else "add", draw(st.integers(0, 3)), told))
    return intervals, calls


@given(histories())
@settings(max_examples=400, deadline=None)
def test_the_verdict_is_that_of_trying_every_order(history):
    intervals, calls = history
    assert (judge(intervals, calls) == "linearizable") == by_brute_force(intervals, calls)


def test_a_read_of_an_old_state_after_a_write_is_not_linearizable():
    intervals = [Interval(0, 1, False), Interval(2, 3, True)]
    verdict = check_object(intervals, Sum([("add", 1, 1), ("get", 0, 0)]))
    assert verdict.verdict == "not linearizable" and not verdict
    assert (verdict.linearized, verdict.blocked) == ((0,), (1,))


def test_a_command_of_unknown_outcome_may_happen_late_or_never():
    unknown = Interval(0, None, False)
    assert judge([unknown, Interval(1, 2, True), Interval(3, 4, True)], [("", 1, None), ("", 0, 0), ("", 0, 1)])
    assert judge([unknown, Interval(1, 2, True)], [("", 1, None), ("", 0, 0)]) == "linearizable"
    told = [("", 1, None), ("", 0, 1), ("", 0, 0)]
    assert judge([unknown, Interval(1, 2, True), Interval(3, 4, True)], told) == "not linearizable"


def test_a_hint_changes_how_long_it_takes_and_not_the_verdict():
    count = 12
    calls: list[Call] = [("add", 1, (i + 1) % 4) for i in range(count)]
    straight = [Interval(i, 100 + i, False, i) for i in range(count)]
    backwards = [Interval(i, 100 + i, False, -i) for i in range(count)]
    quick, slow = check_object(straight, Sum(calls)), check_object(backwards, Sum(calls))
    assert quick.verdict == slow.verdict == "linearizable"
    assert quick.steps <= slow.steps


def test_a_search_that_is_cut_short_says_that_it_does_not_know():
    count = 9
    calls: list[Call] = [("add", 1, None) for _ in range(count)] + [("get", 0, 9)]
    intervals = [Interval(i, 100 + i, False) for i in range(count)] + [Interval(200, 201, True)]
    assert judge(intervals, calls, steps_max=50) == "undecided"
    assert judge(intervals, calls) == "not linearizable"
