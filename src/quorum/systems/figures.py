"""What a strategy that somebody wrote down comes to: its load, capacity, network load and latency."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import NamedTuple

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.systems.algebra import Expression
from quorum.systems.architecture import Architecture
from quorum.systems.check import shown

QUORUMS_MAX = 10_000
"""A strategy that is written out has no more sets."""
SUM_OFF_MAX = 1e-9

Latency = Callable[[NodeId], float]
"""Seconds until a node answers."""
Strategy = Mapping[frozenset[NodeId], float]
"""How often each set of nodes is asked; the sum is 1."""


class Figures(NamedTuple):
    """`load` is the mean over the read fractions of the busiest node's, `capacity` the mean of 1/load in
    operations per second, `network_load` nodes asked for an operation, `latency` seconds."""

    load: float
    capacity: float
    network_load: float
    latency: float


def figures_of(architecture: Architecture, reads: Strategy, writes: Strategy) -> Figures:
    """The figures of a strategy. Source: Whittaker and others, "Read-Write Quorum Systems Made Practical" (2021),
    sections 3 and 4. Raises ConfigurationError for a set that holds no quorum, or chances that do not sum to 1."""
    system, share = architecture.system, architecture.mean_read_fraction
    for side, expression, strategy in (("reads", system.reads, reads), ("writes", system.writes, writes)):
        _check(side, expression, strategy)
    chances = [_chances(strategy) for strategy in (reads, writes)]
    peaks = [
        max(load_of(architecture, node, mix.fraction, chances[0], chances[1]) for node in system.nodes)
        for mix in architecture.mixes
    ]
    weights = [mix.weight for mix in architecture.mixes]
    return Figures(
        sum(weight * peak for weight, peak in zip(weights, peaks, strict=True)),
        sum(weight / peak for weight, peak in zip(weights, peaks, strict=True)),
        share * sum(chances[0].values()) + (1 - share) * sum(chances[1].values()),
        share * _latency(architecture, system.reads, reads)
        + (1 - share) * _latency(architecture, system.writes, writes),
    )


def uniform(expression: Expression) -> Strategy:
    """Every minimal quorum as often as every other. Raises ConfigurationError for more than QUORUMS_MAX."""
    quorums = list(islice(expression.quorums(), QUORUMS_MAX + 1))
    if len(quorums) > QUORUMS_MAX:
        raise ConfigurationError(
            f"all quorums of an expression over {len(expression.nodes)} nodes were to be asked alike, but there "
            f"are more than {QUORUMS_MAX:,}. Let `optimise` find a strategy: it lists none."
        )
    return dict.fromkeys(quorums, 1 / len(quorums))


def load_of(
    architecture: Architecture,
    node: NodeId,
    fraction: float,
    reads: Mapping[NodeId, float],
    writes: Mapping[NodeId, float],
) -> float:
    """The load of one node at a read fraction, given how often it is asked to read and to write."""
    traits = architecture.traits(node)
    of_writes = (1 - fraction) * writes.get(node, 0.0) / traits.write_capacity
    return fraction * reads.get(node, 0.0) / traits.read_capacity + of_writes


def latency_of(expression: Expression, nodes: frozenset[NodeId], latency: Latency) -> float:
    """Seconds until the answers of these nodes, fastest first, hold a quorum."""
    waits = sorted({latency(node) for node in nodes})
    low, high = 0, len(waits) - 1
    while low < high:
        middle = (low + high) // 2
        if expression.contains({node for node in nodes if latency(node) <= waits[middle]}):
            high = middle
        else:
            low = middle + 1
    return waits[low]


def _check(side: str, expression: Expression, strategy: Strategy) -> None:
    for nodes, chance in strategy.items():
        if not chance >= 0 or not expression.contains(nodes):
            what = "holds no quorum" if chance >= 0 else f"cannot be asked with {chance:g}"
            raise ConfigurationError(
                f"{shown(nodes)} was to be asked for {side}, but it {what}. Give sets that hold a quorum, each "
                "with a chance from 0 to 1."
            )
    total = sum(strategy.values())
    if not abs(total - 1) <= SUM_OFF_MAX:
        raise ConfigurationError(
            f"a strategy for {side} was given whose chances sum to {total:.12g}, but one set is asked each time. "
            "Let them sum to 1."
        )


def _chances(strategy: Strategy) -> dict[NodeId, float]:
    found: dict[NodeId, float] = {}
    for nodes, chance in strategy.items():
        for node in nodes:
            found[node] = found.get(node, 0.0) + chance
    return found


def _latency(architecture: Architecture, expression: Expression, strategy: Strategy) -> float:
    return sum(
        chance * latency_of(expression, nodes, lambda node: architecture.traits(node).latency)
        for nodes, chance in strategy.items()
    )
