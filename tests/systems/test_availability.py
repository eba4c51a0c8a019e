"""Availability and resilience: as exact fractions over all states of nodes and zones, and where floats end."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.systems import classic
from quorum.systems.architecture import Architecture, NodeTraits
from quorum.systems.availability import Availability, Failures, availability_of
from quorum.systems.diagram import Chance, Diagram, TooTangled, order_of
from quorum.systems.expression import Expression, parse
from quorum.systems.resilience import fewest_to_stop, resilience_of
from quorum.systems.state_tree import StateTree
from quorum.systems.system import QuorumSystem
from systems.strategies import expressions, subsets, trees

NAMES = ("a", "b", "c", "d", "e")
ZONES = ("x", "y", "z")
chances = st.sampled_from(tuple(map(Fraction, ("0", "1", "1/2", "1/100", "99/100", "1/1000000007"))))


@st.composite
def failing(draw: st.DrawFn) -> Architecture:
    """Systems with failures of nodes and of zones: tangled ones, trees that match, and trees that do not."""
    tangled = st.tuples(expressions(NAMES, 6), expressions(NAMES, 6))
    reads, writes = draw(st.one_of(tangled, trees(NAMES), expressions(NAMES, 6).map(lambda e: (e, e.dual()))))
    traits = st.builds(
        NodeTraits,
        zone=st.one_of(st.none(), st.sampled_from(ZONES)),
        failure_probability=st.one_of(st.none(), chances),
    )
    nodes = draw(st.dictionaries(st.sampled_from(NAMES), traits))
    zones = draw(st.dictionaries(st.sampled_from(ZONES), chances))
    return Architecture(QuorumSystem(reads, writes), nodes, zones)


def by_states(architecture: Architecture) -> tuple[list[Fraction], list[Fraction]]:
    """How likely reads, writes and both hold, and fail, summed over every state as fractions."""
    holds, fails = [Fraction(0)] * 3, [Fraction(0)] * 3
    nodes = architecture.system.nodes
    traits = {node: architecture.traits(node) for node in nodes}
    used = sorted({zone for each in traits.values() if (zone := each.zone) in architecture.zones})
    for ups in product((True, False), repeat=len(used)):
        up = dict(zip(used, ups, strict=True))
        of_zones = Fraction(1)
        for zone in used:
            of_zones *= 1 - architecture.zones[zone] if up[zone] else architecture.zones[zone]
        for alive in subsets(nodes) if of_zones else ():
            chance = of_zones
            for node in nodes:
                down = traits[node].failure_probability or Fraction(0)
                down = down if up.get(traits[node].zone or "", True) else Fraction(1)
                chance *= 1 - down if node in alive else down
            read, write = architecture.system.is_read_quorum(alive), architecture.system.is_write_quorum(alive)
            for place, live in enumerate((read, write, read and write)):
                (holds if live else fails)[place] += chance
    return holds, fails


def check(found: Chance, holds: Fraction, fails: Fraction) -> None:
    assert math.exp(found.holds) == pytest.approx(float(holds), rel=1e-9)
    assert math.exp(found.fails) == pytest.approx(float(fails), rel=1e-9, abs=0 if fails else 1e-300)


@settings(max_examples=200, deadline=None)
@given(failing())
def test_availability_is_the_sum_over_all_states(architecture: Architecture):
    found = availability_of(architecture)
    for chance, holds, fails in zip(found, *by_states(architecture), strict=True):
        check(chance, holds, fails)


@settings(max_examples=60, deadline=None)
@given(failing())
def test_trees_and_diagrams_give_the_same(architecture: Architecture):
    """The diagram is asked for everything here, also for what the tree would have answered."""
    failures = Failures(architecture)
    both = (architecture.system.reads, architecture.system.writes)
    holds, fails = by_states(architecture)
    check(failures._by_diagram(both), holds[2], fails[2])


@settings(max_examples=200)
@given(expressions((*NAMES, "f"), 8))
def test_resilience_is_one_less_than_the_smallest_set_that_meets_every_quorum(expression: Expression):
    everyone = frozenset(expression.nodes)
    smallest = next(lost for lost in subsets(expression.nodes) if not expression.contains(everyone - lost))
    assert fewest_to_stop(expression) == len(smallest)


def test_two_nodes_of_one_name_are_one_node():
    """A set that meets both quorums of a*b + a*c is {a}: losing it stops everything."""
    assert resilience_of(QuorumSystem("a*b + a*c", "a")) == (0, 0, 0)


@given(expressions(NAMES, 8), st.integers(0, 3))
def test_a_diagram_says_which_sets_survive_failures(expression: Expression, failures: int):
    diagram = Diagram(order_of(expression))
    root = diagram.surviving(diagram.of(expression), failures)
    for nodes in subsets(expression.nodes):
        prices = {node: 0.0 if node in nodes else math.inf for node in diagram.order}
        survives = all(
            expression.contains(nodes - lost) for lost in subsets(tuple(nodes)) if len(lost) <= failures
        )
        assert (diagram.cheapest(root, prices) is not None) == survives


def uniform(system: QuorumSystem, failed: str) -> Availability:
    traits = NodeTraits(failure_probability=Fraction(failed))
    return availability_of(Architecture(system, dict.fromkeys(system.nodes, traits)))


@pytest.mark.parametrize(("nodes", "failed"), [(3, "1/100"), (101, "1/100"), (1001, "2/5")])
def test_the_unavailability_of_a_majority_is_its_binomial_tail(nodes: int, failed: str):
    p, k = Fraction(failed), nodes // 2 + 1
    up, down = p.denominator - p.numerator, p.numerator
    tail = sum(math.comb(nodes, lost) * down**lost * up ** (nodes - lost) for lost in range(k, nodes + 1))
    exact = math.log(tail) - nodes * math.log(p.denominator)
    found = uniform(classic.majority([f"n{place}" for place in range(nodes)]), failed)
    assert found.both.fails == pytest.approx(exact, abs=1e-7), "a relative error of the figure itself"


def test_what_no_float_holds_is_still_a_right_answer():
    """A majority of 1,001 with nodes that fail once in 100: about 1e-702."""
    found = uniform(classic.majority([f"n{place}" for place in range(1001)]), "1/100")
    tail = sum(math.comb(1001, lost) * 99 ** (1001 - lost) for lost in range(501, 1002))
    assert found.both.fails == pytest.approx(math.log(tail) - 1001 * math.log(100), rel=1e-12)
    assert found.both.holds == 0.0


def test_nested_and_gridded_systems_of_hundreds_of_nodes_are_exact():
    """By recursion over exact fractions: majorities of majorities, and rows of a grid."""
    p = q = Fraction(1, 100)
    groups: list[object] = [f"n{place}" for place in range(729)]
    while len(groups) > 1:
        groups = [groups[place : place + 3] for place in range(0, len(groups), 3)]
        q = 3 * q**2 - 2 * q**3
    found = uniform(classic.hierarchical(groups), "1/100")  # type: ignore[arg-type]
    check(found.both, 1 - q, q)
    row_up, row_dead = (1 - p) ** 30, p**30
    grid = uniform(classic.read_write_grid([[f"r{r}c{c}" for c in range(30)] for r in range(30)]), "1/100")
    check(grid.reads, 1 - (1 - row_up) ** 30, (1 - row_up) ** 30)
    check(grid.writes, (1 - row_dead) ** 30, 1 - (1 - row_dead) ** 30)
    whole = uniform(classic.grid([[f"r{r}c{c}" for c in range(30)] for r in range(30)]), "1/100")
    assert whole.both == grid.both
    both_fail = 1 - (1 - row_dead) ** 30 + (1 - row_up - row_dead) ** 30
    check(grid.both, 1 - both_fail, both_fail)


def test_zones_make_the_difference_between_nines_on_paper_and_in_fact():
    """Nine nodes in three zones, of which each may go as a whole: no majority is safer than two of the zones."""
    nodes = {
        f"{zone}{place}": NodeTraits(zone=zone, failure_probability=Fraction(1, 100))
        for zone in "xyz"
        for place in "123"
    }
    zones = {zone: Fraction(1, 100) for zone in "xyz"}
    system = classic.majority(sorted(nodes))
    apart = availability_of(Architecture(system, nodes))
    together = availability_of(Architecture(system, nodes, zones))
    holds, fails = by_states(Architecture(system, nodes, zones))
    check(together.both, holds[2], fails[2])
    assert math.exp(together.both.fails) > 1000 * math.exp(apart.both.fails)


def test_zones_across_a_wide_grid_that_leave_too_many_ways_are_refused():
    rows = [[f"r{r}c{c}" for c in range(25)] for r in range(25)]
    nodes = {f"r{r}c{c}": NodeTraits(zone=f"z{c}") for r in range(25) for c in range(25)}
    zones = {f"z{c}": Fraction(1, 100) for c in range(25)}
    with pytest.raises(ConfigurationError, match="exact answer would take too long"):
        availability_of(Architecture(classic.read_write_grid(rows), nodes, zones))


def test_a_diagram_that_grows_too_large_says_so():
    with pytest.raises(TooTangled):
        Diagram([f"n{place}" for place in range(1000)])


def test_a_tree_takes_parts_only_where_they_match():
    """Negative control: two different expressions over the same nodes have no common tree."""
    tree = StateTree({name: Chance(math.log(0.5), math.log(0.5)) for name in "abcd"}, {}, {})
    assert tree.states((parse("a*b + c*d"), parse("a*c + b*d")), {}) is None
    assert tree.states((parse("a*b + c*d"), parse("(a + b)*(c + d)")), {}) is not None
