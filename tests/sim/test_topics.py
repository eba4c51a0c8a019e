"""Topics in a simulated cluster: whoever watches hears of the newest notice, through crashes and slow links."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from quorum.apps.host import Host
from quorum.apps.state_machine import Notice, Outputs
from quorum.entry import Buffer
from quorum.errors import QuorumError
from quorum.header import Header
from quorum.model import Configuration
from quorum.protocols.raft.settings import Settings
from quorum.sim.client import SimClient
from quorum.sim.world import World

BELL = 9
SECOND_US = 1_000_000


class Bell:
    """Counts how often it was rung; every ring is a notice of the count. A query tells count and last entry."""

    def __init__(self) -> None:
        self.state = b"0 0"

    def apply(self, header: Header, body: Buffer) -> Outputs:
        count = int(self.state.split()[0]) + 1
        self.state = b"%d %d" % (count, header.index)
        return Outputs(b"", notices=(Notice(bytes(body), b"%d" % count),))

    def query(self, body: Buffer) -> bytes:
        return self.state

    def digest(self) -> bytes:
        return blake2b(self.state, digest_size=32).digest()

    def snapshot(self) -> Iterator[bytes]:
        return iter((self.state,))

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.state = b"".join(chunks)


class BellWorld(World):
    def make_host(self) -> Host:
        return Host({BELL: Bell()})


class Listener(SimClient):
    """A client that watches one topic."""

    def __init__(self, world: World, name: str, topic: bytes) -> None:
        super().__init__(world, name, lambda *_: None)
        self.heard: list[tuple[int, bytes | None]] = []
        self.start()
        self.session.watch_topic(0, BELL, topic)

    def noticed(self, handle: int, index: int, body: bytes | None) -> None:
        self.heard.append((index, body))

    def watch_failed(self, handle: int, error: QuorumError) -> None:
        raise AssertionError(error)


class Scene:
    def __init__(self, seed: int, wire: bool = False) -> None:
        configuration = Configuration(epoch=1, voters=("n1", "n2", "n3"))
        settings = Settings(snapshot_entries=20, log_kept_entries=10)
        self.world = BellWorld(seed, configuration, settings, wire=wire)
        self.world.boot()
        self.ringer = SimClient(self.world, "ringer", lambda *_: None)
        self.ringer.start()
        self.rung = 0

    def ring(self, topic: bytes = b"bell") -> None:
        self.rung += 1
        self.ringer.session.submit(self.world.now_us, BELL, 1, topic)

    def wait(self, us: int = SECOND_US) -> None:
        self.world.run(self.world.now_us + us)


def test_each_ring_is_heard_by_those_who_watch():
    for wire in (False, True):
        scene = Scene(1, wire)
        bell, door = Listener(scene.world, "l1", b"bell"), Listener(scene.world, "l2", b"door")
        scene.wait()
        for _ in range(5):
            scene.ring()
            scene.wait()
        assert [body for _, body in bell.heard if body is not None] == [b"1", b"2", b"3", b"4", b"5"]
        assert {body for _, body in door.heard} == {None}


def test_whoever_watches_a_node_that_crashes_hears_of_the_last_ring_elsewhere():
    """Or of a gap behind it, which tells as much."""
    for seed in range(8):
        scene = Scene(seed)
        listener = Listener(scene.world, "l1", b"bell")
        scene.wait(3 * SECOND_US)
        for _ in range(4):
            scene.ring()
            scene.wait(200_000)
            leader = scene.world.leader()
            if leader is not None:
                scene.ring()
                scene.world.crash(leader)
                scene.wait(3 * SECOND_US)
                scene.world.restart(leader)
        scene.wait(3 * SECOND_US)
        (state,) = {node.host.query(BELL, b"").body for node in scene.world.nodes.values() if node.host}
        count, last_index = state.split()
        assert int(count) == scene.rung
        assert len([body for _, body in listener.heard if body is not None]) >= 4
        index, body = listener.heard[-1]
        assert index >= int(last_index) and body in (None, count)


def test_a_watcher_of_a_node_that_is_cut_off_goes_to_another():
    scene = Scene(5)
    scene.wait()
    listener = Listener(scene.world, "l1", b"bell")
    scene.wait()
    watched = listener._connection.node.node
    others = [name for name in scene.world.nodes if name != watched]
    scene.world.network.partition([watched], others)
    scene.wait(6 * SECOND_US)
    scene.ring()
    scene.wait(2 * SECOND_US)
    assert listener._connection.node.node != watched
    assert listener.heard[-1][1] == b"1"
