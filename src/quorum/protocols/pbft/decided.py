"""Which requests were decided of late, so that nobody has them ordered again for nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

NAMES_MAX = 65_536


class Decided:
    """Their names (`SignedRequest.name`). A node that was down, or got a state in place of blocks, knows fewer.

    I1  the newest NAMES_MAX are kept, no more.
    """

    __slots__ = ("_known", "_order")

    def __init__(self) -> None:
        self._known: set[bytes] = set()
        self._order: deque[bytes] = deque()

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, name: bytes) -> bool:
        return name in self._known

    def add(self, names: Iterable[bytes]) -> None:
        """A decided block holds these requests."""
        known, order = self._known, self._order
        for name in names:
            if name not in known:
                known.add(name)
                order.append(name)
        while len(order) > NAMES_MAX:
            known.remove(order.popleft())
