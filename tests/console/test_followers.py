"""Where members may lie, nodes without a vote enter cluster.toml and leave it; the first committee stays there."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from console.test_inquiry import status
from quorum.console import followers
from quorum.console.inquiry import Answers, Silence
from quorum.console.present import present_of
from quorum.runtime.config import load_cluster

FOUR = ("n1", "n2", "n3", "n4")


@pytest.fixture
def cluster(run, tmp_path) -> Path:
    """The cluster.toml of a first committee of five, of which nobody runs."""
    made = tmp_path / ".quorum"
    assert run("init", "--folder", made, "--nodes", 5, "--model", "byzantine").exit_code == 0
    return made / "cluster.toml"


def standing(nodes: tuple[str, ...], voters: tuple[str, ...] = FOUR, epoch: int = 2, faults: int = 1) -> Answers:
    """What nodes say that stand in this epoch."""
    name = f"{epoch} {voters} {faults}".encode().hex()
    return {
        node: replace(status(node), epoch=epoch, voters=voters, faults=faults, committee=name) for node in nodes
    }


def say(monkeypatch, answers: Answers) -> None:
    """Let the nodes answer so."""

    async def asked(place: object) -> Answers:
        return answers

    monkeypatch.setattr(followers, "ask_all", asked)


def test_a_node_of_the_first_committee_stays_in_the_file_though_it_has_no_vote_any_more(run, cluster, monkeypatch):
    say(monkeypatch, standing(("n1", "n2", "n3", "n4", "n5")))
    before = cluster.read_text()
    result = run("evict", "n5", "--config", cluster)
    assert result.exit_code == 2
    assert "n5 was to be taken out" in result.stderr and "first committee" in result.stderr
    assert "its process may be stopped" in result.stderr
    assert cluster.read_text() == before


def test_a_learner_leaves_the_file_once_it_has_no_vote(run, run_json, cluster, monkeypatch):
    assert run("admit", "n6", "--config", cluster, "--no-start").exit_code == 0
    say(monkeypatch, standing(FOUR, voters=(*FOUR, "n6")))
    result = run("evict", "n6", "--config", cluster)
    assert result.exit_code == 2 and "n6 was to be taken out" in result.stderr and "has a vote" in result.stderr
    say(monkeypatch, {node: Silence(node, "does not answer") for node in FOUR})
    result = run("evict", "n6", "--config", cluster)
    assert result.exit_code == 2 and "too few" in result.stderr
    say(monkeypatch, standing(FOUR))
    assert run_json("evict", "n6", "--config", cluster) == (0, {"changed": True, "evicted": ["n6"]})
    assert "n6" not in {member.id for member in load_cluster(cluster).members}
    unknown = run("evict", "n9", "--config", cluster)
    assert unknown.exit_code == 2 and "no such member" in unknown.stderr


def test_a_learner_that_is_there_is_admitted_once_and_then_nothing_has_to_change(run, run_json, cluster):
    first = run_json("admit", "n6", "--config", cluster, "--no-start")
    assert (first[0], first[1]["changed"]) == (0, True)
    before = cluster.read_text()
    assert run_json("admit", "n6", "--config", cluster, "--no-start") == (0, first[1] | {"changed": False})
    again = run("admit", "n6", "--config", cluster)
    assert again.exit_code == 0 and "nothing had to change: n6 is a learner" in again.stdout
    elsewhere = run("admit", "n6", "--address", "127.0.0.1:9", "--config", cluster)
    assert elsewhere.exit_code == 2 and "of that name is there" in elsewhere.stderr
    assert run("admit", "n1", "--config", cluster).exit_code == 2, "it votes: that is no learner's place"
    assert cluster.read_text() == before


def test_admit_suggests_the_members_that_act_now_and_no_departed_one(run, cluster, monkeypatch):
    say(monkeypatch, standing(("n1", "n2", "n3", "n4", "n5")))
    assert "quorum approve n1 n2 n3 n4 n6\n" in run("admit", "n6", "--config", cluster, "--no-start").stdout
    say(monkeypatch, {})
    assert "quorum approve n7, and with it" in run("admit", "n7", "--config", cluster, "--no-start").stdout


def test_the_committee_that_acts_is_what_more_than_may_lie_say(cluster):
    config = load_cluster(cluster)
    honest = standing(("n1", "n2", "n4"))
    present = present_of(honest | standing(("n3",), epoch=9), config)
    assert present is not None and (present.epoch, present.nodes, present.faults) == (2, FOUR, 1)
    assert present_of(standing(("n1",)) | standing(("n2",), epoch=3), config) is None
    assert present_of(standing(("n1",)) | standing(("n6", "n7"), epoch=9), config) is None, "n6 came later"
