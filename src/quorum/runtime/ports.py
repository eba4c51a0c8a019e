"""What the driver needs of the world, and whom it tells. Production and simulation each give their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from quorum.apps.answer import Answer, Failure
from quorum.apps.applied import Applied
from quorum.apps.state_machine import Notice
from quorum.certificate.evidence import Evidence
from quorum.certificate.keys import is_signed
from quorum.certificate.requests import SignedRequest
from quorum.entry import Buffer
from quorum.errors import QuorumError
from quorum.header import Header
from quorum.model import Configuration, NodeId
from quorum.protocols.effects import HardState, Note, Signed
from quorum.protocols.events import Durable, SnapshotMark


class Log(Protocol):
    """The durable log of one replica. `write_*` stages records; `sync` makes everything staged durable.

    Staged entries can be read back at once. Every method but `sync`'s completion runs on the loop.
    """

    def recover(self) -> Durable:
        """What the disk holds. Raises StorageCorrupt when it is damaged where no crash explains it."""
        ...

    def write_hard_state(self, state: HardState) -> None:
        """Stage the term and the vote."""
        ...

    def write_entries(self, first: int, entries: Sequence[Buffer]) -> None:
        """Stage entries from index `first`; what the log held at `first` and after is replaced."""
        ...

    def write_note(self, note: Note) -> None:
        """Stage what a protocol keeps beside the log."""
        ...

    def sync(self, done: Callable[[BaseException | None], None], in_background: bool = True) -> None:
        """Make everything staged so far durable, then call `done` on the loop, with the error if it failed.

        At most one sync is under way; the driver never asks for a second. Without `in_background` the caller
        has nothing better to do than to wait, so `done` may be called before this returns.
        """
        ...

    def read(self, first: int, last: int, bytes_max: int) -> tuple[bytes, ...]:
        """Stored entries from `first` up to `last`, at least one, then as many as fit in `bytes_max`."""
        ...

    def reset(self, mark: SnapshotMark) -> None:
        """Stage: forget all entries; the log goes on after `mark.index` (a snapshot was installed)."""
        ...

    def trim(self, first_kept: int) -> None:
        """Entries below `first_kept` may be dropped, at a time and in units of the log's choice."""
        ...

    def close(self) -> None:
        """Write nothing more; what is only staged is lost."""
        ...


Written = Callable[[SnapshotMark | None, BaseException | None], None]
"""Hears of a snapshot that is written, or of what kept it from being so."""


class Snapshots(Protocol):
    """The snapshot files of one replica: at most a few, each with a digest, written beside and renamed."""

    @property
    def is_busy(self) -> bool:
        """Whether so much is being written that a sync of the log may take long."""
        ...

    def newest(self) -> SnapshotMark | None:
        """The newest one that is durable here."""
        ...

    def write(self, mark: SnapshotMark, chunks: Iterable[bytes], done: Written) -> None:
        """Write a snapshot in slices, make it durable, then call `done` with the completed mark. One at a time."""
        ...

    def read_chunk(self, index: int, offset: int, size: int) -> bytes | None:
        """Bytes of the snapshot file at `index`; None when that snapshot is gone."""
        ...

    def receive(self, mark: SnapshotMark, offset: int, data: Buffer) -> int:
        """Take one chunk of a snapshot that is being fetched; return the offset wanted next.

        A chunk that does not continue what is there is ignored. The part file survives a restart.
        """
        ...

    def finish(self, mark: SnapshotMark, done: Callable[[BaseException | None], None]) -> None:
        """Verify the digest of a fetched snapshot and rename it into place, durably; then call `done` on the loop.

        `done` gets StorageCorrupt, the part file removed, when the digest differs.
        """
        ...

    def drop(self, index: int) -> None:
        """Forget the snapshot at `index`, which was fetched and proved wrong: the one before it is the newest."""
        ...

    def load_aside(
        self, index: int, take: Callable[[Iterator[bytes]], None], done: Callable[[BaseException | None], None]
    ) -> None:
        """Give what `load` gives to `take`, away from the loop where there is another thread; then call `done` on
        the loop."""
        ...

    def survey(
        self,
        index: int,
        take: Callable[[Iterator[tuple[int, bytes]]], None],
        done: Callable[[BaseException | None], None],
    ) -> None:
        """As `load_aside`, each chunk with its offset in the file."""
        ...

    def read_frames(self, index: int, offset: int, count: int) -> list[bytes] | None:
        """So many of the chunks given to `write`, from the one at this offset on; None: they cannot be read."""
        ...

    def resume(
        self,
        mark: SnapshotMark,
        take: Callable[[Iterator[bytes]], int],
        done: Callable[[BaseException | None], None],
    ) -> None:
        """Begin to collect the chunks of a snapshot whose digest and size are not known yet; drop what is here of
        any other. `take` reads those of an earlier attempt, maybe on another thread, and returns how many stay."""
        ...

    def append(self, mark: SnapshotMark, chunks: Sequence[bytes]) -> None:
        """Keep the next chunks of the snapshot that is being collected."""
        ...

    def complete(self, mark: SnapshotMark, done: Written) -> None:
        """All chunks are here: put the snapshot in place, durably, then call `done` with the completed mark."""
        ...

    def load(self, index: int) -> Iterator[bytes]:
        """The chunks given to `write`, verified. Raises StorageCorrupt."""
        ...


