"""What a replica remembers of its log: term and size of each entry, never the bytes."""

from __future__ import annotations


class ReplicaLog:
    """Terms and sizes of the entries after a base, the last entry that is compacted away.

    I1  indexes are dense: entry `base_index + 1 + i` has term `_terms[i]`.
    I2  terms never decrease along the log (Raft, section 5.3: log matching by induction).
    """

    __slots__ = ("_sizes", "_terms", "base_index", "base_term", "last_index", "last_term")

    def __init__(self, base_index: int = 0, base_term: int = 0) -> None:
        self._terms: list[int] = []
        self._sizes: list[int] = []
        self.base_index = self.last_index = base_index
        self.base_term = self.last_term = base_term

    def term(self, index: int) -> int | None:
        """The term of entry `index`; None where the log does not hold it (the base itself is known)."""
        place = index - self.base_index
        if place == 0:
            return self.base_term
        if 0 < place <= len(self._terms):
            return self._terms[place - 1]
        return None

    def append(self, term: int, size: int) -> int:
        """Add one entry of `size` bytes; return its index."""
        assert term >= self.last_term, "I2: a term went backwards along the log"
        self._terms.append(term)
        self._sizes.append(size)
        self.last_index += 1
        self.last_term = term
        return self.last_index

    def truncate(self, first: int) -> None:
        """Forget entry `first` and everything after it."""
        keep = first - self.base_index - 1
        assert keep >= 0, "compacted entries are committed and cannot be truncated"
        del self._terms[keep:]
        del self._sizes[keep:]
        self.last_index = self.base_index + keep
        self.last_term = self._terms[-1] if keep else self.base_term

    def compact(self, index: int) -> None:
        """Make `index` the new base; everything up to it is held by a snapshot."""
        term = self.term(index)
        assert term is not None, "only entries that are there can be compacted"
        drop = index - self.base_index
        del self._terms[:drop]
        del self._sizes[:drop]
        self.base_index, self.base_term = index, term

    def reset(self, index: int, term: int) -> None:
        """Start again after a snapshot at `index`."""
        self._terms.clear()
        self._sizes.clear()
        self.base_index = self.last_index = index
        self.base_term = self.last_term = term

    def size(self, first: int, last: int) -> int:
        """Bytes of entries `first` to `last`."""
        base = self.base_index + 1
        return sum(self._sizes[first - base : last - base + 1])

    def extent(self, first: int, bytes_max: int, entries_max: int) -> tuple[int, int]:
        """The last entry of a message that begins at `first`, and its bytes: at least one entry, then as many
        as both limits allow."""
        place = first - self.base_index - 1
        stop = min(len(self._sizes), place + entries_max)
        total = self._sizes[place]
        place += 1
        while place < stop and total + self._sizes[place] <= bytes_max:
            total += self._sizes[place]
            place += 1
        return self.base_index + place, total

    def last_not_after(self, index: int, term: int) -> int:
        """The largest index up to `index` whose term is at most `term`: where two logs may still agree.

        This is the fast conflict back-tracking of Raft, end of section 5.3.
        """
        index = min(index, self.last_index)
        while index > self.base_index and self._terms[index - self.base_index - 1] > term:
            index -= 1
        return index
