"""The control loop: its bound, its refusals, who takes part, and that all nodes decide the same."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.voting.control.channels import Channel, Reading
from quorum.voting.control.loop import ControlLoop, Decision, LoopState, agreement
from quorum.voting.control.trust import Hysteresis

TRUTH = 20.0
HALF = 0.5
TICK_US = 10_000


def loop_of(count: int = 3, degradation: str = "2oo3 2oo2", **other: Any) -> ControlLoop:
    return ControlLoop([Channel(name=f"c{at}", half_width=HALF) for at in range(count)], degradation, **other)


def readings(values: list[float | None], at_us: int = 0) -> list[Reading]:
    return [Reading(f"c{at}", at_us, value) for at, value in enumerate(values) if value is not None]


def run(loop: ControlLoop, rows: list[list[float | None]]) -> list[Decision]:
    return [loop.step(readings(row, at * TICK_US), at * TICK_US) for at, row in enumerate(rows)]


def test_a_channel_that_is_far_away_is_outvoted_named_and_then_evicted():
    loop = loop_of(hysteresis=Hysteresis(out=3, back=4))
    decisions = run(loop, [[20.0, 20.2, 85.0]] * 4)
    assert decisions[0].used == ("c0", "c1") and decisions[0].left_out == {"c2": "it disagrees"}
    assert not decisions[0].degraded and decisions[0].stage == "2oo3"
    assert loop.evicted == ("c2",)
    assert decisions[3].stage == "2oo2" and decisions[3].degraded
    assert decisions[3].left_out == {"c2": "it is evicted"}
    assert all(abs((decision.value or 0) - 20.1) < 0.2 for decision in decisions)


def test_an_evicted_channel_comes_back_after_it_was_right_long_enough_and_later_each_time():
    loop = loop_of(hysteresis=Hysteresis(out=2, back=3, forgive=100))
    wrong, right = [[20.0, 20.0, 85.0]] * 2, [[20.0, 20.0, 20.0]]
    run(loop, wrong)
    assert loop.evicted == ("c2",)
    run(loop, right * 3)
    assert loop.evicted == ()
    run(loop, wrong)
    run(loop, right * 5)
    assert loop.evicted == ("c2",), "it came back before, and did not stay"
    run(loop, right)
    assert loop.evicted == ()


def test_with_two_channels_that_disagree_it_refuses_or_widens_as_declared():
    rows: list[list[float | None]] = [[20.0, 30.0, None]]
    (both,) = run(loop_of(degradation="2oo3 2oo2"), rows)
    assert not both and both.refused == "no 2 of 2 channels agree" and both.degraded
    (either,) = run(loop_of(degradation="2oo3 1oo2"), rows)
    assert (either.low, either.high) == (19.5, 30.5) and either.value == 25.0


def test_below_the_last_stage_it_refuses_and_says_how_many_are_needed():
    (decision,) = run(loop_of(), [[20.0, None, None]])
    assert not decision and decision.value is None
    assert decision.refused == "1 channels are valid, and 2 are needed at least"
    assert decision.left_out == {"c1": "it did not answer", "c2": "it did not answer"}


def test_between_two_stages_each_channel_more_must_agree_too():
    loop = loop_of(5, "3oo5 2oo3")
    (decision,) = run(loop, [[20.0, 20.0, 20.0, 20.0, None]])
    assert decision.stage == "3oo4", "one wrong of four is outvoted, as of three"


@settings(max_examples=100, deadline=None)
@given(
    faults=st.integers(1, 3),
    spare=st.integers(0, 2),
    lies=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3),
    seed=st.integers(0, 10**6),
    precision=st.booleans(),
)
def test_t_liars_anywhere_cannot_push_the_output_off_what_right_channels_hold_for_possible(
    faults: int, spare: int, lies: list[float], seed: int, precision: bool
):
    random = Random(seed)
    count = 2 * faults + 1 + spare
    agree = count - faults
    right = [TRUTH + random.uniform(-HALF, HALF) for _ in range(count - faults)]
    values: list[float | None] = [*right, *lies[:faults]]
    random.shuffle(values)
    (decision,) = run(loop_of(count, f"{agree}oo{count}", precision=precision), [values])
    assert decision.value is not None and decision.low is not None and decision.high is not None
    assert decision.low <= TRUTH <= decision.high, "every right channel holds the truth for possible"
    assert min(right) - HALF <= decision.low <= decision.value <= decision.high <= max(right) + HALF


@settings(max_examples=50, deadline=None)
@given(faults=st.integers(1, 3))
def test_one_liar_more_than_the_bound_can_push_the_output_anywhere(faults: int):
    count = 2 * faults + 1
    values: list[float | None] = [TRUTH] * faults + [1e6] * (faults + 1)
    (decision,) = run(loop_of(count, f"{faults + 1}oo{count}"), [values])
    assert decision.value is not None and decision.value > 1e5


def test_with_precision_the_surer_channel_counts_more_and_a_liar_counts_nothing():
    channels = [Channel(name=f"c{at}", half_width=half) for at, half in enumerate((0.1, 1.0, 1e-9))]
    loop = ControlLoop(channels, "2oo3 2oo2", precision=True)
    (decision,) = run(loop, [[20.0, 20.9, 85.0]])
    assert decision.value is not None and 20.0 < decision.value < 20.05, "by 1/0.01 to 1/1"
    assert decision.used == ("c0", "c1")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_nodes_that_are_given_the_same_readings_decide_the_same_bit_for_bit(seed: int):
    random = Random(seed)
    one, other = (loop_of(5, "3oo5 2oo3 1oo1", precision=True) for _ in range(2))
    for at in range(60):
        values = [None if random.random() < 0.2 else random.choice((20.0, 20.3, 90.0)) for _ in range(5)]
        given_now = readings(values, at * TICK_US)
        again = given_now[:]
        random.shuffle(again)
        assert one.step(given_now, at * TICK_US) == other.step(again, at * TICK_US)
    assert one.evicted == other.evicted


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), at=st.integers(0, 30))
def test_a_loop_goes_on_from_the_state_of_another_one_as_if_it_were_that(seed: int, at: int):
    random = Random(seed)
    rows = [[random.choice((None, 20.0, 20.3, 90.0)) for _ in range(4)] for _ in range(60)]

    def fresh() -> ControlLoop:
        channels = [Channel(name=f"c{n}", half_width=HALF, rate=500.0, stuck_ticks=4) for n in range(4)]
        return ControlLoop(channels, "3oo4 2oo2 1oo1", Hysteresis(out=2, back=3, forgive=20))

    whole, first, second = fresh(), fresh(), fresh()
    decided = run(whole, rows)
    run(first, rows[:at])
    second.resume(msgspec.msgpack.decode(msgspec.msgpack.encode(first.state()), type=LoopState))
    for place, row in enumerate(rows[at:], at):
        assert second.step(readings(row, place * TICK_US), place * TICK_US) == decided[place]
    assert second.state() == whole.state()


def test_the_state_of_another_loop_is_refused():
    with pytest.raises(ConfigurationError, match="same loop"):
        loop_of(3).resume(loop_of(4, "3oo4").state())


def test_without_an_output_nobody_who_answered_is_called_wrong():
    loop = loop_of(hysteresis=Hysteresis(out=1))
    run(loop, [[10.0, 20.0, 30.0]] * 5)
    assert loop.evicted == ()


def test_of_several_readings_of_a_channel_the_newest_counts_and_strangers_count_for_nothing():
    loop = loop_of()
    given_now = [*readings([20.0, 20.0, 20.0], 5), Reading("c0", 3, 99.0), Reading("x", 9, 99.0)]
    decision = loop.step(given_now, 10)
    assert decision.used == ("c0", "c1", "c2")


def test_channels_of_different_kinds_are_joined_in_one_decision():
    """A thermometer, a range from a model, the third axis of a sensor, and what a classifier of pictures
    thinks."""
    channels = [
        Channel(name="thermometer", half_width=0.5),
        Channel(name="model", kind="interval"),
        Channel(name="vector", kind="vector", projection=(0.0, 0.0, 0.1), half_width=1.0),
        Channel(name="picture", kind="classes", classes={"cold": (-10, 15), "warm": (15, 30), "hot": (30, 90)}),
    ]
    loop = ControlLoop(channels, "3oo4 2oo3")
    decision = loop.step(
        [
            Reading("thermometer", 0, 20.0),
            Reading("model", 0, (18.0, 21.0)),
            Reading("vector", 0, (5.0, 1.0, 900.0)),
            Reading("picture", 0, {"warm": 0.95, "hot": 0.05}),
        ],
        0,
    )
    assert decision.used == ("thermometer", "model", "picture")
    assert decision.left_out == {"vector": "it disagrees"}
    assert (decision.low, decision.high) == (19.5, 20.5)


def test_agreement_is_where_enough_intervals_meet_end_points_included():
    assert agreement([(0, 1), (1, 2), (5, 6)], 2) == (1, 1)
    assert agreement([(0, 1), (2, 3)], 2) is None
    assert agreement([(0, 1), (5, 6)], 1) == (0, 6)


@pytest.mark.parametrize(
    ("channels", "degradation", "said"),
    [
        (["a", "a", "b"], "2oo3", "two channels of one name"),
        (["a", "b", "c"], "", "stages go down"),
        (["a", "b", "c"], "2oo4", "stages go down"),
        (["a", "b", "c"], "2oo2 2oo3", "stages go down"),
        (["a", "b", "c"], "4oo3", "no K of N"),
        (["a", "b", "c"], "two of three", "no K of N"),
    ],
)
def test_a_loop_that_could_not_decide_is_refused_with_a_remedy(channels: list[str], degradation: str, said: str):
    with pytest.raises(ConfigurationError, match=said):
        ControlLoop([Channel(name=name, half_width=HALF) for name in channels], degradation)


@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_channels_of_numbers_say_how_far_they_may_be_apart_and_nothing_is_assumed(kind: str):
    axes = {"kind": "vector", "projection": (1.0,)} if kind == "vector" else {}
    with pytest.raises(ConfigurationError, match=r"'a' and 'c' .*without half_width.* never agree"):
        ControlLoop([Channel(name="a"), Channel(name="b", half_width=HALF), Channel(name="c", **axes)], "2oo3")


def test_a_half_width_of_0_that_is_said_means_equal_values():
    loop = ControlLoop([Channel(name=name, half_width=0.0) for name in ("c0", "c1", "c2")], "2oo3")
    assert loop.step(readings([20.0, 20.0, 20.1]), 0).used == ("c0", "c1")
    assert not loop.step(readings([20.0, 20.1, 20.2]), TICK_US)


def test_one_number_beside_intervals_needs_no_half_width():
    loop = ControlLoop([Channel(name="c0"), Channel(name="c1", kind="interval")], "2oo2")
    assert loop.step([Reading("c0", 0, 20.0), Reading("c1", 0, (19.0, 21.0))], 0).value == 20.0


def test_a_hysteresis_without_counts_is_refused():
    with pytest.raises(ConfigurationError, match="back_max"):
        loop_of(hysteresis=Hysteresis(out=0))


def test_silence_of_who_is_excused_is_not_held_against_it_but_what_it_says_is():
    """A tick that was decided without waiting for all."""
    loop = loop_of(hysteresis=Hysteresis(out=2, back=3))
    everybody = [channel.name for channel in loop.channels]
    for tick in range(4):
        loop.step(readings([20.0, 20.0, None]), tick * TICK_US, everybody)
    assert loop.evicted == ()
    for tick in range(4, 6):
        loop.step(readings([20.0, 20.0, 85.0]), tick * TICK_US, everybody)
    assert loop.evicted == ("c2",)


def test_channels_that_were_all_evicted_come_back_once_they_agree_again():
    loop = loop_of(hysteresis=Hysteresis(out=2, back=3))
    for tick in range(4):
        loop.step([], tick * TICK_US)
    assert set(loop.evicted) == {"c0", "c1", "c2"}
    refused = [loop.step(readings([20.0, 20.1, 85.0]), tick * TICK_US) for tick in range(4, 7)]
    assert not any(refused), "who is evicted decides nothing"
    assert loop.evicted == ("c2",)
    assert loop.step(readings([20.0, 20.1, 85.0]), 7 * TICK_US).used == ("c0", "c1")


def test_intervals_too_narrow_to_be_weighted_are_not():
    channels = [Channel(name=f"c{at}", kind="interval") for at in range(3)]
    loop = ControlLoop(channels, "2oo3", precision=True)
    narrow = (0.0, 1e-200)
    decision = loop.step([Reading(f"c{at}", 0, narrow) for at in range(3)], 0)
    assert decision.value is not None and 0.0 <= decision.value <= 1e-200
