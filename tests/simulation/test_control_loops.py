"""Control loops on simulated clusters: all nodes decide alike, the interval holds the truth while at most T lie,
and every tick is decided once the network is calm."""

from __future__ import annotations

import shlex
import sys

import msgspec
import pytest

from quorum.apps import control_ticks
from quorum.errors import ConfigurationError
from quorum.sim.control_scene import ControlPlan, run_control_seed, truth_at, world_of
from simulation import control_campaign

CRASHES = ("crash", "crash-all", "isolate", "pause", "split", "weather")


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4))])
def test_nodes_that_crash_and_part_decide_alike_although_one_channel_lies(seed):
    outcome = run_control_seed(ControlPlan(seed, strikes=CRASHES))
    assert outcome.failure == "", outcome.replay
    assert len(outcome.decisions) > 60 and outcome.due > 0
    assert outcome.sometimes["an interval holds the truth"] > 50


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_members_decide_alike_although_one_of_them_lies_and_so_does_its_channel(seed):
    outcome = run_control_seed(ControlPlan(seed, "byzantine"))
    assert outcome.failure == "", outcome.replay
    assert len(outcome.decisions) > 100 and outcome.refused > 0
    assert outcome.sometimes["lie early"] > 0, "a liar alone cuts no tick short"


def test_the_same_seed_decides_the_same_byte_for_byte():
    plan = ControlPlan(5, seconds=19)
    first, again = run_control_seed(plan), run_control_seed(plan)
    assert first == again and first.failure == ""
    assert run_control_seed(ControlPlan(6, seconds=19)).trace != first.trace


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_one_liar_more_than_t_pushes_the_truth_out(seed):
    """Negative control: what is claimed for T liars does not hold for T+1."""
    outcome = run_control_seed(ControlPlan(seed, liars=2, lie="edge", strikes=(), seconds=19))
    assert outcome.failure.startswith("a decided interval holds the truth while at most T channels lie")
    assert run_control_seed(ControlPlan(seed, liars=1, lie="edge", strikes=(), seconds=19)).failure == ""


def test_a_replica_that_rounds_differently_is_caught(monkeypatch):
    """Negative control: its state is another one, and what it decides, too."""
    right = control_ticks.Ticks.decide
    odd = []

    def decide(self, tick, header):
        decided = right(self, tick, header)
        odd[:] = odd or [self]
        if decided is None or decided.value is None or self is not odd[0]:
            return decided
        return msgspec.structs.replace(decided, value=decided.value * (1 + 1e-15))

    monkeypatch.setattr(control_ticks.Ticks, "decide", decide)
    outcome = run_control_seed(ControlPlan(1, strikes=(), seconds=19))
    assert outcome.failure.startswith("state digests")
    odd.clear()
    monkeypatch.setattr("quorum.sim.world.DIGEST_ENTRIES", 1 << 40)
    outcome = run_control_seed(ControlPlan(1, strikes=(), seconds=19))
    assert outcome.failure.startswith("every node decides the same")


def test_a_liar_in_crash_mode_spoils_no_more_than_its_own_channel():
    outcome = run_control_seed(ControlPlan(1, lie="far", strikes=(), seconds=19))
    assert outcome.failure == ""
    assert all(len(each.used) >= 3 for each in outcome.decisions.values())
    assert all(abs(each.value - truth_at(each.tick)) <= 0.5 for each in outcome.decisions.values())


def test_the_replay_command_runs_the_same_seed_again(monkeypatch, capsys):
    outcome = run_control_seed(ControlPlan(1, liars=2, lie="edge", strikes=(), seconds=19))
    python, module_flag, module, *arguments = shlex.split(outcome.replay)
    assert (python, module_flag, module) == ("python", "-m", "tests.simulation.control_campaign")
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    assert control_campaign.main() == 1
    printed = capsys.readouterr().out
    assert outcome.failure in printed and outcome.trace[:16] in printed and outcome.replay in printed


def test_a_run_that_cannot_be_is_refused():
    with pytest.raises(ConfigurationError, match="somebody honest"):
        world_of(ControlPlan(1, liars=5))
    with pytest.raises(ConfigurationError, match="has at least 19 s"):
        world_of(ControlPlan(1, seconds=5))
