"""Raft replicas stepped by hand: what is persisted becomes durable, and what is sent arrives, only when told."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from random import Random
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from quorum.entry import COMMAND, CONFIGURATION, decode_entry, encode_entry, entry_identity, hollow
from quorum.errors import QuorumError
from quorum.header import Batch
from quorum.model import Configuration, NodeId, decode_configuration, encode_configuration
from quorum.protocols import effects, events
from quorum.protocols.raft.messages import Append
from quorum.protocols.raft.replica import RaftReplica
from quorum.protocols.raft.settings import Settings
from quorum.protocols.raft.state import ELECTION, HEARTBEAT

M = TypeVar("M")
QUICK = Settings(
    heartbeat_us=100_000, election_timeout_us=1_000_000, snapshot_entries=1_000_000, log_kept_entries=2
)
THREE = Configuration(epoch=1, voters=("n1", "n2", "n3"))
FIVE = Configuration(epoch=1, voters=("n1", "n2", "n3", "n4", "n5"))


def batch(body: bytes) -> Batch:
    """A batch without a session."""
    return Batch(app=1, client=0, first_sequence=0, acked_below=0, count=1, body=body)


def command(index: int, term: int, body: bytes = b"x") -> bytes:
    """A stored entry with a command."""
    return encode_entry(index, term, COMMAND, 1, 0, 0, batch(body))


def configuration_entry(index: int, term: int, configuration: Configuration) -> bytes:
    """A stored entry with a configuration."""
    body = encode_configuration(configuration)
    return encode_entry(index, term, CONFIGURATION, configuration.epoch, 0, 0, Batch(0, 0, 0, 0, 1, body))


def log_of(configuration: Configuration, terms: Iterable[int]) -> list[bytes]:
    """A log that begins with the configuration; one command for each further term."""
    first, *rest = terms
    return [
        configuration_entry(1, first, configuration),
        *(command(index, term, b"%d" % index) for index, term in enumerate(rest, 2)),
    ]


def messages_in(produced: Iterable[effects.Effect], kind: type[M], to: NodeId | None = None) -> list[M]:
    """The messages of one kind among the effects, all or those to one node."""
    return [
        effect.message
        for effect in produced
        if isinstance(effect, effects.Send)
        and isinstance(effect.message, kind)
        and (to is None or effect.to == to)
    ]


def effects_in(produced: Iterable[effects.Effect], kind: type[M]) -> list[M]:
    return [effect for effect in produced if isinstance(effect, kind)]


class Packet(NamedTuple):
    """A message on its way."""

    sender: NodeId
    to: NodeId
    message: object
    attached: tuple[bytes, ...]


class Image:
    """Hard state and log, as a sequence of records leaves them."""

    def __init__(self, log: Iterable[bytes] = (), term: int = 0, vote: NodeId | None = None) -> None:
        self.state = effects.HardState(term, vote)
        self.base = 0
        self.entries = list(log)

    def write(self, record: object) -> None:
        match record:
            case effects.HardState():
                self.state = record
            case effects.Entries(first, entries):
                del self.entries[first - self.base - 1 :]
                self.entries += map(bytes, entries)
            case effects.Reset(mark):
                self.base, self.entries = mark.index, []

    def trim(self, first_kept: int) -> None:
        del self.entries[: max(0, first_kept - 1 - self.base)]
        self.base = max(self.base, first_kept - 1)

    def read(self, first: int, last: int) -> tuple[bytes, ...]:
        return tuple(self.entries[first - self.base - 1 : last - self.base])


class Member:
    """One replica with its disk. `did` collects its effects in the order in which they take place."""

    def __init__(
        self,
        node: NodeId,
        configuration: Configuration | None = THREE,
        settings: Settings = QUICK,
        terms: Iterable[int] = (),
        term: int | None = None,
        vote: NodeId | None = None,
    ) -> None:
        self.node = node
        self.settings = settings
        self.now_us = 1_000_000
        self.lives = 0
        self.bootstrap = configuration
        log = log_of(configuration, terms) if terms and configuration is not None else []
        newest = entry_identity(log[-1])[1] if log else 0
        self.disk = Image(log, newest if term is None else term, vote)
        self.snapshot: events.SnapshotMark | None = None
        self.up = False
        self.start()

    def start(self, tail_damaged: bool = False) -> tuple[effects.Effect, ...]:
        """A new life, from what the disk holds. Without a log the first configuration is written."""
        self.lives += 1
        self.up = True
        self.seen = Image(self.disk.entries, *_hard(self.disk))
        self.seen.base = self.disk.base
        self.staged: list[object] = []
        self.persisted = 0
        self.held: deque[tuple[int, list[effects.Effect]]] = deque()
        self.outbox: list[Packet] = []
        self.did: list[effects.Effect] = []
        self.checkpoint: events.SnapshotMark | None = None
        self.wanted: events.SnapshotMark | None = None
        self.tokens = 0
        self.replica = RaftReplica(self.node, Random(f"{self.node}/{self.lives}"), self.settings)
        self.state = self.replica.state
        started = events.Started(self.now_us, self._durable(tail_damaged), self.bootstrap)
        produced = self.step(started)
        self.store()
        return produced

    def _durable(self, tail_damaged: bool) -> events.Durable:
        metas, time_us = [], 0
        for entry in self.disk.entries:
            index, term, kind, entry_time_us = entry_identity(entry)
            time_us = max(time_us, entry_time_us)
            configuration = decode_configuration(decode_entry(entry)[1]) if kind == CONFIGURATION else None
            metas.append(events.EntryMeta(index, term, kind, len(entry), configuration))
        term, vote = _hard(self.disk)
        return events.Durable(term, vote, self.snapshot, tuple(metas), time_us, tail_damaged)

    def crash(self) -> None:
        """Lose what is not durable."""
        self.up = False
        self.staged.clear()
        self.held.clear()
        self.outbox.clear()

    # Events.

    def step(self, event: events.Event) -> tuple[effects.Effect, ...]:
        """Give one event; perform what stands before the first Persist, hold the rest."""
        produced = self.replica.step(event)
        held: list[effects.Effect] | None = None
        for effect in produced:
            if isinstance(effect, effects.Persist):
                self.seen.write(effect.record)
                self.staged.append(effect.record)
        for effect in produced:
            if isinstance(effect, effects.Persist):
                self.did.append(effect)
                self.persisted += 1
                held = []
                self.held.append((self.persisted, held))
            elif held is not None:
                held.append(effect)
            else:
                self._perform(effect)
        return produced

    def store(self) -> tuple[effects.Effect, ...]:
        """The disk has everything: what waited for it leaves, and the replica hears of it."""
        if not self.staged:
            return ()
        for record in self.staged:
            self.disk.write(record)
        self.staged.clear()
        while self.held:
            for effect in self.held.popleft()[1]:
                self._perform(effect)
        return self.step(events.Stored(self.now_us, self.persisted))

    def receive(self, sender: NodeId, message: object, *attached: bytes) -> tuple[effects.Effect, ...]:
        return self.step(events.Received(self.now_us, sender, message, attached))

    def fire_election(self) -> tuple[effects.Effect, ...]:
        """Let time pass until the election timeout runs out."""
        self.now_us = max(self.now_us, self.state.election_deadline_us)
        return self.step(events.TimerFired(self.now_us, ELECTION))

    def fire_heartbeat(self) -> tuple[effects.Effect, ...]:
        self.now_us += self.settings.heartbeat_us
        return self.step(events.TimerFired(self.now_us, HEARTBEAT))

    def lose(self, node: NodeId) -> tuple[effects.Effect, ...]:
        return self.step(events.PeerLost(self.now_us, node))

    def propose(self, *bodies: bytes) -> tuple[effects.Effect, ...]:
        tokens = tuple(range(self.tokens + 1, self.tokens + 1 + len(bodies)))
        self.tokens += len(bodies)
        return self.step(events.Proposed(self.now_us, tokens, tuple(map(batch, bodies))))

    def read(self, *tokens: int, here: bool = False) -> tuple[effects.Effect, ...]:
        return self.step(events.ReadRequested(self.now_us, tokens, here))

    def change(self, token: int, **parts: object) -> tuple[effects.Effect, ...]:
        """Propose the configuration in force with other `parts`."""
        present = self.state.configuration
        target = replace(present, epoch=present.epoch + 1, **parts)
        return self.step(events.ChangeProposed(self.now_us, token, target))

    def transfer(self, token: int, target: NodeId | None = None) -> tuple[effects.Effect, ...]:
        return self.step(events.TransferRequested(self.now_us, token, target))

    def take_checkpoint(self) -> tuple[effects.Effect, ...]:
        """The snapshot that was asked for is durable."""
        assert self.checkpoint is not None, "no snapshot was asked for"
        mark = self.checkpoint
        self.checkpoint = None
        self.snapshot = events.SnapshotMark(mark.index, mark.term, 0, mark.configuration, b"digest", 100)
        return self.step(events.CheckpointReady(self.now_us, self.snapshot))

    def install(self) -> tuple[effects.Effect, ...]:
        """The snapshot that was to be fetched is here."""
        assert self.wanted is not None, "no snapshot was to be fetched"
        mark, self.wanted = self.wanted, None
        self.snapshot = mark
        return self.step(events.Installed(self.now_us, mark))

    def _perform(self, effect: effects.Effect) -> None:
        self.did.append(effect)
        match effect:
            case effects.Send(to, message, first, last, is_hollow):
                attached = self.seen.read(first, last) if first <= last else ()
                attached = tuple(map(hollow, attached)) if is_hollow else attached
                self.outbox.append(Packet(self.node, to, message, attached))
            case effects.Checkpoint(mark):
                self.checkpoint = mark
            case effects.FetchSnapshot(_, mark):
                self.wanted = mark
            case effects.Compacted(first_kept):
                self.seen.trim(first_kept)
                self.disk.trim(first_kept)

    # What tests look at.

    def take_outbox(self) -> list[Packet]:
        packets, self.outbox = self.outbox, []
        return packets

    def terms(self) -> list[int]:
        """The terms of the entries that the log holds."""
        log = self.state.log
        return [log.term(index) or 0 for index in range(log.base_index + 1, log.last_index + 1)]

    def bodies(self, first: int = 1, last: int | None = None) -> list[bytes]:
        """The commands in the log."""
        found = self.seen.read(max(first, self.seen.base + 1), self.state.log.last_index if last is None else last)
        return [bytes(decode_entry(entry)[1]) for entry in found if entry_identity(entry)[2] == COMMAND]


def _hard(image: Image) -> tuple[int, NodeId | None]:
    return image.state.term, image.state.vote


class Cluster:
    """Members and the messages between them, in one time. A message to or from a cut-off member is lost."""

    def __init__(self, configuration: Configuration = THREE, settings: Settings = QUICK) -> None:
        self.members = {node: Member(node, configuration, settings) for node in configuration.members}
        self.packets: list[Packet] = []
        self.cut: set[NodeId] = set()

    def __getitem__(self, node: NodeId) -> Member:
        return self.members[node]

    def join(self, *nodes: NodeId) -> None:
        """Nodes without a log or a configuration start, and wait to be sent one."""
        for node in nodes:
            self.members[node] = Member(node, None, next(iter(self.members.values())).settings)
            self.wait(0)

    def collect(self) -> None:
        """Take what members have sent since."""
        for member in self.members.values():
            for packet in member.take_outbox():
                if packet.to in self.members and not self.cut & {packet.sender, packet.to}:
                    self.packets.append(packet)

    def take(self, sender: NodeId | None = None, to: NodeId | None = None) -> list[Packet]:
        """Remove the messages that are on the way, all or those between two members."""
        self.collect()
        taken = [p for p in self.packets if sender in (None, p.sender) and to in (None, p.to)]
        self.packets = [p for p in self.packets if p not in taken]
        return taken

    def deliver(self, sender: NodeId | None = None, to: NodeId | None = None) -> int:
        """Deliver what is on the way now; return how many messages that were."""
        taken = self.take(sender, to)
        for packet in taken:
            if self.members[packet.to].up and not self.cut & {packet.sender, packet.to}:
                self.members[packet.to].receive(packet.sender, packet.message, *packet.attached)
        return len(taken)

    def store(self) -> None:
        for member in self.members.values():
            if member.up:
                member.store()

    def settle(self) -> None:
        """Deliver and store until nothing moves."""
        for _ in range(10_000):
            self.store()
            if not self.deliver() and not any(member.staged for member in self.members.values()):
                return
        raise AssertionError("the cluster does not come to rest")

    def wait(self, us: int) -> None:
        """Let time pass; no timer fires."""
        now_us = max(member.now_us for member in self.members.values()) + us
        for member in self.members.values():
            member.now_us = now_us

    def elect(self, node: NodeId) -> Member:
        """Let a member's election timeout run out, and its election be held."""
        self.campaign(node)
        self.settle()
        return self.members[node]

    def campaign(self, node: NodeId) -> None:
        member = self.members[node]
        self.wait(max(0, member.state.election_deadline_us - member.now_us))
        member.fire_election()

    def beat(self, node: NodeId) -> None:
        """One heartbeat of a leader."""
        self.wait(0)
        self.members[node].fire_heartbeat()
        self.wait(0)


def refusal(produced: Iterable[effects.Effect]) -> QuorumError:
    """The one error with which requests were refused."""
    (refused,) = effects_in(produced, effects.Refused)
    return refused.error


def append(leader_term: int, previous: tuple[int, int], commit_index: int = 0, round: int = 0) -> Append:
    """An Append after the entry `previous`, given as (index, term)."""
    return Append(leader_term, previous[0], previous[1], commit_index, round)
