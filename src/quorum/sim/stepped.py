"""A few replicas on a network of lists: every step of it is whoever runs it to take, to hold back, or to forge.

Where `sim.byzantine_world` has drivers, clocks and clients, this has the protocol alone, and Ed25519.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from random import Random

from quorum.certificate.committee import Committee, Member
from quorum.certificate.keys import is_signed
from quorum.certificate.requests import sign_request, unpack_block
from quorum.certificate.vote import SigningDomain
from quorum.entry import decode_entry
from quorum.errors import RemoteProtocolError
from quorum.header import Batch
from quorum.protocols import effects, events
from quorum.protocols.pbft.settings import Settings
from quorum.sim.stepped_node import Node, key_of

CLUSTER = "tests"
SETTINGS = Settings(state_blocks=8, log_kept_blocks=4)


def committee_of(
    count: int, faults: int, cluster: str = CLUSTER, weights: tuple[int, ...] = (), quorums: str = ""
) -> Committee:
    """Members n1, n2, ... of epoch 1, with the keys of their names."""
    names = sorted(f"n{i}" for i in range(1, count + 1))
    votes = weights or (1,) * count
    members = tuple(
        Member(name, bytes(key_of(name).verify_key), vote) for name, vote in zip(names, votes, strict=True)
    )
    return Committee(cluster, 1, members, faults, quorums)


def request_of(client: str, number: int, body: bytes = b"") -> bytes:
    """A signed request of a client whose key is that of its name."""
    key = key_of(client)
    batch = Batch(1, 0, number, 0, 1, body or f"{client} {number}".encode())
    return sign_request(
        SigningDomain(CLUSTER, 0), batch, bytes(key.verify_key), lambda data: key.sign(data).signature
    )


class Cluster:
    """All of them, and the links. `filter` sees every message and may change, drop or multiply it."""

    def __init__(
        self,
        count: int = 4,
        faults: int = 1,
        seed: int = 0,
        settings: Settings = SETTINGS,
        weights: tuple[int, ...] = (),
        quorums: str = "",
    ) -> None:
        self.committee = committee_of(count, faults, weights=weights, quorums=quorums)
        self.settings = settings
        self.random = Random(seed)
        self.now_us = 0
        self.links: dict[tuple[str, str], deque[tuple[object, tuple[bytes, ...]]]] = {}
        self._ready: list[tuple[str, str]] = []
        """The links on which something waits, in order: they are not sorted again for each message."""
        self.nodes = {name: Node(self, name) for name in self.committee.nodes}
        self.log: dict[int, bytes] = {}
        self.liars: set[str] = set()
        self.cut: set[tuple[str, str]] = set()
        self.evidence: list[object] = []
        self.errors: list[tuple[str, Exception]] = []
        self.instant_disks = True
        self.late_checks: set[str] = set()
        """Nodes whose checks of signatures have no result before `Node.let_go`, as from threads."""
        self.filter: Callable[[str, str, object, tuple[bytes, ...]], list[tuple[object, tuple[bytes, ...]]]] | None
        self.filter = None
        self._verified: dict[effects.Signed, bool] = {}
        self.snapshots: dict[tuple[str, int], events.SnapshotMark] = {}

    def boot(self) -> Cluster:
        """Start every node."""
        for node in self.nodes.values():
            node.boot()
        return self

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def raised(self, node: Node, error: Exception) -> None:
        """A replica refused a message, which liars alone may have sent; anything else is a bug."""
        if not isinstance(error, RemoteProtocolError):
            raise error
        self.errors.append((node.name, error))
        assert error.sender in self.liars, f"{node.name} accuses {error}"

    def verify(self, item: effects.Signed) -> bool:
        """Whether a signature is right."""
        known = self._verified.get(item)
        if known is None:
            known = self._verified[item] = is_signed(item.public_key, item.message, item.signature)
        return known

    def send(self, source: str, to: str, message: object, attached: tuple[bytes, ...]) -> None:
        """Put a message on its link, as `filter` lets it through."""
        sent = [(message, attached)] if self.filter is None else self.filter(source, to, message, attached)
        if (source, to) in self.cut:
            return
        for each, pieces in sent:
            self.put(source, to, each, pieces)

    def put(self, source: str, to: str, message: object, attached: tuple[bytes, ...]) -> None:
        """A message waits on its link, whoever it is from."""
        link = source, to
        waiting = self.links.get(link)
        if waiting is None:
            waiting = self.links[link] = deque()
        if not waiting:
            insort(self._ready, link)
        waiting.append((message, attached))

    def take(self, source: str, to: str) -> tuple[object, tuple[bytes, ...]]:
        """The first message of a link, off the link. Raises IndexError where none waits."""
        waiting = self.links.get((source, to), deque())
        taken = waiting.popleft()
        if not waiting:
            self._ready.remove((source, to))
        return taken

    def lose_all(self) -> None:
        """Whatever is under way is lost."""
        self.links.clear()
        self._ready.clear()

    def submit(self, *requests: bytes, to: tuple[str, ...] = ()) -> None:
        """Requests of clients reach these nodes; all members, unless told."""
        for name in to or self.committee.nodes:
            node = self.nodes[name]
            if node.replica is not None:
                node.step(events.Submitted(node.now_us, requests))

    def deliver(self) -> bool:
        """One message of a link drawn at random."""
        if not self._ready:
            return False
        source, to = self._ready[self.random.randrange(len(self._ready))]
        message, attached = self.take(source, to)
        node = self.nodes[to]
        if node.replica is not None and (source, to) not in self.cut:
            node.step(events.Received(node.now_us, self.name_of(source), message, attached))
        return True

    def name_of(self, source: str) -> str:
        """As whom a node is known to those who hear of it."""
        return source

    def run(self, for_us: int) -> None:
        """Messages take no time; when none is left, the next timer fires."""
        end = self.now_us + for_us
        while True:
            while self.deliver():
                if not self.instant_disks and self.random.random() < 0.3:
                    names = sorted(self.nodes)
                    self.nodes[names[self.random.randrange(len(names))]].sync()
            if [node for node in self.nodes.values() if node.staged]:
                for node in self.nodes.values():
                    node.sync()
                continue
            due = [(at, name, timer) for name, node in self.nodes.items() for timer, at in node.timers.items()]
            at, name, timer = min(due, default=(end + 1, "", ""))
            if at > end:
                self.now_us = end
                return
            self.now_us = max(self.now_us, at)
            node = self.nodes[name]
            del node.timers[timer]
            if node.replica is not None:
                node.step(events.TimerFired(node.now_us, timer))

    def decided(self, node: Node, index: int, entry: bytes) -> None:
        """Agreement: raises AssertionError where two decide different blocks."""
        known = self.log.setdefault(index, entry)
        assert known == entry, f"block {index} differs at {node.name}"
        node.decided[index] = entry

    def root_at(self, index: int, node: Node) -> bytes:
        """The root of the state after a block: here, of all blocks up to it."""
        data = b"".join(self.log[i] for i in range(1, index + 1))
        return blake2b(data, digest_size=32).digest()

    def take_snapshot(self, node: Node, mark: events.SnapshotMark) -> None:
        """It is durable at once."""
        node.disk.snapshot = mark
        self.snapshots[node.name, mark.index] = mark
        node.step(events.CheckpointReady(node.now_us, mark))

    def fetch_snapshot(self, node: Node, source: str, mark: events.SnapshotMark) -> None:
        """It is here at once."""
        assert mark.state_root == self.root_at(mark.index, node)
        node.disk.snapshot = mark
        node.step(events.Installed(node.now_us, mark))

    def honest(self) -> list[Node]:
        """Those that do not lie, running or not."""
        return [node for node in self.nodes.values() if node.name not in self.liars]

    def requests_decided(self) -> list[bytes]:
        """All of them, in order."""
        found = []
        for index in sorted(self.log):
            _, body = decode_entry(self.log[index])
            found += [bytes(request) for request in unpack_block(body)[1]]
        return found
