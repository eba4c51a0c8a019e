"""Which committee a situation asks for, by each policy, and what a policy of the user's own may not ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.membership.observation import Situation
from quorum.membership.policy import (
    adaptive,
    check_policy,
    custom,
    fixed,
    floor_of,
    participation,
    policy_of,
    usual,
)
from quorum.model import Configuration


def situation(
    voters: str, fit: str, learners: str = "", leader: str = "a", faults: int = 1, floor: int = 3, nodes: int = 0
) -> Situation:
    """Nodes are named by letters; whoever is a member and not fit is unreachable."""
    members = sorted({*voters, *learners})
    unfit = tuple((node, "unreachable") for node in members if node not in fit)
    configuration = Configuration(1, tuple(sorted(voters)), tuple(sorted(learners)))
    return Situation(configuration, leader, tuple(sorted(fit)), unfit, nodes or len(members), faults, floor)


def wanted(asked: Situation) -> str:
    return "".join(sorted(adaptive(asked)))


def test_an_adaptive_committee_follows_who_is_fit_in_odd_steps_down_to_three() -> None:
    """Elasticsearch's auto-shrink: 9, 7, 5, 3, and never fewer than three where there were three."""
    assert wanted(situation("abcdefghi", "abcdefghi")) == "abcdefghi"
    assert wanted(situation("abcdefghi", "abcdefgh")) == "abcdefg"
    assert wanted(situation("abcdefg", "abcde", "hi")) == "abcde"
    assert wanted(situation("abcde", "abcd", "fghi")) == "abc"
    assert wanted(situation("abc", "ab", "defghi")) == "abc"
    assert len(wanted(situation("abcde", "ab"))) == 3


def test_a_standby_that_is_fit_takes_the_seat_of_a_voter_that_is_not() -> None:
    assert wanted(situation("abc", "abd", "de")) == "abd"


def test_the_leader_and_who_votes_already_are_seated_first() -> None:
    assert wanted(situation("cde", "abcd", "ab", leader="d")) == "acd"
    assert wanted(situation("abc", "abcd", "d", leader="a")) == "abc"


def test_a_single_node_or_two_are_left_as_they_are() -> None:
    assert wanted(situation("a", "a")) == "a"
    assert wanted(situation("ab", "a")) == "ab"


def test_the_floor_is_what_was_configured_and_three_at_least() -> None:
    assert floor_of(situation("abcdefg", "abcdefg", floor=5)) == 5
    assert floor_of(situation("abcde", "abcde", floor=1)) == 3
    assert floor_of(situation("ab", "ab", floor=5)) == 2
    assert len(wanted(situation("abcdefg", "abc", floor=5))) == 5


def test_participation_keeps_n_minus_t_plus_one_and_replaces_who_is_unfit() -> None:
    assert participation(situation("abcdef", "abcdefg", "g", faults=2)) == tuple("abcdef")
    assert participation(situation("abcdef", "abcefg", "g", faults=2)) == tuple("abcefg")
    assert participation(situation("abcdef", "abcef", "g", faults=2)) == tuple("abcdef"), "nobody fit is there"
    assert participation(situation("abc", "abc", faults=0)) == tuple("abc"), "n is never more than N"


def test_participation_never_goes_below_the_floor_when_operators_take_members_away() -> None:
    assert participation(situation("abcd", "abcd", faults=3)) == tuple("abc"), "N-T+1 would be two"
    assert participation(situation("abc", "abc", faults=3)) == tuple("abc"), "N-T+1 would be one"


def test_a_fixed_committee_is_what_it_is() -> None:
    assert fixed(situation("abc", "a")) == tuple("abc")


def test_adapting_is_usual_from_five_members_on() -> None:
    assert [usual(nodes) for nodes in (1, 3, 4, 5, 9)] == ["fixed", "fixed", "fixed", "adaptive", "adaptive"]


LETTERS = st.sets(st.sampled_from("abcdefghi"), min_size=1)


@given(voters=LETTERS, learners=LETTERS, fit=LETTERS, floor=st.integers(0, 9))
def test_whatever_is_the_case_a_committee_is_made_of_members_and_not_below_the_floor(
    voters: set[str], learners: set[str], fit: set[str], floor: int
) -> None:
    learners -= voters
    members = voters | learners
    fit &= members
    asked = situation("".join(voters), "".join(fit), "".join(learners), leader=min(fit or members), floor=floor)
    found = adaptive(asked)
    assert len(set(found)) == len(found) and set(found) <= members
    assert len(found) >= min(floor_of(asked), len(voters | fit))
    assert len(found) % 2 == 1 or len(found) <= max(floor_of(asked), 2)
    outside = fit - set(found)
    assert len(outside) <= 1 or set(found) <= fit, "nobody unfit has a seat that two who are fit could take"


def test_a_policy_of_the_users_own_is_taken_at_its_word() -> None:
    by_name = custom(lambda asked: sorted(asked.fit, reverse=True)[:3])
    assert by_name(situation("abcde", "abcde")) == tuple("cde")


@pytest.mark.parametrize(
    ("answer", "part"), [("abx", "'x', which is no member"), ("aab", "a member twice"), ("ab", "the floor is 3")]
)
def test_what_a_policy_of_the_users_own_may_not_ask_for_is_refused(answer: str, part: str) -> None:
    with pytest.raises(ConfigurationError, match=part):
        tuple(custom(lambda _: answer)(situation("abcde", "abcde")))


def test_a_policy_that_raises_changes_nothing_and_is_named() -> None:
    with pytest.raises(ConfigurationError, match="ZeroDivisionError"):
        tuple(custom(lambda _: str(1 // 0))(situation("abc", "abc")))


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        (("adaptiv", 5, 1, 3), "Name one of"),
        (("adaptive", 5, 1, 2), "Give 3 or more"),
        (("participation", 4, 2, 3), r"2T\+1 = 5"),
        (("participation", 5, 0, 3), r"n = N-T\+1 = 6"),
    ],
)
def test_a_policy_that_cannot_choose_is_refused_before_it_is_used(
    asked: tuple[str, int, int, int], part: str
) -> None:
    with pytest.raises(ConfigurationError, match=part):
        check_policy(*asked)


def test_a_custom_policy_without_its_function_changes_nothing() -> None:
    """Another node, which has it, may lead next."""
    assert policy_of("custom") is fixed
