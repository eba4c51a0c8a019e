"""How a snapshot of the key-value store begins."""

from __future__ import annotations

import msgspec

PLAIN_FORMAT, FORMAT = 2, 3


class StoreHead(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """First chunk of a snapshot; so many leaves follow, then the history, then so many chunks of leases and of
    what hangs on them."""

    format: int
    revision: int
    leaves: int
    newest_lease: int
    leases: int
    attached: int


class PlainHead(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """First chunk where there never was a lease, as it was before there were leases."""

    format: int
    revision: int
    leaves: int


_DECODE_PLAIN = msgspec.msgpack.Decoder(PlainHead).decode
_DECODE = msgspec.msgpack.Decoder(StoreHead).decode
_REMEDY = "Fetch another snapshot."


def read_head(data: bytes) -> StoreHead:
    """The head of a snapshot, of either format. Raises ValueError."""
    try:
        plain = _DECODE_PLAIN(data)
        if plain.format == PLAIN_FORMAT:
            return StoreHead(PLAIN_FORMAT, plain.revision, plain.leaves, 0, 0, 0)
        if plain.format == FORMAT:
            return _DECODE(data)
    except msgspec.DecodeError as error:
        raise ValueError(
            f"a key-value store was to be restored, but its head is damaged: {error}. {_REMEDY}"
        ) from None
    raise ValueError(f"a key-value store of format {plain.format} was to be restored by {FORMAT}. {_REMEDY}")
