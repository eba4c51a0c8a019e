"""JSON that says one thing only: every reader of a document finds the same in it."""

from __future__ import annotations

import json
from typing import TypeVar

import msgspec

from quorum.entry import Buffer

T = TypeVar("T")


def read_once(decoder: msgspec.json.Decoder[T], text: Buffer | str) -> T:
    """What the decoder reads, if no object names a key twice: of two values readers choose as they like.

    Raises ValueError (msgspec.DecodeError among them) for what the decoder refuses, and for such an object.
    """
    read = decoder.decode(text)
    json.loads(text if isinstance(text, str) else bytes(text), object_pairs_hook=_keys_once)
    return read


def _keys_once(pairs: list[tuple[str, object]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"an object in it names {twice[:40]!r} twice")
