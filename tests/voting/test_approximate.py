"""Steps of approximate agreement: their examples, and that liars never lead them out of the right values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.voting.approximate import (
    approximate_agreement_step,
    crusader_convergence_average,
    interactive_convergence,
    w_msr_step,
)
from quorum.voting.refused import Refused


@st.composite
def exchanged(draw):
    """3T+1 values or more, of which T are lies; T; and the right ones."""
    faults = draw(st.integers(0, 3))
    size = 3 * faults + 1 + draw(st.integers(0, 3))
    right = draw(st.lists(st.floats(0, 1), min_size=size - faults, max_size=size - faults))
    lies = draw(st.lists(st.floats(-1e9, 1e9), min_size=faults, max_size=faults))
    return draw(st.permutations(right + lies)), faults, right


# --- Dolev and others -------------------------------------------------------------------------------------


def test_a_step_drops_t_at_each_end_and_takes_every_kth_of_the_rest():
    found = approximate_agreement_step([1, 2, 3, 4, 5, 6, 100], faults=2, select_every=2)
    assert found.value == 4.0 and found.convergence_factor_c == 2  # 3, 5 of 3, 4, 5
    assert approximate_agreement_step([1, 2, 3, 100], 1, 1).value == 2.5


def test_a_step_is_refused_below_3t_plus_1():
    assert isinstance(approximate_agreement_step([1, 2, 3], 1, 1), Refused)


@given(exchanged(), st.integers(1, 4))
def test_a_step_stays_among_right_values_and_c_is_that_of_the_paper(drawn, select_every):
    values, faults, right = drawn
    found = approximate_agreement_step(values, faults, select_every)
    assert min(right) - 1e-9 <= found.value <= max(right) + 1e-9
    assert found.convergence_factor_c == (len(values) - 2 * faults - 1) // select_every + 1


@given(exchanged(), st.data())
def test_two_nodes_that_hear_different_lies_come_c_times_as_near(drawn, data):
    """Theorem of Dolev et al. for k = T: what the same right values and other lies give."""
    values, faults, right = drawn
    others = right + data.draw(st.lists(st.floats(-1e6, 1e6), min_size=faults, max_size=faults))
    one = approximate_agreement_step(values, faults, max(1, faults))
    other = approximate_agreement_step(others, faults, max(1, faults))
    assert abs(one.value - other.value) <= (max(right) - min(right)) / one.convergence_factor_c + 1e-9


def test_one_liar_more_leads_a_step_out_of_the_right_values():
    assert approximate_agreement_step([0, 0, 900, 900], 1, 1).value == 450


# --- CCA and CNV ------------------------------------------------------------------------------------------


def test_crusader_convergence_drops_what_is_far_from_all_but_t():
    assert crusader_convergence_average([1.0, 1.1, 1.2, 1.3, 9.0], 1, 0.5) == pytest.approx(1.15)
    assert np.isnan(crusader_convergence_average([0.0, 10.0, 20.0, 30.0], 1, 0.5))
    assert isinstance(crusader_convergence_average([1.0, 1.1, 9.0], 1, 0.5), Refused)


@given(exchanged())
def test_what_crusader_convergence_accepts_is_within_delta_of_right_values(drawn):
    values, faults, right = drawn
    found = crusader_convergence_average(values, faults, 1.0)
    assert min(right) - 1 <= found <= max(right) + 1


def test_with_one_liar_more_it_may_refuse_and_n_minus_t_liars_lead_it_anywhere():
    assert np.isnan(crusader_convergence_average([0.0, 0.0, 900.0, 900.0], 1, 1.0))
    assert crusader_convergence_average([0.0, 900.0, 900.0, 900.0], 1, 1.0) == 900.0


def test_interactive_convergence_puts_its_own_value_for_one_that_is_far():
    assert interactive_convergence([1.0, 1.1, 9.0, 1.2], own=0, delta=0.5) == pytest.approx(4.3 / 4)
    assert interactive_convergence([1.0, 1.5], own=0, delta=0.5) == 1.25, "at delta it is near"
    assert isinstance(interactive_convergence([1.0, 1.1, 9.0], 0, 0.5, faults=1), Refused)
    with pytest.raises(ConfigurationError, match="Give 0 to 1"):
        interactive_convergence([1.0, 1.1], own=2, delta=0.5)


@given(exchanged(), st.data())
def test_t_liars_move_interactive_convergence_by_t_delta_over_n_at_most(drawn, data):
    """Lamport and Melliar-Smith, lemma on CNV: what the lies do beside one's own value."""
    values, faults, right = drawn
    own = data.draw(st.sampled_from([place for place, value in enumerate(values) if value in right]))
    honest = [value if value in right else values[own] for value in values]
    found, without = (interactive_convergence(each, own, 1.0, faults) for each in (values, honest))
    assert abs(found - without) <= faults * 1.0 / len(values) + 1e-9


