"""Who is suspected, and how surely: phi over arrivals, and a node that distrusts its own slowness first."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.membership.detector import HEALTH_MAX, PHI_MAX, WINDOW, ArrivalGaps, Detector, phi_of

TURN_US = 100_000


def heard_for(detector: Detector, node: str, turns: int, random: Random | None = None, now_us: int = 0) -> int:
    """The node is heard about every turn; returns when it was heard last."""
    for _ in range(turns):
        now_us += TURN_US if random is None else max(1, round(random.gauss(TURN_US, TURN_US / 10)))
        detector.heard(node, now_us)
    return now_us


def watching(*nodes: str) -> Detector:
    detector = Detector(TURN_US)
    detector.watch(nodes, 0)
    return detector


def test_five_deviations_above_the_mean_are_a_phi_of_six_and_a_half() -> None:
    """Hayashibara and others, section 4.2: phi is -log10 of the chance that the next arrival is still to come."""
    assert phi_of(1_500, 1_000, 100) == pytest.approx(6.54, abs=0.01)
    assert phi_of(1_000, 1_000, 100) == pytest.approx(-math.log10(0.5))


@given(mean=st.floats(1e3, 1e7), share=st.floats(0.01, 1), silence=st.floats(0, 1e9), more=st.floats(0, 1e9))
def test_a_longer_silence_is_never_less_suspicious(mean: float, share: float, silence: float, more: float) -> None:
    first, second = phi_of(silence, mean, share * mean), phi_of(silence + more, mean, share * mean)
    assert 0 <= first <= second + 1e-9 <= PHI_MAX + 1e-9


def test_the_tail_goes_on_where_floats_end() -> None:
    below, above = (phi_of(1_000 + 100 * math.sqrt(2) * x, 1_000, 100) for x in (19.999999, 20.000001))
    assert above == pytest.approx(below, rel=1e-3)


def test_who_is_heard_in_time_is_not_suspected() -> None:
    detector = watching("b")
    now_us = heard_for(detector, "b", 500, Random(0))
    assert detector.phi("b", now_us + TURN_US) < 1
    assert detector.phi("b", now_us + 2 * TURN_US) > 8
    assert detector.phi("b", now_us + 60_000_000) == PHI_MAX


def test_an_irregular_network_is_given_more_time() -> None:
    steady, irregular, random = watching("b"), watching("b"), Random(1)
    ends = []
    for detector, spread in ((steady, 0.05), (irregular, 0.8)):
        now_us = 0
        for _ in range(300):
            now_us += max(1, round(TURN_US * (1 + spread * random.random())))
            detector.heard("b", now_us)
        ends.append(detector.phi("b", now_us + 3 * TURN_US))
    assert ends[0] > 2 * ends[1]


def test_a_node_that_was_paused_suspects_nobody() -> None:
    """Lifeguard: without this, whoever was stopped for ten seconds accuses everybody when it goes on."""
    detector = watching("b", "c")
    now_us = max(heard_for(detector, node, 50) for node in ("b", "c"))
    paused_us = now_us + TURN_US + 10_000_000
    blind = detector.phi("b", paused_us)
    detector.ran(now_us + TURN_US, paused_us)
    assert blind == PHI_MAX
    assert max(detector.all(paused_us).values()) < 1
    assert detector.health.score == HEALTH_MAX


def test_its_trust_in_itself_comes_back_turn_by_turn() -> None:
    detector = watching("b")
    detector.ran(0, 3 * TURN_US)
    assert detector.health.score == 3
    for turn in range(4, 7):
        detector.ran(turn * TURN_US, turn * TURN_US + 10)
    assert detector.health.score == 0


def test_a_real_failure_is_found_by_a_slow_node_too_only_later() -> None:
    well, slow = watching("b"), watching("b")
    now_us = max(heard_for(detector, "b", 100) for detector in (well, slow))
    slow.health.score = 3
    times = []
    for detector in (well, slow):
        silence_us = 0
        while detector.phi("b", now_us + silence_us) < 8:
            silence_us += TURN_US // 10
        times.append(silence_us)
    assert times[0] < times[1] <= 4 * times[0] + TURN_US


def test_who_is_watched_anew_has_a_whole_turn_and_who_is_not_watched_no_phi() -> None:
    detector = watching("b")
    detector.watch(("b", "c"), 50_000_000)
    assert detector.phi("c", 50_000_000 + TURN_US) < 1 < detector.phi("b", 50_000_000)
    assert detector.phi("x", 1) == 0
    detector.watch((), 60_000_000)
    detector.heard("b", 60_000_000)
    assert detector.all(60_000_000) == {}


@given(times=st.lists(st.integers(0, 10**12), max_size=3 * WINDOW))
def test_the_sums_are_those_of_the_window_and_times_that_go_back_change_nothing(times: list[int]) -> None:
    gaps = ArrivalGaps(0)
    kept: list[int] = []
    last_us = 0
    for now_us in times:
        gaps.heard(now_us)
        kept.append(max(0, now_us - last_us))
        last_us = max(last_us, now_us)
    kept = kept[-WINDOW:]
    assert gaps.last_us == last_us
    if len(kept) >= 4:
        mean, spread = gaps.mean_and_spread(1)
        true_mean = sum(kept) / len(kept)
        variance = sum((gap - true_mean) ** 2 for gap in kept) / len(kept)
        assert mean == pytest.approx(max(1, true_mean))
        assert spread == pytest.approx(max(math.sqrt(variance), mean / 10), rel=1e-6)


def test_a_turn_of_no_length_is_refused() -> None:
    with pytest.raises(ValueError, match="Give more than 0"):
        Detector(0)
