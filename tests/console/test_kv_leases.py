"""Leases of keys, paging and compaction on a real cluster of three processes: commands, programs, a lost leader, a
lost holder."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

import quorum
from quorum.apps.kv import Item, Put
from quorum.runtime.local import LocalCluster

pytestmark = pytest.mark.cluster
PATIENCE_S = 60


def process(*arguments: str) -> subprocess.Popen[str]:
    """A Python process whose output can be read while it runs."""
    return subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(running: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, output and errors, once it has ended."""
    try:
        out, err = running.communicate(timeout=PATIENCE_S)
    finally:
        running.kill()
    return running.returncode, out, err


def wait_until_absent(run, key: str, at) -> None:
    while run("kv", "get", key, *at).exit_code == 0:
        pass


def test_a_lease_is_granted_shown_kept_alive_and_revoked(run, run_json, at):
    code, granted = run_json("kv", "lease", "grant", "--ttl", 60, *at)
    assert (code, granted["ttl"]) == (0, 60.0)
    lease = granted["lease"]
    for key in ("svc/a", "svc/b"):
        assert run("kv", "put", key, "up", "--lease", lease, *at).exit_code == 0
    assert run_json("kv", "get", "svc/a", *at)[1]["lease"] == lease
    code, shown = run_json("kv", "lease", "show", lease, *at)
    assert (code, shown["keys"], shown["count"], shown["more"]) == (0, ["svc/a", "svc/b"], 2, False)
    assert 0 < shown["remaining"] <= shown["ttl"] == 60.0
    text = run("kv", "lease", "show", lease, "--limit", 1, *at)
    assert text.stdout.splitlines()[0].endswith("of 60 s left, 2 keys") and "raise --limit" in text.stderr
    assert run("kv", "lease", "keepalive", lease, "--once", *at).stdout == f"lease {lease} lasts for 60 s\n"
    assert run("kv", "put", "svc/b", "for good", *at).exit_code == 0
    code, revoked = run_json("kv", "lease", "revoke", lease, *at)
    assert (code, revoked["revoked"], revoked["keys"]) == (0, True, 1)
    assert run("kv", "get", "svc/a", *at).exit_code == 1
    assert run("kv", "get", "svc/b", *at).stdout == "for good\n"
    for command in ("show", "keepalive", "revoke"):
        result = run("kv", "lease", command, lease, *at)
        assert result.exit_code == 1 and "has ended, or never was" in result.stderr, command
    assert run_json("kv", "lease", "show", lease, *at) == (1, {"lease": lease, "ended": True})


def test_leases_are_listed_in_pages(run, run_json, at):
    code, before = run_json("kv", "lease", "list", *at)
    assert code == 0 and not before["more"]
    leases = [run_json("kv", "lease", "grant", "--ttl", 600, *at)[1]["lease"] for _ in range(3)]
    assert run("kv", "put", "listed", "1", "--lease", leases[2], *at).exit_code == 0
    assert run("kv", "put", "timed", "1", "--ttl", 600, *at).exit_code == 0
    code, page = run_json("kv", "lease", "list", "--after", leases[0] - 1, "--limit", 2, *at)
    assert (code, page["more"], page["total"]) == (0, True, before["total"] + 4)
    assert [each["lease"] for each in page["leases"]] == leases[:2]
    _, rest = run_json("kv", "lease", "list", "--after", leases[1], *at)
    last = rest["leases"][0]
    assert (last["lease"], last["count"], last["own"], last["ttl"]) == (leases[2], 1, False, 600.0)
    assert 0 < last["remaining"] <= 600 and rest["leases"][-1]["own"] and not rest["more"]
    text = run("kv", "lease", "list", "--after", leases[1], "--limit", 1, *at)
    assert text.stdout.startswith(f"{leases[2]}\t") and text.stdout.endswith(" of 600 s left\t1 keys\n")
    assert f"go on with --after {leases[2]}" in text.stderr
    assert run("kv", "lease", "list", *at).stdout.splitlines()[-1].endswith("put with --ttl")
    for lease in leases:
        assert run("kv", "lease", "revoke", lease, *at).exit_code == 0
    assert run("kv", "delete", "timed", *at).exit_code == 0


