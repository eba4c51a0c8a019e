"""Ticks: a leader orders an empty entry when something waits to expire and no other entry moves log time.

Without them an idle cluster would keep every lease for ever. Nothing waits: no tick.
"""

from __future__ import annotations

from quorum.apps.log_clock import TICK_US_MAX
from quorum.runtime.ports import Application, Clock, Timers

TICK = "tick"
"""The driver's own timer; replicas never see it."""
TICK_US_MIN = 1_000
_NEVER_US = 1 << 62


class Ticks:
    """Decides when the next tick is due. At most one timer runs, and at most one tick is on its way."""

    def __init__(self, application: Application, timers: Timers, clock: Clock) -> None:
        self._application = application
        self._timers = timers
        self._clock = clock
        self._seen_index = 0
        self._due_us = _NEVER_US

    def arm(self, applied_index: int) -> None:
        """This node leads and has applied up to `applied_index`. Looks only once at each index: until the tick
        that was ordered is applied, another would tell nothing new."""
        if applied_index == self._seen_index:
            return
        self._seen_index = applied_index
        expires_in_us = self._application.expires_in_us
        if expires_in_us is None:
            return
        if self._application.expiry_failure is not None:
            expires_in_us = TICK_US_MAX  # it is due, and would be for ever
        delay_us = min(max(expires_in_us, TICK_US_MIN), TICK_US_MAX)
        due_us = self._clock.now_us() + delay_us
        if due_us < self._due_us:
            self._due_us = due_us
            self._timers.set(TICK, delay_us)

    def look_again(self) -> None:
        """A tick that was asked for may not have been ordered: `arm` looks once more at the same index."""
        self._seen_index = -1

    def fired(self) -> bool:
        """The timer ran out. Whether a tick is wanted: something still waits."""
        self._due_us = _NEVER_US
        return self._application.expires_in_us is not None
