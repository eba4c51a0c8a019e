"""Weights that follow a simulated network: faster, and as safe as without."""

from __future__ import annotations

import runpy
from functools import partial
from pathlib import Path

import pytest

from quorum.membership.reconfiguration import SetWeights, encode_change
from quorum.membership.weighing import WeightTuning
from quorum.model import Configuration
from quorum.protocols.raft import change
from quorum.sim.campaign import Outcome, Plan, run_seed
from quorum.sim.faults import SECOND_US
from quorum.sim.node import WEIGHED
from quorum.sim.stopwatch import Stopwatch
from quorum.sim.weighing import WeighedWorld
from quorum.systems.build import build
from quorum.systems.extent import extent_of

pytestmark = pytest.mark.slow

NODES = ("n1", "n2", "n3", "n4", "n5")
NEAR_US, FAR_US = 10_000, 150_000
PAIR = frozenset(("n4", "n5"))
"""These two are near each other, and everybody else is far from everybody."""


def world_of(tuned: bool, faults: int = 1) -> WeighedWorld:
    new_tuning = partial(WeightTuning, period_us=5 * SECOND_US) if tuned else None
    world = WeighedWorld(3, Configuration(epoch=1, voters=NODES, faults=faults), new_tuning=new_tuning)
    world.lay_links(
        {(a, b): NEAR_US if {a, b} == PAIR else FAR_US for a in NODES for b in NODES if a < b},
    )
    world.boot()
    world.run(30 * SECOND_US)
    return world


def configuration_of(world: WeighedWorld) -> Configuration:
    leader = world.leader()
    assert leader is not None
    replica = world.nodes[leader].replica
    assert replica is not None
    return replica.configuration


def test_weights_that_follow_let_the_near_pair_decide():
    """Five members, one fault, two to spare: a plain majority needs a third member, which is far."""
    equal = Stopwatch(world_of(tuned=False)).run(50, 60 * SECOND_US)
    world = world_of(tuned=True)
    weighed = Stopwatch(world).run(50, 60 * SECOND_US)
    assert world.leader() in PAIR
    assert equal > FAR_US and weighed < NEAR_US + 5_000
    extent = extent_of(build(configuration_of(world)).writes)
    assert (extent.smallest, extent.largest, extent.survives) == (2, 4, 1)


@pytest.mark.slow
def test_the_figures_on_the_page_are_those_that_the_example_prints(capsys: pytest.CaptureFixture[str]):
    root = Path(__file__).parents[2]
    runpy.run_path(str(root / "examples" / "weights_wide_area.py"), run_name="__main__")
    assert capsys.readouterr().out in (root / "docs" / "weights.md").read_text()


def test_where_nobody_is_to_spare_weights_stay_equal():
    world = world_of(tuned=True, faults=2)
    assert configuration_of(world).weights == ()


def test_the_loss_of_the_heavy_leader_is_survived_and_weights_move_on():
    world = world_of(tuned=True)
    lost = world.leader()
    assert lost is not None and configuration_of(world).weights == ((lost, 3),)
    world.crash(lost)
    assert Stopwatch(world).run(20, 120 * SECOND_US) > 0
    world.run(world.now_us + 40 * SECOND_US)
    heavy = [node for node, weight in configuration_of(world).weights if weight > 1]
    assert lost not in heavy, "who does not answer loses its weight"
    world.restart(lost)
    world.run(world.now_us + 40 * SECOND_US)
    assert {node for node, _ in configuration_of(world).weights} <= PAIR


def test_the_same_seed_gives_the_same_weights():
    assert world_of(tuned=True).trace.hexdigest() == world_of(tuned=True).trace.hexdigest()


def seed_run(seed: int) -> Outcome:
    """One seed of a restless network under every fault; in some of them members come and go, by an operator and
    by a policy."""
    churn = {"spares": 2, "churn_ms": 6_000} if seed % 2 == 0 else {}
    policy = "adaptive" if seed % 3 == 0 else "fixed"
    nodes = 5 + 2 * (seed % 2)
    usual = {"seconds": 40, "clients": 4, "faults_at_once": 2, "restless": True}
    return run_seed(Plan(seed, nodes, policy=policy, **usual, **churn))[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(1, 13))
def test_nothing_conflicts_while_weights_change_under_faults(seed: int):
    outcome = seed_run(seed)
    assert not outcome.failure, outcome.replay


def test_weights_do_change_in_such_runs():
    """A run in which nothing moved would prove nothing."""
    assert all(seed_run(seed).sometimes[WEIGHED] > 5 for seed in (1, 2, 3))


@pytest.mark.skipif(not str(change.__file__).endswith(".py"), reason="compiled modules cannot be given a mistake")
def test_weights_changed_without_a_joint_step_lose_a_decision(monkeypatch: pytest.MonkeyPatch):
    """The planted bug: a change of weights alone is taken for none that needs both majorities."""
    decides = change._decides
    monkeypatch.setattr(
        change, "_decides", lambda configuration: decides(configuration)._replace(weights=frozenset())
    )
    plans = [
        Plan(seed, nodes=5 + 2 * (seed % 2), seconds=40, clients=4, faults_at_once=2, restless=True)
        for seed in (21, 90, 93)
    ]
    failures = [run_seed(plan)[0].failure for plan in plans]
    assert any("leader completeness" in failure for failure in failures), failures


def test_a_leader_refuses_weights_beyond_the_bound():
    world = world_of(tuned=False)
    leader = world.leader()
    assert leader is not None
    answers: list[object] = []

    class Asking:
        identity = "operator"

        def answer(self, message: object, attached: object) -> None:
            answers.append(message)

        def backlog(self) -> int:
            return 0

    from quorum.runtime.messages import ChangeRequest, Failure

    data = encode_change(SetWeights((("n1", 4),), 1))
    world.nodes[leader].request(Asking(), ChangeRequest(1), (data,))
    world.run(world.now_us + SECOND_US)
    (answer,) = answers
    assert isinstance(answer, Failure) and "n1 has 4 of 8 votes" in answer.text
    assert configuration_of(world).weights == ()