class Application(Protocol):
    """The replicated applications of one replica, sessions included (apps.host.Host)."""

    @property
    def keeps_state(self) -> bool:
        """False on a witness, which gets entries without their commands."""
        ...

    @property
    def time_us(self) -> int:
        """Log time of the newest applied entry."""
        ...

    @property
    def expires_in_us(self) -> int | None:
        """How much lease time after the newest applied entry something expires by itself; None: nothing will."""
        ...

    @property
    def expiry_failure(self) -> Failure | None:
        """Why what was due could not be expired; None if it could."""
        ...

    def session_owner(self, client: int) -> str | None:
        """Who opened a client session; None if the state holds none of that id."""
        ...

    def kept_answer(self, request: SignedRequest) -> Answer | None:
        """What a signed request that was applied in its session is answered; None: it was not, as far as the state
        tells."""
        ...

    def vet(self, app: int, body: Buffer) -> str | None:
        """Why a batch that this node is about to propose must not be; None if it may."""
        ...

    def apply(self, header: Header, body: Buffer) -> Applied: ...

    def query(self, app: int, body: Buffer) -> Answer: ...

    def digest(self) -> bytes: ...

    def digests(self) -> Iterator[bytes]:
        """Pin the present state; yield b"" after each slice of work, then its digest."""
        ...

    def spare(self) -> Any:
        """An empty application of the same kind, to be restored while this one goes on; None: there is none."""
        ...

    def adopt(self, spare: Any) -> None:
        """Take over the state of one that `spare` gave. It has the state from before then, to be let go."""
        ...

    def let_go(self) -> Iterator[object]:
        """Free the state part by part, one for each step. Nothing else is asked of it any more."""
        ...

    def snapshot(self) -> Iterator[bytes]: ...

    def restore(self, chunks: Iterable[bytes]) -> None: ...


class Transport(Protocol):
    """Frames to other nodes. Losing one is allowed, reordering within a connection is not."""

    def send(self, to: NodeId, message: object, attached: Sequence[Buffer], later: bool = False) -> None:
        """Send `message`, with stored bytes attached as they are. Never blocks. With `later` it may stay here for
        a few milliseconds, in its order, to leave with others."""
        ...

    def flush(self) -> None:
        """End of a round: whatever was sent in it may leave in one write per peer."""
        ...


class Timers(Protocol):
    """One-shot timers, by name."""

    def set(self, name: str, delay_us: int) -> None:
        """Fire `name` after `delay_us`; an earlier setting of that name is forgotten."""
        ...

    def cancel(self, name: str) -> None: ...


class Clock(Protocol):
    """This node's time. Never used for safety."""

    def now_us(self) -> int:
        """Microseconds since 1970 as they were when the process started, monotone from then on."""
        ...


class Requests(Protocol):
    """Whoever gave the driver tokens, and now hears what became of them."""

    def applied(self, token: int, header: Header, result: Applied) -> None: ...

    def read_ready(self, tokens: Sequence[int]) -> None: ...

    def decided(self, requests: Sequence[tuple[bytes, Applied]]) -> None:
        """A block was applied: what became of each of its requests, by name."""
        ...

    def refused(self, tokens: Sequence[int], error: QuorumError) -> None: ...

    def unknown(self, tokens: Sequence[int]) -> None: ...

    def completed(self, tokens: Sequence[int]) -> None:
        """A change of the configuration, or a transfer of leadership, is done."""
        ...

    def noticed(self, index: int, notices: Sequence[Notice]) -> None:
        """The entry at `index` was applied, and gave notices."""
        ...

    def moved(self) -> None:
        """Entries were applied; called a few times a round at most."""
        ...

    def jumped(self, index: int) -> None:
        """The state is now that of the snapshot at `index`."""
        ...


