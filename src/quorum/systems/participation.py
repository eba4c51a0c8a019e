"""What adapting the committee is worth: exact availability of fixed and adaptive participation.

Every node fails at one rate and is repaired at another, links are perfect, and a working committee that should be
another one becomes it at once, or at a rate of its own. Time is measured in mean times to failure of one node.
Rules: Davcev and Burkhard, "Consistency and Recovery Control for Replicated Files" (1985) for `dynamic`; Jajodia
and Mutchler, "Dynamic Voting Algorithms for Maintaining the Consistency of a Replicated Database" (1990), section
4, for `dynamic-linear`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from quorum.errors import ConfigurationError
from quorum.model import FaultModel, check_fault_budget, quorum_size
from quorum.systems.markov import stationary

Policy = Literal["majority", "dynamic", "dynamic-linear", "adaptive"]
POLICIES: Final[tuple[Policy, ...]] = ("majority", "dynamic", "dynamic-linear", "adaptive")
NODES_MAX: Final = 25
"""More nodes make matrices of thousands of rows."""
CRASH_FLOOR: Final = 3
"""An adaptive committee never has fewer: two disks at least hold what was decided."""


class Participation(msgspec.Struct, frozen=True):
    """What is asked: N nodes of which T may fail by `model`, and how their committee follows who is up.

    `repair_ratio`: rate of repair over rate of failure of one node. `reconfiguration_ratio`: rate at which a
    committee is changed over rate of repair; infinite where it is changed at once.
    """

    nodes: int
    repair_ratio: float
    policy: Policy = "adaptive"
    reconfiguration_ratio: float = math.inf
    model: FaultModel = "crash"
    faults: int = 0


class Figures(msgspec.Struct, frozen=True):
    """What comes out. Times are in mean times to failure of one node; None: without an end."""

    unavailability: float
    """The share of time in which no quorum of the present committee is up."""
    time_to_loss: float | None
    """Mean time from when a quorum is back until there is none again."""
    time_to_return: float | None
    """Mean time from when there is none until one is back."""
    states: int


class _State(NamedTuple):
    """`size` members, of whom `up` work; `tie_up`: whether the one works who breaks ties and is counted in `size`
    alone (True where ties are not broken); `outside`: others who work."""

    size: int
    up: int
    tie_up: bool
    outside: int


def unavailability(asked: Participation) -> Figures:
    """The exact figures of this way to take part.

    Raises ConfigurationError for numbers that are none, for N above NODES_MAX, and for N that T is too much for.
    """
    check_participation(asked)
    chain = _Chain(asked)
    shares = stationary(chain.start, chain.moves)
    without = {state: share for state, share in shares.items() if not chain.works(state)}
    lost = sum(without.values())
    lapses = sum(
        share * sum(rate for after, rate in chain.moves(state) if not chain.works(after))
        for state, share in shares.items()
        if state not in without
    )
    return Figures(
        lost,
        (1 - lost) / lapses if lapses > 0 else None,
        lost / lapses if lapses > 0 else None,
        len(shares),
    )


def break_even(asked: Participation) -> float | None:
    """The reconfiguration ratio at which this committee is up as much as a fixed one; a slower change is worse
    than none. None: even a change at once is no better than a fixed committee, within one part in a million.

    Raises ConfigurationError as `unavailability` does.
    """
    fixed = unavailability(replace(asked, policy="majority")).unavailability

    def is_worth_it(ratio: float) -> bool:
        return unavailability(replace(asked, reconfiguration_ratio=ratio)).unavailability < fixed * (1 - 1e-6)

    if asked.policy == "majority" or not is_worth_it(math.inf):
        return None
    low, high = -6.0, 9.0  # powers of ten
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if is_worth_it(10**middle) else (middle, high)
    return float(10**high)


def check_participation(asked: Participation) -> None:
    """Raise ConfigurationError for a question that has no answer."""
    if asked.policy not in POLICIES:
        raise ConfigurationError(
            f"policy {asked.policy!r} was asked for, which is none. Name one of {', '.join(POLICIES)}."
        )
    if asked.model == "byzantine" and asked.policy in ("dynamic", "dynamic-linear"):
        raise ConfigurationError(
            f"policy {asked.policy} was asked for where nodes may lie, but its committees become smaller than any "
            "that tolerates liars. Name majority or adaptive."
        )
    check_fault_budget(asked.nodes, asked.faults, asked.model)
    if asked.nodes > NODES_MAX:
        raise ConfigurationError(
            f"{asked.nodes} nodes were to be modelled state by state, but {NODES_MAX} are the most. Ask for fewer."
        )
    for name, ratio in (("repair", asked.repair_ratio), ("reconfiguration", asked.reconfiguration_ratio)):
        if not ratio > 0 or (name == "repair" and math.isinf(ratio)):
            raise ConfigurationError(
                f"a {name} ratio of {ratio} was given, but it is a rate over a rate. Give a number above 0."
            )


class _Chain:
    """The states that one question has, and the rates between them."""

    def __init__(self, asked: Participation) -> None:
        self._asked = asked
        self._has_tie = asked.policy == "dynamic-linear"
        self._floor = {"dynamic": 1, "dynamic-linear": 1, "majority": asked.nodes}.get(
            asked.policy, CRASH_FLOOR if asked.model == "crash" else 3 * asked.faults + 1
        )
        everybody = self._of(asked.nodes, asked.nodes, 0)
        self.start = self._adapted(everybody)

    def works(self, state: _State) -> bool:
        """Whether a quorum of the committee is up."""
        up = state.up + (self._has_tie and state.tie_up)
        if up >= quorum_size(state.size, self._asked.faults, self._asked.model):
            return True
        return self._has_tie and state.tie_up and 2 * up == state.size

    def moves(self, state: _State) -> Iterator[tuple[_State, float]]:
        """Failures at rate 1, repairs, and the change of the committee where it takes time."""
        repair, ratio = self._asked.repair_ratio, self._asked.reconfiguration_ratio
        for after, rate in self._by_nature(state, repair):
            if rate > 0:
                yield (self._adapted(after) if math.isinf(ratio) else after), rate
        if not math.isinf(ratio) and (adapted := self._adapted(state)) != state:
            yield adapted, ratio * repair

    def _by_nature(self, state: _State, repair: float) -> Iterator[tuple[_State, float]]:
        size, up, tie_up, outside = state
        yield _State(size, up - 1, tie_up, outside), float(up)
        yield _State(size, up + 1, tie_up, outside), repair * (size - self._has_tie - up)
        yield _State(size, up, tie_up, outside - 1), float(outside)
        yield _State(size, up, tie_up, outside + 1), repair * (self._asked.nodes - size - outside)
        if self._has_tie:
            yield _State(size, up, not tie_up, outside), 1.0 if tie_up else repair

    def _adapted(self, state: _State) -> _State:
        """The committee that should be, where there is a quorum to decide on it; who is up comes first."""
        if not self.works(state):
            return state
        up = state.up + (self._has_tie and state.tie_up)
        live = up + state.outside
        size = max(live, self._floor)
        if self._asked.policy == "adaptive" and self._asked.model == "crash" and live > self._floor:
            size = live - (live % 2 == 0)  # an even committee survives no more losses than the odd one below it
        if min(live, size) <= up and size >= state.size:
            return state  # nobody better is there to fill it
        return self._of(size, min(live, size), live - min(live, size))

    def _of(self, size: int, up: int, outside: int) -> _State:
        """A committee whose tie is broken by somebody who is up."""
        return _State(size, up - self._has_tie, True, outside)
