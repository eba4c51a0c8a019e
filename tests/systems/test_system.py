"""Read and write sides of a quorum system."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given

from quorum.errors import ConfigurationError
from quorum.systems.expression import Expression, parse
from quorum.systems.system import QuorumSystem
from systems.strategies import expressions


def test_an_omitted_side_is_the_dual_of_the_other() -> None:
    reads, writes = parse("a*b + c*d"), parse("(a + b)*(c + d)")
    assert QuorumSystem("a*b + c*d").writes == writes
    assert QuorumSystem(writes=writes).reads == reads
    assert QuorumSystem(reads, writes) == QuorumSystem(reads) == QuorumSystem(writes=writes)


def test_sides_may_be_text_or_expressions_and_name_different_nodes() -> None:
    system = QuorumSystem("a*b", parse("b + c"))
    assert system.nodes == ("a", "b", "c")
    assert system.is_read_quorum(["a", "b", "stranger"]) and not system.is_read_quorum({"a"})
    assert system.is_write_quorum({"c": 1}.keys()) and not system.is_write_quorum(())


@given(expressions(), expressions())
def test_equal_systems_are_interchangeable(reads: Expression, writes: Expression) -> None:
    system = QuorumSystem(reads, writes)
    same = QuorumSystem(str(reads), str(writes))
    assert system == same and hash(system) == hash(same)
    assert copy.deepcopy(system) is system and copy.copy(system) is system


def test_a_system_does_not_change() -> None:
    system = QuorumSystem("a")
    with pytest.raises(AttributeError, match="does not change"):
        system.reads = parse("b")
    assert system != "a" and repr(system) == "QuorumSystem(reads='a', writes='a')"


def test_a_system_without_sides_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one of them"):
        QuorumSystem()
    with pytest.raises(ConfigurationError, match="a node was expected"):
        QuorumSystem("")
