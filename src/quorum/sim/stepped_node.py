"""One replica without a driver: what it persists, sends and decides is in lists, for whoever steps it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from quorum.certificate.block import header_of
from quorum.entry import decode_entry, entry_identity
from quorum.protocols import effects, events
from quorum.protocols.pbft.replica import PbftReplica
from quorum.protocols.pbft.state import PbftState

if TYPE_CHECKING:
    from nacl.signing import SigningKey

    from quorum.sim.stepped import Cluster

EPOCH_US = 1_700_000_000_000_000


def key_of(name: str) -> SigningKey:
    """The key pair of a member or a client: it follows from the name, so it is no secret."""
    from nacl.signing import SigningKey

    return SigningKey(name.encode().ljust(32, b"."))


class Disk:
    """What a node has made durable."""

    def __init__(self) -> None:
        self.term = 0
        self.notes: dict[str, bytes] = {}
        self.base = 0
        self.entries: list[bytes] = []
        self.snapshot: events.SnapshotMark | None = None

    def write(self, record: object) -> None:
        """One record is durable."""
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

    def trim(self, first_kept: int) -> None:
        """Earlier blocks are compacted away."""
        if first_kept > self.base + 1:
            del self.entries[: first_kept - self.base - 1]
            self.base = first_kept - 1

    def durable(self) -> events.Durable:
        """What a next life starts from."""
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
        """Start from what is durable. `first`: the very first life of all members, which begins view 0."""
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
    def state(self) -> PbftState:
        """Of a replica that runs."""
        assert self.replica is not None, "a node that is down has no state"
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
        """Let the replica handle an event, and do what it says."""
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
        """What stands behind a Persist waits until the disk has it."""
        opened: list[list[effects.Effect]] = []
        for effect in produced:
            if type(effect) is effects.Persist:
                self.persists += 1
                opened.append([])
                self.held.append((self.persists, opened[-1]))
                self.staged.append((self.persists, effect.record))
                self._see(effect.record)
        at = 0
        for effect in produced:
            if type(effect) is effects.Persist:
                at += 1
            elif at:
                opened[at - 1].append(effect)
            else:
                self.do(effect)
        if self.cluster.instant_disks:
            self.sync()

    def _see(self, record: object) -> None:
        """The blocks of this life, on the disk or on their way to it."""
        if type(record) is effects.Entries:
            del self.seen[record.first - self.base - 1 :]
            self.seen += [bytes(entry) for entry in record.entries]
        elif type(record) is effects.Reset:
            self.seen, self.base = [], record.mark.index

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
        """The result of one check comes."""
        results = tuple(self.cluster.verify(item) for item in check.items)
        self.step(events.Verified(self.now_us, check.token, results))

    def do(self, effect: effects.Effect) -> None:
        """One effect whose turn has come."""
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
            case effects.Compacted(first_kept=first):
                if self.disk.entries and first <= self.disk.base + len(self.disk.entries):
                    self.disk.trim(first)
            case effects.FetchSnapshot(source=source, mark=mark):
                self.cluster.fetch_snapshot(self, source, mark)

    def decide(self, index: int) -> None:
        """A block is decided here; the state after some of them is known at once."""
        entry = self.seen[index - self.base - 1]
        self.cluster.decided(self, index, entry)
        settings = self.cluster.settings
        if index % settings.state_blocks == 0:
            root = self.cluster.root_at(index, self)
            self.step(events.StateKnown(self.now_us, index, root))
