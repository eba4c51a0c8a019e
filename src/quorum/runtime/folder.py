"""The data folder of one node: one process, one identity, one format.

lock            held by the running process
identity.json   format, cluster, node, whether the node has run, and with which ledger
wal/            the log
snapshots/      the snapshots
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from quorum.errors import ConfigurationError, StorageCorrupt
from quorum.runtime.files import Files, RealFiles, durably, refusal
from quorum.runtime.ledger_mark import UNSETTLED, Known, Settled, refuse_other
from quorum.runtime.overlay import OverlayFiles

FOLDER_FORMAT = 1
_IDENTITY = "identity.json"
LOCK_NAME = "lock"
"""The file in a data folder that the running process holds; it says the number of that process."""
_UNFINISHED = frozenset((LOCK_NAME, _IDENTITY + ".new"))
_IDENTITY_BYTES_MAX = 65536


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What identity.json says. `used`: a log was begun here, so that its absence is a loss, and it was begun with
    `ledger` (unset: with none)."""

    format: int
    cluster: str
    node: str
    used: bool = False
    ledger: Known = msgspec.UNSET


class _Format(msgspec.Struct):
    """The one field that every format has."""

    format: int


class DataFolder:
    """An open and locked data folder. `path`, `wal_path` and `snapshots_path` are where things are.

    `used` is whether the node has ever run here: a log that is missing then is lost, not new (`Wal(create=not
    folder.used)`).
    """

    def __init__(self, path: str, lock: int, identity: Identity) -> None:
        self.path = path
        self.wal_path = f"{path}/wal"
        self.snapshots_path = f"{path}/snapshots"
        self._lock = lock
        self._identity = identity

    @property
    def used(self) -> bool:
        return self._identity.used

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], cluster_id: str, node_id: str, *, bootstrap: bool = False
    ) -> DataFolder:
        """Create the folder, for its owner alone, or check that it is this node's; hold its lock.

        `bootstrap` says that a new cluster begins, which is refused where a node has run. Raises
        ConfigurationError if the folder is in use, read-only, not owned, a symbolic link, of another node or
        cluster or of a newer program; StorageCorrupt if its identity is damaged; StorageError if the disk
        refuses.
        """
        name = os.path.abspath(os.fspath(path))
        files = RealFiles()
        try:
            _create_if_missing(files, name)
            _check_owner(name)
            lock = _take_lock(name)
        except OSError as error:
            raise refusal(error, f"{name} was to be opened as a data folder") from error
        try:
            identity = _read_or_write_identity(files, name, Identity(FOLDER_FORMAT, cluster_id, node_id))
            folder = cls(name, lock, identity)
            if bootstrap:
                folder._check_empty(files)
            for part in (folder.wal_path, folder.snapshots_path):
                files.make_folder(part)
            durably(files.fsync_dir, name, name)
        except BaseException as error:
            os.close(lock)
            if isinstance(error, OSError):
                raise refusal(error, f"{name} was to be opened as a data folder") from error
            raise
        return folder

    def check_ledger(self, ledger: Settled) -> None:
        """Raise ConfigurationError where a log was begun here with another ledger."""
        if self.used:
            refuse_other(self.path, self._identity.ledger, ledger)

    def mark_used(self, ledger: Known = msgspec.UNSET) -> None:
        """Write down that a log exists now, and with which ledger; call it once the log was recovered the first
        time, before a peer or a client is heard."""
        settles = self._identity.ledger == UNSETTLED and ledger != UNSETTLED
        if settles or not self.used:
            identity = msgspec.structs.replace(self._identity, used=True, ledger=ledger)
            try:
                _write_identity(RealFiles(), self.path, identity)
            except OSError as error:
                raise refusal(error, f"{self.path} was to be marked as used") from error
            self._identity = identity

    def close(self) -> None:
        """Give the lock back."""
        if self._lock != -1:
            os.close(self._lock)
            self._lock = -1

    def _check_empty(self, files: Files) -> None:
        names = [
            name
            for part in (self.wal_path, self.snapshots_path)
            if os.path.isdir(part)
            for name in files.names(part)
            if not name.endswith(".new")
        ]
        if self.used or names:
            raise ConfigurationError(
                f"a node was to begin in {self.path}, but one has already run there. Start it without bootstrap "
                "or join, or name an empty folder."
            )


def _create_if_missing(files: Files, path: str) -> None:
    if os.path.lexists(path):
        return
    parent = os.path.dirname(path)
    os.makedirs(parent, exist_ok=True)
    os.mkdir(path, 0o700)
    durably(files.fsync_dir, parent, parent)


