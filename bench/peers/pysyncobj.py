"""PySyncObj: three processes with a replicated dictionary and a journal, loaded from inside the leader's process.

An acknowledgement promises less than the other systems': the journal is a mapped file that is never synced, so an
acknowledged put survives the death of a process, not the loss of power.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from load import BadRequest, PeerFailed, Report, Result, check_request
from peers.processes import Processes, free_ports, measurable

BENCH = Path(__file__).parent.parent
MEMBERS = 3
ANSWER_S = 20.0
READY_S = 60.0
RECOVERY_S = 70.0
WARM_UP_S = 1.0
SETTLE_S = 1.0
DRAIN_S = 40.0
DURABLE = "page cache, never fsyncs"


def available() -> str | None:
    """Return None if PySyncObj can be measured here, else the reason why not."""
    if importlib.util.find_spec("pysyncobj") is None:
        return 'no `pysyncobj` in this Python: pip install "pysyncobj>=0.3.14,<0.4"'
    return measurable()


def run(outstanding: Sequence[int], seconds: float, value_bytes: int, failovers: int) -> Report:
    """Measure puts of a 12 B key and `value_bytes` with each count in flight, then `failovers` leader crashes.

    Every count is measured twice: with the default batching (a timer of 100 ms), and with it off.
    Raises BadRequest for arguments that make no sense, PeerFailed if the members do not serve.
    """
    check_request(outstanding, seconds, value_bytes, failovers)
    if reason := available():
        raise BadRequest(f"PySyncObj was to be measured: {reason}. Install it, or leave it out.")
    results: list[Result] = []
    failover_s: list[float] = []
    for batched, name in ((True, "PySyncObj put"), (False, "PySyncObj put, batch off")):
        with Processes() as processes:
            cluster = PySyncObjCluster(processes, batched, value_bytes)
            for member in cluster.addresses:
                cluster.start_member(member)
            for count in outstanding:
                results.append(cluster.row(name, count, seconds))
            if batched:
                failover_s = [cluster.failover_s() for _ in range(failovers)]
    settings = (
        f"pysyncobj {importlib.metadata.version('pysyncobj')}, 3 processes, journal and dump on, never fsynced, "
        f"puts of 12 + {value_bytes} B from inside the leader; failover with default batching"
    )
    return Report("PySyncObj", settings, results, failover_s)


class PySyncObjCluster:
    """The members, named by their addresses, and the pipes over which they are told what to do."""

    def __init__(self, processes: Processes, batched: bool, value_bytes: int) -> None:
        self.addresses = [f"127.0.0.1:{port}" for port in free_ports(MEMBERS)]
        self._processes = processes
        self._batched = batched
        self._value_bytes = value_bytes
        self._pipes: dict[str, subprocess.Popen[bytes]] = {}
        self._inbox: dict[str, bytes] = {}

    def start_member(self, own: str) -> None:
        """Start a member, or start it again with the journal it left behind."""
        others = [address for address in self.addresses if address != own]
        command = [sys.executable, "-m", "peers.pysyncobj_member", "--own", own, "--others", *others]
        command += ["--folder", str(self._processes.folder), "--value-bytes", str(self._value_bytes)]
        command += [] if self._batched else ["--unbatched"]
        environment = os.environ | {"PYTHONPATH": str(BENCH)}
        self._pipes[own] = self._processes.start(own, command, env=environment, piped=True)
        self._inbox[own] = b""

    def leader(self) -> str:
        """Wait until all members are connected, name one leader and have applied the same; return its address.

        Raises PeerFailed if they do not within 60 s.
        """
        deadline = time.perf_counter() + READY_S
        while time.perf_counter() < deadline:
            self._processes.check_alive()
            states = [self._ask(member, ANSWER_S, do="status") for member in self.addresses]
            leaders = {str(state["leader"]) for state in states}
            together = all(state["connected"] == MEMBERS - 1 for state in states)
            level = len({state["applied"] for state in states}) == 1
            if together and level and len(leaders) == 1 and leaders <= set(self.addresses):
                return leaders.pop()
            time.sleep(0.1)
        raise PeerFailed(f"PySyncObj: three members were to elect a leader, but did not within {READY_S:.0f} s.")

    def row(self, name: str, outstanding: int, seconds: float) -> Result:
        """Measure one closed loop inside the leader.

        Raises PeerFailed if no put was acknowledged while measured, or some are never answered.
        """
        leader = self.leader()
        started = self._ask(
            leader, ANSWER_S + WARM_UP_S, do="load", outstanding=outstanding, warm_up_s=WARM_UP_S, seconds=seconds
        )
        assert started == {"phase": "measuring"}, "the answers of a member come in order"
        cpu_s = self._processes.cpu_s()
        measured = self._hear(leader, ANSWER_S + seconds)
        cpu_s = self._processes.cpu_s() - cpu_s
        rss_mb = self._processes.rss_mb()
        drained = self._hear(leader, DRAIN_S)
        ops, took_s = int(measured["ops"]), float(measured["seconds"])
        if ops == 0 or drained["unanswered"]:
            raise PeerFailed(
                f"PySyncObj with {outstanding} in flight acknowledged {ops} puts in {took_s:.1f} s and left "
                f"{drained['unanswered']} unanswered. Run it again with more seconds on a calmer machine."
            )
        return Result(
            name=name,
            outstanding=outstanding,
            ops=ops,
            seconds=round(took_s, 3),
            p50_ms=round(float(measured["p50_ms"]), 3),
            p99_ms=round(float(measured["p99_ms"]), 3),
            server_cpu_s_per_10k=round(cpu_s / ops * 1e4, 3),
            client_cpu_s_per_10k=None,
            durable=DURABLE,
            rss_mb=rss_mb,
            failed=int(measured["failed"]),
        )

    def failover_s(self) -> float:
        """Kill the leader, return the seconds until a survivor's put succeeds, and bring the killed member back.

        Raises PeerFailed if none succeeds within 70 s.
        """
        leader = self.leader()
        survivors = [member for member in self.addresses if member != leader]
        self._processes.kill(leader)
        started = time.perf_counter()
        for member in survivors:
            self._tell(member, do="probe")
        self._wait_for_line(survivors, RECOVERY_S)
        took_s = time.perf_counter() - started
        for member in survivors:
            self._hear(member, RECOVERY_S)
        self._processes.reap(leader)
        self.start_member(leader)
        self.leader()
        time.sleep(SETTLE_S)
        return round(took_s, 4)

    def _ask(self, member: str, timeout_s: float, **request: object) -> dict[str, Any]:
        self._tell(member, **request)
        return self._hear(member, timeout_s)

    def _tell(self, member: str, **request: object) -> None:
        pipe = self._pipes[member].stdin
        assert pipe is not None, "members are started with pipes"
        try:
            pipe.write(json.dumps(request).encode() + b"\n")
            pipe.flush()
        except OSError as error:
            raise PeerFailed(
                f"{member} was asked for {request} and is gone. {self._last_words(member)}"
            ) from error

    def _hear(self, member: str, timeout_s: float) -> dict[str, Any]:
        self._wait_for_line([member], timeout_s)
        line, _, self._inbox[member] = self._inbox[member].partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _wait_for_line(self, members: Sequence[str], timeout_s: float) -> None:
        """Wait until one of the members has said a line."""
        deadline = time.perf_counter() + timeout_s
        pipes = {self._output(member): member for member in members}
        while not any(b"\n" in self._inbox[member] for member in members):
            readable, _, _ = select.select(list(pipes), [], [], max(0.0, deadline - time.perf_counter()))
            if not readable:
                raise PeerFailed(f"{', '.join(members)}: no answer within {timeout_s:.0f} s. Start the run again.")
            for pipe in readable:
                data = os.read(pipe, 1 << 16)
                if not data:
                    raise PeerFailed(f"{pipes[pipe]} was to answer, but ended. {self._last_words(pipes[pipe])}")
                self._inbox[pipes[pipe]] += data

    def _output(self, member: str) -> int:
        pipe = self._pipes[member].stdout
        assert pipe is not None, "members are started with pipes"
        return pipe.fileno()

    def _last_words(self, member: str) -> str:
        return f"Read the end of its log: {self._processes.last_words(member)}"
