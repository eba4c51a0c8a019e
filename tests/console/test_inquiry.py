"""What the answers of all nodes say together, and what is said where nobody answers."""

from __future__ import annotations

import asyncio
from itertools import combinations

import msgspec
import pytest

from quorum.console import inquiry
from quorum.console.inquiry import (
    Silence,
    ask_all,
    discreet,
    leader_of,
    no_quorum,
    refuse_discretion,
    silent,
    waiting_line,
)
from quorum.console.local import not_ready
from quorum.console.status import overview_of
from quorum.errors import NoQuorum, NotLeader, Overloaded, RequestRefused
from quorum.model import Configuration
from quorum.runtime import keyring
from quorum.runtime.place import Place
from quorum.runtime.setup import init_cluster
from quorum.runtime.status import NodeStatus
from quorum.systems.build import build
from runtime.test_node import Cluster

ELECTION_US = 1_000_000


def status(node: str, **changed) -> NodeStatus:
    base = NodeStatus(
        node=node,
        cluster="c",
        role="follower",
        term=3,
        leader="n1",
        epoch=1,
        members=("n1", "n2", "n3"),
        voters=("n1", "n2", "n3"),
        learners=(),
        witnesses=(),
        outgoing=(),
        priorities={},
        weights={},
        reads="majority(n1, n2, n3)",
        writes="majority(n1, n2, n3)",
        addresses={},
        catching_up=(),
        connected=(),
        commit_index=10,
        applied_index=10,
        state_digest="00",
        last_index=10,
        snapshot_index=0,
        matched={},
        diverged=(),
        sessions=0,
        clients=0,
        may_vote=True,
        blocked=(),
        sync_p50_us=300,
        sync_p99_us=900,
        model="crash",
        policy="fixed",
        pid=1,
        memory_bytes=1,
        cpu_us=1,
    )
    return msgspec.structs.replace(base, **changed)


def cluster(**answers):
    calm = {"n1": status("n1", role="leader"), "n2": status("n2"), "n3": status("n3")}
    return calm | answers


def test_a_calm_cluster_is_healthy_and_says_nothing():
    overview = overview_of(cluster(), ELECTION_US)
    assert (overview.healthy, overview.leader, overview.warnings) == (True, "n1", [])


def test_who_waits_for_a_leader_is_told_which_nodes_answer_and_how_many_are_needed():
    linked = {"n1": status("n1", connected=("n3",)), "n3": status("n3", connected=("n1",))}
    line = waiting_line({"n1": linked["n1"], "n2": Silence("n2", "connection refused"), "n3": linked["n3"]})
    assert line == "waiting for a leader: of 3 nodes answer n1, n3, missing n2 (connection refused); 2 are needed"


LINKED = {
    "n1": status("n1", role="leader", connected=("n2", "n3")),
    "n2": status("n2", connected=("n1", "n3")),
    "n3": status("n3", connected=("n1", "n2")),
}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Silence("n3", "connection refused"), "does not answer yet"),
        (status("n3", connected=("n1",)), "has no link to n2 yet"),
        (status("n3", connected=("n1", "n2"), applied_index=4), "has applied 4 of 10 entries"),
        (status("n3", connected=("n1", "n2"), may_vote=False), "waits for a leader to confirm its log"),
    ],
)
def test_a_node_is_ready_when_it_is_linked_to_all_that_run_and_has_caught_up(answer, why):
    assert not_ready(LINKED, ("n1", "n2", "n3"), goal=10) == {}
    assert not_ready(LINKED | {"n3": answer}, ("n1", "n2", "n3"), goal=10) == {"n3": why}
    assert not_ready(LINKED | {"n3": answer}, ("n1", "n2"), goal=10) == {}, "one that is down is not waited for"


def test_of_two_that_claim_to_lead_the_higher_term_is_believed():
    """Raft: a deposed leader learns of its successor only when they meet."""
    answers = cluster(n2=status("n2", role="leader", term=4))
    leader = leader_of(answers)
    assert leader is not None and leader.node == "n2"


@pytest.mark.parametrize(
    ("changed", "says", "healthy"),
    [
        ({"n3": Silence("n3", "connection refused")}, "n3 is unreachable: connection refused", True),
        ({"n2": status("n2", diverged=("n3",))}, "n3 has diverged", False),
        ({"n1": status("n1")}, "no leader answers", False),
        ({"n2": status("n2", sync_p99_us=100_001)}, "n2 syncs its disk in 100.0 ms", True),
        ({"n2": status("n2", may_vote=False)}, "n2 may not vote", True),
        ({"n2": status("n2", no_space=True)}, "n2 has no space left on its disk", True),
        ({"n2": status("n2", blocked=("n1",))}, "n2 has its links to n1 cut", True),
    ],
)
def test_what_is_wrong_is_named(changed, says, healthy):
    overview = overview_of(cluster(**changed), ELECTION_US)
    assert any(text.startswith(says) for text in overview.warnings), overview.warnings
    assert overview.healthy is healthy


