"""The validity gate: whether a reading may take part in a tick, before anybody compares it with others."""

from __future__ import annotations

import msgspec

from quorum.voting.control.channels import Channel, Interval, Reading, Value, interval_of
from quorum.voting.refused import Refused

SECOND_US = 1_000_000


class GateState(msgspec.Struct, frozen=True, array_like=True):
    """The reading before (its time and the middle of its interval), what was the same, and in how many ticks."""

    before: tuple[int, float] | None = None
    same: Value | None = None
    times: int = 0


BEGINNING = GateState()


class Gate:
    """Of one channel. Remembers the reading before, for its rate, and for how long it has been the same."""

    def __init__(self, channel: Channel, state: GateState = BEGINNING) -> None:
        self.channel = channel
        self._before, self._same, self._times = state.before, state.same, state.times

    @property
    def state(self) -> GateState:
        """What a gate needs to go on where this one is."""
        return GateState(self._before, self._same, self._times)

    def admit(self, reading: Reading | None, now_us: int) -> Interval | Refused:
        """The interval of a valid reading, or why it is not valid. Asked once in each tick."""
        if reading is None:
            return Refused("it did not answer")
        interval = interval_of(self.channel, reading.value)
        if isinstance(interval, Refused):
            return interval
        flaw = self._too_old(reading, now_us) or self._out_of_range(interval)
        flaw = self._too_fast(reading, interval) or flaw
        flaw = self._stuck(reading) or flaw
        return Refused(flaw) if flaw else interval

    def _too_old(self, reading: Reading, now_us: int) -> str:
        age_us = now_us - reading.at_us
        if self.channel.age_us and age_us > self.channel.age_us:
            return f"it is {age_us} us old"
        return "it is from the future" if self.channel.age_us and -age_us > self.channel.age_us else ""

    def _out_of_range(self, interval: Interval) -> str:
        middle = _middle(interval)
        low, high = self.channel.low, self.channel.high
        is_in = (low is None or middle >= low) and (high is None or middle <= high)
        return "" if is_in else "it is out of range"

    def _too_fast(self, reading: Reading, interval: Interval) -> str:
        """A step that is too fast is told once: what comes after it is measured from there."""
        before, self._before = self._before, (reading.at_us, _middle(interval))
        if not self.channel.rate or before is None or reading.at_us <= before[0]:
            return ""
        allowed = self.channel.rate * (reading.at_us - before[0]) / SECOND_US
        return "it changed too fast" if abs(_middle(interval) - before[1]) > allowed else ""

    def _stuck(self, reading: Reading) -> str:
        self._times = self._times + 1 if reading.value == self._same else 0
        self._same = reading.value
        stuck = self.channel.stuck_ticks
        return f"it is stuck since {self._times} ticks" if stuck and self._times >= stuck else ""


def _middle(interval: Interval) -> float:
    low, high = interval
    return low + (high - low) / 2
