"""The in-process quorum, as its users call it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import quorum as package
from quorum import ConfigurationError, LocalProtocolError, NodeFailed, NoQuorum, Quorum


def test_the_documented_example_prints_one() -> None:
    quorum = Quorum(N=5, T=1)
    quorum.fail(3)
    quorum.fail(5)
    quorum.send_message(node_id=1)
    state = quorum.check_state(node_id=2)
    assert state and state.reached
    assert (state.votes, state.threshold) == (3, 3)
    assert state.marked == (1, 2, 4)
    assert state.missing == (3, 5)
    assert state.participants == (1, 2, 3, 4, 5)
    quorum.make_decision(node_id=2)
    assert quorum.get_decision() == 1


def test_sizes_are_read_only() -> None:
    quorum = Quorum(N=5, T=2)
    assert (quorum.N, quorum.T, quorum.n) == (5, 2, 4)
    for name in ("N", "T", "n"):
        with pytest.raises(AttributeError):
            setattr(quorum, name, 9)


def test_nothing_is_decided_before_make_decision() -> None:
    quorum = Quorum(N=3, T=1)
    quorum.send_message(1)
    assert quorum.get_decision() is None
    assert quorum.make_decision(3) == 1 == quorum.get_decision()


def test_a_decision_never_changes() -> None:
    quorum = Quorum(N=5, T=2)
    quorum.send_message(2, value="first")
    quorum.make_decision(4)
    quorum.send_message(3, value="second")
    for node in (1, 2, 3, 4, 5):
        assert quorum.make_decision(node) == "first"
    quorum.fail(1)
    quorum.fail(2)
    quorum.send_message(5, value="third")
    assert quorum.make_decision(5) == "first"


def test_too_few_nodes_raise_no_quorum_and_name_the_missing() -> None:
    quorum = Quorum(N=5, T=2)
    for node in (3, 4, 5):
        quorum.fail(node)
    quorum.send_message(1)
    state = quorum.check_state(2)
    assert not state
    assert (state.votes, state.missing) == (2, (3, 4, 5))
    with pytest.raises(NoQuorum, match="missing: 3, 4, 5") as refusal:
        quorum.make_decision(2)
    assert refusal.value.missing == (3, 4, 5)
    assert quorum.get_decision() is None


def test_recovery_lets_a_waiting_proposal_win() -> None:
    quorum = Quorum(N=3, T=1)
    quorum.fail(1)
    quorum.fail(2)
    quorum.send_message(3, value="patient")
    assert not quorum.check_state(3)
    quorum.recover(2)
    assert quorum.check_state(3).votes == 2
    assert quorum.make_decision(2) == "patient"


def test_a_recovered_node_catches_up() -> None:
    quorum = Quorum(N=5, T=2)
    quorum.fail(4)
    quorum.send_message(1)
    quorum.make_decision(1)
    quorum.recover(4)
    assert quorum.check_state(4).marked == (1, 2, 3, 4, 5)
    assert quorum.make_decision(4) == 1


def test_the_minority_side_of_a_partition_cannot_decide() -> None:
    quorum = Quorum(N=5, T=2)
    quorum.partition([1, 2], [3, 4, 5])
    quorum.send_message(1, value="minority")
    assert quorum.check_state(1).votes == 2
    with pytest.raises(NoQuorum):
        quorum.make_decision(1)
    quorum.send_message(3, value="majority")
    assert quorum.make_decision(4) == "majority"
    quorum.heal()
    assert quorum.make_decision(1) == "majority"


def test_nodes_that_a_partition_does_not_name_form_one_more_group() -> None:
    quorum = Quorum(N=5, T=2)
    quorum.partition([1])
    assert quorum.check_state(1).missing == (2, 3, 4, 5)
    assert quorum.check_state(2).missing == (1,)


def test_a_failed_node_neither_proposes_nor_answers() -> None:
    quorum = Quorum(N=3, T=1)
    quorum.fail(2)
    for act in (quorum.send_message, quorum.check_state, quorum.make_decision):
        with pytest.raises(NodeFailed, match=r"recover\(2\)"):
            act(2)


def test_a_decision_without_a_proposal_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(LocalProtocolError, match="send_message"):
        Quorum(N=3, T=1).make_decision(1)


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ({"N": 4, "T": 2}, "Add 1 node, or lower T to 1"),
        ({"N": 3, "T": 1, "model": "byzantine"}, "3T\\+1 = 4"),
        ({"N": 5, "T": 2, "model": "byzantine"}, "Add 2 nodes, or lower T to 1"),
        ({"N": 0, "T": 0}, "1 or more"),
        ({"N": 3, "T": -1}, "0 or more"),
        ({"N": 3.0, "T": 1}, "whole number"),
        ({"N": True, "T": 0}, "whole number"),
        ({"N": 3, "T": 1, "model": "honest"}, "crash or lie"),
        ({"N": 1000, "T": 1}, "Use fewer nodes"),
    ],
)
def test_what_cannot_work_is_refused_with_a_remedy(arguments: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=remedy):
        Quorum(**arguments)


@pytest.mark.parametrize("node", [0, 6, -1, "1", 1.0, True, None])
def test_a_node_that_does_not_exist_is_refused(node: Any) -> None:
    with pytest.raises(ConfigurationError, match="numbered 1 to 5"):
        Quorum(N=5, T=1).fail(node)


def test_a_partition_names_each_node_once() -> None:
    with pytest.raises(ConfigurationError, match="twice"):
        Quorum(N=3, T=1).partition([1, 2], [2, 3])


def test_a_partition_takes_groups_and_not_nodes() -> None:
    with pytest.raises(ConfigurationError, match="Write the groups as lists"):
        Quorum(N=3, T=1).partition(1, [2, 3])  # type: ignore[arg-type]


def test_a_value_that_cannot_be_sent_is_refused_and_changes_nothing() -> None:
    quorum = Quorum(N=3, T=1)
    with pytest.raises(ConfigurationError, match="plain data"):
        quorum.send_message(1, value=object())
    assert quorum.check_state(2).votes == 0


@settings(max_examples=25)
@given(data=st.data())
def test_any_minority_may_fail_and_the_rest_agree(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 7))
    faults = (size - 1) // 2
    quorum = Quorum(N=size, T=faults, seed=data.draw(st.integers(0, 1000)))
    dead = data.draw(st.sets(st.integers(1, size), max_size=faults))
    alive = sorted(set(range(1, size + 1)) - dead)
    proposers = data.draw(st.lists(st.sampled_from(alive), min_size=1, max_size=3))
    early = data.draw(st.booleans())
    if early:
        quorum.send_message(proposers[0])
    for node in sorted(dead):
        quorum.fail(node)
    for node in proposers:
        quorum.send_message(node)
    decided = {quorum.make_decision(node) for node in alive}
    assert len(decided) == 1
    assert decided <= set(proposers)


def test_every_public_name_can_be_loaded() -> None:
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError):
        _ = package.no_such_name


@pytest.mark.parametrize(("model", "faults"), [("crash", 3), ("byzantine", 2)])
def test_without_t_as_many_may_fail_as_n_allows(model, faults):
    assert faults == Quorum(N=7, model=model).T
    with pytest.raises(ConfigurationError, match="N counts nodes"):
        Quorum(N=0, model=model)
