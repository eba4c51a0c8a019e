"""quorum itself under the same load as its peers: three node processes on loopback, fdatasync before each ack.

Three ways to put load on it: the client that we ship (operations of one loop turn travel together; in plain text
and under mutual TLS), and, as the peers' clients do it, one put in each frame over 16 sockets.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from load import PeerFailed, Report, Result, check_request, percentile
from peers.pipeline import Address, Channel, ClosedLoop, ConnectionLost
from peers.processes import Processes, measurable
from quorum.apps import kv
from quorum.apps.catalogue import KV_APP
from quorum.apps.host import OPEN, SESSIONS, decode_session
from quorum.runtime.client import Client
from quorum.runtime.codec import FrameParser, MessageCodec, cluster_tag, encode_frame
from quorum.runtime.dialler import Dialler
from quorum.runtime.handshake import CLIENT, CONTROL_CHANNEL, HANDSHAKE, PROTOCOL_VERSION, Hello
from quorum.runtime.keyring import TlsContexts, load_tls
from quorum.runtime.messages import ClientMessage, NodeMessage, Submit
from quorum.runtime.messages import Result as Answered
from quorum.runtime.node_connection import NodeConnection
from quorum.runtime.setup import ClusterLayout, init_cluster

NODES = 3
SOCKETS_MAX = 16
KEYS = 100_000
READY_S = 30.0
WARM_UP_S = 1.0
DRAIN_S = 30.0
RECOVERY_S = 30.0
PROBE_S = 0.005
SETTLE_S = 1.0
DURABLE = "fdatasync on a quorum before the ack"
_TO_NODE: MessageCodec[ClientMessage] = MessageCodec(ClientMessage)
_FROM_NODE: MessageCodec[NodeMessage] = MessageCodec(NodeMessage)


class Members:
    """The node processes of one cluster, and a way to reach them."""

    def __init__(
        self, processes: Processes, folder: Path, insecure: bool, awake: bool = False, nodes: int = NODES
    ) -> None:
        self.processes = processes
        self.layout: ClusterLayout = init_cluster(folder, nodes=nodes, insecure=insecure)
        self.config = self.layout.config
        self.tls: TlsContexts | None = None if insecure else load_tls(self.layout.keys, self.layout.admin)
        self.endpoints = {member.id: str(member.advertise) for member in self.config.members}
        for node, settings in self.layout.nodes.items():
            if awake:
                text = settings.read_text(encoding="utf-8")
                settings.write_text(text.replace("awake = false", "awake = true"), encoding="utf-8")
            self.start(node, "--bootstrap")

    def start(self, node: str, *options: str) -> None:
        """Start a node, or start it again with the data it left behind."""
        command = [sys.executable, "-m", "quorum", "node", "--config", str(self.layout.nodes[node]), *options]
        self.processes.start(node, command)

    def dialler(self) -> Dialler:
        return Dialler(self.config.cluster_id, self.tls)

    def client(self) -> Client:
        return Client(list(self.endpoints.values()), self.dialler(), timeout=READY_S)

    async def leader(self) -> str:
        """Wait until a node leads and all are connected. Raises PeerFailed after 30 s."""
        deadline = time.perf_counter() + READY_S
        while time.perf_counter() < deadline:
            self.processes.check_alive()
            for node, endpoint in self.endpoints.items():
                try:
                    async with NodeConnection(endpoint, self.dialler()) as connection:
                        status = json.loads(await connection.status())
                except OSError:
                    continue
                if status["role"] == "leader" and len(status["connected"]) == len(self.endpoints) - 1:
                    return node
            await asyncio.sleep(0.05)
        raise PeerFailed(f"quorum: the nodes were to elect a leader, but did not within {READY_S:.0f} s.")


class _Load:
    """A closed loop over the shipped client: each answer makes room for the next put."""

    def __init__(self, client: Client, value_bytes: int) -> None:
        self._client = client
        self._value = b"v" * value_bytes
        self._number = 0
        self._until = 0.0
        self._idle = asyncio.Event()
        self.inflight = 0
        self.latencies_s: list[float] = []

    def fill(self, outstanding: int) -> None:
        self._until = float("inf")
        for _ in range(outstanding):
            self._put()

    async def run(self, seconds: float) -> float:
        self.latencies_s = []
        began = time.perf_counter()
        await asyncio.sleep(seconds)
        return time.perf_counter() - began

    async def drain(self) -> None:
        """Stop refilling and wait for what is in flight."""
        self._until = 0.0
        if self.inflight:
            await asyncio.wait_for(self._idle.wait(), DRAIN_S)

    def _put(self) -> None:
        self._number += 1
        self.inflight += 1
        began = time.perf_counter()

        def answered(future: asyncio.Future[kv.Written]) -> None:
            future.result()
            now = time.perf_counter()
            self.inflight -= 1
            self.latencies_s.append(now - began)
            if now < self._until:
                self._put()
            elif not self.inflight:
                self._idle.set()

        key = b"key%09d" % (self._number % KEYS)
        self._client.kv.put_soon(key, self._value).add_done_callback(answered)


async def _revision(members: Members) -> int:
    async with members.client() as client:
        found = await client.kv.range(b"key", None, limit=1)
        return found.revision


async def _client_row(members: Members, name: str, outstanding: int, seconds: float, value_bytes: int) -> Result:
    """Measure one closed loop, and check that the store took every put that was acknowledged."""
    await members.leader()
    before = await _revision(members)
    async with members.client() as client:
        load = _Load(client, value_bytes)
        load.fill(outstanding)
        await load.run(WARM_UP_S)
        acknowledged = len(load.latencies_s)
        server_s, client_s = members.processes.cpu_s(), time.process_time()
        took_s = await load.run(seconds)
        client_s = time.process_time() - client_s
        server_s = members.processes.cpu_s() - server_s
        measured = sorted(load.latencies_s)
        rss_mb = members.processes.rss_mb()
        await load.drain()
        acknowledged += len(load.latencies_s)
    applied = await _revision(members) - before
    if applied < acknowledged or not measured:
        raise PeerFailed(f"{name}: {acknowledged} puts were acknowledged and {applied} applied. A bug: report it.")
    return _result(name, outstanding, measured, took_s, server_s, client_s, rss_mb)


class _RawChannel(Channel):
    """One put in each frame, in a session of its own."""

    def __init__(self, address: Address, cluster: str, value_bytes: int) -> None:
        super().__init__(address)
        self.ready = False
        self._tag = cluster_tag(cluster)
        self._parser = FrameParser(tag=self._tag)
        self._value = b"v" * value_bytes
        self._session = 0
        self._number = 0
        hello = Hello(PROTOCOL_VERSION, cluster, CLIENT, "", "")
        self._frame(CONTROL_CHANNEL, HANDSHAKE.encode(hello), b"")

    def submit(self) -> int:
        self._number += 1
        number = self._number
        body = kv.encode_batch([kv.Put(b"key%09d" % (number % KEYS), self._value)])
        # Answers may be forgotten well behind this put: never one that is still in flight.
        message = Submit(number, KV_APP, self._session, number, max(1, number - 4000), 1)
        self._frame(0, _TO_NODE.encode(message), body)
        return number

    def answers(self, data: bytes) -> list[tuple[int, bool]]:
        answered = []
        for channel, head, body in self._parser.feed(data):
            if channel == CONTROL_CHANNEL:
                self._frame(0, _TO_NODE.encode(Submit(0, SESSIONS, 0, 0, 0, 1)), OPEN)
                continue
            message = _FROM_NODE.decode(head, "node")
            is_done = isinstance(message, Answered) and message.status == 0
            if message.request:
                answered.append((message.request, is_done))
            elif is_done:
                self._session = decode_session(body)
                self.ready = True
            else:
                raise ConnectionLost("the node does not lead")
        return answered

    def _frame(self, channel: int, head: bytes, body: bytes) -> None:
        self.outbox += b"".join(encode_frame(self._tag, channel, head, (body,) if body else ()))


def _raw_row(members: Members, name: str, outstanding: int, seconds: float, value_bytes: int) -> Result:
    leader = asyncio.run(members.leader())
    host, _, port = members.endpoints[leader].rpartition(":")
    cluster = members.config.cluster_id
    count = min(SOCKETS_MAX, outstanding)
    load = ClosedLoop([_RawChannel((host, int(port)), cluster, value_bytes) for _ in range(count)], outstanding)
    before = asyncio.run(_revision(members))
    try:
        load.open()
        load.run(WARM_UP_S)
        acknowledged = load.acknowledged
        server_s, client_s = members.processes.cpu_s(), time.process_time()
        took_s = load.run(seconds)
        client_s = time.process_time() - client_s
        server_s = members.processes.cpu_s() - server_s
        measured, failed = sorted(load.latencies_s), load.failed
        rss_mb = members.processes.rss_mb()
        load.run(DRAIN_S, refill=False)
        acknowledged += len(measured) + load.acknowledged
    finally:
        load.close()
    applied = asyncio.run(_revision(members)) - before
    if applied < acknowledged or failed or not measured:
        raise PeerFailed(f"{name}: {acknowledged} puts acknowledged, {applied} applied, {failed} failed.")
    return _result(name, outstanding, measured, took_s, server_s, client_s, rss_mb)


def _result(
    name: str,
    outstanding: int,
    latencies_s: list[float],
    took_s: float,
    server_s: float,
    client_s: float,
    rss_mb: list[float],
) -> Result:
    ops = len(latencies_s)
    return Result(
        name=name,
        outstanding=outstanding,
        ops=ops,
        seconds=round(took_s, 3),
        p50_ms=round(percentile(latencies_s, 0.5) * 1e3, 3),
        p99_ms=round(percentile(latencies_s, 0.99) * 1e3, 3),
        server_cpu_s_per_10k=round(server_s / ops * 1e4, 3),
        client_cpu_s_per_10k=round(client_s / ops * 1e4, 3),
        durable=DURABLE,
        rss_mb=rss_mb,
    )


async def _failover_s(members: Members) -> float:
    """Kill the leader; the seconds until the shipped client, which was connected to that leader and knows the
    others, has a put acknowledged that it made after the kill."""
    leader = await members.leader()
    async with members.client() as client:
        await client.kv.put(b"failover", b"before")
        members.processes.kill(leader)
        began = time.perf_counter()
        first = asyncio.get_running_loop().create_future()

        def answered(future: asyncio.Future[kv.Written]) -> None:
            if not first.done() and not future.cancelled() and future.exception() is None:
                first.set_result(time.perf_counter() - began)

        while not first.done() and time.perf_counter() - began < RECOVERY_S:
            client.kv.put_soon(b"failover", b"after").add_done_callback(answered)
            await asyncio.wait((first,), timeout=PROBE_S)
        if not first.done():
            raise PeerFailed(f"The leader was killed and no put succeeded within {RECOVERY_S:.0f} s.")
    members.processes.reap(leader)
    members.start(leader)
    await members.leader()
    await asyncio.sleep(SETTLE_S)
    return round(first.result(), 4)


def available() -> str | None:
    """Return None if the engine can be measured here, else the reason why not."""
    return measurable()


def run(outstanding: Sequence[int], seconds: float, value_bytes: int, failovers: int) -> list[Report]:
    """Measure each way with each count in flight, then `failovers` leader crashes under mutual TLS.

    Raises BadRequest for arguments that make no sense, PeerFailed if the cluster does not serve.
    """
    check_request(outstanding, seconds, value_bytes, failovers)
    run_on = runner()
    with Processes() as processes:
        members = Members(processes, processes.folder / "cluster", insecure=True)
        rows = [
            run_on(_client_row(members, "quorum client", count, seconds, value_bytes)) for count in outstanding
        ]
        plain = Report("quorum", "3 nodes, plain TCP, the shipped client in this process", rows)
        raw_rows = [
            _raw_row(members, "quorum one put a frame", count, seconds, value_bytes) for count in outstanding
        ]
        raw = Report("quorum, frame by frame", "3 nodes, plain TCP, one put in each frame, 16 sockets", raw_rows)
    with Processes() as processes:
        members = Members(processes, processes.folder / "cluster", insecure=False)
        rows = [
            run_on(_client_row(members, "quorum mTLS client", count, seconds, value_bytes))
            for count in outstanding
        ]
        times = [run_on(_failover_s(members)) for _ in range(failovers)]
        secure = Report("quorum, mTLS", "3 nodes, mutual TLS 1.3, the shipped client in this process", rows, times)
    return [plain, raw, secure]


def runner():  # type: ignore[no-untyped-def]
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run
