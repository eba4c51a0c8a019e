"""The ticks of one replicated control loop: what waits to be decided, when a tick is decided, and by what.

Everything here is a function of the committed reports and dues, in their order.
"""

from __future__ import annotations

from collections.abc import Collection
from math import isfinite

import msgspec

from quorum.apps.batch import Refused
from quorum.apps.control import (
    AHEAD_TICKS,
    CHANNELS_MAX,
    CLASS_BYTES_MAX,
    ITEMS_MAX,
    NAME_BYTES_MAX,
    NUMBER_MAX,
    TICK_MAX,
    ChannelSpec,
    Decided,
    LoopSpec,
    Measured,
    Value,
    channel_of,
    hysteresis_of,
    reading_of,
)
from quorum.errors import ConfigurationError
from quorum.header import Header
from quorum.voting.control.degradation import Degradation, Stage
from quorum.voting.control.loop import ControlLoop, LoopState


class TicksState(msgspec.Struct, frozen=True, array_like=True):
    """All that another replica needs to go on. `waiting`: of each channel the ticks it reported that are not
    decided, when it measured and what; `dues`: of each owner the ticks that it said are due. Both are in the order
    in which they came."""

    newest: int
    decided: int
    passed: int
    late: int
    loop: LoopState
    waiting: list[list[tuple[int, int, Value]]]
    dues: list[tuple[str, list[int]]]


