"""Moving a snapshot from one node to another: the receiver asks for chunk after chunk, and may resume."""

from __future__ import annotations

from collections.abc import Callable

from quorum.entry import Buffer
from quorum.model import NodeId
from quorum.protocols.events import SnapshotMark
from quorum.runtime.messages import Chunk, ChunkRequest
from quorum.runtime.ports import Snapshots, Transport

CHUNK_BYTES = 256 * 1024


class Transfer:
    """Both ends of a transfer. One snapshot is fetched at a time; any number are served.

    `arrived` is called with the mark and the node it came from once all of it is here.
    """

    def __init__(
        self, snapshots: Snapshots, transport: Transport, arrived: Callable[[SnapshotMark, NodeId], None]
    ) -> None:
        self._arrived = arrived
        self._snapshots = snapshots
        self._transport = transport
        self._mark: SnapshotMark | None = None
        self._progressed = False
        self.source: NodeId | None = None

    def begin(self, source: NodeId, mark: SnapshotMark) -> None:
        """Fetch `mark` from `source`, from where an earlier attempt stopped.

        The leader repeats its offer with each heartbeat. While chunks keep coming that changes nothing; when
        none came since the last offer, the request or its answer was lost, and it is asked again.
        Raises as `take` does.
        """
        if self.source == source and self._progressed:
            self._progressed = False
            return
        self.source, self._mark = source, mark
        self._go_on(mark, self._snapshots.receive(mark, 0, b""))

    def abandon(self) -> None:
        """Stop fetching; the part that is here stays for the next attempt."""
        self.source = self._mark = None
        self._progressed = False

    def serve(self, sender: NodeId, request: ChunkRequest) -> None:
        """Answer a peer that fetches from this node."""
        data = self._snapshots.read_chunk(request.index, request.offset, CHUNK_BYTES)
        if data is None:
            self._transport.send(sender, Chunk(request.index, request.offset, True), ())
        else:
            self._transport.send(sender, Chunk(request.index, request.offset), (data,))

    def take(self, sender: NodeId, chunk: Chunk, attached: tuple[Buffer, ...]) -> None:
        """Store one chunk and ask for the next. Raises StorageFullError or StorageError if this disk refuses."""
        mark = self._mark
        if mark is None or sender != self.source or chunk.index != mark.index:
            return
        if chunk.gone or not attached or not len(attached[0]):
            self.abandon()
            return
        self._progressed = True
        self._go_on(mark, self._snapshots.receive(mark, chunk.offset, attached[0]))

    def _go_on(self, mark: SnapshotMark, offset: int) -> None:
        """Ask for what is missing from `offset` on, if anything is."""
        source = self.source
        assert source is not None, "a transfer is under way"
        if offset < mark.size:
            self._transport.send(source, ChunkRequest(mark.index, offset), ())
            return
        self.abandon()
        self._arrived(mark, source)
