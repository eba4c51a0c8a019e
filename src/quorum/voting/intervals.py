"""Voters over intervals: where do enough of them overlap? End points belong to an interval, so touching is
meeting.

Each keeps, for a tick of N intervals, only sums and comparisons of N columns; a million ticks go through in
pieces.

Sources: Marzullo, "Tolerating failures of continuous-valued sensors" (1990); Mills et al., RFC 5905 (2010),
section 11.2.1; chrony's source selection (sources.c); Brooks and Iyengar, "Robust distributed computing and
sensing algorithm" (1996).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from quorum.errors import ConfigurationError
from quorum.voting.arrays import Flags, Floats, Integers, finite, in_chunks, whole
from quorum.voting.refused import Refused, below_bound

Columns = tuple[npt.NDArray[Any], ...]


class Overlap(NamedTuple):
    """How many intervals meet, and where: `interval` has low and high on its last axis."""

    best: Integers
    interval: Floats


class Selected(NamedTuple):
    """NTP's choice: falsetickers allowed (-1: refused), the interval, and which midpoints lie inside it."""

    falsetickers_allowed: Integers
    interval: Floats
    midpoints_inside: Flags


class Deepest(NamedTuple):
    """chrony's choice: how many intervals meet, what they span, and which of them fit that."""

    depth: Integers
    interval: Floats
    selected: Flags


class Fused(NamedTuple):
    """Brooks and Iyengar's answer: a value, and the interval from the first region to the last."""

    value: Floats
    interval: Floats


class Region(NamedTuple):
    """A stretch of values, from `low` to `high`, that `covering` intervals cover."""

    low: float
    high: float
    covering: int


def marzullo(intervals: npt.ArrayLike, faults: int | None = None) -> Overlap | Refused:
    """The interval that most of N intervals share; of several, the lowest.

    T bound: T < N/2: if all but T hold the truth, N-T of them meet. With `faults` given, a tick in which fewer do
    is refused (NaN). Without, it is the plain rule, which always answers.
    Source: Marzullo (1990).
    """
    lows, highs, ticks = _columns(intervals, "intervals")
    refused = _minority(len(lows), faults)
    if refused is not None:
        return refused
    needed = 0 if faults is None else len(lows) - faults

    def decide(lows: Floats, highs: Floats) -> Columns:
        depth = _depth(lows, lows, highs)
        best = depth.max(axis=0)
        low = np.where(depth == best, lows, np.inf).min(axis=0)
        high = np.where(highs >= low, highs, np.inf).min(axis=0)  # the first to end is one of those that meet
        return best, *_unless(best < needed, low, high)

    best, low, high = in_chunks(decide, lows, highs)
    return Overlap(best.reshape(ticks), _joined(low, high, ticks))


def fault_tolerant_intersection(intervals: npt.ArrayLike, faults: int) -> Floats | Refused:
    """From the lowest to the highest point that N-T intervals at least cover; NaN where no point is.

    T bound: T < N/2, and it holds the truth whatever T of the intervals say; for T < N/3 it is no wider than the
    widest right interval. Source: Marzullo (1990).
    """
    lows, highs, ticks = _columns(intervals, "intervals")
    refused = _minority(len(lows), faults)
    if refused is not None:
        return refused
    needed = len(lows) - faults

    def decide(lows: Floats, highs: Floats) -> Columns:
        return _span(lows, highs, _depth(lows, lows, highs), _depth(highs, lows, highs), needed)

    low, high = in_chunks(decide, lows, highs)
    return _joined(low, high, ticks)


