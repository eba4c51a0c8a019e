"""The participation rule as published: n = N-T+1 nodes take part, and x >= (N-T)/2 + 1 votes decide. Is it safe?

Safe: any two sets of votes that decide share a node where nodes crash, and T+1 nodes, so that one of them is
honest, where T of them may lie. That is not so for most N and T; each answer then has two sets that show it.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final, Literal

import msgspec

from quorum.errors import ConfigurationError
from quorum.model import FaultModel, nodes_needed

Committee = Literal["agreed", "local"]
Arithmetic = Literal["real", "integer"]
COMMITTEES: Final[tuple[Committee, ...]] = ("agreed", "local")
ARITHMETICS: Final[tuple[Arithmetic, ...]] = ("real", "integer")
LISTED_MAX: Final = 1_000_000
"""A counterexample with more nodes is not written out."""


class Asked(msgspec.Struct, frozen=True):
    """N nodes of which T may fail by `model`. `committee`: the same for all, or each node chooses for itself.
    `arithmetic`: whether (N-T)/2 is rounded up, as the rule has it, or down, as programs tend to."""

    nodes: int
    faults: int
    model: FaultModel = "crash"
    committee: Committee = "agreed"
    arithmetic: Arithmetic = "real"

    @property
    def participants(self) -> int:
        """n: how many take part."""
        return self.nodes - self.faults + 1

    @property
    def threshold(self) -> int:
        """x: the fewest votes that decide."""
        rest = self.nodes - self.faults
        return (rest + (self.arithmetic == "real")) // 2 + 1

    @property
    def shared_needed(self) -> int:
        """How many nodes any two sets of votes have to share."""
        return 1 if self.model == "crash" else self.faults + 1


class Counterexample(msgspec.Struct, frozen=True):
    """Two sets of votes that decide differently, the committees that they are from, and who lies. Nodes: 1..N."""

    first: frozenset[int]
    second: frozenset[int]
    first_committee: frozenset[int]
    second_committee: frozenset[int]
    faulty: frozenset[int]


class Verdict(msgspec.Struct, frozen=True):
    """`feasible`: whether n nodes are there at all. `live`: whether some committee that may be in force still
    decides when T nodes are silent, wherever they are, and N is enough for T."""

    safe: bool
    live: bool
    feasible: bool
    witness: Counterexample | None


def judge(asked: Asked) -> Verdict:
    """Whether the rule is safe and live. With T=0 it asks for N+1 of N nodes, so nothing is ever decided.

    Raises ConfigurationError where N is no count, or T does not lie from 0 to N-1.
    """
    _check(asked)
    n, x = asked.participants, asked.threshold
    feasible = n <= asked.nodes
    among = n if asked.committee == "agreed" else asked.nodes
    safe = not feasible or 2 * x - among >= asked.shared_needed
    silent = asked.faults if asked.committee == "agreed" else 1  # who chooses alone leaves out all but one of them
    live = feasible and n - silent >= x and asked.nodes >= nodes_needed(asked.faults, asked.model)
    return Verdict(safe, live, feasible, None if safe else _counterexample(asked, among))


def refutes(asked: Asked, witness: Counterexample) -> bool:
    """Whether the counterexample proves that the rule is unsafe. Uses no part of the search."""
    everyone = range(1, asked.nodes + 1)
    committees = witness.first_committee, witness.second_committee
    votes = witness.first, witness.second
    return (
        all(_is_committee(each, asked, everyone) for each in committees)
        and all(
            mine <= whole and len(mine) >= asked.threshold for mine, whole in zip(votes, committees, strict=True)
        )
        and (asked.committee == "local" or committees[0] == committees[1])
        and witness.first & witness.second <= witness.faulty
        and len(witness.faulty) <= (0 if asked.model == "crash" else asked.faults)
    )


def _is_committee(nodes: Set[int], asked: Asked, everyone: range) -> bool:
    return len(nodes) == asked.participants and all(node in everyone for node in nodes)


def _counterexample(asked: Asked, among: int) -> Counterexample:
    """The votes of the first nodes, and those of the last."""
    if among > LISTED_MAX:
        raise ConfigurationError(
            f"a counterexample among {among:,} nodes was to be written out, but that helps nobody. Ask for at "
            f"most {LISTED_MAX:,} nodes; the rule is no safer with more."
        )
    n, x = asked.participants, asked.threshold
    first = frozenset(range(1, x + 1))
    second = frozenset(range(among - x + 1, among + 1))
    found = Counterexample(
        first,
        second,
        frozenset(range(1, n + 1)),
        frozenset(range(among - n + 1, among + 1)),
        first & second if asked.model == "byzantine" else frozenset(),
    )
    assert refutes(asked, found), "the counterexample holds"
    return found


def _check(asked: Asked) -> None:
    if asked.nodes < 1 or not 0 <= asked.faults < asked.nodes:
        raise ConfigurationError(
            f"the participation rule was asked for with N={asked.nodes} and T={asked.faults}, but it counts nodes "
            "of which some do not fail. Give N of 1 or more, and T from 0 to N-1."
        )
    if asked.model not in ("crash", "byzantine"):
        raise ConfigurationError(
            f"the participation rule was asked for with the model {asked.model!r}, but it is judged for nodes "
            "that crash and for nodes that lie and sign. Name crash or byzantine."
        )
