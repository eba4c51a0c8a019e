"""What the pictures of `quorum plot` show, as numbers: curves of capacity, use of nodes, nines, and zones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Final, Literal, NamedTuple

from quorum.errors import ConfigurationError
from quorum.model import NodeId, quorum_size
from quorum.systems import classic
from quorum.systems.architecture import Architecture, NodeTraits
from quorum.systems.availability import availability_of
from quorum.systems.diagram import Chance
from quorum.systems.figures import load_of
from quorum.systems.optimum import Optimum, optimise
from quorum.systems.system import QuorumSystem

Kind = Literal["capacity", "utilisation", "nines", "zones"]
KINDS: Final[tuple[Kind, ...]] = ("capacity", "utilisation", "nines", "zones")
FRACTIONS: Final = tuple(step / 20 for step in range(21))
NODES_DRAWN: Final = 15
"""The curves of nines go at least so far."""
SIZES_MAX: Final = 30
LARGEST: Final = 1_001
"""And so far at most: a tail of more nodes takes longer than a person waits."""
Curve = tuple[tuple[int, float], ...]
"""Nodes, and nines; infinite where nothing fails."""


class Capacity(NamedTuple):
    """Operations per second at each of FRACTIONS: of the best strategy for that fraction, of the one that is best
    for the fractions of the file, and of the majority of the same nodes (None: the system is that)."""

    best: tuple[float, ...]
    kept: tuple[float, ...]
    majority: tuple[float, ...] | None


class Use(NamedTuple):
    """How much of a node's time goes to reads and to writes while the busiest node is full, from 0 to 1."""

    node: NodeId
    reads: float
    writes: float

    @property
    def whole(self) -> float:
        """Reads and writes together."""
        return self.reads + self.writes


class Nines(NamedTuple):
    """Nines of a live quorum (3: up 99.9 % of the time) by number of nodes, each of which is down with the chance
    `failed`: of the majority of odd numbers, of the quorums of N = 3T+1 where T may lie, and of the majority with
    its nodes spread evenly over the zones of the file (None: no zone fails); the first two as if no zone failed.
    `own` is the system itself, None where it never fails."""

    failed: Fraction
    majority: Curve
    byzantine: Curve
    spread: Curve | None
    own: float | None


class Zone(NamedTuple):
    """A zone (None: nodes without one), its nodes, and whether the others hold quorums without it."""

    name: str | None
    nodes: tuple[NodeId, ...]
    failed: Fraction
    is_readable_without: bool
    is_writable_without: bool


def kinds_of(architecture: Architecture) -> tuple[Kind, ...]:
    """The pictures that make sense: nines where something fails, zones where a node has one."""
    made = {"nines": architecture.fails, "zones": bool(_zones_of(architecture))}
    return tuple(kind for kind in KINDS if made.get(kind, True))


def check_kind(architecture: Architecture, kind: Kind) -> None:
    """Raises ConfigurationError for a picture that the file has no figures for."""
    if kind in kinds_of(architecture):
        return
    if kind == "nines":
        raise ConfigurationError(
            "a picture of nines was asked for, but no node or zone of this system has a failure probability. Give "
            'nodes one, as failure_probability = "1/100", or draw another kind.'
        )
    raise ConfigurationError(
        "a map of zones was asked for, but no node that reads or writes need has a zone. Give nodes one, as "
        'zone = "eu-1", or draw another kind.'
    )


def best_of(architecture: Architecture) -> Optimum:
    """The strategy of least load, for the read fractions of the file."""
    return optimise(architecture)


def capacity_of(architecture: Architecture, best: Optimum) -> Capacity:
    """The capacity by read fraction."""
    system = architecture.system
    plain = classic.majority(system.nodes)
    is_plain = (system.reads, system.writes) == (plain.reads, plain.writes)
    return Capacity(
        _best_at_each(architecture, system),
        tuple(1 / max(_loads(architecture, best, fraction)) for fraction in FRACTIONS),
        None if is_plain else _best_at_each(architecture, plain),
    )


def _best_at_each(architecture: Architecture, system: QuorumSystem) -> tuple[float, ...]:
    asked = (Architecture(system, architecture.nodes, read_fraction=fraction) for fraction in FRACTIONS)
    return tuple(optimise(each).capacity for each in asked)


