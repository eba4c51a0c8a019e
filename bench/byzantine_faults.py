"""What faults cost a committee of four: a silent member, one that floods, a primary that dies, one that is silent.

Each is measured in alternation with the same committee without the fault, so that what else goes on in the machine
meets both alike.
"""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from committee import READY_S, Committee, Load, put_all_the_time, row_of
from quorum.runtime.config import load_cluster

LOAD = Load(1024)
FLOOD = "flood"


async def silent(committee: Committee, seconds: float, repeats: int) -> dict[str, Any]:
    """Throughput with all members, and with one backup stopped: medians of `repeats`. Raises PeerFailed."""
    whole, part = [], []
    for _ in range(repeats):
        whole.append(await _rate(committee, "all four", seconds))
        primary = await committee.ready()
        victim = next(node for node in committee.layout.nodes if node != primary)
        async with committee.place.client(READY_S) as client:
            with _stopped(committee, victim):
                took_s = await put_all_the_time(client, LOAD, seconds)
        part.append(round(len(took_s) / seconds))
        await committee.caught_up()
    return _shares(whole, part)


async def flooded(committee: Committee, liar: str, seconds: float, repeats: int) -> dict[str, Any]:
    """Throughput with an honest `liar`, and with one that floods: medians of `repeats`. Raises PeerFailed."""
    whole, part = [], []
    await committee.ready()
    for _ in range(repeats):
        await committee.restart(liar)
        whole.append(await _rate(committee, "nobody floods", seconds))
        await committee.restart(liar, "--lie", FLOOD)
        part.append(await _rate(committee, "one floods", seconds))
    return _shares(whole, part)


async def _rate(committee: Committee, name: str, seconds: float) -> int:
    return int((await row_of(committee, name, LOAD, seconds))["ops_per_s"])


def _shares(whole: list[int], part: list[int]) -> dict[str, Any]:
    all_of_them, rest = statistics.median(whole), statistics.median(part)
    return {"all": all_of_them, "one": rest, "share": round(rest / max(all_of_them, 1), 3), "runs": [whole, part]}


async def view_changes(committee: Committee, count: int) -> dict[str, Any]:
    """From the loss of a primary to the next decided put, in seconds; the client tries all the time. Killed, it
    closes its sockets, which tells the others; stopped, it leaves them open. Raises PeerFailed.

    `bound_s` is two election timeouts, within which commits have to resume.
    """
    timeout_us = load_cluster(committee.layout.cluster).timing.election_timeout_us
    killed_s, silent_s = [], []
    for _ in range(count):
        killed_s.append(await _killed(committee))
        silent_s.append(await _silenced(committee))
    return {"killed_s": killed_s, "silent_s": silent_s, "bound_s": 2 * timeout_us / 1e6}


async def _killed(committee: Committee) -> float:
    primary = await committee.ready()
    taken_s = await _until_next_put(committee, lambda: committee.processes.kill(primary))
    await committee.restart(primary)
    await committee.caught_up()
    return taken_s


async def _silenced(committee: Committee) -> float:
    primary = await committee.ready()
    try:
        stop = signal.SIGSTOP
        taken_s = await _until_next_put(committee, lambda: committee.processes.signal(primary, stop))
    finally:
        committee.processes.signal(primary, signal.SIGCONT)
    await committee.caught_up()
    return taken_s


async def _until_next_put(committee: Committee, fault: Callable[[], None]) -> float:
    async with committee.place.client(READY_S) as client:
        await client.kv.put(b"before", b"the fault")
        fault()
        began_s = time.perf_counter()
        await client.kv.put(b"after", b"the fault")
        return time.perf_counter() - began_s


@contextmanager
def _stopped(committee: Committee, node: str) -> Iterator[None]:
    committee.processes.signal(node, signal.SIGSTOP)
    try:
        yield
    finally:
        committee.processes.signal(node, signal.SIGCONT)


def told(found: dict[str, Any]) -> Iterator[str]:
    """One line for each fault that was measured."""
    for name, words in (("silent", "is silent"), ("flood", "floods")):
        if name in found:
            each = found[name]
            whole, part = (", ".join(map(str, runs)) for runs in each["runs"])
            yield (
                f"one of four {words}: {each['one']:.0f} of {each['all']:.0f} ops/s, {each['share']:.0%} "
                f"(medians; with: {part}; without: {whole})"
            )
    changed = found.get("view_change", {})
    for name, words in (("killed_s", "kill -9 of the primary"), ("silent_s", "SIGSTOP of the primary")):
        if changed.get(name):
            taken_s, bound_s = changed[name], changed["bound_s"]
            each = ", ".join(f"{taken:.3f}" for taken in taken_s)
            verdict = "met" if max(taken_s) <= bound_s else "not met"
            yield (
                f"view change after {words}: median {statistics.median(taken_s):.3f} s ({each}); "
                f"2 election timeouts: {bound_s:.3f} s, {verdict} by the slowest"
            )
