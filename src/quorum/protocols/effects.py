"""What a replica may ask of its driver. A closed union.

Order is the durability rule: what follows a Persist in one tuple waits until that record, and every one
before it, is durable. What precedes it leaves at once and may promise nothing about this node's disk.
"""

from __future__ import annotations

import msgspec

from quorum.certificate.evidence import Evidence
from quorum.entry import Buffer
from quorum.errors import QuorumError
from quorum.model import NodeId
from quorum.protocols.events import SnapshotMark


class Effect(msgspec.Struct, frozen=True, gc=False):
    """Base of every effect."""


class HardState(msgspec.Struct, frozen=True, gc=False):
    """The term and the vote in it (Raft, figure 2: persistent state)."""

    term: int
    vote: NodeId | None


class Note(msgspec.Struct, frozen=True, gc=False):
    """What a protocol keeps beside the log under `name`: the newest counts; empty `data` forgets it."""

    name: str
    data: bytes


class Entries(msgspec.Struct, frozen=True, gc=False):
    """Stored entries from index `first` on; they replace whatever the log held there and after."""

    first: int
    entries: tuple[Buffer, ...]


class Reset(msgspec.Struct, frozen=True, gc=False):
    """Stand at the snapshot `mark`, which is in place: log and application begin anew after it."""

    mark: SnapshotMark


class Persist(Effect, frozen=True, gc=False):
    """Make `record` durable before anything that follows. None is a bare barrier over what is pending."""

    record: HardState | Note | Entries | Reset | None


class Send(Effect, frozen=True, gc=False):
    """Send `message` to `to`. With `first <= last` the driver attaches those stored entries: as they are, or
    with `hollow` without the bodies of their commands (for a witness)."""

    to: NodeId
    message: object
    first: int = 1
    last: int = 0
    hollow: bool = False


class SetTimer(Effect, frozen=True, gc=False):
    """Fire `name` after `delay_us`; an earlier setting of the same name is forgotten."""

    name: str
    delay_us: int


class CancelTimer(Effect, frozen=True, gc=False):
    """Forget the setting of `name`, if there is one."""

    name: str


class Admitted(Effect, frozen=True, gc=False):
    """The batches of `tokens` are entries `first`, `first + 1`, ... of `term`; not committed yet."""

    tokens: tuple[int, ...]
    first: int
    term: int


class Refused(Effect, frozen=True, gc=False):
    """The requests of `tokens` are not done: definitely, unless `error` is an OutcomeUnknown."""

    tokens: tuple[int, ...]
    error: QuorumError


class Completed(Effect, frozen=True, gc=False):
    """What the requests of `tokens` asked of the protocol itself (a change, a transfer) is done."""

    tokens: tuple[int, ...]


class ReadReady(Effect, frozen=True, gc=False):
    """The reads of `tokens` are linearizable once `index` is applied."""

    tokens: tuple[int, ...]
    index: int


class Commit(Effect, frozen=True, gc=False):
    """Entries `first` to `last` are decided."""

    first: int
    last: int
    certificate: object | None = None


class Checkpoint(Effect, frozen=True, gc=False):
    """A snapshot at `index` is wanted; `mark` says what it must record (digest and size still empty)."""

    mark: SnapshotMark


class Compacted(Effect, frozen=True, gc=False):
    """Entries below `first_kept` are not needed by this replica any more."""

    first_kept: int


class FetchSnapshot(Effect, frozen=True, gc=False):
    """Fetch the snapshot `mark` from `source`, verify its digest, install it. With a `state_root` each piece is
    verified by that, digest and size are not known before, and whoever offers the same may give the rest."""

    source: NodeId
    mark: SnapshotMark


class RoleChanged(Effect, frozen=True, gc=False):
    """For people and for the driver's waiting requests: this replica's role, term and known leader."""

    role: str
    term: int
    leader: NodeId | None


class Signed(msgspec.Struct, frozen=True, gc=False):
    """A claim that the holder of `public_key` signed `message`."""

    public_key: bytes
    message: bytes
    signature: bytes


class Verify(Effect, frozen=True, gc=False):
    """Check signatures off the loop; the answer is Verified, with one result for each item."""

    token: int
    items: tuple[Signed, ...]


class Load(Effect, frozen=True, gc=False):
    """Read the rows of `key` (register stores)."""

    key: bytes


class Report(Effect, frozen=True, gc=False):
    """A peer broke the protocol, or a fact that an operator must hear of. `evidence`, if any, convinces others."""

    node: NodeId
    what: str
    evidence: Evidence | None = None
