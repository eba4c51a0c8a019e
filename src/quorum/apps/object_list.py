"""A list in the state of a replicated object, cut into blocks that have a cell each.

A change costs the blocks it touches: appending and assigning cost one, and so do inserting and removing anywhere,
beside what a list itself takes to move its elements. Where the blocks are cut follows from the history of changes,
is covered by the digest, and is kept in a cell.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from itertools import accumulate
from typing import Any, TypeVar

import msgspec

from quorum.apps.batch import check_nesting
from quorum.apps.object_cells import Access, Cells, Write, prefix_of
from quorum.apps.set_order import DEPTH_MAX, Plain
from quorum.apps.value_codec import ValueCodec

T = TypeVar("T")

BLOCK_ELEMENTS_MAX = 64
BLOCK_BYTES_MAX = 4096
"""A block of more than one element is cut above either bound."""
CUT_ELEMENTS = 48
CUT_BYTES = 3072
"""About what the pieces of a block hold then."""
FEW_ELEMENTS = 12
"""A block with fewer is joined with a neighbour that has room."""

_ENCODE = msgspec.msgpack.Encoder()
_DECODE_ORDER = msgspec.msgpack.Decoder(list[int])
_DECODE_SEALED = msgspec.msgpack.Decoder(list[msgspec.Raw])


class _Block:
    """`count` neighbouring elements, in a cell of `size` bytes when it was written last."""

    __slots__ = ("count", "number", "size")

    def __init__(self, number: int, count: int, size: int) -> None:
        self.number = number
        self.count = count
        self.size = size


class _Opened:
    """An element that was handed out, and the bytes it had (None: it is new)."""

    __slots__ = ("data", "value")

    def __init__(self, value: Any, data: bytes | None) -> None:
        self.value = value
        self.data = data


class StateList(Plain, MutableSequence[T]):
    """Behaves like a list, and notes what changes. `list(it)` and slices give plain ones.

    Elements that can be changed in place are kept as bytes, as the values of a `StateDict` are.
    """

    __slots__ = (
        "_access",
        "_before",
        "_behind",
        "_blocks",
        "_cells",
        "_element",
        "_first",
        "_items",
        "_kept",
        "_kept_next",
        "_name",
        "_next_number",
        "_opened",
        "_sealed",
        "_staged",
        "_starts",
        "_undo",
        "_whole",
    )

    def __init__(self, name: str, element: ValueCodec, whole: ValueCodec, cells: Cells, access: Access) -> None:
        self._name = name
        self._element = element
        self._whole = whole
        self._cells = cells
        self._access = access
        self._sealed = element.is_mutable
        self._items: list[Any] = []
        self._blocks: list[_Block] = []
        self._kept: list[_Block] = []
        self._kept_next = self._first = self._behind = 0
        self._starts: list[int] | None = None
        self.load()

    # What a list does.

    def __getitem__(self, index: Any) -> Any:
        if not self._sealed:
            return self._items[index]
        if isinstance(index, slice):
            return [self._look(at) for at in range(*index.indices(len(self._items)))]
        self._items[index]  # the IndexError of a list
        return self._look(index if index >= 0 else index + len(self._items))

    def __setitem__(self, index: Any, value: Any) -> None:
        if not isinstance(index, slice):
            self._items[index]
            at = index if index >= 0 else index + len(self._items)
            self._splice(at, at + 1, [value])
            return
        start, stop, step = index.indices(len(self._items))
        values = list(value)
        if step == 1:
            self._splice(start, max(start, stop), values)
            return
        places = range(start, stop, step)
        if len(places) != len(values):
            raise ValueError(
                f"attempt to assign sequence of size {len(values)} to extended slice of size {len(places)}"
            )
        for at, each in zip(places, values, strict=True):
            self._splice(at, at + 1, [each])

    def __delitem__(self, index: Any) -> None:
        if not isinstance(index, slice):
            self._items[index]
            at = index if index >= 0 else index + len(self._items)
            self._splice(at, at + 1, [])
            return
        start, stop, step = index.indices(len(self._items))
        if step == 1:
            self._splice(start, max(start, stop), [])
            return
        for at in sorted(range(start, stop, step), reverse=True):
            self._splice(at, at + 1, [])

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return super().__iter__() if self._sealed else iter(self._items)

    def __contains__(self, value: object) -> bool:
        return super().__contains__(value) if self._sealed else value in self._items

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, list | StateList) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: Iterable[T]) -> bool:
        return list(self) < list(other)

    def __gt__(self, other: Iterable[T]) -> bool:
        return list(self) > list(other)

    def __add__(self, other: Iterable[T]) -> list[T]:
        return [*self, *other]

    def __radd__(self, other: Iterable[T]) -> list[T]:
        return [*other, *self]

    def __mul__(self, times: int) -> list[T]:
        return list(self) * times

    __rmul__ = __mul__

    def __imul__(self, times: int) -> StateList[T]:
        self.replace(list(self) * times)
        return self

    def insert(self, index: int, value: T) -> None:
        start, _, _ = slice(index, None).indices(len(self._items))
        self._splice(start, start, [value])

    def append(self, value: T) -> None:
        self._splice(len(self._items), len(self._items), [value])

    def extend(self, values: Iterable[T]) -> None:
        self._splice(len(self._items), len(self._items), list(values))

    def clear(self) -> None:
        self._splice(0, len(self._items), [])

    def reverse(self) -> None:
        self.replace(list(self)[::-1])

    def sort(self, *, key: Callable[[T], Any] | None = None, reverse: bool = False) -> None:
        self.replace(sorted(self, key=key, reverse=reverse))  # type: ignore[type-var, arg-type]

    def copy(self) -> list[T]:
        return list(self)

    def plain(self) -> list[T]:
        return list(self)

    def __deepcopy__(self, memo: Any) -> list[T]:
        return [self._element.decode(self._element.encode(value)) for value in self]

    def replace(self, values: Iterable[T]) -> None:
        """Hold these elements, and no others."""
        self._splice(0, len(self._items), list(values))

    # Live elements and their blocks. What a command touches lies between the first `_first` blocks and the last
    # `_behind`; `_before` has what each touched block was.

    def _look(self, at: int) -> T:
        """The element at `at`, a copy of this command's or query's own."""
        item = self._items[at]
        if type(item) is _Opened:
            found: T = item.value
            return found
        value: T = self._element.decode(item)
        if self._access.open(self):
            self._items[at] = _Opened(value, item)
            place = self._block_at(at)
            self._opened[self._blocks[place]] = place
            self._touch(place, place)
        return value

    def _splice(self, start: int, stop: int, values: list[Any]) -> None:
        """Replace the elements from `start` up to but without `stop`."""
        if self._sealed:
            values = [_Opened(value, None) for value in values]
        else:
            exact = self._element.exact
            if exact is None or not all(type(value) is exact for value in values):
                values = [self._element.settle(value, self.where)[1] for value in values]
        if start == stop and not values:
            return
        self._access.change(self)
        self._undo.append((start, len(values), self._items[start:stop]))
        self._items[start:stop] = values
        if not self._blocks:
            self._blocks = [self._new_block(0)]
            self._starts = None
        self._resize(start, stop, len(values))

    def _resize(self, start: int, stop: int, added: int) -> None:
        """The block at `start` gets `added` elements; it and those behind it lose the ones up to `stop`."""
        starts = self._block_starts()
        first = last = self._block_at(start)
        has_empty = False
        while True:
            block = self._blocks[last]
            lost = max(0, min(stop, starts[last] + block.count) - max(start, starts[last]))
            self._before.setdefault(block, (block.count, block.size))
            block.count += (added if last == first else 0) - lost
            has_empty = has_empty or block.count == 0
            if last + 1 == len(self._blocks) or starts[last + 1] >= stop:
                break
            last += 1
        self._touch(first, last)
        if has_empty:
            self._blocks = [block for block in self._blocks if block.count]
        if has_empty or not (first == len(self._blocks) - 1 or (first == last and lost == added)):
            self._starts = None

    def _touch(self, first: int, last: int) -> None:
        self._first = min(self._first, first)
        self._behind = min(self._behind, len(self._blocks) - 1 - last)

    def _new_block(self, count: int) -> _Block:
        block = _Block(self._next_number, count, 0)
        self._next_number += 1
        self._before[block] = (0, 0)
        return block

    def _block_starts(self) -> list[int]:
        if self._starts is None:
            self._starts = [0, *accumulate([block.count for block in self._blocks[:-1]])]
        return self._starts

    def _block_at(self, index: int) -> int:
        """The place of the block that holds the element at `index`, or of the last."""
        return bisect_right(self._block_starts(), index) - 1

    @property
    def where(self) -> str:
        """Class and field, for messages."""
        return f"{self._access.name}.{self._name}"

    # Cells (object_cells.Container). The order of the blocks stands under the empty key.

    def load(self) -> None:
        """Be what the cells say. Raises ValueError if they say nothing of this type."""
        stored = dict(self._cells.of(self._name))
        items: list[Any] = []
        blocks: list[_Block] = []
        try:
            for number in _DECODE_ORDER.decode(stored.pop(b"", b"\x90")):
                data = stored.pop(_id(number))
                elements = self._decode(data)
                items += elements
                blocks.append(_Block(number, len(elements), len(data)))
        except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, KeyError) as error:
            raise ValueError(f"{self.where} was to be read, but a block of it is damaged: {error!r}") from None
        if stored or not all(block.count for block in blocks):
            raise ValueError(f"{self.where} was to be read, but a block of it is empty or left over")
        self._items = items
        self._blocks = blocks
        self._forget()

    def stage(self) -> list[Write]:
        writes: list[Write] = []
        first = max(0, self._first - 1)  # a neighbour on either side may be joined with
        behind = len(self._blocks) - max(0, self._behind - 1)
        start = self._block_starts()[first] if first < len(self._blocks) else 0
        blocks: list[_Block] = []
        touched = self._joined(self._blocks[first:behind])
        for block in touched:
            count = block.count
            if block in self._before or block in self._opened:
                blocks += self._stage_block(block, start, writes)
            else:
                blocks.append(block)
            start += count
        if blocks != self._blocks[first:behind]:
            self._blocks = [*self._blocks[:first], *blocks, *self._blocks[behind:]]
        if self._blocks is not self._kept:
            self._stage_order(writes)
        return writes

    def settle(self) -> None:
        for start, items in self._staged:
            self._items[start : start + len(items)] = items
        self._forget()

    def revert(self) -> None:
        for start, added, removed in reversed(self._undo):
            self._items[start : start + added] = removed
        for block, (count, size) in self._before.items():
            block.count, block.size = count, size
        self._blocks = self._kept
        self._starts = None
        self._seal({block: at for at, block in enumerate(self._blocks) if block in self._opened})
        self._forget()

    def close(self) -> None:
        self._seal(self._opened)
        self._forget()

    def _seal(self, opened: dict[_Block, int]) -> None:
        """Put the bytes back in the place of what was handed out from these blocks."""
        for block, at in opened.items():
            start = self._block_starts()[at]
            for place in range(start, start + block.count):
                item = self._items[place]
                if type(item) is _Opened:
                    self._items[place] = item.data

    def _forget(self) -> None:
        """Nothing is touched any more: what is live is what the cells say."""
        if self._blocks is not self._kept:
            self._kept = self._blocks
            self._kept_next = max([block.number for block in self._blocks], default=-1) + 1
            self._starts = None
        self._next_number = self._kept_next
        self._undo: list[tuple[int, int, list[Any]]] = []
        self._before: dict[_Block, tuple[int, int]] = {}
        self._opened: dict[_Block, int] = {}
        self._staged: list[tuple[int, list[Any]]] = []
        self._first = self._behind = len(self._blocks)

    def _decode(self, data: bytes) -> list[Any]:
        if not self._sealed:
            found: list[Any] = self._whole.decode(data)
            return found
        check_nesting(data, DEPTH_MAX + 1)
        elements = [bytes(raw) for raw in _DECODE_SEALED.decode(data)]
        for element in elements:
            self._element.decode(element)
        return elements

    def _joined(self, blocks: list[_Block]) -> list[_Block]:
        """These blocks, small ones joined with a neighbour if the command touched either."""
        joined: list[_Block] = []
        for block in blocks:
            before = joined[-1] if joined else None
            if before is not None and (block in self._before or before in self._before) and _fit(before, block):
                self._before.setdefault(before, (before.count, before.size))
                before.count += block.count
            else:
                joined.append(block)
        return joined

    def _stage_block(self, block: _Block, start: int, writes: list[Write]) -> list[_Block]:
        """Stage a touched block, in pieces where it is too large; return the pieces."""
        items = self._items[start : start + block.count]
        if self._sealed:
            items = [self._sealed_bytes(item) for item in items]
            self._staged.append((start, items))
        data = self._encoded(items)
        pieces = [block]
        if block.count > 1 and (block.count > BLOCK_ELEMENTS_MAX or len(data) > BLOCK_BYTES_MAX):
            each = max(1, min(CUT_ELEMENTS, block.count * CUT_BYTES // len(data)))
            pieces += [self._new_block(len(items[at : at + each])) for at in range(each, len(items), each)]
            self._before.setdefault(block, (block.count, block.size))
            block.count = each
        at = 0
        for piece in pieces:
            if len(pieces) > 1:
                data = self._encoded(items[at : at + piece.count])
            self._before.setdefault(piece, (piece.count, piece.size))
            piece.size = len(data)
            at += piece.count
            cell = prefix_of(self._name) + _id(piece.number)
            if self._cells.get(cell) != data:
                writes.append(Write(cell, data))
        return pieces

    def _stage_order(self, writes: list[Write]) -> None:
        numbers = [block.number for block in self._blocks]
        present = set(numbers)
        prefix = prefix_of(self._name)
        writes += [Write(prefix + _id(block.number), None) for block in self._kept if block.number not in present]
        writes.append(Write(prefix, _ENCODE.encode(numbers)))

    def _encoded(self, items: list[Any]) -> bytes:
        return _ENCODE.encode([msgspec.Raw(item) for item in items]) if self._sealed else self._whole.encode(items)

    def _sealed_bytes(self, item: Any) -> bytes:
        data: bytes = self._element.settle(item.value, self.where)[0] if type(item) is _Opened else item
        return data


def _id(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _fit(one: _Block, other: _Block) -> bool:
    """Whether two neighbours should be one block: one of them has become small, and there is room."""
    return (
        min(one.count, other.count) < FEW_ELEMENTS
        and one.count + other.count <= CUT_ELEMENTS
        and one.size + other.size <= CUT_BYTES
    )
