"""The write-ahead log against its contract, on a disk without faults, inline and with its thread."""

from __future__ import annotations

import threading
from queue import Queue

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.errors import ConfigurationError, LocalProtocolError, StorageCorrupt
from quorum.protocols.effects import HardState
from quorum.runtime.files import RealFiles
from quorum.runtime.wal import Wal
from quorum.sim.disk import SimFiles
from wal_world import MEMBERS, Disk, configuration_entry, entry, mark_at, whole_log


def test_what_was_synced_is_there_after_a_restart():
    disk = Disk()
    wal, _ = disk.start()
    wal.write_hard_state(HardState(3, "n2"))
    wal.write_entries(1, [entry(1, 2), configuration_entry(2, 3, MEMBERS)])
    disk.sync(wal)
    disk.files.kill()
    wal, durable = disk.start(create=False)
    assert (durable.term, durable.vote, durable.time_us, durable.tail_damaged) == (3, "n2", 20, False)
    assert [(meta.index, meta.term, meta.kind) for meta in durable.entries] == [(1, 2, 1), (2, 3, 2)]
    assert [meta.configuration for meta in durable.entries] == [None, MEMBERS]
    assert [meta.size for meta in durable.entries] == [len(data) for data in whole_log(wal, durable)]


def test_staged_entries_are_readable_before_they_are_synced():
    disk = Disk()
    wal, _ = disk.start()
    disk.store(wal, 1, 3)
    wal.write_entries(3, [entry(3, 2), entry(4, 2)])
    assert wal.read(2, 4, 1 << 20) == (entry(2), entry(3, 2), entry(4, 2))


def test_a_received_buffer_may_be_reused_after_it_was_staged():
    disk = Disk()
    wal, _ = disk.start()
    buffer = bytearray(entry(1))
    wal.write_entries(1, [memoryview(buffer)])
    buffer[:] = bytes(len(buffer))
    disk.sync(wal)
    assert wal.read(1, 1, 1) == (entry(1),)


def test_a_read_gives_one_entry_at_least_and_no_more_than_asked_for():
    disk = Disk(cache_bytes=0)
    wal, _ = disk.start()
    disk.store(wal, 1, 50)
    size = len(entry(1))
    assert len(wal.read(1, 50, 1)) == 1
    assert len(wal.read(1, 50, 3 * size)) == 3
    assert len(wal.read(10, 50, 3 * size + size - 1)) == 3
    assert len(wal.read(1, 50, 1 << 30)) == 50


def test_a_barrier_without_records_is_answered_at_once():
    disk = Disk()
    wal, _ = disk.start()
    before = disk.files.calls
    disk.sync(wal)
    assert disk.files.calls == before


def test_a_second_sync_while_one_is_under_way_is_refused():
    posted: Queue[object] = Queue()
    wal = Wal(SimFiles(), "wal", "cluster", "n1", create=True, post=posted.put)
    wal.recover()
    wal.write_entries(1, [entry(1)])
    wal.sync(lambda error: None)
    with pytest.raises(LocalProtocolError):
        wal.sync(lambda error: None)
    wal.close()


@pytest.mark.parametrize(
    ("first", "entries"),
    [(3, [entry(3)]), (1, [entry(2)]), (0, [entry(0)]), (1, [entry(1), entry(3)])],
    ids=["gap", "wrong index", "zero", "gap inside"],
)
def test_entries_that_do_not_fit_are_refused_and_nothing_is_staged(first, entries):
    disk = Disk()
    wal, _ = disk.start()
    disk.store(wal, 1, 1)
    with pytest.raises(LocalProtocolError):
        wal.write_entries(first, entries)
    assert wal.read(1, 1, 1) == (entry(1),)
    with pytest.raises(LocalProtocolError):
        wal.read(1, 2, 1)


def test_a_log_is_not_used_before_recovery_or_after_the_end():
    disk = Disk()
    wal = disk.open(create=True)
    with pytest.raises(LocalProtocolError):
        wal.write_entries(1, [entry(1)])
    wal.recover()
    wal.close()
    wal.close()
    with pytest.raises(LocalProtocolError):
        wal.read(1, 1, 1)


def test_segment_sizes_that_cannot_work_are_refused():
    with pytest.raises(ConfigurationError):
        Disk(segment_bytes=100).open()


