"""Committees that follow who is well, on the real engine in simulation: what is decided stays decided."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from quorum.entry import Buffer
from quorum.membership.health import HELD, UNREACHABLE
from quorum.membership.observation import Limits, Situation
from quorum.membership.reconfiguration import Admit, Demote, encode_change
from quorum.model import Configuration, NodeId
from quorum.protocols.events import TickWanted
from quorum.protocols.raft.messages import AppendReply
from quorum.runtime.messages import ChangeRequest
from quorum.sim.campaign import Plan, run_seed
from quorum.sim.churn import Operator
from quorum.sim.node import PUT_OUT, TAKEN_BACK
from quorum.sim.world import World

S = 1_000_000
SOON = Limits(hold_us=2 * S, stable_us=2 * S)


def names(count: int) -> tuple[NodeId, ...]:
    return tuple(f"n{number}" for number in range(1, count + 1))


def running(count: int, policy: str = "adaptive", spares: tuple[NodeId, ...] = (), **more: object) -> World:
    """A cluster with a leader, in which suspicions last two seconds."""
    function = more.pop("function", None)
    configuration = Configuration(1, names(count), policy=policy, faults=(count - 1) // 2, **more)  # type: ignore[arg-type]
    world = World(1, configuration, limits=SOON, policy=function, spares=spares)  # type: ignore[arg-type]
    world.boot()
    assert world.run_until(lambda: world.leader() is not None, 10 * S)
    world.run(world.now_us + S)
    return world


def decided(world: World) -> Configuration:
    """The newest configuration at the leader, which has no change under way."""
    leader = world.leader()
    assert leader is not None, "somebody leads"
    replica = world.nodes[leader].replica
    assert replica is not None
    return replica.configuration


def decides(world: World, within_us: int = 5 * S) -> bool:
    """Whether a majority of the present committee still decides: a leader's tick is committed."""
    leader = world.leader()
    if leader is None:
        return False
    node = world.nodes[leader]
    assert node.replica is not None and node.driver is not None
    before = node.replica.state.commit_index
    node.driver._events.append(TickWanted(node.clock.now_us()))
    node._run()
    state = node.replica.state
    return world.run_until(lambda: state.commit_index > before, within_us)


def lose(world: World, node: NodeId, then_us: int = 6 * S) -> None:
    world.crash(node)
    world.run(world.now_us + then_us)


def test_nine_members_survive_seven_losses_one_after_the_other_and_a_fixed_committee_four() -> None:
    for policy, survived in (("adaptive", 7), ("fixed", 4)):
        world = running(9, policy)
        leader = world.leader()
        order = [name for name in names(9) if name != leader]
        lost = 0
        for node in order:
            lose(world, node)
            if not decides(world):
                break
            lost += 1
        assert lost == survived


def test_a_simultaneous_loss_of_a_majority_gains_nothing() -> None:
    world = running(9)
    leader = world.leader()
    for node in [name for name in names(9) if name != leader][:5]:
        world.crash(node)
    world.run(world.now_us + 20 * S)
    assert not decides(world)


def test_three_members_stay_three() -> None:
    """The floor: with N = 3 nothing is gained, and nothing is lost."""
    world = running(3)
    leader = world.leader()
    other = next(name for name in names(3) if name != leader)
    lose(world, other, 10 * S)
    assert decided(world).voters == names(3)


def test_who_returns_votes_again_once_it_was_well() -> None:
    world = running(5)
    leader = world.leader()
    gone = [name for name in names(5) if name != leader][:2]
    for node in gone:
        world.crash(node)
    world.run(world.now_us + 6 * S)
    assert set(decided(world).voters) == set(names(5)) - set(gone)
    assert {seat.reason for seat in decided(world).seats} == {UNREACHABLE}
    for node in gone:
        world.restart(node)
    world.run(world.now_us + 8 * S)
    assert decided(world).voters == names(5)


def test_a_restart_of_everything_at_once_comes_back_from_the_durable_configuration() -> None:
    """Not from the configured N: two of the three who vote are enough, two of the others are not."""
    world = running(7)
    leader = world.leader()
    for node in [name for name in names(7) if name != leader][:4]:
        lose(world, node)
    committee = decided(world).voters
    assert len(committee) == 3
    for node in committee:
        world.crash(node)
    for node in set(names(7)) - set(committee):
        world.restart(node)
    world.run(world.now_us + 10 * S)
    assert not decides(world), "four of seven, but none that votes"
    for node in committee[:2]:
        world.restart(node)
    assert world.run_until(lambda: world.leader() is not None, 20 * S)
    assert decides(world)


def test_a_change_of_the_committee_takes_two_commit_rounds() -> None:
    """The joint configuration and the final one (Ongaro 2014, section 4.3): two entries, and no more."""
    world = running(5)
    leader = world.leader()
    assert leader is not None
    replica = world.nodes[leader].replica
    assert replica is not None
    gone = next(name for name in names(5) if name != leader)
    before = replica.configuration.epoch
    world.crash(gone)
    assert world.run_until(lambda: replica.configuration.outgoing is not None, 10 * S)
    first = replica.state.log.last_index
    assert world.run_until(lambda: replica.configuration.outgoing is None, S)
    assert world.run_until(lambda: replica.state.commit_index >= first + 1, S)
    assert (replica.state.log.last_index, replica.configuration.epoch) == (first + 1, before + 2)


