"""Compare quorum systems over nine nodes: who may decide, and what a bad one risks.

Run: python examples/quorum_systems.py
"""

from quorum import ConfigurationError, QuorumSystem
from quorum.systems.check import check_raft, disjoint_quorums
from quorum.systems.classic import grid, hierarchical, majority, threshold

ZONES = [["a1", "a2", "a3"], ["b1", "b2", "b3"], ["c1", "c2", "c3"]]
NODES = [node for zone in ZONES for node in zone]

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
    try:
        check_raft(system)
    except ConfigurationError as error:
        print("   refused:", error)

witness = disjoint_quorums(systems["any whole zone"].reads, systems["any whole zone"].reads)
assert witness is not None and witness[0].isdisjoint(witness[1])
