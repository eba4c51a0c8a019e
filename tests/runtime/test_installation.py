"""A fetched snapshot is loaded beside, and taken over only while it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from quorum.model import Configuration
from quorum.protocols.events import SnapshotMark
from quorum.runtime.installation import Installation, NotAsProven

CONFIGURATION = Configuration(voters=("a",))


def mark(index: int) -> SnapshotMark:
    return SnapshotMark(index, 1, 0, CONFIGURATION)


class Shelf:
    """Snapshots of which only the newest is kept; jobs run when they are asked to."""

    def __init__(self) -> None:
        self.kept: SnapshotMark | None = None
        self.jobs: list[Callable[[], None]] = []
        self.dropped: list[int] = []

    def drop(self, index: int) -> None:
        self.dropped.append(index)

    def newest(self) -> SnapshotMark | None:
        return self.kept

    def finish(self, finished: SnapshotMark, done: Callable[[None], None]) -> None:
        if self.kept is None or self.kept.index < finished.index:
            self.kept = finished
        self.jobs.append(lambda: done(None))

    def load(self, index: int) -> Iterator[bytes]:
        if self.kept is None or self.kept.index != index:
            raise FileNotFoundError(f"the snapshot at {index} is gone")
        return iter((b"state at %d" % index,))

    def load_aside(self, index: int, take, done) -> None:
        def job() -> None:
            try:
                take(self.load(index))
            except ValueError as error:
                done(error)
            else:
                done(None)

        self.jobs.append(job)


class HandClock:
    us = 0

    def now_us(self) -> int:
        return self.us


class Store:
    """An application that is what it was restored from. To free a byte of it takes 900 us."""

    def __init__(self, clock: HandClock) -> None:
        self.state = b""
        self.clock = clock
        self.spares: list[Store] = []

    def spare(self) -> Store:
        self.spares.append(Store(self.clock))
        return self.spares[-1]

    def adopt(self, spare: Store) -> None:
        self.state, spare.state = spare.state, self.state

    def let_go(self) -> Iterator[None]:
        while self.state:
            self.state = self.state[1:]
            self.clock.us += 900
            yield

    def restore(self, chunks: Iterator[bytes]) -> None:
        (self.state,) = chunks

    def digest(self) -> bytes:
        return self.state


class Scene:
    def __init__(self) -> None:
        self.shelf, self.clock = Shelf(), HandClock()
        self.store = Store(self.clock)
        self.ready: list[int] = []
        self.installation = Installation(
            "a",
            self.store,  # type: ignore[arg-type]
            self.shelf,  # type: ignore[arg-type]
            self.clock,
            lambda mark: self.ready.append(mark.index),
            lambda source, error: pytest.fail(f"{source} is blamed: {error}"),
            lambda error: pytest.fail(f"the node stops: {error}"),
        )

    def work(self) -> None:
        while self.shelf.jobs:
            self.shelf.jobs.pop(0)()


def test_a_snapshot_is_loaded_beside_and_then_taken_over():
    scene = Scene()
    scene.installation.begin(mark(5), "b")
    assert scene.installation.is_busy
    scene.work()
    assert (scene.ready, scene.store.state) == ([5], b"")
    scene.installation.restore(mark(5))
    assert scene.store.state == b"state at 5"


def test_a_snapshot_that_the_log_has_overtaken_is_not_read_for_its_file_may_be_gone():
    scene = Scene()
    scene.installation.begin(mark(5), "b")
    scene.shelf.kept = mark(9)  # this node wrote one itself, which dropped the other
    scene.work()
    assert scene.ready == [5] and not scene.installation.is_busy
    assert scene.store.state == b""


def test_a_proven_state_that_is_not_what_was_proven_blames_nobody_and_goes():
    """Its pieces were right when they came: so it is the disk, or the program."""
    scene = Scene()
    refused: list[BaseException] = []
    scene.installation._refused = lambda source, error: refused.append(error)
    for root in (b"of another state", b"state at 5"):
        scene.shelf.kept = replace(mark(5), state_root=root)
        scene.installation.begin_proven(scene.shelf.kept)
        scene.work()
    assert [type(error) for error in refused] == [NotAsProven]
    assert scene.ready == [5] and scene.shelf.dropped == [5]


def test_one_that_was_loaded_and_forgotten_is_read_from_its_file():
    scene = Scene()
    scene.installation.begin(mark(5), "b")
    scene.work()
    scene.installation.forget()
    scene.installation.restore(mark(5))
    assert scene.store.state == b"state at 5"


def test_the_state_that_was_replaced_is_freed_a_little_at_a_time():
    """200 MB at once would stop the node for a third of a second."""
    scene = Scene()
    scene.store.state = b"replaced"
    scene.installation.begin(mark(5), "b")
    scene.work()
    assert not scene.installation.is_letting_go
    scene.installation.restore(mark(5))
    (spare,) = scene.store.spares
    assert scene.installation.is_letting_go and spare.state == b"replaced"
    assert scene.installation.advance() and spare.state == b"laced"
    assert scene.installation.advance() and spare.state == b"ed"
    assert not scene.installation.advance() and spare.state == b""
    assert not scene.installation.is_letting_go and scene.store.state == b"state at 5"


def test_what_was_loaded_in_vain_is_freed_in_the_same_way():
    scene = Scene()
    for index in (5, 9):
        scene.installation.begin(mark(index), "b")
        scene.work()
    scene.installation.forget()
    assert [spare.state for spare in scene.store.spares] == [b"state at 5", b"state at 9"]
    rounds = 1
    while scene.installation.advance():
        rounds += 1
    assert [spare.state for spare in scene.store.spares] == [b"", b""] and rounds > 5
