"""The best strategy of a quorum system: least load, network load or latency, within limits, exactly.

Source of the measures: Naor and Wool, "The Load, Capacity, and Availability of Quorum Systems" (1998), section 3;
Whittaker, Charapko, Hellerstein, Howard and Stoica, "Read-Write Quorum Systems Made Practical"
(2021), sections 3-5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from quorum.errors import ConfigurationError, NoStrategy
from quorum.model import NodeId
from quorum.systems.architecture import Architecture, shown

if TYPE_CHECKING:
    from quorum.systems.mixture import Mixture

Aim = Literal["load", "network", "latency"]
AIMS: tuple[Aim, ...] = ("load", "network", "latency")
FAILURES_MAX = 1_000
SECONDS_MAX = 120.0
"""Time of the solver, as long as nobody says otherwise."""


class Limits(NamedTuple):
    """What a strategy may take at most. Load: the mean over the read fractions; network: nodes for a request;
    latency: seconds. None: as it comes."""

    load: float | None = None
    network: float | None = None
    latency: float | None = None


class Optimum(NamedTuple):
    """The best strategy, its figures, and what stands in the way of a better one.

    `load` is the mean over the read fractions of the busiest node's, `capacity` the mean of 1/load in operations
    per second, `network_load` nodes asked for a request, `latency` seconds. `bound` is what no strategy can beat,
    by linear programming duality; it is `value` but for rounding.
    `binding_nodes` are the busiest in every best strategy. `shadow_prices`: by how many percent the aim gets
    better for each percent of capacity that a node gains; `limit_prices` the same for each limit that is lifted.
    """

    aim: Aim
    value: float
    bound: float
    load: float
    capacity: float
    network_load: float
    latency: float
    reads: Mixture
    writes: Mixture
    read_probabilities: Mapping[NodeId, float]
    write_probabilities: Mapping[NodeId, float]
    binding_nodes: tuple[NodeId, ...]
    shadow_prices: Mapping[NodeId, float]
    limit_prices: Mapping[Aim, float]


def optimise(
    architecture: Architecture,
    aim: Aim = "load",
    failures: int = 0,
    limits: Limits | None = None,
    seconds_max: float = SECONDS_MAX,
) -> Optimum:
    """The strategy with the least load, network load or latency.

    Of several such the best by a second measure is taken, and of those by the third: latency then network load for
    load, load then latency for network load, load then network load for latency. (By the third of those strategies
    that were looked at, where an expression is tangled; and not by latency, where trees have very many of them.)

    With `failures` every set that is asked holds a quorum after any so many of its nodes are lost. Raises
    NoStrategy where no strategy keeps to the limits, and ConfigurationError for a question that makes no sense, or
    that the solver cannot answer within `seconds_max` of its own time.
    """
    limits = limits or Limits()
    if aim not in AIMS:
        raise ConfigurationError(
            f"the best {shown(aim)} was asked for, but a strategy is judged by load, network or latency. Name one."
        )
    if not isinstance(failures, int) or isinstance(failures, bool) or not 0 <= failures <= FAILURES_MAX:
        raise ConfigurationError(
            f"a strategy that survives {shown(failures)} failures was asked for, but they are counted. Use a "
            f"whole number from 0 to {FAILURES_MAX:,}."
        )
    for name, limit in zip(AIMS, limits, strict=True):
        if limit is not None and not 0 < limit < float("inf"):
            raise ConfigurationError(
                f"the {name} was limited to {shown(limit)}, but a limit is above 0. Use a number, or leave it out."
            )
    from quorum.systems.program import Budget
    from quorum.systems.search_optimum import solve

    try:
        return solve(architecture, aim, failures, limits, Budget(seconds_max))
    except NoStrategy as error:
        if "f" in error.binding:
            raise
        raise _explained(architecture, failures, limits, error, seconds_max) from None


def _explained(
    architecture: Architecture, failures: int, limits: Limits, error: NoStrategy, seconds_max: float
) -> NoStrategy:
    """The refusal, with what each limit that binds could be at least."""
    from quorum.systems.program import Budget
    from quorum.systems.search_optimum import solve

    parts, least = [], []
    for name, limit in zip(AIMS, limits, strict=True):
        if limit is not None and name in error.binding:
            best = solve(architecture, name, failures, Limits(), Budget(seconds_max)).value
            parts.append(f"a {name} of at most {limit:g}")
            least.append(f"{name} {best:.6g}")
            if best > limit * (1 + 1e-9):
                return NoStrategy(
                    f"a {name} of at most {limit:g} was asked for, but no strategy of this system has less than "
                    f"{best:.10g}. Raise the {name} limit, or change the system.",
                    (name,),
                )
    return NoStrategy(
        f"{' and '.join(parts)} were asked for at once, but no strategy of this system has all (each alone could "
        f"come down to: {', '.join(least)}). Raise one of these limits, or change the system.",
        error.binding,
    )
