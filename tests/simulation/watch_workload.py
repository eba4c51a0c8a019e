"""Clients that write keys, and clients that watch them, under faults; what was told against what the log says."""

from __future__ import annotations

from quorum.apps import kv
from quorum.apps.answer import OK
from quorum.apps.catalogue import KV_APP
from quorum.apps.kv_store import KeyValueStore
from quorum.apps.kv_watch import Event, Interest, end_of_key, event_of
from quorum.apps.leaves import Change
from quorum.errors import Compacted, QuorumError
from quorum.header import Header
from quorum.model import Configuration, NodeId
from quorum.protocols.raft.settings import Settings
from quorum.sim.client import SimClient
from quorum.sim.faults import Nemesis
from quorum.sim.world import World

SECOND_US = 1_000_000
CALM_US = 20 * SECOND_US
KEYS = tuple(b"%d" % number for number in range(8))


class WatchedWorld(World):
    """Remembers every change, from whichever node applies it first."""

    changes: list[Change]
    noted = 0

    def entry_applied(self, node: NodeId, header: Header) -> None:
        super().entry_applied(node, header)
        host = self.nodes[node].host
        assert host is not None, "what applies entries has a host"
        store = host.application(KV_APP)
        assert isinstance(store, KeyValueStore)
        if store.history.end > self.noted:
            self.changes += store.history.since(self.noted)
            self.noted = store.history.end


class Writer(SimClient):
    """Writes batches one after the other; now and then it compacts what is a while back."""

    def __init__(self, world: World, name: str, stop_us: int, compacts: bool) -> None:
        super().__init__(world, name, self._answered)
        self.stop_us = stop_us
        self.compacts = compacts
        self.revision = 0
        self.written = 0

    def start(self) -> None:
        super().start()
        self._write()

    def _write(self) -> None:
        if self.world.now_us < self.stop_us:
            body = kv.encode_batch(self._commands())
            self.session.submit(self.world.now_us, KV_APP, 1, body, 5 * SECOND_US)

    def _commands(self) -> list[kv.Command]:
        draw = self.random
        puts: list[kv.Command] = [
            kv.Put(draw.choice(KEYS), b"%s %d" % (self.name.encode(), self.written + number))
            for number in range(draw.randrange(1, 4))
        ]
        dice = draw.random()
        if dice < 0.1:
            puts.append(kv.DeleteRange(draw.choice(KEYS), None))
        elif dice < 0.2:
            puts.append(kv.Txn([], [kv.Put(KEYS[0], b"a"), kv.Put(KEYS[1], b"b"), kv.Delete(KEYS[2])], []))
        elif dice < 0.25 and self.compacts:
            puts.append(kv.Compact(max(0, self.revision - 30)))
        return puts

    def _answered(self, handle: int, status: int, body: bytes, error: QuorumError | None) -> None:
        if error is None and status == OK:
            self.written += 1
            for result in kv.decode_results(body):
                self.revision = max(self.revision, getattr(result, "revision", 0))
        self.world.schedule(self.random.randrange(5_000, 60_000), self._write)


class Watcher(SimClient):
    """Watches keys and ranges, is slow at times, and begins anew where changes are not kept any more."""

    def __init__(self, world: WatchedWorld, name: str, stop_us: int) -> None:
        super().__init__(world, name, lambda *_: None)
        self.stop_us = stop_us
        self.told: dict[int, list[Event]] = {}
        self.interests: dict[int, Interest] = {}
        self.first: dict[int, int] = {}
        """By handle: the revision it begins at."""
        self.compacted: dict[int, Compacted] = {}
        self.connections = 0

    def start(self) -> None:
        super().start()
        draw = self.random
        for number in range(6):
            key = draw.choice(KEYS)
            end = end_of_key(key) if number % 3 else None
            self.watch(Interest(key, end, draw.choice((0, 1)), bool(number % 2)))
        self.world.schedule(SECOND_US, self._stir)

    def watch(self, interest: Interest) -> None:
        handle = self.session.watch_keys(self.world.now_us, interest)
        self.interests[handle], self.told[handle] = interest, []
        if interest.revision:
            self.first[handle] = interest.revision

    def _stir(self) -> None:
        """Be slow in one watch for a while."""
        if self.world.now_us < self.stop_us:
            handle = self.random.choice(sorted(self.interests))
            self.session.pause_watch(handle, True)
            self.world.schedule(self.random.randrange(10_000, 3 * SECOND_US), self._go_on, handle)
            self.world.schedule(self.random.randrange(100_000, SECOND_US), self._stir)

    def _go_on(self, handle: int) -> None:
        self.session.pause_watch(handle, False)

    def connect(self, endpoint: str, delay_us: int) -> None:
        self.connections += 1
        super().connect(endpoint, delay_us)

    def begun(self, handle: int, revision: int) -> None:
        self.first.setdefault(handle, revision + 1)

    def changed(self, handle: int, event: Event) -> None:
        self.told[handle].append(event)

    def watch_failed(self, handle: int, error: QuorumError) -> None:
        assert isinstance(error, Compacted), error
        self.compacted[handle] = error
        old = self.interests[handle]
        self.watch(Interest(old.start, old.end, error.first, old.previous))


def wanted(watcher: Watcher, handle: int, changes: list[Change]) -> list[Event]:
    """What a watch is to tell of these changes, up to where it ended."""
    interest = watcher.interests[handle]
    first = watcher.first.get(handle, 1 << 62)
    ended = watcher.compacted.get(handle)
    return [
        event_of(change, interest.previous)
        for change in changes
        if interest.start <= change.key
        and (interest.end is None or change.key < interest.end)
        and change.revision >= first
        and (ended is None or change.revision < ended.asked)
    ]


class Run:
    """A cluster of three, its writers and watchers, under `faults` and then in calm."""

    def __init__(
        self, seed: int, faults: tuple[str, ...], seconds: int = 60, compacts: bool = False, wire: bool = False
    ) -> None:
        configuration = Configuration(epoch=1, voters=("n1", "n2", "n3"))
        settings = Settings(snapshot_entries=50, log_kept_entries=25)
        self.world = world = WatchedWorld(seed, configuration, settings, wire=wire)
        world.changes = []
        world.boot()
        stop_us = seconds * SECOND_US - CALM_US
        self.writers = [Writer(world, f"w{number}", stop_us, compacts) for number in range(1, 4)]
        self.watchers = [Watcher(world, f"l{number}", stop_us) for number in range(1, 5)]
        for client in (*self.writers, *self.watchers):
            client.start()
        Nemesis(world, faults, stop_us).start()
        world.run(seconds * SECOND_US)

    @property
    def moves(self) -> int:
        """How often a watcher had to go to another node."""
        return sum(watcher.connections - 1 for watcher in self.watchers)

    def check(self) -> None:
        """Every watcher was told exactly what the log says; and there was something to tell."""
        assert len(self.world.changes) > 500
        for watcher in self.watchers:
            for handle, told in watcher.told.items():
                assert told == wanted(watcher, handle, self.world.changes), f"{watcher.name}/{handle}"
        assert sum(len(told) for watcher in self.watchers for told in watcher.told.values()) > 1000
