"""The cells of one replicated object, and who may change its live state.

A cell is a key and the encoded bytes of a part of the state: a field, an entry of a dict, a block of a list. The
cells are the truth: digests, snapshots and the way back after a failed command come from them alone. Live values
are what the cells decode to, kept as a cache.

Only a command changes state. It works on live values; the parts it touched are noted, and written to the cells
when it has succeeded, or read back from them when it has failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple, Protocol

from quorum.apps.leaves import Leaves
from quorum.errors import LocalProtocolError


class Write(NamedTuple):
    """One cell to be written: `data` None removes it, `anew` puts it behind all others by creation."""

    key: bytes
    data: bytes | None
    anew: bool = False


class Cells:
    """The cells of an object. `revision` counts writes and tells in which order cells were created."""

    def __init__(self) -> None:
        self.leaves = Leaves()
        self.revision = 0

    def get(self, key: bytes) -> bytes | None:
        """The bytes in a cell."""
        stored = self.leaves.get(key)
        return None if stored is None else stored.value

    def write(self, writes: list[Write]) -> None:
        """Write cells, in order."""
        leaves = self.leaves
        for key, data, anew in writes:
            if data is None or anew:
                leaves.delete(key)
            if data is not None:
                self.revision += 1
                leaves.put(key, data, self.revision)

    def of(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        """The keys of the cells of a field, without its prefix, and their bytes, in the order of creation."""
        prefix = prefix_of(name)
        cut = len(prefix)
        found = list(self.leaves.scan(prefix, prefix[:-1] + b"\1"))
        found.sort(key=lambda item: item[1].create_revision)
        for key, stored in found:
            yield key[cut:], stored.value


def prefix_of(name: str) -> bytes:
    """What the keys of the cells of a field begin with; names hold no zero."""
    return name.encode() + b"\0"


class Mode(Enum):
    """What is being done with an object."""

    IDLE = auto()
    READING = auto()
    WRITING = auto()


class Container(Protocol):
    """A live field whose parts have cells of their own."""

    def stage(self) -> list[Write]:
        """The writes that make the cells equal to the live state; nothing changes yet. Raises TypeError for a part
        of the wrong type, and whatever else an encoder raises."""
        ...

    def settle(self) -> None:
        """The staged writes are done: what is live is from now on what the cells decode to."""
        ...

    def revert(self) -> None:
        """Be again what the cells say."""
        ...

    def close(self) -> None:
        """Forget the copies that were handed out."""
        ...


class Access:
    """Of one object: what is being done with it, and which containers were touched."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.mode = Mode.IDLE
        self.changed: dict[int, Container] = {}
        self.opened: dict[int, Container] = {}

    def change(self, container: Container) -> None:
        """`container` is about to change. Raises LocalProtocolError unless a command is running."""
        if self.mode is not Mode.WRITING:
            raise not_writable(self.name, self.mode)
        self.changed[id(container)] = container

    def open(self, container: Container) -> bool:
        """A copy of a changeable value is handed out. Returns whether to keep it until the end."""
        if self.mode is Mode.IDLE:
            return False
        self.opened[id(container)] = container
        return True


def not_writable(name: str, mode: Mode) -> LocalProtocolError:
    """Why state may not be changed now."""
    if mode is Mode.READING:
        return LocalProtocolError(
            f"a query of {name} changes the state, but it runs on one node only, which would then differ from the "
            "others. Make it a @command."
        )
    return LocalProtocolError(
        f"the state of {name} was to be changed from outside, but replicas stay equal only if every change goes "
        "through the log. Change it in a @command."
    )
