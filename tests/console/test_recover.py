"""`quorum recover` on real processes: mutual TLS, durable; three of five are lost for good."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quorum.apps.kv_store import REVISION_GAP
from quorum.errors import Compacted, Indefinite, NotLeader
from quorum.model import Recovery
from quorum.runtime.config import load_cluster
from quorum.runtime.connect import at_config
from quorum.runtime.local import LocalCluster
from quorum.runtime.recovery import recover_cluster
from quorum.runtime.verify_data import verify_data

pytestmark = pytest.mark.cluster
LOST = ("n1", "n2", "n4")
LEFT = ("n3", "n5")


@pytest.fixture
def folder(five: Path, tmp_path: Path) -> Iterator[Path]:
    """The folder of a running cluster of five; copies of it that a test started end with it."""
    yield five
    for back in tmp_path.glob("*/cluster.toml"):
        LocalCluster(back).stop_all()


def at(folder: Path) -> tuple[str, str]:
    return ("--config", str(folder / "cluster.toml"))


def kill(folder: Path, nodes: tuple[str, ...]) -> None:
    cluster = LocalCluster(folder / "cluster.toml")
    for node in nodes:
        cluster.signal(node, signal.SIGKILL)
    wait_for(lambda: not set(nodes) & set(cluster.running()), "they run on after SIGKILL")


def wait_for(reached, told: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, told
        time.sleep(0.05)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the data folders and of the configuration; not what running processes write."""
    kept = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("node.log", "lock")]
    return {str(path): path.read_bytes() for path in kept}


def lose(folder: Path, nodes: tuple[str, ...] = LOST) -> None:
    for node in nodes:
        shutil.rmtree(folder / node / "data")


def test_a_cluster_that_lost_three_of_five_goes_on_with_all_that_its_survivor_had(run, run_json, folder, tmp_path):
    for number in range(8):
        assert run("kv", "put", f"key/{number}", f"value {number}", *at(folder)).exit_code == 0
    assert run("decide", "colour", "green", *at(folder)).exit_code == 0

    # A quorum decides, or would: refused.
    live = run("recover", "--yes", *at(folder))
    assert live.exit_code == 1 and "it has a quorum" in live.stderr and "Nothing was changed" in live.stderr
    kill(folder, LOST)
    wait_for(lambda: run("recover", "--dry-run", *at(folder)).exit_code == 1, "whose folders are there")
    wait_for(
        lambda: "it has not lost its quorum" in run("recover", "--dry-run", *at(folder)).stderr, "they are enough"
    )
    shutil.copytree(folder, tmp_path / "back")  # as an old machine, switched on again one day
    lose(folder)

    # Whoever asks hears who is missing.
    asked = run("kv", "get", "key/1", "--timeout", 2, *at(folder))
    assert asked.exit_code == 1 and all(f"{node} (" in asked.stderr for node in LOST)
    assert "`quorum recover --dry-run`" in asked.stderr
    shown = run("status", *at(folder))
    assert "missing n1, n2, n4" in shown.stderr and "`quorum recover --dry-run`" in shown.stderr
    assert "n1 (connection refused)" in run("members", "--timeout", 1, *at(folder)).stderr
    told = asyncio.run(refusal_of_a_client(folder))
    assert all(f"{node} at 127.0.0.1:" in told for node in LOST), told

    # While survivors run the plan can be seen, and nothing else is done.
    code, plan = run_json("recover", "--dry-run", *at(folder))
    assert code == 0 and plan["recovered"] is None and plan["may_be_lost"]
    assert plan["survivor"] in LEFT and set(plan["given_up"]) | {plan["survivor"]} == {*LOST, *LEFT}
    assert set(plan["nothing_left"]) == set(LOST)
    assert "still runs" in run("recover", "--yes", *at(folder)).stderr
    assert run("down", "--folder", folder).exit_code == 0

    before = contents(folder)
    shown = run("recover", "--dry-run", *at(folder))
    assert shown.exit_code == 0 and "May be lost: whatever was acknowledged after entry" in shown.stdout
    assert "nothing was changed" in shown.stdout and contents(folder) == before
    name = load_cluster(folder / "cluster.toml").cluster_id
    assert run("recover", *at(folder), stdin=b"another\n").exit_code == 1 and contents(folder) == before
    assert run("recover", "--json", *at(folder)).exit_code == 2, "nobody can be asked"

    # T stays, and is said to: as far as those who are there bear it.
    assert "T stays 2, as far as those who are there bear it: of one voter none may be lost" in shown.stdout
    code, plan = run_json("recover", "--dry-run", *at(folder))
    assert (code, plan["faults"], plan["faults_borne"]) == (0, 2, 0)
    code, other = run_json("recover", "--dry-run", "--faults", 1, *at(folder))
    assert (code, other["faults"]) == (0, 1) and "T becomes 1, and was 2" in other["told"][-1]
    many = run("recover", "--dry-run", "--faults", 3, *at(folder))
    assert many.exit_code == 2 and "2T+1 = 7 are needed" in many.stderr and contents(folder) == before

    # It goes on.
    done = run("recover", "--by", "the night shift", *at(folder), stdin=name.encode() + b"\n")
    assert done.exit_code == 0, done.output
    survivor = (
        verify_data(folder / LEFT[0] / "data").configuration.recovered
        or verify_data(folder / LEFT[1] / "data").configuration.recovered
    )
    assert survivor is not None and survivor.by == "the night shift"
    raised = run("up", "--folder", folder)
    assert raised.exit_code == 0, raised.output
    for number in range(8):
        assert run("kv", "get", f"key/{number}", *at(folder)).stdout == f"value {number}\n"
    assert "green" in run("decide", "colour", "red", *at(folder)).stdout
    for command in ("status", "members"):
        code, told = run_json(command, *at(folder))
        assert code == 0 and told["incarnation"] == survivor.incarnation
        assert told["recovered"]["by"] == "the night shift" and told["recovered"]["index"] == survivor.index
        assert told["recovered"]["given_up"] == list(survivor.given_up)

    # An old member that is switched on again is refused, and told why.
    back = LocalCluster(tmp_path / "back" / "cluster.toml")
    returned = "n1" if survivor.survivor != "n1" else "n2"
    back.start(returned)
    back.let_go()
    wait_for(lambda: "recovered without the other" in log_of(back, returned), "it is not told why")
    assert f"{survivor.incarnation}" in log_of(back, returned) and "the first incarnation" in log_of(
        back, returned
    )
    code, told = run_json("status", *at(folder))
    assert code == 0 and returned not in told["nodes"][survivor.survivor]["connected"]
    assert told["leader"] == survivor.survivor

    # Members under new names, and the life of every day.
    for node in ("n6", "n7"):
        admitted = run("admit", node, *at(folder))
        assert admitted.exit_code == 0, admitted.output
    assert run_json("policy", "show", *at(folder))[1]["faults"] == 2, "of which three members bear one"
    kill(folder, ("n7",))
    assert run("kv", "put", "key/9", "after", "--timeout", 20, *at(folder)).exit_code == 0
    refused = run("recover", "--yes", *at(folder))
    assert refused.exit_code == 1 and "has a quorum" in refused.stderr


