"""Which nodes of a cluster on one machine have begun: a node without data may begin if it never has.

A node that has lost its data must not vote again under its name; a node that is new may begin the cluster. On
one machine a file beside cluster.toml tells the two apart; on several, only the operator can.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from quorum.model import NodeId
from quorum.runtime.config import ClusterConfig
from quorum.runtime.folder import Identity

FIRST_RUNS_FILE = ".first-runs"


def has_run(data: Path) -> bool:
    """Whether a log was begun in a data folder: that node may have voted, and must not begin anew."""
    try:
        return msgspec.json.decode((data / "identity.json").read_bytes(), type=Identity).used
    except FileNotFoundError:
        return False
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return True  # unreadable is not new: the node itself will say what is wrong


class FirstRuns:
    """The file in `folder`: a line `begins NODE` before a node begins, `ran NODE` once its log is begun."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FIRST_RUNS_FILE

    def may_begin(self, cluster: ClusterConfig, node: NodeId, data: Path) -> bool:
        """Whether `node`, whose data would be in `data`, begins the cluster now; then that is written down."""
        if not cluster.is_loopback or has_run(data):
            return False
        with self._open() as (descriptor, lines):
            if f"ran {node}" in lines:
                return False
            others = (self._path.parent / member.id / "data" for member in cluster.members)
            if not lines and any(map(has_run, others)):
                return False  # another program began the cluster, and keeps its own account
            self._append(descriptor, f"begins {node}")
            return True

    def has_begun(self, node: NodeId) -> None:
        """The log of `node` is begun: if it is missing from now on, it is lost."""
        with self._open() as (descriptor, lines):
            if f"ran {node}" not in lines:
                self._append(descriptor, f"ran {node}")

    @contextmanager
    def _open(self) -> Iterator[tuple[int, list[str]]]:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with open(self._path, encoding="utf-8") as file:
                yield descriptor, file.read().splitlines()
        finally:
            os.close(descriptor)

    def _append(self, descriptor: int, line: str) -> None:
        os.write(descriptor, f"{line}\n".encode())
        os.fsync(descriptor)
