"""Where the entries of the log are: in the files, and the newest of them in memory."""

from __future__ import annotations

from array import array

_OFFSET_BITS = 32
_OFFSET_MASK = (1 << _OFFSET_BITS) - 1


class EntryIndex:
    """Segment, offset and payload size of the entries after `base`, in 12 bytes for each.

    I1  indexes are dense: entry `base + 1 + i` is at place `i`.
    I2  places in the files grow with the index, because an entry that is replaced cuts those after it.
    """

    __slots__ = ("_places", "_sizes", "base")

    def __init__(self, base: int = 0) -> None:
        self.base = base
        self._places = array("Q")
        self._sizes = array("I")

    @property
    def last(self) -> int:
        """The newest index; `base` when there is no entry."""
        return self.base + len(self._sizes)

    def append(self, segment: int, offset: int, size: int) -> None:
        self._places.append(segment << _OFFSET_BITS | offset)
        self._sizes.append(size)

    def extend(self, sizes: list[int]) -> None:
        """Append entries of which only the sizes are known yet."""
        self._places.frombytes(bytes(self._places.itemsize * len(sizes)))
        self._sizes.extend(sizes)

    def place(self, index: int) -> tuple[int, int]:
        """(segment, offset) of an entry that has been written."""
        place = self._places[index - self.base - 1]
        return place >> _OFFSET_BITS, place & _OFFSET_MASK

    def set_places(self, segment: int, entries: list[tuple[int, int]]) -> None:
        """Say where entries go, by index and offset; ignored for one that was cut in the meantime."""
        base, last, places, high_bits = self.base, self.last, self._places, segment << _OFFSET_BITS
        for index, offset in entries:
            if base < index <= last:
                places[index - base - 1] = high_bits | offset

    def size(self, index: int) -> int:
        return self._sizes[index - self.base - 1]

    def cut(self, first: int) -> None:
        """Forget entry `first` and all after it."""
        keep = max(0, first - self.base - 1)
        del self._places[keep:]
        del self._sizes[keep:]
        self.base = min(self.base, first - 1)

    def drop(self, first_kept: int) -> None:
        """Forget the entries below `first_kept`."""
        gone = min(first_kept, self.last + 1) - self.base - 1
        if gone > 0:
            del self._places[:gone]
            del self._sizes[:gone]
            self.base += gone

    def reset(self, base: int) -> None:
        """Begin again after `base`."""
        del self._places[:]
        del self._sizes[:]
        self.base = base


class TailCache:
    """The newest entries, always without a gap up to the end of the log, within a budget of bytes."""

    __slots__ = ("_bytes", "_bytes_max", "_entries", "first")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._entries: dict[int, bytes] = {}
        self.first = 1

    def get(self, index: int) -> bytes | None:
        return self._entries.get(index)

    def extend(self, first: int, entries: list[bytes]) -> None:
        """Append entries from index `first`."""
        self._entries.update(zip(range(first, first + len(entries)), entries))
        self._bytes += sum(map(len, entries))

    def cut(self, first: int, last: int) -> None:
        """Forget entries `first` to `last`, the end of the log."""
        for index in range(max(first, self.first), last + 1):
            self._bytes -= len(self._entries.pop(index))
        self.first = min(self.first, first)

    def evict(self, stored_last: int, base: int) -> None:
        """Keep the budget, and forget what is not in the log any more; only entries up to `stored_last`, which
        can be read from the files, may go."""
        while self.first <= stored_last and (self._bytes > self._bytes_max or self.first <= base):
            self._bytes -= len(self._entries.pop(self.first))
            self.first += 1

    def reset(self, base: int) -> None:
        """Forget everything; the next entry is `base + 1`."""
        self._entries.clear()
        self._bytes = 0
        self.first = base + 1
