"""From a configuration to its quorum system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from quorum.errors import ConfigurationError
from quorum.model import Configuration
from quorum.systems.build import build
from quorum.systems.check import check_raft
from quorum.systems.expression import ALWAYS, Threshold, parse


def test_without_texts_the_voters_and_witnesses_decide_by_majority() -> None:
    system = build(Configuration(voters=("a", "c"), witnesses=("b",), learners=("d",)))
    assert system.reads == system.writes == parse("majority(a, b, c)")
    check_raft(system)


def test_a_witness_counts_where_it_makes_the_number_of_votes_odd() -> None:
    """With an odd number of voters it would ask for one more vote, and let no more losses be survived."""
    even = build(Configuration(voters=("a", "b", "c", "d"), witnesses=("w",)))
    assert even.writes == parse("majority(a, b, c, d, w)")
    odd = build(Configuration(voters=("a", "b", "c"), witnesses=("w",)))
    assert odd.writes == parse("majority(a, b, c)")
    two = build(Configuration(voters=("a", "b"), witnesses=("w", "x")))
    assert two.writes == parse("majority(a, b, w)")
    for system in (even, odd, two):
        check_raft(system)


def test_weights_count_as_votes_and_default_to_one() -> None:
    system = build(Configuration(voters=("a", "b", "c"), weights=(("a", 3), ("b", 0))))
    assert system.reads == system.writes == Threshold({"a": 3, "b": 0, "c": 1}, 3)


def test_one_text_gives_the_other_side_its_dual() -> None:
    voters = ("a", "b", "c", "d")
    assert build(Configuration(voters=voters, writes="a*b + c*d")).reads == parse("(a + b) * (c + d)")
    assert build(Configuration(voters=voters, reads="choose(3, a, b, c, d)")).writes == parse(
        "choose(2, a, b, c, d)"
    )
    both_given = build(Configuration(voters=voters, reads="choose(3, a, b, c, d)", writes="a*b*c*d"))
    assert both_given.writes == parse("a*b*c*d")


def test_an_elector_that_no_text_names_has_no_say() -> None:
    system = build(Configuration(voters=("a", "b"), reads="a"))
    assert system.nodes == ("a",)


def test_ids_with_dashes_are_quoted_in_the_text() -> None:
    system = build(Configuration(voters=("n-1", "n-2"), reads='"n-1"*"n-2"'))
    assert system.is_read_quorum({"n-1", "n-2"}) and system.is_write_quorum({"n-2"})


def test_a_change_under_way_needs_both_configurations() -> None:
    """Ongaro (2014), section 4.3."""
    outgoing = Configuration(epoch=1, voters=("a", "b", "c"))
    system = build(Configuration(epoch=2, voters=("b", "c", "d"), outgoing=outgoing))
    assert system.reads == system.writes == parse("majority(b, c, d) * majority(a, b, c)")
    assert not system.is_write_quorum({"b", "d"}) and system.is_write_quorum({"b", "c"})
    check_raft(system)


def test_each_side_of_a_change_keeps_its_own_expressions() -> None:
    outgoing = Configuration(voters=("a", "b"), reads="a*b")
    system = build(Configuration(voters=("c", "d"), writes="c*d", outgoing=outgoing))
    assert system.reads == parse("(c + d) * a * b") and system.writes == parse("c * d * (a + b)")


def test_nobody_at_all_holds_nothing_back() -> None:
    assert build(Configuration()).reads == build(Configuration()).writes == ALWAYS
    joined = build(Configuration(voters=("a",), outgoing=Configuration()))
    assert joined.reads == parse("a")
    with pytest.raises(ConfigurationError, match="at least one node"):
        check_raft(build(Configuration()))


def test_equal_configurations_share_one_system() -> None:
    assert build(Configuration(voters=("a", "b"))) is build(Configuration(voters=("a", "b")))


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        (Configuration(voters=("a",), learners=("l",), reads="a + l + x"), "name l, x, but only voters"),
        (Configuration(voters=("a",), writes="b"), "writes 'b' name b"),
        (Configuration(voters=("a",), reads="a +"), "a node was expected"),
        (Configuration(reads="a"), "decide: none"),
        (Configuration(voters=("a",), weights=(("x", 1),)), "weights were given for x"),
        (Configuration(voters=("a",), weights=(("a", 1), ("a", 2))), "Name each node once"),
        (Configuration(voters=("a",), weights=(("a", -1),)), "counts votes"),
        (Configuration(voters=("a",), weights=(("a", 0),)), "over 0 votes"),
        (Configuration(voters=("a",), outgoing=Configuration(voters=("b",), reads="a")), "name a"),
        (Configuration(outgoing=Configuration(outgoing=Configuration())), "three configurations"),
    ],
)
def test_a_configuration_that_cannot_decide_is_refused(configuration: Configuration, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        build(configuration)


def test_weights_of_learners_wait_for_their_turn() -> None:
    system = build(Configuration(voters=("a",), learners=("l",), weights=(("l", 2),)))
    assert system.nodes == ("a",)


def test_building_and_checking_majorities_loads_no_solver() -> None:
    code = (
        "import sys; from quorum.model import Configuration; from quorum.systems.build import build\n"
        "from quorum.systems.check import check_raft; check_raft(build(Configuration(voters=('a', 'b', 'c'))))\n"
        "sys.exit('pysat' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
