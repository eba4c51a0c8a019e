"""Watches of the key-value store as its clients see them: what one asks for, and the events that it is told.

A watch names keys by a range. One key is the range from itself up to the next key there could be, which is the
key and a zero byte behind it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from quorum.apps.kv import KEY_BYTES_MAX, Item
from quorum.apps.leaves import Change, Versioned
from quorum.entry import Buffer

REVISION_MAX = (1 << 63) - 1


class Interest(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """Which changes a watch wants: those of keys from `start` up to but without `end` (None: to the last), from
    `revision` on (0: from now on), that are puts, deletes, or either. With `previous` each event tells what was
    there before."""

    start: bytes
    end: bytes | None
    revision: int = 0
    previous: bool = False
    puts: bool = True
    deletes: bool = True

    @property
    def is_one_key(self) -> bool:
        return self.end == end_of_key(self.start)


class Event(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One change of a key: its new value, or None: it was removed. `previous` is what was there before, where that
    was asked for and something was."""

    key: bytes
    value: bytes | None
    revision: int
    create_revision: int
    version: int
    previous: Item | None = None

    @property
    def kind(self) -> Literal["put", "delete"]:
        return "delete" if self.value is None else "put"


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE_INTEREST = msgspec.msgpack.Decoder(Interest).decode


def end_of_key(key: bytes) -> bytes:
    """The `end` of the range that holds `key` alone."""
    return key + b"\0"


def encode_interest(interest: Interest) -> bytes:
    """What a Watch of the key-value store carries."""
    return _ENCODE(interest)


def decode_interest(body: Buffer) -> Interest:
    """The interest in a request. Raises msgspec.DecodeError if it is none."""
    return _DECODE_INTEREST(body)


def refusal_of_interest(interest: Interest) -> str | None:
    """Why such a watch cannot be; None if it can."""
    start, end = interest.start, interest.end
    if len(start) > KEY_BYTES_MAX or (end is not None and len(end) > KEY_BYTES_MAX + 1):
        size = max(len(start), len(end or b""))
        return f"a key of {size} bytes was to be watched, but {KEY_BYTES_MAX} are the most. Shorten it."
    if end is not None and end <= start:
        return "a range was to be watched whose end is not behind its start, so no key is in it. Swap them."
    if interest.is_one_key and not start:
        return "an empty key was to be watched, but there is none. Name one, or watch a range."
    if not interest.puts and not interest.deletes:
        return "neither puts nor deletes were to be watched, so nothing would be told. Choose one, or both."
    if not 0 <= interest.revision <= REVISION_MAX:
        return f"a watch was to begin at revision {interest.revision}. Give 0 (from now on) to {REVISION_MAX}."
    return None


def event_of(change: Change, with_previous: bool) -> Event:
    """A change as its watchers hear of it."""
    now, before = change.now, change.before
    previous = _item(change.key, before) if with_previous and before is not None else None
    value = None if now.version == 0 else now.value
    return Event(change.key, value, now.mod_revision, now.create_revision, now.version, previous)


def _item(key: bytes, stored: Versioned) -> Item:
    return Item(key, stored.value, stored.create_revision, stored.mod_revision, stored.version)
