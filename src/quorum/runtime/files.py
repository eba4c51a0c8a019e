"""The file system as storage needs it: a small port, and the real thing behind it.

Every call takes a path or an open handle and raises OSError as the system does. `sim/disk.py` implements the
same port in memory, with crashes and faults.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from quorum.entry import Buffer
from quorum.errors import ConfigurationError, StorageError, StorageFullError

Target = TypeVar("Target")

FULL_ERRORS = frozenset((errno.ENOSPC, errno.EDQUOT))
"""Error numbers which say that there is no space, as against a broken disk."""

_JOINED_BYTES_MAX = 1 << 20
_PARTS_MAX = 1024
_ZEROS = bytes(1 << 20)


class Files(Protocol):
    """Positioned reads and writes, explicit durability. Nothing written is durable before it is synced."""

    def make_folder(self, path: str) -> None:
        """Create one folder, only its owner's; no error if it is there."""
        ...

    def names(self, path: str) -> tuple[str, ...]:
        """The names in a folder, sorted."""
        ...

    def open(self, path: str, create: bool = False) -> int:
        """Open for reading and writing; `create` begins with an empty file. Symbolic links are refused."""
        ...

    def close(self, handle: int) -> None: ...

    def size(self, handle: int) -> int:
        """Bytes in the file."""
        ...

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        """Up to `size` bytes from `offset`, fewer only at the end of the file."""
        ...

    def pwritev(self, handle: int, parts: Sequence[Buffer], offset: int) -> None:
        """Write all parts one after the other from `offset`, or raise."""
        ...

    def allocate(self, handle: int, size: int) -> None:
        """Reserve space for `size` bytes; what was never written reads as zeros."""
        ...

    def fdatasync(self, handle: int) -> None:
        """Make the contents durable, and of the metadata what is needed to read them back."""
        ...

    def fsync(self, handle: int) -> None:
        """Make contents and metadata durable."""
        ...

    def fsync_dir(self, path: str) -> None:
        """Make names in a folder durable: what was created, renamed or unlinked there."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a file a new name in one step, replacing what had it."""
        ...

    def unlink(self, path: str) -> None: ...


class RealFiles:
    """The operating system's files. Thread-safe, as the system calls are."""

    def make_folder(self, path: str) -> None:
        os.makedirs(path, mode=0o700, exist_ok=True)
        if os.path.islink(path):
            raise _symlink_refused(path)

    def names(self, path: str) -> tuple[str, ...]:
        return tuple(sorted(os.listdir(path)))

    def open(self, path: str, create: bool = False) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(path, flags | os.O_CREAT | os.O_TRUNC if create else flags, 0o600)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _symlink_refused(path) from None
            raise

    def close(self, handle: int) -> None:
        os.close(handle)

    def size(self, handle: int) -> int:
        return os.fstat(handle).st_size

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        data = os.pread(handle, size, offset)
        if len(data) == size or not data:
            return data
        pieces = [data]
        got = len(data)
        while got < size and (data := os.pread(handle, size - got, offset + got)):
            pieces.append(data)
            got += len(data)
        return b"".join(pieces)

    def pwritev(self, handle: int, parts: Sequence[Buffer], offset: int) -> None:
        total = sum(map(len, parts))
        if total <= _JOINED_BYTES_MAX:
            # One copy of a small round costs less than a vector of many short pieces.
            _write_all(handle, b"".join(parts), offset)
            return
        for at in range(0, len(parts), _PARTS_MAX):
            group = parts[at : at + _PARTS_MAX]
            size = sum(map(len, group))
            written = os.pwritev(handle, group, offset)
            if written < size:
                _write_all(handle, memoryview(b"".join(group))[written:], offset + written)
            offset += size

    def allocate(self, handle: int, size: int) -> None:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)
            return
        for offset in range(os.fstat(handle).st_size, size, len(_ZEROS)):
            _write_all(handle, _ZEROS[: size - offset], offset)

    def fdatasync(self, handle: int) -> None:
        getattr(os, "fdatasync", os.fsync)(handle)

    def fsync(self, handle: int) -> None:
        os.fsync(handle)

    def fsync_dir(self, path: str) -> None:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def unlink(self, path: str) -> None:
        os.unlink(path)


def durably(sync: Callable[[Target], None], target: Target, path: str) -> None:
    """Run one sync. Raises StorageError if it fails, whatever the cause: the system may have dropped what was
    to be written and a second sync would succeed without it."""
    try:
        sync(target)
    except OSError as error:
        raise StorageError(
            f"{path} was to be made durable, but the disk answered: {error.strerror or error}. What was written "
            "last may be lost, so nothing more is promised. Check the disk, then start the node again."
        ) from error


def refusal(error: BaseException, asked: str) -> StorageError:
    """The error for a call that the system refused: StorageFullError if only space is missing."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, OSError) and error.errno in FULL_ERRORS:
        return StorageFullError(
            f"{asked}, but there is no space: {reason}. Nothing was acknowledged. Free some; then it goes on."
        )
    return StorageError(f"{asked}, but the system refused: {reason}. Check the disk and the folder's owner.")


def _write_all(handle: int, data: Buffer, offset: int) -> None:
    """Write every byte; a short write is continued, so that the cause of it is raised."""
    written = os.pwrite(handle, data, offset)
    while written < len(data):
        written += os.pwrite(handle, memoryview(data)[written:], offset + written)


def _symlink_refused(path: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} was to be opened as data, but it is a symbolic link, so its owner may not be this node. "
        "Name the real folder, or mount the disk there."
    )
