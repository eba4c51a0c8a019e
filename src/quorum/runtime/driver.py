"""The driver: the one place that knows *persist before send*. No asyncio, no threads; every port is given.

One round: step every waiting event, send what needs no disk, start one sync for everything persisted meanwhile,
flush the network, apply what is committed. When a sync is done, whatever waited for it leaves, and the next round
syncs what came in between (group commit). Production and simulation run this same class.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from msgspec.structs import replace

from quorum.entry import Buffer, decode_entry, hollow, is_hollow
from quorum.errors import (
    ConfigurationError,
    QuorumError,
    RemoteProtocolError,
    StorageCorrupt,
    StorageError,
    StorageFullError,
)
from quorum.header import Batch
from quorum.model import Configuration, NodeId
from quorum.protocols import effects, events
from quorum.protocols.replica import Replica
from quorum.runtime.digests import Digests, Done
from quorum.runtime.divergence import Divergence
from quorum.runtime.installation import Installation
from quorum.runtime.messages import Chunk, ChunkRequest, StateDigest
from quorum.runtime.ports import Application, Observer, Ports, Requests
from quorum.runtime.stragglers import Stragglers
from quorum.runtime.ticks import TICK, Ticks
from quorum.runtime.transfer import Transfer

APPLY_BYTES_MAX = 1024 * 1024
"""A round applies about this much, so that a long backlog does not stop the heartbeats."""
SPACE = "space"
"""The driver's own timer: a full disk is tried again."""
SPACE_RETRY_US = 1_000_000
LOT_BYTES_MAX = 256 * 1024
"""After about this much, watchers look at what changed: the application keeps its newest changes only."""


