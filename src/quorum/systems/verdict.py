"""How far a quorum system is safe and live: what its quorums share, and how many nodes of each kind may fail.

Two quorums that share one node keep nodes that crash from deciding twice. Against T nodes that lie they share T+1
where what is stored is signed (dissemination), 2T+1 where it is not (masking), and where readers do not know T
(opaque) the honest nodes that are up to date outnumber all others of a read quorum.
Source: Malkhi and Reiter, "Byzantine Quorum Systems" (1998), sections 4 to 6.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.systems.algebra import Expression
from quorum.systems.byzantine import sharing_at_most
from quorum.systems.opaque import equal_votes, least_margin, margin_of
from quorum.systems.resilience import fewest_to_stop
from quorum.systems.structure import Witness
from quorum.systems.system import QuorumSystem

Model = Literal["crash", "byzantine", "masking", "opaque"]
MODELS: Final[tuple[Model, ...]] = ("crash", "byzantine", "masking", "opaque")


class MaxFaults(msgspec.Struct, frozen=True):
    """The largest T of each kind that is stood and leaves a quorum; None: not even 0."""

    crash: int | None
    dissemination: int | None
    masking: int | None
    opaque: int | None


class Refuted(msgspec.Struct, frozen=True):
    """A read and a write quorum that share too little, and shared nodes that may lie."""

    first: frozenset[NodeId]
    second: frozenset[NodeId]
    faulty: frozenset[NodeId]


class Verdict(msgspec.Struct, frozen=True):
    """`live`: whether a read and a write quorum are left without any T nodes. `crash_resilience`: the most nodes
    without any of which both are left."""

    safe: bool
    live: bool
    witness: Refuted | None
    smallest_intersection: int
    crash_resilience: int
    max_faults: MaxFaults
    is_opaque_known: bool = True
    """Whether `max_faults.opaque` is an answer: a system may have too many quorums to say."""


def judge_system(system: QuorumSystem, model: Model = "crash", faults: int = 0, given: str = "both") -> Verdict:
    """Judge a system for T faults of a model.

    `given` says which sides were: for "both" reads are paired with writes; for "reads" or "writes" any two quorums
    of that side are what shares nodes, while `safe` is still about reads and writes. Raises ConfigurationError for
    a T below 0, and where a solver gives up or quorums are too many to be paired.
    """
    if faults < 0:
        raise ConfigurationError(
            f"a system was to be checked with T={faults}, but T counts nodes. Give a whole number, 0 or more."
        )
    one, other = {"reads": (system.reads, system.reads), "writes": (system.writes, system.writes)}.get(
        given, (system.reads, system.writes)
    )
    stops = [fewest_to_stop(each) - 1 for each in (system.reads, system.writes)]
    resilience = min(stops)
    witness = _refuted(system.reads, system.writes, model, faults)
    shared = smallest_intersection(one, other)
    left = {"reads": stops[0], "writes": stops[1]}.get(given, resilience)
    weakest = least_margin(one, other) if shared else None
    return Verdict(
        witness is None,
        resilience >= faults,
        witness,
        shared,
        resilience,
        MaxFaults(
            _at_most(left, shared >= 1, left),
            _at_most(left, shared >= 1, shared - 1),
            _at_most(left, shared >= 1, (shared - 1) // 2),
            None if weakest is None else _at_most(left, margin_of(weakest) >= 0, _opaque(weakest, shared)),
        ),
        weakest is not None or not shared,
    )


def smallest_intersection(one: Expression, other: Expression) -> int:
    """The fewest nodes that a quorum of each share. Exact; raises ConfigurationError where a solver gives up."""
    sizes = equal_votes(one), equal_votes(other)
    if one.nodes == other.nodes and sizes[0] is not None and sizes[1] is not None:
        return max(0, sizes[0] + sizes[1] - len(one.nodes))
    count = 0
    while (found := sharing_at_most(one, other, count)) is None:
        count += 1
    return len(found[0] & found[1])


def refutes(system: QuorumSystem, model: Model, faults: int, witness: Refuted) -> bool:
    """Whether a witness proves that the system is unsafe. Uses no part of the search."""
    shared = witness.first & witness.second
    honest = len(shared - witness.faulty)
    lying = len(witness.faulty)
    others = lying + len(witness.first - witness.second)
    is_short = {
        "crash": not shared,
        "byzantine": honest == 0,
        "masking": honest <= lying,
        "opaque": honest <= lying or honest < others,
    }
    return (
        is_short[model]
        and system.reads.contains(witness.first)
        and system.writes.contains(witness.second)
        and witness.faulty <= shared
        and len(witness.faulty) <= (0 if model == "crash" else faults)
    )


def _refuted(reads: Expression, writes: Expression, model: Model, faults: int) -> Refuted | None:
    """A read and a write quorum that share too little for this model; None if there are none."""
    needed = {"crash": 0, "byzantine": faults, "masking": 2 * faults, "opaque": 2 * faults}
    found = sharing_at_most(reads, writes, needed[model])
    if found is None and model == "opaque":
        weakest = _least_margin(reads, writes)
        found = weakest if margin_of(weakest) < 2 * faults else None
    if found is None:
        return None
    lying = sorted(found[0] & found[1])[: 0 if model == "crash" else faults]
    return Refuted(found[0], found[1], frozenset(lying))


def _at_most(left: int, holds: bool, most: int) -> int | None:
    return min(left, most) if holds else None


def _opaque(weakest: Witness, shared: int) -> int:
    return min((shared - 1) // 2, margin_of(weakest) // 2)


def _least_margin(one: Expression, other: Expression) -> Witness:
    pair = least_margin(one, other)
    if pair is None:
        raise ConfigurationError(
            f"opaque faults of a system were asked for that names nodes {one.leaves} and {other.leaves} times, "
            "but it has too many quorums to pair them. Ask about fewer nodes, or let reads and writes be one "
            "expression that names no node twice."
        )
    return pair
