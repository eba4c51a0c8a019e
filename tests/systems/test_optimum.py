"""The best strategies: as brute force finds them, as published, and for a thousand nodes."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import combinations
from random import Random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from quorum.errors import ConfigurationError, NoStrategy
from quorum.systems import classic, diagram, sides
from quorum.systems.algebra import Threshold
from quorum.systems.architecture import Architecture, NodeTraits
from quorum.systems.expression import parse
from quorum.systems.figures import figures_of, uniform
from quorum.systems.optimum import AIMS, Aim, Limits, Optimum, optimise
from quorum.systems.system import QuorumSystem
from quorum.systems.votes_pricing import cheapest_votes
from systems.full_program import architectures, best, contacts, latency
from systems.strategies import NAMES, thresholds

aims = st.sampled_from(AIMS)


def figure(found: Optimum, aim: Aim) -> float:
    return {"load": found.load, "network": found.network_load, "latency": found.latency}[aim]


def check_figures(architecture: Architecture, found: Optimum, failures: int) -> None:
    """The figures are those of the strategy that is listed, and all that is listed may be asked."""
    system, share = architecture.system, architecture.mean_read_fraction
    network = time = 0.0
    chances: list[dict[str, float]] = []
    for mixture, expression, part in (
        (found.reads, system.reads, share),
        (found.writes, system.writes, 1 - share),
    ):
        listed = mixture.listed(10_000)
        assert listed is not None
        assert sum(each.probability for each in listed) == pytest.approx(1, rel=1e-9)
        allowed = set(contacts(expression, failures))
        assert {each.quorum for each in listed} <= allowed
        network += part * sum(each.probability * len(each.quorum) for each in listed)
        time += part * sum(each.probability * latency(architecture, expression, each.quorum) for each in listed)
        chances.append({node: sum(p for quorum, p in listed if node in quorum) for node in system.nodes})
    peaks = []
    for mix in architecture.mixes:
        each = []
        for node in system.nodes:
            traits = architecture.traits(node)
            reads = mix.fraction * chances[0][node] / traits.read_capacity
            each.append(reads + (1 - mix.fraction) * chances[1][node] / traits.write_capacity)
        peaks.append(max(each))
    weights = [mix.weight for mix in architecture.mixes]
    assert found.load == pytest.approx(sum(w * p for w, p in zip(weights, peaks, strict=True)), rel=1e-7)
    assert found.capacity == pytest.approx(sum(w / p for w, p in zip(weights, peaks, strict=True)), rel=1e-7)
    assert found.network_load == pytest.approx(network, rel=1e-7)
    assert found.latency == pytest.approx(time, rel=1e-7)


@settings(max_examples=200, deadline=None)
@given(architecture=architectures(), aim=aims, failures=st.sampled_from((0, 0, 0, 1, 1, 2)))
def test_every_optimum_is_that_of_the_program_over_all_sets(architecture: Architecture, aim: Aim, failures: int):
    wanted = best(architecture, aim, failures)
    if wanted is None:
        with pytest.raises(NoStrategy, match="survive the loss of any"):
            optimise(architecture, aim, failures)
        return
    found = optimise(architecture, aim, failures)
    assert found.value == pytest.approx(wanted, rel=1e-8)
    assert found.bound == pytest.approx(wanted, rel=1e-8)
    assert figure(found, aim) == pytest.approx(wanted, rel=1e-8)
    check_figures(architecture, found, failures)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(architecture=architectures(), aim=aims, failures=st.sampled_from((0, 0, 1)))
def test_of_equally_good_strategies_the_one_that_is_best_by_the_second_measure_is_taken(
    architecture: Architecture, aim: Aim, failures: int
):
    least = best(architecture, aim, failures)
    assume(least is not None)
    assert least is not None
    second: Aim = {"load": "latency", "network": "load", "latency": "load"}[aim]  # type: ignore[assignment]
    assume(not failures or second == "load")
    kept = Limits(**{aim: least * (1 + 1e-9)})
    wanted = best(architecture, second, failures, kept)
    assert figure(optimise(architecture, aim, failures), second) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    architecture=architectures(),
    aim=aims,
    failures=st.sampled_from((0, 0, 1)),
    room=st.tuples(*[st.one_of(st.none(), st.sampled_from((0.9, 1.0, 1.05, 1.3, 2.0)))] * 3),
)
def test_limits_are_kept_at_the_least_cost_or_refused_by_name(
    architecture: Architecture, aim: Aim, failures: int, room: tuple[float | None, ...]
):
    assume(best(architecture, aim, failures) is not None)
    least = [best(architecture, name, failures) or 0.0 for name in AIMS]
    limits = Limits(*(None if r is None else r * each for r, each in zip(room, least, strict=True)))
    slack = Limits(*(None if each is None else each * (1 + 1e-8) for each in limits))
    wanted = best(architecture, aim, failures, slack)
    if wanted is None:
        with pytest.raises(NoStrategy) as refused:
            optimise(architecture, aim, failures, limits)
        assert refused.value.binding
        assert all(limits[AIMS.index(name)] is not None for name in refused.value.binding)
        return
    found = optimise(architecture, aim, failures, limits)
    assert found.value == pytest.approx(wanted, rel=1e-5)
    for name, limit in zip(AIMS, limits, strict=True):
        assert limit is None or figure(found, name) <= limit * (1 + 1e-8)
    check_figures(architecture, found, failures)


@pytest.mark.parametrize("by", ["diagram", "whole numbers"])
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(architecture=architectures(leaves_max=5), aim=aims, failures=st.sampled_from((0, 1)))
def test_columns_found_one_by_one_lead_to_the_same_optimum(
    monkeypatch: pytest.MonkeyPatch, by: str, architecture: Architecture, aim: Aim, failures: int
):
    """Every expression is taken for a tangled one here, and none of its quorums is listed beforehand."""
    monkeypatch.setattr(sides, "tree_of", lambda expression: None)
    monkeypatch.setattr(sides, "LISTED_MAX", 0)
    if by == "whole numbers":
        monkeypatch.setattr(diagram, "VARIABLES_MAX", 0)
    wanted = best(architecture, aim, failures)
    if wanted is None:
        with pytest.raises(NoStrategy):
            optimise(architecture, aim, failures)
        return
    found = optimise(architecture, aim, failures)
    assert found.value == pytest.approx(wanted, rel=1e-8)
    assert found.bound == pytest.approx(wanted, rel=1e-8)
    check_figures(architecture, found, failures)


CASE = {
    "a": NodeTraits(4000, 2000, 1),
    "b": NodeTraits(2000, 1000, 1),
    "c": NodeTraits(4000, 2000, 3),
    "d": NodeTraits(2000, 1000, 4),
    "e": NodeTraits(4000, 2000, 5),
}
CASE_MIX = {0.9: 10, 0.8: 20, 0.7: 100, 0.6: 100, 0.5: 100, 0.4: 60, 0.3: 30, 0.2: 30, 0.1: 20}
MAJORITY, GRID = "majority(a, b, c, d, e)", "a*b + c*d*e"
BRIDGE = "a*b + a*c*e + d*e + d*c*b"


@pytest.mark.parametrize(
    ("reads", "failures", "capacity"),
    [
        (MAJORITY, 0, 3666.56),
        (MAJORITY, 1, 2749.92),
        (GRID, 0, 4200.22),
        (GRID, 1, 1374.96),
        (BRIDGE, 0, 4124.88),
        (BRIDGE, 1, 1374.96),
        ("(c + b*d)*(a + e)", 0, 5005.19),
        ("choose(3, a, c, b + d, e)", 1, 3012.03),
    ],
)
def test_the_capacities_of_the_five_node_case_study_are_met(reads: str, failures: int, capacity: float):
    """Whittaker and others 2021, section 6: five nodes, nine read fractions, with and without a failure."""
    found = optimise(Architecture(QuorumSystem(reads), CASE, {}, CASE_MIX), "load", failures)
    assert found.capacity == pytest.approx(capacity, abs=0.005)


@pytest.mark.parametrize(
    ("reads", "seconds", "capacity"),
    [
        (MAJORITY, 3.2383, 2000.0),
        (GRID, 1.9532, 2637.6),
        (BRIDGE, 2.4336, 2161.1),
        ("choose(2, a, b, c*d*e)", 1.4766, 2000.0),
    ],
)
def test_the_latencies_of_the_case_study_are_met_at_no_less_capacity(reads: str, seconds: float, capacity: float):
    """Whittaker and others 2021, section 6, load at most 1/2000. Of equally fast ones ours has most capacity."""
    architecture = Architecture(QuorumSystem(reads), CASE, {}, CASE_MIX)
    found = optimise(architecture, "latency", 0, Limits(load=1 / 2000))
    assert found.latency == pytest.approx(seconds, abs=5e-5)
    assert found.capacity >= capacity * (1 - 1e-6)


def four(*, reads: tuple[float, ...] = (100, 100, 50, 50), writes: tuple[float, ...] = (100, 100, 50, 50)):
    waits = (4, 4, 1, 1)
    return {node: NodeTraits(*each) for node, *each in zip("abcd", reads, writes, waits, strict=True)}


def test_the_snippets_of_the_paper_have_their_published_figures():
    """Whittaker and others 2021, section 4: capacities of a grid of four nodes."""
    grid = QuorumSystem("a*b + c*d")
    three = optimise(Architecture(QuorumSystem("majority(a, b, c)"), read_fraction=1.0))
    assert three.capacity == pytest.approx(1.5)
    assert optimise(Architecture(grid, four(), read_fraction=1.0)).capacity == pytest.approx(150)
    fast = four(reads=(200, 200, 100, 100))
    for fraction, capacity in ((1.0, 300), (0.5, 200), (0.0, 100)):
        found = optimise(Architecture(grid, fast, read_fraction=fraction))
        assert found.capacity == pytest.approx(capacity)
    workload = {0.0: 10, 0.25: 4, 0.5: 2, 0.75: 1, 1.0: 1}
    crossed = optimise(Architecture(QuorumSystem("a*c + b*d"), fast, read_fraction=workload))
    assert crossed.capacity == pytest.approx(159.304, abs=5e-4)


def test_strategies_that_survive_a_failure_have_their_published_figures():
    """Whittaker and others 2021, section 4.3: any three of four for two of four, and all for a grid."""
    fast = four(reads=(200, 200, 100, 100))
    grid = optimise(Architecture(QuorumSystem("a*b + c*d"), fast, read_fraction=1.0), "load", 1)
    two = optimise(Architecture(QuorumSystem("choose(2, a, b, c, d)"), fast, read_fraction=1.0), "load", 1)
    assert (grid.capacity, two.capacity) == (pytest.approx(100), pytest.approx(200))
    listed = two.reads.listed(10)
    assert listed is not None
    assert {each.quorum: each.probability for each in listed} == {
        frozenset("abc"): pytest.approx(0.5),
        frozenset("abd"): pytest.approx(0.5),
    }


def test_latency_and_network_of_the_snippets_are_as_published():
    """Whittaker and others 2021, section 4.2: the load-optimal grid, and the fastest within limits."""
    architecture = Architecture(QuorumSystem("a*b + c*d"), four(reads=(200, 200, 100, 100)), read_fraction=1.0)
    busy = optimise(architecture)
    assert (busy.capacity, busy.network_load, busy.latency) == tuple(map(pytest.approx, (300, 2, 3)))
    fast = optimise(architecture, "latency", 0, Limits(load=1 / 150, network=2))
    listed = fast.reads.listed(10)
    assert listed is not None
    assert {each.quorum: each.probability for each in listed} == {
        frozenset("ab"): pytest.approx(1 / 3),
        frozenset("cd"): pytest.approx(2 / 3),
    }
    any_one = optimise(
        Architecture(QuorumSystem("a + b + c + d"), four(reads=(200, 200, 100, 100)), read_fraction=1.0),
        "latency",
        0,
        Limits(load=1 / 150, network=2),
    )
    assert (any_one.latency, any_one.network_load) == (pytest.approx(1), pytest.approx(1))
    assert any_one.capacity >= 150


def test_a_load_above_one_is_an_answer_like_any_other():
    slow = dict.fromkeys("abc", NodeTraits(0.5, 0.5))
    found = optimise(Architecture(QuorumSystem("majority(a, b, c)"), slow))
    assert (found.load, found.capacity) == (pytest.approx(4 / 3), pytest.approx(0.75))


def test_capacities_of_any_size_keep_their_digits():
    for scale in (1e-6, 1.0, 1e9):
        nodes = {node: NodeTraits(scale * (2 + place), scale) for place, node in enumerate("abcde")}
        found = optimise(Architecture(QuorumSystem("majority(a, b, c, d, e)"), nodes, {}, 0.75))
        assert found.load * scale == pytest.approx(0.75 * 0.2 * 3 / 4 + 0.25 * 0.6, rel=0.2)
        assert found.bound == pytest.approx(found.load, rel=1e-9)


def test_odd_names_are_no_trouble():
    nodes = {"n-1": NodeTraits(2, 2), "n_1": NodeTraits(1, 1)}
    found = optimise(Architecture(QuorumSystem('"n-1" + n_1'), nodes, {}, 1.0))
    assert found.capacity == pytest.approx(3)


@pytest.mark.parametrize("failures", [0, 1])
def test_a_thousand_nodes_of_two_kinds_cost_no_more_than_two(failures: int):
    """Of 1,001 nodes 501 are slow. All of each kind are asked alike, so the load follows from counting."""
    nodes = {f"n{place}": NodeTraits(*((1000, 1000) if place % 2 else (2000, 2000))) for place in range(1001)}
    found = optimise(Architecture(classic.majority(sorted(nodes)), nodes), "load", failures)
    size = 501 + failures
    fast = 501
    share = size / (fast + (1001 - fast) / 2)  # of the fast ones, each is asked so often, where that is below 1
    assert found.load == pytest.approx(share / 2000, rel=1e-9)
    assert found.network_load == pytest.approx(size, rel=1e-9)
    assert len(found.binding_nodes) == 1001
    drawn = found.writes.draw(Random(1))
    assert len(drawn) == size


def test_large_grids_and_nested_majorities_have_the_load_of_their_papers():
    """Naor and Wool 1998, section 5.2; Kumar 1991: 2^6 of 3^6 nodes."""
    rows = [[f"r{r}c{c}" for c in range(30)] for r in range(30)]
    grid = optimise(Architecture(classic.read_write_grid(rows)))
    assert grid.load == pytest.approx(1 / 30, rel=1e-9)
    whole = optimise(Architecture(classic.grid(rows)))
    assert whole.load == pytest.approx(59 / 900, rel=1e-9)
    assert len(whole.reads.draw(Random(3))) == 59
    groups: list[object] = [f"n{place}" for place in range(729)]
    while len(groups) > 1:
        groups = [groups[place : place + 3] for place in range(0, len(groups), 3)]
    nested = optimise(Architecture(classic.hierarchical(groups)))  # type: ignore[arg-type]
    assert nested.load == pytest.approx((2 / 3) ** 6, rel=1e-9)
    assert nested.network_load == pytest.approx(64)


@pytest.mark.parametrize(
    ("system", "load"),
    [(classic.projective_plane(q), (q + 1) / (q * q + q + 1)) for q in (2, 3)]
    + [
        (classic.tree([f"t{place}" for place in range(7)]), 0.5),
        (classic.weighted({"a": 3, "b": 2, "c": 2, "d": 1, "e": 1}), None),
        (classic.crumbling_wall([["a"], ["b", "c"], ["d", "e", "f"]]), None),
        (QuorumSystem("+".join("*".join(each) for each in combinations("abcdefg", 4))), 4 / 7),
    ],
)
def test_tangled_systems_have_the_load_of_their_papers(system: QuorumSystem, load: float | None):
    """Naor and Wool 1998 for planes, Agrawal and El Abbadi 1990 for trees; the bound is max(1/c, c/n)."""
    found = optimise(Architecture(system))
    smallest = min(map(len, system.reads.quorums()))
    assert found.load >= max(1 / smallest, smallest / len(system.nodes)) - 1e-9
    assert found.bound == pytest.approx(found.load, rel=1e-9)
    if load is not None:
        assert found.load == pytest.approx(load, rel=1e-9)


def test_what_is_drawn_is_what_was_planned():
    """Quorums are drawn by walking the tree, and each node comes as often as the program says."""
    nodes = {f"n{place}": NodeTraits(10 + place, 20, 1 + place % 3) for place in range(12)}
    system = QuorumSystem("choose(2, choose(2, n0, n1, n2, n3), n4*n5 + n6*n7, majority(n8, n9, n10, n11, n4))")
    found = optimise(Architecture(system, nodes, {}, {0.3: 1, 0.9: 2}))
    random = Random(7)
    for mixture, expression, chances in (
        (found.reads, system.reads, found.read_probabilities),
        (found.writes, system.writes, found.write_probabilities),
    ):
        seen: Counter[str] = Counter()
        for _ in range(4000):
            drawn = mixture.draw(random)
            assert expression.contains(drawn)
            seen.update(drawn)
        for node in expression.nodes:
            assert seen[node] / 4000 == pytest.approx(chances[node], abs=0.04)


def test_prices_say_what_more_capacity_would_bring():
    """The shadow price of a node is the slope of the load: 1 % more capacity, so many % less load."""
    nodes = {"a": NodeTraits(4, 1), "b": NodeTraits(3, 2), "c": NodeTraits(2, 2), "d": NodeTraits(1, 5)}
    system = QuorumSystem("a*b + c*d")
    found = optimise(Architecture(system, nodes, {}, 0.6))
    step = 1e-5
    assert sum(found.shadow_prices.values()) == pytest.approx(1)
    for node, traits in nodes.items():
        more = NodeTraits(traits.read_capacity * (1 + step), traits.write_capacity * (1 + step))
        gained = 1 - optimise(Architecture(system, nodes | {node: more}, {}, 0.6)).load / found.load
        assert gained / step == pytest.approx(found.shadow_prices.get(node, 0.0), abs=1e-3)
        if node not in found.binding_nodes:
            assert gained == pytest.approx(0, abs=1e-9)


def test_nodes_that_are_busiest_in_every_best_strategy_bind_and_others_do_not():
    """Reads need a, or b and c: only a is asked as a whole, and d is never asked by the best."""
    nodes = {"a": NodeTraits(1, 1), "b": NodeTraits(100, 100), "c": NodeTraits(100, 100), "d": NodeTraits(9, 9)}
    found = optimise(Architecture(QuorumSystem("a*b + a*c"), nodes, {}, 1.0))
    assert found.binding_nodes == ("a",)
    assert found.shadow_prices == {"a": pytest.approx(1)}


def test_a_limit_that_cannot_be_kept_is_named_with_what_can():
    architecture = Architecture(QuorumSystem("majority(a, b, c)"))
    least = r"load of at most 0\.5 was asked for, but no strategy.*less than 0\.6666"
    with pytest.raises(NoStrategy, match=least) as no:
        optimise(architecture, "latency", 0, Limits(load=0.5, network=9))
    assert no.value.binding == ("load",)
    slow = {"a": NodeTraits(9, 9, 9), "b": NodeTraits(1, 1, 1)}
    with pytest.raises(NoStrategy, match="at once") as no:
        optimise(Architecture(QuorumSystem("a + b"), slow, {}, 1.0), "network", 0, Limits(load=0.2, latency=2))
    assert set(no.value.binding) == {"load", "latency"}


def test_failures_that_a_side_cannot_survive_are_refused_whatever_the_read_fraction():
    with pytest.raises(NoStrategy, match="writes were asked for") as no:
        optimise(Architecture(QuorumSystem("a + b + c"), read_fraction=1.0), "load", 1)
    assert (no.value.binding, no.value.side) == (("f",), "writes")


@pytest.mark.parametrize(
    ("aim", "failures", "limits"),
    [("cost", 0, None), ("load", -1, None), ("load", True, None), ("load", 0.5, None)]
    + [("load", 0, Limits(load=bad)) for bad in (0.0, -1.0, float("nan"), float("inf"))],
)
def test_questions_that_make_no_sense_are_refused(aim: str, failures: int, limits: Limits | None):
    with pytest.raises(ConfigurationError):
        optimise(Architecture(QuorumSystem("a")), aim, failures, limits)  # type: ignore[arg-type]


def test_the_solver_is_loaded_only_when_a_strategy_is_asked_for():
    program = (
        "import sys; import quorum.systems, quorum.systems.optimum, quorum.systems.availability;"
        "import quorum.systems.architecture_text;"
        "print([name for name in ('highspy', 'numpy', 'pysat') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@given(votes=thresholds(NAMES[:6], 9), failures=st.integers(0, 2), data=st.data())
def test_votes_are_bought_at_the_lowest_price(votes: Threshold, failures: int, data: st.DataObject):
    prices = {node: data.draw(st.sampled_from((0.0, 0.5, 1.0, 3.0)), node) for node in votes.nodes}
    sets = contacts(votes, failures)
    found = cheapest_votes(votes, failures, prices)
    if not sets:
        assert found is None
        return
    assert found is not None
    assert found[1] in sets
    assert found[0] == sum(prices[node] for node in found[1]) == min(sum(prices[n] for n in each) for each in sets)


def test_weights_of_any_size_are_planned_exactly():
    """Twenty nodes with odd weights: hundreds of thousands of minimal quorums, of which few are looked at."""
    weights = {f"n{place}": 7919 * (place + 3) ** 2 % 9973 for place in range(20)}
    system = classic.weighted(weights)
    found = optimise(Architecture(system))
    assert found.bound == pytest.approx(found.load, rel=1e-9)
    assert 0.5 <= found.load < 0.51


def test_capacities_too_far_apart_for_exact_figures_are_refused():
    nodes = {"a": NodeTraits(1e-9, 1), "b": NodeTraits(1e15, 1)}
    with pytest.raises(ConfigurationError, match="capacities from 1e-09 to 1e\\+15"):
        optimise(Architecture(QuorumSystem("a + b"), nodes))
    with pytest.raises(ConfigurationError, match="latencies from"):
        optimise(Architecture(QuorumSystem("a + b"), {"a": NodeTraits(latency=1e-12)}))


@settings(max_examples=60, deadline=None)
@given(architecture=architectures(), aim=aims, data=st.data())
def test_figures_are_exact_over_seven_orders_of_magnitude(
    architecture: Architecture, aim: Aim, data: st.DataObject
):
    """The bound and the figure of the strategy itself are worked out apart from each other."""
    capacity, wait = st.sampled_from((1e-3, 1e-1, 1.0, 1e4)), st.sampled_from((0.0, 1e-4, 1.0, 1e3))
    nodes = {node: NodeTraits(*map(data.draw, (capacity, capacity, wait))) for node in architecture.system.nodes}
    mixes = {mix.fraction: mix.weight for mix in architecture.mixes}
    found = optimise(Architecture(architecture.system, nodes, {}, mixes), aim)
    assert found.bound == pytest.approx(found.value, rel=1e-6)
    assert figure(found, aim) == pytest.approx(found.value, rel=1e-6)


def test_a_strategy_that_is_written_down_has_its_published_figures():
    """Whittaker and others 2021, section 6: every majority of the case study as often as every other."""
    architecture = Architecture(QuorumSystem(MAJORITY), CASE, {}, CASE_MIX)
    found = figures_of(architecture, uniform(parse(MAJORITY)), uniform(parse(MAJORITY)))
    assert found.capacity == pytest.approx(2291.60, abs=0.005)
    assert (found.latency, found.network_load) == (pytest.approx(4.5), pytest.approx(3))


@settings(max_examples=60, deadline=None)
@given(architecture=architectures(), aim=aims)
def test_no_strategy_that_is_written_down_beats_the_optimum(architecture: Architecture, aim: Aim):
    system = architecture.system
    plain = figures_of(architecture, uniform(system.reads), uniform(system.writes))
    written = {"load": plain.load, "network": plain.network_load, "latency": plain.latency}[aim]
    found = optimise(architecture, aim)
    assert found.value <= written * (1 + 1e-9)
    sides = [
        {each.quorum: each.probability for each in side.listed(10_000) or ()}
        for side in (found.reads, found.writes)
    ]
    again = figures_of(architecture, sides[0], sides[1])
    figures = (found.load, found.capacity, found.network_load, found.latency)
    assert again == tuple(pytest.approx(each, rel=1e-7) for each in figures)


def test_sets_without_a_quorum_and_chances_that_do_not_sum_to_one_are_refused():
    architecture = Architecture(QuorumSystem("a*b", "a + b"))
    whole, half = {frozenset("ab"): 1.0}, {frozenset("a"): 0.5}
    with pytest.raises(ConfigurationError, match="holds no quorum"):
        figures_of(architecture, {frozenset("a"): 1.0}, whole)
    with pytest.raises(ConfigurationError, match=r"sum to 0\.5"):
        figures_of(architecture, whole, half)
    with pytest.raises(ConfigurationError, match="cannot be asked with"):
        figures_of(architecture, whole, {frozenset("a"): 1.5, frozenset("b"): -0.5})
    with pytest.raises(ConfigurationError, match="more than 10,000"):
        uniform(classic.majority([f"n{place}" for place in range(40)]).reads)
