"""Weights that follow the network where members may lie: measured, reported, proposed, approved of and decided.

Seconds stand for minutes. Each rule of what a member takes up has a control that takes it away, and is then
caught.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

import pytest
from msgspec.structs import replace

from quorum.certificate.latency_report import LatencyReport, latency_statement
from quorum.checkers.violation import Violation
from quorum.membership import weight_proposals
from quorum.membership.weight_proposals import WeightProposals
from quorum.protocols.pbft import approving
from quorum.protocols.pbft.replica import PbftReplica
from quorum.protocols.pbft.settings import Settings
from quorum.protocols.pbft.state import PbftState
from quorum.runtime import committee_keeper, committee_weigher
from quorum.runtime.committee_weigher import CommitteeWeigher
from quorum.runtime.messages import ProposeWeights, ReportLatency
from quorum.sim.adversary import Misreports
from quorum.sim.byzantine_weighing import WeighedCommitteeWorld
from quorum.sim.node import WEIGHED
from quorum.sim.stopwatch import Stopwatch

pytestmark = pytest.mark.slow

NEAR_US, FAR_US = 10_000, 200_000
SECOND_US = 1_000_000
OWN_US = 15_000
"""What the simulated network, disks and the client's way add to every decision, at most."""
NEAR = ("n3", "n4", "n5")


def world_of(
    nodes: int = 5, faults: int = 1, near: tuple[str, ...] = NEAR, behaviours: Mapping[str, str] | None = None
) -> WeighedCommitteeWorld:
    world = WeighedCommitteeWorld(1, nodes, faults, behaviours or {}, Settings(view_timeout_us=20 * SECOND_US))
    lay(world, near)
    world.boot()
    return world


def lay(world: WeighedCommitteeWorld, near: tuple[str, ...]) -> None:
    """These are next to each other, and everybody else is far from all."""
    names = sorted(world.nodes)
    pairs = [(one, other) for one in names for other in names if one < other]
    world.lay_links({pair: NEAR_US if set(pair) <= set(near) else FAR_US for pair in pairs})


def go_on(world: WeighedCommitteeWorld, seconds: float) -> None:
    world.run(world.now_us + int(seconds * SECOND_US))


def heavy(world: WeighedCommitteeWorld) -> set[str]:
    committee = world.newest_committee()
    assert committee is not None
    return {member.node for member in committee.members if member.weight > 1}


def state_of(world: WeighedCommitteeWorld, name: str) -> PbftState:
    replica = world.nodes[name].replica
    assert isinstance(replica, PbftReplica)
    return replica.state


def weighed(world: WeighedCommitteeWorld) -> int:
    return world.sometimes.counts.get(WEIGHED, 0)


def test_the_near_members_come_to_decide_alone_and_one_of_them_leads():
    world = world_of()
    watch = Stopwatch(world)
    before_us = watch.run(20, 60 * SECOND_US)
    go_on(world, 10)
    committee = world.newest_committee()
    assert committee is not None and committee.epoch == 2, "one change, and then nothing more is to be gained"
    assert heavy(world) < set(NEAR) and committee.primary in NEAR
    assert state_of(world, "n1").primary == committee.primary
    after_us = watch.run(20, 60 * SECOND_US)
    assert after_us < 15_000 + OWN_US and 5 * after_us < before_us


def test_weights_follow_when_the_links_change():
    world = world_of()
    go_on(world, 10)
    lay(world, ("n1", "n2", "n3"))
    go_on(world, 20)
    assert heavy(world) < {"n1", "n2", "n3"} and weighed(world) >= 2


def test_without_a_spare_member_only_the_lead_moves():
    world = world_of(4, 1, ("n2", "n3", "n4"))
    go_on(world, 10)
    committee = world.newest_committee()
    assert committee is not None and committee.primary in ("n2", "n3", "n4") and heavy(world) == set()


def test_where_all_are_equally_far_nothing_changes():
    world = world_of(near=())
    go_on(world, 15)
    assert weighed(world) == 0
    assert world.weighers["n1"].why_not == "no other weights gain enough."


def test_a_heavy_member_that_stops_leaves_and_the_rest_have_votes_by_which_they_go_on():
    world = world_of(6, 1, ("n3", "n4", "n5"))
    go_on(world, 8)
    (gone, *_) = sorted(heavy(world))
    world.crash(gone)
    go_on(world, 15)
    committee = world.newest_committee()
    assert committee is not None and gone not in committee.nodes
    assert Stopwatch(world).run(20, 60 * SECOND_US) > 0


def test_weights_wait_while_somebody_should_leave():
    world = world_of()
    go_on(world, 1)
    for weigher in world.weighers.values():
        weigher._is_busy = lambda: True
    go_on(world, 15)
    assert weighed(world) == 0
    said = {weigher.why_not for weigher in world.weighers.values()}
    assert "somebody should leave or join first." in said


