"""Series of ticks: each is decided as it would be alone, gaps are no channels, and who was trusted is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.voting import approximate, intervals, voters
from quorum.voting.refused import Refused
from quorum.voting.streams import CHANNELS_MAX, NO_VALUE, PIECE_TICKS, RULES, Track, fuse_stream

GIVEN: dict[str, Any] = {
    "epsilon": 0.5, "k": 2, "weights": [1.0, 2.0, 0.0, 1.0, 1.0], "a": 0.5, "t": 1, "own": 0, "delta": 0.5, "f": 1,
}  # fmt: skip
GAP = np.nan
SENSIBLE = np.array([20.0, 20.1, 20.2, 20.3, 85.0])


NOT_BY_DISTANCE = {
    "weighted_average", "lorczak_weighted_average", "exact_majority", "plurality", "inverse_variance",
}  # fmt: skip


def parameters(name: str) -> dict[str, Any]:
    return {key: GIVEN[key] for key in RULES[name].needs}


def decide(name: str, values: Any, widths: Any = 0.4, **given: Any) -> Track:
    return fuse_stream(name, values, parameters(name) | given, widths if RULES[name].has_widths else None)


def numbers(count: int) -> st.SearchStrategy[list[float]]:
    return st.lists(st.sampled_from((0.0, 0.25, 0.5, 1.0, 3.0, 50.0)), min_size=count, max_size=count)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=20, deadline=None)
@given(rows=st.lists(numbers(5), min_size=1, max_size=8))
def test_each_tick_of_a_series_is_decided_as_it_would_be_alone(name: str, rows: list[list[float]]):
    together = decide(name, rows)
    for tick, row in enumerate(rows):
        alone = decide(name, [row])
        assert np.array_equal(together.output[tick], alone.output[0], equal_nan=True)
        assert np.array_equal(together.trusted[tick], alone.trusted[0])
        assert (together.refusal[tick] < 0) == (alone.refusal[0] < 0) == (not np.isnan(alone.output[0]))


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=20, deadline=None)
@given(row=numbers(5), missing=st.sets(st.integers(1, 4), max_size=4))
def test_a_channel_without_a_value_is_no_channel_in_that_tick(name: str, row: list[float], missing: set[int]):
    present = [channel for channel in range(5) if channel not in missing]
    with_gaps = [GAP if channel in missing else value for channel, value in enumerate(row)]
    given_here = parameters(name)
    of_present = dict(given_here)
    if "weights" in given_here:
        of_present["weights"] = [given_here["weights"][channel] for channel in present]
    widths = 0.4 if RULES[name].has_widths else None
    found = fuse_stream(name, [with_gaps], given_here, widths)
    alone = fuse_stream(name, [[row[channel] for channel in present]], of_present, widths)
    assert np.array_equal(found.output, alone.output, equal_nan=True)
    assert found.trusted[0].tolist() == [
        channel in present and bool(alone.trusted[0, present.index(channel)]) for channel in range(5)
    ]
    assert found.refusals == alone.refusals


@pytest.mark.parametrize("name", sorted(set(RULES) - NOT_BY_DISTANCE))
def test_a_channel_that_is_far_away_is_not_trusted_and_the_others_are(name: str):
    found = decide(name, [SENSIBLE])
    assert found.trusted[0].tolist()[-1] is False
    assert found.trusted[0].sum() >= 3
    assert 19.5 <= found.output[0] <= 20.7


def test_outputs_are_those_of_the_rules_themselves():
    rows = np.array([SENSIBLE, SENSIBLE[::-1], [1.0, 1.0, 1.0, 2.0, 2.0]])
    pairs = np.stack([rows, np.full(rows.shape, 0.4)], axis=-1)
    spans = np.stack([rows - 0.4, rows + 0.4], axis=-1)
    assert np.array_equal(decide("median", rows).output, voters.median(rows))
    found = intervals.brooks_iyengar(pairs, 1)
    assert not isinstance(found, Refused)
    assert np.array_equal(decide("brooks_iyengar", rows).output, found.value, equal_nan=True)
    overlap = intervals.marzullo(spans)
    assert not isinstance(overlap, Refused)
    track = decide("marzullo", rows)
    assert np.array_equal(np.stack([track.low, track.high], axis=-1), overlap.interval)
    step = approximate.approximate_agreement_step(rows, 1, 1)
    assert not isinstance(step, Refused)
    assert np.array_equal(decide("approximate_agreement_step", rows).output, step.value)


def test_a_bound_is_missed_in_the_ticks_with_too_few_channels_alone_and_the_reason_is_told():
    rows = [SENSIBLE, [20.0, GAP, GAP, GAP, 85.0], [GAP] * 5, SENSIBLE]
    found = decide("median", rows, t=1)
    assert np.isnan(found.output).tolist() == [False, True, True, False]
    assert [found.refusals[place] if place >= 0 else "" for place in found.refusal] == [
        "",
        "2 channels are too few to outvote 1 of them: 3 are needed",
        NO_VALUE,
        "",
    ]
    assert not found.trusted[1:3].any()


def test_a_tick_whose_values_allow_no_decision_is_refused_with_the_reason_of_its_rule():
    found = decide("formalized_majority", [[1.0, 2.0, 3.0, 4.0, 5.0], SENSIBLE])
    assert found.refusal.tolist() == [0, -1] and found.refusals == (RULES["formalized_majority"].reason,)


def test_more_ticks_than_are_decided_at_once_are_decided_all_and_progress_is_told():
    ticks = PIECE_TICKS + 1_000
    rows = np.tile([20.0, 20.1, 85.0], (ticks, 1))
    rows[::3, 2] = GAP
    told: list[tuple[int, int]] = []
    found = fuse_stream("median", rows, {}, progress=lambda done, of: told.append((done, of)))
    assert np.array_equal(found.output, np.where(np.arange(ticks) % 3 == 0, 20.05, 20.1))
    assert told[-1] == (ticks, ticks) and len(told) == 2


def test_the_own_channel_without_a_value_is_refused_and_is_found_among_those_that_have_one():
    rows = [[GAP, 1.0, 1.1, 9.0], [0.9, GAP, 1.1, 9.0]]
    found = decide("interactive_convergence", rows, own=2)
    assert np.isfinite(found.output).all()
    refused = decide("interactive_convergence", rows, own=0)
    assert np.isnan(refused.output).tolist() == [True, False] and "own channel" in refused.refusals[0]


@pytest.mark.parametrize(
    ("name", "values", "widths", "given", "said"),
    [
        ("krum", [[1.0]], None, {}, "no rule for series"),
        ("formalized_majority", [[1.0]], None, {}, "epsilon is missing"),
        ("median", [[1.0]], None, {"epsilon": 1.0}, "knows no 'epsilon'"),
        ("median", [], None, {}, "shape"),
        ("median", [1.0], None, {}, "shape"),
        ("median", np.zeros((2, CHANNELS_MAX + 1)), None, {}, "1 to 62 channels"),
        ("median", [[1.0, np.inf]], None, {}, "tick 0 of channel 1 is infinite"),
        ("chrony_select", [[1.0]], None, {}, "no half-width"),
        ("chrony_select", [[1.0]], -1.0, {}, "below 0"),
        ("chrony_select", [[1.0, GAP]], [[np.nan, 1.0]], {}, "missing"),
        ("inverse_variance", [[1.0]], 0.0, {}, "standard deviations"),
        ("weighted_average", [[1.0, 2.0]], None, {"weights": [1.0]}, "one for each of 2"),
        ("interactive_convergence", [[1.0, 2.0]], None, {"own": 2, "delta": 1.0}, "Give 0 to 1"),
        ("interactive_convergence", [[1.0, 2.0]], None, {"own": "x", "delta": 1.0}, "whole number"),
    ],
)
def test_what_is_no_series_or_no_rule_is_refused_with_a_remedy(
    name: str, values: Any, widths: Any, given: dict[str, Any], said: str
):
    with pytest.raises(ConfigurationError, match=said):
        fuse_stream(name, values, given, widths)
