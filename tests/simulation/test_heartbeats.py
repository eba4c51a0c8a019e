"""Who is well stays in through loss, delays and pauses; who fails is found; no committee is below its floor."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quorum.membership.detector import Detector, phi_of
from quorum.membership.observation import Limits

from .failures_seen import Observer
from .heartbeats import HOUR_TURNS, TURN_US, Weather, deviations_of, draw, watch, watch_one

pytestmark = pytest.mark.slow

HARSH = Weather(loss=0.3, spikes=1 / 30, spike_s=5, pauses=1 / 60)
LIMITS = {
    "usual": Limits(),
    "hasty": Limits(hold_us=300_000, stable_us=1_000_000, stable_max_us=4_000_000, forgive_us=20_000_000),
    "at once": Limits(hold_us=0, stable_us=0),
}


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_many_observers_at_once_see_what_the_detector_and_the_book_see(limits: Limits) -> None:
    beats = draw(3, clusters=2, peers=3, turns=6_000, weather=HARSH)
    together = watch(beats, limits)
    for cluster in range(beats.clusters):
        alone = watch_one(beats, cluster, limits)
        own = slice(cluster * beats.peers, (cluster + 1) * beats.peers)
        for one, other in zip(alone, together, strict=True):
            assert one.tolist() == other[own].tolist()
    assert together.suspected.min() > 50 and (together.evicted.sum() > 50 or limits is LIMITS["usual"])


@pytest.mark.parametrize("phi", [1.0, 8.0, 12.0])
def test_phi_is_above_its_limit_from_the_silence_on_from_which_it_is_looked_at(phi: float) -> None:
    """And nowhere below, whatever the mean and the spread: the skipped silences are never suspicious."""
    least = deviations_of(phi)
    assert phi_of(least * math.sqrt(2), 0, 1) >= phi > phi_of(least * math.sqrt(2) * (1 - 1e-9), 0, 1)
    shortest = TURN_US * (1 + 0.1 * math.sqrt(2) * least) * 0.999
    for mean in np.linspace(TURN_US, 5 * TURN_US, 9):
        for spread in np.linspace(0.1 * mean, 3 * mean, 9):
            assert phi_of(shortest, mean, spread) < phi


def test_loss_and_delays_ten_times_as_long_put_nobody_out() -> None:
    beats = draw(1, clusters=100, peers=4, turns=3_600, weather=Weather())
    assert beats.node_hours == 40
    seen = watch(beats, Limits())
    assert seen.evicted.sum() == 0
    assert seen.suspected.sum() > 1_000, "it is no calm weather"


def test_without_the_hold_time_the_same_weather_puts_many_out() -> None:
    """What fails when the rule is removed."""
    seen = watch(draw(1, clusters=20, peers=4, turns=3_600, weather=Weather()), LIMITS["at once"])
    assert seen.evicted.sum() > 100


def test_an_observer_holds_its_own_pauses_against_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lifeguard. Not even without a hold time; and it would, were its turns not told to the detector."""
    beats = draw(2, clusters=1, peers=4, turns=9_000, weather=Weather(spikes=0, loss=0, pauses=1 / 30))
    assert watch_one(beats, 0, LIMITS["at once"]).evicted.sum() == 0
    monkeypatch.setattr(Detector, "ran", lambda *_: None)
    assert watch_one(beats, 0, LIMITS["at once"]).evicted.sum() > 20


def test_failures_that_last_are_found_in_little_more_than_the_hold_and_no_committee_is_below_the_floor() -> None:
    found = [
        Observer(draw(seed, 1, 4, HOUR_TURNS // 2, Weather(failures=1 / 300, repair_s=200)), 0).run()
        for seed in (1, 2)
    ]
    assert sum(one.failures for one in found) >= 8
    assert sum(one.missed for one in found) == sum(one.false for one in found) == 0
    times = [time_us for one in found for time_us in one.found_us]
    assert min(times) >= 10_000_000 and sorted(times)[len(times) // 2] < 11_000_000
    assert {one.fewest for one in found} == {3} and sum(one.returned for one in found) > 0


@pytest.mark.parametrize("floor", [3, 5])
def test_even_who_is_hasty_leaves_the_floor_alone(floor: int) -> None:
    beats = draw(4, 1, 6, 3_000, Weather(loss=0.4, failures=1 / 60, repair_s=60))
    assert Observer(beats, 0, LIMITS["at once"], floor).run().fewest == floor


def test_what_is_drawn_follows_from_the_seed() -> None:
    one, again, other = (draw(seed, 2, 2, 500, HARSH) for seed in (5, 5, 6))
    assert one.arrivals.tolist() == again.arrivals.tolist() != other.arrivals.tolist()
