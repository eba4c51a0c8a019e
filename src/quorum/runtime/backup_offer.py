"""What a node answers to the request for a backup."""

from __future__ import annotations

import msgspec


class BackupOffer(msgspec.Struct, frozen=True, array_like=True):
    """A node says which snapshot to fetch."""

    index: int
    term: int
    size: int
    digest: bytes


encode_offer = msgspec.msgpack.Encoder().encode
decode_offer = msgspec.msgpack.Decoder(BackupOffer).decode