class Driver:
    """Runs one replica.

    I1  an effect that follows a Persist is performed only when that record and all before it are durable.
    I2  entries are applied in order, each once, and only when committed.
    """

    def __init__(
        self,
        replica: Replica,
        ports: Ports,
        application: Application,
        requests: Requests,
        observer: Observer,
        digest_entries: int = 50_000,
    ) -> None:
        self.node = replica.node
        self.replica = replica
        self.application = application
        self._log, self._snapshots = ports.log, ports.snapshots
        self._transport, self._timers, self._clock = ports.transport, ports.timers, ports.clock
        self._requests, self._observer = requests, observer
        self._digest_entries = digest_entries
        self.state_differs = False

        self._events: deque[events.Event] = deque()
        self._proposed: list[tuple[int, Batch]] = []
        self._read_tokens: list[int] = []
        self._read_here_tokens: list[int] = []
        self._configuration: Configuration | None = None
        self._staged = 0
        self._replica_staged = 0
        self._syncing = False
        self._dirty = False
        self.is_full = False
        self._waits_for_space = False
        self._held: deque[tuple[int, list[effects.Effect]]] = deque()

        self.applied_index = 0
        self.commit_index = 0
        self._stragglers = Stragglers(replica, ports.clock)
        self._admitted: dict[int, tuple[int, int]] = {}
        self._reads: deque[tuple[int, tuple[int, ...]]] = deque()
        self._checkpoint: events.SnapshotMark | None = None
        self._snapshots_wanted: list[tuple[int, int]] = []
        self._installation = Installation(
            self.node, application, ports.snapshots, self._on_installed, self._on_wrong_snapshot, self._on_failed
        )
        self._transfer = Transfer(ports.snapshots, ports.transport, self._installation.begin)
        self._digests = Digests(ports.clock)
        self._divergence = Divergence(self.node)
        self._ticks = Ticks(application, ports.timers, ports.clock)
        self.stopped = False
        self._perform_by_type = {
            effects.Send: self._send,
            effects.SetTimer: self._set_timer,
            effects.CancelTimer: self._cancel_timer,
            effects.Admitted: self._admit,
            effects.Refused: self._refuse,
            effects.ReadReady: self._read_ready,
            effects.Commit: self._commit,
            effects.Checkpoint: self._want_checkpoint,
            effects.Compacted: self._compact,
            effects.FetchSnapshot: self._fetch,
            effects.RoleChanged: self._role_changed,
            effects.Report: self._report,
            effects.Completed: self._complete,
        }

    @property
    def is_idle(self) -> bool:
        """Whether no sync is under way, so that a round begun now shares its sync with nobody."""
        return not self._syncing

    # Inputs. Each only queues; `run` does the work, once a loop turn.

    def start(self, bootstrap: Configuration | None) -> None:
        """Recover from the ports and begin. Raises StorageCorrupt; ConfigurationError for a bad bootstrap."""
        durable = self._log.recover()
        if durable.snapshot is not None:
            self._installation.restore(durable.snapshot)
            self.applied_index = self.commit_index = durable.snapshot.index
            self._observer.stood_at(self.applied_index)
        started = events.Started(self._clock.now_us(), durable, bootstrap)
        self._perform(self.replica.step(started))
        self._finish_round()

    def receive(self, sender: NodeId, message: object, attached: tuple[Buffer, ...] = ()) -> None:
        """A message of a peer; the transport vouches for `sender`."""
        kind = type(message)
        if kind is ChunkRequest:
            self._serve(sender, message)  # type: ignore[arg-type]
        elif kind is Chunk:
            self._take_chunk(sender, message, attached)  # type: ignore[arg-type]
        elif kind is StateDigest:
            self._compare_digest(sender, message)  # type: ignore[arg-type]
        else:
            self._events.append(events.Received(self._clock.now_us(), sender, message, attached))

    def propose(self, token: int, batch: Batch) -> None:
        self._proposed.append((token, batch))

    def read(self, token: int, here: bool = False) -> None:
        """A linearizable read waits for its index; with `here` this node serves it, whatever its role."""
        (self._read_here_tokens if here else self._read_tokens).append(token)

    def change(self, token: int, target: Configuration) -> None:
        """Replace the configuration by `target`, if this node leads."""
        self._events.append(events.ChangeProposed(self._clock.now_us(), token, target))

    def transfer(self, token: int, target: NodeId | None) -> None:
        """Hand leadership to `target`, or to the best candidate, if this node leads."""
        self._events.append(events.TransferRequested(self._clock.now_us(), token, target))

    def want_snapshot(self, token: int) -> None:
        """Complete `token` once a snapshot with all that is applied now is durable here, or refuse it."""
        if not self.application.keeps_state:
            error = ConfigurationError(f"{self.node} is a witness and keeps no state. Ask another node.")
            self._requests.refused((token,), error)
            return
        if self.state_differs:
            error = ConfigurationError(
                f"a backup was to be taken from {self.node}, but its state differs from a quorum's. Ask another "
                "node, and see `quorum status`."
            )
            self._requests.refused((token,), error)
            return
        self._snapshots_wanted.append((self.applied_index, token))
        self._serve_snapshots()

    def timer_fired(self, name: str) -> None:
        if name == SPACE:
            self._waits_for_space = False
        elif name != TICK:
            self._events.append(events.TimerFired(self._clock.now_us(), name))
        elif self._ticks.fired():
            self._events.append(events.TickWanted(self._clock.now_us()))
            failure = self.application.expiry_failure
            if failure is not None:
                self._observer.degraded(f"what is due does not expire: {failure.kind}: {failure.message}")

    def peer_lost(self, node: NodeId) -> None:
        self._events.append(events.PeerLost(self._clock.now_us(), node))
        if self._transfer.source == node:
            self._transfer.abandon()

    # One round.

    def run(self) -> bool:
        """Do everything that waits. Returns whether more is left for another round at once."""
        if self.stopped:
            return False
        self._take_waiting()
        more = self._finish_round()
        while self._events and not self._syncing and not self.stopped:
            self._take_waiting()  # a sync that ended within the round: what it completes need not wait for a turn
            more = self._finish_round()
        return more

    def _take_waiting(self) -> None:
        """Step every event that waits, then all proposals at once, then all reads at once."""
        waiting = self._events
        while waiting or self._proposed or self._read_tokens or self._read_here_tokens:
            while waiting:
                self._step(waiting.popleft())
            if self._proposed:
                proposed, self._proposed = self._proposed, []
                tokens, batches = zip(*proposed, strict=True)
                self._step(events.Proposed(self._clock.now_us(), tokens, batches))
            if self._read_tokens:
                read_tokens, self._read_tokens = tuple(self._read_tokens), []
                self._step(events.ReadRequested(self._clock.now_us(), read_tokens))
            if self._read_here_tokens:
                read_tokens, self._read_here_tokens = tuple(self._read_here_tokens), []
                self._step(events.ReadRequested(self._clock.now_us(), read_tokens, here=True))
        if self.replica.configuration is not self._configuration:
            self._configuration = self.replica.configuration
            self._observer.configuration_changed(self._configuration)

    def _finish_round(self) -> bool:
        """Send, then sync, so that replication overlaps it; apply in a round of its own where a sync is now under
        way, so that the thread that syncs need not wait for the interpreter."""
        self._transport.flush()
        if self._start_sync() and self._syncing and self.applied_index < self.commit_index:
            return True
        more = self._apply()
        if self._digests.pending:
            more = self._digests.advance() or more
        if self.replica.leader == self.node:
            self._ticks.arm(self.applied_index)
        return more or bool(self._events)

    def _step(self, event: events.Event) -> None:
        try:
            produced = self.replica.step(event)
        except RemoteProtocolError as error:
            self._observer.peer_misbehaved(error.sender, error.what)
            return
        self._perform(produced)

    def _perform(self, produced: tuple[effects.Effect, ...]) -> None:
        """Stage every record, then let leave what stands before the first of them (I1)."""
        held: list[effects.Effect] | None = None
        for effect in produced:
            if type(effect) is effects.Persist:
                self._stage(effect.record)
        for effect in produced:
            if type(effect) is effects.Persist:
                self._staged += 1
                self._replica_staged += 1
                held = []
                self._held.append((self._staged, held))
            elif held is not None:
                held.append(effect)
            else:
                self._perform_by_type[type(effect)](effect)  # type: ignore[operator]

    def _stage(self, record: object) -> None:
        self._dirty = True
        match record:
            case effects.Entries(first, entries):
                self._log.write_entries(first, entries)
            case effects.HardState():
                self._log.write_hard_state(record)
            case effects.Reset(mark):
                self._stand_at(mark)

    def _start_sync(self) -> bool:
        if self._syncing or not self._dirty or self._waits_for_space:
            return False
        self._dirty = False
        self._syncing = True
        staged, replica_staged = self._staged, self._replica_staged
        # A leader has other requests to serve meanwhile. A follower's next act waits for this sync, and so does
        # that of a leader with a single request: handing it to a thread and back costs more than it saves.
        # While a snapshot is written, a sync may take a hundred times as long as those before it.
        busy = len(self._admitted) > 1 or self._snapshots.is_busy
        self._log.sync(lambda error: self._on_synced(staged, replica_staged, error), in_background=busy)
        return True

    def _on_synced(self, staged: int, replica_staged: int, error: BaseException | None) -> None:
        """The disk holds everything up to `staged`: what waited for it leaves."""
        if self.stopped:
            return
        if isinstance(error, StorageFullError):
            self._on_full(error)
            return
        if error is not None:
            self.stop()
            self._observer.failed(error)
            return
        self._syncing = False
        if self.is_full:
            self.is_full = False
            self._observer.space_is_back()
            self._events.append(events.StorageBack(self._clock.now_us()))
        held = self._held
        while held and held[0][0] <= staged:
            for effect in held.popleft()[1]:
                self._perform_by_type[type(effect)](effect)  # type: ignore[operator]
        self._transport.flush()
        self._events.append(events.Stored(self._clock.now_us(), replica_staged))

    def _on_full(self, error: StorageFullError) -> None:
        """Everything stays staged, nothing that waits for it leaves, and the sync is tried again."""
        self._syncing, self._dirty, self._waits_for_space = False, True, True
        self._timers.set(SPACE, SPACE_RETRY_US)
        if not self.is_full:
            self.is_full = True
            self._observer.degraded(str(error))
            self._events.append(events.StorageFull(self._clock.now_us()))

    def stop(self) -> None:
        """Do nothing more; requests that wait learn that their outcome is unknown."""
        self.stopped = True
        self._forget_admitted()

    # Effects.

    def _send(self, effect: effects.Send) -> None:
        if effect.first <= effect.last:
            attached = self._log.read(effect.first, effect.last, 1 << 62)
            if effect.hollow:
                attached = tuple(map(hollow, attached))
            later = not self._admitted and self._stragglers.may_wait(effect.to)
            self._transport.send(effect.to, effect.message, attached, later)
        else:
            self._transport.send(effect.to, effect.message, ())

    def _set_timer(self, effect: effects.SetTimer) -> None:
        self._timers.set(effect.name, effect.delay_us)

    def _cancel_timer(self, effect: effects.CancelTimer) -> None:
        self._timers.cancel(effect.name)

    def _admit(self, effect: effects.Admitted) -> None:
        index = effect.first
        for token in effect.tokens:
            self._admitted[index] = (token, effect.term)
            index += 1

    def _complete(self, effect: effects.Completed) -> None:
        self._requests.completed(effect.tokens)

    def _refuse(self, effect: effects.Refused) -> None:
        self._requests.refused(effect.tokens, effect.error)

    def _read_ready(self, effect: effects.ReadReady) -> None:
        if effect.index <= self.applied_index:
            self._requests.read_ready(effect.tokens)
        else:
            self._reads.append((effect.index, effect.tokens))

    def _commit(self, effect: effects.Commit) -> None:
        """A commit that was held behind a Persist may come after a later one that was not."""
        self.commit_index = max(self.commit_index, effect.last)
        self._stragglers.committed(effect.last)

    def _want_checkpoint(self, effect: effects.Checkpoint) -> None:
        self._checkpoint = effect.mark

    def _compact(self, effect: effects.Compacted) -> None:
        self._log.trim(effect.first_kept)

    def _role_changed(self, effect: effects.RoleChanged) -> None:
        if effect.leader != self.node:
            self._forget_admitted()
        self._observer.role_changed(effect.role, effect.term, effect.leader)

    def _report(self, effect: effects.Report) -> None:
        self._observer.peer_misbehaved(effect.node, effect.what)

    def _forget_admitted(self) -> None:
        """This node will not answer what it admitted: the entries may be committed by the next leader."""
        if self._admitted:
            tokens = [token for token, _ in self._admitted.values()]
            self._admitted = {}
            self._requests.unknown(tokens)

    # Applying.

    def _apply(self) -> bool:
        """Apply committed entries in order, up to a bound; returns whether some are left."""
        budget = APPLY_BYTES_MAX
        while self.applied_index < self.commit_index and budget > 0:
            last = self.commit_index
            mark = self._checkpoint
            if mark is not None and self.applied_index < mark.index:
                last = min(last, mark.index)
            for entry in self._log.read(self.applied_index + 1, last, LOT_BYTES_MAX):
                self._apply_entry(entry)
                budget -= len(entry)
            self._requests.moved()
            if mark is not None and self.applied_index >= mark.index:
                self._take_snapshot(mark)
        if self._checkpoint is not None and self.applied_index >= self._checkpoint.index:
            self._take_snapshot(self._checkpoint)  # one that was asked for while nothing new is committed
        while self._reads and self._reads[0][0] <= self.applied_index:
            self._requests.read_ready(self._reads.popleft()[1])
        return self.applied_index < self.commit_index

    def _hollow_entry(self, index: int) -> ConfigurationError:
        return ConfigurationError(
            f"{self.node} was to apply entry {index}, but its data folder was kept by a witness, and holds no "
            "commands. Empty the folder: the cluster sends what belongs there."
        )

    def _apply_entry(self, entry: Buffer) -> None:
        header, body = decode_entry(entry)
        index = header.index
        assert index == self.applied_index + 1, "I2: applied out of order"
        if is_hollow(entry) and self.application.keeps_state:
            raise self._hollow_entry(index)
        result = self.application.apply(header, body)
        self.applied_index = index
        self._observer.entry_applied(header)
        if result.notices:
            self._requests.noticed(index, result.notices)
        admitted = self._admitted.pop(index, None)
        if admitted is not None:
            token, term = admitted
            if term == header.term:
                self._requests.applied(token, header, result)
            else:
                self._requests.unknown((token,))
        if index % self._digest_entries == 0 and self.application.keeps_state:
            self._digests.add(index, self.application.digests(), self._publish_digest)

    # Snapshots.

    def _take_snapshot(self, mark: events.SnapshotMark) -> None:
        """A view of the state as it stands at `mark`; it is written while commands go on."""
        self._checkpoint = None
        if self.applied_index != mark.index:
            # A fetched snapshot overtook this one and serves as well, or the request was held behind a Persist
            # while later entries were applied. Either way the replica may ask for the next.
            newest, now_us = self._snapshots.newest(), self._clock.now_us()
            ready = events.CheckpointReady(now_us, newest) if newest is not None else None
            self._events.append(ready or events.CheckpointFailed(now_us))
            self._serve_snapshots()
            return
        stamped = events.SnapshotMark(mark.index, mark.term, self.application.time_us, mark.configuration)
        self._snapshots.write(stamped, self.application.snapshot(), self._on_snapshot_written)

    def _on_snapshot_written(self, mark: events.SnapshotMark | None, error: BaseException | None) -> None:
        if self.stopped:
            return
        if isinstance(error, StorageFullError):
            self._observer.degraded(str(error))
            self._events.append(events.CheckpointFailed(self._clock.now_us()))
            wanted, self._snapshots_wanted = self._snapshots_wanted, []
            if wanted:
                self._requests.refused([token for _, token in wanted], error)
            return
        if mark is None:
            self.stop()
            self._observer.failed(error or QuorumError("a snapshot could not be written"))
            return
        self._events.append(events.CheckpointReady(self._clock.now_us(), mark))
        self._installation.forget()
        self._serve_snapshots()

    def _serve_snapshots(self) -> None:
        """Answer whoever waits for the newest snapshot; ask for another where somebody waits for more."""
        if not self._snapshots_wanted:
            return
        newest = self._snapshots.newest()
        reached = newest.index if newest is not None else 0
        done = [token for index, token in self._snapshots_wanted if index <= reached]
        self._snapshots_wanted = [wanted for wanted in self._snapshots_wanted if wanted[0] > reached]
        if done:
            self._requests.completed(done)
        if self._snapshots_wanted:
            self._events.append(events.CheckpointWanted(self._clock.now_us()))

    def snapshot_bytes(self, index: int, offset: int, size: int) -> bytes | None:
        """Bytes of the snapshot file at `index`; None when it is gone."""
        return self._snapshots.read_chunk(index, offset, size)

    def newest_snapshot(self) -> events.SnapshotMark | None:
        """The newest snapshot that is durable here."""
        return self._snapshots.newest()

    def _on_mark_written(self, mark: events.SnapshotMark | None, error: BaseException | None) -> None:
        if mark is not None and not self.stopped:
            self._events.append(events.Installed(self._clock.now_us(), mark))
        else:
            self._on_snapshot_written(mark, error)

    def _fetch(self, effect: effects.FetchSnapshot) -> None:
        """A witness needs the place of the snapshot and its configuration, none of its state."""
        if not self.application.keeps_state:
            self._snapshots.write(replace(effect.mark, digest=b"", size=0), iter(()), self._on_mark_written)
            return
        if not self._installation.is_busy:  # the leader offers it again with each heartbeat
            self._transferred(effect.source, lambda: self._transfer.begin(effect.source, effect.mark))

    def _serve(self, sender: NodeId, request: ChunkRequest) -> None:
        if self.state_differs:  # nobody is to begin with a state like this one
            self._transport.send(sender, Chunk(request.index, request.offset, True), ())
        else:
            self._transfer.serve(sender, request)

    def _take_chunk(self, sender: NodeId, chunk: Chunk, attached: tuple[Buffer, ...]) -> None:
        if not self._installation.is_busy:
            self._transferred(sender, lambda: self._transfer.take(sender, chunk, attached))

    def _transferred(self, sender: NodeId, act: Callable[[], None]) -> None:
        try:
            act()
        except (StorageError, ConfigurationError) as error:
            self._on_wrong_snapshot(sender, error)

    def _on_wrong_snapshot(self, sender: NodeId, error: BaseException) -> None:
        """A wrong snapshot is its sender's fault; a disk that refuses is not. The offer will be repeated."""
        self._transfer.abandon()
        if self.stopped:
            return
        if isinstance(error, StorageCorrupt | ConfigurationError):
            self._observer.peer_misbehaved(sender, str(error))
        elif isinstance(error, StorageFullError):
            self._observer.degraded(str(error))
        else:
            self._on_failed(error)

    def _on_installed(self, mark: events.SnapshotMark) -> None:
        self._events.append(events.Installed(self._clock.now_us(), mark))

    def _on_failed(self, error: BaseException) -> None:
        if not self.stopped:
            self.stop()
            self._observer.failed(error)

    def _stand_at(self, mark: events.SnapshotMark) -> None:
        self._log.reset(mark)
        self._installation.restore(mark)
        self.applied_index = mark.index
        self.commit_index = max(self.commit_index, mark.index)
        self._observer.stood_at(mark.index)
        self._requests.jumped(mark.index)

    # Digests: a replica whose state differs is named.

    def want_digest(self, done: Done) -> None:
        """Call `done` in a later round with what is applied now and the digest of that state."""
        self._digests.add(self.applied_index, self.application.digests(), done)

    def _publish_digest(self, index: int, digest: bytes) -> None:
        self._observer.state_at(index, digest)
        for node in self.replica.configuration.members:
            if node != self.node:
                self._transport.send(node, StateDigest(index, digest), ())
        self._name_diverged(self.node, index, digest)

    def _compare_digest(self, sender: NodeId, message: StateDigest) -> None:
        self._name_diverged(sender, message.index, message.digest)

    def _name_diverged(self, node: NodeId, index: int, digest: bytes) -> None:
        """Tell whose state differs. One that is this node's own is not passed on: neither by leading, nor by
        snapshots; until a quorum has it after all."""
        configuration = self.replica.configuration
        differing = self._divergence.add(node, index, digest, configuration)
        for other in differing:
            self._observer.diverged(other, index)
        if self.node in differing:
            self._doubt(True)
        elif self.state_differs and self._divergence.is_agreed(index, configuration):
            self._doubt(False)

    def _doubt(self, differs: bool) -> None:
        self.state_differs = differs
        self._events.append(events.StateDoubted(self._clock.now_us(), differs))
