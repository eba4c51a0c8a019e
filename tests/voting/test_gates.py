"""Gates and selectors: which channels they leave out, or follow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.voting.gates import modified_z_score, px4_data_validator_group
from quorum.voting.refused import Refused


def test_a_far_value_is_an_outlier_and_the_mad_is_not_scaled():
    found = modified_z_score([1.0, 2.0, 3.0, 2.0, 50.0], 3.5)
    assert list(found.outliers) == [False, False, False, False, True]
    assert (found.median, found.mad) == (2.0, 1.0)


def test_a_score_of_the_cut_itself_is_no_outlier():
    scores = 0.6745 * np.abs(np.asarray([1.0, 2.0, 3.0, 2.0, 50.0]) - 2.0)
    assert not modified_z_score([1.0, 2.0, 3.0, 2.0, 50.0], float(scores[4])).outliers.any()


def test_where_most_values_are_equal_every_other_one_is_an_outlier():
    assert list(modified_z_score([1.0, 1.0, 1.0, 1.001]).outliers) == [False, False, False, True]
    assert not modified_z_score([1.0, 1.0]).outliers.any()


@given(st.integers(1, 3), st.data())
def test_liars_fewer_than_half_and_far_away_are_found_and_right_values_mostly_kept(faults, data):
    right = [20.0 + each / 10 for each in range(2 * faults + 1)]
    lies = data.draw(st.lists(st.floats(1e3, 1e9), min_size=faults, max_size=faults))
    found = modified_z_score(right + lies)
    assert found.outliers[len(right) :].all() and not found.outliers[: len(right)].any()
    ticks = modified_z_score(np.asarray([right + lies, lies + right]))
    assert list(ticks.outliers[0]) == list(found.outliers) and ticks.median[1] == found.median


def test_as_many_liars_as_right_channels_and_one_more_make_these_the_outliers():
    assert list(modified_z_score([20.0, 20.1, 900.0, 900.1, 900.2]).outliers) == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("current", "confidence", "priority", "selected"),
    [
        (0, [0.95, 0.95], [100, 100], 0),
        (1, [0.95, 0.95], [100, 100], 1),  # the current one stays among equals
        (1, [0.95, 0.95], [100, 50], 0),  # as sure, and of a higher priority
        (0, [0.95, 0.99], [100, 50], 0),  # surer, and of a lower priority
        (0, [0.95, 0.99], [50, 50], 1),  # surer, at the same priority
        (0, [0.5, 0.95], [100, 1], 1),  # regular where the best is not, whatever its priority
        (0, [0.5, 0.89], [100, 1], 0),  # not regular either
        (0, [0.5, 0.95, 0.95], [100, 50, 75], 2),  # the second step is against the best so far
        (None, [0.0, 0.4], [1, 1], 1),
        (-1, [0.2, 0.4], [1, 1], 1),
        (1, [0.0, 0.0], [1, 1], 1),  # none is better: it stays
    ],
)
def test_px4_switches_by_confidence_then_priority(current, confidence, priority, selected):
    assert px4_data_validator_group(current, confidence, priority) == selected


def test_px4_without_any_confidence_follows_none():
    assert isinstance(px4_data_validator_group(None, [0.0, 0.0], [1, 1]), Refused)


@pytest.mark.parametrize(
    ("current", "confidence", "priority"),
    [(2, [0.5, 0.5], [1, 1]), (0, [1.5], [1]), (0, [0.5], [1, 2]), (0, [], []), (True, [0.5, 0.5], [1, 1])],
)
def test_channels_that_are_none_are_refused(current, confidence, priority):
    with pytest.raises(ConfigurationError, match=r"Give|Change"):
        px4_data_validator_group(current, confidence, priority)
