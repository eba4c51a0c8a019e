"""`python -P bench/peers/planning.py PLANNER SECONDS < CASE`: one case and one planner, in a process of its own.

The case is JSON: `reads` as a tree (a name, or a number k and the parts of which any k are needed), `traits` (read
capacity, write capacity and latency of each node), `mix` (read fraction and weight), `failures`, and `load_limit`
for the strategy of least latency, else null for that of least load. Writes are the dual of the reads. Printed are
the CPU seconds from there to the figures, those of a solver's process too, without the time to import; and the
figures.
"""

from __future__ import annotations

import datetime
import json
import resource
import sys
import warnings
from collections.abc import Callable
from typing import Any

MEMORY_BYTES_MAX = 4 * 2**30
REPEATS_MAX, REPEAT_S_MAX = 3, 0.5
"""What is quick is done again, and the least time counts."""

Case = dict[str, Any]
Figures = dict[str, float]


def planner_of(name: str) -> Callable[[Case], Figures]:
    """Import what the planner needs, and return what answers a case."""
    if name == "quorum":
        import quorum.systems.search_optimum  # noqa: F401  it is imported late otherwise

        return _by_quorum
    import quoracle  # noqa: F401

    return _by_quoracle


def _by_quorum(case: Case) -> Figures:
    from quorum import QuorumSystem
    from quorum.systems.architecture import Architecture, NodeTraits
    from quorum.systems.expression import Expression, Node, choose
    from quorum.systems.optimum import Limits, optimise

    def built(tree: Any) -> Expression:
        return Node(tree) if isinstance(tree, str) else choose(tree[0], *map(built, tree[1:]))

    nodes = {node: NodeTraits(*traits) for node, traits in case["traits"].items()}
    architecture = Architecture(QuorumSystem(built(case["reads"])), nodes, read_fraction=dict(case["mix"]))
    limit = case["load_limit"]
    aim = "load" if limit is None else "latency"
    found = optimise(architecture, aim, case["failures"], Limits(load=limit))
    return {"capacity": found.capacity, "latency": found.latency}


def _by_quoracle(case: Case) -> Figures:
    from quoracle import Node, QuorumSystem
    from quoracle.expr import And, Choose, Or

    nodes = {
        name: Node(name, read_capacity=reads, write_capacity=writes, latency=datetime.timedelta(seconds=latency))
        for name, (reads, writes, latency) in case["traits"].items()
    }

    def built(tree: Any) -> Any:
        if isinstance(tree, str):
            return nodes[tree]
        parts = list(map(built, tree[1:]))
        if tree[0] in (1, len(parts)):
            return Or(parts) if tree[0] == 1 else And(parts)
        return Choose(tree[0], parts)

    system, mix, limit = QuorumSystem(reads=built(case["reads"])), dict(case["mix"]), case["load_limit"]
    given = {"optimize": "load"} if limit is None else {"optimize": "latency", "load_limit": limit}
    strategy = system.strategy(read_fraction=mix, f=case["failures"], **given)
    return {
        "capacity": strategy.capacity(read_fraction=mix),
        "latency": strategy.latency(read_fraction=mix).total_seconds(),
    }


def _cpu_s() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def main() -> None:
    planner, seconds = sys.argv[1], int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    warnings.simplefilter("ignore")  # PuLP says with each call that its next release will be another one
    case, answer = json.load(sys.stdin), planner_of(planner)
    resource.setrlimit(resource.RLIMIT_CPU, (int(_cpu_s()) + seconds + 1, resource.RLIM_INFINITY))
    took_s: list[float] = []
    while not took_s or (len(took_s) < REPEATS_MAX and sum(took_s) < REPEAT_S_MAX):
        began_s = _cpu_s()
        figures = answer(case)
        took_s.append(_cpu_s() - began_s)
    print(json.dumps({"cpu_s": min(took_s), **figures}))


if __name__ == "__main__":
    main()
