"""From what a leader observes to at most one change of the committee at a time."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from quorum.membership.adaptation import Adaptation, Proposal
from quorum.membership.health import HELD
from quorum.membership.observation import Limits, Observation
from quorum.membership.policy import Policy, adaptive, custom, fixed, participation
from quorum.membership.reconfiguration import Admit, Demote, Promote, Reseat, apply_change
from quorum.model import Configuration

S = 1_000_000
LIMITS = Limits(hold_us=10 * S, stable_us=10 * S)


class Leading:
    """The leader a of a few members, which sees some of them as gone. A change takes `change_s` seconds."""

    def __init__(self, nodes: str, policy: Policy = adaptive, faults: int = 1, change_s: int = 0) -> None:
        self.configuration = Configuration(1, tuple(nodes))
        self.adaptation = Adaptation(policy, len(nodes), faults, limits=LIMITS)
        self.change_s = change_s
        self.now_us = 0
        self.gone: set[str] = set()
        self.made: list[Proposal] = []

    @property
    def voters(self) -> str:
        return "".join(self.configuration.voters)

    def observed(self) -> Iterable[Observation]:
        held = {seat.node for seat in self.configuration.seats if seat.reason == HELD}
        return [
            Observation(node, phi=20.0 if node in self.gone else 0.1, held=node in held)
            for node in self.configuration.members
        ]

    def run(self, seconds: int, gone: str | None = None) -> None:
        """Look every second; what is proposed is committed at once, or takes its time."""
        self.gone = self.gone if gone is None else set(gone)
        for _ in range(seconds):
            self.now_us += S
            found = self.adaptation.step(self.configuration, "a", self.observed(), self.now_us)
            if found is not None:
                self.made.append(found)
                self._commit(found)

    def _commit(self, proposal: Proposal) -> None:
        old = self.configuration
        target = apply_change(old, Reseat(proposal.seats), self.now_us)
        self.configuration = replace(target, outgoing=replace(old, learners=()))
        for _ in range(self.change_s):
            self.now_us += S
            assert self.adaptation.step(self.configuration, "a", self.observed(), self.now_us) is None, "I1"
        if self.change_s:
            assert self.adaptation.step(self.configuration, "a", self.observed(), self.now_us) is None, "I1"
        self.configuration = replace(self.configuration, outgoing=None)


def test_who_is_gone_for_the_hold_time_is_put_out_with_the_reason() -> None:
    leading = Leading("abcde")
    leading.run(10, gone="de")
    assert leading.made == []
    leading.run(5)
    (made,) = leading.made
    assert (made.promote, made.demote) == ((), ("d", "e"))
    assert [(seat.node, seat.reason) for seat in made.seats] == [("d", "unreachable"), ("e", "unreachable")]
    assert (leading.voters, leading.configuration.learners) == ("abc", ("d", "e"))


def test_members_that_are_lost_one_after_the_other_leave_a_committee_that_decides_down_to_three() -> None:
    """Nine members survive seven losses: a fixed majority survives four."""
    leading = Leading("abcdefghi")
    for count in range(1, 7):
        leading.run(30, gone="ihgfed"[:count])
    assert leading.voters == "abc"
    leading.run(30, gone="ihgfedc")
    assert leading.voters == "abc" and leading.adaptation.refused == ""
    assert [len(each.demote) for each in leading.made] == [2, 2, 2], "in odd steps"


def test_who_comes_back_is_put_in_again_once_it_has_been_well() -> None:
    leading = Leading("abcde")
    leading.run(30, gone="de")
    leading.run(10, gone="")
    assert leading.voters == "abc"
    leading.run(5)
    assert leading.voters == "abcde"
    assert leading.made[-1].promote == ("d", "e")


def test_a_lost_quorum_changes_nothing_and_names_who_is_missing() -> None:
    leading = Leading("abcde")
    leading.run(40, gone="cde")
    assert leading.made == []
    for part in ("no quorum", "c (unreachable)", "d (unreachable)", "e (unreachable)"):
        assert part in leading.adaptation.refused


def test_where_changes_take_longer_than_repairs_the_committee_becomes_no_smaller() -> None:
    """I3: with a committee of five it would be up less than a fixed one."""
    leading = Leading("abcde", change_s=120)
    for _ in range(8):
        leading.run(15, gone="e")
        leading.run(60, gone="")
    smaller = [each for each in leading.made if len(each.demote) > len(each.promote)]
    assert len(smaller) == 3, "the first ones, by which it was seen"
    leading.run(12, gone="e")
    assert "take longer than repairs" in leading.adaptation.refused


def test_who_is_lost_for_good_is_put_out_also_where_all_that_was_seen_before_were_short_silences() -> None:
    """I3 asks how long repairs take, and this one takes longer than any before: it is not over yet."""
    leading = Leading("abcde", change_s=3)
    for _ in range(2):
        leading.run(30, gone="e")
        leading.run(60, gone="")
    assert leading.voters == "abcde"
    for _ in range(20):
        leading.run(1, gone="d")
        leading.run(1, gone="")
    leading.run(15, gone="d")
    assert "take longer than repairs" in leading.adaptation.refused, "at first it may be one more of those"
    leading.run(120)
    assert "d" not in leading.voters


def test_participation_puts_a_standby_in_the_seat_of_who_is_gone_in_one_change() -> None:
    leading = Leading("abcdef", participation, faults=2)
    leading.configuration = Configuration(1, tuple("abcde"), ("f",))
    leading.run(30, gone="b")
    (made,) = leading.made
    assert (made.promote, made.demote, made.seats[0].reason) == (("f",), ("b",), "unreachable")


def test_nobody_is_put_in_who_may_be_gone_already() -> None:
    """A voter is given the hold time; a standby that is silent would only be waited for."""
    leading = Leading("abcdefgh")
    leading.run(1)
    assert leading.voters == "abcdefg", "h stands by"
    leading.run(5, gone="g")
    leading.run(20, gone="gh")
    assert leading.voters == "abcde"
    assert [each.promote for each in leading.made] == [(), ()], "h is never asked"


def test_a_fixed_committee_is_never_changed() -> None:
    leading = Leading("abcde", fixed)
    leading.run(100, gone="de")
    assert leading.made == []


def test_a_policy_that_fails_changes_nothing_and_is_told() -> None:
    leading = Leading("abcde", custom(lambda _: "x"))
    leading.run(5)
    assert leading.made == [] and "no member" in leading.adaptation.refused


def test_a_committee_that_could_not_decide_is_not_proposed() -> None:
    """I2."""
    leading = Leading("abcdefg", custom(lambda asked: "aefg" if asked.unfit else asked.configuration.voters))
    leading.run(20, gone="efg")
    assert leading.made == []
    assert "too few of the committee that is wanted" in leading.adaptation.refused


def test_a_leader_that_takes_over_goes_on_with_what_the_seats_record() -> None:
    """Since when and why a member is out, and how often it flapped, outlive the leader that saw it."""
    leading = Leading("abcde")
    for _ in range(2):
        leading.run(20, gone="e")
        leading.run(60, gone="")
    leading.run(20, gone="e")
    seat = leading.configuration.seat("e")
    assert seat is not None and (seat.reason, seat.flaps) == ("unreachable", 2)
    leading.adaptation = Adaptation(adaptive, 5, 1, limits=LIMITS)
    leading.run(1)
    assert "unreachable" in leading.adaptation.health.explain("e", leading.now_us)
    leading.run(35, gone="")
    assert "e" not in leading.voters, "four times the usual wait"
    leading.run(10)
    assert leading.voters == "abcde"


def test_whom_an_operator_demotes_stays_out_until_an_operator_promotes_it() -> None:
    leading = Leading("abcde")
    leading.configuration = apply_change(leading.configuration, Demote("e"), 0)
    leading.run(60)
    assert leading.voters == "abc" and leading.configuration.learners == ("d", "e"), "an odd committee"
    assert "an operator took its vote" in leading.adaptation.health.explain("e", leading.now_us)
    leading.configuration = apply_change(leading.configuration, Promote("e"), leading.now_us)
    leading.run(2)
    assert leading.voters == "abcde"


def test_a_standby_that_is_admitted_votes_once_it_has_been_well_and_a_learner_never() -> None:
    for role, voters in (("standby", "abcde"), ("learner", "abc")):
        leading = Leading("abc")
        leading.adaptation = Adaptation(adaptive, 5, 1, limits=LIMITS)
        for node in "de":
            leading.configuration = apply_change(leading.configuration, Admit(node, role), 0)  # type: ignore[arg-type]
        leading.run(9)
        assert leading.voters == "abc"
        leading.run(6)
        assert leading.voters == voters


def test_a_fit_witness_makes_an_even_committee_odd() -> None:
    """Nobody is left out for the number then; and without the witness somebody is."""
    for gone, voters in (("e", "abcd"), ("ew", "abc")):
        leading = Leading("abcde")
        leading.configuration = replace(leading.configuration, witnesses=("w",))
        leading.run(30, gone=gone)
        assert leading.voters == voters


def test_an_operators_own_quorums_are_left_alone_where_a_change_would_break_them() -> None:
    leading = Leading("abcde")
    leading.configuration = replace(leading.configuration, writes="choose(3, a, b, c, d, e)")
    leading.run(20, gone="e")
    assert leading.made == [] and "cannot be" in leading.adaptation.refused


def test_a_standby_takes_the_seat_of_who_is_lost_in_the_same_change() -> None:
    """Add before remove: at no time is the committee smaller than it should be."""
    leading = Leading("abcdef", participation, faults=2)
    leading.configuration = Configuration(1, tuple("abcde"), ("f",))
    leading.run(12, gone="b")
    assert leading.voters == "acdef"
    assert len(leading.made) == 1


def test_who_was_only_spare_did_not_come_back_and_does_not_flap() -> None:
    """Its first real failure is its first: the wait is the usual one."""
    leading = Leading("abcde")
    leading.run(20, gone="e")
    assert "d" not in leading.voters, "spare"
    leading.run(40, gone="")
    assert leading.voters == "abcde"
    leading.run(20, gone="d")
    seat = leading.configuration.seat("d")
    assert seat is not None and (seat.reason, seat.flaps) == ("unreachable", 0)


def test_a_witness_is_judged_as_one_that_votes() -> None:
    """Not as a standby that has to show first that it is well."""
    leading = Leading("abcd")
    leading.configuration = replace(leading.configuration, witnesses=("w",))
    leading.run(2)
    health = leading.adaptation.health.of("w")
    assert health is not None and health.state == "well"
    leading.run(2, gone="w")
    assert health.state == "badly seen"
