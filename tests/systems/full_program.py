"""The best strategy by brute force: every set of nodes has a column of its own, whether or not it is minimal."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import strategies as st

from quorum.systems.algebra import Expression
from quorum.systems.architecture import Architecture, NodeTraits
from quorum.systems.optimum import AIMS, Aim, Limits
from quorum.systems.program import Budget, Face, Program
from quorum.systems.system import QuorumSystem
from systems.strategies import NAMES, expressions, subsets


@st.composite
def architectures(draw: st.DrawFn, names: tuple[str, ...] = NAMES[:5], leaves_max: int = 7) -> Architecture:
    """Any system over a few nodes, with traits that are often alike and often not."""
    reads = draw(expressions(names, leaves_max))
    writes = draw(st.one_of(st.none(), expressions(names, leaves_max)))
    capacity = st.sampled_from((0.25, 1.0, 2.0, 5.0, 400.0))
    traits = st.builds(NodeTraits, capacity, capacity, st.sampled_from((0.5, 1.0, 3.0)))
    nodes = draw(st.dictionaries(st.sampled_from(names), traits))
    fractions = st.sampled_from((0.0, 0.25, 0.5, 0.9, 1.0))
    mix = draw(st.one_of(fractions, st.dictionaries(fractions, st.integers(1, 4), min_size=1, max_size=3)))
    return Architecture(QuorumSystem(reads, writes), nodes, {}, mix)


def contacts(expression: Expression, failures: int) -> list[frozenset[str]]:
    """The sets that hold a quorum after any `failures` of their members are lost."""
    return [
        nodes
        for nodes in subsets(expression.nodes)
        if all(expression.contains(nodes - set(lost)) for lost in combinations(nodes, min(failures, len(nodes))))
    ]


def latency(architecture: Architecture, expression: Expression, nodes: frozenset[str]) -> float:
    """Until the answers so far, fastest first, hold a quorum."""
    waits = {node: architecture.traits(node).latency for node in nodes}
    return min(
        wait for wait in waits.values() if expression.contains({node for node in nodes if waits[node] <= wait})
    )


def best(architecture: Architecture, aim: Aim, failures: int = 0, limits: Limits | None = None) -> float | None:
    """The least value of the aim; None where no strategy keeps to the limits."""
    program, system, mixes = Program(), architecture.system, architecture.mixes
    share = architecture.mean_read_fraction
    peaks = [program.column() for _ in mixes]
    terms: dict[Aim, list[tuple[int, float]]] = {"load": [], "network": [], "latency": []}
    terms["load"] = [(peak, mix.weight) for peak, mix in zip(peaks, mixes, strict=True)]
    loads = {(node, mix): [(peak, -1.0)] for node in system.nodes for mix, peak in enumerate(peaks)}
    for is_read, expression in ((True, system.reads), (False, system.writes)):
        part = share if is_read else 1 - share
        sets = contacts(expression, failures)
        columns = [program.column() for _ in sets]
        program.row([(column, 1.0) for column in columns], 1.0, 1.0)
        for column, nodes in zip(columns, sets, strict=True):
            terms["network"].append((column, part * len(nodes)))
            terms["latency"].append((column, part * latency(architecture, expression, nodes)))
            for node in sorted(nodes):
                traits = architecture.traits(node)
                for place, mix in enumerate(mixes):
                    cost = mix.fraction / traits.read_capacity
                    if not is_read:
                        cost = (1 - mix.fraction) / traits.write_capacity
                    loads[node, place].append((column, cost))
    for row in loads.values():
        program.row(row, upper=0.0)
    for name, limit in zip(AIMS, limits or Limits(), strict=True):
        if limit is not None:
            program.row(terms[name], upper=limit)
    found = Face(program.arrays(), Budget(10)).minimise(np.asarray(program.costs(terms[aim])))
    return None if found is None else found.value