class Ticks:
    """Of one loop. Raises ConfigurationError for a loop that cannot be (`check_spec` finds what is left), or the
    state of another one.

    I1  ticks are decided in ascending order, each once at most.
    I2  what waits is of ticks behind the newest decided one, AHEAD_TICKS at most of each channel and owner.
    """

    def __init__(self, spec: LoopSpec, state: TicksState | None = None) -> None:
        self.spec = spec
        channels = [channel_of(each) for each in spec.channels]
        self._loop = ControlLoop(channels, spec.degradation, hysteresis_of(spec), spec.precision)
        _check_outvoting(spec, self._loop.degradation)
        self._names = [each.name for each in spec.channels]
        self._places = {each.name: at for at, each in enumerate(spec.channels)}
        self._owners = [each.owner for each in spec.channels]
        self.newest, self.decided, self.passed, self.late = -1, 0, 0, 0
        self._waiting: list[dict[int, tuple[int, Value]]] = [{} for _ in channels]
        self._dues: dict[str, dict[int, None]] = {owner: {} for owner in sorted(set(self._owners))}
        if state is not None:
            self._resume(state)

    @property
    def state(self) -> TicksState:
        """What `Ticks` takes to go on where this is."""
        waiting = [[(tick, *found) for tick, found in each.items()] for each in self._waiting]
        dues = [(owner, list(ticks)) for owner, ticks in self._dues.items()]
        return TicksState(self.newest, self.decided, self.passed, self.late, self._loop.state(), waiting, dues)

    @property
    def evicted(self) -> tuple[str, ...]:
        """The channels that decide nothing now."""
        return self._loop.evicted

    def refusal_of(self, tick: int, readings: list[Measured], caller: str) -> Refused | None:
        """Why a report is not taken; None if it may be."""
        if not 0 <= tick <= TICK_MAX:
            return _no_tick(tick)
        if not 0 < len(readings) <= len(self._places):
            text = f"{len(readings)} readings were reported, but the loop has {len(self._places)} channels. "
            return Refused("readings", text + "Report each of your channels once.")
        for each in readings:
            place = self._places.get(each.channel)
            if place is None:
                text = f"channel {each.channel[:40]!r} was reported, but the loop has none of that name. "
                return Refused("channel", text + "See which it has.")
            if self._owners[place] not in ("", caller):
                text = f"channel {each.channel[:40]!r} was reported by {caller[:80] or 'nobody known'}, but "
                return Refused("owner", text + f"{self._owners[place][:80]} owns it. Report your own.")
            if not -TICK_MAX <= each.at_us <= TICK_MAX or not is_bounded(each.value):
                text = f"channel {each.channel[:40]!r} was reported with a number that is not finite, or beyond "
                text += f"{NUMBER_MAX:g}, or with more than {ITEMS_MAX} of them. "
                return Refused("value", text + "Leave a channel out that has nothing to say.")
        return None

    def report(self, tick: int, readings: list[Measured]) -> int:
        """Keep readings that `refusal_of` let pass until their tick is decided. Returns how many are kept."""
        if tick <= self.newest:
            self.late += len(readings)
            return 0
        taken = 0
        for each in readings:
            place = self._places[each.channel]
            if tick not in self._waiting[place]:
                _make_room(self._waiting[place])
                self._waiting[place][tick] = (each.at_us, self._kept_value(place, each.value))
                taken += 1
        return taken

    def _kept_value(self, place: int, value: Value) -> Value:
        """What is kept of a reading: classes in the order of their names; of those that the channel has none of,
        only that there were such, since they are invalid however many they are and whatever they are called."""
        if not isinstance(value, dict):
            return value
        channel = self.spec.channels[place]
        if channel.kind != "classes":
            return {}
        return dict(sorted(value.items())) if value.keys() <= channel.classes.keys() else []

    def due(self, tick: int, caller: str) -> Refused | None:
        """The sender says that a tick is due."""
        if not 0 <= tick <= TICK_MAX:
            return _no_tick(tick)
        owner = caller if caller in self._dues else ""
        if owner not in self._dues:
            text = (
                f"a tick was said to be due by {caller[:80] or 'nobody known'}, but only those who own a channel "
            )
            return Refused("owner", text + "of the loop say so. Declare the loop with a channel of yours.")
        ticks = self._dues[owner]
        if tick > self.newest and tick not in ticks:
            _make_room(ticks)
            ticks[tick] = None
        return None

    def decide(self, tick: int, header: Header) -> Decided | None:
        """The decision of a tick, if this entry is where it is taken."""
        if tick <= self.newest:
            return None
        reported = [at for at, waiting in enumerate(self._waiting) if tick in waiting]
        names = self._names
        is_due = not self._is_enough([names[at] for at in reported])
        if is_due and not self._is_due(tick, reported):
            return None
        readings = [reading_of(names[at], *self._waiting[at][tick]) for at in reported]
        self._loop.ticks = tick
        at_us = self.spec.start_us + tick * self.spec.period_us
        found = self._loop.step(readings, at_us, names)  # silence may be the network's: it is not held against any
        self.passed += tick - self.newest - 1 if self.decided else 0
        newest_before, self.newest, self.decided = self.newest, tick, self.decided + 1
        self._forget()
        self._check_invariants(newest_before)
        return Decided(
            tick,
            header.index,
            header.time_us,
            len(reported),
            is_due,
            found.value,
            found.low,
            found.high,
            found.used,
            found.left_out,
            found.stage,
            found.degraded,
            found.refused,
        )

    def _is_enough(self, reported: list[str]) -> bool:
        """Whether N-T channels have reported. Evicted ones are not waited for, and count among the T: else a liar
        that is out would take the place of somebody whose word decides. More than T of them: all count."""
        needed = len(self._places) - self.spec.faults
        if len(reported) < needed:
            return False
        evicted = self._loop.evicted
        if len(evicted) <= self.spec.faults:
            reported = [name for name in reported if name not in evicted]
        return len(reported) >= needed

    def _is_due(self, tick: int, reported: list[int]) -> bool:
        """More owners than may lie say so, and more channels than may be wrong have come that far: else one clock
        that is wrong could end ticks that nobody else has reached."""
        saying = [owner for owner, ticks in self._dues.items() if tick in ticks]
        if len(saying) <= self.spec.liars:
            return False
        present = set(reported)
        present.update(at for at, owner in enumerate(self._owners) if owner and owner in saying)
        return len(present) > self.spec.faults

    def _forget(self) -> None:
        for waiting in self._waiting:
            for tick in [each for each in waiting if each <= self.newest]:
                del waiting[tick]
        for ticks in self._dues.values():
            for tick in [each for each in ticks if each <= self.newest]:
                del ticks[tick]

    def _check_invariants(self, newest_before: int) -> None:
        assert self.newest > newest_before, "I1: a tick was decided out of order"
        kept: list[Collection[int]] = [*self._waiting, *self._dues.values()]
        for ticks in kept:
            assert len(ticks) <= AHEAD_TICKS, "I2: too many ticks wait"
            assert min(ticks, default=TICK_MAX + 1) > self.newest, "I2: a tick waits that was passed"

    def _resume(self, state: TicksState) -> None:
        self._loop.resume(state.loop)
        owners = [owner for owner, _ in state.dues]
        if len(state.waiting) != len(self._waiting) or owners != list(self._dues) or not _is_sound(state):
            raise ConfigurationError(
                "the ticks of a loop were to go on from a state that is of another loop. Give that of this one."
            )
        self.newest, self.decided, self.passed, self.late = state.newest, state.decided, state.passed, state.late
        self._waiting = [{tick: (at_us, value) for tick, at_us, value in each} for each in state.waiting]
        self._dues = {owner: dict.fromkeys(ticks) for owner, ticks in state.dues}


