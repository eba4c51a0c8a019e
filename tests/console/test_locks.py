"""Locks and elections on a real cluster of three processes: commands, programs, a lost leader, a lost holder."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

import quorum
from quorum.errors import LockLost
from quorum.runtime.local import LocalCluster

pytestmark = pytest.mark.cluster
PATIENCE_S = 60


def quorum_process(*arguments: str) -> subprocess.Popen[str]:
    """A command in a process of its own, whose output can be read while it runs."""
    return subprocess.Popen(
        [sys.executable, "-m", "quorum", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, output and errors, once it has ended."""
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    return process.returncode, out, err


def python(code: str) -> tuple[str, ...]:
    return ("--", sys.executable, "-c", code)


PRINT_TOKEN = "import os; print(os.environ['QUORUM_LOCK'], os.environ['QUORUM_FENCING_TOKEN'])"


def test_a_command_runs_with_the_token_and_its_exit_code_is_ours(at):
    code, out, _ = ended(quorum_process("lock", "job", *at, *python(PRINT_TOKEN)))
    name, token = out.split()
    assert (code, name) == (0, "job") and int(token) > 0
    _, later, _ = ended(quorum_process("lock", "job", *at, *python(PRINT_TOKEN)))
    assert int(later.split()[1]) > int(token)
    assert ended(quorum_process("lock", "job", *at, *python("raise SystemExit(7)")))[0] == 7
    assert ended(quorum_process("lock", "job", *at, *python("import os; os.kill(os.getpid(), 9)")))[0] == 137


def test_with_json_the_exit_code_follows_what_the_command_printed(at):
    code, out, _ = ended(quorum_process("lock", "job", "--json", *at, *python("print('x'); raise SystemExit(3)")))
    assert code == 3 and out.splitlines()[0] == "x"
    assert json.loads(out.splitlines()[1]) == {"name": "job", "exit_code": 3}


def test_without_a_command_the_lock_is_held_until_told_to_stop(run, run_json, at):
    holding = quorum_process("lock", "held", "--value", "me", *at)
    token = int(holding.stdout.readline().removeprefix("token "))
    code, seen = run_json("lock", "held", "--show", *at)
    assert code == 0 and (seen["token"], seen["value"], seen["waiting"]) == (token, "me", 0)
    assert f"by token {token}, value me; 0 wait" in run("lock", "held", "--show", *at).stdout
    busy = run("lock", "held", "--wait", 0, *at, *python(PRINT_TOKEN))
    assert busy.exit_code == 1 and f"token {token}" in busy.stderr
    code, refused = run_json("lock", "held", "--wait", 0.1, *at)
    assert code == 1 and refused["error"]["kind"] == "LockBusy"
    holding.send_signal(signal.SIGTERM)
    assert ended(holding)[0] == 0
    assert run_json("lock", "held", "--show", *at) == (1, {"name": "held", "held": False, "waiting": 0})
    assert "nobody holds" in run("lock", "held", "--show", *at).stderr


def test_a_command_that_is_interrupted_ends_and_gives_the_lock_up(run, at):
    holding = quorum_process(
        "lock", "cut", *at, *python("print('runs', flush=True); import time; time.sleep(600)")
    )
    assert holding.stdout.readline() == "runs\n"
    holding.send_signal(signal.SIGINT)
    assert ended(holding)[0] == 130
    assert run("lock", "cut", "--show", *at).exit_code == 1


def test_wrong_questions_are_told_apart(run, at):
    missing = run("lock", "x", *at, "--", "no-such-program-anywhere")
    assert missing.exit_code == 2 and "no such program" in missing.stderr
    for arguments in (
        ("lock", "x", "--show", *at, "--", "true"),
        ("lock", "", *at),
        ("lock", "x", "--ttl", "0.01", *at),
        ("lock", "x", "--wait", "-1", *at),
        ("elect", "x", "me", "--observe", *at),
        ("elect", "x", "me", "--changes", "1", *at),
        ("elect", "x", "v" * 5000, *at),
    ):
        result = run(*arguments)
        assert result.exit_code == 2 and "Error: " in result.stderr, arguments


