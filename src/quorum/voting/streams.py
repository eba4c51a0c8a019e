"""Voters over long series: a table of ticks and channels, with gaps, becomes one decision for each tick.

Ticks in which the same channels have a value are decided together, by a rule of this package, in pieces. A channel
without a value is no channel in that tick, so that a bound may be missed there and nowhere else. `trusted` says of
each tick which channels the rule went by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from quorum.errors import ConfigurationError
from quorum.voting import approximate, fusion, gates, intervals, voters
from quorum.voting.arrays import Flags, Floats, Integers, whole
from quorum.voting.refused import Refused

PIECE_TICKS: Final = 65_536
"""So many ticks are decided between two words of progress."""
CHANNELS_MAX: Final = 62
"""Which channels have a value is one whole number of a tick."""
NO_VALUE: Final = "no channel has a value"
Parameters = Mapping[str, Any]


class Track(NamedTuple):
    """One decision for each tick. `output` is NaN where it is refused, `low` and `high` are NaN unless the rule
    gives an interval; `trusted` has a column for each channel. `refusals` are the reasons, and `refusal` the
    number of each tick's, -1 where there is none."""

    output: Floats
    low: Floats
    high: Floats
    trusted: Flags
    refusal: Integers
    refusals: tuple[str, ...]


class Piece(NamedTuple):
    """What a rule makes of some ticks."""

    output: Floats
    trusted: Flags
    low: Floats | None = None
    high: Floats | None = None


Rule = Callable[[Floats, Floats, Parameters], Piece | Refused]
"""Takes values and half-widths, by tick and channel."""


class StreamRule(NamedTuple):
    """`needs` and `may` are the parameters; `reason` is what a tick without an answer lacks."""

    run: Rule
    reason: str
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    has_widths: bool = False
    by_channel: tuple[str, ...] = ()
    """Parameters with one value for each channel."""