def test_one_who_reports_lies_gets_no_say_beyond_its_own_links():
    """n1 says that it is near; whoever is honest knows better, and what is measured decides."""
    world = world_of(behaviours={"n1": "misreport"})
    go_on(world, 30)
    assert len(heavy(world)) == 2 and heavy(world) <= set(NEAR)


@pytest.mark.parametrize("liar", ["n1", "n4"])
def test_members_go_on_and_weights_keep_their_rules_while_one_misreports(liar: str):
    world = world_of(6, 1, behaviours={liar: "misreport"})
    go_on(world, 30)
    assert weighed(world) > 0
    assert Stopwatch(world).run(20, 60 * SECOND_US) > 0


# What the rules forbid.


def first_primary_proposes(world: WeighedCommitteeWorld, choose: Callable[[Any], Any]) -> None:
    """n1 lies: as the primary it proposes what `choose` makes of the reports it has, to everybody."""
    go_on(world, 4)
    reports = tuple(world.weighers["n1"].proposals.fresh(world.nodes["n1"].clock.now_us()))
    message = ProposeWeights(1, tuple(choose(reports)))
    for name in ("n2", "n3", "n4", "n5"):
        world.nodes[name].receive("n1", message, ())
    go_on(world, 4)


def mute() -> Any:
    """The liar's own weigher proposes nothing."""
    return patch.object(Misreports, "_reports", lambda self, reports: reports[:1])


def unsigned(reports: tuple[LatencyReport, ...]) -> tuple[LatencyReport, ...]:
    """Words put into the mouths of others: the far ones are near."""
    near = dict.fromkeys(("n1", "n2", "n3"), NEAR_US)
    return tuple(
        replace(
            report,
            number=report.number + 1,
            took_us=tuple(
                (node, near.get(node, FAR_US) if report.by in near else FAR_US) for node, _ in report.took_us
            ),
        )
        for report in reports
    )


def test_unsigned_reports_change_nothing():
    with mute():
        world = world_of(behaviours={"n1": "misreport"})
        first_primary_proposes(world, unsigned)
    assert weighed(world) == 0


def test_reports_that_are_believed_unverified_are_caught():
    def believe(self: Any, sender: str, reports: Any, then: Callable[[], None]) -> None:
        then()

    with mute(), patch.object(CommitteeWeigher, "_check", believe), pytest.raises(Violation, match="N-T members"):
        first_primary_proposes(world_of(behaviours={"n1": "misreport"}), unsigned)


def few(reports: tuple[LatencyReport, ...]) -> tuple[LatencyReport, ...]:
    return reports[2:]


def test_the_reports_of_too_few_members_change_nothing():
    with mute():
        world = world_of(behaviours={"n1": "misreport"})
        first_primary_proposes(world, few)
    assert weighed(world) == 0


def test_members_that_take_up_what_too_few_report_are_caught():
    with (
        mute(),
        patch.object(WeightProposals, "why_not", lambda *_: ""),
        pytest.raises(Violation, match="N-T members"),
    ):
        first_primary_proposes(world_of(behaviours={"n1": "misreport"}), few)


def test_members_that_approve_of_other_weights_than_follow_are_caught():
    """Each chooses who is heavy by itself, as if the primary's word were enough."""

    def any_weights(committee: Any, primary: str, reports: Any) -> Any:
        found = real(committee, primary, reports)
        members = (*(replace(each, weight=2) for each in committee.members[:2]), *committee.members[2:])
        return found and found._replace(committee=replace(found.committee, members=members))

    real = committee_weigher.following_from
    with (
        patch.object(committee_weigher, "following_from", any_weights),
        pytest.raises(Violation, match="weights follow from reports"),
    ):
        go_on(world_of(), 10)


def test_a_report_that_another_passes_on_is_blamed_and_forgotten():
    world = world_of(behaviours={"n5": "silent-to-some"})
    go_on(world, 1)
    state = state_of(world, "n2")
    word = LatencyReport("n2", 1, 1 << 60, (), b"")
    word = replace(word, signature=state.sign_bytes(latency_statement(word, state.committee)))
    world.nodes["n1"].receive("n5", ReportLatency(word), ())
    go_on(world, 1)
    held = world.weighers["n1"].proposals
    assert held.is_news(replace(word, number=(1 << 60) - 1), world.nodes["n1"].clock.now_us())


def test_many_messages_of_one_member_are_left_unread():
    world = world_of(behaviours={"n5": "silent-to-some"})
    go_on(world, 1)
    asked = world.verifier.checked
    for number in range(1_000):
        word = LatencyReport("n5", 1, (1 << 60) + number, (), bytes(64))
        world.nodes["n1"].receive("n5", ReportLatency(word), ())
    go_on(world, 0.01)
    assert world.verifier.checked - asked < 100


