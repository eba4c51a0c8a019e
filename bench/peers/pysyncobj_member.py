"""One PySyncObj member with a replicated dictionary, told what to do by lines of JSON on its standard input.

The load runs inside the member, on the thread that also drives the library: a closed loop with no second process
and no hand-over between threads, the cheapest way to use it. Requests and answers:
`{"do": "status"}` -> `{"leader": "host:port" or null, "connected": n, "applied": n}`;
`{"do": "load", "outstanding", "warm_up_s", "seconds"}` -> `{"phase": "measuring"}`, `{"phase": "measured", ...}`,
`{"phase": "drained", ...}`; `{"do": "probe"}` -> `{"recovered": true}` at the first put that succeeds.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import sys
import time
from typing import Any

TICK_S = 0.05  # the library's default; a ready socket ends the wait
PROBE_S = 0.005
RECOVERY_S = 60.0
DRAIN_S = 30.0
KEYS = 1000


class Member:
    """The library's object, its dictionary, and the state of the load in progress."""

    def __init__(self, own: str, others: list[str], folder: str, batched: bool, value_bytes: int) -> None:
        library: Any = importlib.import_module("pysyncobj")
        batteries: Any = importlib.import_module("pysyncobj.batteries")
        self._store = batteries.ReplDict()
        name = own.replace(":", "_")
        settings = library.SyncObjConf(
            autoTick=False,
            appendEntriesUseBatch=batched,
            journalFile=os.path.join(folder, f"{name}.journal"),
            fullDumpFile=os.path.join(folder, f"{name}.dump"),
        )
        self._raft = library.SyncObj(own, others, settings, consumers=[self._store])
        self._success = library.FAIL_REASON.SUCCESS
        self._padding = os.urandom(value_bytes)
        self._numbers = itertools.count()
        self._refill = False
        self._in_flight = 0
        self._failed = 0
        self._latencies_s: list[float] = []

    def serve(self) -> None:
        """Tick and obey until standard input ends."""
        os.set_blocking(sys.stdin.fileno(), False)
        inbox = b""
        while True:
            self._raft.doTick(TICK_S)
            try:
                data = os.read(sys.stdin.fileno(), 1 << 16)
            except BlockingIOError:
                continue
            if not data:
                return
            *lines, inbox = (inbox + data).split(b"\n")
            for line in lines:
                self._obey(json.loads(line))

    def _obey(self, request: dict[str, Any]) -> None:
        if request["do"] == "status":
            status = self._raft.getStatus()
            leader = status["leader"]
            connected = sum(self._raft.isNodeConnected(node) for node in self._raft.otherNodes)
            say(leader=str(leader) if leader else None, connected=connected, applied=status["last_applied"])
        elif request["do"] == "load":
            self._load(request["outstanding"], request["warm_up_s"], request["seconds"])
        else:
            self._probe()

    def _load(self, outstanding: int, warm_up_s: float, seconds: float) -> None:
        self._refill = True
        for _ in range(outstanding):
            self._put()
        self._tick_for(warm_up_s)
        self._latencies_s, self._failed = [], 0
        say(phase="measuring")
        started = time.perf_counter()
        self._tick_for(seconds)
        took_s, taken = time.perf_counter() - started, sorted(self._latencies_s)
        say(phase="measured", seconds=took_s, failed=self._failed, ops=len(taken), **_percentiles_ms(taken))
        self._refill = False
        deadline = time.perf_counter() + DRAIN_S
        while self._in_flight and time.perf_counter() < deadline:
            self._raft.doTick(TICK_S)
        say(phase="drained", unanswered=self._in_flight)

    def _tick_for(self, seconds: float) -> None:
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            self._raft.doTick(TICK_S)

    def _put(self) -> None:
        started, number = time.perf_counter(), next(self._numbers)

        def answered(_: object, error: int) -> None:
            self._in_flight -= 1
            if error == self._success:
                self._latencies_s.append(time.perf_counter() - started)
            else:
                self._failed += 1
            if self._refill:
                self._put()

        self._in_flight += 1
        value = number.to_bytes(8, "big")[-len(self._padding) :] + self._padding[8:]
        self._store.set(f"bench-{number % KEYS:06d}", value, callback=answered)

    def _probe(self) -> None:
        self._latencies_s = []
        deadline = time.perf_counter() + RECOVERY_S
        probe_at = 0.0
        while not self._latencies_s and (now := time.perf_counter()) < deadline:
            if now >= probe_at:
                probe_at = now + PROBE_S
                self._put()
            self._raft.doTick(PROBE_S)
        if self._latencies_s:
            say(recovered=True)


def _percentiles_ms(taken: list[float]) -> dict[str, float]:
    if not taken:
        return {"p50_ms": 0.0, "p99_ms": 0.0}
    return {"p50_ms": taken[len(taken) // 2] * 1e3, "p99_ms": taken[int(len(taken) * 0.99)] * 1e3}


def say(**answer: object) -> None:
    """Print one line of JSON to the process that started this one."""
    print(json.dumps(answer), flush=True)


def main() -> None:
    """Read the options, join the cluster, serve."""
    parser = argparse.ArgumentParser(description="One PySyncObj member, driven by JSON lines on standard input.")
    parser.add_argument("--own", required=True)
    parser.add_argument("--others", required=True, nargs="+")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--unbatched", action="store_true")
    parser.add_argument("--value-bytes", type=int, required=True)
    options = parser.parse_args()
    Member(options.own, options.others, options.folder, not options.unbatched, options.value_bytes).serve()


if __name__ == "__main__":
    main()
