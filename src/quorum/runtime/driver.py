"""The driver: the one place that knows *persist before send*. No asyncio, no threads; every port is given.

One round: step every waiting event, send what needs no disk, start one sync for everything persisted meanwhile,
flush the network, apply what is committed. When a sync is done, whatever waited for it leaves, and the next round
syncs what came in between (group commit). Production and simulation run this same class. What is rare is done by
others: snapshots by `runtime/snapshot_keeper.py`, the comparison of states by `runtime/comparison.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from msgspec.structs import replace

from quorum.certificate.committee import Committee
from quorum.entry import Buffer, decode_entry, hollow, is_hollow
from quorum.errors import ConfigurationError, RemoteProtocolError, StorageFullError
from quorum.header import Batch
from quorum.model import Configuration, NodeId
from quorum.protocols import effects, events
from quorum.protocols.replica import Replica
from quorum.runtime.beside import Beside
from quorum.runtime.comparison import Comparison
from quorum.runtime.digests import Done
from quorum.runtime.echoes import Echoes
from quorum.runtime.messages import Chunk, ChunkRequest, PieceRequest, Pieces, StateDigest
from quorum.runtime.pending import Pending
from quorum.runtime.ports import Application, Attendant, Observer, Ports, Requests, Steward
from quorum.runtime.snapshot_keeper import SnapshotKeeper
from quorum.runtime.stragglers import Stragglers
from quorum.runtime.ticks import TICK, Ticks

APPLY_BYTES_MAX = 1024 * 1024
"""A round applies about this much, so that a long backlog does not stop the heartbeats."""
ENTRY_BYTES = 1024
"""An entry counts for so many bytes more than it has: small ones cost time as well."""
SPACE = "space"
"""The driver's own timer: a full disk is tried again."""
SPACE_RETRY_US = 1_000_000
TAIL_BLOCKS = 64
LOT_BYTES_MAX = 256 * 1024
LOT_ENTRIES_MAX = 512
"""After about this much, watchers look at what changed: the application keeps its newest changes only."""
_OF_STATE = frozenset((ChunkRequest, Chunk, PieceRequest, Pieces, StateDigest))
"""What is not the replica's affair, but of the state beside it."""


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
        steward: Steward | None = None,
        echoes: Echoes | None = None,
    ) -> None:
        self.node = replica.node
        self.replica = replica
        self.application = application
        self._log, self._transport = ports.log, ports.transport
        self._timers, self._clock = ports.timers, ports.clock
        self._snapshot_files = ports.snapshots
        self._verifier = ports.verifier
        self._requests, self._observer = requests, observer
        self._digest_entries = digest_entries

        self._events: deque[events.Event] = deque()
        self._proposed: list[tuple[int, Batch]] = []
        self._submitted: list[bytes] = []
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
        self._first_kept = 0

        self.applied_index = 0
        self.commit_index = 0
        self.certificate: object | None = None
        """What proves the newest decision to others, where the protocol has such proofs."""
        self._stragglers = Stragglers(replica, ports.clock)
        self._pending = Pending(requests)
        self.comparison = Comparison(replica, ports, application, observer, self._events.append)
        self.snapshots = SnapshotKeeper(
            self.node, ports, application, requests, observer, self.comparison, self._events.append, self._fail
        )
        self._ticks = Ticks(application, ports.timers, ports.clock)
        self.beside = Beside(ports, self.change, self.transfer, steward, echoes)
        self.stopped = False
        self._perform_by_type = self._performers()

    def _performers(self) -> dict[type, object]:
        """What is done with each kind of effect, a Persist apart."""
        return {
            effects.Send: self._send,
            effects.SetTimer: self._set_timer,
            effects.CancelTimer: self._cancel_timer,
            effects.Admitted: self._pending.admit,
            effects.Refused: self._refuse,
            effects.ReadReady: self._read_ready,
            effects.Commit: self._commit,
            effects.Checkpoint: self.snapshots.on_checkpoint,
            effects.Compacted: self._compact,
            effects.FetchSnapshot: self.snapshots.on_fetch,
            effects.RoleChanged: self._role_changed,
            effects.Report: self._report,
            effects.Verify: self._verify,
            effects.Completed: self._complete,
        }

    @property
    def now_us(self) -> int:
        """This node's time."""
        return self._clock.now_us()

    @property
    def is_idle(self) -> bool:
        """Whether no sync is under way, so that a round begun now shares its sync with nobody."""
        return not self._syncing

    def attend(self, attendant: Attendant) -> None:
        """Let somebody watch over the committee, from the start on."""
        self.beside.attendants.append(attendant)

    # Inputs. Each only queues; `run` does the work, once a loop turn.

    def start(self, bootstrap: Configuration | None) -> None:
        """Recover from the ports and begin. Raises StorageCorrupt; ConfigurationError for a bad bootstrap."""
        durable = self._with_tail(self._log.recover())
        if durable.snapshot is not None:
            self.snapshots.restore(durable.snapshot)
            self.applied_index = self.commit_index = durable.snapshot.index
            self._observer.stood_at(self.applied_index)
        started = events.Started(self._clock.now_us(), durable, bootstrap)
        self._perform(self.replica.step(started))
        if durable.snapshot is not None and durable.snapshot.place:
            self.comparison.publish(self.applied_index)
        self.beside.start(dict(durable.notes))
        self._finish_round()

    def _with_tail(self, durable: events.Durable) -> events.Durable:
        """Blocks may be decided, or go to other nodes, after a restart: the newest are given with their bytes."""
        entries = durable.entries
        if not entries or entries[-1].block is None:
            return durable
        first = max(entries[0].index, entries[-1].index - TAIL_BLOCKS + 1)
        return replace(durable, tail=self._log.read(first, entries[-1].index, 1 << 62))

    def receive(self, sender: NodeId, message: object, attached: tuple[Buffer, ...] = ()) -> None:
        """A message of a peer; the transport vouches for `sender`."""
        kind = type(message)
        if self.beside.heard(sender, message):
            return
        if kind not in _OF_STATE:
            self._events.append(events.Received(self._clock.now_us(), sender, message, attached))
        elif kind is ChunkRequest:
            self.snapshots.on_request(sender, message)  # type: ignore[arg-type]
        elif kind is Chunk:
            self.snapshots.on_chunk(sender, message, attached)  # type: ignore[arg-type]
        elif kind is PieceRequest:
            self.snapshots.on_piece_request(sender, message)  # type: ignore[arg-type]
        elif kind is Pieces:
            self.snapshots.on_pieces(sender, message, attached)  # type: ignore[arg-type]
        else:
            self.comparison.on_digest(sender, message)  # type: ignore[arg-type]

    def propose(self, token: int, batch: Batch) -> None:
        self._proposed.append((token, batch))

    def submit(self, request: bytes) -> None:
        """A signed request waits to be ordered, at whichever node orders (certificate.requests)."""
        self._submitted.append(request)

    def check(self, item: effects.Signed, done: Callable[[bool], None]) -> None:
        """Tell `done` whether a signature is right, at once or later; the replica hears nothing of it."""
        self._verifier.verify((item,), lambda results: done(results[0]))

    def read(self, token: int, here: bool = False) -> None:
        """A linearizable read waits for its index; with `here` this node serves it, whatever its role."""
        (self._read_here_tokens if here else self._read_tokens).append(token)

    def change(self, token: int, target: Configuration) -> None:
        """Replace the configuration by `target`, if this node leads."""
        self._events.append(events.ChangeProposed(self._clock.now_us(), token, target))

    def approve(self, token: int, committee: Committee) -> None:
        """`committee` is wanted next, where members may lie: by this member's operator, or with a token below 0 by
        the attendant."""
        self._events.append(events.ChangeApproved(self._clock.now_us(), token, committee))

    def transfer(self, token: int, target: NodeId | None) -> None:
        """Hand leadership to `target`, or to the best candidate, if this node leads."""
        self._events.append(events.TransferRequested(self._clock.now_us(), token, target))

    def want_snapshot(self, token: int) -> None:
        """Complete `token` once a snapshot with all that is applied now is durable here, or refuse it."""
        self.snapshots.want(token, self.applied_index)

    def want_digest(self, done: Done) -> None:
        """Call `done` in a later round with what is applied now and the digest of that state."""
        self.comparison.want(self.applied_index, done)

    def timer_fired(self, name: str) -> None:
        if name == SPACE:
            self._waits_for_space = False
        elif self.beside.fired(name):
            return
        elif name != TICK:
            self._events.append(events.TimerFired(self._clock.now_us(), name))
        elif self._ticks.fired():
            self._events.append(events.TickWanted(self._clock.now_us()))
            failure = self.application.expiry_failure
            if failure is not None:
                self._observer.degraded(f"what is due does not expire: {failure.kind}: {failure.message}")

    def peer_lost(self, node: NodeId) -> None:
        self._events.append(events.PeerLost(self._clock.now_us(), node))
        self.snapshots.peer_lost(node)

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
        while waiting or self._proposed or self._submitted or self._read_tokens or self._read_here_tokens:
            while waiting:
                self._step(waiting.popleft())
            if self._proposed:
                proposed, self._proposed = self._proposed, []
                tokens, batches = zip(*proposed, strict=True)
                self._step(events.Proposed(self._clock.now_us(), tokens, batches))
            if self._submitted:
                submitted, self._submitted = tuple(self._submitted), []
                self._step(events.Submitted(self._clock.now_us(), submitted))
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
        more = self.comparison.advance() or more
        more = self.snapshots.advance() or more
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

    def keep(self, note: effects.Note) -> None:
        """Make something durable that is not the replica's; nothing waits for it."""
        if not self.stopped:
            self._staged += 1
            self._stage(note)

    def _stage(self, record: object) -> None:
        self._dirty = True
        match record:
            case effects.Entries(first, entries):
                self._log.write_entries(first, entries)
            case effects.HardState():
                self._log.write_hard_state(record)
            case effects.Note():
                self._log.write_note(record)
            case effects.Reset(mark):
                self._stand_at(mark)

    def _stand_at(self, mark: events.SnapshotMark) -> None:
        self._log.reset(mark)
        self._first_kept = max(self._first_kept, mark.index + 1)
        self.snapshots.restore(mark)
        self.applied_index = mark.index
        self.commit_index = max(self.commit_index, mark.index)
        self._observer.stood_at(mark.index)
        self._requests.jumped(mark.index)

    def _start_sync(self) -> bool:
        if self._syncing or not self._dirty or self._waits_for_space:
            return False
        self._dirty = False
        self._syncing = True
        staged, replica_staged = self._staged, self._replica_staged
        # A leader has other requests to serve meanwhile. A follower's next act waits for this sync, and so does
        # that of a leader with a single request: handing it to a thread and back costs more than it saves.
        # While a snapshot is written, a sync may take a hundred times as long as those before it.
        busy = self._pending.commands > 1 or self._snapshot_files.is_busy
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
            self._fail(error)
            return
        self._syncing = False
        if self.is_full:
            self.is_full = False
            self._observer.space_is_back()
            self._events.append(events.StorageBack(self._clock.now_us()))
            self._ticks.look_again()
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
        self.snapshots.stop()
        self._pending.forget()

    def _fail(self, error: BaseException) -> None:
        """This node cannot go on."""
        if not self.stopped:
            self.stop()
            self._observer.failed(error)

    # Effects.

    def _send(self, effect: effects.Send) -> None:
        if effect.first <= effect.last:
            if effect.first < self._first_kept:
                return  # held for so long that a snapshot has taken its place: lost, as messages may be
            attached = self._log.read(effect.first, effect.last, 1 << 62)
            if effect.hollow:
                attached = tuple(map(hollow, attached))
            later = not self._pending.commands and self._stragglers.may_wait(effect.to)
            self._transport.send(effect.to, effect.message, attached, later)
        else:
            self._transport.send(effect.to, effect.message, ())

    def _set_timer(self, effect: effects.SetTimer) -> None:
        self._timers.set(effect.name, effect.delay_us)

    def _cancel_timer(self, effect: effects.CancelTimer) -> None:
        self._timers.cancel(effect.name)

    def _complete(self, effect: effects.Completed) -> None:
        if not self.beside.settled(effect.tokens[0], None):
            self._requests.completed(effect.tokens)

    def _refuse(self, effect: effects.Refused) -> None:
        if not self.beside.settled(effect.tokens[0], effect.error):
            self._requests.refused(effect.tokens, effect.error)

    def _read_ready(self, effect: effects.ReadReady) -> None:
        self._pending.read_ready(effect, self.applied_index)

    def _commit(self, effect: effects.Commit) -> None:
        """A commit that was held behind a Persist may come after a later one that was not."""
        self.commit_index = max(self.commit_index, effect.last)
        if effect.certificate is not None:
            self.certificate = effect.certificate
        self._stragglers.committed(effect.last)

    def _compact(self, effect: effects.Compacted) -> None:
        self._first_kept = max(self._first_kept, effect.first_kept)
        self._log.trim(effect.first_kept)

    def _role_changed(self, effect: effects.RoleChanged) -> None:
        if effect.leader != self.node:
            self._pending.forget()
        self.beside.lead(effect.leader == self.node)
        self._observer.role_changed(effect.role, effect.term, effect.leader)

    def _report(self, effect: effects.Report) -> None:
        self._observer.peer_misbehaved(effect.node, effect.what)
        if effect.evidence is not None:
            self._observer.accused(effect.evidence)
            self.beside.accused(effect.evidence)

    def _verify(self, effect: effects.Verify) -> None:
        """The results are an event: of this round, where the signatures are checked at once."""
        token = effect.token

        def done(results: tuple[bool, ...]) -> None:
            self._events.append(events.Verified(self._clock.now_us(), token, results))

        self._verifier.verify(effect.items, done)

    # Applying.

    def _apply(self) -> bool:
        """Apply committed entries in order, up to a bound; returns whether some are left."""
        budget = APPLY_BYTES_MAX
        while self.applied_index < self.commit_index and budget > 0:
            last = min(self.commit_index, self.applied_index + LOT_ENTRIES_MAX)
            due = self.snapshots.due
            if due is not None and self.applied_index < due.index:
                last = min(last, due.index)
            for entry in self._log.read(self.applied_index + 1, last, LOT_BYTES_MAX):
                self._apply_entry(entry)
                budget -= len(entry) + ENTRY_BYTES
            self._requests.moved()
            if due is not None and self.applied_index >= due.index:
                self.snapshots.take(self.applied_index)
        due = self.snapshots.due
        if due is not None and self.applied_index >= due.index:
            self.snapshots.take(self.applied_index)  # one that was asked for while nothing new is committed
        self._pending.serve_reads(self.applied_index)
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
        if not body and is_hollow(entry) and self.application.keeps_state:
            raise self._hollow_entry(index)
        result = self.application.apply(header, body)
        self.applied_index = index
        self._observer.entry_applied(header)
        if result.notices:
            self._requests.noticed(index, result.notices)
        if result.requests:
            self._requests.decided(result.requests)
        self._pending.applied(header, result)
        if index % self._digest_entries == 0 and self.application.keeps_state:
            self.comparison.publish(index)
