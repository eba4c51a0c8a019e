"""Whether a quorum is really lost, who is the most advanced survivor, and what may be lost with the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from quorum.errors import ConfigurationError
from quorum.membership.recovery import configuration_after
from quorum.membership.survivors import Survivor, assess
from quorum.model import Configuration, Recovery
from quorum.systems.build import build

NAMES = ("n1", "n2", "n3", "n4", "n5")
FIVE = Configuration(epoch=1, voters=NAMES)


def survivor(
    node: str,
    index: int = 10,
    term: int = 2,
    configuration: Configuration = FIVE,
    usable: bool = True,
    may_vote: bool = True,
    committed: int = 0,
) -> Survivor:
    system = build(configuration)
    return Survivor(
        node=node,
        place=f"/data/{node}",
        runs=False,
        configuration=configuration,
        reads=str(system.reads),
        writes=str(system.writes),
        term=term,
        last_term=term,
        last_index=index,
        committed=committed,
        is_usable=usable,
        may_vote=usable and may_vote,
        text="clean",
    )


def test_a_quorum_that_is_there_is_named_with_no_more_members_than_it_needs():
    found = assess([survivor("n1", 9), survivor("n2", 12), survivor("n3", 11), survivor("n4", 3)])
    assert len(found.enough) == 3 and "n2" in found.enough


def test_two_of_five_are_no_quorum_and_the_most_advanced_goes_on():
    found = assess([survivor("n1", 9, committed=4), survivor("n4", 12)])
    assert found.enough == () and found.best.node == "n4"
    assert found.given_up == ("n1", "n2", "n3", "n5") and found.committed == 4


def test_a_later_term_is_more_advanced_than_a_longer_log():
    """Raft, section 5.4.1."""
    assert assess([survivor("n1", 900, term=2), survivor("n2", 5, term=3)]).best.node == "n2"


def test_a_node_that_does_not_start_or_may_not_vote_makes_no_quorum():
    """Two of five whole; a third folder is damaged, once so that it refuses, once so that it gives no vote."""
    for third in (survivor("n3", usable=False), survivor("n3", may_vote=False)):
        assert assess([survivor("n1"), survivor("n2"), third]).enough == ()
    whole = [survivor("n1"), survivor("n2"), survivor("n3"), survivor("n4", may_vote=False)]
    assert assess(whole).enough == ("n1", "n2", "n3")


def test_a_node_without_a_vote_that_has_most_goes_on_and_keeps_what_it_has():
    found = assess([survivor("n1", 9), survivor("n2", 11, may_vote=False)])
    assert found.best.node == "n2"


def test_what_a_lost_quorum_acknowledged_cannot_be_excluded():
    assert not assess([survivor("n1"), survivor("n2")]).is_complete


def test_nothing_is_lost_where_every_quorum_that_commits_has_a_member_that_is_left():
    """Elections need two of five, commits four: the two that are left intersect every set of four."""
    four = replace(FIVE, reads="choose(2, n1, n2, n3, n4, n5)", writes="choose(4, n1, n2, n3, n4, n5)")
    found = assess([survivor("n1", 9, configuration=four), survivor("n2", configuration=four)])
    assert found.enough == () and found.is_complete


def test_a_witness_counts_and_nobody_goes_on_from_it():
    with_witness = Configuration(epoch=1, voters=("n1", "n2"), witnesses=("w",))
    found = assess([survivor("n1", configuration=with_witness), survivor("w", 11, configuration=with_witness)])
    assert found.enough == (), "its log is ahead, so n1 gets no vote from it"
    assert found.best.node == "n1"
    level = assess([survivor("n1", configuration=with_witness), survivor("w", configuration=with_witness)])
    assert level.enough == ("n1", "w")
    with pytest.raises(ConfigurationError, match="nobody is left with the state"):
        assess([survivor("w", configuration=with_witness)])


def test_in_the_middle_of_a_change_both_configurations_must_have_lost_nothing():
    joint = Configuration(epoch=3, voters=("n1", "n2", "n3"), outgoing=FIVE)
    left = [survivor("n1", configuration=joint), survivor("n2", configuration=joint)]
    assert assess(left).enough == ()
    assert assess([*left, survivor("n4", configuration=joint)]).enough == ("n1", "n2", "n4")


def test_those_of_an_earlier_incarnation_are_no_survivors_of_this_one():
    recovery = Recovery(1, "a" * 16, "n1", 10, 2, NAMES[1:], "me", 0)
    after = configuration_after(FIVE, recovery)
    left = [survivor("n1", 10**12, configuration=after), *(survivor(name) for name in NAMES[1:])]
    found = assess(left)
    assert found.enough == ("n1",) and found.best.node == "n1"


def test_survivors_of_two_recoveries_are_not_put_together():
    made = [Recovery(1, letter * 16, node, 10, 2, (), "me", 0) for letter, node in (("a", "n1"), ("b", "n2"))]
    left = [survivor(each.survivor, configuration=configuration_after(FIVE, each)) for each in made]
    with pytest.raises(ConfigurationError, match="recovered twice"):
        assess(left)


def test_where_nothing_is_left_the_message_says_what_else_there_is():
    with pytest.raises(ConfigurationError, match="quorum restore"):
        assess([])


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5)), min_size=1, max_size=5))
def test_the_survivor_that_goes_on_would_get_the_vote_of_every_other(ends):
    left = [survivor(name, index, term) for name, (term, index) in zip(NAMES, ends, strict=False)]
    best = assess(left).best
    assert all(each.end <= best.end for each in left)
    assert bool(assess(left).enough) == (len(left) >= 3)
