"""How many nodes, tolerating how many faults, in how many zones, reach a target at the least cost; and why fewer
do not.

Only systems of equal votes are considered: of nodes that fail independently, each with less than one half, no
other system is up more often (Barbara and Garcia-Molina, "The Reliability of Voting Mechanisms", 1987; Peleg and
Wool, "The Availability of Quorum Systems", 1995). Zones, which fail as wholes, get as equal numbers as can be.
Every chance is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import msgspec

from quorum.errors import ConfigurationError
from quorum.model import FaultModel, NodeId, nodes_needed, quorum_size
from quorum.systems.architecture import Architecture, NodeTraits, probability
from quorum.systems.availability import availability_of
from quorum.systems.classic import threshold
from quorum.systems.lying import Faults, trust_of

NODES_MAX: Final = 201
COST_MAX: Final = 1e12


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan is asked for. `target`: how likely a quorum is up, below 1. `failure`: of a node while its zone
    is up; `zone_failure`: of a zone, of which there are `zones` (0: none). `faults`: T at least. Where members may
    lie, `lying` is how likely one does, and then target is of being safe and live at once. `survives_zone`:
    whichever zone is lost, a quorum is left. `node_cost`: in any unit. No more than `nodes_max` nodes are tried.
    """

    target: Fraction
    failure: Fraction
    model: FaultModel = "crash"
    faults: int = 1
    lying: Fraction = Fraction(0)
    zones: int = 0
    zone_failure: Fraction = Fraction(0)
    survives_zone: bool = False
    node_cost: float = 1.0
    nodes_max: int = 51


class Candidate(msgspec.Struct, frozen=True):
    """N nodes that tolerate T and decide by `quorum`, and how many of them are in each zone.

    `log_unavailability`: natural logarithm of how likely the target's event fails. `load`: the share of operations
    that each node takes. `shortcoming`: why it does not do, "" if it does.
    """

    nodes: int
    faults: int
    quorum: int
    zones: tuple[int, ...]
    cost: float
    load: float
    log_unavailability: float
    shortcoming: str = ""

    @property
    def unavailability(self) -> float:
        """How likely it fails; 0 where that is smaller than every float."""
        return math.exp(self.log_unavailability)

    @property
    def nines(self) -> float:
        """Its negative decimal logarithm."""
        return -self.log_unavailability / math.log(10)


class Plan(msgspec.Struct, frozen=True):
    """The cheapest candidate that does, None if none does. `cheaper`: the best of each lower cost, which fall
    short, the dearest first. `front`: those that no other beats in cost, unavailability and load at once, by
    cost."""

    chosen: Candidate | None
    cheaper: tuple[Candidate, ...]
    front: tuple[Candidate, ...]


def plan(wanted: Wanted) -> Plan:
    """Try every N up to `nodes_max`, and T as far as N bears it. Of equal cost the one that fails least is chosen,
    then the one with fewer nodes. Raises ConfigurationError for what cannot be asked."""
    _check(wanted)
    found = [_judged(wanted, each) for each in _candidates(wanted)]
    good = [each for each in found if not each.shortcoming]
    chosen = min(good, key=lambda each: (each.cost, each.log_unavailability, each.nodes), default=None)
    below = [each for each in found if chosen is None or each.cost < chosen.cost]
    best: dict[float, Candidate] = {}
    for each in below:
        known = best.get(each.cost)
        if known is None or _rank(each) < _rank(known):
            best[each.cost] = each
    cheaper = sorted(best.values(), key=lambda each: -each.cost)
    return Plan(chosen, tuple(cheaper), _front(found))


def _rank(candidate: Candidate) -> tuple[float, int]:
    return candidate.log_unavailability, candidate.nodes


