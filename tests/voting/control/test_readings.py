"""Which readings are valid, what each kind stands for, and when a tick is decided."""

from __future__ import annotations

from typing import Any

import pytest

from quorum.errors import ConfigurationError
from quorum.voting.control.channels import Channel, Reading, check_channel, interval_of
from quorum.voting.control.collector import Collector
from quorum.voting.control.gate import Gate
from quorum.voting.refused import Refused

CLASSES = {"cold": (-10.0, 15.0), "warm": (15.0, 30.0), "hot": (30.0, 90.0)}
SECOND_US = 1_000_000


def told(gate: Gate, value: Any, at_us: int = 0, now_us: int | None = None) -> str:
    found = gate.admit(Reading("c", at_us, value), at_us if now_us is None else now_us)
    return found.reason if isinstance(found, Refused) else ""


# The gate.


def test_an_old_reading_is_not_valid_nor_one_from_the_future():
    gate = Gate(Channel(name="c", age_us=100))
    assert told(gate, 1.0, 0, 100) == ""
    assert told(gate, 1.0, 0, 101) == "it is 101 us old"
    assert told(gate, 1.0, 201, 100) == "it is from the future"


def test_a_reading_out_of_range_is_not_valid():
    gate = Gate(Channel(name="c", low=-5.0, high=5.0))
    assert [told(gate, value) for value in (-5.0, 5.0)] == ["", ""]
    assert [told(gate, value) for value in (-5.1, 5.1)] == ["it is out of range"] * 2


def test_a_step_that_is_too_fast_is_told_once():
    gate = Gate(Channel(name="c", rate=2.0))
    assert told(gate, 10.0, 0) == ""
    assert told(gate, 12.0, SECOND_US) == ""
    assert told(gate, 20.0, 2 * SECOND_US) == "it changed too fast"
    assert told(gate, 21.0, 3 * SECOND_US) == ""


def test_a_reading_that_stays_the_same_is_stuck_until_it_moves():
    gate = Gate(Channel(name="c", stuck_ticks=3))
    assert [told(gate, 7.0) for _ in range(5)] == [
        "",
        "",
        "",
        "it is stuck since 3 ticks",
        "it is stuck since 4 ticks",
    ]
    assert told(gate, 7.1) == ""


def test_a_channel_that_did_not_answer_is_not_valid():
    found = Gate(Channel(name="c")).admit(None, 0)
    assert isinstance(found, Refused) and found.reason == "it did not answer"


# Kinds.


@pytest.mark.parametrize(
    ("channel", "value", "interval"),
    [
        (Channel(name="c", half_width=0.5), 3, (2.5, 3.5)),
        (Channel(name="c", kind="interval"), (1, 2), (1.0, 2.0)),
        (Channel(name="c", kind="vector", projection=(1.0, 0.5), half_width=1.0), (2.0, 4.0), (3.0, 5.0)),
        (Channel(name="c", kind="classes", classes=CLASSES), {"warm": 0.9, "hot": 0.1}, (15.0, 30.0)),
        (Channel(name="c", kind="classes", classes=CLASSES), {"warm": 0.6, "hot": 0.4}, (15.0, 90.0)),
        (Channel(name="c", kind="classes", classes=CLASSES, level=1.0), {"cold": 0.5, "warm": 0.5}, (-10.0, 30.0)),
    ],
    ids=["scalar", "interval", "vector", "a sure class", "two classes", "all of two"],
)
def test_each_kind_of_reading_stands_for_an_interval(channel: Channel, value: Any, interval: tuple[float, float]):
    check_channel(channel)
    assert interval_of(channel, value) == interval


