"""Documents as commands read and write them: certificates, proofs, evidence, transactions.

What is read is bounded, and what is written is there as a whole, or as it was.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from quorum.errors import ConfigurationError


def read_bounded(
    path: Path | None, bytes_max: int, what: str, too_large: str = "Give the file as it was written."
) -> bytes:
    """The content of a file, or of standard input (None), that has `bytes_max` bytes at most. Raises
    ConfigurationError for one that has more, or that cannot be read. `what` says what it should be, `too_large`
    what to do about one that is."""
    where = "standard input" if path is None else path
    try:
        if path is None:
            data = sys.stdin.buffer.read(bytes_max + 1)
        else:
            with path.open("rb") as source:
                data = source.read(bytes_max + 1)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{what} was to be read from {where}, but that failed: {_reason(error)}. Name a file that is there."
        ) from None
    if len(data) > bytes_max:
        raise ConfigurationError(
            f"{what} was to be read from {where}, but it has more than the {bytes_max} bytes allowed. {too_large}"
        )
    return data


def write_whole(
    path: Path, data: bytes, what: str, remedy: str = "Name another file.", *, with_folder: bool = False
) -> None:
    """Write a file so that it is there as a whole, or as it was; `with_folder` makes its folder, too. Raises
    ConfigurationError where that fails. `what` says what is written, `remedy` what to do then."""
    try:
        if with_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # a pipe or a device takes what is written, and is not replaced
            path.write_bytes(data)
        else:
            _replace(Path(os.path.realpath(path)), data)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{what} was to be written to {path}, but that failed: {_reason(error)}. {remedy}"
        ) from None


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with beside.open("wb") as target:
            target.write(data)
            target.flush()
            os.fsync(target.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _reason(error: OSError | ValueError) -> str:
    return ((isinstance(error, OSError) and error.strerror) or str(error)).lower()
