"""What a cluster needs to decide, and that whoever waits for it is told: who answers, who does not, how many."""

from __future__ import annotations

import asyncio

import pytest

from console.test_inquiry import status
from quorum.console import local
from quorum.console.inquiry import Silence, leader_of, no_quorum, waiting_line
from quorum.console.local import wait_until_ready
from quorum.console.need import links_text, missing_links, needed_text, orderer
from quorum.console.waiting import waiting
from quorum.errors import ConfigurationError, NoQuorum
from quorum.runtime import committee_dialler
from quorum.runtime.connect import at_config
from quorum.runtime.local import LocalCluster
from quorum.runtime.setup import init_cluster

FOUR = ("n1", "n2", "n3", "n4")
OF_FOUR = "choose(3, n1, n2, n3, n4)"
REFUSED = "connection refused"


def member(node: str, *connected: str, **changed):
    """A member of a committee of four that may lie, with links to `connected`."""
    of_four = {"members": FOUR, "voters": FOUR, "reads": OF_FOUR, "writes": OF_FOUR}
    told = {"model": "byzantine", "role": "backup", "faults": 1, "connected": connected}
    return status(node, **(of_four | told | changed))


TWO = {
    "n1": member("n1", "n2", role="primary"),
    "n2": member("n2", "n1"),
    "n3": Silence("n3", REFUSED),
    "n4": Silence("n4", "does not answer"),
}


@pytest.mark.parametrize(
    ("reads", "writes", "says"),
    [
        (OF_FOUR, OF_FOUR, "3 are needed"),
        ("n1", "n1", "1 is needed"),
        ("choose(3, n1, n2, n3, n4)", "choose(2, n1, n2, n3, n4)", "3 are needed"),
        ("n1 * (n2 + n3)", "n1 * (n2 + n3)", "needed are n1 * (n2 + n3)"),
        ("threshold(3, n1=2, n2=1, n3=1)",) * 2 + ("needed are threshold(3, n1=2, n2=1, n3=1)",),
        ("no expression (", "", ""),
    ],
)
def test_how_many_are_needed_is_said_by_the_quorums_in_force(reads, writes, says):
    assert needed_text({"n1": member("n1", reads=reads, writes=writes)}) == says


def test_what_one_liar_says_of_the_quorums_is_not_believed():
    answers = {"n1": member("n1", reads="n1", writes="n1"), "n2": member("n2"), "n3": member("n3")}
    assert needed_text(answers) == "3 are needed"


@pytest.mark.parametrize(("model", "nodes", "needed"), [("crash", 5, "3 are needed"), ("byzantine", 4, "3 are")])
def test_where_nobody_answers_the_file_says_how_many_are_needed(model, nodes, needed, tmp_path):
    place = at_config(init_cluster(tmp_path / "c", nodes=nodes, model=model).cluster)
    answers = {node: Silence(node, REFUSED) for node in place.endpoints}
    assert needed_text(answers, place).startswith(needed)
    assert orderer(answers, place) == ("primary" if model == "byzantine" else "leader")
    said = str(no_quorum(answers, place))
    assert f"0 of {nodes} nodes answer, {needed}" in said
    assert waiting_line(answers, place).endswith("are needed")


def test_a_message_of_two_that_answer_says_that_three_are_needed():
    error = no_quorum(TWO)
    assert "2 of 4 nodes answer, 3 are needed, missing: n3 (connection refused); n4 (does not answer)" in str(
        error
    )
    assert waiting_line(TWO).startswith("waiting for a primary: of 4 nodes answer n1, n2, missing n3")


def test_links_that_are_missing_are_named():
    answers = {"n1": member("n1", "n2"), "n2": member("n2", "n1"), "n3": member("n3")}
    assert missing_links(answers, ("n1", "n2", "n3")) == {"n1": ("n3",), "n2": ("n3",), "n3": ("n1", "n2")}
    assert links_text(answers) == "n1 has no link to n3; n2 has no link to n3; n3 has no link to n1, n2"
    error = str(no_quorum(answers))
    assert "n3 has no link to n1, n2" in error and "addresses in cluster.toml" in error
    assert missing_links(TWO, ("n1", "n2")) == {} and links_text({"n1": member("n1"), **{"n2": TWO["n3"]}}) == ""


def test_a_primary_without_links_to_a_quorum_does_not_lead():
    """PBFT: the first primary calls itself so before it has heard of anybody."""
    assert leader_of(TWO) is None
    answers = TWO | {"n1": member("n1", "n2", "n3", role="primary")}
    leader = leader_of(answers)
    assert leader is not None and leader.node == "n1"
    cut = TWO | {"n1": member("n1", "n2", "n3", role="primary", blocked=("n3",))}
    assert leader_of(cut) is None
    garbled = TWO | {"n1": member("n1", "n2", "n3", role="primary", writes="(")}
    assert leader_of(garbled) is None