@pytest.mark.parametrize(
    ("channel", "value"),
    [
        (Channel(name="c"), float("nan")),
        (Channel(name="c"), float("inf")),
        (Channel(name="c"), True),
        (Channel(name="c"), "20"),
        (Channel(name="c"), None),
        (Channel(name="c", kind="interval"), (2, 1)),
        (Channel(name="c", kind="interval"), (1,)),
        (Channel(name="c", kind="interval"), 1.0),
        (Channel(name="c", kind="interval"), (1.0, float("nan"))),
        (Channel(name="c", kind="vector", projection=(1.0,)), (1.0, 2.0)),
        (Channel(name="c", kind="vector", projection=(1e300,)), (1e300,)),
        (Channel(name="c", kind="classes", classes=CLASSES), {"warm": 0.5}),
        (Channel(name="c", kind="classes", classes=CLASSES), {"warm": 1.5, "hot": -0.5}),
        (Channel(name="c", kind="classes", classes=CLASSES), {"odd": 1.0}),
        (Channel(name="c", kind="classes", classes=CLASSES), {}),
        (Channel(name="c", kind="classes", classes=CLASSES), 1.0),
    ],
)
def test_a_reading_that_is_none_of_its_kind_is_refused(channel: Channel, value: Any):
    assert isinstance(interval_of(channel, value), Refused)


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        (Channel(name=""), "name is empty"),
        (Channel(name="c", half_width=-1.0), "below 0"),
        (Channel(name="c", half_width=float("nan")), "not finite"),
        (Channel(name="c", low=2.0, high=1.0), "low is above high"),
        (Channel(name="c", age_us=-1), "age_us"),
        (Channel(name="c", level=0.5), "level"),
        (Channel(name="c", kind="vector"), "projection"),
        (Channel(name="c", projection=(1.0,)), "projection"),
        (Channel(name="c", kind="classes"), "classes"),
        (Channel(name="c", classes=CLASSES), "classes"),
        (Channel(name="c", kind="classes", classes={"odd": (2.0, 1.0)}), "ends below"),
    ],
)
def test_a_channel_that_could_never_be_read_is_refused(channel: Channel, said: str):
    with pytest.raises(ConfigurationError, match=said):
        check_channel(channel)


# Ticks.


def test_a_tick_is_decided_at_n_minus_t_answers_and_never_waits_for_all():
    collector = Collector(4, 1, period_us=10_000, deadline_us=5_000)
    for name in ("b", "a"):
        collector.add(Reading(name, 0, 1.0), 0)
    assert collector.take(1_000) is None
    collector.add(Reading("c", 0, 1.0), 0)
    taken = collector.take(1_200)
    assert taken is not None and [reading.channel for reading in taken] == ["a", "b", "c"]
    assert collector.tick == 1 and collector.began_us == 10_000


def test_at_its_deadline_a_tick_is_decided_with_what_there_is_and_a_miss_is_counted():
    collector = Collector(4, 1, period_us=10_000, deadline_us=5_000)
    collector.add(Reading("a", 0, 1.0), 0)
    assert collector.take(4_999) is None
    taken = collector.take(5_000)
    assert taken is not None and len(taken) == 1
    collector.add(Reading("b", 0, 1.0), 0)
    collector.add(Reading("b", 0, 1.0), 9)
    punctuality = collector.punctuality()
    assert (punctuality.ticks, punctuality.missed, punctuality.late_readings) == (1, 1, 1)


def test_lateness_and_jitter_are_counted():
    collector = Collector(1, 0, period_us=10_000, deadline_us=5_000)
    for tick, after_us in enumerate((100, 100, 900, 100)):
        collector.add(Reading("a", 0, 1.0), tick)
        assert collector.take(collector.began_us + after_us) is not None
    found = collector.punctuality()
    assert (found.p50_us, found.p99_us, found.jitter_us) == (100, 900, 800)


@pytest.mark.parametrize(
    ("channels", "faults", "period_us", "deadline_us"),
    [(3, 3, 10, 5), (3, -1, 10, 5), (3, 1, 10, 11), (3, 1, 10, 0)],
)
def test_ticks_that_could_not_be_kept_are_refused(channels: int, faults: int, period_us: int, deadline_us: int):
    with pytest.raises(ConfigurationError, match="Correct that"):
        Collector(channels, faults, period_us, deadline_us)
