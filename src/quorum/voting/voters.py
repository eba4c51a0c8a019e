"""Voters over single values: which value do enough channels give?

Sources: Lorczak, Caglayan and Eckhardt, "A theoretical investigation of generalized voters for redundant systems"
(1989), for the formalised majority, plurality, median and weighted averaging voters; Latif-Shabgahi, Bass and
Bennett, "History-based weighted average voter" (2001).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quorum.errors import ConfigurationError
from quorum.voting.arrays import Flags, Floats, Integers, at_least, finite, whole
from quorum.voting.refused import Refused, below_bound


class Group(NamedTuple):
    """The channels that agree: `output`, and `first` and `last` of the sorted values of each tick that are
    theirs."""

    output: Floats
    first: Integers
    last: Integers


class Weighted(NamedTuple):
    """Weights of the channels, which sum to 1, and the average that they give."""

    weights: Floats
    output: Floats


class History(NamedTuple):
    """One output for each round (NaN: refused), the weights, and the reliability of each channel at the end."""

    outputs: Floats
    weights: Floats
    final_reliability: Floats


def exact_majority(values: npt.ArrayLike) -> Floats:
    """The value that more than half of the N channels give, bit for bit; NaN in a tick without one.

    T bound: floor((N-1)/2) wrong channels never win, as long as the others are equal.
    Source: von Neumann, "Probabilistic logics and the synthesis of reliable organisms" (1956); the limit of
    Lorczak et al. (1989) at epsilon 0.
    """
    ordered = np.sort(finite(values, "values"), axis=-1)
    channels = ordered.shape[-1]
    middle = ordered[..., channels // 2]  # a majority covers the middle
    votes = (ordered == middle[..., None]).sum(axis=-1)
    return np.where(2 * votes > channels, middle, np.nan)


def formalized_majority(values: npt.ArrayLike, epsilon: float) -> Group:
    """The upper median of the group that has more than half of the channels; NaN in a tick without one.

    Values belong to one group where each is at most `epsilon` (their unit) above the next lower one.
    T bound: floor((N-1)/2), where right channels are within epsilon of each other: then the group holds them all.
    They are more than the liars in it, so the output lies among right values.
    Source: Lorczak et al. (1989), formalised majority voter.
    """
    ordered = np.sort(finite(values, "values"), axis=-1)
    channels = ordered.shape[-1]
    middle = channels // 2
    breaks = np.diff(ordered, axis=-1) > at_least(epsilon, "epsilon")
    places = np.arange(channels - 1)
    first = np.where(breaks & (places < middle), places + 1, 0).max(axis=-1, initial=0)
    last = np.where(breaks & (places >= middle), places, channels - 1).min(axis=-1, initial=channels - 1)
    size = last - first + 1
    upper = np.take_along_axis(ordered, (first + size // 2)[..., None], axis=-1)[..., 0]
    return Group(np.where(2 * size > channels, upper, np.nan), first, last)


def plurality(values: npt.ArrayLike, k: int) -> Floats:
    """The value that most channels give, if they are `k` at least; NaN where too few do, or two groups are equal.

    T bound: k > T, so that T liars alone never make a value.
    Source: Lorczak et al. (1989), formalised plurality voter, for equal values.
    """
    ordered = np.sort(finite(values, "values"), axis=-1)
    channels = ordered.shape[-1]
    whole(k, "k", 1)
    differs = np.diff(ordered, axis=-1) != 0
    edge = np.ones((*ordered.shape[:-1], 1), dtype=bool)
    begins, ends = np.concatenate([edge, differs], axis=-1), np.concatenate([differs, edge], axis=-1)
    places = np.arange(channels)
    sizes = np.where(ends, places - np.maximum.accumulate(np.where(begins, places, 0), axis=-1) + 1, 0)
    best = sizes.max(axis=-1)
    winners = sizes == best[..., None]
    value = np.take_along_axis(ordered, winners.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return np.where((best >= k) & (winners.sum(axis=-1) == 1), value, np.nan)


def k_out_of_n_vote(votes: npt.ArrayLike, k: int) -> Flags:
    """Whether `k` channels at least vote to trip: 2 of 3 is 2oo3, or triple modular redundancy.

    T bound: k-1 channels that trip without cause do not trip it, and N-k that never trip do not stop it.
    Source: IEC 61508-6 (2010), annex B. Raises ConfigurationError for a k that is not 1 to N.
    """
    flags = np.asarray(votes)
    if flags.dtype != np.bool_ or flags.ndim < 1 or flags.shape[-1] == 0:
        raise ConfigurationError(
            "votes were given that are not true or false for each channel, so they cannot be counted. Give true "
            "for a channel that wants to trip."
        )
    if whole(k, "k", 1) > flags.shape[-1]:
        raise ConfigurationError(
            f"{k} of {flags.shape[-1]} votes were asked for, but there are fewer. Give a k of 1 to N."
        )
    return np.asarray(flags.sum(axis=-1) >= k)


def median(values: npt.ArrayLike, faults: int | None = None) -> Floats | Refused:
    """The middle value; of an even number, the mean of the two in the middle.

    T bound: floor((N-1)/2): the output lies between two right values. With `faults` given, refused below 2T+1.
    Source: Lorczak et al. (1989), median voter; mid-value select of flight control.
    """
    array = finite(values, "values")
    channels = array.shape[-1]
    refused = None if faults is None else below_bound(channels, 2 * whole(faults, "T") + 1, faults)
    if refused is not None:
        return refused
    ordered = np.sort(array, axis=-1)
    low, high = ordered[..., (channels - 1) // 2], ordered[..., channels // 2]
    return np.asarray(low + (high - low) / 2)


def weighted_average(values: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
    """The average by given weights, which are 0 or more and not all 0.

    T bound: 0. One liar moves it as far as it likes: use it among survivors of a voter with a bound.
    Source: Lorczak et al. (1989), weighted averaging voter. Raises ConfigurationError for other weights.
    """
    array, shares = finite(values, "values"), finite(weights, "weights")
    if (shares < 0).any() or not (shares.sum(axis=-1) > 0).all() or shares.shape[-1] != array.shape[-1]:
        raise ConfigurationError(
            "weights were given for an average, but they must be one for each channel, 0 or more, and not all 0. "
            "Change them."
        )
    return np.asarray((array * shares).sum(axis=-1) / shares.sum(axis=-1))


def lorczak_weighted_average(values: npt.ArrayLike, a: float) -> Weighted:
    """The average with weights 1 / (1 + product over the other channels of (distance/a)^2), scaled to sum 1.

    `a` has the unit of the values: who is much further than that from the others counts little.
    T bound: none that is hard; a far liar has little weight, and never none.
    Source: Lorczak et al. (1989), weighted averaging voter.
    """
    array = finite(values, "values")
    at_least(a, "a", above=True)
    log_product = np.zeros_like(array)
    with np.errstate(divide="ignore"):
        for channel in range(array.shape[-1]):
            far = 2 * np.log(np.abs(array - array[..., channel, None]) / a)
            far[..., channel] = 0.0  # not against itself
            log_product += far
    log_weight = -np.logaddexp(0.0, log_product)  # logarithms: a product over many channels leaves the floats
    weights = np.exp(log_weight - log_weight.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return Weighted(weights, (weights * array).sum(axis=-1))


def history_weighted_average(rounds: npt.ArrayLike, epsilon: float, elimination: bool = True) -> History | Refused:
    """Averages over rounds (rows), where a channel that agreed more often before counts more.

    In a round a channel agrees if more than half of the channels, itself included, lie within `epsilon` of it. Its
    reliability P is the share of earlier rounds in which it agreed, its weight P^2; with `elimination` it is 0
    below the mean P. The first round is the plain mean. A round in which all weights are 0 is refused: NaN.
    T bound: one that is wrong from round 1 on, of 3 channels at least; round 1 is not protected. Who turns bad
    later counts until its reliability is below the mean.
    Source: Latif-Shabgahi, Bass and Bennett (2001).
    """
    table = finite(rounds, "rounds", axes=2)
    count, channels = table.shape[-2:]
    refused = below_bound(channels, 3, 1)
    if refused is not None:
        return refused
    at_least(epsilon, "epsilon")
    near = np.zeros(table.shape, dtype=np.int64)
    for channel in range(channels):
        near += np.abs(table - table[..., channel, None]) <= epsilon
    agreed = np.cumsum(2 * near > channels, axis=-2)
    before = np.zeros(table.shape)
    before[..., 1:, :] = agreed[..., :-1, :] / np.arange(1, count)[:, None]
    weights = before**2
    weights[..., 0, :] = 1.0
    if elimination:  # by whole numbers: a mean of equal floats may lie above them
        total = agreed[..., :-1, :].sum(axis=-1, keepdims=True)
        weights[..., 1:, :][agreed[..., :-1, :] * channels < total] = 0.0
    with np.errstate(invalid="ignore"):
        weights /= weights.sum(axis=-1, keepdims=True)
    return History((weights * table).sum(axis=-1), weights, agreed[..., -1, :] / count)
