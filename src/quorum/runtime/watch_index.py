"""Who watches which keys: watches by key and by range, grouped so that one encoding serves all of a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from quorum.apps.kv_watch import Interest
from quorum.runtime.watch_ranges import Ranges

if TYPE_CHECKING:
    from quorum.runtime.watch_reader import Reader

_ENCODE = msgspec.msgpack.Encoder().encode


class Group:
    """The watches of one connection that want the same of the same keys, by request.

    `floors` holds those that begin at a revision which was not reached when they came: nothing below is theirs.
    """

    __slots__ = (
        "_encoded",
        "deletes",
        "end",
        "floors",
        "index",
        "previous",
        "puts",
        "reader",
        "requests",
        "start",
    )

    def __init__(self, index: Index, reader: Reader, interest: Interest) -> None:
        self.index = index
        self.reader = reader
        self.start, self.end = interest.start, interest.end
        self.previous, self.puts, self.deletes = interest.previous, interest.puts, interest.deletes
        self.requests: dict[int, None] = {}
        self.floors: dict[int, int] = {}
        self._encoded: bytes | None = None

    def is_for(self, interest: Interest) -> bool:
        """Whether a watch with this interest in these keys belongs to it."""
        return (self.previous, self.puts, self.deletes) == (interest.previous, interest.puts, interest.deletes)

    def add(self, request: int, floor: int) -> None:
        """One more watch, which wants nothing below revision `floor`; 0: there is nothing below to come."""
        self.requests[request] = None
        self._encoded = None
        if floor:
            self.floors[request] = floor

    def discard(self, request: int) -> None:
        """One watch less."""
        del self.requests[request]
        self.floors.pop(request, None)
        self._encoded = None

    def encoded(self, revision: int) -> bytes | None:
        """The requests that want a change at `revision`, as msgpack; None if there are none. Revisions that are
        asked for never go back."""
        if self.floors:
            self.pass_floors(revision)
            if self.floors:
                wanting = [request for request in self.requests if request not in self.floors]
                return _ENCODE(wanting) if wanting else None
        if self._encoded is None:
            self._encoded = _ENCODE(list(self.requests))
        return self._encoded

    def pass_floors(self, revision: int) -> None:
        """Nothing below `revision` is to come any more."""
        for request in [request for request, floor in self.floors.items() if floor <= revision]:
            del self.floors[request]


Found: TypeAlias = "dict[Reader, list[Group]]"
"""Groups by connection. Shared: never to be written to."""


class Index:
    """Groups by the keys that they watch."""

    def __init__(self) -> None:
        self._keys: dict[bytes, Found] = {}
        self._ranges: Ranges[Found] = Ranges()

    def group(self, reader: Reader, interest: Interest) -> Group:
        """The group of these watches of this connection, made if there is none."""
        groups = self._found(interest).setdefault(reader, [])
        for group in groups:
            if group.is_for(interest):
                return group
        made = Group(self, reader, interest)
        groups.append(made)
        return made

    def remove(self, group: Group) -> None:
        """Forget a group."""
        interest = Interest(group.start, group.end)
        found = self._found(interest)
        found[group.reader].remove(group)
        if not found[group.reader]:
            del found[group.reader]
        if not found and interest.is_one_key:
            del self._keys[interest.start]
        elif not found:
            self._ranges.remove(interest.start, interest.end)

    def find(self, key: bytes) -> Found | None:
        """The groups that watch `key`."""
        found = self._keys.get(key)
        if not self._ranges:
            return found
        ranges = self._ranges.around(key)
        if not ranges:
            return found
        if found is None and len(ranges) == 1:
            return ranges[0]
        joined: Found = {}
        for each in ranges if found is None else (found, *ranges):
            for reader, groups in each.items():
                joined.setdefault(reader, []).extend(groups)
        return joined

    @property
    def is_empty(self) -> bool:
        return not self._keys and not self._ranges

    def readers(self) -> list[Reader]:
        """Every connection with a group here."""
        return list(dict.fromkeys(group.reader for group in self.groups()))

    def groups(self) -> list[Group]:
        """Every group."""
        every = (*self._keys.values(), *self._ranges.items())
        return [group for found in every for groups in found.values() for group in groups]

    def _found(self, interest: Interest) -> Found:
        if interest.is_one_key:
            return self._keys.setdefault(interest.start, {})
        found = self._ranges.get(interest.start, interest.end)
        if found is None:
            found = {}
            self._ranges.add(interest.start, interest.end, found)
        return found
