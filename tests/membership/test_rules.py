"""Every rule of adapting a committee, taken away in turn: the test that stands for it must fail then.

The rules are those that production systems have in common (a decrease is decided by the old quorum, a floor, odd
sizes, a delay before shrinking, one change in flight, add before remove), and those against flapping and a slow
observer. What concerns the log itself is planted in tests/simulation (planted.py, planted_adaptive.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest

from quorum.membership import adaptation, detector, policy, reconfiguration
from quorum.membership.health import Health
from quorum.membership.observation import Limits, Situation
from quorum.model import Configuration, Seat
from quorum.systems import build as build_module

from . import test_adaptation, test_detector, test_health, test_policy


class Rule(NamedTuple):
    """`replacement` takes the rule away; `test` must pass with it, and fail without."""

    name: str
    owner: Any
    attribute: str
    replacement: Any
    test: Callable[[], None]


def _at_once(self: Health, trouble: str, now_us: int, limits: Limits) -> None:
    if trouble:
        self._become(False, trouble, now_us)


def _as_many_as_are_fit(situation: Situation) -> tuple[str, ...]:
    return tuple(situation.fit)


def _in_any_order(situation: Situation) -> list[str]:
    return sorted(situation.fit, reverse=True)


def _without_records(health_of: Health, now_us: int, votes: bool, seat: Seat | None = None) -> None:
    _begin(health_of, now_us, votes, None)
    health_of.seat = seat


def _remove_only(present: Configuration, seats: tuple[Seat, ...]) -> Configuration:
    """Who is lost leaves first; who takes its seat would come later."""
    return _seated(present, tuple(seat for seat in seats if seat.reason))


def _with_every_witness(configuration: Configuration, electors: tuple[str, ...]) -> Any:
    return build_module.weighted(dict.fromkeys(electors, 1)).reads


def _witness_counts() -> None:
    even = build_module.build.__wrapped__(Configuration(voters=tuple("abc"), witnesses=("w",)))
    assert even.is_write_quorum({"a", "b"}), "two of three, whatever the witness says"


_begin, _seated = Health.__init__, reconfiguration._seated

RULES = (
    Rule(
        "a suspicion must last",
        Health,
        "_see_fit",
        _at_once,
        test_adaptation.test_who_is_gone_for_the_hold_time_is_put_out_with_the_reason,
    ),
    Rule(
        "one good moment ends a suspicion",
        Health,
        "_see_fit",
        _at_once,
        test_health.test_one_good_moment_ends_a_suspicion,
    ),
    Rule(
        "who returns waits, and longer after each flap",
        Health,
        "wait_us",
        lambda self, limits: limits.stable_us,
        test_health.test_each_return_that_does_not_last_doubles_the_next_wait_up_to_a_limit,
    ),
    Rule(
        "a standby votes only once it was well",
        Health,
        "wait_us",
        lambda self, limits: 0,
        test_adaptation.test_a_standby_that_is_admitted_votes_once_it_has_been_well_and_a_learner_never,
    ),
    Rule(
        "who led before is remembered in the log",
        Health,
        "__init__",
        _without_records,
        test_adaptation.test_a_leader_that_takes_over_goes_on_with_what_the_seats_record,
    ),
    Rule(
        "never below the floor",
        policy,
        "floor_of",
        lambda situation: 1,
        test_policy.test_an_adaptive_committee_follows_who_is_fit_in_odd_steps_down_to_three,
    ),
    Rule(
        "the floor is never under three",
        policy,
        "FLOOR",
        1,
        test_policy.test_the_floor_is_what_was_configured_and_three_at_least,
    ),
    Rule(
        "votes are counted, and not members",
        policy,
        "_spare",
        lambda situation, everyone, fit: None if len(fit) % 2 else fit[-1],
        test_policy.test_the_votes_are_counted_and_not_the_members,
    ),
    Rule(
        "who is not single is not left out",
        policy,
        "_spare",
        lambda situation, everyone, fit: (
            fit[-1] if sum(policy._votes(situation, everyone).values()) % 2 == 0 else None
        ),
        test_policy.test_whoever_has_more_than_a_single_vote_is_not_left_out_to_make_the_votes_odd,
    ),
    Rule(
        "no committee in which the fit could not decide",
        policy,
        "_could_decide",
        lambda situation, voters: True,
        test_policy.test_the_committee_stays_where_the_fit_could_not_decide_in_the_one_that_they_would_fill,
    ),
    Rule(
        "odd sizes are preferred",
        test_policy,
        "adaptive",
        _as_many_as_are_fit,
        test_policy.test_an_adaptive_committee_follows_who_is_fit_in_odd_steps_down_to_three,
    ),
    Rule(
        "the leader and present voters are seated first",
        policy,
        "_by_preference",
        _in_any_order,
        test_policy.test_the_leader_and_who_votes_already_are_seated_first,
    ),
    Rule(
        "who is lost is replaced in the change that puts it out",
        reconfiguration,
        "_seated",
        _remove_only,
        test_adaptation.test_a_standby_takes_the_seat_of_who_is_lost_in_the_same_change,
    ),
    Rule(
        "those who are well must be able to decide afterwards",
        adaptation.Adaptation,
        "_why_not",
        lambda self, situation, proposal: "",
        test_adaptation.test_a_committee_that_could_not_decide_is_not_proposed,
    ),
    Rule(
        "without a quorum of the old committee nothing changes",
        adaptation.Adaptation,
        "_why_not",
        lambda self, situation, proposal: "",
        test_adaptation.test_a_lost_quorum_changes_nothing_and_names_who_is_missing,
    ),
    Rule(
        "no smaller committee while repairs are faster than changes",
        adaptation.Adaptation,
        "is_change_faster_than_repair",
        True,
        test_adaptation.test_where_changes_take_longer_than_repairs_the_committee_becomes_no_smaller,
    ),
    Rule(
        "a slow node accuses nobody",
        detector.Detector,
        "ran",
        lambda self, due_us, now_us: None,
        test_detector.test_a_node_that_was_paused_suspects_nobody,
    ),
    Rule(
        "an operator's word stands above the policy's",
        reconfiguration,
        "HELD",
        "demoted",
        test_adaptation.test_whom_an_operator_demotes_stays_out_until_an_operator_promotes_it,
    ),
    Rule(
        "who did not catch up is not chosen again soon",
        Health,
        "fall_short",
        lambda self, now_us: self._become(False, "behind", now_us),
        test_health.test_who_did_not_catch_up_is_out_at_once_and_waits_twice_as_long_each_time,
    ),
    Rule(
        "a witness counts only where it makes the votes odd",
        build_module,
        "_by_weight",
        _with_every_witness,
        _witness_counts,
    ),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_its_test_fails_when_the_rule_is_removed(rule: Rule) -> None:
    rule.test()
    with patch.object(rule.owner, rule.attribute, rule.replacement), pytest.raises(AssertionError):
        rule.test()


def test_one_change_is_in_flight() -> None:
    """The adaptation proposes none while one is under way, and the protocol would refuse it (planted.py: two
    changes in flight)."""
    leading = test_adaptation.Leading("abcde", change_s=30)
    leading.run(20, gone="e")
    assert len(leading.made) == 1, "I1 is asserted at each turn of the change"
