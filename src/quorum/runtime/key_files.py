"""Files of keys and certificates: read with a bound, written for their owner alone, not overwritten by mistake."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from quorum.errors import ConfigurationError

FILE_BYTES_MAX = 1024 * 1024
_T = TypeVar("_T")


def parse(path: Path, what: str, parser: Callable[[bytes], _T]) -> _T:
    """What `parser` makes of a file. Raises ConfigurationError if that is not `what`."""
    try:
        return parser(read(path))
    except ConfigurationError:
        raise
    except (ValueError, RecursionError):
        raise ConfigurationError(
            f"{path} was to be {what}, but it cannot be read as one. Restore it from a backup, or issue it anew."
        ) from None


def read(path: Path) -> bytes:
    """All of a file of keys or certificates. Raises ConfigurationError if it cannot be read, or is too large."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(
            f"{path} is needed, but it cannot be read ({error.strerror}). Check the keys folder in node.toml, "
            "or make keys with `quorum init`."
        ) from None
    if len(data) > FILE_BYTES_MAX:
        raise ConfigurationError(
            f"{path} was to be a key or certificate, but it is larger than {FILE_BYTES_MAX} bytes. "
            "Restore it from a backup."
        )
    return data


def check_private(path: Path) -> None:
    """Raise ConfigurationError for a private key that is missing, or that other users can read."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigurationError(
            f"the private key {path} is needed, but it cannot be read ({error.strerror}). Check the keys folder "
            "in node.toml, or make keys with `quorum init`."
        ) from None
    if os.name == "posix" and mode & 0o077:
        raise ConfigurationError(
            f"the private key {path} was to be used, but its mode {mode:04o} lets other users at it. "
            f"Run: chmod 600 {path}"
        )


def make_private_folder(folder: Path) -> None:
    """A folder that others cannot look into. Raises ConfigurationError if it is open, or cannot be made."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(folder.stat().st_mode)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} was to hold keys, but it cannot be made ({error.strerror}). Choose another folder."
        ) from None
    if os.name == "posix" and mode & 0o077:
        raise ConfigurationError(
            f"{folder} was to hold keys, but its mode {mode:04o} lets other users in. Run: chmod 700 {folder}"
        )


def refuse_existing(*paths: Path) -> None:
    """Raise ConfigurationError if one of them is there."""
    for path in paths:
        if os.path.lexists(path):
            raise ConfigurationError(
                f"{path} was to be made, but it exists, and keys are never overwritten. "
                "Renew the certificate, or move the file away first."
            )


def write(path: Path, data: bytes, mode: int, *, replace: bool = False) -> None:
    """Write a file that has `mode` from the first byte on; with `replace`, beside and renamed."""
    target = path.with_name(f"{path.name}.{secrets.token_hex(4)}") if replace else path
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if replace:  # what is replaced is lost otherwise; a new file that a crash cuts short is made again
                file.flush()
                os.fsync(descriptor)
        if replace:
            target.replace(path)
            _sync_folder(path.parent)
    except OSError as error:
        if replace:
            target.unlink(missing_ok=True)  # who tries again and again on a full disk must not fill it up
        raise ConfigurationError(
            f"{path} was to be written, but that failed ({error.strerror}). Free space or choose another folder."
        ) from None


def _sync_folder(folder: Path) -> None:
    """The new name outlives a power cut, too; where folders cannot be synced, the system sees to it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, data: bytes) -> None:
    """Put a file that only its owner reads in place of the one before, durably. Raises ConfigurationError."""
    write(path, data, 0o600, replace=True)
