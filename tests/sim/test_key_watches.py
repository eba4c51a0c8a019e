"""Watches of keys in a simulated cluster: at a witness, at a node cut off, under new leaders, over a snapshot."""

from __future__ import annotations

from quorum.apps import kv
from quorum.apps.catalogue import KV_APP
from quorum.apps.kv_watch import Event, Interest, end_of_key
from quorum.errors import QuorumError
from quorum.model import Configuration
from quorum.protocols.raft.settings import Settings
from quorum.sim.client import SimClient
from quorum.sim.world import World

SECOND_US = 1_000_000


class Watcher(SimClient):
    """Watches one key, at first at a node of the test's choice."""

    def __init__(self, world: World, endpoint: str) -> None:
        super().__init__(world, "watcher", lambda *_: None)
        self.heard: list[bytes | None] = []
        self.session.start(world.now_us, endpoint)
        self.session.watch_keys(world.now_us, Interest(b"k", end_of_key(b"k")))

    @property
    def endpoint(self) -> str:
        assert self._connection is not None
        return self._connection.node.node

    def changed(self, handle: int, event: Event) -> None:
        self.heard.append(event.value)

    def watch_failed(self, handle: int, error: QuorumError) -> None:
        raise AssertionError(error)


class Scene:
    def __init__(self, seed: int, witnesses: tuple[str, ...] = ()) -> None:
        configuration = Configuration(epoch=1, voters=("n1", "n2", "n3"), witnesses=witnesses)
        settings = Settings(snapshot_entries=20, log_kept_entries=10)
        self.world = World(seed, configuration, settings)
        self.world.boot()
        self.writer = SimClient(self.world, "writer", lambda *_: None)
        self.writer.start()
        self.written: list[bytes] = []
        self.wait()

    def write(self, count: int = 1) -> None:
        for _ in range(count):
            value = b"%d" % len(self.written)
            self.written.append(value)
            self.writer.session.submit(self.world.now_us, KV_APP, 1, kv.encode_batch([kv.Put(b"k", value)]))

    def wait(self, us: int = SECOND_US) -> None:
        self.world.run(self.world.now_us + us)


def test_a_follower_tells_as_the_leader_does():
    for place in ("n1", "n2", "n3"):
        scene = Scene(1)
        watcher = Watcher(scene.world, place)
        scene.wait()
        scene.write(5)
        scene.wait()
        assert watcher.endpoint == place and watcher.heard == scene.written


def test_a_watcher_that_comes_to_a_witness_goes_on_to_a_node_with_state():
    scene = Scene(2, witnesses=("w1",))
    watcher = Watcher(scene.world, "w1")
    scene.wait()
    scene.write(3)
    scene.wait()
    assert watcher.endpoint != "w1" and watcher.heard == scene.written


def test_a_watcher_of_a_node_that_is_cut_off_goes_to_another_and_misses_nothing():
    scene = Scene(3)
    watcher = Watcher(scene.world, "n2")
    scene.wait()
    scene.write(3)
    scene.wait()
    scene.world.network.partition(["n2"], ["n1", "n3"])
    scene.write(3)
    scene.wait(8 * SECOND_US)
    assert watcher.endpoint != "n2" and watcher.heard == scene.written


def test_each_new_leader_goes_on_where_the_one_before_was():
    for seed in range(6):
        scene = Scene(seed)
        watcher = Watcher(scene.world, "n1")
        scene.wait()
        for _ in range(3):
            scene.write(4)
            scene.wait(20_000)
            leader = scene.world.leader()
            if leader is not None:
                scene.world.crash(leader)
                scene.wait(4 * SECOND_US)
                scene.world.restart(leader)
            scene.wait(2 * SECOND_US)
        assert watcher.heard == scene.written


def test_a_node_that_takes_over_a_snapshot_tells_what_it_has_skipped():
    """The history of the snapshot holds the changes that were never applied here one by one."""
    scene = Scene(4)
    leader = scene.world.leader()
    watched = min(node for node in scene.world.nodes if node != leader)
    watcher = Watcher(scene.world, watched)
    scene.write(3)
    scene.wait()
    others = [node for node in scene.world.nodes if node != watched]
    scene.world.network.partition([watched], others)
    for _ in range(60):
        scene.write()
        scene.wait(5_000)
    scene.world.network.heal()
    scene.wait(3 * SECOND_US)
    assert scene.world.sometimes.counts["snapshot taken as state"] > 0
    assert watcher.endpoint == watched and watcher.heard == scene.written
