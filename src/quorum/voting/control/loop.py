"""One tick after the other: gate, selector with a T bound, weighting among survivors, output, eviction.

Only whole numbers and float additions, multiplications and comparisons in a fixed order: nodes that are given the
same readings in the same order decide the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import msgspec

from quorum.errors import ConfigurationError
from quorum.voting.control.channels import Channel, Interval, Reading, check_channel, check_half_widths
from quorum.voting.control.degradation import Degradation, Stage
from quorum.voting.control.gate import Gate, GateState
from quorum.voting.control.trust import Hysteresis, Trust, TrustState, check_hysteresis
from quorum.voting.refused import Refused

SQUARE_MIN = 1e-300
"""An interval whose width has no larger square has no weight that a float can hold."""


class Decision(msgspec.Struct, frozen=True):
    """The output of a tick, and the interval that it lies in; None where `refused` says why. `used`: the channels
    that agree with it. `left_out`: why each other channel is not among them. `stage`: how many had to agree.
    `degraded`: whether that was with fewer than all channels."""

    tick: int
    value: float | None
    low: float | None
    high: float | None
    used: tuple[str, ...]
    left_out: dict[str, str]
    stage: str
    degraded: bool
    refused: str = ""

    def __bool__(self) -> bool:
        return self.value is not None


class LoopState(msgspec.Struct, frozen=True, array_like=True):
    """How many ticks were decided, and what gates and trusts remember, in the order of the channels."""

    ticks: int
    gates: tuple[GateState, ...]
    trusts: tuple[TrustState, ...]


class ControlLoop:
    """Decides each tick by the readings of its channels.

    The interval that comes out reaches from the lowest to the highest point on which K of the N channels agree
    (Marzullo's fault-tolerant intersection), K by `degradation`. T bound: N-K channels may be wrong, where K is
    more than half; then the interval holds the truth, and a point that some right channel holds for possible. With
    `precision` the value is the mean of those who agree, each by the inverse square of its half-width; else it is
    the middle value of them.

    I1  no average is formed before the bounded step.
    I2  a channel that is evicted decides nothing; it is compared with the output all the same.
    Raises ConfigurationError for channels that are named twice or cannot be read, and for several channels of
    numbers without a half-width.
    """

    def __init__(
        self,
        channels: Iterable[Channel],
        degradation: str,
        hysteresis: Hysteresis | None = None,
        precision: bool = False,
    ) -> None:
        self.channels = tuple(channels)
        names = [channel.name for channel in self.channels]
        for channel in self.channels:
            check_channel(channel)
        if len(set(names)) < len(names):
            raise ConfigurationError(
                "a control loop was given two channels of one name, but each is counted once. Rename one."
            )
        self.degradation = Degradation(degradation, len(names))
        check_half_widths(self.channels)
        self._hysteresis = hysteresis or Hysteresis()
        check_hysteresis(self._hysteresis)
        self._gates = [Gate(channel) for channel in self.channels]
        self._trust = [Trust(self._hysteresis) for _ in names]
        self._precision = precision
        self.ticks = 0

    def state(self) -> LoopState:
        """All that another loop of the same channels needs to go on where this one is."""
        gates = tuple(gate.state for gate in self._gates)
        return LoopState(self.ticks, gates, tuple(trust.state for trust in self._trust))

    def resume(self, state: LoopState) -> None:
        """Go on where a loop of the same channels was. Raises ConfigurationError for the state of another one."""
        if not len(state.gates) == len(state.trusts) == len(self.channels):
            raise ConfigurationError(
                f"a control loop of {len(self.channels)} channels was to go on from the state of one of "
                f"{len(state.gates)}, but each channel has a part of it. Give the state of the same loop."
            )
        self.ticks = state.ticks
        self._gates = [Gate(channel, each) for channel, each in zip(self.channels, state.gates, strict=True)]
        self._trust = [Trust(self._hysteresis, each) for each in state.trusts]

    @property
    def evicted(self) -> tuple[str, ...]:
        """The channels that decide nothing now."""
        return tuple(
            channel.name for channel, trust in zip(self.channels, self._trust, strict=True) if trust.is_out
        )

    def step(self, readings: Iterable[Reading], now_us: int, excused: Collection[str] = ()) -> Decision:
        """Decide the next tick at `now_us`, by at most one reading of each channel: the newest, and of several as
        new the first. Readings of other channels count for nothing. That an `excused` channel has no reading is
        not held against it: the tick was decided without waiting for all."""
        tick, self.ticks = self.ticks, self.ticks + 1
        newest: dict[str, Reading] = {}
        for reading in readings:
            known = newest.get(reading.channel)
            if known is None or reading.at_us > known.at_us:
                newest[reading.channel] = reading
        left_out: dict[str, str] = {}
        valid: dict[str, Interval] = {}
        for gate in self._gates:
            name = gate.channel.name
            found = gate.admit(newest.get(name), now_us)
            if isinstance(found, Refused):
                left_out[name] = found.reason
            else:
                valid[name] = found
        present = {name: interval for name, interval in valid.items() if name not in self.evicted}
        decision = self._decide(tick, present, left_out)
        self._judge(decision, valid, {name for name in excused if name not in newest})
        return decision

    def _decide(self, tick: int, present: dict[str, Interval], left_out: dict[str, str]) -> Decision:
        stage = self.degradation.stage_of(len(present))
        evicted = dict.fromkeys(self.evicted, "it is evicted")
        if isinstance(stage, Refused):
            return Decision(tick, None, None, None, (), evicted | left_out, "", True, stage.reason)
        found = agreement(tuple(present.values()), stage.agree)
        degraded = not self.degradation.is_full(stage, len(self.channels))
        if found is None:
            why = f"no {stage.agree} of {stage.channels} channels agree"
            return Decision(tick, None, None, None, (), evicted | left_out, str(stage), degraded, why)
        low, high = found
        used = {name: each for name, each in present.items() if each[0] <= high and each[1] >= low}
        far = {name: "it disagrees" for name in present if name not in used}
        value = min(high, max(low, self._value(tuple(used.values()), stage, found)))
        return Decision(tick, value, low, high, tuple(used), evicted | left_out | far, str(stage), degraded)

    def _value(self, used: Sequence[Interval], stage: Stage, found: Interval) -> float:
        if stage.outvoted < 0:
            return _middle(found)  # one may decide alone: nobody's word is more than the other's
        middles = sorted(map(_middle, used))
        squares = [(high - low) * (high - low) for low, high in used]
        if self._precision and min(squares) > SQUARE_MIN:
            total = weights = 0.0  # added one by one: `sum` rounds differently from one Python to the next
            for each, square in zip(used, squares, strict=True):
                weight = 1 / square
                total += weight * _middle(each)
                weights += weight
            return total / weights
        return middles[(len(middles) - 1) // 2] / 2 + middles[len(middles) // 2] / 2

    def _judge(self, decision: Decision, valid: dict[str, Interval], excused: Collection[str]) -> None:
        """Note how each channel did: an invalid reading is wrong, and one that disagrees with the output. Without
        an output nobody can tell who was wrong, and of who is excused there is nothing to tell. But those who are
        evicted come back by what all valid channels agree on: else a loop that evicted too many would never decide
        again."""
        output = None if decision.low is None or decision.high is None else (decision.low, decision.high)
        common = output or self._common(tuple(valid.values()))
        for channel, trust in zip(self.channels, self._trust, strict=True):
            interval = valid.get(channel.name)
            reference = common if trust.is_out else output
            if channel.name in excused:
                continue
            if interval is None:
                trust.saw(False)
            elif reference is not None:
                trust.saw(interval[0] <= reference[1] and interval[1] >= reference[0])

    def _common(self, valid: Sequence[Interval]) -> Interval | None:
        """What all valid channels agree on, the evicted ones among them."""
        stage = self.degradation.stage_of(len(valid))
        return None if isinstance(stage, Refused) else agreement(valid, stage.agree)


def agreement(intervals: Sequence[Interval], agree: int) -> Interval | None:
    """From the lowest to the highest point that `agree` intervals cover; None where no point is."""

    def depth(point: float) -> int:
        return sum(low <= point <= high for low, high in intervals)

    lows = [low for low, _ in intervals if depth(low) >= agree]
    highs = [high for _, high in intervals if depth(high) >= agree]
    return (min(lows), max(highs)) if lows and highs else None


def _middle(interval: Interval) -> float:
    low, high = interval
    return low + (high - low) / 2
