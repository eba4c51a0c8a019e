"""init, judge, simulate and replay: commands that need no running cluster."""

from __future__ import annotations

import json
import shlex

import msgspec
import pytest

from quorum.console.simulate import plan_of, run_plans
from quorum.sim.campaign import Plan

GOOD = [
    {"process": "a", "type": "invoke", "f": "write", "key": "x", "value": 1, "time": 1},
    {"process": "a", "type": "ok", "f": "write", "key": "x", "value": 1, "time": 2},
    {"process": "b", "type": "invoke", "f": "read", "key": "x", "value": None, "time": 3},
    {"process": "b", "type": "ok", "f": "read", "key": "x", "value": 1, "time": 4},
]
STALE = [*GOOD[:3], {**GOOD[3], "value": None}]


def written(path, events):
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


# --- judge ---------------------------------------------------------------------------------------------


def test_judge_says_yes_to_a_linearizable_history(run, run_json, here):
    history = written(here / "h.jsonl", GOOD)
    assert run("judge", history).stdout == "linearizable: 2 operations\n"
    assert run_json("judge", history) == (
        0,
        {"verdict": "linearizable", "operations": 2, "failing_key": None, "window": None},
    )


def test_judge_names_the_key_and_the_window_of_a_stale_read(run, run_json, here):
    history = written(here / "h.jsonl", STALE)
    code, verdict = run_json("judge", history)
    assert (code, verdict["verdict"], verdict["failing_key"]) == (1, "not linearizable", "x")
    assert {"f", "value", "process", "role"} <= set(verdict["window"][0])
    text = run("judge", history)
    assert text.exit_code == 1 and "not linearizable" in text.stdout and "key 'x'" in text.stdout


def test_judge_reads_standard_input(run):
    data = "".join(json.dumps(event) + "\n" for event in GOOD).encode()
    assert run("judge", "-", stdin=data).exit_code == 0


@pytest.mark.parametrize("content", [b"", b"{", b'{"process": 1}\n', b"\xff\n"])
def test_judge_refuses_what_is_no_history(content, run, here):
    (here / "h.jsonl").write_bytes(content)
    result = run("judge", "h.jsonl")
    assert result.exit_code == 2 and result.stderr.startswith("Error: ")


def test_judge_refuses_a_missing_file_and_a_budget_of_nothing(run, here):
    assert run("judge", "absent.jsonl").exit_code == 2
    written(here / "h.jsonl", GOOD)
    assert run("judge", "h.jsonl", "--steps", 0).exit_code == 2


# --- simulate and replay -------------------------------------------------------------------------------

SMALL = ("--nodes", 3, "--seconds", 15, "--clients", 3)


def test_simulate_sums_up_its_seeds(run_json):
    code, total = run_json("simulate", "--seeds", 2, "--first", 5, "--workers", 1, *SMALL)
    assert code == 0 and total["seeds"] == 2 and total["failed"] == []
    assert total["operations"] > 50 and total["decided"] > 20 and total["events"] > 1000


def test_simulate_prints_the_replay_of_a_failed_seed_and_that_fails_again(run, run_json):
    options = ("--nodes", 3, "--seconds", 20, "--clients", 4, "--stale")
    code, total = run_json("simulate", "--seeds", 12, "--first", 1, "--workers", 1, *options)
    assert code == 1, "stale reads are linearizable in no twelve seeds"
    replay = total["failed"][0]["replay"]
    assert "--stale" in replay
    again = run(*shlex.split(replay)[1:], "--trace", 3)
    assert again.exit_code == 1
    assert "not linearizable" in again.stdout


def test_replay_gives_the_same_trace_every_time_and_shows_its_end(run_json):
    first = run_json("replay", "--seed", 7, "--trace", 4, *SMALL)
    assert first == run_json("replay", "--seed", 7, "--trace", 4, *SMALL)
    assert first[0] == 0 and len(first[1]["events_shown"]) == 4
    assert first[1]["trace"] != run_json("replay", "--seed", 8, *SMALL)[1]["trace"]