def test_a_sync_of_exactly_a_tenth_of_the_election_timeout_is_no_warning():
    assert overview_of(cluster(n2=status("n2", sync_p99_us=100_000)), ELECTION_US).warnings == []


def test_lag_is_counted_from_the_highest_commit():
    overview = overview_of(cluster(n3=status("n3", applied_index=4)), ELECTION_US)
    assert overview.nodes["n3"]["lag"] == 6


def test_no_quorum_names_who_is_missing_and_why():
    error = no_quorum({"n1": status("n1"), "n2": Silence("n2", "connection refused")})
    assert error.missing == ("n2",)
    assert "n2 (connection refused)" in str(error)


@pytest.mark.parametrize(
    "configuration",
    [
        Configuration(7, ("a", "b", "c"), ("d",), ("w",)),
        Configuration(7, ("a", "b", "c"), weights=(("a", 3),)),
        Configuration(7, ("a", "b", "c", "d"), reads="choose(3, a, b, c, d)", writes="choose(2, a, b, c, d)"),
        Configuration(8, ("a", "b", "x"), (), ("w",), outgoing=Configuration(7, ("a", "b", "c"), (), ("w",))),
    ],
)
def test_the_configuration_in_a_status_decides_as_the_one_of_the_node(configuration):
    system = build(configuration)
    told = status(
        "a",
        epoch=configuration.epoch,
        members=configuration.members,
        voters=configuration.voters,
        learners=configuration.learners,
        witnesses=configuration.witnesses,
        outgoing=() if configuration.outgoing is None else configuration.outgoing.electors,
        reads=str(system.reads),
        writes=str(system.writes),
    ).configuration()
    assert (told.epoch, told.electors) == (configuration.epoch, configuration.electors)
    for size in range(len(told.electors) + 1):
        for nodes in map(frozenset, combinations(told.electors, size)):
            assert build(told).is_write_quorum(nodes) == system.is_write_quorum(nodes)
            assert build(told).is_read_quorum(nodes) == system.is_read_quorum(nodes)


# --- a client that may not ask how the nodes are ---

REFUSAL = Silence("n1", "client.app asked to operate n1, but its role is data. Use an admin certificate.", True)


def test_who_may_not_ask_how_the_nodes_are_is_not_told_that_they_do_not_answer():
    answers = {"n1": REFUSAL, "n2": Silence("n2", "connection refused"), "n3": status("n3")}
    assert waiting_line(answers) == (
        "waiting for an answer: of 3 nodes run n1, n3, which tell only an admin whether one leads, "
        "missing n2 (connection refused); 2 are needed"
    )
    error = no_quorum(answers)
    assert error.missing == ("n2",)
    assert "2 of 3 nodes answer, which tell only an admin" in str(error) and "Start the missing" in str(error)
    error = no_quorum({"n1": REFUSAL})
    assert error.missing == () and "let an admin look at `quorum status`" in str(error)
    overview = overview_of(answers, ELECTION_US)
    assert overview.nodes["n1"]["reachable"] and not overview.healthy
    assert overview.warnings[:2] == [
        "n2 is unreachable: connection refused",
        f"n1 runs, and does not tell: {REFUSAL.reason}",
    ]


def test_who_is_told_nothing_by_any_node_that_runs_is_refused_at_once():
    with pytest.raises(RequestRefused, match="Use an admin certificate"):
        refuse_discretion({"n1": REFUSAL, "n2": Silence("n2", "connection refused")})
    refuse_discretion({"n1": REFUSAL, "n2": status("n2")})
    refuse_discretion({"n2": Silence("n2", "connection refused")})


