"""Five real processes of which one may lie, and nobody who operates them: one dies and returns, one lies."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from quorum.runtime.fresh_keys import FILE_NAME
from quorum.runtime.local import LocalCluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
PATIENCE_S = 90.0
"""Suspicions and returns have to last some seconds each."""


class Five:
    """The cluster, its commands, and what it tells."""

    def __init__(self, made: Path, run, run_json) -> None:
        self.made, self.run, self.run_json = made, run, run_json
        self.config = ("--config", made / "cluster.toml")
        self.cluster = LocalCluster(made / "cluster.toml")

    def seen(self) -> dict:
        return self.run_json("status", *self.config)[1]

    def until(self, reached: Callable[[dict], bool]) -> dict:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if reached(seen := self.seen()):
                return seen
            time.sleep(0.5)
        raise AssertionError(f"not reached: {self.seen()}")

    def put(self, value: int) -> None:
        assert self.run("kv", "put", *self.config, "a", value).exit_code == 0


def out_of(seen: dict) -> dict[str, str]:
    return {each["node"]: each["reason"] for each in seen["out"]}


def test_a_member_that_died_is_evicted_and_returns_and_one_that_lies_is_evicted(run, run_json, tmp_path):
    made = tmp_path / "five"
    assert run("init", "--folder", made, "--nodes", 5, "--model", "byzantine", "--allow-faults").exit_code == 0
    config = made / "cluster.toml"
    assert config.read_text().count('"10s"') == 2
    config.write_text(config.read_text().replace('"10s"', '"2s"'))
    started = run("up", "--folder", made)
    assert started.exit_code == 0
    assert "policy adaptive: who lies or is slow loses its vote, 1 at most (floor 3T+1 = 4)" in started.output
    five = Five(made, run, run_json)
    try:
        seen = five.seen()
        assert (seen["policy"], seen["n"], seen["quorum"], seen["floor"]) == ("adaptive", 5, 4, 4)
        five.put(1)
        assert five.cluster.signal("n3", signal.SIGKILL)
        seen = five.until(lambda seen: out_of(seen) == {"n3": "slow"})
        assert (seen["epoch"], seen["n"], seen["quorum"]) == (2, 4, 3)
        facts = run_json("explain", "n3", *five.config)[1]
        assert (facts["votes"], facts["reason"], facts["since_epoch"]) == (False, "slow", 2)
        assert "it returns once it runs and shows that it is well" in facts["text"]
        assert "nobody complains of it" in run("explain", "n1", *five.config).output
        assert run("explain", "n9", *five.config).exit_code == 2
        shown = run_json("policy", "show", *five.config)[1]
        assert (shown["policy"], shown["floor"], shown["quorum"]) == ("adaptive", 4, 3)
        assert [each["node"] for each in shown["out"]] == ["n3"]
        assert "floor 4 (3T+1)" in run("policy", "show", *five.config).output
        assert (
            "each member follows the policy of its own cluster.toml"
            in run("policy", "set", "fixed", *five.config).output
        )
        assert any("no adaptivity is left" in text for text in seen["warnings"])
        five.put(2)
        assert run("up", "--folder", made).exit_code == 0
        seen = five.until(lambda seen: seen["n"] == 5)
        assert out_of(seen) == {}
        assert (made / "n3" / "data" / FILE_NAME).exists()
        five.put(3)
        liar_is_evicted(five)
        approves_with_fresh_key(five)
    finally:
        run("down", "--folder", made)


def liar_is_evicted(five: Five) -> None:
    assert five.cluster.signal("n5", signal.SIGKILL)
    node = ("node", "--config", five.made / "n5" / "node.toml", "--allow-faults", "--lie", "vote-twice")
    liar = subprocess.Popen(
        [sys.executable, "-m", "quorum", *map(str, node)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        number = 10
        while out_of(five.seen()) != {"n5": "lied"} and number < 60:
            number += 1
            five.put(number)
        assert out_of(five.seen()) == {"n5": "lied"}
        text = five.run("status", *five.config).output
        proof = next((five.made / "n1" / "data" / "evidence").glob("n5-*.json"))
        judged = five.run("verify", proof, "--genesis", five.made / "genesis.json")
        assert (judged.exit_code, "evidence against n5" in judged.output) == (0, True), judged.output
        assert "n5 is out since epoch" in text and "it is proven to lie; only its operators bring it back" in text
    finally:
        liar.kill()
        liar.wait()


def approves_with_fresh_key(five: Five) -> None:
    """n3 votes with a key that is in no list; its operators need not know."""
    done = five.run("approve", "n1", "n2", "n3", "n4", *five.config)
    assert (done.exit_code, "the committee acts already" in done.output) == (0, True), done.output
