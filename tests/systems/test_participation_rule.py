"""The participation rule: verdicts by brute force over small N, known counterexamples, and how often it fails."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from quorum.errors import ConfigurationError
from quorum.model import FaultModel, nodes_needed
from quorum.systems.participation_rule import ARITHMETICS, COMMITTEES, Arithmetic, Asked, Committee, judge, refutes

MODELS: tuple[FaultModel, ...] = ("crash", "byzantine")


@st.composite
def questions(draw: st.DrawFn, nodes_max: int = 40) -> Asked:
    nodes = draw(st.integers(1, nodes_max))
    return Asked(
        nodes,
        draw(st.integers(0, nodes - 1)),
        draw(st.sampled_from(MODELS)),
        draw(st.sampled_from(COMMITTEES)),
        draw(st.sampled_from(ARITHMETICS)),
    )


def least_shared(asked: Asked) -> int | None:
    """The fewest nodes that two deciding sets of votes share, by trying all; None if there is no committee."""
    everyone = range(1, asked.nodes + 1)
    committees = [set(each) for each in combinations(everyone, asked.participants)]
    votes = [set(each) for each in combinations(everyone, asked.threshold)]
    found = [
        len(one & other)
        for whole in committees
        for second in (committees if asked.committee == "local" else [whole])
        for one in votes
        if one <= whole
        for other in votes
        if other <= second
    ]
    return min(found, default=None)


@pytest.mark.parametrize("committee", COMMITTEES)
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("model", MODELS)
def test_the_verdict_agrees_with_brute_force(
    committee: Committee, arithmetic: Arithmetic, model: FaultModel
) -> None:
    for nodes in range(1, 6):
        for faults in range(nodes):
            asked = Asked(nodes, faults, model, committee, arithmetic)
            shared = least_shared(asked)
            verdict = judge(asked)
            assert verdict.safe == (shared is None or shared >= asked.shared_needed), asked
            assert verdict.feasible == (shared is not None), asked


@given(questions())
def test_a_rule_is_refuted_exactly_where_it_is_unsafe(asked: Asked) -> None:
    verdict = judge(asked)
    assert (verdict.witness is None) == verdict.safe
    assert verdict.witness is None or refutes(asked, verdict.witness)


@given(questions())
def test_nothing_is_live_below_the_bound_of_the_model(asked: Asked) -> None:
    verdict = judge(asked)
    assert not verdict.live or (verdict.feasible and asked.nodes >= nodes_needed(asked.faults, asked.model))


@given(st.integers(1, 200), st.data())
def test_the_threshold_is_the_majority_of_those_who_take_part(nodes: int, data: st.DataObject) -> None:
    """In real arithmetic ceil((N-T)/2) + 1 = floor(n/2) + 1."""
    asked = Asked(nodes, data.draw(st.integers(0, nodes - 1)))
    assert asked.threshold == asked.participants // 2 + 1


@pytest.mark.parametrize(
    ("model", "committee", "arithmetic", "unsafe"),
    [
        ("crash", "local", "real", 105 - 21),
        ("byzantine", "local", "real", 105 - 7),
        ("byzantine", "agreed", "real", 105 - 7),
        ("crash", "agreed", "real", 0),
        ("crash", "agreed", "integer", 56),
        ("crash", "local", "integer", 120 - 22),
    ],
)
def test_so_often_the_rule_is_unsafe_up_to_fifteen_nodes(
    model: FaultModel, committee: Committee, arithmetic: Arithmetic, unsafe: int
) -> None:
    rows = [
        Asked(nodes, faults, model, committee, arithmetic) for nodes in range(1, 16) for faults in range(nodes)
    ]
    assert sum(not judge(asked).safe for asked in rows) == unsafe


@pytest.mark.parametrize(
    ("asked", "first", "second", "faulty"),
    [
        (Asked(6, 2, "crash", "local"), {1, 2, 3}, {4, 5, 6}, set()),
        (Asked(7, 3, "crash", "local"), {1, 2, 3}, {5, 6, 7}, set()),
        (Asked(9, 4, "crash", "local"), {1, 2, 3, 4}, {6, 7, 8, 9}, set()),
        (Asked(5, 1, "byzantine", "agreed"), {1, 2, 3}, {3, 4, 5}, {3}),
        (Asked(7, 2, "byzantine", "local"), {1, 2, 3, 4}, {4, 5, 6, 7}, {4}),
        (Asked(4, 1, "crash", "agreed", "integer"), {1, 2}, {3, 4}, set()),
    ],
)
def test_the_known_counterexamples_are_found(
    asked: Asked, first: set[int], second: set[int], faulty: set[int]
) -> None:
    witness = judge(asked).witness
    assert witness is not None
    assert (witness.first, witness.second, witness.faulty) == (first, second, faulty)


def test_without_faults_more_nodes_are_asked_for_than_there_are() -> None:
    for nodes in (1, 5):
        for arithmetic in ARITHMETICS:
            verdict = judge(Asked(nodes, 0, arithmetic=arithmetic))
            assert (verdict.safe, verdict.live, verdict.feasible, verdict.witness) == (True, False, False, None)


@pytest.mark.parametrize(("nodes", "faults", "live"), [(5, 1, True), (5, 2, False), (6, 2, True), (8, 3, False)])
def test_an_agreed_committee_is_live_from_three_nodes_for_each_fault_on(
    nodes: int, faults: int, live: bool
) -> None:
    """All T of them may be in the committee: n-T votes remain, which are a majority of n where N >= 3T."""
    assert judge(Asked(nodes, faults)).live == live


def test_a_counterexample_with_a_flaw_is_refused() -> None:
    asked = Asked(5, 1, "byzantine")
    witness = judge(asked).witness
    assert witness is not None and refutes(asked, witness)
    assert not refutes(asked, replace(witness, faulty=frozenset()))
    assert not refutes(asked, replace(witness, faulty=frozenset({3, 4})))
    assert not refutes(asked, replace(witness, first=frozenset({1, 2})))
    assert not refutes(asked, replace(witness, second_committee=frozenset({2, 3, 4, 5})))
    assert not refutes(asked, replace(witness, second_committee=frozenset({0, 2, 3, 4, 5})))


@pytest.mark.parametrize(("nodes", "faults"), [(0, 0), (-1, 0), (3, 3), (3, -1)])
def test_numbers_that_are_no_question_are_refused(nodes: int, faults: int) -> None:
    with pytest.raises(ConfigurationError, match="Give N of 1 or more, and T from 0 to N-1"):
        judge(Asked(nodes, faults))


def test_a_counterexample_that_nobody_would_read_is_not_written_out() -> None:
    assert judge(Asked(10**9, 10**8)).safe
    with pytest.raises(ConfigurationError, match="was to be written out"):
        judge(Asked(10**9, 10**8, committee="local"))
