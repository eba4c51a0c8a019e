"""Tallies: one vote each, certain only when nothing to come can change it, and as sure as they say."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.voting.tally import Rule, Tally, needed_weight, tally

OPTIONS = ("no", "perhaps", "yes")
FIVE = dict.fromkeys(("a", "b", "c", "d", "e"), 1)
RULES = (
    Rule("majority"),
    Rule("share", 2, 3),
    Rule("unanimous"),
    Rule("byzantine", faults=1),
    Rule("plurality"),
    Rule("plurality", least=3),
)


def said(text: str) -> dict[str, str]:
    """The votes of a, b, c ... by the first letters of options; a dot for one that did not vote."""
    by = {option[0]: option for option in OPTIONS}
    return {voter: by[letter] for voter, letter in zip("abcdefgh", text, strict=False) if letter != "."}


@pytest.mark.parametrize(
    ("votes", "rule", "state", "option"),
    [
        ("yyy..", Rule("majority"), "won", "yes"),
        ("yyn..", Rule("majority"), "pending", None),
        ("yynnp", Rule("majority"), "lost", None),
        ("yynn.", Rule("majority"), "pending", None),
        ("yyynn", Rule("share", 2, 3), "lost", None),
        ("yyyy.", Rule("share", 2, 3), "won", "yes"),
        ("yyyyy", Rule("unanimous"), "won", "yes"),
        ("yn...", Rule("unanimous"), "lost", None),
        ("yyy..", Rule("byzantine", faults=1), "pending", None),
        ("yyyy.", Rule("byzantine", faults=1), "won", "yes"),
        ("yyn..", Rule("plurality"), "pending", None),
        ("yyy.n", Rule("plurality"), "won", "yes"),
        ("yynnp", Rule("plurality"), "lost", None),
        (".....", Rule("plurality"), "pending", None),
    ],
)
def test_how_it_stands(votes: str, rule: Rule, state: str, option: str | None):
    found = tally(said(votes), FIVE, OPTIONS, rule)
    assert (found.state, found.option, bool(found)) == (state, option, state == "won")


def test_when_the_vote_is_closed_nothing_is_pending():
    assert tally(said("yyn.."), FIVE, OPTIONS, Rule("majority"), closed=True).state == "lost"
    assert tally(said("yyn.."), FIVE, OPTIONS, Rule("plurality"), closed=True).option == "yes"
    assert tally(said("yyn.."), FIVE, OPTIONS, Rule("plurality", least=3), closed=True).state == "lost"
    assert tally({}, FIVE, OPTIONS, Rule("plurality"), closed=True).state == "lost"


def test_weights_count_and_strangers_and_other_words_do_not():
    electorate = {"a": 3, "b": 1, "c": 1}
    votes = {"a": "yes", "x": "no", "y": "no", "b": "never heard of", "c": "no"}
    found = tally(votes, electorate, OPTIONS, Rule("majority"))
    assert found == Tally("won", "yes", {"no": 1, "perhaps": 0, "yes": 3}, 4, 5, 3, 0)


@pytest.mark.parametrize(
    ("rule", "needed"),
    [(Rule("majority"), 4), (Rule("share", 3, 4), 6), (Rule("byzantine", faults=2), 5), (Rule("unanimous"), 7)],
)
def test_what_wins_among_seven_equal_voters(rule: Rule, needed: int):
    assert needed_weight(dict.fromkeys("abcdefg", 1), OPTIONS, rule) == needed


votes_drawn = st.dictionaries(st.sampled_from(sorted(FIVE)), st.sampled_from(OPTIONS), max_size=5)
weights_drawn = st.fixed_dictionaries({voter: st.integers(1, 3) for voter in FIVE})


@settings(max_examples=60, deadline=None)
@given(votes=votes_drawn, electorate=weights_drawn, rule=st.sampled_from(RULES))
def test_what_is_certain_stays_so_whatever_is_still_said(
    votes: dict[str, str], electorate: dict[str, int], rule: Rule
):
    found = tally(votes, electorate, OPTIONS, rule)
    silent = [voter for voter in electorate if voter not in votes]
    ends = [
        tally(
            votes | {v: o for v, o in zip(silent, rest, strict=True) if o}, electorate, OPTIONS, rule, closed=True
        )
        for rest in product((*OPTIONS, ""), repeat=len(silent))
    ]
    if found.state == "won":
        assert {end.option for end in ends} == {found.option}
    elif found.state == "lost":
        assert {end.state for end in ends} == {"lost"}
    else:
        assert len({end.option for end in ends}) > 1, "it is pending only where something can still change"


@settings(max_examples=60, deadline=None)
@given(votes=votes_drawn, electorate=weights_drawn, rule=st.sampled_from(RULES))
def test_a_winner_withstands_as_many_liars_as_it_says_and_not_one_more(
    votes: dict[str, str], electorate: dict[str, int], rule: Rule
):
    found = tally(votes, electorate, OPTIONS, rule, closed=True)
    if found:
        assert survives(found, votes, electorate, rule, found.withstands)
        assert not survives(found, votes, electorate, rule, found.withstands + 1)


def survives(
    found: Tally, votes: Mapping[str, str], electorate: Mapping[str, int], rule: Rule, liars: int
) -> bool:
    return all(
        tally(
            {**votes, **dict(zip(who, lies, strict=True))}, electorate, OPTIONS, rule, closed=True
        ).option == found.option
        for who in combinations(electorate, min(liars, len(electorate)))
        for lies in product((*OPTIONS, "nothing"), repeat=len(who))
    )  # fmt: skip


listener = st.tuples(
    st.fixed_dictionaries({voter: st.sampled_from(OPTIONS) for voter in "ab"}), st.sets(st.sampled_from("cdefg"))
)


@settings(max_examples=60, deadline=None)
@given(
    listeners=st.tuples(listener, listener),
    honest=st.fixed_dictionaries({voter: st.sampled_from(OPTIONS) for voter in "cdefg"}),
)
def test_t_liars_who_tell_two_listeners_different_things_make_no_two_winners(
    listeners: tuple[tuple[dict[str, str], set[str]], ...], honest: dict[str, str]
):
    """a and b of seven lie, and each listener has heard some of the others by now."""
    seven = dict.fromkeys("abcdefg", 1)
    rule = Rule("byzantine", faults=2)
    winners = {
        tally(lies | {voter: honest[voter] for voter in heard}, seven, OPTIONS, rule).option
        for lies, heard in listeners
    }
    assert len(winners - {None}) <= 1


def test_with_a_plain_majority_they_do():
    """The control: the same two liars, and two honest voters of either mind, each heard by one listener alone."""
    seven = dict.fromkeys("abcdefg", 1)
    one = tally({**dict.fromkeys("ab", "yes"), **dict.fromkeys("cd", "yes")}, seven, OPTIONS, Rule("majority"))
    other = tally({**dict.fromkeys("ab", "no"), **dict.fromkeys("ef", "no")}, seven, OPTIONS, Rule("majority"))
    assert (one.option, other.option) == ("yes", "no")


@pytest.mark.parametrize(
    ("electorate", "options", "rule", "said_why"),
    [
        ({}, OPTIONS, Rule(), "nobody may vote"),
        ({"a": 0}, OPTIONS, Rule(), "below 1"),
        ({"a": True}, OPTIONS, Rule(), "below 1"),
        ({"a": 2**60}, OPTIONS, Rule(), "weigh more"),
        (FIVE, (), Rule(), "no options"),
        (FIVE, ("yes", "yes"), Rule(), "'yes' is there twice"),
        (FIVE, OPTIONS, Rule("share", 1, 2), "not more than half"),
        (FIVE, OPTIONS, Rule("share", 3, 2), "more than all"),
        (FIVE, OPTIONS, Rule("share", 0, 0), "not more than half"),
        (FIVE, OPTIONS, Rule("plurality", least=0), "least weight"),
        (FIVE, OPTIONS, Rule("byzantine", faults=2), r"3T\+1"),
    ],
)
def test_a_vote_that_nobody_could_decide_is_refused_with_a_remedy(
    electorate: dict[str, int], options: tuple[str, ...], rule: Rule, said_why: str
):
    with pytest.raises(ConfigurationError, match=said_why):
        tally({}, electorate, options, rule)