def test_a_key_with_a_time_is_removed_by_itself_and_watchers_hear_of_it(run, at):
    watching = process("-m", "quorum", "kv", "watch", "short", "--count", "2", "--json", *at)
    assert "watching from" in watching.stderr.readline()
    assert run("kv", "put", "short", "lived", "--ttl", 0.5, *at).exit_code == 0
    code, out, _ = ended(watching)
    put, removed = map(json.loads, out.splitlines())
    assert code == 0 and (put["kind"], put["value"], removed["kind"]) == ("put", "lived", "delete")
    assert run("kv", "get", "short", *at).exit_code == 1


def test_a_command_keeps_a_lease_alive_until_it_is_told_to_stop(run, run_json, at):
    lease = run_json("kv", "lease", "grant", "--ttl", 1, *at)[1]["lease"]
    assert run("kv", "put", "kept", "1", "--lease", lease, *at).exit_code == 0
    keeping = process("-m", "quorum", "kv", "lease", "keepalive", str(lease), *at)
    for _ in range(8):  # at a third of a second each
        assert keeping.stdout.readline() == f"lease {lease} lasts for 1 s\n"
    assert run("kv", "get", "kept", *at).exit_code == 0
    keeping.send_signal(signal.SIGINT)
    assert ended(keeping)[0] == 0
    wait_until_absent(run, "kept", at)


HOLDER = """
import asyncio, sys
import quorum
from quorum.errors import LeaseLost

async def main():
    async with quorum.connect(config=sys.argv[1]) as client:
        try:
            async with client.kv.lease(ttl=1) as lease:
                await client.kv.put(b"holder", b"here", lease=lease)
                print("holds", flush=True)
                await asyncio.sleep(600)
        except LeaseLost as error:
            print(error, flush=True)

asyncio.run(main())
"""


def test_a_holder_that_stood_still_learns_that_its_lease_is_lost(run, at, folder):
    holding = process("-c", HOLDER, str(folder / "cluster.toml"))
    assert holding.stdout.readline() == "holds\n"
    holding.send_signal(signal.SIGSTOP)
    try:
        wait_until_absent(run, "holder", at)
    finally:
        holding.send_signal(signal.SIGCONT)
    code, out, _ = ended(holding)
    assert code == 0 and "they may be removed" in out


def test_a_killed_holder_leaves_nothing_behind(run, at, folder):
    holding = process("-c", HOLDER, str(folder / "cluster.toml"))
    assert holding.stdout.readline() == "holds\n"
    holding.kill()
    ended(holding)
    wait_until_absent(run, "holder", at)


def test_a_lease_outlives_a_killed_leader_and_a_restart_of_all(run, run_json, folder, at):
    cluster = LocalCluster(folder / "cluster.toml")
    lease = run_json("kv", "lease", "grant", "--ttl", 3600, *at)[1]["lease"]
    run("kv", "put", "lasting", "1", "--lease", lease, *at)
    leader = next(name for name, node in run_json("status", *at)[1]["nodes"].items() if node["role"] == "leader")

    async def main() -> None:
        async with quorum.connect(config=folder / "cluster.toml") as client, client.kv.lease(ttl=5) as held:
            await client.kv.put(b"held", b"1", lease=held)
            os.kill(cluster.pid(leader), signal.SIGKILL)
            left = held.remaining
            while held.remaining <= left:  # until the next leader has kept it alive
                held.check()
                left = held.remaining
                await asyncio.sleep(0.02)
            assert (await client.kv.get(b"held")).lease == held.id

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))
    assert run("kv", "get", "held", *at).exit_code == 1
    assert run("down", "--folder", folder).exit_code == 0
    assert run("up", "--folder", folder).exit_code == 0
    code, shown = run_json("kv", "lease", "show", lease, *at)
    assert (code, shown["keys"], shown["remaining"] > 3000) == (0, ["lasting"], True)
    assert run("kv", "lease", "revoke", lease, *at).exit_code == 0
    assert run("kv", "get", "lasting", *at).exit_code == 1


