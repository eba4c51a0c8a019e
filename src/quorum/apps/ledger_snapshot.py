"""A ledger's snapshot: its head, the application's state in slices, then its blocks, oldest first."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec

from quorum.apps.ledger_chain import KeptBlock, LedgerChain
from quorum.apps.ledger_map import AuthenticatedMap, map_of
from quorum.apps.pieces import SLICE_BYTES as WORK_BYTES
from quorum.apps.pieces import digests_of, rendered

SLICE_BYTES = 60 * 1024
SLICE_KEYS = 1_024
_LOOK_BYTES = 50
"""To look up what is known counts as much as to work on so many bytes."""


class _Head(msgspec.Struct, frozen=True, array_like=True, tag=1, forbid_unknown_fields=True):
    number: int
    head: bytes
    state_root: bytes
    keys: int
    blocks: int


class _Slice(msgspec.Struct, frozen=True, array_like=True, tag=2, forbid_unknown_fields=True):
    items: list[tuple[bytes, bytes]]


class _Block(msgspec.Struct, frozen=True, array_like=True, tag=3, forbid_unknown_fields=True):
    block: KeptBlock


_Chunk: TypeAlias = _Head | _Slice | _Block
_ENCODE = msgspec.msgpack.Encoder()
_DECODE: msgspec.msgpack.Decoder[_Chunk] = msgspec.msgpack.Decoder(_Chunk)


def write(chain: LedgerChain, state: AuthenticatedMap) -> Iterator[bytes]:
    """Pin a ledger as it is now; return its chunks."""
    blocks = list(chain.blocks())
    return itertools.chain(_state_chunks(chain, state, len(blocks)), map(_block_chunk, blocks))


class BlockDigests:
    """The digests of the chunks of blocks that `digests` came across: a block never changes."""

    def __init__(self) -> None:
        self._known: dict[int, bytes] = {}

    def digests(self, chain: LedgerChain, state: AuthenticatedMap) -> Iterator[bytes]:
        """Pin a ledger as it is now; return the digests of the chunks that `write` would give, and b"" after each
        slice of work. All calls must be about one chain, as it goes on."""
        blocks = list(chain.blocks())
        first = chain.first
        for number in list(itertools.takewhile(lambda number: number < first, self._known)):
            del self._known[number]  # they were forgotten; the dict has them in order, but for a few
        return itertools.chain(rendered(_state_chunks(chain, state, len(blocks))), self._of_blocks(blocks))

    def _of_blocks(self, blocks: list[KeptBlock]) -> Iterator[bytes]:
        worked = 0
        for block in blocks:
            number = block.header.number
            told = self._known.get(number)
            if told is None:
                chunk = _block_chunk(block)
                told = self._known[number] = digests_of(chunk)
                worked += len(chunk)
            yield told
            worked += _LOOK_BYTES
            if worked >= WORK_BYTES:
                worked = 0
                yield b""


def _block_chunk(block: KeptBlock) -> bytes:
    return _ENCODE.encode(_Block(block))


def _state_chunks(chain: LedgerChain, state: AuthenticatedMap, blocks: int) -> Iterator[bytes]:
    return _chunks(_Head(chain.number, chain.head, state.root, len(state), blocks), state)


def _chunks(head: _Head, state: AuthenticatedMap) -> Iterator[bytes]:
    yield _ENCODE.encode(head)
    items: list[tuple[bytes, bytes]] = []
    size = 0
    for key, value in state.items():
        items.append((key, value))
        size += len(key) + len(value)
        if size >= SLICE_BYTES or len(items) >= SLICE_KEYS:
            yield _ENCODE.encode(_Slice(items))
            items, size = [], 0
    if items:
        yield _ENCODE.encode(_Slice(items))


def read(chunks: Iterable[bytes], chain: LedgerChain) -> AuthenticatedMap | None:
    """Load a ledger into `chain`; return its application's state, or None where there is no chunk at all.

    Raises ValueError, nothing changed, for chunks that `write` did not make: every root is computed anew.
    """
    rest = map(_decoded, chunks)
    head = next(rest, None)
    if head is None:
        return None
    if not isinstance(head, _Head):
        raise _damaged("it does not begin with its head")
    items: list[tuple[bytes, bytes]] = []
    blocks: list[KeptBlock] = []
    for chunk in rest:
        if isinstance(chunk, _Slice) and not blocks:
            items += chunk.items
        elif isinstance(chunk, _Block):
            blocks.append(chunk.block)
        else:
            raise _damaged("its parts are out of order")
    if (len(items), len(blocks)) != (head.keys, head.blocks):
        raise _damaged("a part of it is missing")
    state = map_of(items)
    if state.root != head.state_root or (blocks and blocks[-1].header.state_root != state.root):
        raise _damaged("its application's state has another root")
    chain.load(head.number, head.head, blocks)
    return state


def _decoded(chunk: bytes) -> _Chunk:
    try:
        return _DECODE.decode(chunk)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(f"a chunk cannot be read ({error})") from None


def _damaged(what: str) -> ValueError:
    return ValueError(f"a ledger was to be restored, but {what}. Fetch another snapshot.")
