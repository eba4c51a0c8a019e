"""What quorums share and how many nodes may fail, against brute force and the formulae of the literature."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from quorum.errors import ConfigurationError
from quorum.systems import opaque
from quorum.systems.algebra import Expression
from quorum.systems.classic import read_write_grid, threshold, weighted
from quorum.systems.expression import parse
from quorum.systems.resilience import fewest_to_stop
from quorum.systems.system import QuorumSystem
from quorum.systems.verdict import MODELS, MaxFaults, Model, judge_system, refutes
from systems.strategies import expressions, subsets, trees

NAMES = ("a", "b", "c", "d", "e")
SMALL = expressions(NAMES, 7)


def minimal(expression: Expression) -> list[frozenset[str]]:
    holds = [frozenset(each) for each in subsets(NAMES) if expression.contains(frozenset(each))]
    return [each for each in holds if not any(other < each for other in holds)]


def is_safe(reads: Expression, writes: Expression, model: Model, faults: int) -> bool:
    """The definitions, for every pair of minimal quorums and every set of at most T liars."""
    liars = [frozenset(each) for size in range(faults + 1) for each in combinations(NAMES, size)]
    for read in minimal(reads):
        for write in minimal(writes):
            shared = read & write
            if model == "crash" and not shared:
                return False
            for lying in liars if model != "crash" else ():
                honest = len(shared - lying)
                enough = {
                    "byzantine": honest > 0,
                    "masking": honest > len(shared & lying),
                    "opaque": honest > len(read & lying) and honest >= len((read & lying) | (read - write)),
                }
                if not enough[model]:
                    return False
    return True


def left(expressions: tuple[Expression, ...], faults: int) -> bool:
    gone = [frozenset(each) for each in combinations(NAMES, min(faults, len(NAMES)))]
    return all(each.contains(frozenset(NAMES) - lost) for each in expressions for lost in gone)


@settings(max_examples=100, deadline=None)
@given(SMALL, SMALL, st.sampled_from(MODELS), st.integers(0, 3))
def test_the_verdict_agrees_with_the_definitions(
    reads: Expression, writes: Expression, model: Model, faults: int
) -> None:
    system = QuorumSystem(reads, writes)
    found = judge_system(system, model, faults)
    assert found.safe == is_safe(reads, writes, model, faults)
    assert found.live == left((reads, writes), faults)
    assert (found.witness is None) == found.safe
    assert found.witness is None or refutes(system, model, faults, found.witness)


def most(one: Expression, other: Expression, model: Model, live: tuple[Expression, ...]) -> int | None:
    fits = [t for t in range(len(NAMES)) if is_safe(one, other, model, t) and left(live, t)]
    return max(fits, default=None)


@settings(max_examples=60, deadline=None)
@given(SMALL, SMALL, st.sampled_from(["both", "reads", "writes"]))
def test_the_most_faults_agree_with_the_definitions(reads: Expression, writes: Expression, sides: str) -> None:
    one, other = {"reads": (reads, reads), "writes": (writes, writes)}.get(sides, (reads, writes))
    found = judge_system(QuorumSystem(reads, writes), given=sides)
    pairs = [len(first & second) for first in minimal(one) for second in minimal(other)]
    assert found.smallest_intersection == min(pairs)
    assert found.max_faults == MaxFaults(*(most(one, other, model, (one, other)) for model in MODELS))


@given(st.integers(1, 30), st.data())
def test_majorities_of_the_literature_stand_what_they_should(nodes: int, data: st.DataObject) -> None:
    """n >= 2T+1 crash, 3T+1 dissemination, 4T+1 masking; opaque 5T (Malkhi and Reiter, 1998)."""
    faults = data.draw(st.integers(0, (nodes - 1) // 2))
    names = [f"n{i}" for i in range(nodes)]

    def of(size: int) -> MaxFaults:
        return judge_system(threshold(names, reads=size, writes=size)).max_faults

    assert of(nodes // 2 + 1).crash == (nodes - 1) // 2
    if nodes >= 3 * faults + 1:
        assert (of((nodes + faults) // 2 + 1).dissemination or 0) >= faults
    if nodes >= 4 * faults + 1:
        assert (of((nodes + 2 * faults) // 2 + 1).masking or 0) >= faults
    if nodes >= 5 * faults and faults:
        assert (of(-(-(2 * nodes + 2 * faults) // 3)).opaque or 0) >= faults


@pytest.mark.parametrize(("size", "of", "faults"), [(4, 5, 1), (8, 10, 2)])
def test_known_opaque_systems_stand_their_liars(size: int, of: int, faults: int) -> None:
    names = [f"n{i}" for i in range(of)]
    assert judge_system(threshold(names, reads=size, writes=size)).max_faults.opaque == faults


def test_reads_alone_are_paired_with_each_other_though_they_meet_their_dual() -> None:
    system = QuorumSystem("a*b + c*d")
    found = judge_system(system, given="reads")
    assert (found.safe, found.smallest_intersection, found.crash_resilience) == (True, 0, 1)
    assert found.max_faults == MaxFaults(None, None, None, None)
    assert judge_system(system).smallest_intersection == 1


def test_a_thousand_nodes_are_judged_at_once() -> None:
    names = [f"n{i}" for i in range(1001)]
    found = judge_system(threshold(names, reads=668, writes=668), "byzantine", 333)
    assert (found.safe, found.live, found.smallest_intersection) == (True, True, 335)
    assert judge_system(weighted(dict.fromkeys(names, 2))).crash_resilience == 500


def test_fewest_to_stop_a_tree_needs_no_solver() -> None:
    text = "majority(" + ", ".join(f"majority(a{i}, b{i}, c{i})" for i in range(27)) + ")"
    assert fewest_to_stop(parse(text)) == 28


def test_too_many_quorums_to_pair_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opaque, "PAIRS_MAX", 3)
    grid = read_write_grid([["a", "b"], ["c", "d"]])
    with pytest.raises(ConfigurationError, match="too many quorums to pair them"):
        judge_system(grid, "opaque", 0)
    found = judge_system(grid)
    assert (found.safe, found.is_opaque_known, found.max_faults.masking) == (True, False, 0)


@settings(max_examples=200)
@given(trees())
def test_the_weakest_pair_of_a_tree_is_found_without_trying_all(tree: tuple[Expression, Expression]) -> None:
    expression, _ = tree
    found = opaque.least_margin(expression, expression)
    every = list(expression.quorums())
    assert found is not None and set(found) <= set(every)
    assert opaque.margin_of(found) == min(opaque.margin_of((one, other)) for one in every for other in every)


def test_a_tree_of_729_nodes_is_judged_at_once() -> None:
    leaves = [f"n{i}" for i in range(729)]
    while len(leaves) > 1:
        leaves = [f"majority({', '.join(leaves[at : at + 3])})" for at in range(0, len(leaves), 3)]
    system = QuorumSystem(leaves[0], leaves[0])
    found = judge_system(system)
    assert (found.safe, found.smallest_intersection, found.crash_resilience) == (True, 1, 63)
    assert found.max_faults == MaxFaults(63, 0, 0, None)


def test_a_witness_with_a_flaw_is_refused() -> None:
    system = QuorumSystem("choose(3, a, b, c, d)", "choose(3, a, b, c, d)")
    witness = judge_system(system, "byzantine", 2).witness
    assert witness is not None and refutes(system, "byzantine", 2, witness)
    assert not refutes(system, "byzantine", 1, witness), "two liars are one too many"
    assert not refutes(system, "byzantine", 2, replace(witness, faulty=frozenset()))
    assert not refutes(system, "byzantine", 2, replace(witness, first=frozenset("a")))
    assert not refutes(system, "crash", 0, witness)


def test_fewer_faults_than_none_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="T counts nodes"):
        judge_system(QuorumSystem("a"), "crash", -1)
