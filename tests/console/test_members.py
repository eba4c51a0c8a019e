"""The member commands on a real cluster of five processes: mutual TLS, durable."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from quorum.certificate import decode_json
from quorum.runtime.config import load_cluster
from quorum.runtime.local import LocalCluster

pytestmark = pytest.mark.cluster


@pytest.fixture
def folder(five: Path) -> Path:
    """The folder of a running cluster of five."""
    return five


def members(run_json, *at: str) -> dict[str, str]:
    """The role of each member, by name."""
    code, found = run_json("members", *at)
    assert code == 0
    return {row["node"]: row["role"] for row in found["members"]}


def leader(run_json, *at: str) -> str:
    return run_json("members", *at)[1]["leader"]


def test_members_are_admitted_promoted_replaced_and_evicted_while_values_stay(run, run_json, folder):
    at = ("--config", str(folder / "cluster.toml"))
    assert run("policy", "set", "fixed", *at).exit_code == 0, "six shall stay six"
    assert run("kv", "put", "a", "1", *at).exit_code == 0
    assert run("admit", "n6", "--role", "learner", *at).exit_code == 0
    assert members(run_json, *at)["n6"] == "learner"
    assert run("promote", "n6", *at).exit_code == 0
    proof = folder / "proof.json"
    decided = run("decide", "colour", "green", "--certificate", proof, "--timeout", 5, *at)
    assert decided.exit_code == 0, decided.output
    assert len(decode_json(proof.read_bytes()).members) == 6, "those of the log, not of cluster.toml"
    assert members(run_json, *at)["n6"] == "voter"
    assert run("demote", "n6", *at).exit_code == 0
    assert run("admit", "w1", "--role", "witness", *at).exit_code == 0
    before = leader(run_json, *at)
    gone = run("evict", before, *at)
    assert gone.exit_code == 0, gone.output
    assert before not in members(run_json, *at)
    assert before not in LocalCluster(folder / "cluster.toml").nodes, "it is stopped, and struck out"
    other = leader(run_json, *at)
    assert other != before and run("kv", "get", "a", *at).stdout == "1\n"
    victim = next(node for node, role in members(run_json, *at).items() if role == "voter" and node != other)
    os.kill(LocalCluster(folder / "cluster.toml").running()[victim], signal.SIGKILL)
    replaced = run("admit", "n9", "--replace", victim, *at)
    assert replaced.exit_code == 0, replaced.output
    found = members(run_json, *at)
    assert found["n9"] == "voter" and victim not in found
    assert "w2 is a witness" in run("admit", "w2", "--replace", "w1", *at).output
    assert run("evict", "n6", "w2", *at).exit_code == 0
    assert run("kv", "put", "a", "2", *at).exit_code == 0
    assert sorted(m.id for m in load_cluster(folder / "cluster.toml").members) == sorted(members(run_json, *at))
    assert run("down", "--folder", folder).exit_code == 0
    assert run("up", "--folder", folder).exit_code == 0, "the members of the log start again from it"
    assert run("kv", "get", "a", *at).stdout == "2\n"


def test_leadership_moves_and_quorums_change(run, run_json, folder):
    at = ("--config", str(folder / "cluster.toml"))
    before = leader(run_json, *at)
    target = next(node for node in members(run_json, *at) if node != before)
    moved = run("transfer", target, *at)
    assert moved.exit_code == 0 and f"{target} (leader)" in moved.stdout
    names = ", ".join(members(run_json, *at))
    flexible = ("--reads", f"choose(4, {names})", "--writes", f"choose(2, {names})")
    assert run("quorums", *flexible, *at).exit_code == 0
    assert run_json("members", *at)[1]["writes"] == f"choose(2, {names})"
    unsafe = run("quorums", "--reads", "n1 + n2", "--writes", "n1 * n2", *at)
    assert unsafe.exit_code == 1 and "share no node" in unsafe.stderr and "Traceback" not in unsafe.stderr
    preferred = next(node for node in members(run_json, *at) if node != target)
    assert run("prefer", preferred, "5", *at).exit_code == 0
    for _ in range(60):
        if leader(run_json, *at) == preferred:
            break
    assert run("kv", "put", "a", "1", *at).exit_code == 0


def test_what_is_so_already_is_done_and_said_to_have_changed_nothing(run, run_json, folder):
    at = ("--config", str(folder / "cluster.toml"))
    for command in (
        ("policy", "set", "fixed"),
        ("prefer", "n1", "0"),
        ("weigh", "n2=3", "--faults", "1"),
        ("demote", "n5"),
        ("quorums", "--reads", "majority(n1, n2, n3, n4)", "--writes", "majority(n1, n2, n3, n4)"),
        ("transfer", next(node for node in ("n2", "n3") if node != leader(run_json, *at))),
    ):
        code, first = run_json(*command, *at)
        assert (code, first.get("changed")) == (0, True), (command, first)
        code, again = run_json(*command, *at)
        assert (code, again["changed"], again["epoch"]) == (0, False, first["epoch"]), command
        text = run(*command, *at)
        assert text.exit_code == 0 and "nothing had to change: " in text.stdout and text.stderr == "", command
        code, dry = run_json(*command, "--dry-run", *at)
        assert (code, dry["changed"]) == (0, False), command
    for command in (("promote", "n4"), ("admit", "n4"), ("admit", "n5", "--role", "learner")):
        assert run_json(*command, *at)[1]["changed"] is False, command
        assert "already" in run(*command, *at).stdout


def test_what_cannot_be_is_refused_and_nothing_changes(run, run_json, folder):
    at = ("--config", str(folder / "cluster.toml"))
    before = members(run_json, *at)
    text = (folder / "cluster.toml").read_text()
    for arguments, said in (
        (("evict", "n9"), "is no member"),
        (("evict", *before), "every voter was to be evicted"),
        (("admit", "n1", "--role", "learner"), "is a voter already"),
        (("admit", "n1", "--address", "127.0.0.1:9"), "is a voter already"),
        (("admit", "Not-A-Name"), "file and certificate names"),
        (("admit", "n7", "--replace", "n8"), "no such member"),
        (("admit", "n7", "--replace", "n1", "--role", "voter"), "--role and --replace were given"),
        (("prefer", "n1", "-5"), "priorities run from 0"),
        (("transfer", "n9"), "only a voter"),
    ):
        options = ("--", *arguments[1:]) if "-5" in arguments else arguments[1:]
        result = run(arguments[0], *at, *options)
        assert result.exit_code in (1, 2) and said in result.stderr, result.output
        assert "Traceback" not in result.stderr
    assert members(run_json, *at) == before and (folder / "cluster.toml").read_text() == text
