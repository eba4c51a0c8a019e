"""Steps by which nodes that exchange values come nearer to each other although T of them lie.

Sources: Dolev, Lynch, Pinter, Stark and Weihl, "Reaching approximate agreement in the presence of faults" (1986);
Mahaney and Schneider, "Inexact agreement: accuracy, precision, and graceful degradation" (1985); Lamport and
Melliar-Smith, "Synchronizing clocks in the presence of faults" (1985); LeBlanc, Zhang, Koutsoukos and Sundaram,
"Resilient asymptotic consensus in robust networks" (2013).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quorum.errors import ConfigurationError
from quorum.voting.arrays import Floats, at_least, finite, whole
from quorum.voting.refused import Refused, below_bound


class Step(NamedTuple):
    """The next value, and c: the range of right values shrinks to 1/c of what it was."""

    value: Floats
    convergence_factor_c: int


def approximate_agreement_step(values: npt.ArrayLike, faults: int, select_every: int = 1) -> Step | Refused:
    """Drop the T lowest and the T highest of N values, keep every k-th of the rest, and take their mean.
    `select_every` is k.

    c = floor((N-2T-1)/k) + 1. In synchronous rounds k = T (1 where T is 0), in asynchronous ones k = 2T.
    T bound: N >= 3T+1 (asynchronous: 5T+1, or 3T+1 over reliable broadcast); the value lies among right ones.
    Source: Dolev et al. (1986), the functions f_{k,t}.
    """
    array = finite(values, "values")
    channels = array.shape[-1]
    whole(select_every, "select_every", 1)
    refused = below_bound(channels, 3 * whole(faults, "T") + 1, faults)
    if refused is not None:
        return refused
    kept = np.sort(array, axis=-1)[..., faults : channels - faults : select_every]
    return Step(kept.mean(axis=-1), kept.shape[-1])


def crusader_convergence_average(values: npt.ArrayLike, faults: int, delta: float) -> Floats | Refused:
    """The mean of the values that N-T values at least, themselves included, lie within `delta` of; NaN without
    one.

    `delta` (unit of the values) is how far right values may be apart.
    T bound: N >= 3T+1; an accepted lie lies within delta of a right value.
    Source: Mahaney and Schneider (1985), crusader's convergence algorithm.
    """
    array = finite(values, "values")
    channels = array.shape[-1]
    at_least(delta, "delta")
    refused = below_bound(channels, 3 * whole(faults, "T") + 1, faults)
    if refused is not None:
        return refused
    near = np.zeros(array.shape, dtype=np.int64)
    for channel in range(channels):
        near += np.abs(array - array[..., channel, None]) <= delta
    accepted = near >= channels - faults
    count = accepted.sum(axis=-1)
    mean = np.where(accepted, array, 0.0).sum(axis=-1) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan)


def interactive_convergence(
    values: npt.ArrayLike, own: int, delta: float, faults: int | None = None
) -> Floats | Refused:
    """The mean of N values, where each that is more than `delta` from one's own is replaced by one's own.

    `own` is the index of one's own value; `delta` (unit of the values) is how far right values may be apart.
    T bound: N >= 3T+1, checked where `faults` is given; T liars move the mean by T*delta/N at most.
    Source: Lamport and Melliar-Smith (1985), algorithm CNV.
    """
    array = finite(values, "values")
    channels = array.shape[-1]
    at_least(delta, "delta")
    if whole(own, "own") >= channels:
        raise ConfigurationError(
            f"own={own} was given for {channels} values, but they are counted from 0. Give 0 to {channels - 1}."
        )
    refused = None if faults is None else below_bound(channels, 3 * whole(faults, "T") + 1, faults)
    if refused is not None:
        return refused
    mine = array[..., own, None]
    return np.asarray(np.where(np.abs(array - mine) <= delta, array, mine).mean(axis=-1))


def w_msr_step(
    own: npt.ArrayLike, neighbours: npt.ArrayLike, faults: int, weights: npt.ArrayLike | None = None
) -> Floats:
    """Of the values above one's own drop the F highest, of those below it the F lowest, or all where they are
    fewer; the mean of one's own and what is left.

    `weights` are above 0, one's own first, then one for each neighbour; None: all equal. What is left is scaled to
    1.
    T bound: F liars among the neighbours never push the value out of the range of right ones, whatever the graph
    is. That all come to agree needs a graph that is (2F+1)-robust, which one node cannot see, so nothing is
    refused.
    Source: LeBlanc et al. (2013), W-MSR.
    """
    mine, others = finite(own, "own", axes=0), finite(neighbours, "neighbours")
    count = others.shape[-1]
    whole(faults, "F")
    shares = np.ones(count + 1) if weights is None else finite(weights, "weights")
    if shares.shape != (count + 1,) or (shares <= 0).any():
        raise ConfigurationError(
            f"weights were given for {count} neighbours, but they must be {count + 1} numbers above 0, one's own "
            "first. Change them, or leave them out."
        )
    order = np.argsort(others, axis=-1, kind="stable")
    ordered = np.take_along_axis(others, order, axis=-1)
    above = np.minimum((others > mine[..., None]).sum(axis=-1, keepdims=True), faults)
    below = np.minimum((others < mine[..., None]).sum(axis=-1, keepdims=True), faults)
    places = np.arange(count)
    kept = np.where((places >= below) & (places < count - above), shares[1:][order], 0.0)
    total = shares[0] + kept.sum(axis=-1)
    return np.asarray((shares[0] * mine + (kept * ordered).sum(axis=-1)) / total)
