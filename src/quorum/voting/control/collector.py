"""When a tick is decided: as soon as N-T channels answered, and at its deadline at the latest.

It never waits for all. How late ticks were, and how many had too few answers, is counted. Times in microseconds.
"""

from __future__ import annotations

from collections import deque

import msgspec

from quorum.errors import ConfigurationError
from quorum.voting.control.channels import Reading

KEPT = 1_024
"""So many ticks count for the percentiles."""


class Punctuality(msgspec.Struct, frozen=True):
    """Of all `ticks`: `missed` had fewer than N-T answers at their deadline. Of the last ones: how long after its
    beginning a tick was decided, and the jitter, how far apart two decisions were beyond or below the period."""

    ticks: int
    missed: int
    late_readings: int
    p50_us: int
    p99_us: int
    jitter_us: int


class Collector:
    """Gathers readings for one tick after the other. Ticks begin every `period_us` from `start_us` on."""

    def __init__(self, channels: int, faults: int, period_us: int, deadline_us: int, start_us: int = 0) -> None:
        if not 0 <= faults < channels or not 0 < deadline_us <= period_us:
            raise ConfigurationError(
                f"ticks of {period_us} us with a deadline of {deadline_us} us were asked for, of N={channels} and "
                f"T={faults}, but a deadline lies within its period, and T is below N. Correct that."
            )
        self._needed = channels - faults
        self._period_us, self._deadline_us, self._start_us = period_us, deadline_us, start_us
        self.tick = 0
        self._readings: dict[str, Reading] = {}
        self._took: deque[int] = deque(maxlen=KEPT)
        self._at: deque[int] = deque(maxlen=KEPT)
        self._missed = self._late = 0

    @property
    def began_us(self) -> int:
        """When the present tick began, or will."""
        return self._start_us + self.tick * self._period_us

    @property
    def due_us(self) -> int:
        """When the present tick is decided at the latest."""
        return self.began_us + self._deadline_us

    def add(self, reading: Reading, tick: int) -> None:
        """A reading for a tick; one for an earlier tick is late, and one for a later tick counts for nothing."""
        if tick == self.tick:
            self._readings[reading.channel] = reading
        elif tick < self.tick:
            self._late += 1

    def take(self, now_us: int) -> tuple[Reading, ...] | None:
        """The readings by which the present tick is decided now, in the order of their channels' names; None while
        it should wait. The next tick is the present one then."""
        if len(self._readings) < self._needed and now_us < self.due_us:
            return None
        self._missed += len(self._readings) < self._needed
        self._took.append(now_us - self.began_us)
        self._at.append(now_us)
        self.tick += 1
        taken, self._readings = self._readings, {}
        return tuple(taken[name] for name in sorted(taken))

    def punctuality(self) -> Punctuality:
        """What was counted so far."""
        took = sorted(self._took) or [0]
        apart = [
            abs(later - earlier - self._period_us)
            for earlier, later in zip(self._at, list(self._at)[1:], strict=False)
        ]
        return Punctuality(
            self.tick,
            self._missed,
            self._late,
            took[len(took) // 2],
            took[len(took) * 99 // 100],
            max(apart, default=0),
        )
