"""Voters over intervals, beside their printed examples and a search that tries every end point."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.voting import arrays
from quorum.voting.intervals import (
    brooks_iyengar,
    brooks_iyengar_regions,
    chrony_select,
    fault_tolerant_intersection,
    marzullo,
    ntp_select,
)
from quorum.voting.refused import Refused

ends = st.integers(-6, 6).map(float)
interval = st.tuples(ends, ends).map(lambda pair: (min(pair), max(pair)))
some = st.lists(interval, min_size=1, max_size=7)
whole = st.tuples(ends, st.integers(0, 4).map(float))


def covering(point, intervals):
    return sum(low <= point <= high for low, high in intervals)


def points_of(intervals):
    """Every end point, and one between each two that follow each other: what covers changes nowhere else."""
    marks = sorted({end for each in intervals for end in each})
    return sorted([*marks, *((one + other) / 2 for one, other in pairwise(marks))])


# --- Marzullo ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("intervals", "best", "interval"),
    [
        ([(8, 12), (11, 13), (10, 12)], 3, (11, 12)),
        ([(8, 12), (11, 13), (14, 15)], 2, (11, 12)),
        ([(8, 9), (8, 12), (10, 12)], 2, (8, 9)),
        ([(1, 2), (2, 3)], 2, (2, 2)),
        ([(4, 4)], 1, (4, 4)),
    ],
)
def test_marzullo_finds_the_examples_and_the_first_of_several(intervals, best, interval):
    """The examples are those that are printed with the algorithm everywhere; touching ends overlap."""
    found = marzullo(intervals)
    assert found.best == best and tuple(found.interval) == interval


@given(some)
def test_marzullo_is_the_first_stretch_of_the_greatest_depth_that_trying_every_point_finds(intervals):
    depths = {point: covering(point, intervals) for point in points_of(intervals)}
    best = max(depths.values())
    found = marzullo(intervals)
    low, high = found.interval
    assert found.best == best and low == min(point for point in depths if depths[point] == best)
    assert all(depths[point] == best for point in depths if low <= point <= high)
    beyond = [point for point in depths if point > high]
    assert not beyond or covering((high + min(beyond)) / 2, intervals) < best


@given(st.integers(0, 3), st.data())
def test_with_t_given_a_depth_below_n_minus_t_is_refused(faults, data):
    intervals = data.draw(st.lists(interval, min_size=2 * faults + 1, max_size=2 * faults + 3))
    found = marzullo(intervals, faults)
    assert np.isnan(found.interval).any() == (found.best < len(intervals) - faults)


def test_t_of_half_or_more_is_refused():
    assert isinstance(marzullo([(0, 1), (0, 1)], 1), Refused)
    assert isinstance(fault_tolerant_intersection([(0, 1), (0, 1)], 1), Refused)


@given(st.integers(0, 3), st.integers(0, 2), st.data())
def test_the_fault_tolerant_intersection_holds_the_truth_whatever_t_intervals_say(faults, spare, data):
    truth, size = 0.0, 2 * faults + 1 + spare
    widths = st.tuples(st.floats(0, 5), st.floats(0, 5)).map(lambda pair: (truth - pair[0], truth + pair[1]))
    right = data.draw(st.lists(widths, min_size=size - faults, max_size=size - faults))
    lies = data.draw(st.lists(interval, min_size=faults, max_size=faults))
    found = fault_tolerant_intersection(data.draw(st.permutations(right + lies)), faults)
    assert found[0] <= truth <= found[1]
    if size > 3 * faults:
        assert found[1] - found[0] <= max(high - low for low, high in right) + 1e-9


def test_a_majority_of_liars_leads_each_choice_of_sources_astray():
    """Two liars of five do not, three do."""
    right, lies = [(0.0, 1.0), (0.25, 1.0)], [(900.0, 1.0), (900.25, 1.0)]
    for more, is_misled in ((right[0], False), (lies[0], True)):
        sources = [*right, *lies, more]
        ends = [(offset - distance, offset + distance) for offset, distance in sources]
        for found in (marzullo(ends, 2), ntp_select(sources), chrony_select(ends)):
            assert (found.interval[0] > 800) == is_misled


def test_one_liar_more_makes_it_miss_the_truth():
    right, lies = [(0, 1), (0, 1)], [(5, 6), (5, 6)]
    assert fault_tolerant_intersection([*right, right[0], *lies], 2)[0] <= 1
    assert fault_tolerant_intersection([*right, *lies, lies[0]], 2)[0] == 5


@given(some, st.integers(0, 3))
def test_it_spans_every_point_that_n_minus_t_intervals_cover(intervals, faults):
    found = fault_tolerant_intersection(intervals, faults)
    if len(intervals) <= 2 * faults:
        assert isinstance(found, Refused)
        return
    deep = [point for point in points_of(intervals) if covering(point, intervals) >= len(intervals) - faults]
    assert (list(found) == [min(deep), max(deep)]) if deep else np.isnan(found).all()


# --- NTP and chrony ---------------------------------------------------------------------------------------


def test_ntp_drops_a_falseticker_and_keeps_a_midpoint_on_the_edge():
    found = ntp_select([(0, 1), (0.5, 1), (10, 1)])
    assert (found.falsetickers_allowed, list(found.interval)) == (1, [-0.5, 1.0])
    assert list(found.midpoints_inside) == [True, True, False]
    edge = ntp_select([(0, 2), (2, 2)])
    assert list(edge.interval) == [0, 2] and edge.midpoints_inside.all()


def test_ntp_refuses_where_no_majority_agrees():
    found = ntp_select([(0, 1), (5, 1), (10, 1)])
    assert found.falsetickers_allowed == -1 and np.isnan(found.interval).all()
    assert not found.midpoints_inside.any()
    assert ntp_select([(0, 1), (5, 1)]).falsetickers_allowed == -1, "of two neither is a majority"


@given(st.lists(whole, min_size=1, max_size=7))
def test_ntp_allows_as_few_falsetickers_as_the_rule_does_point_by_point(sources):
    intervals = [(offset - distance, offset + distance) for offset, distance in sources]
    size, expected = len(sources), None
    for allow in range(size):
        if 2 * allow >= size or expected:
            break
        deep = [point for point in points_of(intervals) if covering(point, intervals) >= size - allow]
        if deep and sum(not min(deep) <= offset <= max(deep) for offset, _ in sources) <= allow:
            expected = (allow, min(deep), max(deep))
    found = ntp_select(sources)
    if expected is None:
        assert found.falsetickers_allowed == -1
    else:
        assert (found.falsetickers_allowed, *found.interval) == expected


def test_chrony_spans_all_parts_of_the_greatest_depth_where_marzullo_takes_the_first():
    intervals = [(4, 6), (4, 14), (12, 14), (0, 20)]
    found = chrony_select(intervals)
    assert found.depth == 3 and list(found.interval) == [4, 14] and found.selected.all()
    assert list(marzullo(intervals).interval) == [4, 6]


def test_chrony_selects_what_contains_the_result_or_lies_in_it_and_nothing_else():
    found = chrony_select([(0, 10), (4, 6), (5, 8), (20, 30)])
    assert found.depth == 3 and list(found.interval) == [5, 6]
    assert list(found.selected) == [True, True, True, False]
    partly = chrony_select([(0, 10), (4, 6), (5, 8), (4, 5.5), (0, 4.5)])
    assert list(partly.interval) == [4, 5.5] and list(partly.selected) == [True, True, False, True, False]


def test_chrony_needs_more_than_half():
    found = chrony_select([(0, 1), (0, 1), (5, 6), (5, 6)])
    assert found.depth == 2 and np.isnan(found.interval).all() and not found.selected.any()


@given(some)
def test_chrony_spans_every_point_of_the_greatest_depth(intervals):
    found = chrony_select(intervals)
    depths = {point: covering(point, intervals) for point in points_of(intervals)}
    deep = [point for point in depths if depths[point] == max(depths.values())]
    if 2 * max(depths.values()) > len(intervals):
        assert list(found.interval) == [min(deep), max(deep)]
    else:
        assert np.isnan(found.interval).all()


# --- Brooks and Iyengar -----------------------------------------------------------------------------------

SHARED = [(4.7, 2.0), (1.6, 1.6), (3.0, 1.5), (1.8, 1.0)]


@pytest.mark.parametrize(
    ("lie", "value"), [((3.0, 1.6), 2.627), ((1.0, 1.6), 2.4), ((2.5, 1.6), 2.627), ((0.9, 1.6), 2.375)]
)
def test_the_four_nodes_of_the_published_example_get_their_values(lie, value):
    """The fifth sensor tells each of the four others something else."""
    assert float(brooks_iyengar([*SHARED, lie], 1).value) == pytest.approx(value, abs=5e-4)


def test_its_regions_are_split_where_the_count_changes():
    regions = brooks_iyengar_regions([*SHARED, (3.0, 1.6)], 1)
    assert [tuple(region) for region in regions] == [
        (1.5, pytest.approx(2.7), 4),
        (pytest.approx(2.7), 2.8, 5),
        (2.8, 3.2, 4),
    ]
    assert list(brooks_iyengar([*SHARED, (3.0, 1.6)], 1).interval) == [1.5, 3.2]


def test_a_point_where_some_end_and_others_begin_is_a_region_of_its_own():
    touching = [(1.0, 1.0), (1.0, 1.0), (3.0, 1.0), (3.0, 1.0)]
    assert [tuple(each) for each in brooks_iyengar_regions(touching, 1)] == [(2.0, 2.0, 4)]
    assert brooks_iyengar(touching, 1).value == 2.0
    exact = brooks_iyengar([(5.0, 0.0)] * 4, 1)
    assert exact.value == 5.0 and list(exact.interval) == [5.0, 5.0]


def test_it_refuses_below_3t_plus_1_and_where_no_region_is_deep_enough():
    assert isinstance(brooks_iyengar(SHARED[:3], 1), Refused)
    apart = brooks_iyengar([(0, 1), (10, 1), (20, 1), (30, 1)], 1)
    assert np.isnan(apart.value) and np.isnan(apart.interval).all()


@given(st.integers(0, 2), st.integers(0, 2), st.data())
def test_its_value_lies_in_the_hull_of_right_intervals_whatever_t_say(faults, spare, data):
    size = 3 * faults + 1 + spare
    around = st.tuples(st.floats(-1, 1), st.floats(1, 3))  # all hold 0
    right = data.draw(st.lists(around, min_size=size - faults, max_size=size - faults))
    lies = data.draw(
        st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(0, 1e9)), min_size=faults, max_size=faults)
    )
    found = brooks_iyengar(data.draw(st.permutations(right + lies)), faults)
    low = min(value - half for value, half in right)
    high = max(value + half for value, half in right)
    assert low - 1e-9 <= found.value <= high + 1e-9
    assert found.interval[0] - 1e-9 <= 0 <= found.interval[1] + 1e-9


def test_with_one_liar_more_its_interval_misses_the_truth_and_n_minus_t_move_its_value_anywhere():
    """The truth is 0: two liars meet the second right interval at its end."""
    misled = brooks_iyengar([(0.0, 1.0), (1.0, 2.0), (10.0, 7.0), (10.0, 7.0)], 1)
    assert list(misled.interval) == [3.0, 3.0]
    assert brooks_iyengar([(0.0, 1.0), *[(900.0, 1.0)] * 3], 1).value == 900.0


@given(st.lists(whole, min_size=1, max_size=7), st.integers(0, 2))
def test_its_value_is_that_of_the_regions_that_trying_every_point_finds(values, faults):
    if len(values) < 3 * faults + 1:
        assert isinstance(brooks_iyengar(values, faults), Refused)
        return
    intervals = [(value - half, value + half) for value, half in values]
    marks = sorted({end for each in intervals for end in each})
    found = []
    for place, mark in enumerate(marks):
        before = covering((marks[place - 1] + mark) / 2, intervals) if place else 0
        after = covering((mark + marks[place + 1]) / 2, intervals) if place + 1 < len(marks) else 0
        here = covering(mark, intervals)
        if here > max(before, after) and here >= len(values) - faults:
            found.append((mark, mark, here))
        if after >= len(values) - faults and place + 1 < len(marks):
            found.append((mark, marks[place + 1], after))
    fused = brooks_iyengar(values, faults)
    assert [tuple(each) for each in brooks_iyengar_regions(values, faults)] == found
    if found:
        weight = sum(count for _, _, count in found)
        mean = sum(count * (low + high) / 2 for low, high, count in found) / weight
        assert fused.value == pytest.approx(mean) and list(fused.interval) == [found[0][0], found[-1][1]]
    else:
        assert np.isnan(fused.value)


# --- all of them ------------------------------------------------------------------------------------------

RULES = {
    "marzullo": lambda pairs: marzullo(pairs).interval,
    "fault_tolerant_intersection": lambda pairs: fault_tolerant_intersection(pairs, 1),
    "chrony": lambda pairs: chrony_select(pairs).interval,
    "ntp": lambda pairs: ntp_select(centred(pairs)).interval,
    "brooks_iyengar": lambda pairs: brooks_iyengar(centred(pairs), 1).value,
}


def centred(pairs):
    array = np.asarray(pairs, dtype=float)
    return np.stack([array.sum(axis=-1) / 2, (array[..., 1] - array[..., 0]) / 2], axis=-1)


@pytest.mark.parametrize("name", RULES)
@given(data=st.data())
def test_an_overlap_does_not_depend_on_the_order_of_channels(name, data):
    pairs = data.draw(st.lists(interval, min_size=4, max_size=7))
    shuffled = data.draw(st.permutations(pairs))
    assert RULES[name](pairs) == pytest.approx(RULES[name](shuffled), nan_ok=True)


@pytest.mark.parametrize("name", RULES)
@given(data=st.data())
def test_many_ticks_at_once_and_in_pieces_are_decided_as_one_by_one(name, data):
    ticks = np.asarray(data.draw(st.lists(st.lists(interval, min_size=4, max_size=4), min_size=1, max_size=5)))
    each = np.asarray([RULES[name](tick) for tick in ticks])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "CHUNK_TICKS", 2)
        assert RULES[name](ticks) == pytest.approx(each, nan_ok=True)
        assert RULES[name](ticks[None])[0] == pytest.approx(each, nan_ok=True)


@pytest.mark.parametrize(
    "pairs", [[], [[1, 2, 3]], [[2, 1]], [[float("nan"), 1]], [1.0, 2.0], [["a", "b"]], [[1, float("inf")]]]
)
def test_what_is_no_interval_is_refused_with_a_remedy(pairs):
    for rule in (marzullo, chrony_select):
        with pytest.raises(ConfigurationError, match=r"Give|Write|Leave"):
            rule(pairs)


def test_a_width_below_0_is_refused():
    for rule in (ntp_select, lambda values: brooks_iyengar(values, 0)):
        with pytest.raises(ConfigurationError, match="0 or more"):
            rule([(1.0, -1.0)])
