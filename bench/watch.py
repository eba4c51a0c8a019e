"""`python bench/watch.py`: many watchers of few keys on one node of a real cluster; each must see every write.

Three nodes on loopback; every watcher is a task with a watch of its own, and all of them share a few connections
to one follower. Every key is written several times, and every watcher checks that it is told each write once, in
order. With --kill the node is killed and started again when half of the writes are done; the watchers go on
elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import sys
import time
from collections.abc import Sequence
from typing import IO, NamedTuple

from load import PeerFailed
from ours import Members, runner
from peers.processes import Processes
from quorum.runtime.client import Client
from quorum.runtime.dialler import Dialler

TIMEOUT_S = 120.0
READY = "ready"


def main() -> int:
    """Return the exit code: 0 done, 1 it could not be measured, or a watcher was told something else."""
    parser = argparse.ArgumentParser(
        prog="python bench/watch.py", epilog="Example: python bench/watch.py --watchers 100000 --keys 1000"
    )
    parser.add_argument("--watchers", type=int, default=100_000, help="How many watches (100000).")
    parser.add_argument("--keys", type=int, default=1000, help="Of how many keys (1000).")
    parser.add_argument("--writes", type=int, default=10, help="How often each key is written (10).")
    parser.add_argument("--processes", type=int, default=2, help="In how many processes the watchers are (2).")
    parser.add_argument("--connections", type=int, default=2, help="And connections in each process (2).")
    parser.add_argument("--kill", action="store_true", help="Kill the watched node in the middle.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object instead of the lines.")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        return runner()(_work(**json.loads(options.work)))
    if min(options.watchers, options.keys, options.writes, options.processes, options.connections) < 1:
        parser.error("a number below 1 was given, but there is nothing to measure then. Give 1 or more.")
    work = Work(
        options.watchers, options.keys, options.writes, options.processes, options.connections, options.kill
    )
    try:
        found = measure(work)
    except PeerFailed as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name}: {value}")
    return 0


class Work(NamedTuple):
    """What is asked for."""

    watchers: int
    keys: int
    writes: int
    processes: int
    connections: int
    kill: bool


def measure(work: Work) -> dict[str, object]:
    """Let the watchers see every write. Raises PeerFailed if one of them does not, or was told otherwise.

    Times in seconds, from the first write to the last event that the last watcher was told.
    """
    with Processes() as nodes, Processes() as others:
        members = Members(nodes, nodes.folder / "cluster", insecure=True)
        leader = asyncio.run(members.leader())
        watched = next(node for node in members.endpoints if node != leader)
        began = time.monotonic()
        pipes = _start_watchers(others, members, watched, work)
        begun_s = time.monotonic() - began
        cpu_before_s = nodes.cpu_s()
        half = work.writes // 2 if work.kill else work.writes
        first_put, puts_s = runner()(_write(members, work.keys, range(half)))
        if work.kill:
            nodes.kill(watched)
            nodes.reap(watched)
            members.start(watched)
            puts_s += runner()(_write(members, work.keys, range(half, work.writes)))[1]
        reports = [json.loads(pipe.readline() or b"null") for pipe in pipes]
        if None in reports:
            raise PeerFailed("watchers were to tell what they saw, but some ended. Read what is above.")
        nodes_cpu_s = nodes.cpu_s() - cpu_before_s
        rss_mb = nodes.rss_mb()
    wrong = sum(report["wrong"] for report in reports)
    events = sum(report["events"] for report in reports)
    if wrong or events != work.watchers * work.writes:
        total = work.watchers * work.writes
        raise PeerFailed(f"{events} of {total} events came, {wrong} of them wrong. A bug: report it.")
    took_s = max(report["last"] for report in reports) - first_put
    return {
        "watchers": work.watchers,
        "keys": work.keys,
        "writes": work.keys * work.writes,
        "events": events,
        "begun_s": round(begun_s, 2),
        "took_s": round(took_s, 3),
        "events_per_s": round(events / took_s),
        "puts_s": round(puts_s, 3),
        "cpu_s_of_all_nodes": None if work.kill else round(nodes_cpu_s, 2),
        "cpu_s_of_watchers": round(sum(report["cpu_s"] for report in reports), 2),
        "rss_mb_of_nodes": dict(zip(members.layout.nodes, rss_mb, strict=True)),
        "rss_mb_of_watchers": [report["rss_mb"] for report in reports],
        "watched": watched,
        "leader": leader,
        "killed": work.kill,
    }


def _start_watchers(others: Processes, members: Members, watched: str, work: Work) -> list[IO[bytes]]:
    """Start the processes of watchers; return their pipes, once every watch has begun. Raises PeerFailed."""
    share = -(-work.watchers // work.processes)
    pipes = []
    for number in range(work.processes):
        part = {
            "endpoints": sorted(members.endpoints.values(), key=lambda each: each != members.endpoints[watched]),
            "cluster": members.config.cluster_id,
            "first": number * share,
            "count": min(share, work.watchers - number * share),
            "keys": work.keys,
            "writes": work.writes,
            "connections": work.connections,
        }
        command = [sys.executable, __file__, "--work", json.dumps(part)]
        pipe = others.start(f"watchers {number}", command, piped=True).stdout
        assert pipe is not None, "it was asked for"
        pipes.append(pipe)
    for pipe in pipes:
        if pipe.readline().decode().strip() != READY:
            raise PeerFailed("watchers were to begin, but did not. Read what is above.")
    return pipes


async def _write(members: Members, keys: int, numbers: range) -> tuple[float, float]:
    """Write every key so often; return when the first left, and how long it took."""
    async with members.client() as client:
        await client.kv.get(b"warm")  # the connection is there
        began = time.monotonic()
        for number in numbers:
            value = b"%d" % number
            await asyncio.gather(*[client.kv.put_soon(b"key%d" % key, value) for key in range(keys)])
        return began, time.monotonic() - began


class _Tally:
    """What all watchers of a process have seen."""

    def __init__(self, count: int) -> None:
        self.waiting = count
        self.all_begun = asyncio.Event()
        self.events = 0
        self.wrong = 0
        self.last_s = 0.0

    def begun(self) -> None:
        self.waiting -= 1
        if not self.waiting:
            self.all_begun.set()


async def _watch(client: Client, key: bytes, writes: int, tally: _Tally) -> None:
    """One watcher: every write of its key, in order, once."""
    seen, revision = 0, 0
    async with client.kv.watch(key) as watch:
        tally.begun()
        async for event in watch:
            if event.key != key or event.value != b"%d" % seen or event.revision <= revision:
                tally.wrong += 1
            revision = event.revision
            seen += 1
            tally.events += 1
            if seen == writes:
                tally.last_s = time.monotonic()
                return


async def _work(
    endpoints: list[str], cluster: str, first: int, count: int, keys: int, writes: int, connections: int
) -> int:
    """A process of watchers: says when all have begun, then what they saw."""
    tally = _Tally(count)
    clients = [
        Client(endpoints, Dialler(cluster, None), timeout=TIMEOUT_S, discover=False) for _ in range(connections)
    ]
    tasks: Sequence[asyncio.Task[None]] = [
        asyncio.create_task(_watch(clients[number % connections], b"key%d" % (number % keys), writes, tally))
        for number in range(first, first + count)
    ]
    await tally.all_begun.wait()
    gc.collect()
    gc.freeze()
    cpu_before_s = time.process_time()
    print(READY, flush=True)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(*tasks)
    except TimeoutError:
        pass  # what has come tells
    report = {
        "last": tally.last_s,
        "events": tally.events,
        "wrong": tally.wrong,
        "cpu_s": time.process_time() - cpu_before_s,
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1),
    }
    print(json.dumps(report), flush=True)
    for client in clients:
        await client.aclose()
    return 0


if __name__ == "__main__":
    sys.exit(main())
