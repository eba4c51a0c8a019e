"""Who comes back: after showing without a break that it is well, later with every return that did not last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quorum.membership.observation import Limits
from quorum.membership.returning import Returns

LIMITS = Limits(stable_us=100, stable_max_us=800, forgive_us=1_000)
BREAK_US = 30


def shown_through(returns: Returns, start_us: int, end_us: int, node: str = "n5") -> None:
    for now_us in range(start_us, end_us + 1, 10):
        returns.shows(node, True, now_us)


def test_nobody_is_ready_before_the_observation_period_is_over():
    returns = Returns(LIMITS, BREAK_US)
    returns.left("n5", 0)
    shown_through(returns, 0, 90)
    assert returns.ready(99) == ()
    assert returns.left_us("n5", 90) == 10
    shown_through(returns, 100, 100)
    assert returns.ready(100) == ("n5",)


def test_a_wrong_state_or_a_break_begins_the_period_anew():
    returns = Returns(LIMITS, BREAK_US)
    returns.left("n5", 0)
    shown_through(returns, 0, 90)
    returns.shows("n5", False, 95)
    shown_through(returns, 100, 190)
    assert returns.ready(190) == ()
    shown_through(returns, 240, 330)  # silent for longer than a break
    assert returns.ready(330) == ()
    assert returns.ready(331 + BREAK_US) == ()
    shown_through(returns, 340, 340)
    assert returns.ready(340) == ("n5",)


def test_the_period_doubles_with_each_return_that_did_not_last_up_to_a_bound_and_is_forgiven():
    returns = Returns(LIMITS, BREAK_US)
    periods = []
    for turn in range(5):
        returns.left("n5", turn * 10)
        periods.append(returns.period_us("n5"))
        returns.returned("n5", turn * 10 + 1)
    assert periods == [100, 200, 400, 800, 800]
    returns.left("n5", 10_000)
    assert returns.period_us("n5") == 100


def test_whoever_was_not_evicted_shows_in_vain():
    returns = Returns(LIMITS, BREAK_US)
    shown_through(returns, 0, 500)
    assert returns.ready(500) == ()
    assert returns.left_us("n5", 500) is None


@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=40))
def test_whoever_is_ready_showed_right_states_for_a_whole_period_without_a_break(shown: list[tuple[int, bool]]):
    returns, now_us, since_us, last_us = Returns(LIMITS, BREAK_US), 0, None, 0
    returns.left("n5", 0)
    for gap_us, is_right in shown:
        now_us += gap_us
        returns.shows("n5", is_right, now_us)
        is_broken = since_us is None or now_us - last_us > BREAK_US
        since_us = (now_us if is_broken else since_us) if is_right else None
        last_us = now_us
        assert bool(returns.ready(now_us)) == (since_us is not None and now_us - since_us >= 100)
