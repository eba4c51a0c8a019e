"""`quorum search SYSTEM`: the keys for programs, the text for people, and what is refused."""

from __future__ import annotations

import json

import pytest

KEYS = ["reads", "writes", "optimised", "value", "bound", "gap", "proved", "seen", "pruned", "load", "capacity"]
NODES = {
    "a": {"read_capacity": 200, "write_capacity": 100, "latency": 4},
    "b": {"read_capacity": 200, "write_capacity": 100, "latency": 4},
    "c": {"read_capacity": 100, "write_capacity": 50, "latency": 1},
    "d": {"read_capacity": 100, "write_capacity": 50, "latency": 1},
}


def test_the_best_system_and_its_figures_are_told(run_json, written):
    file = written(nodes=NODES, read_fraction=1)
    code, found = run_json("search", file, "--optimise", "latency", "--load-limit", 1 / 150, "--network-limit", 2)
    assert (code, list(found)[: len(KEYS)]) == (0, KEYS)
    assert (found["latency"], found["value"], found["gap"]) == (pytest.approx(1), pytest.approx(1), 0)
    assert found["proved"] is True


def test_what_was_found_can_be_analysed(run_json, here, written):
    _, found = run_json("search", written(nodes=NODES), "--resilience", 1, "--f", 1)
    file = here / "found.json"
    file.write_text(json.dumps({"reads": found["reads"], "writes": found["writes"], "nodes": NODES}))
    code, figures = run_json("analyse", file, "--f", 1)
    assert code == 0 and figures["resilience"] >= 1
    assert {key: figures[key] for key in ("load", "capacity")} == {
        key: pytest.approx(found[key]) for key in ("load", "capacity")
    }


def test_people_read_whether_it_is_proved(run, written):
    shown = run("search", written(nodes=NODES), "--resilience", 1).stdout
    assert "reads " in shown and "best            yes" in shown and "may be lost" in shown


def test_exit_1_says_which_limit_binds(run, run_json, written):
    file = written(nodes=NODES)
    code, found = run_json("search", file, "--load-limit", 1e-4)
    assert (code, found["error"]["binding"]) == (1, ["load"])
    refused = run("search", file, "--resilience", 2)
    assert (refused.exit_code, refused.stdout) == (1, "") and "add nodes" in refused.stderr


@pytest.mark.parametrize(
    "options", [("--load-limit", "nan"), ("--time-limit", "0"), ("--resilience", "-1"), ("--optimise", "speed")]
)
def test_what_makes_no_sense_is_exit_2(run_json, written, options):
    code, found = run_json("search", written(nodes=NODES), *options)
    assert code == 2 and found["error"]["text"]


def test_odd_names_are_shown_without_what_a_terminal_would_obey(run, written):
    nodes = {'x"y': {}, "ü-1": {}, "c": {}}
    shown = run("search", written(nodes=nodes), "--resilience", 1).stdout
    assert all(line.isprintable() for line in shown.splitlines())
    assert '"ü-1"' in shown
