"""Votes and committed indexes, against brute force and the published cases."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.systems.classic import majority
from quorum.systems.expression import ALWAYS, NEVER, Expression, Node, Threshold, both, parse
from quorum.systems.tally import INFINITY, Outcome, Tally, committed_index, compile_committed
from systems.strategies import NAMES, expressions, subsets

ACKED = st.dictionaries(st.sampled_from((*NAMES, "stranger")), st.integers(0, 6))
BALLOTS = st.lists(st.tuples(st.sampled_from((*NAMES, "stranger")), st.booleans()))


def majority_of(ids: list[int] | None) -> Expression:
    return majority([f"n{node}" for node in ids]).writes if ids else ALWAYS


def of_case(case: Mapping[str, Any]) -> Expression:
    return both(majority_of(case["config"]), majority_of(case["config2"]))


def test_the_published_raft_cases_hold() -> None:
    """Commit and vote of majorities and joint majorities, as published test data of a widely used Raft."""
    folder = os.environ.get("QUORUM_TEST_DATA")
    if not folder:
        pytest.skip("QUORUM_TEST_DATA is not set: the published quorum cases are not here")
    cases = json.loads((Path(folder) / "raft_quorum_cases.json").read_text())
    assert len(cases) == 127
    for case in cases:
        expression = of_case(case)
        if case["kind"].endswith("_commit"):
            acked = {f"n{node}": index for node, index in case["acked"].items() if index is not None}
            expected = INFINITY if case["expected"] == "infinity" else case["expected"]
            assert committed_index(expression, acked) == expected, case
        else:
            tally = Tally(expression)
            for node, granted in case["votes"].items():
                if granted is not None:
                    tally.vote(f"n{node}", granted)
            assert tally.outcome is Outcome(case["expected"]), case


def brute_force_index(expression: Expression, acked: Mapping[str, int]) -> int:
    held = [i for i in range(7) if expression.contains({v for v in NAMES if acked.get(v, 0) >= i})]
    return max(held)


@given(expressions(), ACKED)
def test_the_committed_index_is_the_highest_that_a_quorum_holds(
    expression: Expression, acked: dict[str, int]
) -> None:
    assert committed_index(expression, acked) == brute_force_index(expression, acked)


@given(expressions(), expressions(), ACKED)
def test_a_joint_commit_is_symmetric_and_the_lower_of_the_two(
    first: Expression, second: Expression, acked: dict[str, int]
) -> None:
    together = committed_index(first * second, acked)
    assert together == committed_index(second * first, acked)
    assert together == min(committed_index(first, acked), committed_index(second, acked))


@given(expressions(), ACKED)
def test_joint_with_itself_or_with_nobody_changes_nothing(expression: Expression, acked: dict[str, int]) -> None:
    alone = committed_index(expression, acked)
    assert committed_index(expression * expression, acked) == alone
    assert committed_index(expression * ALWAYS, acked) == alone
    assert committed_index(ALWAYS * expression, acked) == alone


@given(expressions(), ACKED, st.data())
def test_lowering_an_index_that_is_past_the_commit_changes_nothing(
    expression: Expression, acked: dict[str, int], data: st.DataObject
) -> None:
    """An index above the committed one can fall to it, one below it to zero, without effect."""
    committed = committed_index(expression, acked)
    for node in sorted(acked):
        if acked[node] > committed and data.draw(st.booleans()):
            acked[node] = committed
        elif acked[node] < committed and data.draw(st.booleans()):
            acked[node] = 0
    assert committed_index(expression, acked) == committed


def test_nobody_commits_everything_and_wins() -> None:
    assert committed_index(ALWAYS, {}) == INFINITY == 2**63 - 1
    assert Tally(ALWAYS).outcome is Outcome.WON
    assert Tally(ALWAYS).vote("stranger", False) is Outcome.WON


def test_never_commits_nothing_and_has_lost() -> None:
    assert committed_index(NEVER, {"a": 5}) == 0
    assert Tally(NEVER).outcome is Outcome.LOST


def test_a_compiled_commit_serves_many_rounds() -> None:
    committed = compile_committed(parse("majority(a, b, c) * majority(c, d, e)"))
    assert committed({"a": 3, "b": 2, "c": 9, "d": 1}) == 1
    assert committed({"a": 3, "b": 2, "c": 9, "d": 4}) == 3
    assert committed({}) == 0


def test_weights_of_equal_size_count_nodes() -> None:
    assert committed_index(Threshold({"a": 2, "b": 2, "c": 2}, 3), {"a": 5, "b": 7}) == 5


@given(expressions(), BALLOTS)
def test_the_tally_agrees_with_brute_force(expression: Expression, ballots: list[tuple[str, bool]]) -> None:
    tally = Tally(expression)
    first: dict[str, bool] = {}
    for voter, granted in ballots:
        outcome = tally.vote(voter, granted)
        if voter in expression.nodes:
            first.setdefault(voter, granted)
        yes = {voter for voter in first if first[voter]}
        no = set(first) - yes
        open_votes = tuple(sorted(set(expression.nodes) - yes - no))
        if expression.contains(yes):
            expected = Outcome.WON
        elif any(expression.contains(yes | more) for more in subsets(open_votes)):
            expected = Outcome.PENDING
        else:
            expected = Outcome.LOST
        assert outcome is tally.outcome is expected
        assert tally.granted == yes and tally.refused == no


def test_the_first_vote_of_a_voter_stands() -> None:
    tally = Tally(parse("majority(a, b, c)"))
    tally.vote("a", False)
    assert tally.vote("a", True) is Outcome.PENDING
    assert tally.vote("b", True) is Outcome.PENDING
    assert tally.vote("b", True) is Outcome.PENDING
    assert tally.vote("c", True) is Outcome.WON
    assert tally.granted == {"b", "c"} and tally.refused == {"a"}


def test_a_heavy_voter_wins_alone_and_loses_alone() -> None:
    heavy = Threshold({"a": 3, "b": 1, "c": 1}, 3)
    assert Tally(heavy).vote("a", True) is Outcome.WON
    assert Tally(heavy).vote("a", False) is Outcome.LOST


def test_a_single_node_decides_for_itself() -> None:
    assert Tally(Node("a")).vote("a", True) is Outcome.WON
    assert committed_index(Node("a"), {"a": 4}) == 4
