"""Real files whose changes stay in memory: what would happen to a folder, without touching it."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from quorum.entry import Buffer
from quorum.runtime.files import RealFiles


class _File:
    """One file as it is seen here: bytes below `base_size` come from the disk where no patch covers them."""

    __slots__ = ("base_size", "handle", "patches", "size")

    def __init__(self, handle: int, size: int) -> None:
        self.handle = handle
        self.base_size = self.size = size
        self.patches: list[tuple[int, bytes]] = []


class OverlayFiles:
    """`runtime.files.Files` over the real disk. Nothing is ever written to it: writes, new names and removals are
    remembered, and reads see them. `cut_bytes` counts the bytes that a write put zeros over.
    """

    def __init__(self) -> None:
        self._real = RealFiles()
        self._files: dict[str, _File] = {}
        self._gone: set[str] = set()
        self._handles: dict[int, _File] = {}
        self._opened: list[int] = []
        self._next_handle = 1
        self.cut_bytes = 0

    def make_folder(self, path: str) -> None:
        """Nothing: a folder that is missing is seen as an empty one."""

    def names(self, path: str) -> tuple[str, ...]:
        found = set(self._real.names(path)) if os.path.isdir(path) else set()
        prefix = f"{path}/"
        found |= {name.removeprefix(prefix) for name in self._files if name.rpartition("/")[0] == path}
        return tuple(sorted(name for name in found if prefix + name not in self._gone))

    def open(self, path: str, create: bool = False) -> int:
        if create:
            self._files[path] = _File(-1, 0)
            self._gone.discard(path)
        elif path in self._gone:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        elif path not in self._files:
            real = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._opened.append(real)
            self._files[path] = _File(real, self._real.size(real))
        handle = self._next_handle
        self._next_handle += 1
        self._handles[handle] = self._files[path]
        return handle

    def close(self, handle: int) -> None:
        """The file below stays open for whoever opens the path again, until `close_all`; what is let go of only
        after that, as a reader that was cut short, is closed by then."""
        self._handles.pop(handle, None)

    def close_all(self) -> None:
        """Give every file back."""
        for real in self._opened:
            self._real.close(real)
        self._opened.clear()
        self._files.clear()
        self._handles.clear()

    def size(self, handle: int) -> int:
        return self._handles[handle].size

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        file = self._handles[handle]
        size = max(0, min(size, file.size - offset))
        data = b""
        if offset < file.base_size:
            data = self._real.pread(file.handle, min(size, file.base_size - offset), offset)
        if not file.patches and len(data) == size:
            return data
        seen = bytearray(data.ljust(size, b"\0"))
        for at, patch in file.patches:
            begin, end = max(at, offset), min(at + len(patch), offset + size)
            if begin < end:
                seen[begin - offset : end - offset] = patch[begin - at : end - at]
        return bytes(seen)

    def pwritev(self, handle: int, parts: Sequence[Buffer], offset: int) -> None:
        file = self._handles[handle]
        data = b"".join(parts)
        before = self.pread(handle, len(data), offset)
        self.cut_bytes += sum(1 for old, new in zip(before, data, strict=False) if old and not new)
        file.patches.append((offset, data))
        file.size = max(file.size, offset + len(data))

    def allocate(self, handle: int, size: int) -> None:
        file = self._handles[handle]
        file.size = max(file.size, size)

    def fdatasync(self, handle: int) -> None:
        """Nothing is to be made durable."""

    def fsync(self, handle: int) -> None:
        """Nothing is to be made durable."""

    def fsync_dir(self, path: str) -> None:
        """Nothing is to be made durable."""

    def rename(self, old: str, new: str) -> None:
        handle = self.open(old)
        self._files[new] = self._handles.pop(handle)
        del self._files[old]
        self._gone.add(old)
        self._gone.discard(new)

    def unlink(self, path: str) -> None:
        self._files.pop(path, None)
        self._gone.add(path)
