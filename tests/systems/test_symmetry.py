"""Programs made smaller: equal nodes cost as one, and different ones are never taken for equal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.systems.classic import majority
from quorum.systems.flow import lay, new_shares
from quorum.systems.mass_tree import tree_of
from quorum.systems.program import Budget, Face, Program
from quorum.systems.symmetry import reduced


def majority_program(costs: list[float]) -> tuple[Program, int]:
    """A majority whose nodes have these costs; the peak of their loads is to be small."""
    program, shares = Program(), new_shares()
    tree = tree_of(majority([f"n{place}" for place in range(len(costs))]).reads)
    assert tree is not None
    lay(program, tree, program.column(1.0, 1.0), shares)
    peak = program.column()
    for place, cost in enumerate(costs):
        terms = [(column, cost * factor) for column, factor in shares[f"n{place}"]]
        program.row([*terms, (peak, -1.0)], upper=0.0)
    return program, peak


@pytest.mark.parametrize(("kinds", "columns"), [([1.0], 3), ([1.0, 2.0], 4), ([1.0, 2.0, 3.0], 5)])
def test_a_thousand_nodes_cost_as_many_columns_as_there_are_kinds(kinds: list[float], columns: int):
    program, peak = majority_program([kinds[place % len(kinds)] for place in range(999)])
    smaller = reduced(program.arrays(), [program.costs([(peak, 1.0)])])
    assert program.columns == 1001
    assert len(smaller.arrays.lower) == columns


def test_what_differs_in_anything_is_kept_apart():
    """Negative control: one aim or one factor is enough to tell two columns from each other."""
    program = Program()
    first, second = program.column(), program.column()
    program.row([(first, 1.0), (second, 1.0)], lower=1.0)
    alike = program.costs([(first, 1.0), (second, 1.0)])
    assert len(reduced(program.arrays(), [alike]).arrays.lower) == 1
    assert len(reduced(program.arrays(), [program.costs([(first, 1.0)])]).arrays.lower) == 2
    program.row([(first, 2.0)], upper=5.0)
    assert len(reduced(program.arrays(), [alike]).arrays.lower) == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from((1.0, 2.0, 5.0)), min_size=1, max_size=9))
def test_the_smaller_program_has_the_same_optimum_and_it_fits_the_larger(costs: list[float]):
    program, peak = majority_program(costs)
    arrays, aim = program.arrays(), program.costs([(peak, 1.0)])
    whole = Face(arrays, Budget(10)).minimise(aim)
    smaller = reduced(arrays, [aim])
    found = Face(smaller.arrays, Budget(10)).minimise(smaller.costs(aim))
    assert whole is not None and found is not None
    assert found.value == pytest.approx(whole.value, rel=1e-9)
    lifted = smaller.lifted(found)
    sums = Face(arrays, Budget(10)).sums(lifted)
    assert np.all(sums <= arrays.row_upper + 1e-9) and np.all(sums >= arrays.row_lower - 1e-9)
    assert float(aim @ lifted.columns) == pytest.approx(whole.value, rel=1e-9)
