"""Masses of a tree in a linear program, and quorums drawn by walking it: no list of quorums is made."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import NamedTuple

from quorum.model import NodeId
from quorum.systems.mass_tree import Tree
from quorum.systems.program import Program, Vector

PIECE_MIN = 1e-12
"""Of a mass of 1; what is smaller is rounding."""

Shares = dict[NodeId, list[tuple[int, float]]]
"""How likely each node is chosen: factor times column, summed."""


class Flow(NamedTuple):
    """Column `column` has the mass of this place: of a node, or of a choice of `k` parts."""

    column: int
    node: NodeId
    k: int
    parts: tuple[Flow, ...]


def lay(program: Program, tree: Tree, column: int, shares: Shares) -> Flow:
    """Add the masses of a tree whose root has the mass in `column`; note in `shares` who gets what."""
    if isinstance(tree, str):
        shares[tree].append((column, 1.0))
        return Flow(column, tree, 0, ())
    if tree.k == len(tree.parts):  # every part gets all
        return Flow(column, "", tree.k, tuple(lay(program, part, column, shares) for part in tree.parts))
    places = [program.column() for _ in tree.parts]
    program.row([*((place, 1.0) for place in places), (column, -float(tree.k))], 0.0, 0.0)
    if tree.k > 1:
        for place in places:
            program.row([(place, 1.0), (column, -1.0)], upper=0.0)
    parts = zip(tree.parts, places, strict=True)
    return Flow(column, "", tree.k, tuple(lay(program, part, place, shares) for part, place in parts))


def new_shares() -> Shares:
    """Nobody has anything yet."""
    return defaultdict(list)


class Walk:
    """Draws quorums from the masses of one tree: a number from 0 up to the root's mass is a quorum.

    Parts lie one after the other on a line, cut into k pieces of the mass of their gate. A number is held by
    exactly one part in each piece (McNaughton, "Scheduling with Deadlines and Loss Functions", 1959; in sampling
    it is called systematic), and where it lies within a part is the number for that part.
    """

    def __init__(self, flow: Flow, masses: Vector) -> None:
        self._flow = flow
        self._masses = masses
        self._lines: dict[int, tuple[list[float], list[Flow]]] = {}
        self.mass = max(0.0, float(masses[flow.column]))

    def at(self, number: float) -> frozenset[NodeId]:
        """The quorum of a number, 0 <= number < mass."""
        found: list[NodeId] = []
        waiting = [(self._flow, number)]
        while waiting:
            flow, here = waiting.pop()
            if flow.node:
                found.append(flow.node)
            elif flow.k == len(flow.parts):
                waiting += [(part, here) for part in flow.parts]
            else:
                waiting += self._held(flow, here)
        return frozenset(found)

    def _held(self, flow: Flow, here: float) -> Iterator[tuple[Flow, float]]:
        ends, parts = self._line(flow)
        mass = ends[-1] / flow.k
        for piece in range(flow.k):
            place = min(bisect_right(ends, here + piece * mass), len(parts) - 1)
            start = ends[place - 1] if place else 0.0
            yield parts[place], here + piece * mass - start

    def _line(self, flow: Flow) -> tuple[list[float], list[Flow]]:
        """Where the parts end, scaled so that the last ends at exactly k times the mass; empty ones left out."""
        known = self._lines.get(id(flow))
        if known is None:
            mass = max(float(self._masses[flow.column]), 0.0)
            given = [(min(mass, float(self._masses[part.column])), part) for part in flow.parts]
            given = [(held, part) for held, part in given if held > PIECE_MIN * self.mass]
            ends = list(accumulate(held for held, _ in given))
            scale = flow.k * mass / ends[-1] if ends else 1.0
            known = self._lines[id(flow)] = ([end * scale for end in ends], [part for _, part in given])
        return known

    def cuts(self, cuts_max: int) -> list[float] | None:
        """Where one quorum ends and another begins, from 0 to the mass; None for more than `cuts_max`."""
        found = self._cuts(self._flow, self.mass, cuts_max)
        if found is None:
            return None
        cuts = [0.0]
        for cut in sorted(found):
            if cut - cuts[-1] > PIECE_MIN * max(1.0, self.mass) and self.mass - cut > PIECE_MIN:
                cuts.append(cut)
        return [*cuts, self.mass]

    def _cuts(self, flow: Flow, mass: float, cuts_max: int) -> set[float] | None:
        if flow.node:
            return set()
        found: set[float] = set()
        if flow.k == len(flow.parts):
            lines = [(0.0, mass, part) for part in flow.parts]
        else:
            ends, parts = self._line(flow)
            lines = [(end - held, held, part) for end, held, part in zip(ends, _lengths(ends), parts, strict=True)]
        for start, held, part in lines:
            inner = self._cuts(part, held, cuts_max)
            if inner is None:
                return None
            found |= {(start + cut) % mass if mass else 0.0 for cut in (0.0, *inner)}
            if len(found) > 4 * cuts_max:
                return None
        return {round(cut, 15) for cut in found}


def _lengths(ends: list[float]) -> list[float]:
    return [ends[0], *(end - start for start, end in pairwise(ends))] if ends else []
