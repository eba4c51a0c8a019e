"""The search for the best system: what it looks at, that it misses nothing there, and what it refuses."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations, count, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import quorum.systems.search as search_module
from quorum.errors import ConfigurationError, NoStrategy
from quorum.systems.algebra import Expression, Node, both, choose
from quorum.systems.architecture import Architecture, NodeTraits
from quorum.systems.check import disjoint_quorums
from quorum.systems.classic import majority
from quorum.systems.optimum import Aim, Limits, optimise
from quorum.systems.resilience import resilience_of
from quorum.systems.search import NODES_MAX, search
from quorum.systems.search_bounds import floor_of
from quorum.systems.search_seeds import kinds_of, named_shapes, neighbours
from quorum.systems.search_trees import Shapes
from quorum.systems.system import QuorumSystem

Table = tuple[bool, ...]

# Whittaker and others, "Read-Write Quorum Systems Made Practical" (2021), section 6: five
# nodes with read capacity, write capacity and latency, and a distribution of read fractions.
FIVE = {
    "a": NodeTraits(4000, 2000, 1),
    "b": NodeTraits(2000, 1000, 1),
    "c": NodeTraits(4000, 2000, 3),
    "d": NodeTraits(2000, 1000, 4),
    "e": NodeTraits(4000, 2000, 5),
}
MIXES = {0.9: 10, 0.8: 20, 0.7: 100, 0.6: 100, 0.5: 100, 0.4: 60, 0.3: 30, 0.2: 30, 0.1: 20}


def over(traits: dict[str, NodeTraits], read_fraction: float | dict[float, float] = 0.5) -> Architecture:
    return Architecture(majority(sorted(traits)), traits, read_fraction=read_fraction)


def still() -> float:
    """A clock that stands: time is never up."""
    return 0.0


def table_of(expression: Expression, nodes: str) -> Table:
    sets = product((False, True), repeat=len(nodes))
    return tuple(
        expression.contains({node for node, is_in in zip(nodes, each, strict=True) if is_in}) for each in sets
    )


@lru_cache
def monotone(nodes: str) -> dict[Table, Expression]:
    """Every monotone expression but the two constants, as sums of products."""
    products = [both(*map(Node, some)) for size in range(1, len(nodes) + 1) for some in combinations(nodes, size)]
    found = {table_of(each, nodes): each for each in products}
    new = dict(found)
    while new:
        sums = (each + term for each in new.values() for term in products)
        new = {table: each for each in sums if (table := table_of(each, nodes)) not in found}
        found |= new
    return found


def composed(nodes: tuple[str, ...]) -> dict[Table, Expression]:
    """Every expression over just these nodes in which none repeats, made without any thought of what is the
    same."""
    if len(nodes) == 1:
        return {(): Node(nodes[0])}
    found: dict[Table, Expression] = {}
    for places in product(range(len(nodes)), repeat=len(nodes)):
        groups = [
            tuple(node for node, at in zip(nodes, places, strict=True) if at == group)
            for group in sorted(set(places))
        ]
        if len(groups) > 1:
            for parts in product(*(composed(group).values() for group in groups)):
                for k in range(1, len(parts) + 1):
                    gate = choose(k, *parts)
                    found.setdefault(table_of(gate, "".join(nodes)), gate)
    return found


def test_the_published_study_of_five_nodes_is_matched():
    found = search(over(FIVE, MIXES), still, resilience=1)
    assert found.optimum.capacity == pytest.approx(5005.19, abs=0.005)
    assert found.proved and found.system.reads.read_once
    assert resilience_of(found.system).both >= 1


def test_so_it_is_where_sets_survive_a_failure_and_where_latency_counts():
    surviving = search(over(FIVE, MIXES), still, resilience=1, failures=1)
    fast = search(over(FIVE, MIXES), still, "latency", 1, limits=Limits(load=1 / 2000))
    assert surviving.optimum.capacity == pytest.approx(3012.03, abs=0.01)
    assert fast.optimum.latency == pytest.approx(1.4766, abs=0.0001)
    assert fast.optimum.load <= 1 / 2000 * (1 + 1e-9)


def test_the_paper_s_system_under_limits_is_matched():
    traits = {
        "a": NodeTraits(200, 100, 4),
        "b": NodeTraits(200, 100, 4),
        "c": NodeTraits(100, 50, 1),
        "d": NodeTraits(100, 50, 1),
    }
    found = search(over(traits, 1.0), still, "latency", limits=Limits(load=1 / 150, network=2))
    assert (found.optimum.latency, found.optimum.network_load) == (pytest.approx(1), pytest.approx(1))
    assert found.gap == 0


@pytest.mark.parametrize("nodes", ["a", "ab", "abc", "abcd"])
def test_every_tree_without_repeated_nodes_is_there_once(nodes):
    counts = (1,) * len(nodes)
    shapes = [shape.expression(tuple((node,) for node in nodes)) for shape in Shapes().over(counts)]
    tables = [table_of(shape, nodes) for shape in shapes]
    assert len(set(tables)) == len(tables)
    if len(nodes) > 1:
        assert set(tables) == set(composed(tuple(nodes)))


def test_nodes_that_are_alike_leave_few_trees():
    """Counted apart from this code, for six nodes all different and alike, and for eight alike."""
    counted = [sum(1 for _ in Shapes().over(counts)) for counts in ((1,) * 6, (6,), (8,))]
    assert counted == [13684, 196, 2914]


@pytest.mark.parametrize("counts", [(4,), (2, 2), (3, 1)])
def test_trees_over_kinds_differ_by_more_than_names_within_a_kind(counts):
    names = iter("abcd")
    members = [[next(names) for _ in range(many)] for many in counts]
    kind = {node: place for place, nodes in enumerate(members) for node in nodes}

    def seen_as(shape: Expression) -> frozenset[tuple[tuple[int, ...], ...]]:
        return frozenset([tuple(sorted(tuple(sorted(map(kind.get, each))) for each in shape.quorums()))])

    shapes = [shape.expression(members) for shape in Shapes().over(counts)]
    every = composed(tuple("abcd")).values()
    assert {seen_as(shape) for shape in shapes} == {seen_as(each) for each in every}
    assert all(len(shape.nodes) == 4 for shape in shapes)


def brute(
    traits: dict[str, NodeTraits], fraction: float | dict[float, float], resilience: int, failures: int, aim: Aim
) -> tuple[float, float]:
    """The least over all monotone systems with their duals, and over those of them that are trees."""
    nodes = "".join(sorted(traits))
    members = tuple((node,) for node in nodes)
    trees = {table_of(shape.expression(members), nodes) for shape in Shapes().within((1,) * len(nodes))}
    every, of_trees = [], []
    for table, reads in monotone(nodes).items():
        system = QuorumSystem(reads)
        if resilience_of(system).both >= resilience:
            try:
                best = optimise(Architecture(system, traits, read_fraction=fraction), aim, failures)
            except NoStrategy:
                continue
            every.append(best.value)
            if table in trees:
                of_trees.append(every[-1])
    return min(every), min(of_trees)


trait = st.builds(
    NodeTraits,
    read_capacity=st.sampled_from([1.0, 2.0, 3.5]),
    write_capacity=st.sampled_from([1.0, 1.5, 4.0]),
    latency=st.sampled_from([1.0, 2.0, 5.0]),
)


@settings(max_examples=12, deadline=None)
@given(
    st.fixed_dictionaries(dict.fromkeys("abc", trait)),
    st.sampled_from([0.0, 0.3, 0.5, 1.0, {0.2: 1.0, 0.8: 3.0}]),
    st.sampled_from([(0, 0), (1, 0), (1, 1)]),
    st.sampled_from(["load", "network", "latency"]),
)
def test_nothing_better_is_missed_among_all_systems_of_three_nodes(traits, fraction, losses, aim: Aim):
    found = search(over(traits, fraction), still, aim, *losses)
    least, of_trees = brute(traits, fraction, *losses, aim)
    assert found.proved
    assert found.optimum.value <= of_trees * (1 + 1e-8)
    assert found.bound * (1 - 1e-8) <= least <= found.optimum.value * (1 + 1e-8)


limit = st.none() | st.floats(0.2, 5.0)


@settings(max_examples=12, deadline=None)
@given(
    st.fixed_dictionaries(dict.fromkeys("abcd", trait)),
    st.sampled_from([0.0, 0.3, 1.0, {0.2: 1.0, 0.8: 3.0}]),
    st.sampled_from([(0, 0), (1, 0), (1, 1)]),
    st.sampled_from(["load", "network", "latency"]),
    st.builds(Limits, limit, limit, limit),
)
def test_prices_of_other_trees_never_rule_out_the_best_one(traits, mixes, losses, aim: Aim, limits):
    def answer() -> float | None:
        try:
            return search(over(traits, mixes), still, aim, *losses, limits).optimum.value
        except NoStrategy:
            return None

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(search_module, "CUTS_MAX", 0)
        without = answer()
    assert answer() == (None if without is None else pytest.approx(without, rel=1e-7))


def test_prices_rule_out_most_trees():
    found = search(over(FIVE, MIXES), still, resilience=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(search_module, "CUTS_MAX", 0)
        without = search(over(FIVE, MIXES), still, resilience=1)
    assert found.seen == without.seen
    assert found.pruned > without.pruned + 50


def test_a_hundred_nodes_that_differ_have_a_good_system_in_little_time():
    traits = {f"n{place}": NodeTraits(1000.0 + place % 2, 500.0) for place in range(100)}
    ticks = count()
    found = search(over(traits), lambda: next(ticks) / 200, resilience=3, seconds_max=1.0)
    assert found.gap < 0.2
    assert resilience_of(found.system).both >= 3


def test_nothing_better_is_missed_among_all_systems_of_four_nodes():
    assert len(monotone("abcd")) == 166  # Dedekind's number, but for the two constants
    traits = {"a": NodeTraits(3, 1), "b": NodeTraits(2, 2), "c": NodeTraits(1, 3), "d": NodeTraits(2, 1)}
    found = search(over(traits, 0.4), still, resilience=1)
    least, of_trees = brute(traits, 0.4, 1, 0, "load")
    assert found.optimum.value == pytest.approx(of_trees, rel=1e-8)
    assert found.bound <= least <= of_trees


@pytest.mark.parametrize("many", [4, 9, 16])
def test_with_equal_nodes_the_bound_is_the_one_of_the_literature(many):
    """Naor and Wool (1998), section 4: a load of 1 / sqrt(n) at least; here a read or a write is half of it."""
    assert floor_of("load", [NodeTraits()] * many, over(FIVE, 0.5).mixes) == pytest.approx(many**-0.5)


def test_named_constructions_are_known_from_the_start():
    nine = {f"n{place}": NodeTraits() for place in range(9)}
    kinds = kinds_of(nine, False)
    found = {str(shape.expression(kinds.members)) for shape in named_shapes(kinds, nine)}
    assert "majority(n0, n1, n2, n3, n4, n5, n6, n7, n8)" in found
    assert "n0 * n1 * n2 + n3 * n4 * n5 + n6 * n7 * n8" in found
    assert "majority(majority(n0, n1, n2), majority(n3, n4, n5), majority(n6, n7, n8))" in found


def test_a_grid_of_nine_equal_nodes_is_the_best_there_is():
    found = search(over({f"n{place}": NodeTraits() for place in range(9)}), still, resilience=1)
    assert found.optimum.load == pytest.approx(1 / 3)
    assert found.proved and found.gap < 1e-9


def test_neighbours_use_only_nodes_that_are_there():
    counts = (2, 2)
    for shape in Shapes().over((2, 1)):
        near = list(neighbours(shape, counts))
        assert near
        for each in near:
            used = list(each.kinds())
            assert all(used.count(kind) <= many for kind, many in enumerate(counts))
            assert 1 <= each.k <= max(1, len(each.parts))


def test_when_time_is_up_the_best_as_yet_is_told_with_its_gap():
    traits = {f"n{place}": NodeTraits(3 + place, 5 + place * place % 7) for place in range(9)}
    ticks = count()
    found = search(over(traits), lambda: next(ticks) / 100, resilience=1, seconds_max=0.5)
    assert not found.proved
    assert 0 < found.bound < found.optimum.value
    assert found.gap == pytest.approx(1 - found.bound / found.optimum.value)
    assert resilience_of(found.system).both >= 1
    assert disjoint_quorums(found.system.reads, found.system.writes) is None


def test_time_that_is_up_before_anything_was_found_is_said():
    ticks = count()
    with pytest.raises(NoStrategy, match="until then no system was met"):
        search(over(FIVE), lambda: float(next(ticks)), seconds_max=0.5)


def test_whoever_waits_is_told_what_was_met():
    told: list[tuple[int, float | None]] = []
    found = search(over(FIVE), still, progress=lambda seen, best: told.append((seen, best)))
    bests = [best for _, best in told if best is not None]
    assert [seen for seen, _ in told] == sorted(seen for seen, _ in told)
    assert bests == sorted(bests, reverse=True) and bests[-1] >= found.optimum.value * (1 - 1e-9)


@pytest.mark.parametrize(
    ("limits", "binding", "says"),
    [
        (Limits(load=1e-5), ("load",), "no quorum system over these nodes has less"),
        (Limits(latency=0.5), ("latency",), "no quorum system over these nodes has less"),
        (Limits(load=1 / 5040), ("load",), "no system without repeated nodes has less"),
        (Limits(load=1 / 4000, latency=1.5), ("load", "latency"), "asked for at once"),
    ],
)
def test_where_nothing_fits_the_limit_that_binds_is_named(limits, binding, says):
    with pytest.raises(NoStrategy, match=says) as refused:
        search(over(FIVE, MIXES), still, resilience=1, limits=limits)
    assert refused.value.binding == binding


def test_more_losses_than_two_quorums_can_stand_are_refused():
    with pytest.raises(NoStrategy, match="it takes 7") as refused:
        search(over(FIVE), still, resilience=3)
    assert refused.value.binding == ("f",)
    assert search(over(FIVE), still, resilience=2).proved


@pytest.mark.parametrize(
    "asked",
    [
        {"aim": "speed"},
        {"resilience": -1},
        {"resilience": True},
        {"failures": 1.0},
        {"limits": Limits(load=0.0)},
        {"limits": Limits(latency=float("nan"))},
        {"seconds_max": 0.0},
        {"seconds_max": float("inf")},
    ],
)
def test_questions_that_make_no_sense_are_refused(asked):
    with pytest.raises(ConfigurationError, match=r"\. (Name|Use|Change) "):
        search(over(FIVE), still, **asked)


def test_more_nodes_than_a_search_takes_are_refused():
    traits = {f"n{place}": NodeTraits() for place in range(NODES_MAX + 1)}
    with pytest.raises(ConfigurationError, match="alike"):
        search(over(traits), still)


def test_a_system_whose_quorums_miss_each_other_is_never_the_answer():
    given_system = QuorumSystem(reads="a", writes="b")
    apart = Architecture(given_system, {"a": NodeTraits(), "b": NodeTraits()})
    found = search(apart, still)
    assert found.system != given_system
    assert disjoint_quorums(found.system.reads, found.system.writes) is None
