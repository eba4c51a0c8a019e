"""The simulated log loses only what was not synced, and the production log on a simulated disk does the same."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.errors import StorageCorrupt, StorageFullError
from quorum.protocols.effects import HardState
from quorum.protocols.events import SnapshotMark
from quorum.sim.disk_log import TORN_WRITE, DiskLog
from quorum.sim.storage import FAST_SYNC_US, SYNC_IN_PLACE, SimLog, SimSnapshots
from wal_world import entry, mark_at


class Bench:
    """A log of either kind, and the completions that wait."""

    def __init__(self, kind: str, seed: int = 0) -> None:
        self.waiting: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        self.snapshots = SimSnapshots(Random(seed), self.later)
        self.reached: list[str] = []
        if kind == "records":
            self.log: SimLog | DiskLog = SimLog(Random(seed), self.later, self.snapshots, self.reached.append)
        else:
            self.log = DiskLog("n1", Random(seed), self.later, self.snapshots, self.reached.append)
        self.log.recover()

    def later(self, delay_us: int, act: Callable[..., None], *arguments: object) -> None:
        assert delay_us > 0
        self.waiting.append((act, arguments))

    def settle(self) -> None:
        """Let every completion come."""
        while self.waiting:
            act, arguments = self.waiting.pop(0)
            act(*arguments)

    def store(
        self, first: int, last: int, term: int = 1, in_background: bool = True
    ) -> list[BaseException | None]:
        """Stage entries and ask for a sync; the list fills when it is done."""
        answers: list[BaseException | None] = []
        self.log.write_entries(first, [entry(index, term) for index in range(first, last + 1)])
        self.log.sync(answers.append, in_background)
        return answers


BOTH = pytest.mark.parametrize("kind", ["records", "disk"])


@BOTH
def test_a_sync_takes_time_and_what_is_staged_can_be_read_meanwhile(kind: str):
    bench = Bench(kind)
    answers = bench.store(1, 3)
    assert answers == []
    assert bench.log.read(1, 3, 1 << 20) == tuple(entry(index) for index in (1, 2, 3))
    assert bench.log.read(1, 3, 1) == (entry(1),)
    bench.settle()
    assert answers == [None]


@BOTH
def test_a_followers_sync_on_a_fast_disk_ends_at_once_now_and_then(kind: str):
    """As runtime.disk_thread.Paced does; a leader's never does, nor one on a slow disk."""
    bench = Bench(kind)
    ended = []
    for index in range(1, 41):
        answers = bench.store(index, index, in_background=False)
        ended.append(answers == [None])
        bench.settle()
        assert answers == [None]
    assert 0 < ended.count(True) < 40 and bench.reached.count(SYNC_IN_PLACE) == ended.count(True)
    for index in range(41, 81):
        assert bench.store(index, index) == []
        bench.settle()
    bench.log.sync_us = FAST_SYNC_US + 1
    for index in range(81, 121):
        assert bench.store(index, index, in_background=False) == []
        bench.settle()


@BOTH
@given(seed=st.integers(0, 500))
def test_what_was_synced_survives_and_of_the_rest_only_a_prefix(kind: str, seed: int):
    bench = Bench(kind, seed)
    bench.log.write_hard_state(HardState(1, "n2"))
    bench.store(1, 4)
    bench.settle()
    bench.store(5, 9)
    bench.log.crash()
    bench.waiting.clear()
    durable = bench.log.recover()
    kept = [meta.index for meta in durable.entries]
    assert kept == list(range(1, len(kept) + 1)) and 4 <= len(kept) <= 9
    assert (durable.term, durable.vote) == (1, "n2")
    assert bench.log.read(1, len(kept), 1 << 20) == tuple(entry(index) for index in kept)


@BOTH
def test_a_sync_that_was_under_way_is_never_answered_after_the_crash(kind: str):
    bench = Bench(kind)
    answers = bench.store(1, 2)
    bench.log.crash()
    bench.settle()
    assert answers == []


@BOTH
def test_some_crash_tears_a_write_and_some_crash_keeps_all_of_it(kind: str):
    lengths = set()
    for seed in range(60):
        bench = Bench(kind, seed)
        bench.store(1, 30)
        bench.log.crash()
        lengths.add(len(bench.log.recover().entries))
    assert min(lengths) == 0
    assert len(lengths) > 3 if kind == "records" else max(lengths) == 30


