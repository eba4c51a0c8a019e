"""From the last chunk of a fetched snapshot to a state that can be taken over: aside, as it takes long.

A snapshot of 200 MB takes seconds to read. Meanwhile the node goes on: it hears its leader, and votes. Whether it
stands at the snapshot in the end is the replica's decision. The state that is not needed then, the old one or the
one that was loaded, takes a third of a second to free: that is done in slices, between the rounds of the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

from quorum.errors import StorageCorrupt, StorageError
from quorum.model import NodeId
from quorum.protocols.events import SnapshotMark
from quorum.runtime.ports import Application, Clock, Snapshots

SLICE_US = 2_000
"""A round frees about so long what is not needed any more."""


class Installation:
    """One fetched snapshot at a time is put in place and loaded into a spare application.

    `ready` is called with its mark; `refused`, with the node that it came from, when it is not what was promised
    or cannot be stored; `failed` when the applications cannot read it.
    """

    def __init__(
        self,
        node: NodeId,
        application: Application,
        snapshots: Snapshots,
        clock: Clock,
        ready: Callable[[SnapshotMark], None],
        refused: Callable[[NodeId, BaseException], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._node = node
        self._application = application
        self._snapshots = snapshots
        self._clock = clock
        self._ready, self._refused, self._failed = ready, refused, failed
        self._loaded: tuple[SnapshotMark, Application] | None = None
        self._let_go: Iterator[object] = iter(())
        self.is_busy = False
        self.is_letting_go = False
        """Whether `advance` has something to do."""

    def begin(self, mark: SnapshotMark, source: NodeId) -> None:
        """All of `mark` is here."""
        assert not self.is_busy, "one at a time"
        self.is_busy = True
        self._snapshots.finish(mark, lambda error: self._on_finished(mark, source, error))

    def begin_proven(self, mark: SnapshotMark) -> None:
        """`mark` is in place, each of its pieces proven by a certified root."""
        assert not self.is_busy, "one at a time"
        self.is_busy = True
        self._on_finished(mark, self._node, None)

    def _on_finished(self, mark: SnapshotMark, source: NodeId, error: BaseException | None) -> None:
        if error is not None:
            self.is_busy = False
            self._refused(source, error)
            return
        newest = self._snapshots.newest()
        if newest is not None and newest.index > mark.index:
            spare = None  # the log has caught up meanwhile, and the file may be gone any time
        else:
            spare = self._application.spare()
        if spare is None:
            self._end(mark, source, None, None)
        else:
            take = partial(_restore, spare, mark)
            self._snapshots.load_aside(mark.index, take, lambda error: self._end(mark, source, spare, error))

    def _end(
        self, mark: SnapshotMark, source: NodeId, spare: Application | None, error: BaseException | None
    ) -> None:
        self.is_busy = False
        if mark.state_root and isinstance(error, ValueError | StorageCorrupt):
            error = NotAsProven(
                f"{self._node} was to stand at the certified state of block {mark.index}, whose pieces were "
                f"proven, but cannot: {str(error).rstrip('.')}. It is fetched again; if that does not help, look "
                "at the disk and at the version of the program."
            )
            if spare is not None:
                self._free(spare)
            self._discard(mark, source, error)
            return
        if error is not None:
            self._failed(unreadable(self._node, mark, error) if isinstance(error, ValueError) else error)
            return
        self.forget()
        self._loaded = None if spare is None else (mark, spare)
        self._ready(mark)

    def _discard(self, mark: SnapshotMark, source: NodeId, error: BaseException) -> None:
        """The state is not the certified one: a restart must not find it, either."""
        try:
            self._snapshots.drop(mark.index)
        except StorageError as refused:
            self._failed(refused)
            return
        self._refused(source, error)

    def forget(self) -> None:
        """What is loaded and was not taken over is not needed: the log has caught up meanwhile."""
        if self._loaded is not None:
            self._free(self._loaded[1])
            self._loaded = None

    def _free(self, state: Application) -> None:
        self._let_go = chain(self._let_go, state.let_go())
        self.is_letting_go = True

    def advance(self) -> bool:
        """Free for a while what is not needed any more; returns whether some is left."""
        until_us = self._clock.now_us() + SLICE_US
        for _ in self._let_go:
            if self._clock.now_us() > until_us:
                return True
        self.is_letting_go = False
        return False

    def restore(self, mark: SnapshotMark) -> None:
        """Let the application stand at a snapshot that is here. Raises StorageCorrupt if it cannot."""
        if self._loaded is not None and self._loaded[0] == mark:
            self._application.adopt(self._loaded[1])
            self.forget()
            return
        self.forget()
        try:
            self._application.restore(self._snapshots.load(mark.index))
        except ValueError as error:
            raise unreadable(self._node, mark, error) from error


class NotAsProven(StorageCorrupt):
    """A state was fetched piece by piece, each of them proven, but what is on the disk now is something else, or
    cannot be read here: nobody else is to blame."""


def _restore(spare: Application, mark: SnapshotMark, chunks: Iterator[bytes]) -> None:
    """Load a state, and compare its digest with the certified one, if there is one."""
    spare.restore(chunks)
    if mark.state_root and spare.digest() != mark.state_root:
        raise ValueError("its digest is not the certified one.")


def unreadable(node: NodeId, mark: SnapshotMark, error: BaseException) -> StorageCorrupt:
    """The error for a whole snapshot that the applications of this node do not understand."""
    return StorageCorrupt(
        f"{node} was to stand at its snapshot of entry {mark.index}, but its applications cannot "
        f"read it: {str(error).rstrip('.')}. Start the release that wrote it, or leave this node out."
    )