def test_a_range_is_read_in_pages_and_goes_on_behind_a_key(run, run_json, folder, at):
    with quorum.connect(config=folder / "cluster.toml").sync as client:
        for number in range(25):
            client.kv.put(b"page/%02d" % number, b"%d" % number)
    lines = [f"page/{number:02}\t{number}" for number in range(25)]
    assert run("kv", "range", "--prefix", "page/", "--page", 10, *at).stdout.splitlines() == lines
    first = run("kv", "range", "--prefix", "page/", "--limit", 10, *at)
    assert first.stdout.splitlines() == lines[:10] and "--after" in first.stderr
    rest = run("kv", "range", "--prefix", "page/", "--after", "page/09", *at)
    assert rest.stdout.splitlines() == lines[10:] and rest.stderr == ""
    cut = run("kv", "range", "--prefix", "page/", "--page", 4, "--limit", 6, *at)
    assert cut.stdout.splitlines() == lines[:6] and "--after" in cut.stderr
    pages = run("kv", "range", "--prefix", "page/", "--page", 10, "--json", *at).stdout.splitlines()
    assert [(len(page["items"]), page["more"]) for page in map(json.loads, pages)] == [
        (10, True),
        (10, True),
        (5, False),
    ]


def test_a_range_is_read_at_one_revision_while_it_is_written(run, folder, at):
    """Every transaction gives all keys one value; so has every scan, whatever is written between its pages."""
    keys = [b"even/%02d" % number for number in range(20)]

    async def write(client, is_over: asyncio.Event) -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            await client.kv.txn([], [Put(key, b"%d" % number) for key in keys])

    async def main() -> list[list[Item]]:
        async with quorum.connect(config=folder / "cluster.toml") as client:
            is_over = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(write(client, is_over))
                while (await client.kv.get(keys[0])) is None:
                    pass
                scans = [
                    [item async for item in client.kv.scan(b"even/", prefix=True, page=3, one_revision=True)]
                    for _ in range(20)
                ]
                is_over.set()
            return scans

    scans = asyncio.run(main())
    assert all([item.key for item in scan] == keys for scan in scans)
    assert all(len({(item.value, item.mod_revision) for item in scan}) == 1 for scan in scans)
    assert len({scan[0].value for scan in scans}) > 10
    shown = run("kv", "range", "--prefix", "even/", "--page", 3, "--one-revision", *at)
    assert shown.exit_code == 0 and len(shown.stdout.splitlines()) == len(keys)
    refused = run("kv", "range", "--page", 3, "--one-revision", "--stale", *at)
    assert refused.exit_code == 2 and "Leave one of them out" in refused.stderr


def test_a_compacted_revision_cannot_be_watched_any_more(run, run_json, at):
    revision = run_json("kv", "put", "c", "1", *at)[1]["revision"]
    run("kv", "put", "c", "2", *at)
    assert run_json("kv", "compact", revision, *at) == (0, {"compacted": revision})
    assert run("kv", "watch", "c", "--from", revision, "--count", 1, *at).exit_code == 1
    watched = run("kv", "watch", "c", "--from", revision + 1, "--count", 1, *at)
    assert watched.exit_code == 0 and watched.stdout.split("\t")[2:] == ["c", "2\n"]
    assert run("kv", "compact", revision + 1000, *at).exit_code == 2


def test_wrong_questions_are_told_apart(run, at):
    for arguments in (
        ("kv", "put", "k", "v", "--ttl", "0.01", *at),
        ("kv", "put", "k", "v", "--ttl", "5", "--lease", "1", *at),
        ("kv", "put", "k", "v", "--lease", "999999", *at),
        ("kv", "put", "k", "v", "--lease", "0", *at),
        ("kv", "lease", "grant", *at),
        ("kv", "lease", "grant", "--ttl", "-1", *at),
        ("kv", "lease", "show", "x", *at),
        ("kv", "range", "--page", "0", *at),
        ("kv", "compact", "-1", *at),
    ):
        result = run(*arguments)
        assert result.exit_code == 2 and "Error: " in result.stderr, arguments
