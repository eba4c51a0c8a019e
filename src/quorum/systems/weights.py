"""Weights that let few fast nodes decide, without a loss of safety or of the faults that are survived.

Spare nodes, more than N = 2T+1 (crash) or 3T+1 (lies) asks for, are worth nothing to a plain majority: the quorum
grows with them. Weights make them worth something: T nodes (crash) or 2T (lies) get more votes, so that the
fastest T+1 or 2T+1 nodes decide, and the largest quorum needed is never beyond N-T.

Sources: Sousa and Bessani, "Separating the WHEAT from the Chaff" (2015), for the two weights and their
proof; Zhang et al., "Cabinet: Dynamically Weighted Consensus Made Fast" (2025), for the two bounds that
any weights must keep: the T heaviest have less than half, the T+1 heaviest have more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import gcd
from typing import NamedTuple

from quorum.errors import ConfigurationError
from quorum.model import FaultModel, NodeId, nodes_needed
from quorum.systems.algebra import Expression, Threshold
from quorum.systems.byzantine import weighted_byzantine
from quorum.systems.classic import weighted


class Scheme(NamedTuple):
    """`n_vmax` of the `n` nodes weigh `vmax`, the others `vmin`; sets of `quorum_weight` decide, of a `total`.

    `smallest` and `largest` are how many nodes the smallest and the largest minimal quorum have. Weights are whole
    numbers: those of the paper, 1 and 1 + delta/faults, times `scale`.
    """

    n: int
    vmax: int
    vmin: int
    n_vmax: int
    quorum_weight: int
    total: int
    smallest: int
    largest: int
    scale: int


def wheat(faults: int, delta: int, model: FaultModel = "byzantine") -> Scheme:
    """The scheme for T = `faults` and `delta` spare nodes.

    In the units of the paper: N = 3T+1+delta, 2T nodes weigh 1 + delta/T and the rest 1, and 2(T+delta)+1 decide;
    where nodes only crash N = 2T+1+delta, T of them are heavy, and T+delta+1 decide. Every two quorums then share
    T+1 nodes (crash: one), and any T nodes may be silent.
    Raises ConfigurationError unless T is 1 or more and delta 0 or more.
    """
    for name, value, least in (("T", faults, 1), ("delta", delta, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigurationError(
                f"weights were asked for with {name}={value!r}, but the scheme counts nodes. Give a whole number, "
                f"{least} or more."
            )
    common = gcd(faults, delta)
    scale, heavy = faults // common, (faults + delta) // common
    rounds = 1 if model == "crash" else 2
    n = nodes_needed(faults, model) + delta
    n_vmax = rounds * faults
    return Scheme(
        n,
        vmax=heavy,
        vmin=scale,
        n_vmax=n_vmax,
        quorum_weight=scale * (rounds * (faults + delta) + 1),
        total=n_vmax * heavy + (n - n_vmax) * scale,
        smallest=n_vmax + 1,
        largest=n - faults,
        scale=scale,
    )


def scheme_for(nodes: int, faults: int, model: FaultModel) -> Scheme | None:
    """The scheme of N nodes of which T fail; None where T is 0 or nobody is to spare: all weigh the same."""
    delta = nodes - nodes_needed(faults, model)
    return wheat(faults, delta, model) if faults >= 1 and delta >= 1 else None


def assign(scheme: Scheme, nodes: Iterable[NodeId], heavy: Iterable[NodeId]) -> dict[NodeId, int]:
    """The weight of each node, by name, where those in `heavy` have the greater one."""
    chosen = frozenset(heavy)
    weights = {node: scheme.vmax if node in chosen else scheme.vmin for node in sorted(nodes)}
    assert len(weights) == scheme.n, "the scheme is for so many nodes"
    assert len(chosen) == scheme.n_vmax and chosen <= weights.keys(), "so many of them are heavy"
    return weights


def decide_by(weights: Mapping[NodeId, int], faults: int, model: FaultModel) -> Expression:
    """The sets that decide by these weights: more than half of the votes; where up to `faults` nodes may lie, so
    many that every two sets share more than those have. Raises ConfigurationError as `check_weights`."""
    check_weights(weights, faults, model)
    system = weighted(weights) if model == "crash" else weighted_byzantine(weights, faults)
    return system.writes


def check_weights(weights: Mapping[NodeId, int], faults: int, model: FaultModel = "crash") -> None:
    """Raise ConfigurationError unless any `faults` of the nodes can be lost and a quorum is left.

    So each quorum has more than `faults` nodes, too, and what it decided outlives them. That every two quorums
    meet needs no check: more than half of the votes decide.
    """
    if model == "byzantine":
        weighted_byzantine(weights, faults)
        return
    total = Threshold(weights, 1).total
    heaviest = sorted(weights, key=lambda node: (-weights[node], node))[: max(0, faults)]
    held = sum(weights[node] for node in heaviest)
    if 2 * held >= total:
        one = faults == 1
        each = "each node" if one else f"every {faults} nodes together"
        raise ConfigurationError(
            f"weights were asked for that survive the loss of {faults} of {len(weights)} nodes, but "
            f"{', '.join(heaviest)} {'has' if one else 'have'} {held} of {total} votes, without which no quorum "
            f"is left. Give {each} less than half of the votes."
        )