def check_spec(spec: LoopSpec) -> Refused | None:
    """Why there can be no such loop; None if there can. Bounds alone: `Ticks` raises for the rest."""
    why = ""
    if not 0 < len(spec.channels) <= CHANNELS_MAX or any(_has_many(each) for each in spec.channels):
        why = f"it has 1 to {CHANNELS_MAX} channels, and each at most {ITEMS_MAX} classes or factors"
    why = why or _wrong_terms(spec)
    return Refused("loop", f"a control loop was declared, but {why}. Correct that.") if why else None


def _wrong_terms(spec: LoopSpec) -> str:
    """What is wrong with a loop that has no more parts than it may have."""
    names = [name for each in spec.channels for name in (each.name, each.owner, *each.classes)]
    class_bytes = sum(len(name.encode()) for each in spec.channels for name in each.classes)
    numbers = [number for each in spec.channels for number in _numbers_of(each)]
    whole = [spec.start_us, *spec.hysteresis]
    whole += [number for each in spec.channels for number in (each.age_us, each.stuck_ticks)]
    if any(len(name.encode()) > NAME_BYTES_MAX for name in names) or len(spec.degradation) > NAME_BYTES_MAX:
        return f"names and degradations have at most {NAME_BYTES_MAX} bytes of UTF-8"
    if class_bytes > CLASS_BYTES_MAX:
        return f"the names of all its classes together have {class_bytes} bytes, and at most {CLASS_BYTES_MAX} fit"
    if not all(map(_is_number, numbers)) or any(abs(number) > TICK_MAX for number in whole):
        return f"numbers are finite, and {NUMBER_MAX:g} at most"
    if not 0 <= spec.liars <= spec.faults < len(spec.channels):
        return (
            f"T={spec.faults} of N={len(spec.channels)} channels may be wrong and {spec.liars} owners may lie, "
            "but T is below N, and liars are T at most"
        )
    if not 0 < spec.deadline_us <= spec.period_us <= TICK_MAX:
        return f"a deadline lies within its period, and is not {spec.deadline_us} us of {spec.period_us} us"
    if spec.liars and not _can_outvote(spec):
        return (
            f"with liars={spec.liars} each channel needs an owner, {2 * spec.liars + 1} different ones in all, "
            f"and {spec.liars} of them must not own more than T={spec.faults} channels, nor N-T"
        )
    return ""


