"""What a quorum system runs on: capacities, latencies, zones and failures of nodes, and the mix of requests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.systems.algebra import ALWAYS, NEVER, TOTAL_WEIGHT_MAX, check_id
from quorum.systems.system import QuorumSystem

CAPACITY_MIN, CAPACITY_MAX = 1e-9, 1e15
"""Operations per second of one node; within these bounds a linear program keeps its digits."""
LATENCY_MAX = 1e9
NODES_MAX = 100_000
FRACTIONS_MAX = 1_000


class NodeTraits(msgspec.Struct, frozen=True):
    """One node: operations per second it can serve, seconds until it answers, votes, zone, and how likely it is
    down while its zone is up (None: not said, and then it never is)."""

    read_capacity: float = 1.0
    write_capacity: float = 1.0
    latency: float = 1.0
    weight: int = 1
    zone: str | None = None
    failure_probability: Fraction | None = None


PLAIN = NodeTraits()


class Mix(NamedTuple):
    """A read fraction, and how much of the time it holds; the weights of all sum to 1."""

    fraction: float
    weight: float


class Architecture:
    """A quorum system with the traits of its nodes. Immutable.

    `read_fraction` is the share of reads among all requests, or a distribution: fraction to weight, above 0 and of
    any sum. `zones` maps zones to the probability that the whole zone is down; one that is not in it never is. A
    node that is not in `nodes` has all defaults. Raises ConfigurationError for a value that is out of range.
    """

    __slots__ = ("mixes", "nodes", "system", "zones")
    system: QuorumSystem
    nodes: Mapping[NodeId, NodeTraits]
    zones: Mapping[str, Fraction]
    mixes: tuple[Mix, ...]

    def __init__(
        self,
        system: QuorumSystem,
        nodes: Mapping[NodeId, NodeTraits] | None = None,
        zones: Mapping[str, Fraction | float | str] | None = None,
        read_fraction: float | Mapping[float, float] = 0.5,
    ) -> None:
        for side, expression in (("reads", system.reads), ("writes", system.writes)):
            if expression in (ALWAYS, NEVER):
                raise ConfigurationError(
                    f"figures were asked for where no set of nodes, or every one, is a quorum of the {side}, but "
                    "then there is nothing to plan. Name at least one node on each side."
                )
        _check_count("nodes", len({*system.nodes, *(nodes or ())}), NODES_MAX)
        known = {node: _checked(node, traits) for node, traits in (nodes or {}).items()}
        down = {zone: probability(each, f"zone {zone[:60]!r}") for zone, each in (zones or {}).items()}
        _set(self, "system", system)
        _set(self, "nodes", MappingProxyType(known))
        _set(self, "zones", MappingProxyType(down))
        _set(self, "mixes", mixes_of(read_fraction))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} cannot be set: an architecture does not change. Build another one.")

    def __repr__(self) -> str:
        return f"Architecture({self.system!r}, {len(self.nodes)} nodes described)"

    def traits(self, node: NodeId) -> NodeTraits:
        """The traits of a node, described or not."""
        return self.nodes.get(node, PLAIN)

    @property
    def mean_read_fraction(self) -> float:
        """Reads among all requests, over the whole distribution."""
        return sum(mix.fraction * mix.weight for mix in self.mixes)

    @property
    def fails(self) -> bool:
        """Whether any probability was given, of a node or of a zone."""
        return bool(self.zones) or any(each.failure_probability is not None for each in self.nodes.values())


_set = object.__setattr__


def probability(given: Fraction | float | str, whose: str) -> Fraction:
    """A probability without rounding: 0.01 is "1/100". Raises ConfigurationError for what is none."""
    found: Fraction | None = None
    if isinstance(given, (int, float, Fraction)) and not isinstance(given, bool) and 0 <= given <= 1:
        found = Fraction(repr(given)) if isinstance(given, float) else Fraction(given)
    elif isinstance(given, str) and 0 < len(given) <= 60 and given.isascii():
        found = _fraction_of(given)
    if found is None or not 0 <= found <= 1:
        raise ConfigurationError(
            f"{shown(given)} was given as the failure probability of {whose}, but it lies from 0 to 1. "
            'Write a number, as 0.01, or an exact fraction in quotes, as "1/100".'
        )
    return found


def _fraction_of(text: str) -> Fraction | None:
    """None for text that is no number. An exponent is kept small: it would be written out."""
    _, _, exponent = text.lower().partition("e")
    if len(exponent) > 4 or "_" in text:
        return None
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def mixes_of(read_fraction: float | Mapping[float, float]) -> tuple[Mix, ...]:
    """One fraction, or a distribution of fractions, by fraction and with weights that sum to 1. Raises
    ConfigurationError for a fraction outside 0 to 1, or a weight that is not above 0."""
    given = read_fraction if isinstance(read_fraction, Mapping) else {read_fraction: 1.0}
    _check_count("read fractions", len(given), FRACTIONS_MAX)
    for fraction, weight in given.items():
        if not _is_number(fraction) or not 0 <= fraction <= 1:
            raise ConfigurationError(
                f"{shown(fraction)} was given as a read fraction, but it is the share of reads among requests. "
                "Use a number from 0 (writes only) to 1 (reads only)."
            )
        if not _is_number(weight) or not 0 < weight <= 1e15:
            raise ConfigurationError(
                f"the read fraction {fraction:g} was given the weight {shown(weight)}, but it says how much "
                "of the time that fraction holds. Use a number above 0, or leave the fraction out."
            )
    total = sum(given.values())
    mixes = tuple(Mix(float(fraction), weight / total) for fraction, weight in sorted(given.items()))
    if not mixes:
        raise ConfigurationError(
            "a distribution without a read fraction was given, but something must be asked of the nodes. "
            "Give at least one, as 0.5, or leave the distribution out."
        )
    return mixes


def _checked(node: NodeId, traits: NodeTraits) -> NodeTraits:
    check_id(node)
    for name in ("read_capacity", "write_capacity"):
        value = getattr(traits, name)
        if not _is_number(value) or not CAPACITY_MIN <= value <= CAPACITY_MAX:
            raise ConfigurationError(
                f"node {node} was given the {name} {shown(value)}, but it counts operations per second. Use a "
                f"number from {CAPACITY_MIN:g} to {CAPACITY_MAX:g}; leave a node that serves nothing out of the "
                "expressions."
            )
    if not _is_number(traits.latency) or not 0 <= traits.latency <= LATENCY_MAX:
        raise ConfigurationError(
            f"node {node} was given the latency {shown(traits.latency)}, but it is in seconds. Use a number "
            f"from 0 to {LATENCY_MAX:g}."
        )
    weight = traits.weight
    if not isinstance(weight, int) or isinstance(weight, bool) or not 0 <= weight <= TOTAL_WEIGHT_MAX:
        raise ConfigurationError(
            f"node {node} was given the weight {shown(weight)}, but a weight counts votes. Use a whole number "
            f"from 0 to {TOTAL_WEIGHT_MAX:,}."
        )
    failing = traits.failure_probability
    exact = None if failing is None else probability(failing, f"node {node}")
    return msgspec.structs.replace(
        traits,
        read_capacity=float(traits.read_capacity),
        write_capacity=float(traits.write_capacity),
        latency=float(traits.latency),
        failure_probability=exact,
    )


def _is_number(value: object) -> bool:
    """An integer that no float holds is none."""
    if isinstance(value, int) and abs(value) > 10**18:
        return False
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _check_count(what: str, count: int, most: int) -> None:
    if count > most:
        raise ConfigurationError(
            f"{count:,} {what} were given, but {most:,} is the limit. Plan with one for each group that is alike."
        )


def shown(value: object) -> str:
    """A value as an error quotes it: on one line, escaped, not too long."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):  # an integer of very many digits; tables nested very deeply
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
