"""What a channel is, and how each kind of reading becomes an interval of the quantity that is decided.

A decision joins channels of different kinds, since each ends as an interval: a scalar with its half-width, an
interval as it is, a vector by a projection, and class probabilities by the classes that are likely enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Literal, TypeAlias

import msgspec

from quorum.errors import ConfigurationError
from quorum.voting.refused import Refused

Kind: TypeAlias = Literal["scalar", "interval", "vector", "classes"]
Value: TypeAlias = float | tuple[float, ...] | Mapping[str, float]
"""A number; low and high; the axes of a vector; or a probability for each class."""
Interval: TypeAlias = tuple[float, float]

PROBABILITIES_WITHIN = 1e-6
"""Probabilities must sum to 1 but for this."""


class Reading(msgspec.Struct, frozen=True):
    """What `channel` measured at `at_us`, by the clock of the loop."""

    channel: str
    at_us: int
    value: Value


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """One source of readings, and when one of them is valid. 0: not looked at.

    `half_width` is added on both sides of a scalar or a projected vector, in the unit of the output; several such
    channels must say theirs, since with 0 only values agree that are equal to the last bit. `projection`: one
    factor for each axis of a vector, such as (0, 0, 1) for its third. `classes`: what each class means as an
    interval of the output; the likeliest that have `level` together are meant. `low` and `high` bound valid
    readings; `age_us` how old they may be; `rate` how fast they change, in units a second; and a reading that was
    the same in `stuck_ticks` ticks before is stuck.
    """

    name: str
    kind: Kind = "scalar"
    half_width: float | None = None
    projection: tuple[float, ...] = ()
    classes: Mapping[str, Interval] = {}
    level: float = 0.9
    low: float | None = None
    high: float | None = None
    age_us: int = 0
    rate: float = 0.0
    stuck_ticks: int = 0


def check_channel(channel: Channel) -> None:
    """Raise ConfigurationError for a channel that could never be read."""
    half_width = channel.half_width or 0.0
    numbers = [
        half_width,
        channel.rate,
        *channel.projection,
        *(x for c in channel.classes.values() for x in c),
    ]
    numbers += [bound for bound in (channel.low, channel.high) if bound is not None]
    why = ""
    if not channel.name or not all(map(isfinite, numbers)) or min(half_width, channel.rate) < 0:
        why = "its name is empty, or a number is below 0 or not finite"
    elif min(channel.age_us, channel.stuck_ticks) < 0 or not 0.5 < channel.level <= 1:
        why = "age_us or stuck_ticks is below 0, or level is not above 0.5 and at most 1"
    elif channel.low is not None and channel.high is not None and channel.low > channel.high:
        why = "low is above high"
    elif (channel.kind == "vector") != bool(channel.projection):
        why = "a vector, and nothing else, needs a projection"
    elif (channel.kind == "classes") != bool(channel.classes):
        why = "class probabilities, and nothing else, need classes"
    elif any(low > high for low, high in channel.classes.values()):
        why = "a class ends below its beginning"
    if why:
        raise ConfigurationError(
            f"channel {channel.name[:40]!r} was given to a control loop, but {why}. Correct it."
        )


def check_half_widths(channels: Iterable[Channel]) -> None:
    """Raise ConfigurationError where several channels of numbers do not say their half-width: as points they would
    agree only where they are equal to the last bit."""
    points = [each.name for each in channels if each.half_width is None and each.kind in ("scalar", "vector")]
    if len(points) > 1:
        raise ConfigurationError(
            f"channels {points[0][:40]!r} and {points[1][:40]!r} were given to a control loop without half_width, "
            "but then 20.0 and 20.1 never agree. Give each the half_width within which it is right; 0 where right "
            "values are equal to the last bit."
        )


def interval_of(channel: Channel, value: Value) -> Interval | Refused:
    """The interval of the output that a reading stands for; refused where it is none of its kind."""
    match channel.kind:
        case "scalar":
            number = _number(value)
            return number if isinstance(number, Refused) else _around(number, channel.half_width or 0.0)
        case "interval":
            return _interval(value)
        case "vector":
            return _projected(channel, value)
    return _likely(channel, value)


def _number(value: Value) -> float | Refused:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        return Refused("it is no finite number")
    return float(value)


def _numbers(value: Value) -> tuple[float, ...] | Refused:
    if not isinstance(value, (tuple, list)):
        return Refused("it is no list of numbers")
    found = []
    for each in value:
        number = _number(each)
        if isinstance(number, Refused):
            return number
        found.append(number)
    return tuple(found)


def _around(middle: float, half_width: float) -> Interval:
    return middle - half_width, middle + half_width


def _interval(value: Value) -> Interval | Refused:
    ends = _numbers(value)
    if isinstance(ends, Refused):
        return ends
    if len(ends) != 2 or ends[0] > ends[1]:
        return Refused("it is no interval")
    return ends[0], ends[1]


def _projected(channel: Channel, value: Value) -> Interval | Refused:
    axes = _numbers(value)
    if isinstance(axes, Refused):
        return axes
    if len(axes) != len(channel.projection):
        return Refused(f"it has {len(axes)} axes, not {len(channel.projection)}")
    middle = 0.0
    for factor, axis in zip(channel.projection, axes, strict=True):
        middle += factor * axis  # one by one: `sum` rounds differently from one Python to the next
    return _around(middle, channel.half_width or 0.0) if isfinite(middle) else Refused("it is no finite number")


def _likely(channel: Channel, value: Value) -> Interval | Refused:
    """The hull of the fewest classes that have `level` together, the likeliest first, and by name."""
    if not isinstance(value, Mapping) or not set(value) <= set(channel.classes):
        return Refused("it names no classes of the channel")
    if any(isinstance(_number(each), Refused) or each < 0 for each in value.values()):
        return Refused("a probability is none")
    total = 0.0
    for name in sorted(value):
        total += value[name]
    if abs(total - 1) > PROBABILITIES_WITHIN:
        return Refused("its probabilities do not sum to 1")
    held, chosen = 0.0, []
    for name in sorted(value, key=lambda name: (-value[name], name)):
        if held >= channel.level - PROBABILITIES_WITHIN:
            break
        held += value[name]
        chosen.append(channel.classes[name])
    return min(low for low, _ in chosen), max(high for _, high in chosen)
