"""How many members a new cluster has (N), how many of them may fail (T), and what that means."""

from __future__ import annotations

from typing import Any, NamedTuple

from quorum.console.need import count_of
from quorum.errors import ConfigurationError
from quorum.model import nodes_needed
from quorum.runtime.byzantine_config import tolerated
from quorum.runtime.config import ClusterConfig
from quorum.systems.build import build
from quorum.systems.byzantine import blocking_set

NODES = {"crash": 5, "byzantine": 4}
"""How many nodes a new cluster has where nobody says it: two of them may crash, or one may lie."""
FEWEST_WITH_A_LIAR = nodes_needed(1, "byzantine")


def check_tolerates(nodes: int, faults: int | None, model: str) -> None:
    """Raise ConfigurationError where members may lie, but so few were asked for that none may, and T = 0 was not
    asked for by name."""
    if model == "byzantine" and faults is None and 0 < nodes < FEWEST_WITH_A_LIAR:
        raise ConfigurationError(
            f"N={nodes} members that may lie were asked for, but that tolerates no liar (T=0): N >= 3T+1, so one "
            f"liar needs {FEWEST_WITH_A_LIAR}. Ask for {FEWEST_WITH_A_LIAR} nodes or more; or, where nobody lies, "
            "for --model crash. (`quorum init --faults 0` sets up members that sign, and of which none may lie.)"
        )


class Tolerance(NamedTuple):
    """`faults` (T) of `nodes` (N) may fail, as the model says; `quorum` decide (None: it matters which)."""

    nodes: int
    faults: int
    quorum: int | None
    lies: bool

    def line(self) -> str:
        """For people."""
        fail = "lie" if self.lies else "crash"
        some = str(self.faults) if self.faults else "none"
        decide = "quorums by cluster.toml" if self.quorum is None else f"quorum {self.quorum}"
        members = f"{self.nodes} member{'s' if self.nodes > 1 else ''} (N)"
        return f"{members}, of which {some} may {fail} (T = {self.faults}); {decide}"

    def adaptivity(self, policy: str) -> str:
        """What the policy may do with so many members that may lie; "" where they do not."""
        floor = nodes_needed(self.faults, "byzantine")
        if not self.lies:
            return ""
        if self.nodes <= floor:
            return (
                f"policy {policy}; N is the floor 3T+1 = {floor}: no adaptivity is left, nobody can lose its vote"
            )
        spare = self.nodes - floor
        if policy == "fixed":
            return f"policy fixed: nobody loses its vote by itself (N is {spare} above the floor 3T+1 = {floor})"
        return f"policy adaptive: who lies or is slow loses its vote, {spare} at most (floor 3T+1 = {floor})"

    def warning(self) -> str:
        """What to know before it is used; "" for nothing."""
        if self.lies and self.faults == 0:
            return "T = 0: the members sign what they say, but a single one that lies can break every promise"
        return ""

    def facts(self) -> dict[str, Any]:
        """For programs."""
        return {"n": self.nodes, "faults": self.faults, "quorum": self.quorum}


def tolerance_of(config: ClusterConfig) -> Tolerance:
    """What the first members of a cluster.toml tolerate."""
    first = config.configuration()
    lies = config.model == "byzantine"
    system = build(first)
    counts = [count_of(side) for side in (system.reads, system.writes)]
    quorum = None if None in counts else max(count for count in counts if count is not None)
    nodes = len(first.electors)
    if lies:
        faults = tolerated(config)
    elif config.faults is not None:
        faults = config.faults
    elif quorum is not None:
        faults = nodes - quorum
    else:
        sides = (system.reads, system.writes)
        faults = next(n for n in range(nodes) if any(blocking_set(side, n + 1) is not None for side in sides))
    return Tolerance(nodes, faults, quorum, lies)