def test_replay_takes_every_option_that_a_plan_prints(run, monkeypatch):
    """A replay command is the plan, whatever was set in it."""
    special = {
        "faults": ("split", "crash"),
        "reads": "choose(3, n1, n2, n3, n4, n5, n6)",
        "writes": "choose(4, n1, n2, n3, n4, n5, n6)",
        "keep": 0,
    }
    defaults = msgspec.structs.asdict(Plan(0))
    asked = Plan(**{name: special.get(name, not old if old is False else old) for name, old in defaults.items()})
    for name, old in defaults.items():
        if type(old) is int and name != "keep":
            asked = msgspec.structs.replace(asked, **{name: old + 1})
    taken = []

    class Enough(Exception):
        pass

    def take(plan):
        taken.append(plan)
        raise Enough

    monkeypatch.setattr("quorum.console.simulate.run_seed", take)
    with pytest.raises(Enough):
        run(*shlex.split(asked.replay_command())[1:], "--trace", 0)
    assert taken == [asked]


def test_a_refuted_history_is_shown_by_its_key_and_window_and_whole_in_json(run, run_json):
    options = ("--nodes", 3, "--seconds", 25, "--clients", 4, "--stale")
    for result in (
        run("simulate", "--workers", 1, "--seeds", 1, *options),
        run("replay", "--seed", 0, "--trace", 0, *options),
    ):
        assert result.exit_code == 1
        assert "key 'y' is not linearizable" in result.stdout and "\n  stuck " in result.stdout
        assert len(result.stdout.splitlines()) < 30 and max(map(len, result.stdout.splitlines())) < 130
    code, found = run_json("simulate", "--workers", 1, "--seeds", 1, *options)
    (failed,) = found["failed"]
    assert (code, failed["failing_key"]) == (1, "y")
    assert {"role", "process", "f", "value", "invoke", "complete"} <= set(failed["window"][0])
    assert failed["replay"].startswith("quorum replay --seed 0 ")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--faults", "flood"), "the fault 'flood' was asked for"),
        (("--nodes", 0), "Give 1 or more"),
        (("--seconds", 3), "Ask for more"),
        (("--seeds", 0), "nothing would run"),
        (("--workers", -1), "nothing would run"),
        (("--pause-ms", 0), "Give 1 or more"),
        (("--reads", "n1*("), "quorum expression"),
        (("--reads", "n1", "--writes", "n2"), "they share no node"),
        (("--reads", "n9"), "n9"),
    ],
)
def test_simulate_refuses_what_cannot_run(options, says, run):
    result = run("simulate", "--workers", 1, *options)
    assert result.exit_code == 2, result.output
    assert says in result.stderr


def test_workers_give_the_outcomes_that_one_process_gives():
    plans = [plan_of(seed, "none", nodes=3, seconds=13, clients=1) for seed in range(2)]
    alone = sorted(run_plans(plans, 1), key=lambda outcome: outcome.seed)
    assert sorted(run_plans(plans, 2), key=lambda outcome: outcome.seed) == alone


# --- init ----------------------------------------------------------------------------------------------


def test_init_writes_a_cluster_once(run, run_json, here):
    code, made = run_json("init", "--folder", "c", "--names", "a,b,c", "--base-port", 21000)
    assert code == 0 and sorted(made["nodes"]) == ["a", "b", "c"]
    assert made["addresses"]["b"] == "127.0.0.1:21001" or made["addresses"]["b"].startswith("127.0.0.1:2100")
    assert (here / "c" / "cluster.toml").exists() and (here / "c" / "keys" / "ca.crt").exists()
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    again = run("init", "--folder", "c")
    assert again.exit_code == 2 and again.stderr.startswith("Error: ")
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "options",
    [
        ("--nodes", 0),
        ("--nodes", 3, "--faults", 2),
        ("--model", "byzantine", "--nodes", 3, "--faults", 1),
        ("--names", "a,a"),
        ("--names", "a,../b"),
        ("--addresses", "nowhere"),
        ("--nodes", 1, "--addresses", "10.0.0.1:7000", "--insecure"),
        ("--nodes", 2, "--reads", "n1", "--writes", "n2"),
    ],
)
def test_init_refuses_what_cannot_run_and_writes_nothing(options, run, here):
    result = run("init", "--folder", "c", *options)
    assert result.exit_code == 2 and result.stderr.startswith("Error: ")
    assert not (here / "c").exists()
