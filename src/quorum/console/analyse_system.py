"""`quorum analyse SYSTEM`: the figures of a quorum system and its best strategy, for programs and for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from quorum.console.command import plain
from quorum.console.documents import read_bounded
from quorum.systems.architecture import Architecture
from quorum.systems.architecture_text import TEXT_BYTES_MAX, Format, read_architecture
from quorum.systems.availability import Availability, availability_of
from quorum.systems.check import disjoint_quorums, shown
from quorum.systems.diagram import Chance
from quorum.systems.mixture import Mixture, Weighted
from quorum.systems.optimum import Aim, Limits, Optimum, optimise
from quorum.systems.resilience import Resilience, resilience_of
from quorum.systems.structure import UNDECIDED, deal_by_structure

QUORUMS_MAX = 1_000
"""A strategy over more sets is told by the probabilities of nodes."""
QUORUMS_SHOWN = 8
NODES_SHOWN = 12
MEETING_NODES_MAX = 20
"""With more nodes, and where structure alone does not tell, `quorum check` says whether quorums meet."""
FLOAT_LOG_MIN = -700.0


class Analysis(NamedTuple):
    """All figures of one system."""

    architecture: Architecture
    optimum: Optimum
    resilience: Resilience
    availability: Availability | None


def read_system(path: Path) -> Architecture:
    """The SYSTEM file, or standard input for `-`. Raises ConfigurationError that says what is wrong with it."""
    forms: dict[str, Format] = {".json": "json", ".toml": "toml"}
    data = read_bounded(None if str(path) == "-" else path, TEXT_BYTES_MAX, "a system", "Use choose(k, ...).")
    return read_architecture(data, forms.get(path.suffix.lower()))


def analysis_of(architecture: Architecture, aim: Aim, failures: int, limits: Limits) -> Analysis:
    """Raises NoStrategy where no strategy keeps to what is asked."""
    optimum = optimise(architecture, aim, failures, limits)
    available = availability_of(architecture) if architecture.fails else None
    return Analysis(architecture, optimum, resilience_of(architecture.system), available)


def facts_of(analysis: Analysis, is_explained: bool) -> dict[str, Any]:
    """For programs."""
    best, left, live = analysis.optimum, analysis.resilience, analysis.availability
    sides = {"read_": "reads", "write_": "writes", "": "both"}
    facts: dict[str, Any] = {
        "load": best.load,
        "capacity": best.capacity,
        "network_load": best.network_load,
        "latency": best.latency,
    }
    facts |= {f"{side}resilience": getattr(left, name) for side, name in sides.items()}
    chances: dict[str, Chance | None] = {side: live and getattr(live, name) for side, name in sides.items()}
    facts |= {f"{side}availability": chance and number(chance.holds) for side, chance in chances.items()}
    facts |= {f"{side}unavailability": chance and number(chance.fails) for side, chance in chances.items()}
    facts |= {"strategy": _strategy(best), "binding_nodes": list(best.binding_nodes)}
    if is_explained:
        facts |= {
            "optimised": best.aim,
            "bound": best.bound,
            "shadow_prices": dict(best.shadow_prices),
            "limit_prices": dict(best.limit_prices),
        }
    return facts


def number(logarithm: float) -> float | msgspec.Raw:
    """A chance from its logarithm; written out where it is smaller than what a float holds."""
    if logarithm == -math.inf or logarithm > FLOAT_LOG_MIN:
        return math.exp(logarithm)
    return msgspec.Raw(_small(logarithm, 15).encode())


def _small(logarithm: float, digits: int) -> str:
    exponent, rest = divmod(logarithm / math.log(10), 1)
    return f"{10**rest:.{digits}g}e{int(exponent)}"


def _strategy(best: Optimum) -> dict[str, Any]:
    listed = {"reads": best.reads.listed(QUORUMS_MAX), "writes": best.writes.listed(QUORUMS_MAX)}
    if any(sets is None for sets in listed.values()):
        chances = {"read": dict(best.read_probabilities), "write": dict(best.write_probabilities)}
        return {"node_probabilities": chances}
    return {
        side: [{"quorum": sorted(quorum), "probability": chance} for quorum, chance in sets or ()]
        for side, sets in listed.items()
    }


def note_of(architecture: Architecture) -> str | None:
    """That reads and writes do not meet, where that is quickly found: figures of such a system mislead."""
    system = architecture.system
    found = deal_by_structure(system.reads, system.writes)
    if found is UNDECIDED:
        few = len(system.nodes) <= MEETING_NODES_MAX
        found = disjoint_quorums(system.reads, system.writes) if few else None
    if found is None:
        return None
    mine, theirs = map(shown, found)
    return plain(f"reads and writes do not meet: {mine} may read what {theirs} has not told. Do not run this.")


def lines_of(analysis: Analysis) -> list[str]:
    """For people."""
    best, left, live = analysis.optimum, analysis.resilience, analysis.availability
    system = analysis.architecture.system
    lines = [f"{len(system.nodes)} nodes; the strategy with the least {_AIMS[best.aim]}", ""]
    lines += [
        f"{'capacity':16}{best.capacity:.6g} operations per second",
        f"{'load':16}{best.load:.6g} of a second, for an operation, of the busiest node",
        f"{'network load':16}{best.network_load:.6g} nodes are asked for an operation",
        f"{'latency':16}{best.latency:.6g} s",
        "",
        f"{'':16}{'reads':>12}{'writes':>12}{'both':>12}",
        f"{'may be lost':16}{left.reads:>12}{left.writes:>12}{left.both:>12}",
    ]
    if live is not None:
        lines.append(f"{'unavailability':16}" + "".join(f"{_shown_chance(each):>12}" for each in live))
    lines += ["", *_busiest(best)]
    for name, mixture, chances in (
        ("reads", best.reads, best.read_probabilities),
        ("writes", best.writes, best.write_probabilities),
    ):
        lines += ["", *_asked(name, mixture, chances)]
    return [plain(line) for line in lines]


_AIMS: Mapping[Aim, str] = {"load": "load", "network": "network load", "latency": "latency"}


def _shown_chance(chance: Chance) -> str:
    if chance.fails == -math.inf or chance.fails > FLOAT_LOG_MIN:
        return f"{math.exp(chance.fails):.4g}"
    return _small(chance.fails, 4)


def _busiest(best: Optimum) -> list[str]:
    """Who limits the capacity, and what more of it would bring, most first."""
    names = list(best.binding_nodes[:NODES_SHOWN])
    more = len(best.binding_nodes) - len(names)
    lines = [f"busiest: {', '.join(names)}" + (f", and {more} more" if more else "")]
    prices = sorted(best.shadow_prices.items(), key=lambda each: (-round(each[1], 9), each[0]))
    for node, price in prices[:QUORUMS_SHOWN]:
        lines.append(f"  10 % more capacity of {node} gives about {10 * price:.2g} % less {_AIMS[best.aim]}")
    for name, price in best.limit_prices.items():
        lines.append(f"  10 % more of the {name} limit gives about {10 * price:.2g} % less {_AIMS[best.aim]}")
    return lines


def _asked(name: str, mixture: Mixture, chances: Mapping[str, float]) -> list[str]:
    sets = mixture.listed(QUORUMS_MAX)
    if sets is None:
        busy = sorted(chances.items(), key=lambda each: (-round(each[1], 9), each[0]))[:QUORUMS_SHOWN]
        return [f"{name}: drawn from more than {QUORUMS_MAX:,} sets; each node is asked with"] + [
            f"  {chance:8.2%}  {node}" for node, chance in busy
        ]
    lines = [f"{name}: how often each set is asked"]
    lines += [f"  {each.probability:8.2%}  {_names(each)}" for each in sets[:QUORUMS_SHOWN]]
    if len(sets) > QUORUMS_SHOWN:
        lines.append(f"  and {len(sets) - QUORUMS_SHOWN} more")
    return lines


def _names(each: Weighted) -> str:
    return shown(each.quorum)
