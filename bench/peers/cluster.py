"""Three members of one system on loopback, and the same measurement for each of them."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from load import PeerFailed, Report, Result, percentile
from peers.pipeline import Address, Channel, ClosedLoop, recovery_s
from peers.processes import Processes

NAMES = ("m1", "m2", "m3")
READY_S = 90.0
SETTLE_S = 1.0
ROW_WARM_UP_S = 1.0
DRAIN_S = 30.0
SOCKETS_MAX = 16


class Cluster(ABC):
    """Starts the members of one system and speaks its protocol; `measure` does the rest."""

    system: ClassVar[str]
    operation: ClassVar[str]
    durable: ClassVar[str]
    warm_up_s: ClassVar[float] = 0.0  # discarded once, before the first row

    def __init__(self, processes: Processes, value_bytes: int) -> None:
        self.processes = processes
        self.value_bytes = value_bytes

    @abstractmethod
    def start_member(self, name: str) -> None:
        """Start a member, or start it again with the data it left behind."""

    @abstractmethod
    def address(self, name: str) -> Address:
        """Where a member takes clients."""

    @abstractmethod
    def role(self, name: str) -> str | None:
        """Return "leader", "follower", or None where the member does not answer or knows no leader."""

    @abstractmethod
    def position(self, name: str) -> int:
        """Return how many writes the member has applied, from a base that only failover changes."""

    @abstractmethod
    def connect(self, address: Address) -> Channel:
        """Open a channel whose puts carry `value_bytes`."""

    @abstractmethod
    def prepare(self, leader: str) -> None:
        """Make what the puts overwrite, where the system needs that."""

    def leader(self) -> str:
        """Wait until one member leads and the others follow; return its name.

        Raises PeerFailed if a member ended, or they do not agree within 90 s.
        """
        deadline = time.perf_counter() + READY_S
        while time.perf_counter() < deadline:
            self.processes.check_alive()
            roles = {name: self.role(name) for name in NAMES}
            if sorted(str(role) for role in roles.values()) == ["follower", "follower", "leader"]:
                return next(name for name in NAMES if roles[name] == "leader")
            time.sleep(0.1)
        raise PeerFailed(
            f"{self.system}: three members were to elect a leader, but did not within {READY_S:.0f} s."
        )


def measure(cluster: Cluster, outstanding: Sequence[int], seconds: float, failovers: int, settings: str) -> Report:
    """Start the members, measure a row per count of outstanding puts, then kill the leader `failovers` times."""
    for name in NAMES:
        cluster.start_member(name)
    leader = cluster.leader()
    cluster.prepare(leader)
    time.sleep(SETTLE_S)
    if cluster.warm_up_s:
        row(cluster, leader, max(outstanding), 0.0, cluster.warm_up_s)
    results = []
    for count in outstanding:
        leader = cluster.leader()
        results.append(row(cluster, leader, count, ROW_WARM_UP_S, seconds))
    return Report(cluster.system, settings, results, [failover_s(cluster) for _ in range(failovers)])


def row(cluster: Cluster, leader: str, outstanding: int, warm_up_s: float, seconds: float) -> Result:
    """Measure one closed loop against the leader, and check that it applied what it acknowledged.

    Raises PeerFailed if nothing was acknowledged, or more than the leader says it applied.
    """
    address = cluster.address(leader)
    position_before = cluster.position(leader)
    load = ClosedLoop([cluster.connect(address) for _ in range(min(SOCKETS_MAX, outstanding))], outstanding)
    try:
        load.open()
        load.run(warm_up_s)
        acknowledged = load.acknowledged
        server_s, client_s = cluster.processes.cpu_s(), _own_cpu_s()
        took_s = load.run(seconds)
        client_s = _own_cpu_s() - client_s
        server_s = cluster.processes.cpu_s() - server_s
        ops, failed, latencies_s = load.acknowledged, load.failed, sorted(load.latencies_s)
        rss_mb = cluster.processes.rss_mb()
        load.run(DRAIN_S, refill=False)
        acknowledged += ops + load.acknowledged
    finally:
        load.close()
    applied = cluster.position(leader) - position_before
    if ops == 0 or applied < acknowledged:
        raise PeerFailed(
            f"{cluster.system} with {outstanding} in flight acknowledged {acknowledged} puts "
            f"({ops} while measured), refused {failed} and applied {applied}. "
            f"Run it again with more seconds on a calmer machine."
        )
    return Result(
        name=f"{cluster.system} {cluster.operation}",
        outstanding=outstanding,
        ops=ops,
        seconds=round(took_s, 3),
        p50_ms=round(percentile(latencies_s, 0.5) * 1e3, 3),
        p99_ms=round(percentile(latencies_s, 0.99) * 1e3, 3),
        server_cpu_s_per_10k=round(server_s / ops * 1e4, 3),
        client_cpu_s_per_10k=round(client_s / ops * 1e4, 3),
        durable=cluster.durable,
        rss_mb=rss_mb,
        failed=failed,
    )


def failover_s(cluster: Cluster) -> float:
    """Kill the leader, return the seconds until a put succeeds again, and bring the killed member back."""
    leader = cluster.leader()
    survivors = [cluster.address(name) for name in NAMES if name != leader]
    took_s = recovery_s(lambda: cluster.processes.kill(leader), cluster.connect, survivors)
    cluster.processes.reap(leader)
    cluster.start_member(leader)
    cluster.leader()
    time.sleep(SETTLE_S)
    return round(took_s, 4)


def _own_cpu_s() -> float:
    times = os.times()
    return times.user + times.system
