"""The snapshots of one replica: taken here, given to other nodes and to backups, and got from another node.

What is rare is here, so that the driver can be read as rounds alone. `runtime/snapshots.py` has the files,
`runtime/transfer.py` the way from node to node, `runtime/installation.py` what is done with one that has come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from msgspec.structs import replace

from quorum.entry import Buffer
from quorum.errors import (
    ConfigurationError,
    QuorumError,
    StorageCorrupt,
    StorageError,
    StorageFullError,
)
from quorum.model import NodeId
from quorum.protocols import effects, events
from quorum.runtime.comparison import Comparison
from quorum.runtime.installation import Installation, NotAsProven
from quorum.runtime.messages import Chunk, ChunkRequest, PieceRequest, Pieces
from quorum.runtime.piece_source import PieceSource
from quorum.runtime.piece_transfer import PieceTransfer
from quorum.runtime.ports import Application, Observer, Ports, Requests, Written
from quorum.runtime.transfer import Transfer


class SnapshotKeeper:
    """Does what the replica wants with snapshots; the replica hears what became of it by events.

    Each Checkpoint is answered by a CheckpointReady or a CheckpointFailed. A FetchSnapshot leads to Installed, or
    to nothing: the leader offers again with each heartbeat. The state itself is changed by `restore` alone.
    `queue` takes an event for the replica's next step. `failed` is called when this node cannot go on; it stops
    the driver, which stops this.

    I1  a snapshot that is taken here is of exactly the entry that the replica named.
    I2  whoever wants a snapshot hears that it is done only when one is durable here that holds all that was
        applied when it was asked for.
    I3  while the state here differs from a quorum's no chunk leaves for another node, and no backup begins.
    """

    def __init__(
        self,
        node: NodeId,
        ports: Ports,
        application: Application,
        requests: Requests,
        observer: Observer,
        comparison: Comparison,
        queue: Callable[[events.Event], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._node = node
        self._snapshots, self._transport, self._clock = ports.snapshots, ports.transport, ports.clock
        self._application = application
        self._requests, self._observer = requests, observer
        self._comparison = comparison
        self._queue, self._failed = queue, failed
        self._stopped = False
        self._is_writing = False
        self.due: events.SnapshotMark | None = None
        self._wanted: list[tuple[int, int]] = []
        self._installation = Installation(
            node, application, ports.snapshots, ports.clock, self._on_installed, self._on_wrong, failed
        )
        self._transfer = Transfer(ports.snapshots, ports.transport, self._installation.begin)
        self._piece_source = PieceSource(ports.snapshots, ports.transport, ports.clock)
        self._piece_transfer = PieceTransfer(
            ports.snapshots,
            ports.transport,
            ports.clock,
            self._installation.begin_proven,
            self._on_lie,
            partial(self._on_wrong, node),
        )

    def stop(self) -> None:
        """The driver stops: nobody hears of what ends later."""
        self._stopped = True

    def restore(self, mark: events.SnapshotMark) -> None:
        """Let the application stand at a snapshot that is here. Raises StorageCorrupt if it cannot."""
        self._installation.restore(mark)

    def advance(self) -> bool:
        """Free for a while what a snapshot has replaced, if anything is; returns whether some is left."""
        return self._installation.is_letting_go and self._installation.advance()

    def newest(self) -> events.SnapshotMark | None:
        """The newest snapshot that is durable here."""
        return self._snapshots.newest()

    def read_chunk(self, index: int, offset: int, size: int) -> bytes | None:
        """Bytes of the snapshot file at `index`; None when it is gone."""
        return self._snapshots.read_chunk(index, offset, size)

    # Taken here.

    def on_checkpoint(self, effect: effects.Checkpoint) -> None:
        """The replica wants one: `take` is called when the application stands there, or beyond."""
        self.due = effect.mark

    def take(self, applied_index: int) -> None:
        """A view of the state as it stands where one is due; it is written while commands go on."""
        mark, self.due = self.due, None
        assert mark is not None, "a snapshot is due"
        if applied_index != mark.index or self._is_writing:
            # A fetched snapshot overtook this one and serves as well, or the request was held behind a Persist
            # while later entries were applied, or a witness is writing what it fetched. In any case the replica
            # may ask for the next.
            newest, now_us = self._snapshots.newest(), self._clock.now_us()
            ready = events.CheckpointReady(now_us, newest) if newest is not None else None
            self._queue(ready or events.CheckpointFailed(now_us))
            self._serve_wanted()
            return
        stamped = replace(mark, time_us=self._application.time_us)
        self._write(stamped, self._application.snapshot(), self._on_written)

    def _write(self, mark: events.SnapshotMark, chunks: Iterator[bytes], done: Written) -> None:
        self._is_writing = True  # until `done` says otherwise, which may be before this returns
        self._snapshots.write(mark, chunks, done)

    def _on_written(self, mark: events.SnapshotMark | None, error: BaseException | None) -> None:
        self._is_writing = False
        if self._stopped:
            return
        if isinstance(error, StorageFullError):
            self._observer.degraded(str(error))
            self._queue(events.CheckpointFailed(self._clock.now_us()))
            wanted, self._wanted = self._wanted, []
            if wanted:
                self._requests.refused([token for _, token in wanted], error)
            return
        if mark is None:
            self._failed(error or QuorumError("a snapshot could not be written"))
            return
        self._queue(events.CheckpointReady(self._clock.now_us(), mark))
        self._installation.forget()
        self._serve_wanted()

    # Given to backups and to other nodes.

    def want(self, token: int, applied_index: int) -> None:
        """Complete `token` once a snapshot with all up to `applied_index` is durable here, or refuse it."""
        if not self._application.keeps_state:
            error = ConfigurationError(f"{self._node} is a witness and keeps no state. Ask another node.")
            self._requests.refused((token,), error)
            return
        if self._comparison.differs:
            error = ConfigurationError(
                f"a backup was to be taken from {self._node}, but its state differs from a quorum's. Ask another "
                "node, and see `quorum status`."
            )
            self._requests.refused((token,), error)
            return
        self._wanted.append((applied_index, token))
        self._serve_wanted()

    def _serve_wanted(self) -> None:
        """Answer whoever waits for the newest snapshot; ask for another where somebody waits for more."""
        if not self._wanted:
            return
        newest = self._snapshots.newest()
        reached = newest.index if newest is not None else 0
        done = [token for index, token in self._wanted if index <= reached]
        self._wanted = [wanted for wanted in self._wanted if wanted[0] > reached]
        if done:
            self._requests.completed(done)
        if self._wanted:
            self._queue(events.CheckpointWanted(self._clock.now_us()))

    def on_request(self, sender: NodeId, request: ChunkRequest) -> None:
        """A peer fetches from here."""
        if self._comparison.differs:  # nobody is to begin with a state like this one
            self._transport.send(sender, Chunk(request.index, request.offset, True), ())
        else:
            self._transfer.serve(sender, request)

    def on_piece_request(self, sender: NodeId, request: PieceRequest) -> None:
        """A peer fetches a certified state from here."""
        if self._comparison.differs or not self._application.keeps_state:
            self._piece_source.refuse(sender, request)
        else:
            self._piece_source.serve(sender, request)

    # Got from another node.

    def on_fetch(self, effect: effects.FetchSnapshot) -> None:
        """A witness needs the place of the snapshot and its configuration, none of its state. While an earlier one
        is under way nothing is done: the leader offers it again with each heartbeat."""
        if not self._application.keeps_state:
            if not self._is_writing:
                self._write(replace(effect.mark, digest=b"", size=0), iter(()), self._on_mark_written)
        elif self._installation.is_busy:
            return
        elif effect.mark.state_root:
            self._transferred(effect.source, lambda: self._piece_transfer.begin(effect.source, effect.mark))
        else:
            self._transferred(effect.source, lambda: self._transfer.begin(effect.source, effect.mark))

    def on_chunk(self, sender: NodeId, chunk: Chunk, attached: tuple[Buffer, ...]) -> None:
        """A part of what is fetched has come."""
        if not self._installation.is_busy:
            self._transferred(sender, lambda: self._transfer.take(sender, chunk, attached))

    def on_pieces(self, sender: NodeId, message: Pieces, attached: tuple[Buffer, ...]) -> None:
        """A part of a certified state has come."""
        if not self._installation.is_busy:
            self._transferred(sender, lambda: self._piece_transfer.take(sender, message, attached))

    def peer_lost(self, node: NodeId) -> None:
        """The connection to `node` has ended."""
        self._piece_transfer.lost(node)
        if self._transfer.source == node:
            self._transfer.abandon()

    def _transferred(self, sender: NodeId, act: Callable[[], None]) -> None:
        try:
            act()
        except (StorageError, ConfigurationError) as error:
            self._on_wrong(sender, error)

    def _on_wrong(self, sender: NodeId, error: BaseException) -> None:
        """A wrong snapshot is its sender's fault; a disk that refuses is not. The offer will be repeated."""
        self._transfer.abandon()
        self._piece_transfer.abandon()
        if self._stopped:
            return
        if isinstance(error, NotAsProven):
            self._observer.degraded(str(error))
        elif isinstance(error, StorageCorrupt | ConfigurationError):
            self._observer.peer_misbehaved(sender, str(error))
        elif isinstance(error, StorageFullError):
            self._observer.degraded(str(error))
        else:
            self._failed(error)

    def _on_lie(self, sender: NodeId, what: str) -> None:
        """What `sender` gave is not what the certified root says."""
        if not self._stopped:
            self._observer.peer_misbehaved(sender, what)

    def _on_mark_written(self, mark: events.SnapshotMark | None, error: BaseException | None) -> None:
        self._is_writing = False
        if mark is not None and not self._stopped:
            self._queue(events.Installed(self._clock.now_us(), mark))
        else:
            self._on_written(mark, error)

    def _on_installed(self, mark: events.SnapshotMark) -> None:
        self._queue(events.Installed(self._clock.now_us(), mark))