def _loads(architecture: Architecture, best: Optimum, fraction: float) -> list[float]:
    reads, writes = best.read_probabilities, best.write_probabilities
    return [load_of(architecture, node, fraction, reads, writes) for node in architecture.system.nodes]


def use_of(architecture: Architecture, best: Optimum) -> list[Use]:
    """How busy each node is, busiest first."""
    nothing: Mapping[NodeId, float] = {}
    nodes = architecture.system.nodes
    parts = dict.fromkeys(nodes, (0.0, 0.0))
    for fraction, weight in architecture.mixes:
        peak = max(_loads(architecture, best, fraction))
        for node, (reads, writes) in parts.items():
            more_reads = load_of(architecture, node, fraction, best.read_probabilities, nothing)
            more_writes = load_of(architecture, node, fraction, nothing, best.write_probabilities)
            parts[node] = (reads + weight * more_reads / peak, writes + weight * more_writes / peak)
    uses = [Use(node, *each) for node, each in parts.items()]
    return sorted(uses, key=lambda use: (-round(use.whole, 9), use.node))


def nines_of(architecture: Architecture) -> Nines:
    """Nines by number of nodes, each of which is down as often as those of the file on average."""
    system = architecture.system
    each = [architecture.traits(node).failure_probability or Fraction(0) for node in system.nodes]
    failed = sum(each, Fraction(0)) / len(each)
    largest = min(max(NODES_DRAWN, len(system.nodes)), LARGEST)
    odd, liars = _some(range(1, largest + 1, 2)), _some(range(4, largest + 1, 3))
    zones = [zone for zone in _zones_of(architecture) if architecture.zones.get(zone)]
    own = nines(availability_of(architecture).both)
    return Nines(
        failed,
        tuple((size, _nines_of(size, size // 2 + 1, failed)) for size in odd),
        tuple((size, _nines_of(size, quorum_size(size, (size - 1) // 3, "byzantine"), failed)) for size in liars),
        tuple((size, _nines_spread(architecture, size, failed, zones)) for size in odd) if zones else None,
        own if own != math.inf else None,
    )


def nines(chance: Chance) -> float:
    """How many nines: 3 where it fails once in a thousand times; infinite where it never does."""
    return -chance.fails / math.log(10)


def _some(sizes: range) -> range:
    """Of many sizes, some."""
    return sizes[:: -(-len(sizes) // SIZES_MAX)]


def _nines_of(size: int, votes: int, failed: Fraction) -> float:
    """Where any so many votes decide."""
    names = [f"n{place}" for place in range(size)]
    traits = dict.fromkeys(names, NodeTraits(failure_probability=failed))
    return nines(availability_of(Architecture(classic.threshold(names, votes, votes), traits)).both)


def _nines_spread(architecture: Architecture, size: int, failed: Fraction, zones: list[str]) -> float:
    """A majority over all zones in turn."""
    traits = {
        f"n{place}": NodeTraits(failure_probability=failed, zone=zones[place % len(zones)])
        for place in range(size)
    }
    down: dict[str, Fraction | float | str] = {zone: architecture.zones[zone] for zone in zones}
    return nines(availability_of(Architecture(classic.majority(traits), traits, down)).both)


def _zones_of(architecture: Architecture) -> list[str]:
    found = {architecture.traits(node).zone for node in architecture.system.nodes}
    return sorted(zone for zone in found if zone is not None)


def zones_of(architecture: Architecture) -> list[Zone]:
    """Every zone of the nodes that reads or writes need; last those nodes that have none."""
    system = architecture.system
    members: dict[str | None, list[NodeId]] = {zone: [] for zone in _zones_of(architecture)}
    for node in system.nodes:
        members.setdefault(architecture.traits(node).zone, []).append(node)
    return [
        Zone(
            name,
            tuple(nodes),
            architecture.zones.get(name, Fraction(0)) if name is not None else Fraction(0),
            system.is_read_quorum(set(system.nodes) - set(nodes)),
            system.is_write_quorum(set(system.nodes) - set(nodes)),
        )
        for name, nodes in members.items()
    ]