@pytest.mark.cluster
def test_a_data_client_of_a_cluster_without_a_leader_hears_which_nodes_run(tmp_path, monkeypatch):
    """The two that are down are missing, the one that runs is not; and what an admin hears is unchanged."""
    layout = init_cluster(tmp_path / "c", nodes=3)
    keyring.issue(layout.keys, "app", kind="client", role="data")

    async def main() -> None:
        cluster = Cluster(layout, insecure=False)
        await cluster.start("n1", bootstrap=True)
        said: list[str] = []
        monkeypatch.setattr(inquiry, "NOTICE_S", 0.05)
        monkeypatch.setattr(inquiry.click, "echo", lambda text, err: said.append(text))
        try:
            for role, told in (("app", "of 3 nodes run n1, which tell only"), ("admin", "of 3 nodes answer n1,")):
                tls = keyring.load_tls(layout.keys, f"client.{role}")
                place = Place(cluster.endpoints, layout.config.cluster_id, tls)
                answers = await ask_all(place)
                assert [one.node for one in silent(answers)] == ["n2", "n3"]
                assert [one.node for one in discreet(answers)] == (["n1"] if role == "app" else [])
                with pytest.raises(NoQuorum, match="1 of 3 nodes answer"):
                    await inquiry._act(place, 3.0, lambda client: client.kv.put(b"k", b"v"))
                assert told in said[-1]
        finally:
            await cluster.stop_all()

    asyncio.run(main())


@pytest.mark.parametrize(("error", "is_kept"), [(Overloaded("too much waits"), True), (NotLeader(), False)])
def test_a_data_client_is_not_told_that_nobody_leads_where_nobody_knows(error, is_kept, tmp_path, monkeypatch):
    async def ask(place: Place) -> inquiry.Answers:
        return {"n1": REFUSAL}

    async def fail(client) -> None:
        raise error

    monkeypatch.setattr(inquiry, "ask_all", ask)
    place = Place({"n1": "127.0.0.1:1"}, "c", None)
    with pytest.raises(Overloaded if is_kept else NoQuorum):
        asyncio.run(inquiry._act(place, 1.0, fail))


# --- a cluster that is not running ---------------------------------------------------------------------


@pytest.fixture
def stopped(here):
    return init_cluster(here / ".quorum", nodes=3).cluster


def test_status_of_a_stopped_cluster_names_every_node_and_exits_1(stopped, run, run_json):
    code, overview = run_json("status")
    assert code == 1 and overview["leader"] is None
    assert [node["reachable"] for node in overview["nodes"].values()] == [False] * 3
    text = run("status")
    assert text.exit_code == 1 and "n2" in text.stdout and "no leader answers" in text.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("kv", "get", "a"),
        ("kv", "get", "a", "--stale"),
        ("kv", "put", "a", "b"),
        ("kv", "delete", "a"),
        ("kv", "cas", "a", "b", "c"),
        ("kv", "range"),
        ("decide", "topic"),
        ("decide", "topic", "value"),
    ],
)
def test_a_request_to_a_stopped_cluster_is_answered_no_naming_the_nodes(arguments, stopped, run, run_json):
    code, answer = run_json(*arguments, "--timeout", 0.05)
    assert code == 1 and answer["error"]["kind"] == "NoQuorum"
    assert "n1 (" in answer["error"]["text"] and "quorum up" in answer["error"]["text"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("kv", "get", "a"),
        ("kv", "range"),
        ("decide", "topic"),
        ("down",),
        ("node", "--config", "n.toml"),
    ],
)
def test_without_a_cluster_a_command_says_how_to_get_one(arguments, run, here):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ") and "Traceback" not in result.output


def test_a_watch_that_no_node_takes_says_so_before_it_gives_up(stopped, run, monkeypatch):
    monkeypatch.setattr(inquiry, "NOTICE_S", 0.05)
    result = run("kv", "watch", "a", "--timeout", 1.5)
    assert result.exit_code == 1
    waiting, *_, last = result.stderr.splitlines()
    assert waiting.startswith("waiting for a leader: of 3 nodes answer none, missing n1 (connection refused)")
    assert waiting.endswith("giving up 1.5 s after the request") and last.startswith(
        "Error: a quorum was asked for"
    )


def test_watch_and_json_do_not_go_together(stopped, run):
    assert run("status", "--watch", "--json").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("get", "xyz", "--hex"), "not hexadecimal"),
        (("put", "00", "0", "--hex"), "not hexadecimal"),
        (("cas", "a", "b"), "1 values were given"),
        (("cas", "a", "b", "c", "d"), "3 values were given"),
        (("cas", "a", "b", "--absent", "--delete"), "1 values were given"),
        (("cas", "a", "-", "-"), "both values are '-'"),
        (("range", "a", "--prefix", "b"), "Use one of them"),
        (("range", "--limit", "-1"), "-1"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_before_it_is_sent(arguments, says, stopped, run):
    result = run("kv", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
