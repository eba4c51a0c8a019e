"""Voters over vectors: examples, bounds, and independent checks of what they find."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.voting import safe_area
from quorum.voting.refused import Refused
from quorum.voting.safe_area import byzantine_vector_safe_area
from quorum.voting.vectors import coordinate_trimmed_mean, geometric_median, krum, multi_krum

whole = st.integers(-4, 4).map(float)
plane = st.tuples(whole, whole)
SQUARE = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)]


# --- trimmed mean, Krum -----------------------------------------------------------------------------------


def test_the_trimmed_mean_drops_on_each_axis_apart():
    assert list(coordinate_trimmed_mean([(0, 0), (1, 5), (2, -5)], 1)) == [1.0, 0.0]
    assert isinstance(coordinate_trimmed_mean([(0, 0), (1, 5)], 1), Refused)


@given(st.integers(0, 3), st.data())
def test_a_trimmed_mean_lies_among_right_coordinates_whatever_t_say(faults, data):
    near = st.tuples(st.floats(0, 1), st.floats(0, 1))
    right = data.draw(st.lists(near, min_size=faults + 1, max_size=faults + 3))
    far = st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
    lies = data.draw(st.lists(far, min_size=faults, max_size=faults))
    found = coordinate_trimmed_mean(data.draw(st.permutations(right + lies)), faults)
    assert (np.min(right, axis=0) - 1e-9 <= found).all() and (found <= np.max(right, axis=0) + 1e-9).all()


def test_one_liar_more_leads_a_trimmed_mean_out_of_the_right_coordinates():
    assert coordinate_trimmed_mean([(0.0,), (1.0,), (900.0,), (900.0,)], 1)[0] > 1


def test_krum_takes_the_point_whose_neighbours_are_nearest_and_of_equals_the_first():
    found = krum([*SQUARE, (50.0, 50.0)], 1)
    assert found.chosen == 0 and list(found.scores[:4]) == [2.0, 2.0, 2.0, 2.0]
    assert found.scores[4] == 49**2 * 2 + 49**2 + 50**2
    assert krum([(9.0,), (1.0,), (0.0,), (1.1,), (2.0,)], 1).chosen == 3


@given(st.lists(plane, min_size=5, max_size=7), st.integers(0, 2))
def test_krum_scores_are_those_that_sorting_all_distances_gives(points, faults):
    found = krum(points, faults)
    if len(points) < 2 * faults + 3:
        assert isinstance(found, Refused)
        return
    for place, point in enumerate(points):
        others = sorted((x - point[0]) ** 2 + (y - point[1]) ** 2 for x, y in points[:place] + points[place + 1 :])
        assert found.scores[place] == sum(others[: len(points) - faults - 2])


@given(st.integers(1, 3), st.data())
def test_far_liars_are_never_chosen_by_krum(faults, data):
    near = st.tuples(st.floats(0, 1), st.floats(0, 1))
    right = data.draw(st.lists(near, min_size=faults + 3, max_size=faults + 4))
    lies = [(1e3 * (each + 1), -1e3) for each in range(faults)]
    assert krum(right + lies, faults).chosen < len(right)
    assert max(multi_krum(right + lies, faults, 2).indices) < len(right)


def test_as_many_liars_as_right_points_win_krum():
    assert krum([(0.0,), (1.0,), (900.0,), (900.0,), (900.0,)], 1).chosen == 2


def test_multi_krum_is_the_mean_of_the_best_and_no_more_than_n_minus_t_of_them():
    found = multi_krum([*SQUARE, (50.0, 50.0)], 1, 2)
    assert list(found.point) == [0.0, 0.5] and list(found.indices) == [0, 1]
    assert isinstance(multi_krum([*SQUARE, (50.0, 50.0)], 1, 5), Refused)
    assert isinstance(multi_krum(SQUARE, 1, 1), Refused)


def test_many_ticks_at_once_are_decided_as_one_by_one():
    ticks = np.random.default_rng(1).normal(size=(4, 7, 3))
    assert krum(ticks, 2).scores == pytest.approx(np.asarray([krum(tick, 2).scores for tick in ticks]))
    assert list(krum(ticks, 2).chosen) == [krum(tick, 2).chosen for tick in ticks]
    together = multi_krum(ticks, 2, 3).point
    assert together == pytest.approx(np.asarray([multi_krum(tick, 2, 3).point for tick in ticks]))
    each = np.asarray([coordinate_trimmed_mean(tick, 2) for tick in ticks])
    assert coordinate_trimmed_mean(ticks, 2) == pytest.approx(each)


# --- geometric median -------------------------------------------------------------------------------------


def test_the_geometric_median_of_known_figures():
    """A rectangle's is where its diagonals meet; an equilateral triangle's is its centre (Fermat and Torricelli);
    of a triangle with an angle of 120 degrees or more it is that corner."""
    assert geometric_median([(0, 0), (4, 0), (0, 3), (4, 3)]) == pytest.approx([2, 1.5])
    assert geometric_median([(0, 0), (1, 0), (0.5, 3**0.5 / 2)]) == pytest.approx([0.5, 3**0.5 / 6])
    assert list(geometric_median([(0, 0), (10, 1), (-10, 1)])) == [0, 0]
    right_angle = (3 - 3**0.5) / 6
    assert geometric_median([(0, 0), (1, 0), (0, 1)]) == pytest.approx([right_angle, right_angle], abs=1e-9)


def test_on_a_line_it_is_the_median():
    assert geometric_median([(0.0,), (2.0,)]) == pytest.approx([1.0])
    assert geometric_median([(0, 0), (1, 1), (2, 2), (30, 30)]) == pytest.approx([1.5, 1.5])
    assert list(geometric_median([(7, 7)] * 3)) == [7, 7]
    assert isinstance(geometric_median([(0, 0), (1, 1)], 1), Refused)


@given(st.lists(plane, min_size=1, max_size=8), st.integers(0, 99), st.sampled_from([0, 1e-13, 1e-9, 1e-6, 1]))
def test_no_point_nearby_has_a_lesser_sum_of_distances(points, seed, noise):
    """Also where points nearly coincide, or nearly lie on a line."""
    table = np.asarray(points) + noise * np.random.default_rng(seed).normal(size=(len(points), 2))
    found = geometric_median(table)
    least = np.linalg.norm(table - found, axis=1).sum()
    for turn, far in product(range(8), (1e-6, 1e-3, 1e-1)):
        beside = found + far * np.asarray([np.cos(turn * np.pi / 4), np.sin(turn * np.pi / 4)])
        assert least <= np.linalg.norm(table - beside, axis=1).sum() + 1e-9


@given(st.lists(plane, min_size=1, max_size=8), st.data())
def test_a_geometric_median_does_not_depend_on_the_order_of_points(points, data):
    one, other = geometric_median(points), geometric_median(data.draw(st.permutations(points)))
    assert one == pytest.approx(other, abs=1e-9)


@pytest.mark.parametrize("far", [1e3, 1e9, 1e15])
def test_liars_that_are_fewer_than_half_do_not_move_it_far_however_far_they_are(far):
    right = np.random.default_rng(3).normal(size=(5, 2))
    found = geometric_median([*right, (far, far), (far, 0.0)])
    assert np.abs(found).max() < 5
    more = geometric_median([*right, *[(far, far + each) for each in range(6)]])
    assert np.abs(more).max() > far / 10, "as many liars and one more do"


# --- safe area --------------------------------------------------------------------------------------------


def distance_outside(point, hull):
    """How far a point of the plane lies outside the hull of others, seen from all directions that matter."""
    table = np.asarray(hull)
    edges = [(table[one] - table[other]) for one, other in combinations(range(len(table)), 2)]
    sides = [np.asarray((-edge[1], edge[0])) for edge in edges if edge.any()] + [
        edge for edge in edges if edge.any()
    ]
    worst = float(np.linalg.norm(table[0] - point)) if not sides else 0.0
    for side in sides:
        heights = (table - point) @ (side / np.linalg.norm(side))
        worst = max(worst, float(heights.min()), float(-heights.max()))
    return worst


def test_the_middle_of_a_square_with_its_centre_is_the_only_safe_point():
    found = byzantine_vector_safe_area([(0, 0), (2, 0), (0, 2), (2, 2), (1, 1)], 1)
    assert found.safe_area_point == pytest.approx([1, 1]) and found[1:] == (4, 5)


def test_four_points_have_the_crossing_of_their_diagonals_or_the_one_that_is_inside():
    """Radon's point, for T=1 in the plane."""
    crossing = byzantine_vector_safe_area([(0, 0), (2, 0), (0, 2), (3, 9)], 1).safe_area_point
    assert crossing == pytest.approx([0.5, 1.5])
    assert byzantine_vector_safe_area([(0, 0), (9, 0), (0, 9), (2, 2)], 1).safe_area_point == pytest.approx([2, 2])


