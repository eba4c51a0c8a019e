"""A driver among fakes: a replica that says what it is told to say, and a disk whose syncs end by hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from quorum.apps.answer import OK, Answer, Failure
from quorum.apps.applied import Applied
from quorum.apps.state_machine import Notice
from quorum.certificate.requests import SignedRequest
from quorum.entry import COMMAND, Buffer, encode_entry
from quorum.errors import QuorumError
from quorum.header import Batch, Header
from quorum.model import Configuration, NodeId
from quorum.protocols import effects, events
from quorum.runtime.driver import Driver
from quorum.runtime.ports import Ports

THREE = Configuration(epoch=1, voters=("n1", "n2", "n3"))
Done = Callable[[BaseException | None], None]


def batch(body: bytes = b"x") -> Batch:
    return Batch(app=1, client=0, first_sequence=0, acked_below=0, count=1, body=body)


def entry(index: int, term: int = 1, body: bytes = b"x") -> bytes:
    return encode_entry(index, term, COMMAND, 1, index, 0, batch(body))


def mark_at(index: int, digest: bytes = b"digest", size: int = 10) -> events.SnapshotMark:
    return events.SnapshotMark(index, 1, index, THREE, digest, size)


class ScriptedReplica:
    """Remembers its events; answers each with the next effects of its script, or with none."""

    def __init__(self) -> None:
        self.node: NodeId = "n1"
        self.events: list[events.Event] = []
        self.script: deque[tuple[effects.Effect, ...] | Exception] = deque()
        self.configuration = THREE
        self.leader: NodeId | None = None
        self.nodes_behind: frozenset[NodeId] = frozenset()

    def behind(self, index: int) -> frozenset[NodeId]:
        return self.nodes_behind

    def step(self, event: events.Event) -> tuple[effects.Effect, ...]:
        self.events.append(event)
        if isinstance(event, events.Stored) or not self.script:
            return ()
        produced = self.script.popleft()
        if isinstance(produced, Exception):
            raise produced
        return produced


class HandLog:
    """What is staged becomes durable when the test ends the sync. With `at_once` a sync ends before it returns."""

    def __init__(self, trace: list[object], durable: events.Durable | None = None) -> None:
        self.trace = trace
        self.durable = durable or events.Durable()
        self.entries: dict[int, bytes] = {}
        self.reads: list[tuple[int, int]] = []
        self.syncs: deque[Done] = deque()
        self.at_once = False
        self.in_background: list[bool] = []
        self.trimmed = 0

    def recover(self) -> events.Durable:
        return self.durable

    def write_hard_state(self, state: effects.HardState) -> None:
        self.trace.append(("stage", state))

    def write_note(self, note: effects.Note) -> None:
        self.trace.append(("stage", note))

    def write_entries(self, first: int, entries: Sequence[Buffer]) -> None:
        self.trace.append(("stage", first, len(entries)))
        for index in [index for index in self.entries if index >= first]:
            del self.entries[index]
        self.entries.update((first + place, bytes(data)) for place, data in enumerate(entries))

    def sync(self, done: Done, in_background: bool = True) -> None:
        assert not self.syncs, "a second sync was asked for while one is under way"
        self.trace.append("sync")
        self.in_background.append(in_background)
        if self.at_once:
            done(None)
        else:
            self.syncs.append(done)

    def complete(self, error: BaseException | None = None) -> None:
        self.trace.append("synced")
        self.syncs.popleft()(error)

    def read(self, first: int, last: int, bytes_max: int) -> tuple[bytes, ...]:
        self.reads.append((first, last))
        found, total = [], 0
        for index in range(first, last + 1):
            total += len(self.entries[index])
            if found and total > bytes_max:
                break
            found.append(self.entries[index])
        return tuple(found)

    def reset(self, mark: events.SnapshotMark) -> None:
        self.trace.append(("reset", mark.index))
        self.entries.clear()

    def trim(self, first_kept: int) -> None:
        self.trimmed = first_kept

    def close(self) -> None:
        return


class HandSnapshots:
    """Snapshots in memory; a write ends when the test takes it out of `writes` and says so."""

    def __init__(self) -> None:
        self.writes: deque[tuple[events.SnapshotMark, list[bytes], Callable[..., None]]] = deque()
        self.files: dict[int, tuple[events.SnapshotMark, bytes]] = {}
        self.part = bytearray()
        self.part_of: events.SnapshotMark | None = None
        self.refusal: QuorumError | None = None
        self.is_busy = False
        self.loads: list[tuple[int, Callable[..., None], Callable[..., None]]] = []

    def newest(self) -> events.SnapshotMark | None:
        return self.files[max(self.files)][0] if self.files else None

    def write(self, mark: events.SnapshotMark, chunks: Iterable[bytes], done: Callable[..., None]) -> None:
        assert not self.writes, "a second snapshot was to be written while one is"
        self.writes.append((mark, list(chunks), done))

    def read_chunk(self, index: int, offset: int, size: int) -> bytes | None:
        held = self.files.get(index)
        return None if held is None else held[1][offset : offset + size]

    def receive(self, mark: events.SnapshotMark, offset: int, data: Buffer) -> int:
        if self.part_of != mark:
            self.part_of, self.part = mark, bytearray()
        if offset == len(self.part):
            self.part += data
        return len(self.part)

    def finish(self, mark: events.SnapshotMark, done: Callable[[BaseException | None], None]) -> None:
        if self.refusal is None:
            self.files[mark.index] = (mark, bytes(self.part))
        self.part_of = None
        done(self.refusal)

    def drop(self, index: int) -> None:
        del self.files[index]

    def load_aside(
        self,
        index: int,
        take: Callable[[Iterator[bytes]], None],
        done: Callable[[BaseException | None], None],
    ) -> None:
        self.loads.append((index, take, done))

    def end_load(self) -> None:
        """Let the load that waits take place."""
        index, take, done = self.loads.pop()
        try:
            take(self.load(index))
        except ValueError as error:
            done(error)
        else:
            done(None)

    def load(self, index: int) -> Iterator[bytes]:
        yield self.files[index][1]


class HandTransport:
    def __init__(self, trace: list[object]) -> None:
        self.trace = trace
        self.sent: list[tuple[NodeId, object, tuple[Buffer, ...]]] = []
        self.late: list[tuple[NodeId, object]] = []

    def send(self, to: NodeId, message: object, attached: Sequence[Buffer], later: bool = False) -> None:
        self.trace.append(("send", to, message))
        self.sent.append((to, message, tuple(attached)))
        if later:
            self.late.append((to, message))

    def flush(self) -> None:
        self.trace.append("flush")


class HandTimers:
    def __init__(self) -> None:
        self.delays: dict[str, int] = {}

    def set(self, name: str, delay_us: int) -> None:
        self.delays[name] = delay_us

    def cancel(self, name: str) -> None:
        self.delays.pop(name, None)


class HandClock:
    def __init__(self) -> None:
        self.us = 1_000

    def now_us(self) -> int:
        return self.us


class Spare:
    """An application that is restored beside."""

    def __init__(self) -> None:
        self.restored = b""

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.restored = b"".join(chunks)

    def let_go(self) -> Iterator[None]:
        while self.restored:
            self.restored = self.restored[1:]
            yield


class Recorder:
    """An application, the requests' owner and the observer in one: it writes down what it is told."""

    def __init__(self, trace: list[object]) -> None:
        self.trace = trace
        self.applied_indexes: list[int] = []
        self.time_us = 0
        self.restored: list[bytes] = []
        self.spares: list[Spare] = []
        self.told: list[tuple[object, ...]] = []
        self.moves: list[int] = []
        self.jumps: list[int] = []
        self.notices: tuple[Notice, ...] = ()
        self.state_digest = b"state"
        self.digest_slices = 0
        self.has_spare = False
        self.expires_in_us: int | None = None
        self.expiry_failure: Failure | None = None
        self.owners: dict[int, str] = {}
        self.objections: dict[bytes, str] = {}
        self.keeps_state = True
        self.configurations: list[Configuration] = []

    # Application.

    def session_owner(self, client: int) -> str | None:
        return self.owners.get(client)

    def kept_answer(self, request: SignedRequest) -> Answer | None:
        return None

    def vet(self, app: int, body: Buffer) -> str | None:
        return self.objections.get(bytes(body))

    def apply(self, header: Header, body: Buffer) -> Applied:
        self.trace.append(("apply", header.index))
        self.applied_indexes.append(header.index)
        self.time_us = header.time_us
        return Applied(OK, bytes(body), notices=self.notices)

    def query(self, app: int, body: Buffer) -> Answer:
        return Answer(OK, b"answer to " + bytes(body))

    def digest(self) -> bytes:
        return self.state_digest

    def digests(self) -> Iterator[bytes]:
        return iter([*(b"" for _ in range(self.digest_slices)), self.state_digest])

    def spare(self) -> Spare | None:
        return Spare() if self.has_spare else None

    def adopt(self, spare: Spare) -> None:
        self.trace.append("adopt")
        self.restored.append(spare.restored)
        self.spares.append(spare)

    def snapshot(self) -> Iterator[bytes]:
        return iter([b"state at %d" % self.applied_indexes[-1]])

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.restored.append(b"".join(chunks))

    # Requests.

    def applied(self, token: int, header: Header, result: Applied) -> None:
        self.told.append(("applied", token, header.index, result.body))

    def read_ready(self, tokens: Sequence[int]) -> None:
        self.told.append(("read ready", *tokens))

    def refused(self, tokens: Sequence[int], error: QuorumError) -> None:
        self.told.append(("refused", *tokens, type(error).__name__))

    def unknown(self, tokens: Sequence[int]) -> None:
        self.told.append(("unknown", *tokens))

    def completed(self, tokens: Sequence[int]) -> None:
        self.told.append(("completed", *tokens))

    def noticed(self, index: int, notices: Sequence[Notice]) -> None:
        self.told.append(("noticed", index, *(notice.topic for notice in notices)))

    def moved(self) -> None:
        self.moves.append(self.applied_indexes[-1])

    def jumped(self, index: int) -> None:
        self.jumps.append(index)

    # Observer.

    def role_changed(self, role: str, term: int, leader: NodeId | None) -> None:
        self.told.append(("role", role, term, leader))

    def configuration_changed(self, configuration: Configuration) -> None:
        self.configurations.append(configuration)

    def entry_applied(self, header: Header) -> None:
        return

    def stood_at(self, index: int) -> None:
        self.told.append(("stood at", index))

    def state_at(self, index: int, digest: bytes) -> None:
        self.told.append(("state at", index, digest))

    def peer_misbehaved(self, node: NodeId, what: str) -> None:
        self.told.append(("misbehaved", node))

    def diverged(self, node: NodeId, index: int) -> None:
        self.told.append(("diverged", node, index))

    def degraded(self, what: str) -> None:
        self.told.append(("degraded",))

    def space_is_back(self) -> None:
        self.told.append(("space is back",))

    def failed(self, error: BaseException) -> None:
        self.told.append(("failed", type(error).__name__))


