"""Signature checks that come back late: as on the threads of `runtime.verifying`, drawn from the seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from quorum.protocols.effects import Signed
from quorum.runtime.ports import Verifier
from quorum.runtime.verifying import IN_PLACE_MAX, THREADS

IN_PLACE: Final = (0, 2, IN_PLACE_MAX)
"""So many unknown signatures are checked at once. Drawn for each life of a node: simulated messages hold few."""


class LateVerifier:
    """runtime.ports.Verifier of one life of a node, in front of the one that knows what is right.

    Results of few unknown signatures come at once, as do those that are all known here. More at a time wait for
    one of two threads, which takes up to `late_us` for them: a batch begins after those before it, and may end
    before them. `later(delay_us, act)` calls back; `now_us()` is the world's time.
    """

    def __init__(
        self,
        checks: Verifier,
        random: Random,
        late_us: int,
        now_us: Callable[[], int],
        later: Callable[..., None],
    ) -> None:
        self._checks, self._random, self._late_us = checks, random, late_us
        self._now_us, self._later = now_us, later
        self._in_place = random.choice(IN_PLACE)
        self._free_us = [0] * THREADS
        self._known: set[Signed] = set()

    def verify(self, items: Sequence[Signed], done: Callable[[tuple[bool, ...]], None]) -> None:
        """Call `done` with a result for each, now or later."""
        unknown = [item for item in items if item not in self._known]
        if len(unknown) <= self._in_place:
            self._known.update(unknown)
            self._checks.verify(items, done)
            return
        now_us = self._now_us()
        thread = self._free_us.index(min(self._free_us))
        ends_us = max(now_us, self._free_us[thread]) + self._random.randrange(1, self._late_us + 1)
        self._free_us[thread] = ends_us
        self._later(ends_us - now_us, self._finish, tuple(items), done)

    def _finish(self, items: tuple[Signed, ...], done: Callable[[tuple[bool, ...]], None]) -> None:
        self._known.update(items)
        self._checks.verify(items, done)
