"""Where the microseconds of one command go: each stage of its way alone, in one process, without network and disk.

Three replicas exchange messages by plain calls. The stages are those of ARCHITECTURE.md, "The way of one command".

Run: python examples/price_of_a_command.py
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from time import perf_counter_ns
from typing import Any

from quorum.apps import kv
from quorum.apps.catalogue import KV_APP, new_host
from quorum.apps.host import OPEN, SESSIONS, decode_session
from quorum.entry import decode_entry, entry_identity, split_entries
from quorum.header import Batch
from quorum.model import Configuration
from quorum.protocols import effects, events
from quorum.protocols.raft.messages import Append, AppendReply
from quorum.protocols.raft.replica import RaftReplica
from quorum.protocols.raft.settings import Settings
from quorum.protocols.raft.state import ELECTION
from quorum.runtime.codec import FrameParser, MessageCodec, cluster_tag, encode_frame
from quorum.runtime.messages import ClientMessage, NodeMessage, Result, Submit
from quorum.runtime.wal_records import ENTRY, Encoder

NODES = ("n1", "n2", "n3")
TAG = cluster_tag("example")
ROUNDS = 2_000
VALUE = b"v" * 100
ToNode: MessageCodec[ClientMessage] = MessageCodec(ClientMessage)
ToClient: MessageCodec[NodeMessage] = MessageCodec(NodeMessage)


class Prices:
    """Time spent, by stage."""

    def __init__(self) -> None:
        self.spent_ns: dict[str, int] = {}

    def of(self, stage: str, act: Callable[..., Any], *arguments: Any) -> Any:
        began = perf_counter_ns()
        result = act(*arguments)
        self.spent_ns[stage] = self.spent_ns.get(stage, 0) + perf_counter_ns() - began
        return result


class Cluster:
    """Three replicas; `commit` orders one batch and returns the stored entry."""

    def __init__(self) -> None:
        self.prices = Prices()
        self.replicas = {node: RaftReplica(node, Random(node), Settings(snapshot_entries=10**9)) for node in NODES}
        self.logs: dict[str, dict[int, bytes]] = {node: {} for node in NODES}
        self.persists = dict.fromkeys(NODES, 0)
        self.queue: deque[tuple[str, events.Event]] = deque()
        self.committed = 0
        bootstrap = Configuration(epoch=1, voters=NODES)
        for node in NODES:
            self._step(node, events.Started(0, events.Durable(), bootstrap))
        self._step("n1", events.TimerFired(10_000_000, ELECTION))
        self.settle()
        self.prices = Prices()

    def commit(self, batch: Batch) -> bytes:
        self._step("n1", events.Proposed(10_000_000, (1,), (batch,)))
        self.settle()
        return self.logs["n1"][self.committed]

    def settle(self) -> None:
        while self.queue:
            self._step(*self.queue.popleft())

    def _step(self, node: str, event: events.Event) -> None:
        match event:
            case events.Received(message=Append(), attached=attached) if attached:
                stage = "follower: check and store"
            case events.Proposed():
                stage = "leader: order and encode"
            case events.Received(message=AppendReply()):
                stage = "leader: count and commit"
            case _:
                stage = "all: completed syncs"
        staged = self.persists[node]
        produced = self.prices.of(stage, self.replicas[node].step, event)
        for effect in produced:
            if isinstance(effect, effects.Persist):
                self.persists[node] += 1
                if isinstance(effect.record, effects.Entries):
                    for entry in effect.record.entries:
                        self.logs[node][entry_identity(entry)[0]] = bytes(entry)
        for effect in produced:
            if isinstance(effect, effects.Send):
                frame = b"".join(self.logs[node][index] for index in range(effect.first, effect.last + 1))
                attached = self.prices.of("follower: cut entries apart", split_entries, frame) if frame else ()
                self.queue.append((effect.to, events.Received(10_000_000, node, effect.message, tuple(attached))))
            elif isinstance(effect, effects.Commit) and node == "n1":
                self.committed = effect.last
        if self.persists[node] > staged:
            self.queue.append((node, events.Stored(10_000_000, self.persists[node])))


def framed(codec: MessageCodec[Any], message: object, attached: bytes) -> bytes:
    """One frame, as it leaves in one write."""
    return b"".join(encode_frame(TAG, 0, codec.encode(message), (attached,)))


def measure(commands: int) -> dict[str, float]:
    """Microseconds a command by stage, with `commands` puts in a batch."""
    cluster = Cluster()
    host, wal = new_host(), Encoder(0, 0, 0)
    at_node, at_client = FrameParser(tag=TAG), FrameParser(tag=TAG)

    def apply(stored: bytes) -> Any:
        header, body = decode_entry(stored)
        return host.apply(header, body)

    session = decode_session(apply(cluster.commit(Batch(SESSIONS, 0, 0, 0, 1, OPEN))).body)
    cluster.prices = prices = Prices()
    for sequence in range(1, ROUNDS + 1):
        puts = [kv.Put(b"key-%d" % (number % 1000), VALUE) for number in range(commands)]
        body = prices.of("client: encode", kv.encode_batch, puts)
        submit = Submit(sequence, KV_APP, session, sequence, sequence, commands)
        frame = prices.of("client: encode", framed, ToNode, submit, body)
        ((_, head, received),) = prices.of("node: cut and decode the frame", at_node.feed, frame)
        asked = prices.of("node: cut and decode the frame", ToNode.decode, head, "client")
        batch = Batch(
            asked.app, asked.client, asked.first_sequence, asked.acked_below, asked.count, bytes(received)
        )
        stored = cluster.commit(batch)
        prices.of("log: make the record", wal.add, ENTRY, 1, sequence, stored)
        wal.parts.clear()
        applied = prices.of("every node: apply", apply, stored)
        answer = Result(sequence, applied.status)
        frame = prices.of("node: answer", framed, ToClient, answer, applied.body)
        ((_, head, received),) = prices.of("client: decode", at_client.feed, frame)
        prices.of("client: decode", ToClient.decode, head, "n1")
        prices.of("client: decode", kv.decode_results, received)
    return {stage: spent / 1000 / ROUNDS / commands for stage, spent in prices.spent_ns.items()}


if __name__ == "__main__":
    alone, together = measure(1), measure(64)
    print(f"{'microseconds a command':32} {'alone':>8} {'64 together':>12}")
    for stage in alone:
        print(f"{stage:32} {alone[stage]:8.2f} {together[stage]:12.2f}")
    print(f"{'sum':32} {sum(alone.values()):8.2f} {sum(together.values()):12.2f}")
