"""From what a leader observes to at most one change of the committee at a time."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from quorum.membership.adaptation import Adaptation, Proposal
from quorum.membership.observation import Limits, Observation
from quorum.membership.policy import Policy, adaptive, custom, fixed, participation
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
        members = sorted({*self.configuration.voters, *self.configuration.learners})
        return [Observation(node, phi=20.0 if node in self.gone else 0.1) for node in members]

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
        voters = tuple(sorted({*old.voters, *proposal.promote} - set(proposal.demote)))
        learners = tuple(sorted({*old.learners, *proposal.demote} - set(proposal.promote)))
        self.configuration = Configuration(old.epoch + 1, voters, learners, outgoing=old)
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
    assert leading.made == [Proposal((), ("d", "e"), (("d", "unreachable"), ("e", "unreachable")))]
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
    assert leading.made[-1].reasons == (("d", "well for long enough"), ("e", "well for long enough"))


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
        leading.run(15, gone="")
    smaller = [each for each in leading.made if len(each.demote) > len(each.promote)]
    assert len(smaller) == 1, "the first, by which it was seen"
    leading.run(12, gone="e")
    assert "take longer than repairs" in leading.adaptation.refused


def test_participation_puts_a_standby_in_the_seat_of_who_is_gone_in_one_change() -> None:
    leading = Leading("abcdef", participation, faults=2)
    leading.configuration = Configuration(1, tuple("abcde"), ("f",))
    leading.run(30, gone="b")
    assert leading.made == [Proposal(("f",), ("b",), (("b", "unreachable"), ("f", "well for long enough")))]


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
