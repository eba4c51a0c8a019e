"""The production log on the simulated disk: a crash comes between any two calls of a write, and tears sectors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from quorum.entry import Buffer
from quorum.model import NodeId
from quorum.protocols.effects import HardState, Note
from quorum.protocols.events import Durable, SnapshotMark
from quorum.runtime.disk_thread import Done, Job
from quorum.runtime.wal import Wal
from quorum.sim.disk import PowerCut, SimFiles
from quorum.sim.storage import SYNC_IN_PLACE, Later, Reached, SimSnapshots, ends_in_place

SEGMENT_BYTES = 16 * 1024
"""Small, so that a run begins new segments and drops old ones."""
TORN_WRITE = "power cut in the middle of a write"
CUT_CALLS_MAX = 4
"""A power cut comes before one of so many calls of the write under way, or after the last."""


class _Later:
    """disk_thread.Worker: jobs take simulated time, one after the other."""

    def __init__(self, submit: Callable[[Job, Done], None], submit_urgent: Callable[[Job, Done], None]) -> None:
        self.submit = self.submit_aside = submit
        self.submit_urgent = submit_urgent

    def close(self) -> None:
        return


class DiskLog:
    """ports.Log with the lives of one node: each begins with `recover` and ends with `crash`."""

    def __init__(
        self, node: NodeId, random: Random, later: Later, snapshots: SimSnapshots, reached: Reached
    ) -> None:
        self._node = node
        self._random = random
        self._later = later
        self._snapshots = snapshots
        self._reached = reached
        self._log: Wal | None = None
        self._jobs: deque[tuple[Job, Done]] = deque()
        self._lives = 0
        self.files = SimFiles()
        self.sync_us = 300
        self.sync_jitter_us = 700

    def recover(self) -> Durable:
        create = self._log is None
        self._log = Wal(
            self.files,
            f"{self._node}/wal",
            "simulation",
            self._node,
            snapshot=self._snapshots.newest(),
            create=create,
            segment_bytes=SEGMENT_BYTES,
            nonce=1,
            worker=_Later(self._submit, self._submit_urgent),
        )
        return self._log.recover()

    def _submit(self, job: Job, done: Done) -> None:
        self._jobs.append((job, done))
        delay = self.sync_us + int(self._random.random() * self.sync_jitter_us)
        self._later(delay, self._work, self._lives)

    def _submit_urgent(self, job: Job, done: Done) -> None:
        if self._jobs or not ends_in_place(self._random, self.sync_us):
            self._submit(job, done)
            return
        self._reached(SYNC_IN_PLACE)
        self._do(job, done)

    def _work(self, life: int) -> None:
        if life == self._lives:
            self._do(*self._jobs.popleft())

    def _do(self, job: Job, done: Done) -> None:
        try:
            job()
        except Exception as error:
            done(error)
        else:
            done(None)

    def fill(self, room: int) -> None:
        """No file may grow any more; what fits into the segments that are there is written yet."""
        self.files.capacity_bytes = 0

    def free(self) -> None:
        """There is space again."""
        self.files.capacity_bytes = None

    def crash(self) -> None:
        """The power fails, in the middle of the write under way if there is one."""
        self._lives += 1
        if self._jobs and self._random.random() < 0.5:
            self.files.cut_at = self.files.calls + self._random.randrange(CUT_CALLS_MAX + 1)
            try:
                self._jobs[0][0]()
            except PowerCut:
                self._reached(TORN_WRITE)
        self._jobs.clear()
        self.files.crash(self._random)

    # The log in use.

    def write_hard_state(self, state: HardState) -> None:
        self._in_use.write_hard_state(state)

    def write_note(self, note: Note) -> None:
        self._in_use.write_note(note)

    def write_entries(self, first: int, entries: Sequence[Buffer]) -> None:
        self._in_use.write_entries(first, entries)

    def reset(self, mark: SnapshotMark) -> None:
        self._in_use.reset(mark)

    def sync(self, done: Done, in_background: bool = True) -> None:
        self._in_use.sync(done, in_background)

    def read(self, first: int, last: int, bytes_max: int) -> tuple[bytes, ...]:
        return self._in_use.read(first, last, bytes_max)

    def trim(self, first_kept: int) -> None:
        self._in_use.trim(first_kept)

    def close(self) -> None:
        self._in_use.close()

    @property
    def _in_use(self) -> Wal:
        assert self._log is not None, "a log is recovered before it is used"
        return self._log
