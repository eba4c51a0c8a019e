"""Commands that stay say when no leader can be reached, once each time, and go on when one can again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from quorum.console import inquiry
from quorum.console.inquiry import Outages, Silence
from quorum.runtime.local import LocalCluster

PATIENCE_S = 60


def command_that_stays(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "quorum", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupted(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code and the rest of what it printed, once it was told to end."""
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    return process.returncode, out, err


@pytest.mark.cluster
def test_a_watch_a_lock_and_an_observer_outlive_all_nodes_and_say_so(run, folder, at):
    cluster = LocalCluster(folder / "cluster.toml")
    watch = command_that_stays("kv", "watch", "seen", *at)
    assert watch.stderr.readline().startswith("watching from revision ")
    lock = command_that_stays("lock", "held", "--ttl", "120", *at)
    token = int(lock.stdout.readline().removeprefix("token "))
    observer = command_that_stays("elect", "held", "--observe", *at)
    assert observer.stdout.readline() == f"\ttoken {token}\n"
    for time in ("first", "second"):
        for node in cluster.running():
            os.kill(cluster.pid(node), signal.SIGKILL)
        told = [process.stderr.readline() for process in (watch, lock, observer)]
        assert all(line.startswith("waiting for a leader: of 3 nodes answer none") for line in told)
        assert told[0].endswith("; going on once one leads\n")
        assert "; what is held, or its place in the queue, is lost in " in told[1]
        assert run("up", "--folder", folder).exit_code == 0
        for process in (watch, lock, observer):
            assert process.stderr.readline() == "a leader answers: going on\n"
        run("kv", "put", "seen", time, *at)
        assert watch.stdout.readline().split()[1:] == ["put", "seen", time]
    assert f"by token {token};" in run("lock", "held", "--show", *at).stdout
    assert interrupted(lock) == (0, "", "")
    assert observer.stdout.readline() == "nobody leads 'held'\n"
    assert interrupted(watch) == interrupted(observer) == (0, "", "")


@pytest.mark.cluster
def test_a_watch_beside_one_node_of_three_says_that_none_leads(run, folder, at):
    cluster = LocalCluster(folder / "cluster.toml")
    watch = command_that_stays("kv", "watch", "alone", *at)
    assert watch.stderr.readline().startswith("watching from revision ")
    for node in ("n1", "n2"):
        os.kill(cluster.pid(node), signal.SIGKILL)
    assert watch.stderr.readline().startswith("waiting for a leader: of 3 nodes answer n3, missing n1")
    assert run("up", "--folder", folder).exit_code == 0
    assert watch.stderr.readline() == "a leader answers: going on\n"
    assert interrupted(watch) == (0, "", "")


class Client:
    """A client that is served or not."""

    def __init__(self, unanswered=0, is_served=True):
        self.unanswered = unanswered
        self.is_served = is_served
        self.held = set()


def told(monkeypatch, capsys, client, waits, then=lambda: None, rounds=1):
    """What stands on stderr after a while in which `then` happened so often, with no node that answers."""

    async def ask_all(place, timeout=0):
        return {"n1": Silence("n1", "connection refused")}

    async def main():
        telling = asyncio.create_task(Outages(None, client, 7, waits).tell())
        for number in range(rounds):
            if number:
                then()
            for _ in range(20):
                await asyncio.sleep(0.002)
        telling.cancel()

    monkeypatch.setattr(inquiry, "ask_all", ask_all)
    monkeypatch.setattr(inquiry, "NOTICE_S", 0.001)
    monkeypatch.setattr(inquiry, "AGAIN_S", 0.001)
    asyncio.run(main())
    return capsys.readouterr().err.splitlines()


def test_a_command_that_asks_once_is_silent_while_nothing_waits_for_an_answer(monkeypatch, capsys):
    assert told(monkeypatch, capsys, Client(is_served=False), waits=None) == []


def test_a_command_that_asks_once_says_when_it_gives_up(monkeypatch, capsys):
    (line,) = told(monkeypatch, capsys, Client(unanswered=1), waits=None)
    assert line.startswith("waiting for a leader: of 1 nodes") and line.endswith("giving up 7 s after the request")


def test_a_command_that_stays_tells_of_every_outage_however_late_it_comes(monkeypatch, capsys):
    client = Client(is_served=True)

    def turn():
        client.is_served = not client.is_served

    waiting, again, later = told(monkeypatch, capsys, client, lambda: False, turn, rounds=4)
    assert waiting == later and later.endswith("; going on once one leads")
    assert again == "a leader answers: going on"


def test_a_leader_that_is_back_is_told_of_although_nothing_was_asked_of_it(monkeypatch, capsys):
    """What is held for long is prolonged seldom."""
    leaders = iter((None, None, "n1"))
    monkeypatch.setattr(inquiry, "leader_of", lambda answers, place: next(leaders, "n1"))
    waiting, again = told(monkeypatch, capsys, Client(is_served=False), lambda: False)
    assert waiting.endswith("; going on once one leads") and again == "a leader answers: going on"