def _check_owner(path: str) -> None:
    """Raises ConfigurationError unless `path` is a real folder of this user that can be written to."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        raise ConfigurationError(f"{path} was given as a data folder, but it is a symbolic link. Name the folder.")
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(f"{path} was given as a data folder, but it is a file. Name a folder.")
    if status.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{path} was given as a data folder, but user {status.st_uid} owns it, not user {os.geteuid()}. "
            "Start the node as its owner."
        )
    if not status.st_mode & stat.S_IWUSR or not os.access(path, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"{path} was given as a data folder, but it is read-only. Make it writable for its owner."
        )


def _take_lock(path: str) -> int:
    """The handle that holds the lock until it is closed. Raises ConfigurationError if another holds it."""
    try:
        handle = os.open(f"{path}/{LOCK_NAME}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"{path}/{LOCK_NAME} was to be opened, but the system refused: {error.strerror}. Name a folder that "
            "this user can write to."
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise _in_use(path, handle) from None
    written = os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)  # before the cut: a full disk has no new block
    os.ftruncate(handle, written)
    return handle


def _in_use(path: str, handle: int) -> ConfigurationError:
    holder = os.pread(handle, 20, 0).decode(errors="replace").strip() or "another process"
    os.close(handle)
    return ConfigurationError(
        f"{path} was given as a data folder, but process {holder} is using it. Stop that one, or name another."
    )


def is_held(path: str) -> bool:
    """Whether a process holds the data folder at `path`, as a node that runs does."""
    try:
        handle = os.open(f"{path}/{LOCK_NAME}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def held_unchanged(path: str) -> Iterator[Identity]:
    """Whose data folder this is; no node starts on it meanwhile, and not a byte of it is changed.

    Raises ConfigurationError if it is none, or a node runs on it; StorageCorrupt if its identity is damaged.
    """
    if not os.path.isdir(path) or not any(os.path.lexists(f"{path}/{name}") for name in (_IDENTITY, "wal")):
        inner = os.path.lexists(f"{path}/data/{_IDENTITY}")
        remedy = f"Name {path}/data." if inner else "Name the folder that node.toml calls `data`."
        raise ConfigurationError(f"{path} was to be verified, but it is no data folder of a node. {remedy}")
    handle, files = -1, OverlayFiles()
    try:
        if os.path.lexists(f"{path}/{LOCK_NAME}"):
            handle = os.open(f"{path}/{LOCK_NAME}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                held, handle = handle, -1
                raise _in_use(path, held) from None
        yield _read_identity(files, path)
    finally:
        files.close_all()
        if handle != -1:
            os.close(handle)


def _read_or_write_identity(files: Files, path: str, wanted: Identity) -> Identity:
    names = files.names(path)
    if _IDENTITY not in names:
        foreign = sorted(set(names) - _UNFINISHED)
        if foreign:
            raise ConfigurationError(
                f"{path} was given as a data folder, but it holds {foreign[0]} and no identity. "
                "Name an empty folder."
            )
        _write_identity(files, path, wanted)
        return wanted
    found = _read_identity(files, path)
    if (found.cluster, found.node) != (wanted.cluster, wanted.node):
        remedy = "Give each node its own folder"
        if found.node == wanted.node:
            remedy = (
                f'If it is the same cluster, write its id back into cluster.toml, cluster_id = "{found.cluster}"; '
                "else give this node another folder"
            )
        raise ConfigurationError(
            f"{path} was given to node {wanted.node} of cluster {wanted.cluster}, but it belongs to node "
            f"{found.node} of cluster {found.cluster}. {remedy}."
        )
    return found


def _read_identity(files: Files, path: str) -> Identity:
    name = f"{path}/{_IDENTITY}"
    try:
        handle = files.open(name)
    except FileNotFoundError:
        raise StorageCorrupt(
            f"{name} was to be read, but it is missing, so nothing says whose data this is. Put the file back, or "
            "leave this node out: it must not vote without its data.",
            name,
        ) from None
    try:
        data = files.pread(handle, _IDENTITY_BYTES_MAX, 0)
    finally:
        files.close(handle)
    try:
        version = msgspec.json.decode(data, type=_Format).format
        if version > FOLDER_FORMAT:
            raise ConfigurationError(
                f"{path} was to be opened, but it is data format {version} and this program knows up to "
                f"{FOLDER_FORMAT}. Start the newer program that wrote it."
            )
        return msgspec.json.decode(data, type=Identity)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StorageCorrupt(
            f"{name} was read, but it does not say whose folder this is: {error}. Put the file back, or leave "
            "this node out: it must not vote without its data.",
            name,
            0,
        ) from None


def _write_identity(files: Files, path: str, identity: Identity) -> None:
    """Written beside and renamed, so that there is always a whole one."""
    name = f"{path}/{_IDENTITY}"
    handle = files.open(name + ".new", create=True)
    try:
        files.pwritev(handle, [msgspec.json.format(msgspec.json.encode(identity)) + b"\n"], 0)
        durably(files.fsync, handle, name)
    finally:
        files.close(handle)
    files.rename(name + ".new", name)
    durably(files.fsync_dir, path, path)