@BOTH
def test_entries_replace_what_stood_there_also_after_a_restart(kind: str):
    bench = Bench(kind)
    bench.log.write_hard_state(HardState(2, None))
    bench.store(1, 5)
    bench.settle()
    bench.store(3, 3, term=2)
    bench.settle()
    bench.log.crash()
    assert [(meta.index, meta.term) for meta in bench.log.recover().entries] == [(1, 1), (2, 1), (3, 2)]


@BOTH
def test_a_reset_leaves_an_empty_log_after_the_snapshot(kind: str):
    bench = Bench(kind)
    bench.log.write_hard_state(HardState(1, None))
    bench.store(1, 3)
    bench.settle()
    mark = written(bench, 10)
    bench.log.reset(mark)
    bench.store(11, 12)
    bench.settle()
    bench.log.crash()
    durable = bench.log.recover()
    assert durable.snapshot == mark
    assert [meta.index for meta in durable.entries] == [11, 12]


def written(bench: Bench, index: int) -> SnapshotMark:
    """A durable snapshot at `index`, with two chunks."""
    marks: list[SnapshotMark | None] = []
    bench.snapshots.write(mark_at(index), [b"one", b"two"], lambda mark, error: marks.append(mark))
    bench.settle()
    assert marks[0] is not None
    return marks[0]


def test_a_power_cut_comes_in_the_middle_of_a_write_to_the_simulated_disk():
    torn = 0
    for seed in range(40):
        bench = Bench("disk", seed)
        bench.store(1, 20)
        bench.log.crash()
        torn += bench.reached.count(TORN_WRITE)
    assert 0 < torn < 40


def test_a_snapshot_is_there_once_it_is_written_and_at_most_two_are_kept():
    bench = Bench("records")
    for index in (5, 9, 14):
        written(bench, index)
    assert bench.snapshots.newest().index == 14
    assert list(bench.snapshots.load(9)) == [b"one", b"two"]
    assert bench.snapshots.read_chunk(5, 0, 100) is None


def test_a_snapshot_under_way_is_lost_in_a_crash():
    bench, marks = Bench("records"), []
    bench.snapshots.write(mark_at(5), [b"x"], lambda mark, error: marks.append(mark))
    bench.snapshots.crash()
    bench.settle()
    assert marks == [] and bench.snapshots.newest() is None


def test_a_fetched_snapshot_takes_chunks_in_order_and_is_checked_against_its_digest():
    source, target = Bench("records"), Bench("records")
    mark = written(source, 5)
    data = source.snapshots.read_chunk(5, 0, 1 << 20)
    assert target.snapshots.receive(mark, 3, data[3:]) == 0
    assert target.snapshots.receive(mark, 0, data[:3]) == 3
    assert target.snapshots.receive(mark, 3, data[3:]) == len(data) == mark.size
    told: list[BaseException | None] = []
    target.snapshots.finish(mark, told.append)
    target.settle()
    assert told == [None]
    assert target.snapshots.newest() == mark
    target.snapshots.receive(mark_at(6), 0, b"wrong")
    target.snapshots.finish(mark_at(6), told.append)
    target.settle()
    assert isinstance(told[1], StorageCorrupt)


def test_a_full_log_keeps_what_waits_and_writes_it_once_there_is_space():
    bench = Bench("records")
    told: list[BaseException | None] = []
    bench.log.fill(1)
    for index in (1, 2):
        bench.log.write_entries(index, (entry(index),))
    bench.log.sync(told.append)
    bench.settle()
    assert isinstance(told.pop(), StorageFullError)
    bench.log.free()
    bench.log.sync(told.append)
    bench.settle()
    bench.log.crash()
    assert told == [None] and [meta.index for meta in bench.log.recover().entries] == [1, 2]


def test_a_full_log_loses_in_a_crash_what_it_did_not_write():
    bench = Bench("records")
    bench.log.fill(0)
    bench.log.write_hard_state(HardState(7, "n2"))
    bench.log.sync(lambda error: None)
    bench.settle()
    bench.log._staged.clear()  # nothing of it survives
    bench.log.crash()
    assert bench.log.recover().term == 0


def test_a_snapshot_is_neither_written_nor_received_where_there_is_no_space():
    bench = Bench("records")
    told: list[object] = []
    bench.snapshots.is_full = True
    bench.snapshots.write(mark_at(5), iter((b"x",)), lambda mark, error: told.extend((mark, error)))
    bench.settle()
    assert told[0] is None and isinstance(told[1], StorageFullError)
    with pytest.raises(StorageFullError):
        bench.snapshots.receive(mark_at(5), 0, b"x")
    assert bench.snapshots.newest() is None
