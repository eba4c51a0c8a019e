"""Which committee a situation asks for, by each policy, and what a policy of the user's own may not ask for."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, repeat
from itertools import count as counted

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from quorum.errors import ConfigurationError
from quorum.membership.health import HELD
from quorum.membership.observation import Situation
from quorum.membership.policy import (
    Policy,
    adaptive,
    check_policy,
    custom,
    fixed,
    floor_of,
    participation,
    policy_of,
    usual,
)
from quorum.membership.reconfiguration import Reseat, apply_change
from quorum.model import Configuration, Seat
from quorum.systems.build import build


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


def weighing(asked: Situation, weights: dict[str, int], faults: int = 0, witnesses: str = "") -> Situation:
    """The same situation with weights, T for them, and witnesses that are fit."""
    pairs = tuple(sorted((node, weight) for node, weight in weights.items() if weight != 1))
    present = replace(asked.configuration, weights=pairs, faults=faults, witnesses=tuple(witnesses))
    return replace(asked, configuration=present, fit_witnesses=tuple(witnesses))


def after(asked: Situation, voters: Iterable[str]) -> Configuration:
    """The configuration in which these vote, as the change makes it."""
    present, voting = asked.configuration, set(voters)
    seats = [Seat(node) for node in sorted(voting - set(present.voters))]
    seats += [Seat(node, "spare") for node in sorted(set(present.voters) - voting)]
    return apply_change(present, Reseat(tuple(seats))) if seats else present


def decides(asked: Situation, voters: Iterable[str]) -> bool:
    """Whether those who are fit are enough once these vote."""
    system = build(after(asked, voters))
    fit = frozenset((*asked.fit, *asked.fit_witnesses))
    return system.is_write_quorum(fit) and system.is_read_quorum(fit)


def test_the_votes_are_counted_and_not_the_members() -> None:
    """Six votes of five members are even: who has one of them is spare. Five votes of four are odd."""
    five = situation("abcde", "abcde")
    assert wanted(weighing(five, {"b": 2})) == "abcd"
    four = situation("abcde", "abcd")
    assert wanted(weighing(four, {"a": 2})) == "abcd"
    assert wanted(weighing(four, dict.fromkeys("abcde", 3))) == "abc", "equal weights are as good as none"
    assert wanted(weighing(four, {"a": 3, "b": 3, "c": 3, "d": 3, "e": 7})) == "abc", (
        "the votes of e are not there"
    )


def test_whoever_has_more_than_a_single_vote_is_not_left_out_to_make_the_votes_odd() -> None:
    heavy = {"a": 3, "b": 3, "c": 2, "d": 2}
    assert wanted(weighing(situation("abcd", "abcd"), heavy)) == "abcd", "nobody is to spare"
    assert wanted(weighing(situation("abcde", "abcde"), {"c": 2, "d": 2, "e": 2})) == "acde", "b has a single one"


def test_a_fit_witness_makes_the_votes_odd_also_where_members_have_weights() -> None:
    asked = situation("abcde", "abcd")
    assert wanted(weighing(asked, {"a": 2, "b": 2})) == "abc"
    assert wanted(weighing(asked, {"a": 2, "b": 2}, witnesses="w")) == "abcd"


def test_the_committee_stays_where_the_fit_could_not_decide_in_the_one_that_they_would_fill() -> None:
    """The votes of f and g are enough among those of all. Among five they would be too strong for T = 1, so that
    all of the five would weigh the same, and two of five decide nothing."""
    asked = weighing(situation("abcdefg", "fg", leader="f", floor=5), {"f": 6, "g": 2}, faults=1)
    assert decides(asked, "abcdefg") and not decides(asked, "abcfg")
    assert wanted(asked) == "abcdefg"


def test_the_lightest_of_the_lost_fill_the_seats_that_nobody_fit_is_there_for() -> None:
    asked = weighing(situation("abcdef", "def", leader="d", floor=5), {"a": 3, "e": 4})
    assert wanted(asked) == "bcdef"


WEIGHED = st.builds(
    lambda weights, members, learners, fit, faults, floor, witness: weighing(
        situation(
            "".join(sorted(members)),
            "".join(sorted(fit & (members | learners))),
            "".join(sorted(learners - members)),
            leader=min(fit & (members | learners) or members),
            floor=floor,
        ),
        {node: weights[place] for place, node in enumerate("abcdefghi") if node in members | learners},
        faults,
        "w" * witness,
    ),
    st.lists(st.integers(1, 6), min_size=9, max_size=9),
    LETTERS,
    LETTERS,
    LETTERS,
    st.integers(0, 3),
    st.integers(3, 6),
    st.booleans(),
)


@given(asked=WEIGHED)
def test_those_who_are_fit_can_decide_in_the_committee_that_is_wanted_if_they_can_in_any(asked: Situation) -> None:
    """A change is decided by the present committee, too: so in any that they could get to."""
    found = adaptive(asked)
    assert len(found) >= min(floor_of(asked), len({*asked.configuration.voters, *asked.fit}))
    if decides(asked, asked.configuration.voters):
        assert decides(asked, found)


@given(asked=WEIGHED)
def test_who_is_left_out_for_the_number_is_missed_by_no_quorum(asked: Situation) -> None:
    """Whatever the others survive together with it, they survive without it."""
    found = set(adaptive(asked))
    left = set(asked.fit) - found
    if not left or (found == set(asked.configuration.voters) and not decides(asked, found | left)):
        return  # the committee as it is
    (spare,) = left
    larger, smaller = build(after(asked, found | left)), build(after(asked, found))
    others = sorted(found | set(asked.fit_witnesses))
    for count in range(len(others) + 1):
        for some in combinations(others, count):
            if larger.is_write_quorum({*some, spare}):
                assert smaller.is_write_quorum(set(some))


@given(asked=WEIGHED)
def test_a_committee_that_was_put_in_force_is_wanted_again_while_nothing_else_happens(asked: Situation) -> None:
    for _ in range(3):
        found = adaptive(asked)
        if set(found) == set(asked.configuration.voters):
            return
        asked = replace(asked, configuration=after(asked, found))
    pytest.fail("it goes on changing")


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
    with pytest.raises(ConfigurationError, match=r"ZeroDivisionError.*`quorum policy set`"):
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


class Hostile(Exception):
    """Not even its text can be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def raising(error: BaseException) -> Policy:
    def function(_: Situation) -> tuple[str, ...]:
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "part"),
    [
        (lambda _: repeat("a"), "a member twice"),
        (lambda _: map(str, counted()), "'0', which is no member"),
        (lambda _: None, "TypeError"),
        (lambda _: [["a"], ["b"], ["c"]], "a value of type list"),
        (lambda _: [1, 2, 3], "a value of type int"),
        (lambda _: ["x" * 1_000_000, "a", "b"], "which is no member"),
        (raising(SystemExit(1)), "SystemExit: 1"),
        (raising(GeneratorExit()), "GeneratorExit"),
        (raising(Hostile()), "Hostile"),
        (raising(ValueError("\x1b[2J\n" * 10_000)), r"ValueError:  \[2J  \[2J"),
    ],
)
def test_nothing_that_a_policy_of_the_users_own_does_reaches_further_than_a_refusal(
    function: Policy, part: str
) -> None:
    with pytest.raises(ConfigurationError, match=part) as caught:
        custom(function)(situation("abcde", "abcde"))
    assert len(str(caught.value)) < 600 and str(caught.value).isprintable()


def test_an_interrupt_in_a_policy_of_the_users_own_is_still_one() -> None:
    with pytest.raises(KeyboardInterrupt):
        custom(raising(KeyboardInterrupt()))(situation("abcde", "abcde"))


def test_a_policy_of_the_users_own_gives_no_vote_to_whom_an_operator_keeps_out() -> None:
    asked = situation("abc", "abcd")
    held = replace(asked.configuration, learners=("d",), seats=(Seat("d", HELD, 1),))
    three = custom(lambda _: ["a", "b", "d"])
    with pytest.raises(ConfigurationError, match="'d', which an operator keeps out of the vote"):
        three(replace(asked, configuration=held))
    free = replace(held, seats=())
    assert three(replace(asked, configuration=free)) == ("a", "b", "d")