def fuse_stream(
    name: str,
    values: npt.ArrayLike,
    parameters: Parameters,
    widths: npt.ArrayLike | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Track:
    """Decide each tick of `values` (ticks, channels; NaN: no value) by the rule of this name. `widths` are the
    half-widths of values, for rules that take intervals, in the values' unit; one number, or as many as values.
    `progress` hears how many ticks are decided, of how many.

    Raises ConfigurationError for a rule or parameters that are none, and for values that are infinite.
    """
    rule = rule_of(name, parameters)
    table = _table(values)
    half = _widths(name, rule, table, widths)
    patterns, which = np.unique(_pattern(table), return_inverse=True)
    ticks, channels = table.shape
    track = Track(
        np.full(ticks, np.nan),
        np.full(ticks, np.nan),
        np.full(ticks, np.nan),
        np.zeros(table.shape, dtype=np.bool_),
        np.full(ticks, -1, dtype=np.int64),
        (),
    )
    reasons: dict[str, int] = {}
    done = 0
    for number, pattern in enumerate(patterns):
        present = np.array([bool(int(pattern) >> channel & 1) for channel in range(channels)])
        places = np.flatnonzero(which == number)
        for first in range(0, len(places), PIECE_TICKS):
            some = places[first : first + PIECE_TICKS]
            _decide(rule, table, half, _of_channels(parameters, rule, present), present, some, track, reasons)
            done += len(some)
            progress(done, ticks)
    return track._replace(refusals=tuple(reasons))


def rule_of(name: str, parameters: Parameters) -> StreamRule:
    """The rule of this name. Raises ConfigurationError for none, and for parameters too few or too many."""
    rule = RULES.get(name)
    if rule is None:
        raise ConfigurationError(
            f"a series was to be decided by {name[:60]!r}, but that is no rule for series. Use one of: "
            f"{', '.join(RULES)}."
        )
    missing = [key for key in rule.needs if key not in parameters]
    unknown = [key for key in parameters if key not in (*rule.needs, *rule.may)]
    if missing or unknown:
        why = f"{missing[0]} is missing" if missing else f"it knows no {unknown[0][:40]!r}"
        knows = ", ".join([*rule.needs, *(f"{key} (may be left out)" for key in rule.may)]) or "no parameters"
        raise ConfigurationError(f"a series was to be decided by {name}, but {why}. Give it {knows}.")
    return rule


def _table(values: npt.ArrayLike) -> Floats:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.size == 0 or table.shape[1] > CHANNELS_MAX:
        raise ConfigurationError(
            f"a series was given in the shape {table.shape}, but it has ticks and 1 to {CHANNELS_MAX} channels. "
            "Give a row for each tick, and a column for each channel."
        )
    if np.isinf(table).any():
        row, column = map(int, np.argwhere(np.isinf(table))[0])
        raise ConfigurationError(
            f"a series was given, but tick {row} of channel {column} is infinite. Leave it empty, or correct it."
        )
    return table


def _widths(name: str, rule: StreamRule, table: Floats, widths: npt.ArrayLike | None) -> Floats:
    """A half-width for each value; that of a missing value counts for nothing."""
    if widths is None:
        if rule.has_widths:
            raise ConfigurationError(
                f"a series was to be decided by {name}, but it joins intervals, and no half-width was given. Give "
                "one for all values, or one for each."
            )
        return np.zeros_like(table)
    half = np.broadcast_to(np.asarray(widths, dtype=np.float64), table.shape)
    known = half[~np.isnan(table)]
    if not np.isfinite(known).all() or (known < 0).any():
        raise ConfigurationError(
            "half-widths were given for a series, but some are missing, infinite or below 0. Give a number of 0 "
            "or more for each value."
        )
    return half


def _pattern(table: Floats) -> Integers:
    """Which channels have a value, as the bits of one number of each tick."""
    found = np.zeros(len(table), dtype=np.int64)
    for channel in range(table.shape[1]):
        found |= (~np.isnan(table[:, channel])).astype(np.int64) << channel
    return found


def _of_channels(parameters: Parameters, rule: StreamRule, present: Flags) -> Parameters:
    """The parameters for the channels that have a value."""
    known = dict(parameters)
    for key in rule.by_channel:
        if key in known:
            each = np.asarray(known[key], dtype=np.float64)
            if each.shape != present.shape:
                raise ConfigurationError(
                    f"{key} were given for a series, but there must be one for each of {len(present)} channels. "
                    "Give as many."
                )
            known[key] = each[present]
    if "own" in known:
        own = whole(known["own"], "own")
        if not 0 <= own < len(present):
            raise ConfigurationError(
                f"own={own} was given for a series of {len(present)} channels, but they count from 0. Give 0 to "
                f"{len(present) - 1}."
            )
        known["own"] = int(present[:own].sum()) if present[own] else None
    return known


def _decide(
    rule: StreamRule,
    table: Floats,
    half: Floats,
    parameters: Parameters,
    present: Flags,
    places: npt.NDArray[np.intp],
    track: Track,
    reasons: dict[str, int],
) -> None:
    """Write what the rule makes of these ticks, in which these channels have a value, into the track."""
    if not present.any():
        track.refusal[places] = reasons.setdefault(NO_VALUE, len(reasons))
        return
    found = rule.run(table[np.ix_(places, present)], half[np.ix_(places, present)], parameters)
    if isinstance(found, Refused):
        track.refusal[places] = reasons.setdefault(found.reason, len(reasons))
        return
    none = np.isnan(found.output)
    track.output[places] = found.output
    if found.low is not None and found.high is not None:
        track.low[places], track.high[places] = found.low, found.high
    track.trusted[np.ix_(places, present)] = found.trusted & ~none[:, None]
    if none.any():
        track.refusal[places[none]] = reasons.setdefault(rule.reason, len(reasons))


# The rules. Each says which channels it went by.


def _exact_majority(values: Floats, widths: Floats, given: Parameters) -> Piece:
    output = voters.exact_majority(values)
    return Piece(output, values == output[:, None])


def _plurality(values: Floats, widths: Floats, given: Parameters) -> Piece:
    output = voters.plurality(values, given["k"])
    return Piece(output, values == output[:, None])


def _formalized_majority(values: Floats, widths: Floats, given: Parameters) -> Piece:
    found = voters.formalized_majority(values, given["epsilon"])
    ordered = np.sort(values, axis=-1)
    low = np.take_along_axis(ordered, found.first[:, None], axis=-1)
    high = np.take_along_axis(ordered, found.last[:, None], axis=-1)
    return Piece(found.output, (values >= low) & (values <= high))


def _median(values: Floats, widths: Floats, given: Parameters) -> Piece | Refused:
    """Trusted are those that the modified z-score calls no outliers: the median itself weighs none."""
    output = voters.median(values, given.get("t"))
    if isinstance(output, Refused):
        return output
    return Piece(output, ~gates.modified_z_score(values).outliers)


def _weighted_average(values: Floats, widths: Floats, given: Parameters) -> Piece | Refused:
    weights = given["weights"]
    if not weights.sum() > 0:
        return Refused("no channel with a weight has a value")
    output = voters.weighted_average(values, np.broadcast_to(weights, values.shape))
    return Piece(output, np.broadcast_to(weights > 0, values.shape))


def _lorczak(values: Floats, widths: Floats, given: Parameters) -> Piece:
    """Trusted is who has half of an equal share at least."""
    found = voters.lorczak_weighted_average(values, given["a"])
    return Piece(found.output, found.weights * 2 * values.shape[1] >= 1)


def _approximate(values: Floats, widths: Floats, given: Parameters) -> Piece | Refused:
    faults = given["t"]
    found = approximate.approximate_agreement_step(values, faults, given.get("select_every", 1))
    if isinstance(found, Refused):
        return found
    ordered = np.sort(values, axis=-1)
    low, high = ordered[:, faults, None], ordered[:, values.shape[1] - 1 - faults, None]
    return Piece(found.value, (values >= low) & (values <= high))


def _crusader(values: Floats, widths: Floats, given: Parameters) -> Piece | Refused:
    faults, delta = given["t"], given["delta"]
    output = approximate.crusader_convergence_average(values, faults, delta)
    if isinstance(output, Refused):
        return output
    near = np.zeros(values.shape, dtype=np.int64)
    for channel in range(values.shape[1]):
        near += np.abs(values - values[:, channel, None]) <= delta
    return Piece(output, near >= values.shape[1] - faults)


def _interactive(values: Floats, widths: Floats, given: Parameters) -> Piece | Refused:
    if given["own"] is None:
        return Refused("the own channel has no value")
    output = approximate.interactive_convergence(values, given["own"], given["delta"], given.get("t"))
    if isinstance(output, Refused):
        return output
    return Piece(output, np.abs(values - values[:, given["own"], None]) <= given["delta"])


def _z_score(values: Floats, widths: Floats, given: Parameters) -> Piece:
    """The median, and a band that holds whoever is no outlier."""
    found = gates.modified_z_score(values, given.get("cut", 3.5))
    return Piece(found.median, ~found.outliers)


def _inverse_variance(values: Floats, widths: Floats, given: Parameters) -> Piece | Refused:
    """Half-widths are standard deviations here, of the output, too."""
    if (widths <= 0).any():
        raise ConfigurationError(
            "a series was to be decided by inverse_variance, but some half-widths, its standard deviations, are 0."
            " Give numbers above 0."
        )
    found = fusion.inverse_variance(values, widths**2)
    deviation = np.sqrt(found.variance)
    everyone = np.ones(values.shape, dtype=np.bool_)
    return Piece(found.value, everyone, found.value - deviation, found.value + deviation)


def _of_intervals(decide: Callable[[Floats, Parameters], Floats | Refused]) -> Rule:
    """Intervals that meet the one that comes out are trusted; the output is its middle."""

    def run(values: Floats, widths: Floats, given: Parameters) -> Piece | Refused:
        found = decide(np.stack([values - widths, values + widths], axis=-1), given)
        if isinstance(found, Refused):
            return found
        low, high = found[:, 0], found[:, 1]
        trusted = (values - widths <= high[:, None]) & (values + widths >= low[:, None])
        return Piece(low + (high - low) / 2, trusted, low, high)

    return run


def _marzullo(pairs: Floats, given: Parameters) -> Floats | Refused:
    found = intervals.marzullo(pairs, given.get("f"))
    return found if isinstance(found, Refused) else found.interval


def _chrony(values: Floats, widths: Floats, given: Parameters) -> Piece:
    found = intervals.chrony_select(np.stack([values - widths, values + widths], axis=-1))
    low, high = found.interval[:, 0], found.interval[:, 1]
    return Piece(low + (high - low) / 2, found.selected, low, high)


def _ntp(values: Floats, widths: Floats, given: Parameters) -> Piece:
    found = intervals.ntp_select(np.stack([values, widths], axis=-1))
    low, high = found.interval[:, 0], found.interval[:, 1]
    return Piece(low + (high - low) / 2, found.midpoints_inside, low, high)


def _brooks_iyengar(values: Floats, widths: Floats, given: Parameters) -> Piece | Refused:
    found = intervals.brooks_iyengar(np.stack([values, widths], axis=-1), given["t"])
    if isinstance(found, Refused):
        return found
    low, high = found.interval[:, 0], found.interval[:, 1]
    trusted = (values - widths <= high[:, None]) & (values + widths >= low[:, None])
    return Piece(found.value, trusted, low, high)


_FEW = "not enough channels agree"
RULES: Final[Mapping[str, StreamRule]] = {
    "exact_majority": StreamRule(_exact_majority, "no value has more than half of the channels"),
    "formalized_majority": StreamRule(
        _formalized_majority, "no group within epsilon has more than half of the channels", ("epsilon",)
    ),
    "plurality": StreamRule(_plurality, "too few channels give one value, or two values as many", ("k",)),
    "median": StreamRule(_median, _FEW, may=("t",)),
    "weighted_average": StreamRule(_weighted_average, _FEW, ("weights",), by_channel=("weights",)),
    "lorczak_weighted_average": StreamRule(_lorczak, _FEW, ("a",)),
    "modified_z_score": StreamRule(_z_score, _FEW, may=("cut",)),
    "approximate_agreement_step": StreamRule(_approximate, _FEW, ("t",), ("select_every",)),
    "crusader_convergence_average": StreamRule(_crusader, "no value is near enough others", ("t", "delta")),
    "interactive_convergence": StreamRule(_interactive, _FEW, ("own", "delta"), ("t",)),
    "marzullo": StreamRule(
        _of_intervals(_marzullo), "fewer intervals meet than are right", may=("f",), has_widths=True
    ),
    "marzullo_fault_tolerant_intersection": StreamRule(
        _of_intervals(lambda pairs, given: intervals.fault_tolerant_intersection(pairs, given["f"])),
        "no point is in enough intervals",
        ("f",),
        has_widths=True,
    ),
    "ntp_select": StreamRule(_ntp, "no majority of the sources agrees", has_widths=True),
    "chrony_select": StreamRule(_chrony, "not more than half of the intervals meet", has_widths=True),
    "brooks_iyengar": StreamRule(_brooks_iyengar, "no region is in enough intervals", ("t",), has_widths=True),
    "inverse_variance": StreamRule(_inverse_variance, _FEW, has_widths=True),
}
"""Every rule that decides one tick without those before it."""
