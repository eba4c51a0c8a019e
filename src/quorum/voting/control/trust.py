"""Which channels take part: one that is wrong again and again is evicted, and comes back once it was right for
long enough, longer each time that it did not last."""

from __future__ import annotations

import msgspec

from quorum.errors import ConfigurationError


class Hysteresis(msgspec.Struct, frozen=True):
    """In ticks: evicted once wrong `out` times more than right (right ticks count down to 0, not below); back
    after `back` right ones in a row, twice as many with each return that did not last for `forgive`, up to
    `back_max`."""

    out: int = 3
    back: int = 10
    back_max: int = 1_000
    forgive: int = 1_000


def check_hysteresis(hysteresis: Hysteresis) -> None:
    """Raise ConfigurationError for counts that are none."""
    if min(hysteresis.out, hysteresis.back, hysteresis.forgive) < 1 or hysteresis.back_max < hysteresis.back:
        raise ConfigurationError(
            "a hysteresis was given to a control loop, but its counts must be 1 or more, and back_max no less "
            "than back. Correct them."
        )


class TrustState(msgspec.Struct, frozen=True, array_like=True):
    """Whether the channel is out; wrong and right ticks that count, right ones that are needed to come back (0: as
    many as usual), ticks since it came back, and how often it was evicted."""

    is_out: bool = False
    wrong: int = 0
    right: int = 0
    needed: int = 0
    since_back: int = 0
    evictions: int = 0


TRUSTED = TrustState()


class Trust:
    """Of one channel."""

    def __init__(self, hysteresis: Hysteresis, state: TrustState = TRUSTED) -> None:
        self._hysteresis = hysteresis
        self.is_out = state.is_out
        self._wrong, self._right = state.wrong, state.right
        self._needed = state.needed or hysteresis.back
        self._since_back, self._evictions = state.since_back, state.evictions

    @property
    def state(self) -> TrustState:
        """What a trust needs to go on where this one is."""
        counts = self._wrong, self._right, self._needed, self._since_back, self._evictions
        return TrustState(self.is_out, *counts)

    def saw(self, is_right: bool) -> None:
        """How it did in this tick."""
        if self.is_out:
            self._right = self._right + 1 if is_right else 0
            if self._right >= self._needed:
                self.is_out, self._wrong, self._since_back = False, 0, 0
            return
        self._since_back += 1
        if self._since_back >= self._hysteresis.forgive:
            self._needed = self._hysteresis.back
        self._wrong = max(0, self._wrong - 1) if is_right else self._wrong + 1
        if self._wrong >= self._hysteresis.out:
            self._evict()

    def _evict(self) -> None:
        has_returned = self._since_back < self._hysteresis.forgive and self._evictions > 0
        self._needed = min(self._hysteresis.back_max, 2 * self._needed) if has_returned else self._hysteresis.back
        self.is_out, self._right = True, 0
        self._evictions += 1