def test_an_entry_larger_than_a_segment_gets_one_of_its_own():
    disk = Disk(cache_bytes=0)
    wal, _ = disk.start()
    large = b"x" * 3 * disk.segment_bytes
    disk.store(wal, 1, 2)
    disk.store(wal, 3, 3, body=large)
    disk.store(wal, 4, 5)
    wal, durable = disk.start()
    assert whole_log(wal, durable) == [entry(1), entry(2), entry(3, body=large), entry(4), entry(5)]


def test_trim_drops_whole_segments_and_keeps_what_is_asked_for():
    disk = Disk()
    wal, _ = disk.start()
    disk.vote(wal, 7, "n3")
    for index in range(1, 200):
        disk.store(wal, index, index, term=7)
    before = len(disk.segments())
    wal.trim(150)
    assert len(disk.segments()) < before
    assert wal.read(150, 199, 1 << 30) == tuple(entry(index, 7) for index in range(150, 200))
    with pytest.raises(LocalProtocolError):
        wal.read(100, 199, 1 << 30)
    wal, durable = disk.start(snapshot=mark_at(160, 7), create=False)
    assert (durable.term, durable.vote) == (7, "n3")
    assert [meta.index for meta in durable.entries] == list(range(161, 200))
    assert wal.read(150, 199, 1 << 30) == tuple(entry(index, 7) for index in range(150, 200))


def test_trim_waits_for_a_replacement_that_is_not_durable_yet():
    """A staged truncation may be lost with the power; what it replaces must still be there then."""
    disk = Disk()
    wal, _ = disk.start()
    for index in range(1, 120):
        disk.store(wal, index, index)
    wal.write_entries(5, [entry(5, 2)])
    wal.trim(5)
    disk.files.kill()
    _, durable = disk.start(snapshot=mark_at(4))
    assert [meta.index for meta in durable.entries] == list(range(5, 120))


def test_after_a_reset_the_log_goes_on_behind_the_snapshot():
    disk = Disk()
    wal, _ = disk.start()
    disk.vote(wal, 4, "n2")
    disk.store(wal, 1, 10)
    wal.reset(mark_at(100, 4))
    wal.write_entries(101, [entry(101, 4)])
    disk.sync(wal)
    disk.files.kill()
    wal, durable = disk.start(snapshot=mark_at(100, 4))
    assert [meta.index for meta in durable.entries] == [101]
    assert wal.read(101, 101, 1) == (entry(101, 4),)
    with pytest.raises(LocalProtocolError):
        wal.read(10, 101, 1)


def test_a_snapshot_ahead_of_the_log_restarts_it_for_good():
    """The snapshot was installed, and the machine stopped before the log heard of it."""
    disk = Disk()
    wal, _ = disk.start()
    disk.store(wal, 1, 10)
    wal, durable = disk.start(snapshot=mark_at(100, 4))
    assert durable.entries == ()
    disk.store(wal, 101, 103, term=4)
    wal, durable = disk.start(snapshot=mark_at(100, 4))
    assert [meta.index for meta in durable.entries] == [101, 102, 103]


def test_entries_that_a_snapshot_contradicts_are_forgotten():
    """Raft, figure 13, step 7: an entry at the snapshot's index with another term was never committed."""
    disk = Disk()
    wal, _ = disk.start()
    disk.vote(wal, 5, None)
    disk.store(wal, 1, 10, term=2)
    _, durable = disk.start(snapshot=mark_at(6, 5))
    assert durable.entries == ()
    _, durable = disk.start(snapshot=mark_at(6, 2))
    assert [meta.index for meta in durable.entries] == [7, 8, 9, 10]


def test_a_closed_log_knows_that_all_of_it_was_durable():
    """So damage in the round that was last is corruption then, not a doubt."""
    disk = Disk()
    wal, _ = disk.start()
    disk.store(wal, 1, 3)
    wal.close()
    at = disk.files.contents(disk.last_segment()).rindex(b"command")
    disk.files.flip_bit(disk.last_segment(), at, 0)
    with pytest.raises(StorageCorrupt):
        disk.start()