def test_points_on_one_line_or_one_axis_have_the_middle_of_what_is_safe():
    assert byzantine_vector_safe_area([(0,), (1,), (3,), (99,)], 1).safe_area_point == pytest.approx([2])
    line = [(0, 0), (1, 1), (3, 3), (99, 99)]
    assert byzantine_vector_safe_area(line, 1).safe_area_point == pytest.approx([2, 2])
    beside = byzantine_vector_safe_area([(0, 0), (1, 0), (2, 0), (3, 0), (5, 7)], 1)
    assert beside.safe_area_point == pytest.approx([1.5, 0])
    assert list(byzantine_vector_safe_area([(4, 4)] * 4, 1).safe_area_point) == [4, 4]
    assert byzantine_vector_safe_area([(0, 0), (2, 4)], 0).safe_area_point == pytest.approx([1, 2])


@pytest.mark.parametrize(("size", "dimensions", "faults"), [(3, 2, 1), (4, 3, 1), (6, 2, 2), (3, 1, 1)])
def test_it_is_refused_below_the_bound(size, dimensions, faults):
    points = np.random.default_rng(0).normal(size=(size, dimensions))
    assert isinstance(byzantine_vector_safe_area(points, faults), Refused)


@settings(max_examples=60)
@given(st.integers(1, 2), st.data())
def test_the_safe_point_lies_in_the_hull_of_every_choice_of_n_minus_t_points(faults, data):
    size = 3 * faults + 1 + data.draw(st.integers(0, 2))
    points = data.draw(st.lists(plane, min_size=size, max_size=size))
    found = byzantine_vector_safe_area(points, faults).safe_area_point
    for chosen in combinations(points, size - faults):
        assert distance_outside(found, chosen) < 1e-7


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from([1e-13, 1e-11, 1e-9, 1e-6]))
def test_points_that_are_nearly_equal_or_nearly_on_a_line_have_a_safe_point_too(seed, noise):
    random = np.random.default_rng(seed)
    points = random.integers(-2, 3, (9, 2)) + noise * random.normal(size=(9, 2))
    found = byzantine_vector_safe_area(points, 2).safe_area_point
    assert all(distance_outside(found, points[list(chosen)]) < 1e-7 for chosen in combinations(range(9), 7))