def test_an_election_is_led_observed_and_handed_on(run, run_json, at):
    assert run_json("elect", "boss", *at) == (1, {"name": "boss", "leader": None, "token": None})
    observing = quorum_process("elect", "boss", "--observe", "--changes", "3", *at)
    assert observing.stdout.readline() == "nobody leads 'boss'\n"
    first = quorum_process("elect", "boss", "one", *at)
    token = int(first.stdout.readline().removeprefix("token "))
    assert observing.stdout.readline() == f"one\ttoken {token}\n"
    second = quorum_process("elect", "boss", "two", "--json", *at)
    while run_json("lock", "boss", "--show", *at)[1]["waiting"] == 0:
        pass
    assert run("elect", "boss", *at).stdout == f"one\ttoken {token}\n"
    first.send_signal(signal.SIGINT)
    assert ended(first)[0] == 0
    later = json.loads(second.stdout.readline())["token"]
    assert later > token
    code, out, _ = ended(observing)
    assert (code, out) == (0, f"two\ttoken {later}\n")
    second.terminate()
    assert ended(second)[0] == 0


def test_a_killed_holder_loses_the_lock_when_its_time_is_over(at):
    holding = quorum_process("lock", "killed", "--ttl", "1", *at)
    token = int(holding.stdout.readline().removeprefix("token "))
    holding.kill()
    ended(holding)
    code, out, _ = ended(quorum_process("lock", "killed", *at, *python(PRINT_TOKEN)))
    assert code == 0 and int(out.split()[1]) > token


def test_a_stopped_holder_finds_out_and_its_command_is_ended(at):
    holding = quorum_process(
        "lock", "stopped", "--ttl", "1", *at, *python("print('runs', flush=True); import time; time.sleep(600)")
    )
    assert holding.stdout.readline() == "runs\n"
    holding.send_signal(signal.SIGSTOP)
    try:
        code, _, _ = ended(quorum_process("lock", "stopped", *at, *python(PRINT_TOKEN)))
        assert code == 0
    finally:
        holding.send_signal(signal.SIGCONT)
    code, _, err = ended(holding)
    assert code == 1 and "another may hold the lock now" in err


def test_a_lock_outlives_a_killed_leader(run_json, folder, at):
    cluster = LocalCluster(folder / "cluster.toml")
    _, overview = run_json("status", *at)
    leader = next(name for name, node in overview["nodes"].items() if node["role"] == "leader")

    async def main() -> None:
        async with quorum.connect(config=folder / "cluster.toml") as client:
            async with client.lock("steady", ttl=5) as lock:
                os.kill(cluster.pid(leader), signal.SIGKILL)
                left = lock.remaining
                while lock.remaining <= left:  # until the next leader has kept it alive
                    lock.check()
                    left = lock.remaining
                    await asyncio.sleep(0.02)
                assert (await lock.look()).holder.token == lock.token
            assert (await lock.look()).holder is None

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))
    assert run_json("up", "--folder", folder)[0] == 0


def test_a_holder_that_is_cut_off_from_the_cluster_is_interrupted(folder):
    """Every node stands still: the holder knows in time, and the cluster keeps the lock for it meanwhile."""
    cluster = LocalCluster(folder / "cluster.toml")

    async def hold() -> None:
        async with quorum.connect(config=folder / "cluster.toml") as client, client.lock("cut off", ttl=1):
            for node in cluster.running():
                cluster.signal(node, signal.SIGSTOP)
            await asyncio.sleep(PATIENCE_S)

    try:
        with pytest.raises(LockLost):
            asyncio.run(hold())
    finally:
        for node in cluster.running():
            cluster.signal(node, signal.SIGCONT)
    with quorum.connect(config=folder / "cluster.toml").sync as sync, sync.lock("cut off") as lock:
        assert lock.is_held