def test_one_liar_more_moves_it_further():
    assert interactive_convergence([0.0, 0.0, 1.0, 1.0], 0, 1.0, 1) == 0.5 > 1 * 1.0 / 4


# --- W-MSR ------------------------------------------------------------------------------------------------


def test_w_msr_drops_f_above_and_f_below_its_own_value():
    assert w_msr_step(5.0, [1.0, 6.0, 7.0, 100.0], 1) == 6.0
    assert w_msr_step(5.0, [6.0, 7.0, 8.0], 2) == 5.5, "nobody is below: nothing is dropped there"
    assert w_msr_step(5.0, [9.0], 2) == 5.0, "fewer than F are all dropped"
    assert w_msr_step(5.0, [5.0, 5.0], 5) == 5.0, "equal ones are kept"


def test_w_msr_scales_its_weights_to_what_is_left():
    assert w_msr_step(0.0, [4.0, 8.0], 1, weights=[3, 1, 9]) == 1.0
    for weights in ([1, 1], [1, 1, 0], [1, 1, -1]):
        with pytest.raises(ConfigurationError, match="one's own"):
            w_msr_step(0.0, [4.0, 8.0], 1, weights)


@given(st.floats(0, 1), st.lists(st.floats(0, 1), max_size=6), st.integers(1, 3), st.data())
def test_f_liars_never_lead_w_msr_out_of_the_right_values(own, right, faults, data):
    lies = data.draw(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=faults))
    found = w_msr_step(own, data.draw(st.permutations(right + lies)), faults)
    assert min([own, *right]) - 1e-9 <= found <= max([own, *right]) + 1e-9


def test_f_plus_1_liars_do():
    assert w_msr_step(0.5, [900.0, 900.0], 1) > 1


# --- all of them ------------------------------------------------------------------------------------------

RULES = {
    "dolev": lambda values: approximate_agreement_step(values, 1, 1).value,
    "cca": lambda values: crusader_convergence_average(values, 1, 1.0),
    "cnv": lambda values: interactive_convergence(values, 0, 1.0),
    "w_msr": lambda values: w_msr_step(np.asarray(values)[..., 0], np.asarray(values)[..., 1:], 1),
}


@pytest.mark.parametrize("name", RULES)
@given(data=st.data())
def test_many_ticks_at_once_are_decided_as_one_by_one(name, data):
    row = st.lists(st.integers(-3, 3).map(float), min_size=5, max_size=5)
    ticks = np.asarray(data.draw(st.lists(row, min_size=1, max_size=4)))
    assert RULES[name](ticks) == pytest.approx(np.asarray([RULES[name](tick) for tick in ticks]), nan_ok=True)


@pytest.mark.parametrize("name", RULES)
@given(data=st.data())
def test_a_step_does_not_depend_on_the_order_of_others(name, data):
    own, *others = data.draw(st.lists(st.integers(-3, 3).map(float), min_size=5, max_size=7))
    shuffled = [own, *data.draw(st.permutations(others))]
    assert RULES[name]([own, *others]) == pytest.approx(RULES[name](shuffled), nan_ok=True)
