"""Members that may lie, and adapt: each rule of who leaves, who stays and who comes back, and what breaks it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import pytest
from msgspec.structs import replace

from quorum.certificate import approval as approvals
from quorum.certificate.committee import Member
from quorum.certificate.complaint import Complaint
from quorum.certificate.evidence import Equivocation, SignedVote
from quorum.certificate.vote import VoteKind
from quorum.checkers.violation import Violation
from quorum.membership import committee_policy
from quorum.membership.committee_policy import Held, Wish
from quorum.membership.complaints import ComplaintBook
from quorum.membership.evictions import LIED, OPERATORS, SLOW
from quorum.membership.returning import Returns
from quorum.protocols.pbft import changes
from quorum.protocols.pbft.messages import Blocks
from quorum.protocols.pbft.replica import PbftReplica
from quorum.runtime import committee_keeper, readmissions
from quorum.runtime.committee_keeper import CommitteeKeeper
from quorum.runtime.engine import refused_by
from quorum.runtime.member_watch import MemberWatch
from quorum.runtime.messages import ApproveRequest, Complaints, GiveEvidence
from quorum.runtime.readmissions import Readmissions
from quorum.sim.byzantine_adaptive import QUICK

from .adaptive_scene import Scene

pytestmark = pytest.mark.slow

ALL = ("n1", "n2", "n3", "n4", "n5")


# Lies.


@pytest.mark.parametrize(("liar", "how"), [("n2", "vote-twice"), ("n1", "equivocate")])
def test_a_liar_loses_its_vote_on_evidence_and_decisions_go_on(liar: str, how: str):
    scene = Scene(behaviours={liar: how})
    assert scene.evicted(liar)
    assert scene.reasons() == {liar: LIED}
    assert scene.decides()


def test_evidence_that_was_missed_comes_again_and_outlives_a_restart():
    scene = Scene(behaviours={"n5": "vote-twice"})
    scene.until(lambda: bool(scene.keepers["n1"].liars))
    for name in ("n1", "n2", "n3"):
        scene.crash(name, seen=False)
    for name in ("n1", "n2", "n3"):
        scene.restart(name)
    assert scene.evicted("n5")
    assert scene.reasons() == {"n5": LIED}


def test_a_liar_comes_back_with_no_key_that_its_own_old_one_attests():
    scene = Scene(behaviours={"n2": "vote-twice"})
    assert scene.evicted("n2")
    assert not scene.readmitted("n2", 20_000_000)
    assert scene.requests["n2"], "it asked"


def liar_attests(scene: Scene) -> None:
    assert scene.evicted("n2")
    scene.readmitted("n2", 20_000_000)
    scene.go_on(1)


def test_a_liar_that_may_ask_is_caught_when_it_comes_back():
    with (
        patch.object(Readmissions, "_may_ask", lambda self, out: True),
        pytest.raises(Violation, match="liar never"),
    ):
        liar_attests(Scene(behaviours={"n2": "vote-twice"}))


def forged_evidence(scene: Scene) -> Equivocation:
    """Two votes of n2 that n2 never signed, as n5 makes them up."""
    state = scene.state("n5")
    first, second = (
        SignedVote("n2", VoteKind.COMMIT, state.view, 3, bytes([number]) * 32, bytes(64)) for number in (1, 2)
    )
    return Equivocation(first, second)


def give_evidence(scene: Scene) -> None:
    scene.go_on(1)
    for name in ("n1", "n2", "n3", "n4"):
        scene.nodes[name].receive("n5", GiveEvidence(forged_evidence(scene)), ())
    scene.go_on(6)


def test_evidence_that_nobody_signed_evicts_nobody():
    scene = Scene(behaviours={"n5": "silent-to-some"})
    give_evidence(scene)
    assert scene.reasons().get("n2") is None


def test_evidence_that_is_believed_unverified_is_caught():
    with (
        patch.object(CommitteeKeeper, "_on_testimony", lambda self, sender, evidence: self.accused(evidence)),
        pytest.raises(Violation, match="no evidence ever names an honest member"),
    ):
        give_evidence(Scene(behaviours={"n5": "silent-to-some"}))


def lies_by_a_key_that_was_given_up(scene: Scene) -> list[Equivocation]:
    """What n3 signs with the keys that it voted with before it was evicted for being slow, and came back."""
    given_up: list[Any] = []
    for _ in range(2):
        state, key = scene.state(), scene._keys["n3"]
        given_up.append((state.view, key))
        scene.crash("n3")
        assert scene.evicted("n3")
        scene.restart("n3")
        assert scene.readmitted("n3", 30_000_000)
    scene.go_on(1)
    found = []
    for view, key in given_up:
        votes = []
        for number in (1, 2):
            vote = SignedVote("n3", VoteKind.COMMIT, view, 3, bytes([number]) * 32, b"")
            votes.append(replace(vote, signature=key.sign(scene.state().signed(vote).message)))
        found.append(Equivocation(*votes))
    return found


def test_evidence_against_keys_that_were_given_up_is_evidence_all_the_same():
    """The control: it is forgotten because nothing follows from it, not because it is wrong."""
    with patch.object(CommitteeKeeper, "_keys_that_count", lambda self: set(self._state.epochs.used)):
        scene = Scene()
        (evidence, *_) = lies_by_a_key_that_was_given_up(scene)
        scene.nodes["n1"].receive("n3", GiveEvidence(evidence), ())
        scene.go_on(0.1)
        assert len(scene.keepers["n1"]._lies) == 1


def test_evidence_against_keys_that_were_given_up_crowds_nothing_out():
    scene = Scene()
    old = lies_by_a_key_that_was_given_up(scene)
    for name in ("n1", "n2", "n4", "n5"):
        for evidence in old:
            scene.nodes[name].receive("n3", GiveEvidence(evidence), ())
    scene.go_on(2)
    assert all(keeper._lies == {} for keeper in scene.keepers.values())
    assert "n3" in scene.members
    scene.corrupt("n3", "vote-twice")
    assert scene.evicted("n3", 20_000_000)
    assert scene.reasons()["n3"] == LIED
    scene.go_on(1)
    assert all(len(keeper._lies) == 1 for name, keeper in scene.keepers.items() if name != "n3")


# Slowness.


def test_a_member_that_stopped_loses_its_vote_and_gets_it_back_with_a_fresh_key_after_showing_that_it_is_well():
    scene = Scene()
    old = scene.public_key("n3")
    scene.crash("n3")
    assert scene.evicted("n3")
    assert scene.reasons() == {"n3": SLOW}
    assert scene.decides()
    scene.restart("n3")
    began_us = scene.now_us
    assert scene.readmitted("n3")
    assert scene.now_us - began_us >= QUICK.stable_us
    assert scene.public_key("n3") != old
    newest = scene.newest_committee()
    assert newest is not None and newest.keys["n3"] == scene.public_key("n3")
    assert scene.until(lambda: scene.state("n3").may_sign)
    assert scene.decides()


def test_a_member_that_is_heard_but_never_votes_is_slow():
    scene = Scene()
    scene.starved.add("n4")
    assert scene.evicted("n4", 30_000_000)
    assert scene.reasons() == {"n4": SLOW}


def test_the_observation_period_doubles_when_a_return_does_not_last():
    scene = Scene()
    periods = []
    for _ in range(3):
        scene.crash("n3")
        assert scene.evicted("n3", 30_000_000)
        scene.restart("n3")
        began_us = scene.now_us
        assert scene.readmitted("n3", 60_000_000)
        periods.append(scene.now_us - began_us)
    assert periods[1] >= 2 * QUICK.stable_us
    assert periods[2] >= 4 * QUICK.stable_us


def test_without_an_observation_period_a_return_comes_too_early_and_is_seen():
    with patch.object(Returns, "period_us", lambda self, node: 0), pytest.raises(AssertionError):
        test_a_member_that_stopped_loses_its_vote_and_gets_it_back_with_a_fresh_key_after_showing_that_it_is_well()


def test_whoever_attests_another_key_to_each_member_keeps_nobody_else_out():
    """No quorum ever approves of one committee with it, and by name it would be the first for ever."""

    def member(readmissions: Readmissions, node: str) -> Member:
        found = _member(readmissions, node)
        key = f"{readmissions._state.node}".encode().ljust(32)
        return replace(found, public_key=key) if node == "n2" else found

    _member = Readmissions.member
    scene = Scene(nodes=6)
    with patch.object(Readmissions, "member", member):
        for name in ("n2", "n3"):
            scene.crash(name)
            assert scene.evicted(name)
        for name in ("n2", "n3"):
            scene.restart(name)
        assert scene.readmitted("n3", 30_000_000)
    assert "n2" not in scene.members


def stay_behind(scene: Scene) -> bool:
    """n3 is evicted, runs again, and gets no blocks. Whether it is readmitted all the same."""
    scene.crash("n3")
    assert scene.evicted("n3")
    scene.starved.add("n3")
    scene.restart("n3")
    return scene.readmitted("n3", 20_000_000)


def test_whoever_does_not_show_the_state_of_the_others_stays_out():
    assert not stay_behind(Scene(pause_ms=20))


def test_a_state_that_is_not_compared_lets_in_who_is_behind():
    with patch.object(Readmissions, "_is_certified", lambda self, shown: True):
        assert stay_behind(Scene(pause_ms=20))


def lose_two(scene: Scene) -> None:
    scene.crash("n5")
    scene.crash("n6")
    assert scene.until(lambda: len(scene.members) == 4, 30_000_000)
    scene.go_on(1)


def test_two_that_are_slow_leave_one_after_the_other():
    scene = Scene(nodes=6)
    lose_two(scene)
    newest = scene.newest_committee()
    assert newest is not None and newest.epoch == 3


def all_at_once(self: CommitteeKeeper, wish: Wish) -> Any:
    """Participation, section 8b: at most one member leaves in an epoch."""
    committee = self._committee
    gone = self.book.considered(self._state.commit_sequence)
    members = tuple(member for member in committee.members if member.node not in gone)
    return replace(committee, epoch=committee.epoch + 1, members=members)


def test_two_that_leave_in_one_epoch_are_caught():
    with (
        patch.object(CommitteeKeeper, "_wanted", all_at_once),
        pytest.raises(Violation, match="one member leaves or joins"),
    ):
        lose_two(Scene(nodes=6))


# Liars who complain.


@pytest.mark.parametrize(("nodes", "faults", "liars"), [(5, 1, ["n2"]), (8, 2, ["n2", "n7"])])
def test_t_liars_who_complain_of_everybody_evict_nobody(nodes: int, faults: int, liars: list[str]):
    scene = Scene(nodes, faults, dict.fromkeys(liars, "complain"))
    scene.go_on(20)
    assert len(scene.members) == nodes
    assert scene.keepers["n1"].complaints(), "they did complain"
    assert scene.decides()


def complain_for_long(nodes: int = 5) -> Scene:
    scene = Scene(nodes, 1, {"n2": "complain"})
    scene.go_on(12)
    return scene


def test_an_eviction_at_t_complaints_is_caught():
    def at_t(self: ComplaintBook, complaints: Any) -> bool:
        return len({each.by for each in complaints if each.stands}) >= self.faults

    with (
        patch.object(ComplaintBook, "is_enough", at_t),
        pytest.raises(Violation, match=r"nobody is evicted unless T\+1 complain"),
    ):
        complain_for_long()


def test_a_forged_complaint_that_is_accepted_is_caught():
    def unchecked(self: CommitteeKeeper, sender: str, words: Any, committee: Any, then: Any) -> None:
        then(words)

    with (
        patch.object(CommitteeKeeper, "_check", unchecked),
        pytest.raises(Violation, match=r"nobody is evicted unless T\+1 complain"),
    ):
        complain_for_long()


def test_whoever_sends_forged_complaints_is_named():
    scene = Scene(behaviours={"n2": "silent-to-some"})
    scene.go_on(1)
    word = Complaint("n3", "n4", 1, 1, 1 << 60, True, bytes(64))
    blamed: list[tuple[str, str, str]] = []
    with patch.object(Scene, "misbehaved", lambda self, by, node, what: blamed.append((by, node, what))):
        scene.nodes["n1"].receive("n2", Complaints((word,)), ())
    assert blamed == [("n1", "n2", "sent a complaint with a signature that is wrong")]


class Narrow(Scene):
    """A link that carries one message with blocks a second to n3."""

    carried_us = 0

    def deliver(self, source: str, to: str, message: object, attached: tuple[Any, ...]) -> None:
        if to == "n3" and isinstance(message, Blocks):
            if self.now_us - self.carried_us < 1_000_000:
                return
            self.carried_us = self.now_us
        super().deliver(source, to, message, attached)


def complaints_while_catching_up() -> set[str]:
    """Of whom n3 complains, which is far behind, and catches up with a busy committee over a narrow link."""
    scene = Narrow(nodes=4, pause_ms=20)
    scene.go_on(1)
    scene.starved.add("n3")
    scene.go_on(20)
    scene.starved.discard("n3")
    scene.go_on(20)
    return {node for node, by in scene.keepers["n3"].complaints().items() if "n3" in by}


def test_a_member_that_catches_up_complains_of_nobody():
    """Else one that returns, and T liars, put a member out that is well."""
    assert complaints_while_catching_up() == set()


def test_a_member_that_judges_while_it_catches_up_complains_of_all():
    with patch.object(MemberWatch, "_is_in_step", lambda self: True):
        assert complaints_while_catching_up() == {"n1", "n2", "n4"}


class OneBadLink(Scene):
    """n4 does not hear n3, and complains of it."""

    is_cut = False

    def deliver(self, source: str, to: str, message: object, attached: tuple[Any, ...]) -> None:
        if not (self.is_cut and (source, to) == ("n3", "n4")):
            super().deliver(source, to, message, attached)


def says_another_thing_to_n5() -> Scene:
    """n2 complains of n3 to n5 alone, and takes that back towards all others, with a later number; so n5 holds
    T+1 complaints of n3, and nobody else does. Then n6 stops."""
    scene = OneBadLink(nodes=6)
    keeper = scene.keepers["n2"]  # of nothing it approves; in all else it does what members do
    with patch.object(keeper, "_approve_by_driver", lambda *_: None), patch.object(keeper, "_give_complaints"):
        scene.is_cut = True
        assert scene.until(lambda: "n3" in scene.keepers["n5"].complaints(), 20_000_000)
        for name in ("n1", "n3", "n4", "n5", "n6"):
            word = keeper._complain("n3", name == "n5", (1 << 60) + (name != "n5"))
            scene.nodes[name].receive("n2", Complaints((word,)), ())
        scene.go_on(1)
        assert scene.keepers["n5"].complaints()["n3"] == ("n2", "n4")
        scene.crash("n6")
        scene.evicted("n6", 20_000_000)
    return scene


def test_a_liar_that_says_another_thing_to_each_does_not_keep_in_who_is_gone():
    assert "n6" not in says_another_thing_to_n5().members


def test_by_name_alone_such_a_liar_makes_one_member_want_another_one_out_for_ever():
    def by_name(self: ComplaintBook, height: int) -> tuple[str, ...]:
        return tuple(sorted(node for node in self._words if self.is_enough(self._standing(node, height))))

    with patch.object(ComplaintBook, "considered", by_name):
        scene = says_another_thing_to_n5()
    assert "n6" in scene.members
    assert scene.keepers["n5"].wish.leaves == "n3" and scene.keepers["n1"].wish.leaves == "n6"


# The floor.


def test_a_liar_keeps_its_vote_where_3t_plus_1_are_left_and_operators_are_told_why():
    scene = Scene(nodes=4, behaviours={"n2": "vote-twice"})
    assert not scene.evicted("n2", 15_000_000)
    refused = scene.keepers["n1"].wish.refused
    assert "n2 was to leave" in refused and "3T+1=4" in refused and "quorum admit" in refused
    assert ("n1", refused) in scene.said


def below_the_floor(scene: Scene) -> None:
    scene.crash("n4")
    scene.until(lambda: len(scene.members) < 4, 20_000_000)
    scene.go_on(2)


def test_a_slow_member_keeps_its_vote_where_3t_plus_1_are_left():
    scene = Scene(nodes=4)
    below_the_floor(scene)
    assert len(scene.members) == 4


def test_a_floor_that_is_ignored_is_caught():
    def nothing(*_: object) -> None:
        """Neither member nor backup checks what a committee tolerates."""

    with ExitStack() as stack:
        stack.enter_context(patch.object(committee_policy, "floor_of", lambda faults: 1))
        for owner in (approvals, committee_keeper, changes):
            if hasattr(owner, "check_following"):
                stack.enter_context(patch.object(owner, "check_following", nothing))
        stack.enter_context(patch("quorum.protocols.pbft.approving.check_following", nothing))
        stack.enter_context(patch("quorum.systems.byzantine.check_fault_budget", nothing))
        stack.enter_context(pytest.raises(Violation, match=r"never below 3T\+1"))
        below_the_floor(Scene(nodes=4))


def test_t_that_is_lowered_to_let_somebody_go_is_caught():
    def fewer(held: Held) -> Wish:
        return Wish(leaves=held.considered[0]) if held.considered else Wish()

    wanted = CommitteeKeeper._wanted

    def lowered(self: CommitteeKeeper, wish: Wish) -> Any:
        return replace(wanted(self, wish), faults=0)

    with (
        patch.object(committee_keeper, "wish_of", fewer),
        patch.object(CommitteeKeeper, "_wanted", lowered),
        pytest.raises(Violation, match="of the declared T"),
    ):
        below_the_floor(Scene(nodes=4))


def test_at_the_floor_the_slow_one_that_is_well_again_comes_back_and_then_a_liar_leaves():
    scene = Scene()
    scene.crash("n3")
    assert scene.evicted("n3")
    scene.corrupt("n5", "vote-twice")
    scene.go_on(5)
    assert "n5" in scene.members
    scene.restart("n3")
    assert scene.readmitted("n3")
    assert scene.evicted("n5")
    assert scene.members == ("n1", "n2", "n3", "n4")


# Operators.


class Operator:
    """Whoever asks a node (runtime.gateway.Client)."""

    identity = "operator"

    def answer(self, message: object, attached: object) -> None:
        """Whatever it is."""

    def backlog(self) -> int:
        return 0


def leave_out(scene: Scene, *names: str) -> None:
    from quorum.certificate.genesis import encode_genesis

    newest = scene.newest_committee()
    assert newest is not None
    members = tuple(member for member in newest.members if member.node not in names)
    wanted = replace(newest, epoch=newest.epoch + 1, members=members)
    for node in scene.nodes.values():
        node.request(Operator(), ApproveRequest(1), (encode_genesis(wanted),))


def test_whoever_operators_left_out_does_not_come_back_by_itself():
    scene = Scene()
    scene.go_on(1)
    with patch.object(Scene, "_judge", lambda self, before, after: None):
        leave_out(scene, "n5")
        assert scene.evicted("n5")
    assert scene.reasons() == {"n5": OPERATORS}
    assert not scene.readmitted("n5", 15_000_000)
    assert scene.keepers["n1"].out()[0].returns_in_us is None


def operators_leave_out_the_slow(scene: Scene) -> tuple[Complaint, ...]:
    """All complain of n3, which stopped; its operators leave it out, and n6 with it, before members act. What was
    said of it."""
    scene.crash("n3")
    others = ("n1", "n2", "n4", "n5", "n6")
    assert scene.until(lambda: all(len(scene.keepers[each].complaints().get("n3", ())) == 5 for each in others))
    with patch.object(Scene, "_judge", lambda self, before, after: None):
        leave_out(scene, "n3", "n6")
        said = scene.keepers["n1"].book.of("n3", scene.state().commit_sequence)
        assert scene.evicted("n3")
    return said


def test_whoever_operators_left_out_stays_out_although_all_complained_of_it():
    scene = Scene(nodes=6)
    with patch.object(committee_keeper, "APPROVALS_MAX", 0):
        operators_leave_out_the_slow(scene)
    assert scene.reasons() == {"n3": OPERATORS, "n6": OPERATORS}
    scene.restart("n3")
    assert not scene.readmitted("n3", 15_000_000)


def test_complaints_that_are_shown_again_do_not_bring_back_whom_operators_left_out():
    """n3 kept what was said of it, and gives it to everybody."""
    scene = Scene(nodes=6)
    with patch.object(committee_keeper, "APPROVALS_MAX", 0):
        said = operators_leave_out_the_slow(scene)
    scene.restart("n3")
    for name in ("n1", "n2", "n4", "n5"):
        scene.nodes[name].receive("n3", Complaints(said), ())
    assert not scene.readmitted("n3", 15_000_000)
    with patch.object(readmissions, "left_alone", lambda before, after: True):
        assert scene.readmitted("n3", 15_000_000), "who left with it makes the difference"


# A member that approved of as much as it may.


def test_a_member_that_approves_of_no_more_by_itself_says_so_and_what_ends_it():
    scene = Scene()
    scene.go_on(1)
    committee = scene.state().committee
    keeper = scene.keepers["n1"]
    for number in range(committee_keeper.APPROVALS_MAX):  # of what nobody else wants
        fresh = Member(f"x{number}", scene.new_key("n1").public)
        wanted = replace(committee, epoch=2, members=(*committee.members, fresh))
        keeper._approved.add(wanted.membership_hash)
        keeper._approve_by_driver(-99, wanted)
    scene.go_on(1)
    replica = scene.nodes["n1"].replica
    assert isinstance(replica, PbftReplica) and refused_by(replica, keeper.wish) == ""
    scene.crash("n3")
    assert not scene.evicted("n3"), "without n1 no quorum approves"
    said = refused_by(replica, keeper.wish)
    assert said.startswith("n3 was to leave the committee") and "n1 approved of 6 others" in said
    assert "quorum approve" in said