@settings(max_examples=30)
@given(st.lists(plane, min_size=4, max_size=6), st.data())
def test_the_safe_point_does_not_depend_on_the_order_of_points(points, data):
    one = byzantine_vector_safe_area(points, 1).safe_area_point
    other = byzantine_vector_safe_area(data.draw(st.permutations(points)), 1).safe_area_point
    assert one == pytest.approx(other, abs=1e-7)


def test_one_liar_more_leads_the_safe_point_out_of_the_hull_of_right_points():
    found = byzantine_vector_safe_area([(0, 0), (0, 0), (9, 0), (9, 0)], 1).safe_area_point
    assert found == pytest.approx([4.5, 0])


@pytest.mark.parametrize("far", [1e3, 1e9, 1e15])
def test_a_far_liar_costs_the_safe_point_no_digits(far):
    found = byzantine_vector_safe_area([(0, 0), (2, 0), (0, 2), (far, 3 * far)], 1).safe_area_point
    assert found == pytest.approx([0.5, 1.5], abs=1e-8)


@settings(max_examples=25)
@given(st.lists(st.tuples(whole, whole, whole), min_size=5, max_size=5))
def test_in_space_every_hull_of_four_of_five_points_holds_it(points):
    """A point outside a tetrahedron lies beyond one of its faces; five points have ten."""
    found = byzantine_vector_safe_area(points, 1).safe_area_point
    table = np.asarray(points)
    for chosen in combinations(range(5), 3):
        base, one, other = table[list(chosen)]
        normal = np.cross(one - base, other - base)
        if not normal.any():
            continue
        heights = (table - base) @ normal / np.linalg.norm(normal)
        height = float((found - base) @ normal / np.linalg.norm(normal))
        if (heights > 1e-9).sum() <= 1:
            assert height < 1e-7
        if (heights < -1e-9).sum() <= 1:
            assert height > -1e-7


def test_too_many_planes_are_refused_with_a_remedy(monkeypatch):
    monkeypatch.setattr(safe_area, "PLANES_MAX", 5)
    with pytest.raises(ConfigurationError, match="Give fewer points"):
        byzantine_vector_safe_area(SQUARE, 1)


@pytest.mark.parametrize("rule", [lambda points: krum(points, 1), geometric_median])
@pytest.mark.parametrize("points", [[], [1.0, 2.0], [[1, 2], [3]], [["a"]], [[float("nan"), 1]]])
def test_what_is_no_table_of_points_is_refused_with_a_remedy(rule, points):
    with pytest.raises(ConfigurationError, match=r"Give|Leave"):
        rule(points)
