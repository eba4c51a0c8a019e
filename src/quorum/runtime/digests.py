"""Digests of the state, computed a little in each round: hashing a large state at once would stop the node."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from quorum.runtime.ports import Clock

SLICE_US = 2_000
"""A round works about so long on them."""
PENDING_MAX = 8
"""Each pins a state. Where so many wait, they are computed at once."""

Done = Callable[[int, bytes], None]


class Digests:
    """What is asked for, in order."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pending: deque[tuple[int, Iterator[bytes], Done]] = deque()

    @property
    def pending(self) -> int:
        """How many are not computed yet."""
        return len(self._pending)

    def add(self, index: int, slices: Iterator[bytes], done: Done) -> None:
        """Compute the digest of the state at entry `index`, then call `done` with both."""
        while len(self._pending) >= PENDING_MAX:
            self._advance(None)
        self._pending.append((index, slices, done))

    def advance(self) -> bool:
        """Work for a while, on one slice at least; returns whether some is left."""
        until_us = self._clock.now_us() + SLICE_US
        while self._pending:
            self._advance(until_us)
            if self._clock.now_us() > until_us:
                break
        return bool(self._pending)

    def _advance(self, until_us: int | None) -> None:
        """Work on the oldest, until it is done or the time is over (None: until it is done)."""
        index, slices, done = self._pending[0]
        for digest in slices:
            if digest:
                self._pending.popleft()
                done(index, digest)
                return
            if until_us is not None and self._clock.now_us() > until_us:
                return
        raise AssertionError(f"the slices of the state at {index} ended without a digest")