class Observer(Protocol):
    """Whoever wants to know: logs, metrics, the simulator's checkers."""

    def role_changed(self, role: str, term: int, leader: NodeId | None) -> None: ...

    def entry_applied(self, header: Header) -> None: ...

    def stood_at(self, index: int) -> None:
        """The state is now that of the snapshot at `index`."""
        ...

    def state_at(self, index: int, digest: bytes) -> None: ...

    def peer_misbehaved(self, node: NodeId, what: str) -> None: ...

    def accused(self, evidence: Evidence) -> None:
        """A member lied, and this proves it to everybody."""
        ...

    def diverged(self, node: NodeId, index: int) -> None: ...

    def degraded(self, what: str) -> None:
        """Something could not be done now and will be tried again."""
        ...

    def space_is_back(self) -> None:
        """The disk that was full takes records again."""
        ...

    def failed(self, error: BaseException) -> None: ...

    def configuration_changed(self, configuration: Configuration) -> None:
        """The newest configuration in the log is another one; it may not be committed yet."""
        ...


class Steward(Protocol):
    """Whoever puts members in and out of the vote while this node leads, as a policy wants it."""

    @property
    def period_us(self) -> int:
        """How long after a turn the next one is due."""
        ...

    @property
    def leads(self) -> bool:
        """Whether this node leads, as far as it was told."""
        ...

    @property
    def has_function(self) -> bool:
        """Whether this node has the user's own function, for the custom policy."""
        ...

    def lead(self, leads: bool, now_us: int) -> bool:
        """This node leads, or does not. Returns whether turns should begin now."""
        ...

    def turn(self, now_us: int) -> Configuration | None:
        """A turn is due: what should be in force instead, if anything."""
        ...

    def successor(self) -> NodeId | None:
        """Asked after each turn: who should lead instead, told once."""
        ...

    def done(self, error: QuorumError | None) -> None:
        """What `turn` or `successor` wanted is done, or why not."""
        ...


class Attendant(Protocol):
    """Who watches over the committee beside a driver, and approves of the next one by itself. Its approvals have
    tokens below 0, of its own."""

    timer: str
    """The name of its timer."""

    def start(self, notes: dict[str, bytes]) -> None:
        """The replica has begun; `notes` is what was kept in earlier lives."""
        ...

    def heard(self, sender: NodeId, message: object) -> bool:
        """A message came. Whether it is this one's own, and not the replica's."""
        ...

    def fired(self) -> None:
        """Its timer ran out."""
        ...

    def accused(self, evidence: Evidence) -> None:
        """A member lied, and this proves it."""
        ...

    def approved(self, token: int, error: QuorumError | None) -> bool:
        """The approval with this token is durable here, or was refused. Whether the token is this one's own."""
        ...


class Fresh(Protocol):
    """A key pair that was just made."""

    @property
    def public_key(self) -> bytes: ...

    def sign(self, message: bytes) -> bytes: ...


class FreshKeys(Protocol):
    """Makes the next signing key of one node."""

    def make(self) -> Fresh:
        """A key that nobody has used. It is lost if it is not kept."""
        ...

    def keep(self, fresh: Fresh, request: bytes) -> None:
        """Durably, before this returns: the node signs with this key from its next start on, and asks with
        `request` to be readmitted. Raises OSError or ConfigurationError where that cannot be."""
        ...

    def request(self) -> bytes:
        """What was kept with the present key; empty: nothing."""
        ...


class Verifier(Protocol):
    """Checks signatures, on the loop or off it."""

    def verify(self, items: Sequence[Signed], done: Callable[[tuple[bool, ...]], None]) -> None:
        """Call `done` on the loop with a result for each item, maybe before this returns."""
        ...


class InPlace:
    """Checks signatures at once."""

    def verify(self, items: Sequence[Signed], done: Callable[[tuple[bool, ...]], None]) -> None:
        done(tuple([is_signed(item.public_key, item.message, item.signature) for item in items]))


class Ports:
    """The world of one driver."""

    def __init__(
        self,
        log: Log,
        snapshots: Snapshots,
        transport: Transport,
        timers: Timers,
        clock: Clock,
        verifier: Verifier | None = None,
    ) -> None:
        self.log = log
        self.snapshots = snapshots
        self.transport = transport
        self.timers = timers
        self.clock = clock
        self.verifier: Verifier = InPlace() if verifier is None else verifier
