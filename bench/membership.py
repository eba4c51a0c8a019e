"""What a change of members costs, on real processes: `python bench/membership.py replace|join`.

`replace`: a cluster under mutual TLS is loaded at half of what it was just measured to take (an open loop of
puts of 100 B through the shipped client). Then a new node takes the place of a follower: it catches up from
snapshot and log, votes, and the old one leaves. Throughput and latency over the seconds from then on stand
beside as many before.

`join`: a new node joins a cluster with a million entries in the log, one put in each, under a light load. It
catches up from the log alone (`--log kept`) or from a snapshot and the rest (`--log compacted`). The terms
before and after tell whether there was an election.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from pathlib import Path

import machine
from changing import CHANGE_S, ChangingMembers, Paced
from load import PeerFailed, percentile
from ours import _RawChannel, runner
from peers.pipeline import ClosedLoop
from peers.processes import Processes, measurable
from quorum.apps import kv
from quorum.membership.reconfiguration import Admit, Evict, Promote, Replace

NEWCOMER = "newcomer"
WARM_UP_S = 2.0
VALUE_BYTES = 88
FILL_S_MAX = 300.0
POLL_S = 0.05
Facts = dict[str, object]


class _Saturating:
    """A closed loop of puts through the shipped client."""

    def __init__(self, client) -> None:  # type: ignore[no-untyped-def]
        self._client = client
        self._number = 0
        self._is_open = True
        self.answered = 0
        self.inflight = 0

    def put(self) -> None:
        self._number += 1
        self.inflight += 1
        key = b"key%09d" % (self._number % 100_000)
        self._client.kv.put_soon(key, b"v" * VALUE_BYTES).add_done_callback(self._heard)

    def _heard(self, future: asyncio.Future[kv.Written]) -> None:
        future.result()
        self.inflight -= 1
        self.answered += 1
        if self._is_open:
            self.put()

    async def stop(self) -> None:
        self._is_open = False
        while self.inflight:
            await asyncio.sleep(0.01)


async def saturation(client, outstanding: int, seconds: float) -> float:  # type: ignore[no-untyped-def]
    """Puts per second that the cluster takes with so many in flight."""
    load = _Saturating(client)
    for _ in range(outstanding):
        load.put()
    await asyncio.sleep(WARM_UP_S)
    before, began = load.answered, time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (load.answered - before) / (time.perf_counter() - began)
    await load.stop()
    return rate


def window(load: Paced, begin: float, end: float) -> Facts:
    """What the clients saw in a span of time."""
    took = load.between(begin, end)
    seconds = [0] * max(1, round(end - begin))
    for at, _ in load.answers:
        if begin <= at < end:
            seconds[min(len(seconds) - 1, int(at - begin))] += 1
    return {
        "puts_per_s": round(len(took) / (end - begin), 1),
        "worst_second_puts": min(seconds),
        "p50_ms": round(percentile(took, 0.5) * 1e3, 2),
        "p99_ms": round(percentile(took, 0.99) * 1e3, 2),
        "worst_ms": round(took[-1] * 1e3, 1) if took else 0.0,
    }


async def _replace(members: ChangingMembers, by_steps: bool) -> Facts:
    """Let a new node take a follower's place; by steps: first a learner, then promoted, the old evicted."""
    leader = await members.leading()
    old = next(node for node in sorted(members.endpoints, reverse=True) if node != leader)
    began = time.perf_counter()
    address = members.enrol(NEWCOMER)
    steps: Facts = {}
    if by_steps:
        steps["admitted_s"] = round(await members.change(Admit(NEWCOMER, "learner", address)), 2)
        steps["promoted_s"] = round(await members.change(Promote(NEWCOMER)), 2)
        steps["evicted_s"] = round(await members.change(Evict((old,))), 2)
    else:
        steps["replaced_s"] = round(await members.change(Replace(old, NEWCOMER, address)), 2)
    del members.endpoints[old]
    members.processes.kill(old)
    return {"old": old, "leader": leader, "took_s": round(time.perf_counter() - began, 2), **steps}


async def replace(options: argparse.Namespace) -> Facts:
    """Measure `replace`."""
    with Processes() as processes:
        members = ChangingMembers(processes, processes.folder / "cluster", options.nodes, {})
        await members.leader()
        async with members.client() as client:
            most = await saturation(client, options.outstanding, options.saturate)
            rate = most * options.share
            load = Paced(client, rate)
            driving = asyncio.create_task(load.run())
            await asyncio.sleep(WARM_UP_S)
            before_term = (await members.status(await members.leading()))["term"]
            _say(f"saturation {most:.0f} puts/s; {rate:.0f} puts/s from now on; in {options.seconds:g} s: replace")
            began = time.perf_counter()
            await asyncio.sleep(options.seconds)
            turn = time.perf_counter()
            replacing = asyncio.create_task(_replace(members, options.steps))
            await asyncio.sleep(options.seconds)
            ended = time.perf_counter()
            steps = await asyncio.wait_for(replacing, CHANGE_S)
            await load.stop()
            await driving
        status = await members.status(await members.leading())
    before, around = window(load, began, turn), window(load, turn, ended)
    cost = 1 - float(str(around["puts_per_s"])) / float(str(before["puts_per_s"]))
    return {
        "nodes": options.nodes,
        "saturation_puts_per_s": round(most, 1),
        "load_puts_per_s": round(rate, 1),
        "before": before,
        "around": around,
        "cost_percent": round(cost * 100, 2),
        "late": load.late,
        "failed": load.failed,
        "terms": [before_term, status["term"]],
        "snapshot_index": status["snapshot_index"],
        "last_index": status["last_index"],
        **steps,
    }


