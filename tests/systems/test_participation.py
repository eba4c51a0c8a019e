"""What adapting the committee is worth: published figures, and the same chain without any of its symmetry."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.model import quorum_size
from quorum.systems.markov import stationary
from quorum.systems.participation import POLICIES, Participation, Policy, break_even, unavailability

AT_ONCE = {
    (10, 3): (2.33e-2, 4.32e-2, 2.26e-2, 2.33e-2),
    (10, 4): (4.38e-2, 8.00e-3, 4.08e-3, 4.10e-3),
    (10, 5): (6.53e-3, 1.24e-3, 6.19e-4, 6.20e-4),
    (10, 6): (1.22e-2, 1.70e-4, 8.45e-5, 8.48e-5),
    (10, 7): (1.91e-3, 2.19e-5, 1.08e-5, 1.08e-5),
    (10, 9): (5.72e-4, 3.13e-7, 1.53e-7, 1.54e-7),
    (20, 5): (1.00e-3, 9.78e-5, 4.89e-5, 4.90e-5),
    (20, 7): (1.60e-4, 4.70e-7, 2.33e-7, 2.34e-7),
    (100, 3): (2.92e-4, 5.80e-4, 2.91e-4, 2.92e-4),
    (100, 5): (9.56e-6, 1.90e-7, 9.51e-8, 9.52e-8),
    (100, 7): (3.28e-7, 3.92e-11, 1.96e-11, 1.96e-11),
}
"""(repair ratio, N): unavailability of majority, dynamic, dynamic-linear and adaptive."""
WITH_DELAY = {
    (20, 5): (2.00e-3, 1.06e-3, 2.02e-4, 6.44e-5, 5.05e-5),
    (20, 7): (3.67e-4, 1.47e-4, 8.27e-6, 5.45e-7, 2.59e-7),
    (100, 5): (2.08e-5, 1.03e-5, 1.55e-6, 2.40e-7, 1.10e-7),
    (100, 9): (3.30e-8, 9.60e-9, 1.27e-10, 3.62e-13, 8.5e-15),
}
"""(repair ratio, N): the adaptive committee, changed at 0.1, 1, 10, 100 and 1,000 times the rate of repair."""
WITH_LIARS = {
    (4, 1): (5.8e-4, 5.8e-4),
    (7, 2): (3.3e-5, 3.3e-5),
    (5, 1): (9.6e-4, 1.4e-5),
    (6, 1): (1.9e-5, 2.8e-7),
    (7, 1): (3.3e-5, 4.9e-9),
    (10, 2): (1.9e-6, 3.8e-10),
}
"""(N, T) at a repair ratio of 100: a fixed committee, and an adaptive one."""


@pytest.mark.parametrize(("asked", "figures"), AT_ONCE.items())
def test_a_committee_changed_at_once_has_the_known_figures(
    asked: tuple[int, int], figures: tuple[float, ...]
) -> None:
    ratio, nodes = asked
    for policy, figure in zip(POLICIES, figures, strict=True):
        assert unavailability(Participation(nodes, ratio, policy)).unavailability == pytest.approx(
            figure, rel=5e-3
        )


@pytest.mark.parametrize(("asked", "figures"), WITH_DELAY.items())
def test_a_change_that_takes_time_has_known_figures(asked: tuple[int, int], figures: tuple[float, ...]) -> None:
    ratio, nodes = asked
    for delay, figure in zip((0.1, 1, 10, 100, 1000), figures, strict=True):
        found = unavailability(Participation(nodes, ratio, "adaptive", delay))
        assert found.unavailability == pytest.approx(figure, rel=6e-3)


@pytest.mark.parametrize(("asked", "figures"), WITH_LIARS.items())
def test_where_members_may_lie_the_spares_gain(asked: tuple[int, int], figures: tuple[float, ...]) -> None:
    nodes, faults = asked
    policies: tuple[Policy, ...] = ("majority", "adaptive")
    for policy, figure in zip(policies, figures, strict=True):
        found = unavailability(Participation(nodes, 100, policy, model="byzantine", faults=faults))
        assert float(f"{found.unavailability:.1e}") == figure


Whole = tuple[frozenset[int], frozenset[int]]
"""The committee, and who is up, each by name; the lowest name breaks ties."""


def by_name(nodes: int, ratio: float, policy: Policy, delay: float) -> float:
    """The same figure from one state for every committee and every set of nodes that are up."""
    everybody = frozenset(range(nodes))

    def works(state: Whole) -> bool:
        committee, up = state
        here = committee & up
        if len(here) >= quorum_size(len(committee), 0, "crash"):
            return True
        tied = policy == "dynamic-linear" and 2 * len(here) == len(committee)
        return tied and min(committee) in here

    def adapted(state: Whole) -> Whole:
        committee, up = state
        if policy == "majority" or not works(state) or (policy == "adaptive" and len(up) < 3):
            return state
        size = len(up) if policy != "adaptive" or len(up) % 2 else len(up) - 1
        if len(up & committee) == len(committee) == size:
            return state
        return frozenset(sorted(up)[:size]), up

    def moves(state: Whole) -> Iterator[tuple[Whole, float]]:
        committee, up = state
        for node in everybody:
            after = (committee, up ^ {node})
            yield (adapted(after) if math.isinf(delay) else after), 1.0 if node in up else ratio
        if not math.isinf(delay) and adapted(state) != state:
            yield adapted(state), delay * ratio

    shares = stationary(adapted((everybody, everybody)), moves)
    return sum(share for state, share in shares.items() if not works(state))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("delay", [0.5, 30, math.inf])
@pytest.mark.parametrize("nodes", [1, 3, 4, 5])
def test_states_may_be_told_apart_by_counts_alone(nodes: int, delay: float, policy: Policy) -> None:
    found = unavailability(Participation(nodes, 7, policy, delay)).unavailability
    assert found == pytest.approx(by_name(nodes, 7, policy, delay), rel=1e-9)


@given(nodes=st.integers(1, 12), ratio=st.floats(0.1, 1e4))
def test_a_fixed_committee_has_the_binomial_figure(nodes: int, ratio: float) -> None:
    up = ratio / (1 + ratio)
    lost = sum(math.comb(nodes, k) * up**k * (1 / (1 + ratio)) ** (nodes - k) for k in range(nodes // 2 + 1))
    figures = unavailability(Participation(nodes, ratio, "majority"))
    assert figures.unavailability == pytest.approx(lost, rel=1e-9)
    assert figures.time_to_loss is not None and figures.time_to_return is not None
    whole = figures.time_to_loss + figures.time_to_return
    assert figures.time_to_return / whole == pytest.approx(figures.unavailability, rel=1e-9)


def test_one_node_is_lost_when_it_fails_and_back_when_it_is_repaired() -> None:
    figures = unavailability(Participation(1, 4, "majority"))
    assert (figures.time_to_loss, figures.time_to_return) == (pytest.approx(1), pytest.approx(1 / 4))


def test_a_tiny_share_of_time_keeps_its_digits() -> None:
    """Three states in a row, each 10^12 times rarer: what a subtraction would round away."""
    rare = 1e-12
    moves = {0: [(1, rare)], 1: [(0, 1.0), (2, rare)], 2: [(1, 1.0)]}
    shares = stationary(0, moves.__getitem__)
    assert shares[2] == pytest.approx(1e-24, rel=1e-11)


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        (Participation(0, 10), "N"),
        (Participation(26, 10), "26 nodes"),
        (Participation(5, 0), "repair ratio"),
        (Participation(5, math.inf), "repair ratio"),
        (Participation(5, math.nan), "repair ratio"),
        (Participation(5, 10, "adaptive", -1), "reconfiguration ratio"),
        (Participation(5, 10, "adaptive", math.nan), "reconfiguration ratio"),
        (Participation(5, 10, "always"), "policy"),  # type: ignore[arg-type]
        (Participation(4, 10, model="byzantine", faults=2), "4"),
        (Participation(4, 10, "dynamic", model="byzantine", faults=1), "dynamic"),
    ],
)
def test_what_has_no_answer_is_refused(asked: Participation, part: str) -> None:
    with pytest.raises(ConfigurationError, match=part):
        unavailability(asked)


def test_even_committees_hold_nothing_that_the_odd_ones_below_do_not() -> None:
    """5 of 5 and 6 of 6 nodes: adapting, the sixth is a spare."""
    for count, other in combinations((5, 6, 7), 2):
        fewer = unavailability(Participation(count, 50)).unavailability
        assert unavailability(Participation(other, 50)).unavailability < fewer


@pytest.mark.parametrize(("nodes", "least", "most"), [(5, 1.1, 1.14), (7, 0.88, 0.92), (9, 0.81, 0.85)])
def test_a_change_must_be_about_as_fast_as_a_repair_to_pay(nodes: int, least: float, most: float) -> None:
    found = break_even(Participation(nodes, 20))
    assert found is not None and least < found < most


def test_where_there_is_nobody_to_leave_out_no_change_is_fast_enough() -> None:
    assert break_even(Participation(3, 20)) is None
    assert break_even(Participation(7, 20, model="byzantine", faults=2)) is None
    assert break_even(Participation(5, 20, "majority")) is None
