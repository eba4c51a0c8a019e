"""`quorum kv watch` on a real cluster of three processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import pytest

import quorum
from quorum.apps.kv import Compact
from quorum.runtime.local import LocalCluster

pytestmark = pytest.mark.cluster
PATIENCE_S = 60


class Watching:
    """A watch in a process of its own, once it has begun."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "quorum", "kv", "watch", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.begun = self.process.stderr.readline()

    def line(self) -> str:
        return self.process.stdout.readline()

    def ended(self) -> tuple[int, str, str]:
        """Exit code, the rest of the output, and errors."""
        try:
            out, err = self.process.communicate(timeout=PATIENCE_S)
        finally:
            self.process.kill()
        return self.process.returncode, out, err


def test_changes_are_printed_one_a_line_as_they_happen(run, at):
    watching = Watching("tidy", "--previous", *at)
    assert watching.begun.startswith("watching from revision ")
    run("kv", "put", "tidy", "one", *at)
    first = watching.line()
    revision = int(first.split()[0])
    assert first == f"{revision}\tput\ttidy\tone\n"
    run("kv", "put", "other", "unseen", *at)
    run("kv", "put", "tidy", "two", *at)
    run("kv", "delete", "tidy", *at)
    assert watching.line() == f"{revision + 2}\tput\ttidy\ttwo\tbefore:\tone\n"
    assert watching.line() == f"{revision + 3}\tdelete\ttidy\tbefore:\ttwo\n"
    watching.process.send_signal(signal.SIGINT)
    assert watching.ended() == (0, "", "")


def test_with_json_each_line_is_an_object_and_count_ends_it(run_json, at):
    watching = Watching("j/", "--prefix", "--previous", "--count", "3", "--json", *at)
    _, put = run_json("kv", "put", "j/1", "one", *at)
    run_json("kv", "put", "--hex", "6a2f32", "ff", *at)
    run_json("kv", "delete", "j/1", *at)
    code, out, _ = watching.ended()
    first, second, third = map(json.loads, out.splitlines())
    revision = put["revision"]
    assert code == 0 and first == {
        "revision": revision,
        "kind": "put",
        "key": "j/1",
        "value": "one",
        "encoding": "text",
        "create_revision": revision,
        "version": 1,
        "previous": None,
    }
    assert (second["key"], second["value"], second["encoding"]) == ("6a2f32", "ff", "hex")
    assert (third["kind"], third["value"], third["revision"]) == ("delete", None, revision + 2)
    assert third["previous"] == {
        "value": "one",
        "create_revision": revision,
        "mod_revision": revision,
        "version": 1,
    }


def test_a_watch_from_a_revision_begins_there_and_one_kind_can_be_left_out(run, run_json, at):
    _, put = run_json("kv", "put", "past", "one", *at)
    run("kv", "put", "past", "two", *at)
    run("kv", "delete", "past", *at)
    since = ("--from", str(put["revision"]), "--json", *at)
    code, out, _ = Watching("past", "--only", "put", "--count", "2", *since).ended()
    assert code == 0 and [json.loads(line)["value"] for line in out.splitlines()] == ["one", "two"]
    code, out, _ = Watching("past", "--only", "delete", "--count", "1", *since).ended()
    assert code == 0 and json.loads(out)["kind"] == "delete"


def test_what_is_forgotten_exits_with_1_and_names_the_first_revision_that_is_kept(run_json, folder, at):
    _, put = run_json("kv", "put", "old", "one", *at)

    async def compact() -> None:
        async with quorum.connect(config=folder / "cluster.toml") as connection:
            await connection.client().ask("kv", Compact(put["revision"]), object)

    asyncio.run(compact())
    watching = Watching("old", "--from", "1", "--json", *at)
    code, out, _ = watching.ended()
    error = json.loads(out)["error"]
    assert code == 1 and error["kind"] == "Compacted" and f"before revision {put['revision'] + 1}" in error["text"]
    assert "Error: changes from revision 1 on" in watching.begun


def test_wrong_questions_exit_with_2(run, at):
    for arguments in (
        ("",),
        ("a", "--from", "0"),
        ("a", "--only", "get"),
        ("xyz", "--hex"),
        ("a", "--count", "0"),
    ):
        result = run("kv", "watch", *arguments, *at)
        assert result.exit_code == 2 and "Traceback" not in result.stderr, arguments


def test_nothing_is_missed_or_repeated_while_every_node_is_killed_in_turn(run, run_json, folder, at):
    """The node that is watched is among them, and the leader."""
    cluster = LocalCluster(folder / "cluster.toml")
    watching = Watching("n", "--count", "60", "--json", *at)
    number = 0
    with quorum.connect(config=folder / "cluster.toml", timeout=PATIENCE_S).sync as sync:
        for node in sorted(cluster.running()):
            for _ in range(10):
                sync.kv.put(b"n", b"%d" % number)
                number += 1
            os.kill(cluster.pid(node), signal.SIGKILL)
            for _ in range(10):
                sync.kv.put(b"n", b"%d" % number)
                number += 1
            while node in cluster.running():
                time.sleep(0.01)
            assert run("up", "--folder", folder).exit_code == 0
    code, out, err = watching.ended()
    assert code == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["value"] for event in events] == [str(number) for number in range(60)]
    assert [event["version"] for event in events] == list(range(1, 61))
