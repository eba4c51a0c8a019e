"""Safety and liveness where nodes crash or lie: as exact fractions over all states."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.systems import lying
from quorum.systems.byzantine import byzantine
from quorum.systems.classic import hierarchical, majority
from quorum.systems.diagram import Chance
from quorum.systems.expression import Expression
from quorum.systems.lying import Faults, danger_of, trust_of
from quorum.systems.system import QuorumSystem
from systems.strategies import expressions, subsets, trees

NAMES = ("a", "b", "c", "d", "e")
chances = st.sampled_from(tuple(map(Fraction, ("0", "1/2", "1/3", "1/100", "1/1000003"))))
systems = st.one_of(
    trees(NAMES),
    expressions(NAMES, 5).map(lambda e: (e, e)),
    expressions(NAMES, 5).map(lambda e: (e, e.dual())),
    st.tuples(expressions(NAMES, 5), expressions(NAMES, 5)),
).map(lambda sides: QuorumSystem(*sides))
faults = st.dictionaries(st.sampled_from(NAMES), st.builds(Faults, chances, chances))


def is_safe(system: QuorumSystem, liars: frozenset[str]) -> bool:
    """Whether no honest nodes can be dealt out so that liars complete a quorum for each side."""
    honest = frozenset(system.nodes) - liars
    return not any(
        system.is_read_quorum(liars | mine) and system.is_write_quorum(liars | (honest - mine))
        for mine in subsets(tuple(sorted(honest)))
    )


def by_states(system: QuorumSystem, known: dict[str, Faults]) -> list[tuple[Fraction, Fraction]]:
    """How likely it is safe, live and both, and not, summed over every state as fractions."""
    sums = [[Fraction(0), Fraction(0)] for _ in range(3)]
    safe_for = {liars: is_safe(system, liars) for liars in subsets(system.nodes)}
    for states in product("gcl", repeat=len(system.nodes)):
        chance = Fraction(1)
        for node, state in zip(system.nodes, states, strict=True):
            crashed, lies = map(Fraction, known.get(node, Faults()))
            chance *= {"g": 1 - crashed - lies, "c": crashed, "l": lies}[state]
        of = {what: frozenset(n for n, s in zip(system.nodes, states, strict=True) if s == what) for what in "gl"}
        safe = safe_for[of["l"]]
        live = system.is_read_quorum(of["g"]) and system.is_write_quorum(of["g"])
        for pair, holds in zip(sums, (safe, live, safe and live), strict=True):
            pair[not holds] += chance
    return [(holds, fails) for holds, fails in sums]


def check(found: Chance, holds: Fraction, fails: Fraction) -> None:
    assert math.exp(found.holds) == pytest.approx(float(holds), rel=1e-9)
    assert math.exp(found.fails) == pytest.approx(float(fails), rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(systems, faults)
def test_safe_and_live_are_the_sums_over_all_states(system: QuorumSystem, known: dict[str, Faults]):
    for found, wanted in zip(trust_of(system, known), by_states(system, known), strict=True):
        check(found, *wanted)


@settings(max_examples=40, deadline=None)
@given(trees(NAMES), faults)
def test_diagrams_say_the_same_as_trees(sides: tuple[Expression, Expression], known: dict[str, Faults]):
    system = QuorumSystem(*sides)
    exact = {node: lying._checked(node, known.get(node, Faults())) for node in system.nodes}
    tree, diagram = lying._by_tree(system, exact), lying._by_diagram(system, exact)
    if tree is not None:
        for one, other in zip(tree, diagram, strict=True):
            assert math.exp(one.fails) == pytest.approx(math.exp(other.fails), rel=1e-9)
    for found, wanted in zip(diagram, by_states(system, known), strict=True):
        check(found, *wanted)


@given(trees(NAMES), st.booleans())
def test_the_liars_that_endanger_a_tree_are_a_tree(sides: tuple[Expression, Expression], is_dual: bool):
    system = QuorumSystem(sides[0], sides[0].dual() if is_dual else sides[1])
    danger = danger_of(system.reads, system.writes)
    if danger is None:  # none are needed, or gates were flattened on one side only
        assert not is_dual
        return
    assert danger is not None
    for liars in subsets(system.nodes):
        assert is_safe(system, liars) != danger.contains(liars)


@pytest.mark.parametrize(("nodes", "liars"), [(4, 1), (7, 2), (10, 3), (9, 2)])
def test_a_byzantine_quorum_stands_as_many_liars_as_it_should(nodes: int, liars: int):
    """Malkhi and Reiter 1998, section 5: ceil((n+T+1)/2) of n stand T liars, and not many more."""
    system = byzantine([f"n{place}" for place in range(nodes)], liars)
    danger = danger_of(system.reads, system.writes)
    assert danger is not None
    votes = danger.as_threshold()
    assert votes is not None and votes.k > liars
    sure = trust_of(system, {f"n{place}": Faults(lying=1) for place in range(liars)})
    assert (sure.safe.holds, sure.live.holds) == (0.0, 0.0)
    more = trust_of(system, {f"n{place}": Faults(lying=1) for place in range(votes.k)})
    assert more.safe.holds == -math.inf


def test_a_majority_is_unsafe_as_soon_as_one_node_lies():
    """Negative control: what is right where nodes crash is wrong where they lie."""
    system = majority(["a", "b", "c", "d", "e"])
    found = trust_of(system, dict.fromkeys("abcde", Faults(crashed="1/100", lying="1/1000")))
    check(found.safe, Fraction(999, 1000) ** 5, 1 - Fraction(999, 1000) ** 5)


def test_hundreds_of_nodes_have_their_nines():
    """301 nodes of which 100 may lie: the tails are those of a trinomial, far below what a float can subtract."""
    nodes = [f"n{place}" for place in range(301)]
    found = trust_of(byzantine(nodes, 100), dict.fromkeys(nodes, Faults("1/100", "1/1000")))
    danger = 2 * 201 - 301
    tail = sum(Fraction(math.comb(301, n) * 999 ** (301 - n), 1000**301) for n in range(danger, 302))
    assert math.exp(found.safe.fails) == pytest.approx(float(tail), rel=1e-6)
    bad = Fraction(11, 1000)
    dead = sum(math.comb(301, n) * bad**n * (1 - bad) ** (301 - n) for n in range(101, 302))
    assert math.exp(found.live.fails) == pytest.approx(float(dead), rel=1e-6)
    groups = [[f"{zone}{place}" for place in range(9)] for zone in "abcdefghi"]
    nested = trust_of(hierarchical(groups), {f"a{place}": Faults(lying="1/10") for place in range(9)})
    check(nested.safe, Fraction(9, 10) ** 9, 1 - Fraction(9, 10) ** 9)


@pytest.mark.parametrize("given", [Faults(0.6, 0.6), Faults(-0.1), Faults(0, "2"), Faults("x")])
def test_faults_that_are_no_probabilities_are_refused(given: Faults):
    with pytest.raises(ConfigurationError):
        trust_of(QuorumSystem("a"), {"a": given})