class DriverWorld:
    """A driver that has started. `trace` is what it did to the disk, the network and the application, in order."""

    def __init__(self, durable: events.Durable | None = None, digest_entries: int = 1_000_000) -> None:
        self.trace: list[object] = []
        self.replica = ScriptedReplica()
        self.log = HandLog(self.trace, durable)
        self.snapshots = HandSnapshots()
        self.transport = HandTransport(self.trace)
        self.timers = HandTimers()
        self.clock = HandClock()
        self.told_to = Recorder(self.trace)
        ports = Ports(self.log, self.snapshots, self.transport, self.timers, self.clock)
        self.driver = Driver(self.replica, ports, self.told_to, self.told_to, self.told_to, digest_entries)

    @property
    def told(self) -> list[tuple[object, ...]]:
        return self.told_to.told

    def start(self) -> DriverWorld:
        self.driver.start(THREE)
        self.trace.clear()
        self.replica.events.clear()
        return self

    def does(self, *produced: effects.Effect) -> None:
        """One event, to which the replica answers with these effects; one round."""
        self.replica.script.append(produced)
        self.driver.receive("n2", "an event")
        self.driver.run()

    def stored(self) -> list[int]:
        """What the replica was told to be durable."""
        return [event.up_to for event in self.replica.events if isinstance(event, events.Stored)]

    def holds(self, last: int, body: bytes = b"x") -> None:
        """The log holds entries 1 to `last`."""
        self.log.entries.update((index, entry(index, 1, body)) for index in range(1, last + 1))

    def run_out(self) -> int:
        """Run until nothing is left; return in how many rounds."""
        rounds = 1
        while self.driver.run():
            rounds += 1
        return rounds