def test_participation_replaces_who_is_gone_by_a_standby_and_keeps_its_size() -> None:
    world = running(5, "participation")
    world.run(world.now_us + 4 * S)
    committee = decided(world).voters
    assert len(committee) == 4, "n = N-T+1"
    gone = next(name for name in committee if name != world.leader())
    lose(world, gone)
    assert len(decided(world).voters) == 4 and gone not in decided(world).voters


def test_a_users_own_policy_chooses() -> None:
    def first_three(situation: Situation) -> tuple[NodeId, ...]:
        return tuple(sorted(situation.fit)[:3])

    world = running(5, "custom", function=first_three)
    world.run(world.now_us + 5 * S)
    assert decided(world).voters == names(3)


def test_losses_are_followed_also_while_an_operator_waits_for_a_newcomer_that_never_comes() -> None:
    """Else nobody could be put out until its time to catch up is over, which is ten minutes."""
    world = running(5, spares=("n9",))
    world.crash("n9")
    leader = world.leader()
    assert leader is not None
    operator = Operator(world, 0)
    operator._asked[1] = ()
    world.nodes[leader].request(operator, ChangeRequest(1), (encode_change(Admit("n9")),))
    world.run(world.now_us + S)
    for node in [name for name in names(5) if name != leader][:3]:
        lose(world, node)
        assert decides(world), f"{node} was one loss too many"
    assert "n9" in decided(world).learners


def test_whom_an_operator_demotes_is_not_taken_back() -> None:
    world = running(5)
    leader = world.leader()
    assert leader is not None
    node = next(name for name in names(5) if name != leader)
    operator = Operator(world, 0)
    operator._asked[1] = ()
    world.nodes[leader].request(operator, ChangeRequest(1), (encode_change(Demote(node)),))
    world.run(world.now_us + 20 * S)
    present = decided(world)
    seat = present.seat(node)
    assert seat is not None and seat.reason == HELD and node not in present.voters
    assert len(present.voters) == 3, "odd again"


class Stuck(World):
    """`stuck` answers as soon as anybody, and says that it stores no more than it did."""

    stuck, stores = "", 0

    def deliver(self, source: NodeId, to: NodeId, message: object, attached: tuple[Buffer, ...]) -> None:
        if source == self.stuck and isinstance(message, AppendReply):
            message = replace(message, index=min(message.index, self.stores))
        super().deliver(source, to, message, attached)


def test_a_standby_that_is_heard_and_never_catches_up_keeps_its_seat_from_nobody_else() -> None:
    world = Stuck(1, Configuration(1, names(7), policy="participation", faults=3), limits=SOON)
    world.boot()
    assert world.run_until(lambda: world.leader() is not None, 10 * S)
    world.run(world.now_us + 6 * S)
    committee = decided(world).voters
    stuck, other = sorted(set(names(7)) - set(committee))
    leader = world.leader()
    assert leader is not None and len(committee) == 5, "n = N-T+1"
    state = world.nodes[leader].replica.state  # type: ignore[union-attr]
    gone = next(name for name in committee if name != leader)
    world.crash(gone)
    world.run(world.now_us + S)
    world.stuck, world.stores = stuck, state.commit_index
    assert decides(world)
    assert world.run_until(lambda: state.pending_change is not None, 5 * S)
    assert state.pending_change is not None and state.pending_change.arriving == {stuck}
    world.run(world.now_us + 6 * S)
    assert set(decided(world).voters) == set(committee) - {gone} | {other}
    assert decides(world)


@pytest.mark.parametrize(
    ("policy", "spares"),
    [
        ("adaptive", 0),
        ("participation", 3),
        pytest.param("adaptive", 3, marks=pytest.mark.slow),
        pytest.param("participation", 0, marks=pytest.mark.slow),
    ],
)
def test_every_claim_holds_while_the_committee_adapts_under_every_fault(policy: str, spares: int) -> None:
    outcome, _, _ = run_seed(Plan(seed=2, nodes=5, seconds=60, policy=policy, spares=spares))
    assert outcome.failure == "", outcome.replay
    assert f"--policy {policy}" in outcome.replay
    assert outcome.sometimes[PUT_OUT] > 0 and outcome.sometimes[TAKEN_BACK] > 0 and outcome.decided > 500


def test_a_new_leader_gives_no_vote_to_a_standby_that_it_has_never_heard_of() -> None:
    """However soon members are taken back: else everything waits for one that is down to catch up."""
    hasty = Limits(hold_us=300_000, stable_us=100_000)
    world = World(1, Configuration(1, names(5), policy="adaptive", faults=2), limits=hasty)
    world.boot()
    assert world.run_until(lambda: world.leader() is not None, 10 * S)
    leader = world.leader()
    assert leader is not None
    gone = next(name for name in names(5) if name != leader)
    lose(world, gone, 3 * S)
    assert gone not in decided(world).voters and len(decided(world).voters) == 3
    lose(world, leader, 3 * S)
    assert not {gone, leader} & set(decided(world).voters), "the two that are down have no vote"
    assert len(decided(world).voters) == 3 and decided(world).outgoing is None
