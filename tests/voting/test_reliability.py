"""Figures of reliability and of silence: printed values, and sums that are counted out."""

from __future__ import annotations

from itertools import product
from math import erfc, log10, prod, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.voting.refused import Refused
from quorum.voting.reliability import k_of_n_reliability, optimal_weighted_majority, pfdavg_simplified
from quorum.voting.silence import phi_accrual_exponential, phi_accrual_normal

chance = st.floats(0.05, 0.95)


@given(st.floats(0, 1))
def test_triple_modular_redundancy_is_3r2_minus_2r3(r):
    """Printed everywhere since Lyons and Vanderkulk (1962)."""
    assert k_of_n_reliability(3, 2, r) == pytest.approx(3 * r**2 - 2 * r**3)


@given(st.integers(1, 6), chance, st.floats(0, 1))
def test_with_a_common_cause_one_channel_is_as_good_as_before_and_all_of_n_no_worse_than_apart(n, r, beta):
    assert k_of_n_reliability(1, 1, r, beta) == pytest.approx(r)
    assert k_of_n_reliability(n, n, r, beta) >= r**n - 1e-9
    assert k_of_n_reliability(n, 1, r, 1.0) == pytest.approx(r), "what strikes all leaves none"
    assert k_of_n_reliability(n, 1, 0.0, 1.0) == 0.0


def test_figures_of_a_protection_are_those_of_the_standard():
    """A failure rate of 1e-6 per hour, tested once a year."""
    alone = pfdavg_simplified(1e-6, 8760)
    assert alone == pytest.approx(
        {"1oo1": 4.38e-3, "1oo2": 2.55792e-5, "2oo2": 8.76e-3, "2oo3": 7.67376e-5, "1oo3": 1.68055344e-7}
    )
    common = pfdavg_simplified(1e-6, 8760, 0.1)
    assert common["2oo3"] == pytest.approx(5.0e-4, abs=5e-6)
    assert common["2oo3"] == pytest.approx((0.9 * 8.76e-3) ** 2 + 0.1 * 8.76e-3 / 2)
    assert common["1oo1"] == alone["1oo1"] and common["2oo2"] == alone["2oo2"]


def test_rates_at_which_the_equations_are_no_chances_are_refused():
    assert isinstance(pfdavg_simplified(1e-3, 8760), Refused)


def test_five_voters_gain_by_the_best_weights():
    """Shapley and Grofman's example: 0.877 by a simple majority, 0.927 by weights."""
    found = optimal_weighted_majority([0.9, 0.9, 0.6, 0.6, 0.6])
    assert found.simple_majority == pytest.approx(0.877, abs=5e-4)
    assert found.log_odds_accuracy == pytest.approx(0.927, abs=5e-4)
    assert found.log_odds_weights == pytest.approx(np.log([9, 9, 1.5, 1.5, 1.5]))


@given(st.lists(chance, min_size=1, max_size=7))
def test_accuracies_are_those_that_counting_all_outcomes_finds(chances):
    found = optimal_weighted_majority(chances)

    def counted(weights):
        total = 0.0
        for right in product((True, False), repeat=len(chances)):
            odds = prod(p if each else 1 - p for p, each in zip(chances, right, strict=True))
            score = sum(w if each else -w for w, each in zip(weights, right, strict=True))
            total += odds * (0.5 if abs(score) < 1e-9 else score > 0)
        return total

    assert found.simple_majority == pytest.approx(counted([1.0] * len(chances)))
    assert found.log_odds_accuracy == pytest.approx(counted(found.log_odds_weights), abs=1e-9)
    assert found.log_odds_accuracy >= max(found.simple_majority, *chances, 0.5) - 1e-9


def test_thirty_six_voters_are_counted_out():
    assert optimal_weighted_majority([0.6] * 35).simple_majority == pytest.approx(k_of_n_reliability(35, 18, 0.6))


@pytest.mark.parametrize("competence", [[], [0.0], [1.0], [1.2], [0.5] * 37, [float("nan")]])
def test_competences_that_are_none_or_too_many_are_refused(competence):
    with pytest.raises(ConfigurationError, match=r"Give|Change|Leave"):
        optimal_weighted_majority(competence)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: k_of_n_reliability(3, 4, 0.9),
        lambda: k_of_n_reliability(3, 0, 0.9),
        lambda: k_of_n_reliability(3, 2, 1.1),
        lambda: k_of_n_reliability(3, 2, -0.1),
        lambda: pfdavg_simplified(-1, 8760),
        lambda: pfdavg_simplified(1e-6, 8760, 2),
        lambda: phi_accrual_normal(1, 1, 0),
        lambda: phi_accrual_normal(float("nan"), 1, 1),
        lambda: phi_accrual_exponential(1, 0),
    ],
)
def test_numbers_out_of_range_are_refused_with_a_remedy(ask):
    with pytest.raises(ConfigurationError, match="Give"):
        ask()


# --- phi --------------------------------------------------------------------------------------------------


def test_phi_at_the_mean_is_that_of_one_half_and_three_deviations_on_that_of_the_table():
    assert phi_accrual_normal(1000, 1000, 50) == pytest.approx(-log10(0.5))
    assert phi_accrual_normal(1150, 1000, 50) == pytest.approx(-log10(1.3498980316e-3), abs=1e-9)
    assert phi_accrual_normal(0, 1000, 1) == 0.0


def test_phi_goes_on_where_the_chance_is_below_every_float():
    below, above = phi_accrual_normal(28.28, 0, 1), phi_accrual_normal(28.29, 0, 1)
    assert below == pytest.approx(-log10(erfc(28.28 / sqrt(2)) / 2), abs=1e-9)
    assert above == pytest.approx(-log10(erfc(28.29 / sqrt(2)) / 2), abs=1e-9), "the series meets the exact tail"
    assert phi_accrual_normal(1e6, 0, 1) == pytest.approx(5e11 / np.log(10), rel=1e-9)


def test_phi_of_exponential_gaps_is_1_where_the_silence_comes_once_in_ten():
    assert phi_accrual_exponential(1000 * np.log(10), 1000) == pytest.approx(1.0)
    assert phi_accrual_exponential(0, 1000) == 0.0
