"""Voters over single values: their printed examples, their bounds, and what happens beyond these."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.voting.refused import Refused
from quorum.voting.voters import (
    exact_majority,
    formalized_majority,
    history_weighted_average,
    k_out_of_n_vote,
    lorczak_weighted_average,
    median,
    plurality,
    weighted_average,
)

anything = st.floats(-1e9, 1e9)
few = st.integers(-2, 2).map(float)


@st.composite
def some_lie(draw, needed, lies=anything):
    """Right values within 1 of each other, T lies anywhere, mixed; and the right values alone."""
    faults = draw(st.integers(0, 3))
    size = needed(faults) + draw(st.integers(0, 2))
    right = draw(st.lists(st.floats(20, 21), min_size=size - faults, max_size=size - faults))
    lying = draw(st.lists(lies, min_size=faults, max_size=faults))
    return draw(st.permutations(right + lying)), faults, right


def majority_needed(faults):
    return 2 * faults + 1


# --- exact majority, plurality ----------------------------------------------------------------------------


def test_two_of_three_equal_values_win_and_three_different_ones_are_refused():
    assert exact_majority([5.0, 7.0, 5.0]) == 5.0
    assert np.isnan(exact_majority([5.0, 7.0, 6.0]))
    assert np.isnan(exact_majority([5.0, 5.0, 6.0, 6.0])), "half is no majority"


@given(st.lists(few, min_size=1, max_size=9))
def test_exact_majority_is_the_value_that_counting_finds(values):
    found = float(exact_majority(values))
    winners = {each for each in values if 2 * values.count(each) > len(values)}
    assert ({found} if not np.isnan(found) else set()) == winners


@given(st.lists(few, min_size=1, max_size=9), st.integers(1, 9))
def test_plurality_is_the_largest_group_alone_and_large_enough(values, k):
    found = float(plurality(values, k))
    best = max(values.count(each) for each in values)
    winners = {each for each in values if values.count(each) == best}
    assert ({found} if not np.isnan(found) else set()) == (winners if len(winners) == 1 and best >= k else set())


def test_plurality_refuses_a_tie_and_a_group_below_k():
    assert plurality([1, 1, 2, 3, 4], 2) == 1.0
    assert np.isnan(plurality([1, 1, 2, 2, 3], 2))
    assert np.isnan(plurality([1, 1, 2, 3, 4], 3))


@given(st.integers(1, 4), st.lists(anything, min_size=1, max_size=4))
def test_t_liars_alone_never_win_a_plurality_of_more_than_t(faults, lies):
    lies = lies[:faults]
    right = [20.0] * (faults + 1)
    assert plurality(right + lies, faults + 1) == 20.0


def test_as_many_liars_as_decide_win():
    assert exact_majority([20.0, 20.0, 900.0, 900.0, 900.0]) == 900.0
    assert plurality([20.0, 20.1, 900.0, 900.0], 2) == 900.0
    assert k_out_of_n_vote([False, True, True], 2)


# --- formalised majority ----------------------------------------------------------------------------------


def test_the_output_is_the_upper_median_of_the_group_within_epsilon():
    found = formalized_majority([1.0, 5.0, 1.25, 1.5], 0.25)
    assert found.output == 1.25 and (found.first, found.last) == (0, 2)
    assert formalized_majority([1.0, 1.25, 9.0], 0.25).output == 1.25, "of two it is the upper one"
    assert np.isnan(formalized_majority([1.0, 1.25, 5.0, 9.0], 0.25).output), "half is no majority"


@given(some_lie(majority_needed))
def test_liars_cannot_move_a_formalised_majority_out_of_the_right_values(drawn):
    values, _, right = drawn
    assert min(right) <= formalized_majority(values, 1.0).output <= max(right)


def test_one_liar_more_can_move_a_formalised_majority():
    assert formalized_majority([20.0, 20.1, 900.0, 900.1, 900.2], 1.0).output > 899


@given(st.lists(st.integers(0, 12).map(float), min_size=1, max_size=9), st.integers(0, 3))
def test_the_group_is_the_chain_that_walking_along_the_values_finds(values, epsilon):
    chains = [[min(values)]]
    for one, other in pairwise(sorted(values)):
        chains = [*chains[:-1], [*chains[-1], other]] if other - one <= epsilon else [*chains, [other]]
    group = next((chain for chain in chains if 2 * len(chain) > len(values)), None)
    found = formalized_majority(values, epsilon)
    if group is None:
        assert np.isnan(found.output)
    else:
        assert sorted(values)[int(found.first) : int(found.last) + 1] == group
        assert found.output == group[len(group) // 2]


# --- k of n, median, averages -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("votes", "k", "trip"),
    [
        ([True, True, False], 2, True),
        ([True, False, False], 2, False),
        ([True, False], 1, True),
        ([True, False], 2, False),
        ([False, False, False], 1, False),
    ],
)
def test_k_of_n_trips_at_k_votes(votes, k, trip):
    assert k_out_of_n_vote(votes, k) == trip


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_fewer_than_k_liars_neither_trip_alone_nor_does_the_rest_fail_to(votes, data):
    k = data.draw(st.integers(1, len(votes)))
    assert bool(k_out_of_n_vote(votes, k)) == (sum(votes) >= k)


def test_votes_that_are_no_flags_or_too_few_for_k_are_refused():
    for votes, k in (([1.0, 0.0], 1), ([], 1), ([True], 2), ([True], 0)):
        with pytest.raises(ConfigurationError, match="Give"):
            k_out_of_n_vote(votes, k)


@given(some_lie(majority_needed))
def test_a_median_lies_among_right_values_whatever_t_liars_say(drawn):
    values, faults, right = drawn
    assert min(right) <= median(values, faults) <= max(right)


def test_a_median_is_refused_below_2t_plus_1_where_t_plus_1_liars_could_move_it():
    assert isinstance(median([1.0, 2.0], 1), Refused)
    assert median([20.0, 20.1, 900.0, 900.0, 900.0]) == 900.0
    assert median([1, 2, 3, 100]) == 2.5


def test_a_weighted_average_takes_weights_as_they_are_and_has_no_bound():
    assert weighted_average([1.0, 2.0], [3, 1]) == 1.25
    for weights in ([-1, 2], [0, 0], [1]):
        with pytest.raises(ConfigurationError, match="Change them"):
            weighted_average([1.0, 2.0], weights)


def test_lorczak_weights_follow_the_formula():
    found = lorczak_weighted_average([1.0, 1.1, 5.0], a=0.5)
    raw = [
        1 / (1 + (0.1**2 / 0.25) * (4.0**2 / 0.25)),
        1 / (1 + (0.1**2 / 0.25) * (3.9**2 / 0.25)),
        1 / (1 + (4.0**2 / 0.25) * (3.9**2 / 0.25)),
    ]
    assert found.weights == pytest.approx(np.asarray(raw) / sum(raw), abs=1e-12)
    assert found.output == pytest.approx(np.dot(raw, [1.0, 1.1, 5.0]) / sum(raw))


@given(st.lists(st.floats(-1e90, 1e90), min_size=1, max_size=30), st.floats(1e-9, 1e9))
def test_lorczak_weights_sum_to_1_however_far_apart_the_values_are(values, a):
    found = lorczak_weighted_average(values, a)
    assert found.weights.sum() == pytest.approx(1) and np.isfinite(found.output)
    assert (found.weights >= 0).all()


# --- history ----------------------------------------------------------------------------------------------

ROUNDS = [[1.0, 1.1, 9.0], [1.0, 1.1, 9.0], [1.0, 1.1, 1.2], [1.0, 1.1, 1.2]]


def test_the_first_round_is_the_plain_mean_and_a_channel_that_disagreed_counts_nothing_after_it():
    found = history_weighted_average(ROUNDS, epsilon=0.5, elimination=True)
    assert found.outputs == pytest.approx([11.1 / 3, 1.05, 1.05, 1.05])
    assert found.final_reliability == pytest.approx([1.0, 1.0, 0.5])


def test_without_elimination_it_comes_back_by_the_square_of_its_reliability():
    found = history_weighted_average(ROUNDS, epsilon=0.5, elimination=False)
    third = 1 / 3
    assert found.outputs[3] == pytest.approx((1.0 + 1.1 + third**2 * 1.2) / (2 + third**2))


def test_equal_reliabilities_are_not_below_their_mean():
    """Also where the mean of equal floats lies above them: ten channels that agreed in one of three rounds."""
    spread = [float(10 * channel) for channel in range(10)]
    found = history_weighted_average([[1.0] * 10, spread, spread, [1.0] * 10], epsilon=0.5)
    assert found.outputs[3] == pytest.approx(1.0)


def test_a_round_without_a_channel_that_ever_agreed_is_refused():
    found = history_weighted_average([[1, 5, 9], [1, 1, 1]], epsilon=0.5)
    assert found.outputs[0] == 5 and np.isnan(found.outputs[1])


def test_a_liar_beside_two_right_channels_moves_only_round_1_and_two_liars_move_all():
    right, lie = [20.0] * 4, [900.0] * 4
    one = history_weighted_average(np.asarray([right, right, lie]).T, 1.0).outputs
    two = history_weighted_average(np.asarray([right, lie, lie]).T, 1.0).outputs
    assert one[0] > 300 and list(one[1:]) == pytest.approx([20.0] * 3)
    assert list(two[1:]) == pytest.approx([900.0] * 3)


def test_history_needs_three_channels():
    assert isinstance(history_weighted_average([[1.0, 2.0]], 0.5), Refused)


@given(
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=6),
    st.permutations([0, 1, 2]),
)
def test_history_weighs_channels_whatever_their_order_is(rounds, order):
    table = np.asarray(rounds)
    one, other = history_weighted_average(table, 1.0), history_weighted_average(table[:, order], 1.0)
    assert one.final_reliability[order] == pytest.approx(other.final_reliability)
    assert one.outputs == pytest.approx(other.outputs, nan_ok=True, abs=1e-6)


# --- all of them ------------------------------------------------------------------------------------------

SCALAR = {
    "exact_majority": exact_majority,
    "formalized_majority": lambda values: formalized_majority(values, 1.0).output,
    "plurality": lambda values: plurality(values, 2),
    "median": median,
    "lorczak": lambda values: lorczak_weighted_average(values, 1.0).output,
}


@pytest.mark.parametrize("name", SCALAR)
@given(data=st.data())
def test_a_vote_does_not_depend_on_the_order_of_channels(name, data):
    values = data.draw(st.lists(few, min_size=1, max_size=8))
    shuffled = data.draw(st.permutations(values))
    assert SCALAR[name](values) == pytest.approx(SCALAR[name](shuffled), nan_ok=True)


@pytest.mark.parametrize("name", SCALAR)
@given(data=st.data())
def test_many_ticks_at_once_are_decided_as_one_by_one(name, data):
    size = data.draw(st.integers(1, 7))
    ticks = np.asarray(data.draw(st.lists(st.lists(few, min_size=size, max_size=size), min_size=1, max_size=5)))
    each = [float(SCALAR[name](tick)) for tick in ticks]
    assert SCALAR[name](ticks) == pytest.approx(np.asarray(each), nan_ok=True)


@pytest.mark.parametrize(
    "values", [[], [[]], [float("nan")], [float("inf"), 1], ["x"], [[1, 2], [3]], 5.0, [10**400]]
)
@pytest.mark.parametrize("name", SCALAR)
def test_what_is_no_list_of_finite_numbers_is_refused_with_a_remedy(name, values):
    with pytest.raises(ConfigurationError, match=r"Give|Leave"):
        SCALAR[name](values)


def test_a_refusal_is_false_and_says_why():
    refused = median([1.0], 1)
    assert not refused and "3 are needed" in refused.reason


@given(some_lie(majority_needed))
def test_the_strategy_above_draws_as_many_channels_as_it_says(drawn):
    values, faults, right = drawn
    assume(faults > 0)
    assert len(values) - len(right) == faults and len(values) >= 2 * faults + 1