def test_with_its_thread_the_loop_goes_on_while_the_disk_is_slow():
    """Row 25: a sync that takes long delays answers, never the loop."""

    class SlowFiles(SimFiles):
        def fdatasync(self, handle: int) -> None:
            entered.set()
            assert go_on.wait(10)
            super().fdatasync(handle)

    entered, go_on = threading.Event(), threading.Event()
    go_on.set()
    loop: Queue[object] = Queue()
    answers: list[BaseException | None] = []
    wal = Wal(SlowFiles(), "wal", "cluster", "n1", create=True, cache_bytes=0, post=loop.put)
    wal.recover()
    go_on.clear()
    wal.write_entries(1, [entry(1)])
    wal.sync(answers.append)
    assert entered.wait(10)
    wal.write_entries(2, [entry(2)])
    wal.write_entries(1, [entry(1, 2)])
    assert wal.read(1, 1, 1) == (entry(1, 2),)
    assert answers == [] and loop.empty()
    go_on.set()
    loop.get(timeout=10)()  # type: ignore[operator]
    assert answers == [None]
    assert wal.read(1, 1, 1) == (entry(1, 2),)
    wal.sync(answers.append)
    loop.get(timeout=10)()  # type: ignore[operator]
    assert answers == [None, None]
    assert wal.read(1, 1, 1) == (entry(1, 2),)
    wal.close()


def test_it_works_on_the_real_file_system_with_its_thread(tmp_path):
    loop: Queue[object] = Queue()

    def start() -> Wal:
        return Wal(
            RealFiles(),
            str(tmp_path / "wal"),
            "cluster",
            "n1",
            create=True,
            segment_bytes=8192,
            cache_bytes=1000,
            post=loop.put,
        )

    wal = start()
    wal.recover()
    answers: list[BaseException | None] = []
    for first in range(1, 100, 3):
        wal.write_entries(first, [entry(first), entry(first + 1), entry(first + 2)])
        wal.sync(answers.append)
        loop.get(timeout=10)()  # type: ignore[operator]
    assert answers == [None] * 33
    wal.trim(40)
    wal.close()
    wal = start()
    wal._snapshot = mark_at(39)
    durable = wal.recover()
    assert whole_log(wal, durable) == [entry(index) for index in range(40, 100)]
    wal.close()


class Model:
    """The log as a plain list, and the hard state."""

    def __init__(self) -> None:
        self.base = 0
        self.entries: list[bytes] = []
        self.state = HardState(0, None)

    @property
    def last(self) -> int:
        return self.base + len(self.entries)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 400), st.integers(1, 4)),
        st.tuples(st.just("replace"), st.integers(0, 6), st.integers(0, 300)),
        st.tuples(st.just("vote"), st.sampled_from([None, "n1", "n2"]), st.just(0)),
        st.tuples(st.sampled_from(["sync", "restart", "kill"]), st.just(0), st.just(0)),
        st.tuples(st.sampled_from(["reset", "trim"]), st.integers(0, 5), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(operations=OPERATIONS, cache_bytes=st.sampled_from([0, 300, 1 << 20]))
def test_the_log_behaves_like_a_list(operations, cache_bytes):
    """Whatever is appended, replaced, reset, trimmed and restarted, reading gives what a list would give."""
    disk = Disk(cache_bytes=cache_bytes)
    wal, _ = disk.start()
    model, snapshot, term = Model(), None, 1
    for operation, a, b in operations:
        term += 1
        if operation == "append":
            batch = [entry(model.last + 1 + n, term, b"b" * a) for n in range(b)]
            wal.write_entries(model.last + 1, batch)
            model.entries += batch
        elif operation == "replace":
            first = max(model.base + 1, model.last - a)
            wal.write_entries(first, [entry(first, term, b"r" * b)])
            model.entries[first - model.base - 1 :] = [entry(first, term, b"r" * b)]
        elif operation == "vote":
            model.state = HardState(term, a)
            wal.write_hard_state(model.state)
        elif operation == "reset":
            model.base, model.entries = model.last + a, []
            snapshot = mark_at(model.base, term)
            wal.reset(snapshot)
        elif operation == "trim" and snapshot is not None:
            wal.trim(snapshot.index + 1)
        else:
            disk.sync(wal)
        if operation in ("restart", "kill"):
            if operation == "restart":
                wal.close()
            disk.files.kill()
            wal, durable = disk.start(snapshot)
            assert HardState(durable.term, durable.vote) == model.state
            assert [meta.index for meta in durable.entries] == list(range(model.base + 1, model.last + 1))
        if model.entries:
            assert wal.read(model.base + 1, model.last, 1 << 30) == tuple(model.entries)
