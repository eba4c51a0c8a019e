"""A few replicas on a network of lists: every step of it is the test's to take, to hold back, or to forge."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random

import msgspec
from nacl.signing import SigningKey

from quorum.certificate.block import header_of
from quorum.certificate.committee import Committee, Member
from quorum.certificate.keys import is_signed
from quorum.certificate.requests import sign_request
from quorum.certificate.vote import SigningDomain
from quorum.entry import decode_entry, entry_identity
from quorum.header import Batch
from quorum.protocols import effects, events
from quorum.protocols.pbft.replica import PbftReplica
from quorum.protocols.pbft.settings import Settings

EPOCH_US = 1_700_000_000_000_000
SETTINGS = Settings(state_blocks=8, log_kept_blocks=4)


def key_of(name: str) -> SigningKey:
    return SigningKey(name.encode().ljust(32, b"."))


def committee_of(
    count: int, faults: int, cluster: str = "tests", weights: tuple[int, ...] = (), quorums: str = ""
) -> Committee:
    names = sorted(f"n{i}" for i in range(1, count + 1))
    votes = weights or (1,) * count
    members = tuple(
        Member(name, bytes(key_of(name).verify_key), vote) for name, vote in zip(names, votes, strict=True)
    )
    return Committee(cluster, 1, members, faults, quorums)


def request_of(client: str, number: int, body: bytes = b"") -> bytes:
    key = key_of(client)
    batch = Batch(1, 0, number, 0, 1, body or f"{client} {number}".encode())
    return sign_request(
        SigningDomain("tests", 0), batch, bytes(key.verify_key), lambda data: key.sign(data).signature
    )


class Disk:
    """What a node has made durable."""

    def __init__(self) -> None:
        self.term = 0
        self.notes: dict[str, bytes] = {}
        self.base = 0
        self.entries: list[bytes] = []
        self.snapshot: events.SnapshotMark | None = None

    def write(self, record: object) -> None:
        match record:
            case effects.HardState(term=term):
                self.term = term
            case effects.Note(name=name, data=data):
                self.notes[name] = data
            case effects.Entries(first=first, entries=entries):
                del self.entries[first - self.base - 1 :]
                self.entries += [bytes(entry) for entry in entries]
            case effects.Reset(mark=mark):
                self.base, self.entries = mark.index, []

    def durable(self) -> events.Durable:
        metas = []
        for entry in self.entries:
            index, term, kind, _ = entry_identity(entry)
            metas.append(events.EntryMeta(index, term, kind, len(entry), None, header_of(decode_entry(entry)[1])))
        notes = tuple(sorted((name, data) for name, data in self.notes.items() if data))
        return events.Durable(
            self.term, None, self.snapshot, tuple(metas), 0, False, notes, tuple(self.entries[-64:])
        )


class Node:
    """One member: its replica, its disk, and what it decided."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.name = cluster, name
        self.disk = Disk()
        self.seen: list[bytes] = []
        self.base = 0
        self.staged: deque[tuple[int, object]] = deque()
        self.held: deque[tuple[int, list[effects.Effect]]] = deque()
        self.checks: deque[effects.Verify] = deque()
        self.persists = 0
        self.timers: dict[str, int] = {}
        self.replica: PbftReplica | None = None
        self.decided: dict[int, bytes] = {}
        self.reports: list[effects.Report] = []
        self.refused: list[Exception] = []
        self.clock_us = 0
        self.lives = 0
        self.key_name = name
        self.inbox: deque[events.Event] = deque()

    def boot(self, first: bool = True) -> None:
        self.lives += 1
        self.seen, self.base = list(self.disk.entries), self.disk.base
        key = key_of(self.key_name)
        self.replica = PbftReplica(
            self.name,
            self.cluster.committee,
            lambda data: key.sign(data).signature,
            self.cluster.settings,
            bytes(key.verify_key),
        )
        bootstrap = self.replica.configuration if first and self.lives == 1 else None
        self.step(events.Started(self.now_us, self.disk.durable(), bootstrap))
        if self.disk.snapshot is not None:
            index = self.disk.snapshot.index
            self.step(events.StateKnown(self.now_us, index, self.cluster.root_at(index, self)))

    @property
    def now_us(self) -> int:
        return EPOCH_US + self.cluster.now_us + self.clock_us

    @property
    def state(self):  # type: ignore[no-untyped-def]
        assert self.replica is not None
        return self.replica.state

    def crash(self) -> None:
        """Lose what is not durable, but for a random prefix."""
        keep = self.cluster.random.randrange(len(self.staged) + 1)
        for _, record in list(self.staged)[:keep]:
            self.disk.write(record)
        self.staged.clear()
        self.held.clear()
        self.checks.clear()
        self.timers.clear()
        self.inbox.clear()
        self.persists = 0
        self.replica = None

    def step(self, event: events.Event) -> None:
        self.inbox.append(event)
        if len(self.inbox) > 1:
            return
        while self.inbox:
            assert self.replica is not None
            try:
                produced = self.replica.step(self.inbox[0])
            except Exception as error:
                self.cluster.raised(self, error)
                produced = ()
            self.perform(produced)
            self.inbox.popleft()

    def perform(self, produced: tuple[effects.Effect, ...]) -> None:
        for effect in produced:
            if type(effect) is effects.Persist:
                self.persists += 1
                self.held.append((self.persists, []))
                self.staged.append((self.persists, effect.record))
                if type(effect.record) is effects.Entries:
                    first = effect.record.first
                    del self.seen[first - self.base - 1 :]
                    self.seen += [bytes(entry) for entry in effect.record.entries]
                if type(effect.record) is effects.Reset:
                    self.seen, self.base = [], effect.record.mark.index
        waiting: list[effects.Effect] | None = None
        number = self.persists - sum(type(effect) is effects.Persist for effect in produced)
        for effect in produced:
            if type(effect) is effects.Persist:
                number += 1
                waiting = next(held for at, held in self.held if at == number)
            elif waiting is not None:
                waiting.append(effect)
            else:
                self.do(effect)
        if self.cluster.instant_disks:
            self.sync()

    def sync(self) -> None:
        """Everything staged is durable: what waited for it happens."""
        if not self.staged:
            return
        up_to = self.staged[-1][0]
        while self.staged:
            self.disk.write(self.staged.popleft()[1])
        ready: list[effects.Effect] = []
        while self.held and self.held[0][0] <= up_to:
            ready += self.held.popleft()[1]
        for effect in ready:
            self.do(effect)
        self.step(events.Stored(self.now_us, up_to))

    def let_go(self, count: int | None = None, newest_first: bool = False) -> None:
        """Results of checks that were withheld come: all of them, or so many, from either end."""
        pop = self.checks.pop if newest_first else self.checks.popleft
        for check in [pop() for _ in range(len(self.checks) if count is None else count)]:
            self.answer(check)

    def answer(self, check: effects.Verify) -> None:
        results = tuple(self.cluster.verify(item) for item in check.items)
        self.step(events.Verified(self.now_us, check.token, results))

    def do(self, effect: effects.Effect) -> None:
        match effect:
            case effects.Send(to=to, message=message, first=first, last=last):
                attached = tuple(self.seen[first - self.base - 1 : last - self.base]) if first <= last else ()
                self.cluster.send(self.name, to, message, attached)
            case effects.SetTimer(name=name, delay_us=delay):
                self.timers[name] = self.cluster.now_us + delay
            case effects.CancelTimer(name=name):
                self.timers.pop(name, None)
            case effects.Verify() if self.name in self.cluster.late_checks:
                self.checks.append(effect)
            case effects.Verify():
                self.answer(effect)
            case effects.Commit(first=first, last=last):
                for index in range(first, last + 1):
                    self.decide(index)
            case effects.Refused(error=error):
                self.refused.append(error)
            case effects.Report():
                self.reports.append(effect)
                if effect.evidence is not None:
                    self.cluster.evidence.append(effect.evidence)
            case effects.Checkpoint(mark=mark):
                self.cluster.take_snapshot(self, mark)
            case effects.FetchSnapshot(source=source, mark=mark):
                self.cluster.fetch_snapshot(self, source, mark)

    def decide(self, index: int) -> None:
        entry = self.seen[index - self.base - 1]
        self.cluster.decided(self, index, entry)
        settings = self.cluster.settings
        if index % settings.state_blocks == 0:
            root = self.cluster.root_at(index, self)
            self.step(events.StateKnown(self.now_us, index, root))


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
        for node in self.nodes.values():
            node.boot()
        return self

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def raised(self, node: Node, error: Exception) -> None:
        from quorum.errors import RemoteProtocolError

        if not isinstance(error, RemoteProtocolError):
            raise error
        self.errors.append((node.name, error))
        assert error.sender in self.liars, f"{node.name} accuses {error}"

    def verify(self, item: effects.Signed) -> bool:
        known = self._verified.get(item)
        if known is None:
            known = self._verified[item] = is_signed(item.public_key, item.message, item.signature)
        return known

    def send(self, source: str, to: str, message: object, attached: tuple[bytes, ...]) -> None:
        sent = [(message, attached)] if self.filter is None else self.filter(source, to, message, attached)
        if (source, to) in self.cut:
            return
        for each in sent:
            self.links.setdefault((source, to), deque()).append(each)

    def submit(self, *requests: bytes, to: tuple[str, ...] = ()) -> None:
        for name in to or self.committee.nodes:
            node = self.nodes[name]
            if node.replica is not None:
                node.step(events.Submitted(node.now_us, requests))

    def deliver(self) -> bool:
        """One message of a link drawn at random."""
        ready = [link for link in sorted(self.links) if self.links[link]]
        if not ready:
            return False
        source, to = ready[self.random.randrange(len(ready))]
        message, attached = self.links[source, to].popleft()
        node = self.nodes[to]
        if node.replica is not None and (source, to) not in self.cut:
            node.step(events.Received(node.now_us, source, message, attached))
        return True

    def run(self, for_us: int) -> None:
        """Messages take no time; when none is left, the next timer fires."""
        end = self.now_us + for_us
        while True:
            while self.deliver():
                if not self.instant_disks and self.random.random() < 0.3:
                    names = sorted(self.nodes)
                    self.nodes[names[self.random.randrange(len(names))]].sync()
            if any(node.staged for node in self.nodes.values()):
                for node in self.nodes.values():
                    node.sync()
                continue
            due = [
                (at, name, timer) for name, node in sorted(self.nodes.items()) for timer, at in node.timers.items()
            ]
            if not due or min(due)[0] > end:
                self.now_us = end
                return
            at, name, timer = min(due)
            self.now_us = max(self.now_us, at)
            node = self.nodes[name]
            del node.timers[timer]
            if node.replica is not None:
                node.step(events.TimerFired(node.now_us, timer))

    def decided(self, node: Node, index: int, entry: bytes) -> None:
        known = self.log.setdefault(index, entry)
        assert known == entry, f"block {index} differs at {node.name}"
        node.decided[index] = entry

    def root_at(self, index: int, node: Node) -> bytes:
        from hashlib import blake2b

        data = b"".join(self.log[i] for i in range(1, index + 1))
        return blake2b(data, digest_size=32).digest()

    def take_snapshot(self, node: Node, mark: events.SnapshotMark) -> None:
        node.disk.snapshot = mark
        self.snapshots[node.name, mark.index] = mark
        node.step(events.CheckpointReady(node.now_us, mark))

    def fetch_snapshot(self, node: Node, source: str, mark: events.SnapshotMark) -> None:
        assert mark.state_root == self.root_at(mark.index, node)
        node.disk.snapshot = mark
        node.step(events.Installed(node.now_us, mark))

    def honest(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.name not in self.liars]

    def requests_decided(self) -> list[bytes]:
        from quorum.certificate.requests import unpack_block

        found = []
        for index in sorted(self.log):
            _, body = decode_entry(self.log[index])
            found += [bytes(request) for request in unpack_block(body)[1]]
        return found


def encoded(message: object) -> bytes:
    return msgspec.msgpack.encode(message)
