"""A cluster of two stores and a client that watches one of them, as the property of key watches needs it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from quorum.apps.kv import Command, encode_batch
from quorum.apps.kv_store import KeyValueStore
from quorum.apps.kv_watch import Event, Interest, event_of
from quorum.apps.leaves import Change
from quorum.entry import Buffer, Header
from quorum.errors import Compacted, QuorumError
from quorum.runtime.messages import Failure, Pulse, Unwatch, Watch
from quorum.runtime.watch import WatchHub
from quorum.runtime.watching import PULSE_US, Watching

HEADER = Header(1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, b"")


class Line:
    """A connection: what the node sends waits here until the client takes it."""

    identity = ""

    def __init__(self) -> None:
        self.waiting: deque[tuple[object, bytes]] = deque()

    def answer(self, message: object, attached: Sequence[Buffer]) -> None:
        self.waiting.append((message, b"".join(attached)))

    def backlog(self) -> int:
        return sum(len(body) + 16 for _, body in self.waiting)


class Node:
    """A replica and its hub; `applied` batches of the log are in its state."""

    def __init__(self, window_bytes: int = 400) -> None:
        self.store = KeyValueStore()
        self.hub = WatchHub(window_bytes=window_bytes, store=self.store)
        self.applied = 0


class WatchedCluster:
    """The log is what node 0 has applied. `owner` of a production Watching; every event is checked as it comes."""

    def __init__(self, window_bytes: int = 400) -> None:
        self.nodes = [Node(window_bytes), Node(window_bytes)]
        self.log: list[bytes] = []
        self.changes: list[Change] = []
        """Every change there ever was."""
        self._noted = 0
        history, read = self.nodes[0].store.history, self.nodes[0].store.history.before_drop

        def note_and_read() -> None:
            self._note()
            read()

        history.before_drop = note_and_read
        self.now_us = 0
        self.last_request = 0
        self.watching = Watching(self, self._next_request)
        self.node = 0
        self.line: Line | None = None
        self.interests: dict[int, Interest] = {}
        self.expected: dict[int, int] = {}
        """By handle: the revision that the watch begins at, once it is known."""
        self.told: dict[int, list[Event]] = {}
        self.errors: dict[int, QuorumError] = {}
        self.connect(0)

    # The cluster.

    def write(self, *commands: Command) -> None:
        """One batch, applied by node 0."""
        self.log.append(encode_batch(commands))
        self.follow(0, 1)

    def follow(self, which: int, count: int) -> None:
        """Let a node apply up to `count` more batches."""
        node = self.nodes[which]
        for body in self.log[node.applied : node.applied + count]:
            node.store.apply(HEADER, body)
            node.applied += 1
        self._note()

    def _note(self) -> None:
        """Remember what node 0 has applied."""
        history = self.nodes[0].store.history
        self.changes += history.since(max(self._noted, history.begin))
        self._noted = history.end

    def jump(self) -> None:
        """Node 1 takes over a snapshot of node 0."""
        self.nodes[1].store.restore(list(self.nodes[0].store.snapshot()))
        self.nodes[1].applied = self.nodes[0].applied

    # The client.

    def connect(self, which: int) -> None:
        """Lose the connection with all that waits in it, and get another."""
        if self.line is not None:
            self.watching.disconnected()
            self.nodes[self.node].hub.lost(self.line)
        self.node, self.line = which, Line()
        self.watching.connected(self.now_us)

    def watch(self, interest: Interest) -> int:
        handle = self.watching.watch_keys(self.now_us, interest)
        self.interests[handle], self.told[handle] = interest, []
        if interest.revision:
            self.expected[handle] = interest.revision
        return handle

    def unwatch(self, handle: int) -> None:
        self.watching.unwatch(handle)
        del self.interests[handle]

    def take(self, count: int) -> int:
        """Let the client take up to `count` messages; return how many it took."""
        taken = 0
        while taken < count and self.line.waiting:
            message, body = self.line.waiting.popleft()
            taken += 1
            if isinstance(message, Failure):
                assert self.watching.failed(self.now_us, message)
            else:
                self.watching.received(self.now_us, message, body)
        return taken

    def wait(self) -> None:
        self.now_us += PULSE_US
        self.watching.tick(self.now_us)

    def settle(self) -> None:
        """Everything is applied, told and taken."""
        for which in (0, 1):
            self.follow(which, len(self.log))
        more = True
        while more:
            more = self.nodes[self.node].hub.pump()
            more = bool(self.take(1)) or more

    def wanted(self, handle: int) -> list[Event]:
        """What the watch is to tell of all that has happened."""
        interest = self.interests[handle]
        first = self.expected.get(handle, 1 << 62)
        return [
            event_of(change, interest.previous)
            for change in self.changes
            if interest.start <= change.key
            and (interest.end is None or change.key < interest.end)
            and change.revision >= first
            and (interest.deletes if change.is_removal else interest.puts)
        ]

    def check(self, is_settled: bool = False) -> None:
        """What was told is what is wanted, up to some place; all of it, once settled."""
        for handle in self.interests:
            wanted, told = self.wanted(handle), self.told[handle]
            assert told == wanted[: len(told)], f"watch {handle}: {told} for {wanted}"
            if handle in self.errors:
                self._check_error(handle, wanted[len(told) :])
            elif is_settled:
                assert told == wanted, f"watch {handle}: {told} of {wanted}"

    def _check_error(self, handle: int, missed: list[Event]) -> None:
        """Nothing that was kept is missing, and a watch goes on where the error says."""
        error = self.errors[handle]
        assert isinstance(error, Compacted)
        assert self.expected[handle] <= error.asked < error.first <= self.nodes[0].store.revision + 1
        assert all(event.revision >= error.asked for event in missed)

    # What Watching wants of its owner.

    def _next_request(self) -> int:
        self.last_request += 1
        return self.last_request

    def transmit(self, message: object, body: bytes) -> None:
        hub = self.nodes[self.node].hub
        match message:
            case Watch():
                hub.watch(self.line, message, body)
            case Unwatch(request):
                hub.unwatch(self.line, request)
            case Pulse():
                hub.pulse(self.line, message)

    def noticed(self, handle: int, index: int, body: bytes | None) -> None:
        raise AssertionError("no topic is watched")

    def begun(self, handle: int, revision: int) -> None:
        self.expected.setdefault(handle, revision + 1)

    def changed(self, handle: int, event: Event) -> None:
        self.told[handle].append(event)

    def watch_failed(self, handle: int, error: QuorumError) -> None:
        self.errors[handle] = error
