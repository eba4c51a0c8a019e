"""Operators in each other's way, in the wrong order, and at the worst moment: five real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quorum.errors import QuorumError, RequestRefused
from quorum.membership.reconfiguration import Evict
from quorum.runtime import backup, setup
from quorum.runtime.config import load_cluster
from quorum.runtime.connect import at_config, connect
from quorum.runtime.enrol import add_member, remove_member
from quorum.runtime.local import LocalCluster
from quorum.runtime.setup import init_cluster


def test_members_that_are_added_and_removed_at_once_are_all_in_the_file(tmp_path):
    layout = init_cluster(tmp_path / "c", nodes=3, insecure=True)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: add_member(layout.cluster, f"m{number}", "learner"), range(8)))
        gone = pool.submit(remove_member, layout.cluster, "m0")
        more = pool.submit(add_member, layout.cluster, "m9", "learner")
        gone.result(), more.result()
    config = load_cluster(layout.cluster)
    expected = {"n1", "n2", "n3", *(f"m{number}" for number in range(1, 8)), "m9"}
    assert {member.id for member in config.members} == expected
    assert len({member.listen.port for member in config.members}) == len(expected)


def test_a_new_member_is_not_given_the_port_of_one_that_does_not_run(tmp_path, monkeypatch):
    layout = init_cluster(tmp_path / "c", nodes=3, insecure=True)
    drawn = [member.listen.port - setup._PORTS_FIRST for member in layout.config.members]
    draw = setup.secrets.randbelow
    monkeypatch.setattr(setup.secrets, "randbelow", lambda below: drawn.pop() if drawn else draw(below))
    ports = [member.listen.port for member in add_member(layout.cluster, "m1", "learner").members]
    assert not drawn
    assert len(set(ports)) == 4


@pytest.fixture
def folder(five: Path) -> Path:
    """The folder of a running cluster of five."""
    return five


def at(folder: Path) -> tuple[str, str]:
    return ("--config", str(folder / "cluster.toml"))


def names(run_json, folder: Path) -> set[str]:
    return {row["node"] for row in run_json("members", *at(folder))[1]["members"]}


async def change(folder: Path, what: Evict) -> None:
    """Ask whoever leads, once."""
    place = at_config(folder / "cluster.toml")
    for node in place.endpoints:
        async with place.node(node) as connection:
            try:
                return await connection.change(what)
            except QuorumError as error:
                if not str(error).startswith("the request needs the leader"):
                    raise


@pytest.mark.cluster
def test_two_operators_at_once_both_get_what_they_asked_for(folder, run_json):
    """Each change names what it changes, and the second waits for the first."""
    from quorum.console.changing import change_members

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(change_members, folder / "cluster.toml", Evict((node,)), 60) for node in ("n4", "n5")]
        for each in asked:
            each.result()
    assert names(run_json, folder) == {"n1", "n2", "n3"}


@pytest.mark.cluster
def test_an_eviction_whose_answer_was_lost_is_finished_by_asking_again(run, run_json, folder):
    asyncio.run(change(folder, Evict(("n5",))))
    assert "n5" in LocalCluster(folder / "cluster.toml").running(), "the command did not live to stop it"
    again = run("evict", "n5", *at(folder))
    assert again.exit_code == 0, again.output
    assert "n5" not in {member.id for member in load_cluster(folder / "cluster.toml").members}
    assert not (folder / "n5" / "node.pid").exists()
    third = run("evict", "n5", *at(folder))
    assert third.exit_code != 0 and "is no member" in third.stderr
    with pytest.raises(RequestRefused, match="is no member"):
        asyncio.run(change(folder, Evict(("n5",))))


@pytest.mark.cluster
def test_a_learner_that_dies_while_it_is_promoted_can_be_evicted_at_once(run, run_json, folder):
    assert run("admit", "n6", "--role", "learner", *at(folder)).exit_code == 0
    os.kill(LocalCluster(folder / "cluster.toml").running()["n6"], signal.SIGKILL)
    with connect(config=folder / "cluster.toml").sync as client:
        for number in range(50):  # it has to catch up, and never will
            client.kv.put(b"key %d" % number, b"value")
    promoted = run("promote", "n6", "--timeout", 2, *at(folder))
    assert promoted.exit_code == 1 and "outcome unknown" in promoted.stderr
    assert run("kv", "put", "a", "1", *at(folder)).exit_code == 0, "nobody else waits for it"
    evicted = run("evict", "n6", "--timeout", 20, *at(folder))
    assert evicted.exit_code == 0, evicted.output
    assert names(run_json, folder) == {"n1", "n2", "n3", "n4", "n5"}
    assert run("admit", "n7", *at(folder)).exit_code == 0, "the next change is free to go"


@pytest.mark.cluster
def test_a_backup_whose_node_dies_leaves_nothing_and_another_is_taken_elsewhere(run, run_json, folder, tmp_path):
    path = folder / "cluster.toml"
    with connect(config=path).sync as client:
        for number in range(24):
            client.kv.put(b"key %d" % number, bytes(1 << 20))
    leader = run_json("members", *at(folder))[1]["leader"]
    pid = LocalCluster(path).running()[leader]
    seen = []

    def kill(done: int, total: int) -> None:
        if not seen:
            os.kill(pid, signal.SIGKILL)
        seen.append((done, total))

    async def take() -> None:
        place = at_config(path)
        async with place.node(leader) as connection, asyncio.timeout(60):
            await backup.take_backup(connection, place.cluster_id, tmp_path / "cut", kill)

    with pytest.raises(QuorumError, match="it closed the connection"):
        asyncio.run(take())
    assert seen[0][0] < seen[0][1] and sorted(os.listdir(tmp_path)) == [".quorum"], "it died half way"
    with connect(config=path).sync as client:
        client.kv.put(b"key", b"another leads")
    done = run("backup", tmp_path / "whole", *at(folder))
    assert done.exit_code == 0, done.output
    assert run("backup", "--verify", tmp_path / "whole").exit_code == 0


@pytest.mark.cluster
def test_nothing_is_restored_over_a_cluster_that_runs(run, run_json, folder, tmp_path):
    assert run("kv", "put", "a", "1", *at(folder)).exit_code == 0
    assert run("backup", tmp_path / "b", *at(folder)).exit_code == 0
    assert run("kv", "put", "a", "2", *at(folder)).exit_code == 0
    before = (folder / "cluster.toml").read_bytes()
    for options in ((), ("--names", "x,y,z"), ("--nodes", 1)):
        refused = run("restore", tmp_path / "b", folder, *options)
        assert refused.exit_code == 2 and "exists" in refused.stderr
    assert (folder / "cluster.toml").read_bytes() == before
    assert run("kv", "get", "a", *at(folder)).stdout == "2\n"
    assert run_json("status", *at(folder))[1]["healthy"]


@pytest.mark.cluster
def test_a_killed_node_that_missed_much_is_ready_when_up_says_so(run, run_json, folder):
    """`quorum up` waits until a node that it started again has applied what was committed then."""
    local = LocalCluster(folder / "cluster.toml")
    os.kill(local.running()["n3"], signal.SIGKILL)
    with connect(config=folder / "cluster.toml").sync as client:
        for number in range(1000):
            written = client.kv.put(b"key %d" % number, b"value")
        place = at_config(folder / "cluster.toml")
        assert run("up", "--folder", folder).exit_code == 0

        async def read():
            async with place.node("n3") as connection:
                return await connection.read_stale(b"key 999")

        item = asyncio.run(read())
        assert item is not None and item.mod_revision == written.revision