ODD_REPORTS = (
    LatencyReport("", 1, 0, (), b""),
    LatencyReport("n5", 1, -1, (), bytes(64)),
    LatencyReport("n5", 1, 1 << 70, (), bytes(64)),
    LatencyReport("n5", -1, 1, (), bytes(64)),
    LatencyReport("n5", 1, 1, (("n1", -(1 << 70)),), bytes(64)),
    LatencyReport("n5", 1, 1, tuple((f"n{number}", 1) for number in range(10_000)), bytes(64)),
    LatencyReport("n5", 1, 1, (("n1", 1), ("n1", 2)), b"short"),
    LatencyReport("x" * 10_000, 1, 1, (), bytes(64)),
    LatencyReport("n1", 1, 1, (), bytes(64)),
)


def test_messages_with_odd_fields_are_refused_and_nothing_of_them_is_kept():
    world = world_of(behaviours={"n5": "silent-to-some"})
    go_on(world, 1)
    for report in ODD_REPORTS:
        for message in (
            ReportLatency(report),
            ProposeWeights(report.epoch, (report,) * 7),
            ProposeWeights(1, (report,) * 4),
            ProposeWeights(1 << 70, ()),
            ProposeWeights(1, ()),
        ):
            for name in ("n1", "n2", "stranger"):
                world.nodes["n3"].receive(name if name == "stranger" else "n5", message, ())
        go_on(world, 0.6)
    held = world.weighers["n3"].proposals.fresh(world.nodes["n3"].clock.now_us())
    assert {report.by for report in held} <= set(world.nodes)
    assert all(report not in held for report in ODD_REPORTS)
    go_on(world, 8)
    assert Stopwatch(world).run(10, 60 * SECOND_US) > 0


def test_a_member_that_begins_again_waits_for_a_period_and_then_weighs_as_before():
    world = world_of()
    go_on(world, 2.5)
    for name in sorted(world.nodes):
        world.crash(name)
        world.restart(name)
    go_on(world, 2.5)
    assert weighed(world) == 0, "a period begins with each life"
    go_on(world, 8)
    assert heavy(world) < set(NEAR)


def test_weights_wait_for_whoever_should_leave_since_they_were_computed():
    world = world_of()
    done: dict[str, list[Callable[[], None]]] = {}
    for name, weigher in world.weighers.items():
        kept = done[name] = []
        weigher._reckon = lambda work, then, kept=kept: kept.append(lambda: then(work()))
    go_on(world, 5)
    weigher = world.weighers["n1"]
    weigher._is_busy = lambda: True
    (finish,) = done["n1"]
    finish()
    assert not weigher.approved_of and not done["n2"]
    weigher._is_busy = lambda: False
    go_on(world, 3)
    done["n1"][-1]()
    assert weigher.approved_of


def test_a_primary_whose_proposal_is_not_taken_up_proposes_again_in_the_next_period():
    world = world_of()
    go_on(world, 1)
    others = [weigher for name, weigher in world.weighers.items() if name != "n1"]
    for weigher in others:
        weigher._is_busy = lambda: True
    go_on(world, 5)
    assert world.weighers["n1"].approved_of and weighed(world) == 0, "it proposed to members that were busy"
    for weigher in others:
        weigher._is_busy = lambda: False
    go_on(world, 5)
    assert weighed(world) == 1 and heavy(world) < set(NEAR)


def test_each_member_says_who_looks_or_what_it_made_of_it():
    world = world_of(near=())
    go_on(world, 5)
    said = {name: weigher.why_not for name, weigher in world.weighers.items()}
    assert said.pop("n1") == "no other weights gain enough."
    assert set(said.values()) == {"n1 looks, as the primary."}


def test_what_members_approve_of_by_themselves_leaves_operators_some_approvals():
    assert committee_keeper.APPROVALS_MAX + weight_proposals.APPROVED_MAX < approving.APPROVED_MAX


def test_a_primary_that_proposes_again_and_again_makes_the_others_compute_once_in_half_a_period():
    world = world_of(near=(), behaviours={"n1": "misreport"})
    go_on(world, 4)
    now_us = world.nodes["n1"].clock.now_us()
    reports = tuple(world.weighers["n1"].proposals.fresh(now_us))
    computed: list[str] = []
    world.weighers["n1"]._look = lambda: None

    def counted(committee: Any, primary: str, given: Any) -> None:
        computed.append(primary)

    with patch.object(committee_weigher, "following_from", counted):
        for _ in range(20):
            world.nodes["n2"].receive("n1", ProposeWeights(1, reports), ())
            go_on(world, 0.14)
    assert computed == ["n1"] * 2, "in 2.8 s, of which 1.5 s are half a period"