def test_a_primary_that_nobody_else_names_is_not_believed_whatever_it_says(tmp_path):
    place = at_config(init_cluster(tmp_path / "c", nodes=7, model="byzantine").cluster)
    lie = {"voters": ("n1",), "members": ("n1",), "faults": 0, "reads": "n1", "writes": "n1", "epoch": 9}
    answers = {node: Silence(node, REFUSED) for node in place.endpoints}
    for claims in ({}, lie):
        alone = answers | {"n1": member("n1", *list(answers)[1:], role="primary", **claims)}
        assert leader_of(alone, place) is None, claims
        assert "1 of 7 nodes answer, 5 are needed" in str(no_quorum(alone, place))
    honest = {node: member(node, leader="n2", epoch=1) for node in ("n2", "n3", "n4")}
    honest["n2"] = member("n2", *FOUR, role="primary", leader="n2")
    leader = leader_of(answers | {"n1": alone["n1"]} | honest, place)
    assert leader is not None and leader.node == "n2"


def test_what_is_waited_for_is_said_again_and_again_on_stderr(capsys):
    with waiting("starting", quiet=True, again_s=0.0) as show:
        show("waiting for n1")
        show("waiting for n2")
    told = capsys.readouterr()
    assert told.out == "" and told.err == "after 0 s waiting for n1\nafter 0 s waiting for n2\n"
    with waiting("starting", quiet=True, again_s=60.0) as show:
        show("waiting for n1")
    assert capsys.readouterr().err == "", "who waits for a moment only is told nothing"


def up_of(monkeypatch, tmp_path, answers, timeout=0.3):
    """What `quorum up` is shown, and how it ends, where the nodes go on giving these answers."""
    cluster = LocalCluster(init_cluster(tmp_path / "c", nodes=4, model="byzantine").cluster)
    monkeypatch.setattr(cluster, "running", lambda: dict.fromkeys(answers, 1))

    async def ask_all(place, timeout):
        return answers

    monkeypatch.setattr(local, "ask_all", ask_all)
    told: list[str] = []
    return told, lambda: asyncio.run(wait_until_ready(cluster, (), timeout, told.append))


def test_up_says_who_answers_who_does_not_and_how_many_are_needed(monkeypatch, tmp_path):
    told, wait = up_of(monkeypatch, tmp_path, TWO)
    with pytest.raises(NoQuorum, match="2 of 4 nodes answer, 3 are needed"):
        wait()
    assert len(told) >= 2 and len(set(told)) == 1
    assert told[0].endswith("answer n1, n2, missing n3 (connection refused), n4 (does not answer); 3 are needed")


def test_up_names_the_link_that_is_missing(monkeypatch, tmp_path):
    answers = {
        "n1": member("n1", "n2", "n3", "n4", role="primary"),
        "n2": member("n2", "n1", "n3", "n4"),
        "n3": member("n3", "n1", "n2"),
        "n4": member("n4", "n1", "n2"),
    }
    told, wait = up_of(monkeypatch, tmp_path, answers)
    _, late = wait()
    assert late == {"n3": "has no link to n4 yet", "n4": "has no link to n3 yet"}
    assert told[0] == (
        "waiting until all 4 that run are ready: n3 has no link to n4 yet; n4 has no link to n3 yet "
        "(n1 is the primary, and 3 are needed to decide)"
    )


@pytest.mark.parametrize(
    ("given", "asked", "has"),
    [
        (("--model", "crash"), "model crash", "model byzantine"),
        (("--nodes", "7"), "7 nodes", "has 4"),
        (("--insecure",), "without TLS", "has TLS"),
    ],
)
def test_up_refuses_to_describe_another_cluster_than_the_folder_holds(
    given, asked, has, run, tmp_path, monkeypatch
):
    init_cluster(tmp_path / "c", nodes=4, model="byzantine")
    monkeypatch.setattr(LocalCluster, "start_all", lambda *_: pytest.fail("nothing may be started"))
    refused = run("up", "--folder", tmp_path / "c", *given)
    assert refused.exit_code == 2
    assert asked in refused.stderr and has in refused.stderr and "another --folder" in refused.stderr


def test_a_committee_that_cannot_be_reached_says_how_many_must_answer_and_how_many_do(monkeypatch, tmp_path):
    monkeypatch.setattr(committee_dialler, "FIRST_S", 0.2)
    place = at_config(init_cluster(tmp_path / "c", nodes=4, model="byzantine").cluster)
    dialler = committee_dialler.CommitteeDialler(place.committee(), place.endpoints, place._signer, None)

    async def call():
        try:
            await dialler.open(committee_dialler.EVERYBODY, lambda _: None, lambda: None)
        finally:
            await dialler.aclose()

    with pytest.raises(ConfigurationError, match="2 of 4 members must answer, but 0 do"):
        asyncio.run(call())