def _can_outvote(spec: LoopSpec) -> bool:
    """Whether those who may lie can neither be more channels than may be wrong, nor decide a tick alone, nor keep
    others from saying that it is due."""
    owners = {each.owner for each in spec.channels}
    wrong = _wrong_at_most(spec)
    is_outvoted = wrong <= spec.faults and wrong < len(spec.channels) - spec.faults
    return "" not in owners and len(owners) > 2 * spec.liars and is_outvoted


def _wrong_at_most(spec: LoopSpec) -> int:
    """So many channels belong to those who may lie, at most."""
    owners = [each.owner for each in spec.channels]
    return sum(sorted((owners.count(owner) for owner in set(owners)), reverse=True)[: spec.liars])


def _check_outvoting(spec: LoopSpec, degradation: Degradation) -> None:
    """Raise ConfigurationError for stages of which none is for N-T channels, since a tick is decided by so many,
    or that outvote fewer than may lie, who may all be among these."""
    wrong, channels = _wrong_at_most(spec), len(spec.channels) - spec.faults
    stage = degradation.stage_of(channels)
    if not isinstance(stage, Stage):
        raise ConfigurationError(
            f"a control loop was declared in which N-T={channels} channels decide a tick, but the last stage is "
            f"{degradation.stages[-1]}, so that such ticks are refused. Add a stage for {channels}, or lower T."
        )
    if stage.outvoted < wrong and wrong:
        raise ConfigurationError(
            f"a control loop was declared in which {wrong} channels may lie, but N-T={channels} of them decide a "
            f"tick, and the stage {stage} outvotes {max(0, stage.outvoted)} of these. Declare 3T+1 channels or "
            "more and stages whose N-K is T, or a lower T, or liars=0 where no owner lies."
        )


def _is_sound(state: TicksState) -> bool:
    """Whether a state is one that `Ticks` may be in."""
    waiting = [ticks for _, ticks in state.dues] + [[tick for tick, _, _ in each] for each in state.waiting]
    values = [(at_us, value) for each in state.waiting for _, at_us, value in each]
    return (
        -1 <= state.newest <= TICK_MAX
        and min(state.decided, state.passed, state.late) >= 0
        and state.decided + state.passed <= state.newest + 1
        and (state.decided > 0) == (state.newest >= 0)
        and all(len(ticks) <= AHEAD_TICKS for ticks in waiting)
        and all(state.newest < tick <= TICK_MAX for ticks in waiting for tick in ticks)
        and all(abs(at_us) <= TICK_MAX and is_bounded(value) for at_us, value in values)
    )


def _has_many(spec: ChannelSpec) -> bool:
    return max(len(spec.projection), len(spec.classes)) > ITEMS_MAX


def _numbers_of(spec: ChannelSpec) -> list[float]:
    bounds = [bound for bound in (spec.low, spec.high) if bound is not None]
    ends = [end for each in spec.classes.values() for end in each]
    return [spec.half_width or 0.0, spec.level, spec.rate, *spec.projection, *bounds, *ends]


def _is_number(number: float) -> bool:
    return isfinite(number) and abs(number) <= NUMBER_MAX


def is_bounded(value: Value) -> bool:
    """Whether a reading has finite numbers alone, none too large, and not too many."""
    if isinstance(value, dict):
        return len(value) <= ITEMS_MAX and all(
            _is_number(each) and len(name.encode()) <= NAME_BYTES_MAX for name, each in value.items()
        )
    if isinstance(value, list):
        return len(value) <= ITEMS_MAX and all(map(_is_number, value))
    return _is_number(value)


def _make_room(ticks: dict[int, tuple[int, Value]] | dict[int, None]) -> None:
    """Room for one more tick, if need be instead of the one that came first. So what nobody else will reach keeps
    no present tick out, neither after a pause nor when a clock that was ahead is set right."""
    if len(ticks) >= AHEAD_TICKS:
        del ticks[next(iter(ticks))]


def _no_tick(tick: int) -> Refused:
    return Refused("tick", f"tick {tick} was named, but ticks are 0 to {TICK_MAX}. Count from the loop's start.")