async def refusal_of_a_client(folder: Path) -> str:
    """What a program hears that waits in vain."""
    async with at_config(folder / "cluster.toml").client(3.0) as client:
        with pytest.raises(NotLeader) as refused:
            await client.kv.put(b"a", b"1")
    return str(refused.value)


def log_of(cluster: LocalCluster, node: str) -> str:
    return cluster.nodes[node].log_file.read_text()


def test_a_recovery_that_was_cut_short_may_be_gone_on_with_also_while_the_survivor_runs(run, run_json, folder):
    """Killed when the folder is of the new incarnation, and cluster.toml does not say so; then a node starts."""
    assert run("kv", "put", "a", "1", *at(folder)).exit_code == 0
    assert run("down", "--folder", folder).exit_code == 0
    lose(folder)
    _, plan = run_json("recover", "--dry-run", *at(folder))
    recovery = Recovery(
        1, "0" * 16, plan["survivor"], plan["index"], plan["term"], tuple(plan["given_up"]), "me", 1
    )

    def stop(step: str) -> None:
        if step == "entered":
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        recover_cluster(folder / "cluster.toml", Path(plan["data"]), recovery, stop)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and load_cluster(folder / "cluster.toml").incarnation == ""

    cluster = LocalCluster(folder / "cluster.toml")
    cluster.start(recovery.survivor)
    cluster.let_go()
    wait_for(lambda: run_json("status", *at(folder))[1]["leader"] == recovery.survivor, "it does not lead")
    code, planned = run_json("recover", "--dry-run", *at(folder))
    assert code == 0 and planned["begun"]["identity"] == "0" * 16
    assert load_cluster(folder / "cluster.toml").incarnation == ""
    code, done = run_json("recover", "--yes", *at(folder))
    assert code == 0 and done["recovered"]["identity"] == "0" * 16
    assert load_cluster(folder / "cluster.toml").incarnation == recovery.incarnation
    assert run("kv", "get", "a", *at(folder)).stdout == "1\n"
    assert run_json("members", *at(folder))[1]["recovered"]["survivor"] == recovery.survivor


def test_a_client_that_stays_connected_is_never_told_what_is_not_so(run, tmp_path):
    """What it waited for is unknown, its watch is told of the gap, and then it goes on with the same addresses."""
    folder = tmp_path / "three"
    assert run("up", "--folder", folder, "--nodes", 3).exit_code == 0

    def lose_two_and_recover() -> None:
        assert run("recover", "--yes", *at(folder)).exit_code == 0
        assert run("up", "--folder", folder).exit_code == 0

    async def act() -> None:
        async with at_config(folder / "cluster.toml").client(20.0) as client:
            written = await client.kv.put(b"a", b"1")
            async with client.kv.watch(b"a", start_revision=written.revision + 1) as watch:
                await asyncio.to_thread(run, "down", "--folder", folder)
                lose(folder, ("n2", "n3"))
                waiting = asyncio.create_task(client.kv.put(b"a", b"2"))
                await asyncio.to_thread(lose_two_and_recover)
                with pytest.raises(Indefinite):
                    await waiting
                with pytest.raises(Compacted):
                    await anext(aiter(watch))
            assert (await client.kv.put(b"a", b"3")).revision > REVISION_GAP
            found = await client.kv.get(b"a")
            assert found is not None and found.value == b"3"

    try:
        asyncio.run(act())
    finally:
        run("down", "--folder", folder)
