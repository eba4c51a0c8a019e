"""What people write who know other programs, or confuse two things, and what they are told to write instead."""

from __future__ import annotations

import asyncio

import pytest

import quorum
from quorum import ReplicatedCounter
from quorum.apps.replicated_schema import NotReplicable
from quorum.console import status
from quorum.errors import ConfigurationError, LeaseLost, LockLost, NotLeader
from quorum.runtime.keyring import create_authority, issue


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("get", "greeting"), "No such command 'get'. Write `quorum kv get`."),
        (("stop",), "Write `quorum down`."),
        (("kv", "scan"), "Write `quorum kv range --page 1000`."),
        (("kv", "put", "n", "-5"), "Before a value that begins with -, write --, as in: -- -5"),
        (("kv", "put", "n", "x", "--lease", "abc"), "'abc' is not a whole number."),
        (("init", "--nodes", "3", "--names", "a,b"), "3 nodes were asked for by --nodes and 2 by --names"),
        (("backup", "nowhere/friday.backup"), "but there is no folder nowhere. Make it"),
    ],
)
def test_what_other_programs_call_otherwise_is_answered_with_what_to_write(arguments, says, run, here):
    result = run(*arguments)
    assert result.exit_code == 2 and says in result.stderr
    assert not list(here.iterdir())


def test_the_two_configuration_files_are_told_apart(run, here):
    made = run("init", "--nodes", 1)
    assert "Start all of them on this machine by `quorum up --folder .quorum`." in made.stdout
    node = run("node", "--config", ".quorum/cluster.toml")
    assert node.exit_code == 2 and "this is a cluster.toml. Name the one of the node" in node.stderr
    get = run("kv", "get", "a", "--config", ".quorum/n1/node.toml")
    assert get.exit_code == 2 and "this is a node.toml. Name the file that its key `cluster` names" in get.stderr


def test_a_folder_without_a_node_of_the_machine_is_not_told_to_be_started_there(run, here):
    made = run("init", "--names", "a,b", "--addresses", "10.0.0.1:7000,10.0.0.2:7000")
    assert made.exit_code == 0 and "quorum up" not in made.stdout


def test_a_connection_and_an_election_say_how_they_are_used():
    async def use() -> None:
        connection = quorum.connect("quorum://127.0.0.1:1")
        with pytest.raises(TypeError, match="Write `async with`"), connection:  # type: ignore[attr-defined]
            pass
        with pytest.raises(TypeError, match=r"election.lead\(value\)"):
            async with connection.election("boss"):  # type: ignore[attr-defined]
                pass
        await connection.aclose()

    asyncio.run(use())


def test_what_is_not_held_is_not_said_to_be_lost():
    async def use() -> None:
        async with quorum.connect("quorum://127.0.0.1:1") as connection:
            with pytest.raises(LeaseLost, match="it is not open"):
                await connection.kv.put(b"a", b"", lease=connection.kv.lease(ttl=10))
            with pytest.raises(LockLost, match="was not asked for, or has been given up"):
                await connection.election("boss").proclaim(b"me")
            with pytest.raises(LockLost, match="was not asked for, or has been given up"):
                connection.lock("printer").check()

    asyncio.run(use())


def test_a_timeout_is_a_number():
    with pytest.raises(ConfigurationError, match="a number of seconds"):
        quorum.connect("quorum://127.0.0.1:1", timeout="2")  # type: ignore[arg-type]


def test_a_node_that_is_admitted_and_not_started_is_to_be_started_where_it_runs(run, here):
    run("init", "--nodes", 1)
    admit = run("admit", "n2", "--timeout", 1)
    assert "quorum node --config .quorum/n2/node.toml --join" in admit.stderr.splitlines()[0]


def test_a_client_with_keys_at_a_cluster_without_them_hears_what_may_be_wrong(tmp_path):
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def use() -> None:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        url = f"quorum://127.0.0.1:{port}"
        async with server, quorum.connect(url, tls=tmp_path / "keys", timeout=0.3) as connection:
            with pytest.raises(NotLeader, match="perhaps its cluster has no TLS"):
                await connection.kv.get(b"a")

    create_authority(tmp_path / "keys")
    issue(tmp_path / "keys", "app", kind="client")
    asyncio.run(use())


def test_what_is_no_class_is_answered_with_how_to_give_one(run, here):
    run("init", "--nodes", 1)
    with pytest.raises(NotReplicable, match=r"an instance of ReplicatedCounter .* Give the class"):
        quorum.start(ReplicatedCounter(), node="n1")  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="Give a dict such as"):
        quorum.start([ReplicatedCounter], node="n1")  # type: ignore[call-overload]
    with pytest.raises(AttributeError, match="It has add, get, set, value"):
        ReplicatedCounter().increment()  # type: ignore[attr-defined]


def test_a_look_that_is_repeated_is_printed_also_where_no_terminal_is(run, here, monkeypatch):
    async def twice(seconds: float, looks: list[float] = []) -> None:  # noqa: B006
        looks.append(seconds)
        if len(looks) == 2:
            raise KeyboardInterrupt

    run("init", "--nodes", 1)
    monkeypatch.setattr(status.asyncio, "sleep", twice)
    assert run("status", "--watch").stdout.count("no node answers") == 2
