"""A file system in memory that forgets like a real one.

What was written and not synced is known to the cache alone. A power cut keeps of it any subset of sectors, of
names created, renamed or unlinked, and of file lengths; a killed process loses nothing that it wrote. Every
fault is asked for by the test or drawn from a generator it gives, so the same seed gives the same disk.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from random import Random

from quorum.entry import Buffer

SECTOR_BYTES = 512


class PowerCut(BaseException):
    """Raised by a call that the machine did not survive. Not an Exception: no code under test may catch it."""


class _Inode:
    """One file: what the cache says, what the disk holds, and which sectors differ because of a write."""

    __slots__ = ("cache", "disk", "dirty")

    def __init__(self) -> None:
        self.cache = bytearray()
        self.disk = bytearray()
        self.dirty: set[int] = set()

    def write(self, data: Buffer, offset: int) -> None:
        if not data:
            return  # a file does not grow by a write of nothing, wherever it is
        end = offset + len(data)
        if end > len(self.cache):
            self.cache.extend(bytes(end - len(self.cache)))
        self.cache[offset:end] = data
        self.dirty.update(range(offset // SECTOR_BYTES, (end - 1) // SECTOR_BYTES + 1))

    def resize_disk(self) -> None:
        """Let the length of the file reach the disk; what is new reads as zeros there."""
        size = len(self.cache)
        del self.disk[size:]
        self.disk.extend(bytes(size - len(self.disk)))

    def sync(self) -> None:
        self.resize_disk()
        for sector in sorted(self.dirty):
            self.store(sector)
        self.dirty.clear()

    def store(self, sector: int) -> None:
        """Let one sector reach the disk, as far as the file on the disk is long."""
        begin = sector * SECTOR_BYTES
        end = min(begin + SECTOR_BYTES, len(self.disk))
        if begin < end:
            self.disk[begin:end] = self.cache[begin:end].ljust(end - begin, b"\0")


class _NameChange:
    """A change to the names of a folder that is not durable yet: `inode` gets `new`, and loses `old`."""

    __slots__ = ("folder", "inode", "new", "old")

    def __init__(self, folder: str, inode: _Inode, new: str | None, old: str | None) -> None:
        self.folder = folder
        self.inode = inode
        self.new = new
        self.old = old

    def apply(self, names: dict[str, _Inode]) -> None:
        if self.old is not None and names.get(self.old) is self.inode:
            del names[self.old]
        if self.new is not None:
            names[self.new] = self.inode


class Fault:
    """A call that will fail: the `skip + 1`-th and following `times` calls of `call` on a path containing `path`.

    A failing write leaves the first `written` bytes; a failing sync drops the mark that the pages are to be
    written, so that a later sync succeeds without them.
    """

    __slots__ = ("call", "error", "path", "skip", "times", "written")

    def __init__(
        self, call: str, error: int, path: str = "", skip: int = 0, times: int = 1, written: int = 0
    ) -> None:
        self.call = call
        self.error = error
        self.path = path
        self.skip = skip
        self.times = times
        self.written = written

    def strikes(self, call: str, path: str) -> bool:
        if call != self.call or self.path not in path or self.times == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class SimFiles:
    """The `runtime.files.Files` port in memory.

    `capacity_bytes` limits the length of all files together (ENOSPC). `lies` makes every sync succeed without
    doing anything. `calls` counts the changing calls; `cut_at` raises PowerCut in place of the call of that
    number, or in the middle of it if it is a write.
    """

    def __init__(self, capacity_bytes: int | None = None) -> None:
        self.capacity_bytes = capacity_bytes
        self.lies = False
        self.faults: list[Fault] = []
        self.calls = 0
        self.cut_at: int | None = None
        self._names: dict[str, _Inode] = {}
        self._durable_names: dict[str, _Inode] = {}
        self._name_changes: list[_NameChange] = []
        self._folders: set[str] = set()
        self._handles: dict[int, tuple[str, _Inode]] = {}
        self._next_handle = 3

    # The port.

    def make_folder(self, path: str) -> None:
        self._folders.add(path)

    def names(self, path: str) -> tuple[str, ...]:
        self._check_fault("names", path)
        if path not in self._folders:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return tuple(sorted(name[len(path) + 1 :] for name in self._names if name.rpartition("/")[0] == path))

    def open(self, path: str, create: bool = False) -> int:
        self._check_fault("open", path)
        inode = self._names.get(path)
        if create:
            self._count()
            if inode is not None:
                self._change_name(path, inode, None, path)
            inode = self._names[path] = _Inode()
            self._name_changes.append(_NameChange(_parent(path), inode, path, None))
        elif inode is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        handle = self._next_handle
        self._next_handle += 1
        self._handles[handle] = (path, inode)
        return handle

    def close(self, handle: int) -> None:
        self._of(handle)
        del self._handles[handle]

    def size(self, handle: int) -> int:
        return len(self._of(handle)[1].cache)

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        path, inode = self._of(handle)
        self._check_fault("pread", path)
        return bytes(memoryview(inode.cache)[offset : offset + size])

    def pwritev(self, handle: int, parts: Sequence[Buffer], offset: int) -> None:
        path, inode = self._of(handle)
        data = b"".join(parts)
        fault = self._struck("pwritev", path)
        if fault is not None:
            inode.write(data[: fault.written], offset)
            raise OSError(fault.error, os.strerror(fault.error), path)
        self._need(max(0, offset + len(data) - len(inode.cache)), path)
        inode.write(data, offset)
        self._count()

    def allocate(self, handle: int, size: int) -> None:
        path, inode = self._of(handle)
        self._check_fault("allocate", path)
        grown = max(0, size - len(inode.cache))
        self._need(grown, path)
        self._count()
        inode.cache.extend(bytes(grown))

    def fdatasync(self, handle: int) -> None:
        self._sync("fdatasync", handle)

    def fsync(self, handle: int) -> None:
        self._sync("fsync", handle)

    def fsync_dir(self, path: str) -> None:
        self._check_fault("fsync_dir", path)
        self._count()
        if self.lies:
            return
        for change in self._name_changes:
            if change.folder == path:
                change.apply(self._durable_names)
        self._name_changes = [change for change in self._name_changes if change.folder != path]

    def rename(self, old: str, new: str) -> None:
        self._check_fault("rename", old)
        inode = self._names.get(old)
        if inode is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), old)
        self._count()
        self._change_name(old, inode, new, old)

    def unlink(self, path: str) -> None:
        self._check_fault("unlink", path)
        inode = self._names.get(path)
        if inode is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        self._count()
        self._change_name(path, inode, None, path)

    # Crashes.

    def kill(self) -> None:
        """The process ends at once; the cache stays, and so does everything written."""
        self._handles.clear()

    def unsynced(self) -> int:
        """How many sectors, lengths and name changes a power cut may keep or lose."""
        return len(self._pending())

    def crash(self, rng: Random) -> None:
        """A power cut that keeps a random subset of what was not synced: often all, often nothing."""
        chance = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        self.power_cut([rng.random() < chance for _ in self._pending()])

    def power_cut(self, kept: Sequence[bool]) -> None:
        """Keep the i-th thing that was not synced if `kept[i]` (`unsynced()` says how many there are)."""
        for keep, store in zip(kept, self._pending(), strict=True):
            if keep:
                store()
        self._name_changes.clear()
        self._names = dict(self._durable_names)
        for inode in self._names.values():
            inode.cache = bytearray(inode.disk)
            inode.dirty.clear()
        self._handles.clear()
        self.cut_at = None

    def _pending(self) -> list[Callable[[], None]]:
        """What a power cut may keep, in a stable order: lengths before contents, then names."""
        inodes = dict.fromkeys([change.inode for change in self._name_changes])
        inodes.update(dict.fromkeys(self._durable_names[name] for name in sorted(self._durable_names)))
        stores: list[Callable[[], None]] = []
        for inode in inodes:
            if len(inode.disk) != len(inode.cache):
                stores.append(inode.resize_disk)
            stores += [_storer(inode, sector) for sector in sorted(inode.dirty)]
        stores += [_namer(change, self._durable_names) for change in self._name_changes]
        return stores

    # Faults on what is there.

    def paths(self) -> tuple[str, ...]:
        """Every file, sorted."""
        return tuple(sorted(self._names))

    def contents(self, path: str) -> bytes:
        """What a reader sees now."""
        return bytes(self._names[path].cache)

    def damage(self, path: str, offset: int, data: bytes) -> None:
        """Overwrite bytes on the disk and in the cache: a misdirected or stale write, or garbage."""
        inode = self._names[path]
        for content in (inode.cache, inode.disk):
            content[offset : offset + len(data)] = data

    def flip_bit(self, path: str, offset: int, bit: int) -> None:
        """Turn one bit of the byte at `offset` over."""
        self.damage(path, offset, bytes((self._names[path].cache[offset] ^ 1 << bit,)))

    def zero_tail(self, path: str, offset: int) -> None:
        """Everything from `offset` on reads as zeros."""
        self.damage(path, offset, bytes(len(self._names[path].cache) - offset))

    def truncate(self, path: str, size: int) -> None:
        """Cut the file to `size` bytes."""
        inode = self._names[path]
        del inode.cache[size:], inode.disk[size:]
        inode.dirty = {sector for sector in inode.dirty if sector * SECTOR_BYTES < size}

    def remove(self, path: str) -> None:
        """The file is gone, durably."""
        inode = self._names.pop(path)
        self._durable_names = {name: other for name, other in self._durable_names.items() if other is not inode}
        self._name_changes = [change for change in self._name_changes if change.inode is not inode]

    def put(self, path: str, data: bytes) -> None:
        """A file appears, durably."""
        inode = _Inode()
        inode.cache, inode.disk = bytearray(data), bytearray(data)
        self._names[path] = self._durable_names[path] = inode

    # Inside.

    def _of(self, handle: int) -> tuple[str, _Inode]:
        if handle not in self._handles:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._handles[handle]

    def _count(self) -> None:
        """One more changing call; the machine may not survive it."""
        if self.cut_at is not None and self.calls >= self.cut_at:
            raise PowerCut
        self.calls += 1

    def _struck(self, call: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.strikes(call, path):
                return fault
        return None

    def _check_fault(self, call: str, path: str) -> None:
        fault = self._struck(call, path)
        if fault is not None:
            raise OSError(fault.error, os.strerror(fault.error), path)

    def _need(self, grown: int, path: str) -> None:
        if self.capacity_bytes is not None and grown:
            used = sum(len(inode.cache) for inode in dict.fromkeys(self._names.values()))
            if used + grown > self.capacity_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def _sync(self, call: str, handle: int) -> None:
        path, inode = self._of(handle)
        fault = self._struck(call, path)
        if fault is not None:
            inode.dirty.clear()
            raise OSError(fault.error, os.strerror(fault.error), path)
        self._count()
        if not self.lies:
            inode.sync()

    def _change_name(self, path: str, inode: _Inode, new: str | None, old: str | None) -> None:
        change = _NameChange(_parent(path), inode, new, old)
        change.apply(self._names)
        self._name_changes.append(change)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _storer(inode: _Inode, sector: int) -> Callable[[], None]:
    return lambda: inode.store(sector)


def _namer(change: _NameChange, names: dict[str, _Inode]) -> Callable[[], None]:
    return lambda: change.apply(names)
