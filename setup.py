"""The build: pyproject.toml has everything but the compiled modules.

The modules below are plain Python, and run as such wherever they were not compiled. With mypyc and a C compiler at
hand they become one extension, which takes about a third of the CPU time. None of them defines a msgspec Struct:
compiled, a Struct loses its annotations, and with them its validation. QUORUM_PURE=1 leaves them as they are: for
development, where a compiled module would hide the edited source, and for tests that replace functions.
"""

from __future__ import annotations

import os
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError

COMPILED = (
    "entry",
    "apps/host",
    "apps/kv_store",
    "apps/log_clock",
    "apps/session",
    "systems/tally",
    "protocols/log",
    "protocols/raft/change",
    "protocols/raft/election",
    "protocols/raft/follower",
    "protocols/raft/lease",
    "protocols/raft/progress",
    "protocols/raft/reads",
    "protocols/raft/replica",
    "protocols/raft/replication",
    "protocols/raft/sending",
    "protocols/raft/state",
    "protocols/raft/transfer",
    "runtime/batches",
    "runtime/change_checks",
    "runtime/clock",
    "runtime/codec",
    "runtime/comparison",
    "runtime/connection",
    "runtime/disk_thread",
    "runtime/driver",
    "runtime/files",
    "runtime/gateway",
    "runtime/network",
    "runtime/node",
    "runtime/pending",
    "runtime/session",
    "runtime/session_window",
    "runtime/snapshot_keeper",
    "runtime/stragglers",
    "runtime/wal",
    "runtime/wal_index",
    "runtime/wal_records",
    "runtime/watch",
)


class OptionalBuild(build_ext):
    """Compiles if it can. A machine without a compiler gets the same package, only slower."""

    def run(self) -> None:
        try:
            super().run()
        except (BaseError, OSError) as error:
            print(f"quorum: not compiled ({error}); the pure Python modules are used", file=sys.stderr)
            self.extensions = []


def extensions() -> list[Extension]:
    """The compiled modules as extensions; none where that is not wanted or mypyc is missing."""
    if os.environ.get("QUORUM_PURE") == "1":
        return []
    try:
        from mypyc.build import mypycify
    except ImportError:
        print("quorum: mypyc is missing; the pure Python modules are used", file=sys.stderr)
        return []
    flags = ["--config-file=", "--ignore-missing-imports", "--python-version=3.11"]
    paths = [f"src/quorum/{name}.py" for name in COMPILED]
    return list(mypycify([*flags, *paths], opt_level="3", debug_level="0"))


setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuild})
