"""The commands on a real cluster of three processes: mutual TLS, durable, started once for all of these tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import quorum
from quorum.certificate import decode_json, verify
from quorum.errors import NotLeader
from quorum.runtime.config import load_cluster
from quorum.runtime.local import LocalCluster
from quorum.systems.build import build

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> Iterator[Path]:
    """The folder of a running cluster."""
    made = tmp_path_factory.mktemp("cluster") / ".quorum"
    result = run("up", "--folder", made, "--nodes", 3)
    assert result.exit_code == 0, result.output
    yield made
    run("down", "--folder", made)
    assert LocalCluster(made / "cluster.toml").running() == {}


@pytest.fixture
def at(folder) -> tuple[str, str]:
    return ("--config", str(folder / "cluster.toml"))


def test_status_shows_every_node_and_one_leader(run, run_json, at):
    code, overview = run_json("status", *at)
    assert code == 0 and overview["healthy"]
    assert sorted(overview["nodes"]) == ["n1", "n2", "n3"]
    assert [node["role"] for node in overview["nodes"].values()].count("leader") == 1
    text = run("status", *at).stdout
    assert "leader" in text and "sync ms" in text


def test_a_value_is_put_swapped_listed_and_deleted(run, run_json, at):
    assert run("kv", "put", "list/a", "one", *at).stdout.startswith("revision ")
    assert run("kv", "get", "list/a", *at).stdout == "one\n"
    assert run("kv", "cas", "list/a", "one", "two", *at).exit_code == 0
    refused = run("kv", "cas", "list/a", "one", "three", *at)
    assert refused.exit_code == 1 and "not swapped" in refused.stderr
    assert run("kv", "cas", "list/b", "new", "--absent", *at).exit_code == 0
    assert run("kv", "range", "--prefix", "list/", *at).stdout == "list/a\ttwo\nlist/b\tnew\n"
    assert run_json("kv", "range", "list/b", *at)[1]["items"][0]["value"] == "new"
    assert run("kv", "cas", "list/b", "new", "--delete", *at).exit_code == 0
    assert run("kv", "delete", "list/a", *at).exit_code == 0
    assert run("kv", "delete", "list/a", *at).exit_code == 1
    gone = run("kv", "get", "list/a", *at)
    assert gone.exit_code == 1 and gone.stdout == "" and "absent" in gone.stderr
    assert run_json("kv", "get", "list/a", *at) == (1, {"key": "list/a", "value": None})


def test_values_are_bytes_and_may_come_from_standard_input(run, run_json, at):
    data = bytes(range(256))
    assert run("kv", "put", "raw", "-", *at, stdin=data).exit_code == 0
    assert run("kv", "get", "raw", *at).stdout_bytes == data + b"\n"
    code, item = run_json("kv", "get", "726177", "--hex", *at)
    assert code == 0 and (item["encoding"], item["value"]) == ("hex", data.hex())
    assert run_json("kv", "get", "raw", *at)[1]["encoding"] == "hex", "what is no UTF-8 is never shown as text"


def test_a_stale_read_is_answered_by_the_node_at_hand(run, at):
    run("kv", "put", "stale", "value", *at)
    assert run("kv", "get", "absent", "--stale", *at).exit_code == 1


def test_what_the_store_refuses_is_asked_wrongly(run, at):
    result = run("kv", "put", "", "value", *at)
    assert result.exit_code == 2 and "keys have 1 to" in result.stderr


def test_a_decision_stays_and_its_certificate_verifies_offline(run, run_json, at, tmp_path, folder):
    written = tmp_path / "colour.json"
    code, decision = run_json("decide", "colour", "green", "--certificate", written, *at)
    assert code == 0 and decision["value"] == "green" and decision["first"]
    configuration = load_cluster(folder / "cluster.toml").configuration()
    certificate = decode_json(written.read_bytes())
    verdict = verify(certificate, build(configuration), configuration=configuration, value=b"green")
    assert verdict.valid and certificate.tally >= 2 and certificate.model == "crash"
    other = run("decide", "colour", "red", *at)
    assert other.exit_code == 1 and other.stdout == "green\n" and "decided earlier" in other.stderr
    assert run("decide", "colour", "green", *at).exit_code == 0
    assert run("decide", "colour", *at).stdout == "green\n"
    assert run_json("decide", "nothing", *at) == (1, {"topic": "nothing", "decided": False, "value": None})


def test_a_certificate_that_cannot_be_written_is_an_error_and_the_decision_stands(run, at, tmp_path):
    result = run("decide", "shape", "round", "--certificate", tmp_path / "no" / "file", *at)
    assert result.exit_code == 2 and "The decision stands" in " ".join(result.stderr.split())
    assert run("decide", "shape", *at).stdout == "round\n"


def test_up_on_a_running_cluster_starts_nothing_and_says_so(run, run_json, folder):
    assert run_json("up", "--folder", folder)[1]["started"] == []
    assert "is running already" in run("up", "--folder", folder).stdout
    wrong = run("up", "--folder", folder, "--nodes", 5)
    assert wrong.exit_code == 2 and "has 3" in wrong.stderr


def test_a_killed_node_is_named_and_up_starts_it_again(run, run_json, folder, at):
    cluster = LocalCluster(folder / "cluster.toml")
    pid = cluster.pid("n2")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    code, overview = run_json("status", *at)
    assert overview["nodes"]["n2"]["reachable"] is False
    assert any(text.startswith("n2 is unreachable") for text in overview["warnings"])
    for number in range(20):
        assert run("kv", "put", "missed", number, *at).exit_code == 0
    told = run_json("up", "--folder", folder)[1]
    assert told["started"] == ["n2"] and told["not_ready"] == {}
    code, overview = run_json("status", *at)
    assert code == 0 and overview["nodes"]["n2"]["reachable"]
    assert overview["warnings"] == [], "n2 is linked and has caught up"


def test_a_command_without_a_quorum_says_soon_what_it_waits_for(run, run_json, folder, at):
    cluster = LocalCluster(folder / "cluster.toml")
    for node in ("n1", "n2"):
        cluster.signal(node, signal.SIGKILL)
    try:
        asked = run("kv", "get", "a", "--timeout", 4, *at)
        assert asked.exit_code == 1
        waiting, error = asked.stderr.splitlines()
        assert waiting.startswith(
            "waiting for a leader: of 3 nodes answer n3, missing n1 (connection refused), n2"
        )
        assert error.startswith("Error: a quorum was asked for")
        code, told = run_json("kv", "get", "a", "--timeout", 4, *at)
        assert code == 1 and told["error"]["kind"] == "NoQuorum"
    finally:
        assert run("up", "--folder", folder).exit_code == 0


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n", (2**31).to_bytes(4, "little") * 4])
def test_garbage_on_a_port_changes_nothing(garbage, run, run_json, folder, at):
    for member in load_cluster(folder / "cluster.toml").members:
        with socket.create_connection(member.advertise) as stranger:
            stranger.sendall(garbage)
    assert run("kv", "put", "after", "garbage", *at).exit_code == 0
    assert run_json("status", *at)[1]["healthy"]


def test_python_reaches_the_cluster_by_url_and_by_configuration(folder):
    config = load_cluster(folder / "cluster.toml")
    url = "quorum://" + ",".join(str(member.advertise) for member in config.members)

    async def main() -> None:
        async with quorum.connect(url, tls=folder / "keys") as client:
            await asyncio.gather(*(client.kv.put(b"url/%d" % i, b"v") for i in range(50)))
            assert len((await client.kv.range(b"url/", b"url0")).items) == 50
            assert (await client.decide("by url", b"yes")).value == b"yes"

    asyncio.run(main())
    with quorum.connect(config=folder / "cluster.toml").sync as sync:
        assert sync.kv.get(b"url/7").value == b"v"
        assert sync.kv.compare_and_swap(b"url/7", b"v", None).succeeded
        assert sync.kv.get(b"url/7") is None
        assert sync.kv.delete(b"url/8").count == 1
        assert sync.decision("by url").value == b"yes"


def test_a_client_without_keys_is_told_to_give_them(folder):
    first = load_cluster(folder / "cluster.toml").members[0].advertise
    with (
        quorum.connect(f"quorum://{first}", timeout=0.5).sync as client,
        pytest.raises(NotLeader, match="tls=FOLDER"),
    ):
        client.kv.get(b"a")


def test_a_table_for_a_program_has_every_address_whole(run, folder, at):
    printed = run("members", *at).stdout
    for member in load_cluster(folder / "cluster.toml").members:
        assert f" {member.advertise} " in printed


def test_a_node_that_runs_is_not_started_twice(run, folder):
    result = run("node", "--config", folder / "n1" / "node.toml")
    assert result.exit_code == 2 and "Error: " in result.stderr


def test_down_and_up_again_keep_the_data(run, run_json, folder, at):
    assert run("kv", "put", "kept", "yes", *at).exit_code == 0
    assert run("decide", "kept", "for good", *at).exit_code == 0
    code, ended = run_json("down", "--folder", folder)
    assert code == 0 and ended["nodes"] == dict.fromkeys(("n1", "n2", "n3"), "stopped")
    assert run("down", "--folder", folder).exit_code == 0
    refused = run("node", "--config", folder / "n1" / "node.toml", "--bootstrap")
    assert refused.exit_code == 2 and "already run" in refused.stderr
    assert run("up", "--folder", folder).exit_code == 0
    assert run("kv", "get", "kept", *at).stdout == "yes\n"
    assert run("decide", "kept", *at).stdout == "for good\n"
    assert json.loads(run("status", "--json", *at).stdout)["healthy"]


def test_up_says_which_node_could_not_start_and_why_and_the_others_serve(run, run_json, tmp_path):
    made = tmp_path / "c"
    addresses = run_json("init", "--folder", made, "--nodes", 3)[1]["addresses"]
    host, _, port = addresses["n2"].partition(":")
    try:
        with socket.socket() as taken:
            taken.bind((host, int(port)))
            taken.listen()
            code, told = run_json("up", "--folder", made)
        assert code == 1 and list(told["failed"]) == ["n2"]
        assert "address already in use" in told["failed"]["n2"]
        assert run("kv", "put", "a", "b", "--config", made / "cluster.toml").exit_code == 0
        code, told = run_json("up", "--folder", made)
        assert code == 0 and told["started"] == ["n2"] and told["failed"] == {}
    finally:
        run("down", "--folder", made)
