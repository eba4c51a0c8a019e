"""Fusion of what is believed: printed examples, and the properties by which the rules are defined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.voting.fusion import covariance_intersection, dempster_rule, inverse_variance
from quorum.voting.refused import Refused

values = st.floats(-1e6, 1e6)
spreads = st.floats(1e-6, 1e6)


def test_inverse_variance_weighs_by_the_reciprocal():
    found = inverse_variance([1.0, 2.0], [1.0, 0.5])
    assert found.value == pytest.approx(5 / 3) and found.variance == pytest.approx(1 / 3)


@given(st.lists(st.tuples(values, spreads), min_size=1, max_size=6))
def test_its_variance_is_below_the_best_one_and_its_value_among_the_given(pairs):
    found = inverse_variance(*np.asarray(pairs).T)
    assert found.variance <= min(spread for _, spread in pairs) * (1 + 1e-9)
    low, high = min(value for value, _ in pairs), max(value for value, _ in pairs)
    assert low - 1e-6 <= found.value <= high + 1e-6


def test_one_liar_with_a_small_variance_takes_all():
    assert inverse_variance([20.0, 20.0, 900.0], [1.0, 1.0, 1e-12]).value > 899


def test_variances_that_are_none_are_refused():
    for spread in ([0.0, 1.0], [-1.0, 1.0], [1.0]):
        with pytest.raises(ConfigurationError, match="Change them"):
            inverse_variance([1.0, 2.0], spread)


# --- covariance intersection ------------------------------------------------------------------------------


def test_two_estimates_that_are_good_on_different_axes_share_alike():
    """P^-1 is half of each: 0.5 (1 + 1/4) = 0.625 on both axes."""
    found = covariance_intersection([1, 0], np.diag([1.0, 4.0]), [0, 1], np.diag([4.0, 1.0]), "trace")
    assert found.omega == pytest.approx(0.5, abs=1e-9)
    assert pytest.approx(np.diag([1.6, 1.6])) == found.P and found.x == pytest.approx([0.8, 0.8])


def test_a_better_estimate_is_taken_whole():
    for criterion in ("trace", "determinant"):
        found = covariance_intersection([1.0], [[1.0]], [2.0], [[4.0]], criterion)
        assert found.omega == 1.0 and pytest.approx(np.eye(1)) == found.P
        turned = covariance_intersection([2.0], [[4.0]], [1.0], [[1.0]], criterion)
        assert turned.omega == 0.0 and turned.x == pytest.approx([1.0])
    assert covariance_intersection([1.0], [[1.0]], [3.0], [[1.0]]).x == pytest.approx([2.0])


@st.composite
def covariance(draw):
    root = np.asarray(draw(st.lists(st.floats(-2, 2), min_size=4, max_size=4))).reshape(2, 2)
    return root @ root.T + 0.1 * np.eye(2)


@given(covariance(), covariance(), st.sampled_from(["trace", "determinant"]))
def test_no_other_omega_does_better(P1, P2, criterion):
    measure = np.trace if criterion == "trace" else np.linalg.det
    found = covariance_intersection([0, 0], P1, [1, 1], P2, criterion)
    for omega in np.linspace(0, 1, 41):
        other = np.linalg.inv(omega * np.linalg.inv(P1) + (1 - omega) * np.linalg.inv(P2))
        assert measure(found.P) <= measure(other) * (1 + 1e-9)


@given(covariance(), covariance(), st.floats(-0.99, 0.99))
def test_its_covariance_is_honest_whatever_the_correlation_is(P1, P2, correlation):
    """Julier and Uhlmann: P less the true covariance of the fused error has no negative direction."""
    found = covariance_intersection([0, 0], P1, [0, 0], P2)
    roots = [np.linalg.cholesky(each) for each in (P1, P2)]
    cross = correlation * roots[0] @ roots[1].T
    gains = [
        found.P @ (found.omega * np.linalg.inv(P1)),
        found.P @ ((1 - found.omega) * np.linalg.inv(P2)),
    ]
    mixed = gains[0] @ cross @ gains[1].T
    true = gains[0] @ P1 @ gains[0].T + gains[1] @ P2 @ gains[1].T + mixed + mixed.T
    assert np.linalg.eigvalsh(found.P - true).min() > -1e-8


@pytest.mark.parametrize("P", [[[1.0, 2.0], [0.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]], [[0.0]], [[1.0]], [[1, 2]]])
def test_what_is_no_covariance_is_refused(P):
    with pytest.raises(ConfigurationError, match="Change it"):
        covariance_intersection([0, 0], P, [0, 0], np.eye(2))


def test_other_criteria_and_vectors_of_different_length_are_refused():
    with pytest.raises(ConfigurationError, match="Give one of those"):
        covariance_intersection([0], [[1]], [0], [[1]], "norm")
    with pytest.raises(ConfigurationError, match="of one length"):
        covariance_intersection([0], [[1]], [0, 0], np.eye(2))


# --- Dempster ---------------------------------------------------------------------------------------------

ZADEH = ({"A": 0.99, "B": 0.01}, {"C": 0.99, "B": 0.01})


def test_dempster_is_sure_of_what_nobody_believes_where_no_gate_stands():
    """Zadeh's example: two doctors, a tumour that both hold for nearly impossible."""
    found = dempster_rule(*ZADEH)
    assert found.masses == {"B": 1.0} and found.conflict == pytest.approx(0.9999)


def test_a_gate_refuses_above_its_limit_and_total_conflict_is_always_refused():
    assert isinstance(dempster_rule(*ZADEH, conflict_limit=0.9), Refused)
    assert dempster_rule(*ZADEH, conflict_limit=0.99995).masses == {"B": 1.0}
    assert isinstance(dempster_rule({"A": 1.0}, {"B": 1.0}), Refused)


def test_sets_meet_in_what_they_share():
    found = dempster_rule({"A": 0.6, "AB": 0.4}, {"B": 0.5, "BA": 0.5})
    assert found.conflict == pytest.approx(0.3)
    assert found.masses == pytest.approx({"A": 0.3 / 0.7, "B": 0.2 / 0.7, "AB": 0.2 / 0.7})


@st.composite
def evidence(draw):
    sets = draw(st.lists(st.sampled_from(["A", "B", "C", "AB", "AC", "ABC"]), min_size=1, unique=True))
    raw = draw(st.lists(st.integers(1, 9), min_size=len(sets), max_size=len(sets)))
    return {each: mass / sum(raw) for each, mass in zip(sets, raw, strict=True)}


@given(evidence(), evidence(), evidence())
def test_masses_sum_to_1_and_the_order_does_not_matter(one, other, third):
    found, turned = dempster_rule(one, other), dempster_rule(other, one)
    if isinstance(found, Refused):
        assert isinstance(turned, Refused)
        return
    assert sum(found.masses.values()) == pytest.approx(1)
    assert found.masses == pytest.approx(turned.masses) and found.conflict == pytest.approx(turned.conflict)
    whole = dempster_rule(found.masses, {"ABC": 1.0})
    assert whole.masses == pytest.approx(found.masses), "who knows nothing changes nothing"


@pytest.mark.parametrize(
    "masses", [{}, {"A": 0.5}, {"A": 1.5, "B": -0.5}, {"": 1.0}, {"AA": 1.0}, {"AB": 0.5, "BA": 0.5}, {"A": True}]
)
def test_masses_that_are_none_are_refused(masses):
    with pytest.raises(ConfigurationError, match=r"Change it|Scale them"):
        dempster_rule(masses, {"A": 1.0})
