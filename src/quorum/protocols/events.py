"""What may happen to a replica. A closed union: protocols need no other input.

Every event carries `now_us`, this node's clock: microseconds since 1970 when the process started, monotone from
then on. It is never used for safety. Tokens are chosen by the driver and come back unchanged.
"""

from __future__ import annotations

import msgspec

from quorum.certificate.block import BlockHeader
from quorum.certificate.committee import Committee
from quorum.entry import Buffer
from quorum.header import Batch
from quorum.model import Configuration, NodeId


class Event(msgspec.Struct, frozen=True, gc=False):
    """Base of every event."""

    now_us: int


class EntryMeta(msgspec.Struct, frozen=True, gc=False):
    """What a replica remembers of a stored entry; `configuration` and `block` are set for those kinds alone."""

    index: int
    term: int
    kind: int
    size: int
    configuration: Configuration | None = None
    block: BlockHeader | None = None


class SnapshotMark(msgspec.Struct, frozen=True, gc=False):
    """A snapshot that is durable here: everything up to `index` is in it.

    `place` is the packed header of block `index`, where blocks are decided. `state_root`, if known, is the digest
    that the state in it must have.
    """

    index: int
    term: int
    time_us: int
    configuration: Configuration
    digest: bytes = b""
    size: int = 0
    place: bytes = b""
    state_root: bytes = b""


class Durable(msgspec.Struct, frozen=True, gc=False):
    """What this node's disk still knows. `time_us` is the newest log time in it.

    `tail_damaged`: acknowledged entries may be gone, so this node must not vote until a leader has confirmed
    its log. `notes` are the newest of each name (effects.Note), `tail`
    the bytes of the newest entries where those are blocks.
    """

    term: int = 0
    vote: NodeId | None = None
    snapshot: SnapshotMark | None = None
    entries: tuple[EntryMeta, ...] = ()
    time_us: int = 0
    tail_damaged: bool = False
    notes: tuple[tuple[str, bytes], ...] = ()
    tail: tuple[bytes, ...] = ()


class Started(Event, frozen=True, gc=False):
    """First event of every life. `bootstrap` is the first configuration of a cluster that has no log yet."""

    durable: Durable
    bootstrap: Configuration | None = None


class Received(Event, frozen=True, gc=False):
    """An authenticated message: the transport vouches for `sender`. `attached` are the stored entries that
    the sender's driver attached to it."""

    sender: NodeId
    message: object
    attached: tuple[Buffer, ...] = ()


class TimerFired(Event, frozen=True, gc=False):
    """The newest setting of timer `name` ran out. The driver drops stale generations."""

    name: str


class TickWanted(Event, frozen=True, gc=False):
    """Something waits for log time to move: a leader orders an entry of kind TICK; nobody else does anything."""


class Proposed(Event, frozen=True, gc=False):
    """Batches that wait to be ordered, in arrival order, one token for each."""

    tokens: tuple[int, ...]
    batches: tuple[Batch, ...]


class Submitted(Event, frozen=True, gc=False):
    """Signed requests that wait to be ordered (certificate.requests), as their bytes, in arrival order."""

    requests: tuple[bytes, ...]


class ReadRequested(Event, frozen=True, gc=False):
    """Linearizable reads wait for an index at which they may be served.

    With `here` this node is to serve them whatever its role: a follower then asks its leader for the index.
    """

    tokens: tuple[int, ...]
    here: bool = False


class ChangeProposed(Event, frozen=True, gc=False):
    """The configuration `change` is wanted in place of the present one, whose epoch it follows."""

    token: int
    change: Configuration


class ChangeApproved(Event, frozen=True, gc=False):
    """The operator of this member approves of `committee` as the next one (members may lie)."""

    token: int
    committee: Committee


class TransferRequested(Event, frozen=True, gc=False):
    """Leadership should move to `target`, or to the best follower."""

    token: int
    target: NodeId | None = None


class Stored(Event, frozen=True, gc=False):
    """Every record persisted by the step `up_to` and all before it is durable."""

    up_to: int


class PeerLost(Event, frozen=True, gc=False):
    """The connection to `node` closed: a hint, never a proof."""

    node: NodeId


class CheckpointReady(Event, frozen=True, gc=False):
    """The driver made the snapshot at `mark` durable."""

    mark: SnapshotMark


class CheckpointFailed(Event, frozen=True, gc=False):
    """The snapshot asked for could not be written, for want of space: the log stays, another may be asked for."""


class CheckpointWanted(Event, frozen=True, gc=False):
    """Somebody asks for a snapshot of what is committed now: a Checkpoint follows, unless one is under way."""


class Installed(Event, frozen=True, gc=False):
    """A fetched snapshot is verified and in place; the replica decides whether to stand at it."""

    mark: SnapshotMark


class StateKnown(Event, frozen=True, gc=False):
    """The digest of the application's state after entry `index`."""

    index: int
    root: bytes


class Verified(Event, frozen=True, gc=False):
    """Signature checks asked for by Verify are done."""

    token: int
    results: tuple[bool, ...]


class Loaded(Event, frozen=True, gc=False):
    """Rows asked for by Load (register stores)."""

    key: bytes
    rows: tuple[bytes, ...]


class StorageFull(Event, frozen=True, gc=False):
    """No space is left for new entries."""


class StorageBack(Event, frozen=True, gc=False):
    """There is space again."""


class StateDoubted(Event, frozen=True, gc=False):
    """Whether the application's state here is known to differ from that of a replication quorum."""

    differs: bool
