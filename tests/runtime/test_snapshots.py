"""Snapshot files: written beside, renamed, verified, served in chunks and fetched again after any interruption."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from queue import Queue
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.errors import ConfigurationError, LocalProtocolError, StorageCorrupt, StorageError, StorageFullError
from quorum.protocols.events import SnapshotMark
from quorum.runtime import snapshots
from quorum.runtime.files import RealFiles
from quorum.runtime.snapshots import SnapshotStore
from quorum.sim.disk import Fault, PowerCut, SimFiles
from wal_world import MEMBERS, Disk, whole_log

CHUNKS = [b"first", b"", b"x" * 3000, b"last"]
FOLDER = "n1/snapshots"


def mark(index: int) -> SnapshotMark:
    return SnapshotMark(index, 1, index * 10, MEMBERS)


def open_store(files: SimFiles, cluster: str = "cluster") -> SnapshotStore:
    return SnapshotStore(files, FOLDER, cluster, slice_bytes=1000)


def written(store: SnapshotStore, index: int, chunks: list[bytes] | None = None) -> SnapshotMark:
    """Write a snapshot that must succeed; return its completed mark."""
    answers: list[tuple[SnapshotMark | None, BaseException | None]] = []
    store.write(mark(index), CHUNKS if chunks is None else chunks, lambda *answer: answers.append(answer))
    assert len(answers) == 1
    found, error = answers[0]
    assert error is None and found is not None
    return found


def refused(store: SnapshotStore, index: int, chunks: object = CHUNKS) -> BaseException:
    answers: list[tuple[SnapshotMark | None, BaseException | None]] = []
    store.write(mark(index), chunks, lambda *answer: answers.append(answer))  # type: ignore[arg-type]
    assert len(answers) == 1
    found, error = answers[0]
    assert found is None and error is not None
    return error


def path_of(index: int) -> str:
    return f"{FOLDER}/{index:020d}.snap"


@settings(max_examples=60, deadline=None)
@given(chunks=st.lists(st.binary(max_size=3000), max_size=20))
def test_the_chunks_come_back_as_they_were_written(chunks):
    files = SimFiles()
    found = written(open_store(files), 7, chunks)
    store = open_store(files)
    assert store.newest() == found
    assert list(store.load(7)) == chunks
    assert found.size == len(files.contents(path_of(7)))


def test_two_nodes_write_the_same_bytes_for_the_same_state():
    first, second = SimFiles(), SimFiles()
    assert written(open_store(first), 7) == written(SnapshotStore(second, FOLDER, "cluster"), 7)
    assert first.contents(path_of(7)) == second.contents(path_of(7))


def test_the_newest_two_are_kept():
    files = SimFiles()
    store = open_store(files)
    for index in (5, 9, 12):
        written(store, index)
    assert files.paths() == (path_of(9), path_of(12))
    assert store.read_chunk(5, 0, 10) is None
    assert list(store.load(9)) == CHUNKS


def test_a_completed_snapshot_survives_the_power_at_once():
    files = SimFiles()
    found = written(open_store(files), 7)
    files.power_cut([False] * files.unsynced())
    assert open_store(files).newest() == found


def calls_of_a_write() -> int:
    files = SimFiles()
    store = open_store(files)
    written(store, 5)
    before = files.calls
    written(store, 7)
    return files.calls - before


@pytest.mark.parametrize("calls", range(calls_of_a_write() + 1))
def test_a_crash_during_the_writing_leaves_the_old_snapshot(calls):
    """Row 15: what is half-written is dropped at the start, and never taken for a snapshot."""
    for seed in range(20):
        crash_while_writing(calls, seed)


def crash_while_writing(calls: int, seed: int) -> None:
    files = SimFiles()
    store = open_store(files)
    old = written(store, 5)
    files.cut_at = files.calls + calls
    answers: list[object] = []
    with suppress(PowerCut):
        store.write(mark(7), CHUNKS, lambda found, error: answers.append(found))
    files.cut_at = None
    files.crash(Random(seed))
    store = open_store(files)
    found = store.newest()
    assert found is not None
    assert found.index == 7 if answers else found.index == 7 or found == old
    assert not [path for path in files.paths() if path.endswith(".new")]
    assert list(store.load(found.index)) == CHUNKS


def test_a_damaged_snapshot_gives_way_to_the_older_one_and_the_log():
    """Row 16: any bit of the file."""
    files = SimFiles()
    store = open_store(files)
    old = written(store, 5)
    written(store, 7)
    whole = files.contents(path_of(7))
    for offset in range(0, len(whole), 7):
        files.put(path_of(7), whole)
        files.flip_bit(path_of(7), offset, offset % 8)
        store = open_store(files)
        assert store.newest() == old
        assert store.damaged == (path_of(7),)
        assert path_of(7) not in files.paths()


def test_the_log_reaches_back_to_the_older_snapshot_as_long_as_it_was_not_trimmed():
    """Row 16, 17: afterwards the state is refused, never empty."""
    disk = Disk()
    store = SnapshotStore(disk.files, FOLDER, "cluster")
    wal, _ = disk.start()
    for index in range(1, 100):
        disk.store(wal, index, index)
    old = written(store, 50)
    written(store, 90)
    disk.files.flip_bit(path_of(90), 60, 0)
    found = SnapshotStore(disk.files, FOLDER, "cluster").newest()
    assert found == old
    wal, durable = disk.start(snapshot=found, create=False)
    assert len(whole_log(wal, durable)) == 49
    wal.trim(91)
    with pytest.raises(StorageCorrupt, match="newest snapshot ends at 50"):
        disk.start(snapshot=found, create=False)
    with pytest.raises(StorageCorrupt, match="there is no snapshot"):
        disk.start(create=False)


def test_a_crash_between_the_snapshot_and_the_trim_is_repaired_by_trimming_again():
    """Row 18: the log may hold more than it must."""
    disk = Disk()
    store = SnapshotStore(disk.files, FOLDER, "cluster")
    wal, _ = disk.start()
    for index in range(1, 100):
        disk.store(wal, index, index)
    found = written(store, 90)
    disk.files.power_cut([False] * disk.files.unsynced())
    wal, durable = disk.start(snapshot=found, create=False)
    assert [meta.index for meta in durable.entries] == list(range(91, 100))
    many = len(disk.segments())
    wal.trim(91)
    wal.trim(91)
    assert len(disk.segments()) < many


def finish(store, mark):
    """Put a fetched snapshot in place; raises what went wrong."""
    told = []
    store.finish(mark, told.append)
    if told[0] is not None:
        raise told[0]


def test_a_transfer_takes_chunks_in_order_and_ignores_all_others():
    """Row 20: twice, out of order, too long."""
    source, files = SimFiles(), SimFiles()
    found = written(open_store(source), 7)
    data = source.contents(path_of(7))
    store = open_store(files)
    assert store.receive(found, 0, b"") == 0
    assert store.receive(found, 100, data[100:200]) == 0
    assert store.receive(found, 0, data[:100]) == 100
    assert store.receive(found, 0, data[:100]) == 100
    assert store.receive(found, 50, data[50:150]) == 100
    assert store.receive(found, 100, data[100:] + b"x") == 100
    with pytest.raises(LocalProtocolError):
        finish(store, found)
    assert store.receive(found, 100, memoryview(data)[100:]) == found.size
    finish(store, found)
    finish(store, found)
    assert store.receive(found, 0, b"") == found.size
    assert store.newest() == found
    assert files.contents(path_of(7)) == data


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32), size=st.integers(100, 900))
def test_an_interrupted_transfer_is_resumed_and_never_installs_what_differs(seed, size):
    """Row 20: the part survives a restart; after a power cut it may have to begin again."""
    rng = Random(seed)
    source, files = SimFiles(), SimFiles()
    serving = open_store(source)
    found = written(serving, 7)
    store = open_store(files)
    for _ in range(1000):
        event = rng.random()
        if event < 0.1:
            files.kill()
            store = open_store(files)
        elif event < 0.15:
            files.crash(rng)
            store = open_store(files)
        offset = store.receive(found, 0, b"")
        if offset == found.size:
            try:
                finish(store, found)
                break
            except StorageCorrupt:
                continue
        data = serving.read_chunk(7, offset, size)
        assert data
        assert store.receive(found, offset, data) == offset + len(data)
    assert list(open_store(files).load(7)) == CHUNKS
    assert files.paths() == (path_of(7),)


def test_a_restart_goes_on_where_the_transfer_was():
    """Row 20."""
    source, files = SimFiles(), SimFiles()
    serving = open_store(source)
    found = written(serving, 7)
    assert open_store(files).receive(found, 0, serving.read_chunk(7, 0, 1000) or b"") == 1000
    files.kill()
    assert open_store(files).receive(found, 0, b"") == 1000


def test_what_an_earlier_life_has_fetched_is_read_only_once_all_is_here():
    """On the loop, 200 MB of it would stop the node."""

    class CountingFiles(SimFiles):
        reads = 0

        def pread(self, handle, size, offset):
            self.reads += 1
            return super().pread(handle, size, offset)

    source, files = SimFiles(), CountingFiles()
    serving = open_store(source)
    found = written(serving, 7)
    open_store(files).receive(found, 0, serving.read_chunk(7, 0, 1000) or b"")
    files.kill()
    store, before = open_store(files), files.reads
    assert store.receive(found, 1000, serving.read_chunk(7, 1000, found.size) or b"") == found.size
    assert files.reads == before
    finish(store, found)
    assert store.newest() == found and list(store.load(7)) == CHUNKS


def test_a_fetched_snapshot_that_differs_from_the_promise_is_dropped():
    """Row 20: the digest, the head and the cluster are checked before anything is installed."""
    source = SimFiles()
    found = written(open_store(source), 7)
    data = bytearray(source.contents(path_of(7)))
    for offset in (len(data) // 2, 30, len(data) - 1):
        files = SimFiles()
        store = open_store(files)
        bad = bytearray(data)
        bad[offset] ^= 1
        store.receive(found, 0, bytes(bad))
        with pytest.raises(StorageCorrupt):
            finish(store, found)
        assert files.paths() == () and store.newest() is None
    lie = SnapshotMark(8, 1, 80, MEMBERS, found.digest, found.size)
    store = open_store(SimFiles())
    store.receive(lie, 0, bytes(data))
    with pytest.raises(StorageCorrupt, match="not the one that was promised"):
        finish(store, lie)


def test_the_part_of_an_older_offer_is_dropped():
    source, files = SimFiles(), SimFiles()
    serving = open_store(source)
    first, second = written(serving, 7), written(serving, 9)
    store = open_store(files)
    store.receive(first, 0, b"abc")
    assert store.receive(second, 0, b"") == 0
    assert len(files.paths()) == 1


def test_without_space_the_old_snapshot_and_the_log_stay():
    """Row 22: and a later attempt succeeds."""
    files = SimFiles()
    store = open_store(files)
    old = written(store, 5)
    for skip in range(3):
        files.faults = [Fault("pwritev", errno.ENOSPC, skip=skip, written=10)]
        assert isinstance(refused(store, 7), StorageFullError)
        assert store.newest() == old
        assert files.paths() == (path_of(5),)
    files.faults = []
    assert written(store, 7).index == 7


def test_an_error_of_a_sync_is_told_and_leaves_no_snapshot():
    """Row 23."""
    files = SimFiles()
    store = open_store(files)
    for call in ("fsync", "fsync_dir"):
        files.faults = [Fault(call, errno.EIO)]
        error = refused(store, 7)
        assert isinstance(error, StorageError) and not isinstance(error, StorageFullError)
        assert store.newest() is None


def test_a_read_error_at_the_start_sets_the_snapshot_aside():
    """Row 24: file and offset are in the warning."""
    files = SimFiles()
    store = open_store(files)
    old = written(store, 5)
    written(store, 7)
    files.faults = [Fault("pread", errno.EIO, path=path_of(7), skip=1)]
    assert open_store(files).newest() == old


def test_an_application_that_fails_while_it_is_read_leaves_nothing_behind():
    def chunks() -> Iterator[bytes]:
        yield b"x" * 2000
        raise ValueError("the state is odd")

    files = SimFiles()
    store = open_store(files)
    assert isinstance(refused(store, 7, chunks()), ValueError)
    assert files.paths() == ()
    assert isinstance(refused(store, 7, [bytes(65 << 20)]), LocalProtocolError)


def test_the_next_snapshot_may_be_asked_for_when_one_is_done():
    store = open_store(SimFiles())
    found: list[SnapshotMark | None] = []

    def again(first: SnapshotMark | None, error: BaseException | None) -> None:
        found.append(first)
        store.write(mark(9), CHUNKS, lambda second, error: found.append(second))

    store.write(mark(7), CHUNKS, again)
    assert [one.index for one in found if one is not None] == [7, 9]


def test_a_snapshot_of_another_cluster_or_a_newer_format_is_refused():
    """Row 26, 28."""
    files = SimFiles()
    written(open_store(files), 7)
    with pytest.raises(ConfigurationError, match="of cluster cluster"):
        open_store(files, "other")
    files.damage(path_of(7), 4, b"\x02")
    with pytest.raises(ConfigurationError, match="snapshot format 2"):
        open_store(files)


def test_a_snapshot_that_is_gone_is_not_loaded():
    store = open_store(SimFiles())
    with pytest.raises(StorageCorrupt):
        list(store.load(7))


def test_a_reader_keeps_its_file_when_it_is_dropped_meanwhile():
    files = SimFiles()
    store = open_store(files)
    written(store, 5)
    loading = store.load(5)
    assert next(loading) == CHUNKS[0]
    for index in (6, 7, 8):
        written(store, index)
    assert list(loading) == CHUNKS[1:]


def test_with_its_thread_the_application_is_read_on_the_loop_slice_by_slice(tmp_path):
    """Between two slices the loop is free, so that commands and heartbeats go on."""
    loop: Queue[object] = Queue()
    taken: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(10):
            taken.append(number)
            yield b"%d" % number * 300

    store = SnapshotStore(RealFiles(), str(tmp_path), "cluster", slice_bytes=600, post=loop.put)
    answers: list[tuple[SnapshotMark | None, BaseException | None]] = []
    store.write(mark(7), chunks(), lambda *answer: answers.append(answer))
    with pytest.raises(LocalProtocolError):
        store.write(mark(8), [], lambda *answer: None)
    steps = []
    while not answers:
        steps.append(len(taken))
        loop.get(timeout=10)()  # type: ignore[operator]
    assert steps == [0, 2, 4, 6, 8, 10, 10]
    store.close()
    store = SnapshotStore(RealFiles(), str(tmp_path), "cluster")
    assert store.newest() == answers[0][0]
    assert len(list(store.load(7))) == 10
    store.close()


def test_a_sync_that_failed_while_a_snapshot_was_fetched_is_not_forgotten(monkeypatch):
    """The last sync would succeed: the system tells an error once."""
    monkeypatch.setattr(snapshots, "SYNC_BYTES", 100)
    source, files = SimFiles(), SimFiles()
    found = written(open_store(source), 7)
    store = open_store(files)
    files.faults = [Fault("fdatasync", errno.EIO)]
    store.receive(found, 0, source.contents(path_of(7)))
    files.faults = []
    with pytest.raises(StorageError):
        finish(store, found)
    assert store.newest() is None


def test_what_is_written_is_synced_as_it_grows(monkeypatch):
    monkeypatch.setattr(snapshots, "SYNC_BYTES", 100)
    files = SimFiles()
    store = open_store(files)
    files.faults = [Fault("fdatasync", errno.EIO)]
    assert isinstance(refused(store, 7), StorageError)
    files.faults = []
    assert written(store, 9).index == 9


def test_a_snapshot_that_proved_wrong_gives_way_to_the_one_before_it_also_after_a_restart():
    files = SimFiles()
    store = open_store(files)
    before = written(store, 5)
    written(store, 9)
    store.drop(9)
    store.drop(9)
    assert store.newest() == before
    assert open_store(files).newest() == before
    assert store.read_chunk(9, 0, 100) is None