def ntp_select(sources: npt.ArrayLike) -> Selected:
    """The truechimers of N clocks, given as (offset, root distance) in seconds.

    With `allow` = 0, 1, ... below N/2: from the lowest to the highest point that N-allow intervals offset +-
    distance cover, accepted when at most `allow` offsets lie outside it. Refused (NaN and -1) where none is.
    T bound: T < N/2. Source: RFC 5905 section 11.2.1.
    """
    offsets, distances, ticks = _pairs(sources, "sources")
    channels = len(offsets)

    def decide(offsets: Floats, distances: Floats) -> Columns:
        lows, highs = offsets - distances, offsets + distances
        at_low, at_high = _depth(lows, lows, highs), _depth(highs, lows, highs)
        low, high = np.full(lows.shape[1], np.nan), np.full(lows.shape[1], np.nan)
        allowed = np.full(lows.shape[1], -1, dtype=np.int64)
        for allow in range((channels + 1) // 2):
            first, last = _span(lows, highs, at_low, at_high, channels - allow)
            outside = channels - ((offsets >= first) & (offsets <= last)).sum(axis=0)
            accepted = (allowed < 0) & (outside <= allow)
            low, high = np.where(accepted, first, low), np.where(accepted, last, high)
            allowed = np.where(accepted, allow, allowed)
        return allowed, low, high

    allowed, low, high = in_chunks(decide, offsets, distances)
    inside = (offsets >= low) & (offsets <= high)
    return Selected(allowed.reshape(ticks), _joined(low, high, ticks), _by_channel(inside, ticks))


def chrony_select(intervals: npt.ArrayLike) -> Deepest:
    """All that lies between the first and the last point where most of N intervals meet; refused (NaN) where those
    are not more than half.

    `selected` are the intervals that contain it, or lie within it. Options such as trust, prefer and require are
    left out. T bound: T < N/2. Source: chrony, sources.c, SRC_SelectSource.
    """
    lows, highs, ticks = _columns(intervals, "intervals")

    def decide(lows: Floats, highs: Floats) -> Columns:
        at_low, at_high = _depth(lows, lows, highs), _depth(highs, lows, highs)
        best = at_low.max(axis=0)
        low, high = _span(lows, highs, at_low, at_high, best)
        return best, *_unless(2 * best <= len(lows), low, high)

    best, low, high = in_chunks(decide, lows, highs)
    fits = ((lows <= low) & (highs >= high)) | ((lows >= low) & (highs <= high))
    return Deepest(best.reshape(ticks), _joined(low, high, ticks), _by_channel(fits, ticks))


def brooks_iyengar(values: npt.ArrayLike, faults: int) -> Fused | Refused:
    """One value out of N pairs (value, half-width): the mean of the midpoints of all regions that N-T intervals at
    least cover, weighted by how many do. NaN in a tick without such a region.

    T bound: N >= 3T+1; the value lies within the hull of right intervals. Source: Brooks and Iyengar (1996).
    """
    centres, widths, ticks = _pairs(values, "values")
    channels = len(centres)
    refused = below_bound(channels, 3 * whole(faults, "T") + 1, faults)
    if refused is not None:
        return refused

    def decide(centres: Floats, widths: Floats) -> Columns:
        edges, at, beyond, at_counts, beyond_counts = _regions(
            centres - widths, centres + widths, channels - faults
        )
        steps = np.diff(edges, axis=0) / 2
        total = at_counts.sum(axis=0) + beyond_counts.sum(axis=0)
        sums = (at_counts * edges).sum(axis=0) + (beyond_counts[:-1] * (edges[:-1] + steps)).sum(axis=0)
        covered = at | beyond | np.concatenate([np.zeros_like(beyond[:1]), beyond[:-1]])
        low = np.where(covered, edges, np.inf).min(axis=0)
        high = np.where(covered, edges, -np.inf).max(axis=0)
        empty = total == 0
        return np.where(empty, np.nan, sums / np.where(empty, 1, total)), *_unless(empty, low, high)

    value, low, high = in_chunks(decide, centres, widths)
    return Fused(value.reshape(ticks), _joined(low, high, ticks))


def brooks_iyengar_regions(values: npt.ArrayLike, faults: int) -> tuple[Region, ...]:
    """The regions behind `brooks_iyengar` of one tick, in ascending order, split where the count changes.

    A point that more intervals cover than either side of it, since some end where others begin, is a region too.
    """
    centres, widths, _ = _pairs(np.asarray(finite(values, "values", axes=2))[None], "values")
    edges, at, beyond, at_counts, beyond_counts = _regions(
        centres - widths, centres + widths, len(centres) - whole(faults, "T")
    )
    found = []
    for place in range(len(edges)):
        here = float(edges[place, 0])
        if at[place, 0]:
            found.append(Region(here, here, int(at_counts[place, 0])))
        if beyond[place, 0]:
            found.append(Region(here, float(edges[place + 1, 0]), int(beyond_counts[place, 0])))
    return tuple(found)


def _regions(lows: Floats, highs: Floats, needed: int) -> tuple[Floats, Flags, Flags, Integers, Integers]:
    """The sorted end points; at which of them, and beyond which, a region of `needed` intervals is; their counts,
    0 where none is."""
    edges = np.ascontiguousarray(np.sort(np.concatenate([lows, highs]).T, axis=-1).T)
    begun, ended, over = (np.zeros(edges.shape, dtype=np.int32) for _ in range(3))
    for low, high in zip(lows, highs, strict=True):
        begun += low <= edges
        ended += high <= edges
        over += high < edges
    here, right = begun - over, begun - ended
    wider = np.diff(edges, axis=0) > 0
    first = np.concatenate([np.ones_like(wider[:1]), wider])
    left = np.concatenate([np.zeros_like(right[:1]), right[:-1]])
    beyond = np.concatenate([wider, np.zeros_like(wider[:1])]) & (right >= needed)
    at = first & (here > np.maximum(left, right)) & (here >= needed)
    return edges, at, beyond, np.where(at, here, 0), np.where(beyond, right, 0)


def _depth(points: Floats, lows: Floats, highs: Floats) -> Integers:
    """How many intervals cover each point of a tick."""
    depth = np.zeros(points.shape, dtype=np.int32)
    for low, high in zip(lows, highs, strict=True):
        depth += (low <= points) & (points <= high)
    return depth.astype(np.int64)


def _span(
    lows: Floats, highs: Floats, at_low: Integers, at_high: Integers, needed: int | Integers
) -> tuple[Floats, Floats]:
    """From the lowest to the highest point that `needed` intervals cover; NaN without one."""
    low = np.where(at_low >= needed, lows, np.inf).min(axis=0)
    high = np.where(at_high >= needed, highs, -np.inf).max(axis=0)
    return _unless(low > high, low, high)


def _unless(refused: Flags, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    return np.where(refused, np.nan, low), np.where(refused, np.nan, high)


def _minority(channels: int, faults: int | None) -> Refused | None:
    """The refusal of T that is not less than N/2."""
    return None if faults is None else below_bound(channels, 2 * whole(faults, "T") + 1, faults)


def _pairs(pairs: npt.ArrayLike, name: str) -> tuple[Floats, Floats, tuple[int, ...]]:
    """Value and half-width by channel and tick, and the shape of the ticks."""
    values, widths, ticks = _two(pairs, name, "they are pairs. Give two.")
    if (widths < 0).any():
        raise ConfigurationError(f"{name} were given, but some have a width below 0. Give widths of 0 or more.")
    return values, widths, ticks


def _columns(intervals: npt.ArrayLike, name: str) -> tuple[Floats, Floats, tuple[int, ...]]:
    """Low and high by channel and tick, and the shape of the ticks."""
    low, high, ticks = _two(intervals, name, "intervals have two ends. Give both.")
    if (low > high).any():
        raise ConfigurationError(f"{name} were given, but some end below their beginning. Write [low, high].")
    return low, high, ticks


def _two(given: npt.ArrayLike, name: str, remedy: str) -> tuple[Floats, Floats, tuple[int, ...]]:
    """First and second numbers by channel and tick, and the shape of the ticks."""
    array = finite(given, name, axes=2)
    if array.shape[-1] != 2:
        raise ConfigurationError(f"{name} were given with {array.shape[-1]} numbers each, but {remedy}")
    columns = array.reshape(-1, *array.shape[-2:])
    return columns[..., 0].T, columns[..., 1].T, array.shape[:-2]


def _joined(low: Floats, high: Floats, ticks: tuple[int, ...]) -> Floats:
    return np.stack([low, high], axis=-1).reshape(*ticks, 2)


def _by_channel(flags: Flags, ticks: tuple[int, ...]) -> Flags:
    return flags.T.reshape(*ticks, len(flags))
