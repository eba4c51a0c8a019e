"""How far a watch of keys has come: it goes on at the next connection without a gap, and repeats nothing."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from quorum.apps.catalogue import KV_APP
from quorum.apps.kv_watch import Event, Interest, encode_interest
from quorum.errors import RemoteProtocolError

Changes = Sequence[tuple[list[int], Event]]
_DECODE_CHANGES: msgspec.msgpack.Decoder[Changes] = msgspec.msgpack.Decoder(list[tuple[list[int], Event]])


class KeyWatch:
    """One watch of keys, in a session. `request` is its number on the present connection, 0 if it is not asked
    for.

    Everything up to revision `through` was told (-1: it begins now, wherever that is), and of the revision behind
    it the first `partial` events. Of these `again` will come once more, since a revision is asked for as a whole.
    """

    __slots__ = ("again", "handle", "interest", "is_paused", "partial", "request", "through")
    app = KV_APP

    def __init__(self, handle: int, interest: Interest) -> None:
        self.handle = handle
        self.interest = interest
        self.request = 0
        self.is_paused = False
        self.through = interest.revision - 1
        self.partial = self.again = 0

    def asks(self) -> bytes:
        """What to ask the next node for."""
        self.again = self.partial
        wanted = self.interest
        if wanted.revision != self.through + 1:
            wanted = msgspec.structs.replace(wanted, revision=self.through + 1)
        return encode_interest(wanted)

    def told_up_to(self, revision: int) -> None:
        """Everything up to `revision` was told."""
        if revision > self.through:
            self.through, self.partial = revision, 0

    def take_part(self, revision: int, through: int) -> bool:
        """Take an event of a revision that comes in several messages, the present of which ends with `through`, or
        came so before. False if it was told already."""
        is_known = revision == self.through + 1
        if not is_known:
            self.partial = self.again = 0
        is_new = not self.again
        if is_new:
            self.partial += 1
        else:
            self.again -= 1
        if revision > through:
            self.through = revision - 1
        elif not self.again:
            self.through, self.partial = through, 0
        return is_new


def decode_changes(body: bytes) -> Changes:
    """What a Changed carries. Raises RemoteProtocolError if it cannot be read."""
    try:
        return _DECODE_CHANGES.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        what = f"sent changes of keys that are none ({type(error).__name__}). Run compatible versions."
        raise RemoteProtocolError("a node", what) from None
