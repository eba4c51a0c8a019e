"""`quorum simulate` and `quorum replay` of committees in which some lie."""

from __future__ import annotations

import shlex

import msgspec
import pytest

from quorum.checkers.violation import Violation
from quorum.console.plans import MODELS, plan_of
from quorum.sim.adversary import BEHAVIOURS
from quorum.sim.byzantine_campaign import ByzantinePlan, run_byzantine_seed
from quorum.sim.byzantine_world import ByzantineWorld

BYZANTINE = ("--model", "byzantine")
SMALL = (*BYZANTINE, "--seconds", 27, "--clients", 2)


def test_seeds_with_liars_are_summed_up(run, run_json):
    code, total = run_json("simulate", "--seeds", 2, "--workers", 1, *SMALL)
    assert code == 0 and total["seeds"] == 2 and total["failed"] == []
    assert total["operations"] > 20 and total["decided"] > 20
    text = run("simulate", "--seeds", 1, "--workers", 1, *SMALL).stdout
    assert text.startswith("1 seeds, 0 failed: ") and "blocks decided" in text and "primaries" in text


def test_replay_gives_the_same_trace_every_time_and_lies_change_it(run_json):
    once = run_json("replay", "--seed", 3, "--trace", 4, *SMALL, "--lies", "vote-twice")
    assert once == run_json("replay", "--seed", 3, "--trace", 4, *SMALL, "--lies", "vote-twice")
    code, said = once
    assert code == 0 and len(said["events_shown"]) == 4 and said["sometimes"]["evidence found"] > 0
    honest = run_json("replay", "--seed", 3, *SMALL, "--lies", "none")[1]
    assert "evidence found" not in honest["sometimes"] and honest["trace"] != said["trace"]


class Breaks(ByzantineWorld):
    """A world in which a claim breaks, always at the same event."""

    def entry_applied(self, node, header):
        if header.index == 5:
            raise Violation("no fifth block", f"{node} applied one")
        super().entry_applied(node, header)


def test_a_failed_seed_prints_its_replay_and_that_fails_again_in_the_same_way(run, run_json, monkeypatch):
    monkeypatch.setattr(
        "quorum.console.simulate.run_byzantine_seed", lambda plan: run_byzantine_seed(plan, Breaks)
    )
    options = (*SMALL, "--lies", "forge,hide", "--liars", 1, "--wire", "--state-blocks", 16)
    code, total = run_json("simulate", "--seeds", 1, "--first", 4, "--workers", 1, *options)
    (failed,) = total["failed"]
    assert code == 1 and failed["failure"].startswith("no fifth block")
    text = run("simulate", "--seeds", 1, "--first", 4, "--workers", 1, *options).stdout
    assert f"  {failed['replay']}\n" in text and text.startswith("seed 4 failed: no fifth block")
    code, again = run_json(*shlex.split(failed["replay"])[1:])
    assert (code, again["failure"], again["replay"]) == (1, failed["failure"], failed["replay"])


USUAL_VOTES = {"weights": "", "quorums": "", "adaptive": False, "restless": False}
OWN_VOTES = {"weights": "2,2,2,2,2,2,1", "quorums": "choose(5, n1, n2, n3, n4, n5, n6, n7)", "spares": 0} | {
    "adaptive": False,
    "restless": False,
}
ADAPTING = {"weights": "", "quorums": "", "spares": 0, "adaptive": True, "restless": True}


def test_replay_takes_every_option_that_a_byzantine_plan_prints(run, monkeypatch):
    special = {"faults": ("split", "crash"), "lies": ("hide", "forge"), "liars": 1, "keep": 0, "nodes": 7}
    defaults = msgspec.structs.asdict(ByzantinePlan(0))
    asked = [
        ByzantinePlan(
            **{
                name: (special | votes).get(
                    name, old + 1 if type(old) is int else not old if old is False else old
                )
                for name, old in defaults.items()
            }
        )
        for votes in (USUAL_VOTES, OWN_VOTES, ADAPTING)
    ]
    for name, old in defaults.items():
        assert name == "keep" or any(getattr(plan, name) != old for plan in asked)
    taken = []

    class Enough(Exception):
        pass

    def take(plan):
        taken.append(plan)
        raise Enough

    monkeypatch.setattr("quorum.console.simulate.run_byzantine_seed", take)
    for plan in asked:
        with pytest.raises(Enough):
            run(*shlex.split(plan.replay_command())[1:], "--trace", 0)
    assert taken == asked


def test_without_options_each_model_runs_its_own_defaults():
    for model, kind in MODELS.items():
        assert plan_of(5, "all", model) == kind(5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((*BYZANTINE, "--reads", "n1"), "--reads was given with --model byzantine"),
        ((*BYZANTINE, "--stale"), "--stale was given with --model byzantine"),
        (("--liars", 1), "--liars was given with --model crash"),
        (("--lies", "hide"), "--lies was given with --model crash"),
        ((*BYZANTINE, "--lies", "flatter"), "the lie 'flatter' was asked for"),
        ((*BYZANTINE, "--faults", "flood"), "the fault 'flood' was asked for"),
        ((*BYZANTINE, "--liars", 2), "4 members tolerate 1"),
        ((*BYZANTINE, "--weights", "1,2"), "each member has one weight"),
        ((*BYZANTINE, "--quorums", "n1*n2"), "no quorum is left"),
        ((*BYZANTINE, "--liars", -1), "Give 0 or more"),
        ((*BYZANTINE, "--nodes", 0), "Give 1 or more"),
        ((*BYZANTINE, "--seconds", 3), "calm seconds"),
        (("--model", "polite"), "polite"),
    ],
    ids=str,
)
def test_what_cannot_run_is_refused(options, says, run):
    refused = run("simulate", "--workers", 1, "--seeds", 1, *options)
    assert refused.exit_code == 2, refused.output
    assert says in refused.stderr


def test_the_help_names_every_lie(run):
    shown = run("simulate", "--help").stdout.replace("\n", " ")
    assert all(lie in " ".join(shown.split()).replace("- ", "-") for lie in BEHAVIOURS)