def _check(wanted: Wanted) -> None:
    why = ""
    if not 0 < wanted.target < 1:
        why, remedy = f"the target is {float(wanted.target):g}", "A target lies between 0 and 1, such as 0.99999"
    elif wanted.model not in ("crash", "byzantine"):
        why, remedy = f"the model is {wanted.model!r}", "Nodes crash, or lie (byzantine)"
    elif not 0 <= wanted.faults < NODES_MAX or not 1 <= wanted.nodes_max <= NODES_MAX:
        why, remedy = (
            f"T={wanted.faults}, with up to {wanted.nodes_max} nodes",
            f"T counts nodes, and at most {NODES_MAX} are tried",
        )
    elif nodes_needed(wanted.faults, wanted.model) > wanted.nodes_max:
        needed = nodes_needed(wanted.faults, wanted.model)
        why, remedy = (
            f"T={wanted.faults} takes {needed} nodes, and {wanted.nodes_max} are the most",
            "Allow more nodes, or tolerate fewer faults",
        )
    elif wanted.lying and wanted.model == "crash":
        why, remedy = "nodes lie, and the model is crash", "Ask for the model byzantine"
    elif not 0 <= wanted.zones <= NODES_MAX or (wanted.survives_zone and wanted.zones < 2):
        why, remedy = f"there are {wanted.zones} zones", "A loss of one is survived with two or more"
    elif wanted.zone_failure and not wanted.zones:
        why, remedy = "zones fail, and there are none", "Say how many zones there are"
    elif not 0 < wanted.node_cost <= COST_MAX:
        why, remedy = "a node costs nothing, or is beyond price", f"Costs lie above 0, up to {COST_MAX:g}"
    elif wanted.lying and wanted.zone_failure:
        why, remedy = "lying nodes in zones that fail are not worked out", "Leave one of them out"
    if why:
        raise ConfigurationError(f"a plan was asked for, but {why}. {remedy}.")
    probability(wanted.failure, "a node")
    probability(wanted.zone_failure, "a zone")
    if wanted.failure + wanted.lying > 1:
        raise ConfigurationError(
            f"a plan was asked for where nodes crash with {float(wanted.failure):g} and lie with "
            f"{float(wanted.lying):g}, but a node is in one state at a time. Let the two sum to 1 at most."
        )


def _candidates(wanted: Wanted) -> Iterator[Candidate]:
    for nodes in range(nodes_needed(wanted.faults, wanted.model), wanted.nodes_max + 1):
        most = (nodes - 1) // (2 if wanted.model == "crash" else 3)
        tolerated = [most] if wanted.model == "crash" else range(wanted.faults, most + 1)
        for faults in tolerated:
            quorum = quorum_size(nodes, faults, wanted.model)
            spread = _spread(nodes, wanted.zones)
            fails = _log_unavailability(wanted, nodes, faults)
            cost = nodes * wanted.node_cost
            yield Candidate(nodes, faults, quorum, spread, cost, quorum / nodes, fails)


def _spread(nodes: int, zones: int) -> tuple[int, ...]:
    used = min(nodes, zones)
    return tuple(nodes // used + (zone < nodes % used) for zone in range(used)) if used else ()


def _log_unavailability(wanted: Wanted, nodes: int, faults: int) -> float:
    """Of N nodes that tolerate T: the logarithm of how likely the target's event fails."""
    names: list[NodeId] = [f"n{number}" for number in range(nodes)]
    quorum = quorum_size(nodes, faults, wanted.model)
    system = threshold(names, quorum, quorum)
    if wanted.lying:
        return trust_of(system, dict.fromkeys(names, Faults(wanted.failure, wanted.lying))).both.fails
    zones = [f"z{zone}" for zone in range(min(nodes, wanted.zones))]
    traits = {
        name: NodeTraits(zone=zones[place % len(zones)] if zones else None, failure_probability=wanted.failure)
        for place, name in enumerate(names)
    }
    return availability_of(Architecture(system, traits, dict.fromkeys(zones, wanted.zone_failure))).both.fails


def _judged(wanted: Wanted, candidate: Candidate) -> Candidate:
    """The candidate with its shortcoming, the first that it has."""
    left = candidate.nodes - max(candidate.zones, default=0)
    allowed = math.log(1 - wanted.target)
    if wanted.survives_zone and left < candidate.quorum:
        why = f"losing a zone leaves {left} nodes of the {candidate.quorum} that decide"
    elif candidate.log_unavailability > allowed:
        over = candidate.log_unavailability - allowed
        why = f"it fails {math.exp(min(over, 700.0)):.3g} times as often as allowed"
    else:
        return candidate
    return msgspec.structs.replace(candidate, shortcoming=why)


def _front(found: list[Candidate]) -> tuple[Candidate, ...]:
    """Those that no other beats, by cost; of equals the first."""
    front: list[Candidate] = []
    for each in sorted(found, key=lambda each: (each.cost, each.log_unavailability, each.load, each.nodes)):
        beaten = any(
            other.log_unavailability <= each.log_unavailability and other.load <= each.load for other in front
        )
        if not beaten:
            front.append(each)
    return tuple(front)
