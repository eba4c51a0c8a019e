"""Crash points: the machine stops at every call in turn, with every kind of torn remainder.

Whatever was acknowledged is there afterwards, nothing is there that was never written, a record is whole or
absent, the hard state never goes back, and a mere crash is never taken for corruption.
"""

from __future__ import annotations

from itertools import product
from random import Random

import pytest

from quorum.protocols.effects import HardState
from quorum.protocols.events import SnapshotMark
from quorum.sim.disk import PowerCut
from wal_world import Disk, entry, mark_at, whole_log

State = tuple[HardState, int, tuple[bytes, ...]]
"""(hard state, base, entries): the log after some record."""


class History:
    """Every state the log went through, record by record, and the newest one that was acknowledged."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.states: list[State] = [(HardState(0, None), 0, ())]
        self.acknowledged = 0
        self.snapshot: SnapshotMark | None = None
        self.wal = self.disk.open(create=True)

    @property
    def last(self) -> int:
        return self.states[-1][1] + len(self.states[-1][2])

    def vote(self, term: int, vote: str | None) -> None:
        self.states.append((HardState(term, vote), *self.states[-1][1:]))
        self.wal.write_hard_state(HardState(term, vote))

    def append(self, count: int, term: int, size: int, first: int | None = None) -> None:
        first = self.last + 1 if first is None else first
        new = [entry(index, term, b"x" * size) for index in range(first, first + count)]
        state, base, entries = self.states[-1]
        for position, data in enumerate(new):
            self.states.append((state, base, (*entries[: first - base - 1], *new[:position], data)))
        self.wal.write_entries(first, new)

    def reset(self, mark: SnapshotMark) -> None:
        self.snapshot = mark
        self.states.append((self.states[-1][0], mark.index, ()))
        self.wal.reset(mark)

    def sync(self) -> None:
        staged = len(self.states) - 1

        def done(error: BaseException | None) -> None:
            assert error is None
            self.acknowledged = staged

        self.wal.sync(done)

    def expected(self) -> list[State]:
        """What recovery may say, as it says it: entries after the snapshot."""
        reached = self.snapshot.index if self.snapshot is not None else 0
        allowed = []
        for state, base, entries in self.states[self.acknowledged :]:
            cut = max(0, reached - base)
            allowed.append((state, max(base, reached), entries[cut:]))
        return allowed

    def restart(self) -> State:
        """Recover, check, and take what was found as the truth from now on."""
        self.wal = self.disk.open(self.snapshot, create=True)
        durable = self.wal.recover()
        assert not durable.tail_damaged
        base = self.snapshot.index if self.snapshot is not None else 0
        found = (HardState(durable.term, durable.vote), base, tuple(whole_log(self.wal, durable)))
        assert found in self.expected()
        self.states, self.acknowledged = [found], 0
        return found


def first_life(history: History) -> None:
    """Votes, rounds within and across sectors, conflicts, new segments, a trim, an installed snapshot."""
    wal = history.wal
    wal.recover()
    history.vote(1, "n1")
    history.sync()
    history.append(1, 1, 20)
    history.sync()
    history.append(6, 1, 200)
    history.vote(2, None)
    history.append(2, 2, 300)
    history.sync()
    history.append(1, 2, 1200, first=5)
    history.append(3, 2, 0)
    history.sync()
    for _ in range(3):
        history.append(4, 2, 250)
        history.sync()
    history.vote(3, "n2")
    history.append(1, 3, 5000)
    history.sync()
    history.snapshot = mark_at(6, 2)
    wal.trim(7)
    history.append(2, 3, 100)
    history.sync()
    history.reset(mark_at(60, 3))
    history.vote(4, "n3")
    history.append(3, 4, 400)
    history.sync()
    for _ in range(3):
        history.append(3, 4, 500)
        history.sync()
    history.snapshot = mark_at(63, 4)
    wal.trim(64)
    history.vote(5, "n1")
    history.sync()


def second_life(history: History) -> None:
    """What a node does after its recovery: vote in a newer term, replace a conflict, go on."""
    term = history.states[-1][0].term + 1
    history.vote(term, "n2")
    history.sync()
    base, entries = history.states[-1][1:]
    history.append(3, term, 300, first=history.last if entries else base + 1)
    history.sync()
    history.append(8, term, 400)
    history.sync()


def recover_only(history: History) -> None:
    history.disk.open(history.snapshot, create=True).recover()


def calls_of_the_first_life() -> int:
    history = History()
    first_life(history)
    return history.disk.files.calls


CALLS = calls_of_the_first_life()


def stop_at(history: History, life, calls: int) -> None:
    """Let `life` run until the machine stops at the given call, counted from now."""
    files = history.disk.files
    files.cut_at = files.calls + calls
    try:
        life(history)
    except PowerCut:
        pass
    files.cut_at = None


def variants(pending: int, rng: Random) -> list[list[bool]]:
    """Which of the things not synced survive: each subset if there are few, else a choice of them."""
    if pending <= 4:
        return [list(kept) for kept in product((False, True), repeat=pending)]
    chosen = [[False] * pending, [True] * pending]
    for gone in (0, 1, pending // 2, pending - 1):
        chosen.append([i != gone for i in range(pending)])
        chosen.append([i == gone for i in range(pending)])
        chosen.append([i < gone for i in range(pending)])
        chosen.append([i >= gone for i in range(pending)])
    chosen += [[rng.random() < 0.5 for _ in range(pending)] for _ in range(6)]
    return chosen


@pytest.mark.parametrize("part", range(4))
def test_no_crash_point_loses_what_was_acknowledged(part):
    """Rows 1, 2, 3, 4, 11, 18, 30: each prefix of the calls, each torn remainder, then a second life."""
    for calls in range(part, CALLS + 1, 4):
        history = History()
        stop_at(history, first_life, calls)
        pending = history.disk.files.unsynced()
        for kept in variants(pending, Random(calls)):
            history = History()
            stop_at(history, first_life, calls)
            history.disk.files.power_cut(kept)
            history.restart()
            second_life(history)
            history.disk.files.power_cut([False] * history.disk.files.unsynced())
            history.restart()


@pytest.mark.parametrize("part", range(4))
def test_a_crash_in_the_middle_of_recovery_changes_nothing(part):
    """Recovery cuts, rewrites and removes; stopping it anywhere leaves a log that recovers to the same."""
    for seed in range(part, 1200, 4):
        rng = Random(seed)
        history = History()
        stop_at(history, first_life, rng.randrange(CALLS))
        history.disk.files.crash(rng)
        for _ in range(3):
            stop_at(history, recover_only, rng.randrange(8))
            history.disk.files.crash(rng)
        history.restart()
        stop_at(history, second_life, rng.randrange(12))
        history.disk.files.crash(rng)
        history.restart()


def test_a_killed_process_loses_at_most_what_it_did_not_finish_writing():
    """Row 1: the page cache survives; the write under way may stop at any byte. The node keeps its vote."""
    whole = Disk()
    wal, _ = whole.start()
    whole.vote(wal, 1, "n1")
    whole.store(wal, 1, 2)
    path = whole.last_segment()
    before = whole.files.contents(path)
    wal.write_hard_state(HardState(2, "n2"))
    wal.write_entries(3, [entry(3, 2, b"y" * 600), entry(4, 2)])
    whole.sync(wal)
    after = whole.files.contents(path)
    begin = len(before.rstrip(b"\0"))
    lengths = set()
    for cut in range(begin, len(after.rstrip(b"\0")) + 1):
        disk = Disk()
        disk.files.make_folder("n1/wal")
        disk.files.put(path, after[:cut] + before[cut:])
        wal, durable = disk.start(create=False)
        assert not durable.tail_damaged
        assert (durable.term, durable.vote) in ((1, "n1"), (2, "n2"))
        entries = whole_log(wal, durable)
        assert entries == [entry(1), entry(2), entry(3, 2, b"y" * 600), entry(4, 2)][: len(entries)]
        lengths.add((durable.term, len(entries)))
    assert lengths == {(1, 2), (2, 2), (2, 3), (2, 4)}


def test_what_only_the_cache_knew_is_durable_once_it_was_recovered():
    """A process killed between write and sync leaves its records in the cache; whoever answers for them after
    the restart must not lose them to a power cut, not even after a sync that failed."""
    disk = Disk()
    wal, _ = disk.start()
    disk.store(wal, 1, 2)
    disk.files.cut_at = disk.files.calls + 1
    wal.write_entries(3, [entry(3)])
    with pytest.raises(PowerCut):
        wal.sync(lambda error: None)
    disk.files.cut_at = None
    disk.files.kill()
    _, durable = disk.start()
    assert [meta.index for meta in durable.entries] == [1, 2, 3]
    disk.files.power_cut([False] * disk.files.unsynced())
    _, durable = disk.start()
    assert [meta.index for meta in durable.entries] == [1, 2, 3]


def test_the_swept_scenario_reaches_every_part_of_the_log():
    """The sweep above proves something only if it rotates, trims and resets."""
    history = History()
    first_life(history)
    assert CALLS > 60
    assert history.disk.segments() == ["n1/wal/0000000000000005.wal"]