def fill(members: ChangingMembers, entries: int) -> None:
    """Write so many entries, one put in each: one put a frame, in sessions of their own."""
    leader = asyncio.run(members.leader())
    host, _, port = members.endpoints[leader].rpartition(":")
    channels = [_RawChannel((host, int(port)), members.config.cluster_id, VALUE_BYTES) for _ in range(16)]
    load = ClosedLoop(channels, 1024)
    done, deadline = 0, time.perf_counter() + FILL_S_MAX
    try:
        load.open()
        while done < entries:
            load.run(min(1.0, (entries - done) / 50_000))
            done += load.acknowledged
            if time.perf_counter() > deadline:
                raise PeerFailed(f"{entries} entries were to be written, {done} were within {FILL_S_MAX:.0f} s.")
        load.run(10.0, refill=False)
    finally:
        load.close()
    _say(f"{done} entries written")


def join(options: argparse.Namespace) -> Facts:
    """Measure `join`."""
    kept = {"snapshot_entries": 10**9, "snapshot_bytes": 2**40}
    with Processes() as processes:
        folder = processes.folder / "cluster"
        members = ChangingMembers(
            processes, folder, options.nodes, kept if options.log == "kept" else {}, insecure=True
        )
        began = time.perf_counter()
        fill(members, options.entries)
        filled_s = time.perf_counter() - began
        return {"filled_s": round(filled_s, 1)} | runner()(_join(members, options))


async def _join(members: ChangingMembers, options: argparse.Namespace) -> Facts:
    before = await members.status(await members.leading())
    async with members.client() as client:
        load = Paced(client, options.load)
        driving = asyncio.create_task(load.run())
        await asyncio.sleep(WARM_UP_S)
        began = time.perf_counter()
        address = members.enrol(NEWCOMER)
        await members.change(Admit(NEWCOMER, "voter", address))
        votes_s = time.perf_counter() - began
        members.endpoints[NEWCOMER] = address
        applied_s = await _applied(members, before["last_index"], began)
        ended = time.perf_counter()
        await load.stop()
        await driving
    after = await members.status(await members.leading())
    return {
        "nodes": options.nodes,
        "log": options.log,
        "entries": before["last_index"],
        "snapshot_index": before["snapshot_index"],
        "votes_s": round(votes_s, 2),
        "applied_s": round(applied_s, 2),
        "entries_per_s": round(before["last_index"] / applied_s),
        "terms": [before["term"], after["term"]],
        "leaders": [before["node"], after["node"]],
        "clients": window(load, began, ended),
        "late": load.late,
        "failed": load.failed,
    }


async def _applied(members: ChangingMembers, last_index: int, began: float) -> float:
    """Seconds until the newcomer's state holds all that its log does: it votes as soon as it stores that log."""
    while True:
        newcomer = await members.status(NEWCOMER)
        since_s = time.perf_counter() - began
        if newcomer["applied_index"] >= last_index:
            return since_s
        if since_s > CHANGE_S:
            raise PeerFailed(
                f"{NEWCOMER} was to apply {last_index} entries, but had {newcomer['applied_index']} after "
                f"{since_s:.0f} s. Give it more time, or fewer entries."
            )
        await asyncio.sleep(POLL_S)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def table(facts: Facts) -> str:
    """One line for each fact."""
    return "\n".join(f"{name:<24}{value}" for name, value in facts.items())


def main() -> int:
    """Return the exit code: 0 measured, 1 it could not be."""
    parser = argparse.ArgumentParser(
        prog="python bench/membership.py", epilog="Example: python bench/membership.py replace --nodes 5"
    )
    parser.add_argument("what", choices=("replace", "join"), help="Which of the two.")
    parser.add_argument("--nodes", type=int, default=5, choices=range(2, 10), metavar="N", help="Members before.")
    parser.add_argument("--seconds", type=float, default=30.0, help="replace: each of the two spans of time.")
    parser.add_argument("--saturate", type=float, default=5.0, help="replace: how long saturation is measured.")
    parser.add_argument("--outstanding", type=int, default=1024, help="replace: puts in flight to saturate.")
    parser.add_argument("--share", type=float, default=0.5, help="replace: the load, as a share of saturation.")
    parser.add_argument(
        "--steps", action="store_true", help="replace: admit, promote, evict, one after the other."
    )
    parser.add_argument("--entries", type=int, default=1_000_000, help="join: entries in the log.")
    parser.add_argument("--log", choices=("kept", "compacted"), default="kept", help="join: what is there of it.")
    parser.add_argument("--load", type=float, default=200.0, help="join: puts per second meanwhile.")
    parser.add_argument("--json", metavar="FILE", help="Also write one JSON object to FILE.")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the nodes are ended, too
    if reason := measurable():
        parser.error(reason)
    limits = machine.measure()
    try:
        facts = runner()(replace(options)) if options.what == "replace" else join(options)
    except (PeerFailed, TimeoutError) as error:
        _say(f"{options.what} was not measured: {error}")
        return 1
    print(", ".join(f"{name} {value}" for name, value in limits.items()))
    print(table(facts))
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": limits, **facts}, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
