"""Compare quorum systems over nine nodes: who may decide, what each can do, and what a bad one risks.

Run: python examples/quorum_systems.py
"""

from fractions import Fraction
from math import exp

from quorum import ConfigurationError, QuorumSystem
from quorum.systems.architecture import Architecture, NodeTraits
from quorum.systems.availability import availability_of
from quorum.systems.check import check_raft, disjoint_quorums
from quorum.systems.classic import grid, hierarchical, majority, threshold
from quorum.systems.optimum import optimise
from quorum.systems.resilience import resilience_of

ZONES = [["a1", "a2", "a3"], ["b1", "b2", "b3"], ["c1", "c2", "c3"]]
NODES = [node for zone in ZONES for node in zone]
TRAITS = {node: NodeTraits(1000, 500, zone=node[0], failure_probability=Fraction(1, 100)) for node in NODES}
ZONES_FAIL = {zone: Fraction(1, 1000) for zone in "abc"}

systems = {
    "majority": majority(NODES),
    "flexible, 7 to elect and 3 to replicate": threshold(NODES, reads=7, writes=3),
    "majority of zones": hierarchical(ZONES),
    "grid": grid(ZONES),
    "any whole zone": QuorumSystem(reads="a1*a2*a3 + b1*b2*b3 + c1*c2*c3"),
}

for name, system in systems.items():
    without_a_zone = system.is_write_quorum(set(NODES) - {"a1", "a2", "a3"})
    print(f"{name}: can{'' if without_a_zone else 'not'} commit without zone a")
    architecture = Architecture(system, TRAITS, ZONES_FAIL, read_fraction=0.8)
    best, down = optimise(architecture), exp(availability_of(architecture).both.fails)
    print(f"   {best.capacity:.0f} requests/s, {best.network_load:.2f} nodes asked for each; ", end="")
    print(f"any {resilience_of(system).both} nodes may be lost; not available {down:.1e} of the time")
    try:
        check_raft(system)
    except ConfigurationError as error:
        print("   refused:", error)

witness = disjoint_quorums(systems["any whole zone"].reads, systems["any whole zone"].reads)
assert witness is not None and witness[0].isdisjoint(witness[1])
