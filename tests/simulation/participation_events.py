"""The policy code under failures and repairs that come one by one: how much of the time is there no quorum?

No messages travel. Every node fails at rate 1 and is repaired at rate `repair_ratio`, exponentially; a leader that
a quorum of the committee can elect asks `membership.adaptation` after each event, and what it proposes is in force
after an exponential time of rate `reconfiguration_ratio * repair_ratio`, if quorums of the old committee and of
the new one are up then. This is what the exact chain (systems.participation) assumes. So that it is, hold and
stable times are 0 (a failure is seen at once: the delay before the change stands for detection, too), and nobody
flaps. A leader that is new knows nothing of what an earlier one saw.

With these limits the policy code remembers nothing that counts, but for how long changes and repairs took, and the
first of these it never sees where `change` is "newest". So what it answers there follows from who votes, who leads
and who is up, and may be looked up; that it does is tested.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from typing import Literal, NamedTuple

from msgspec.structs import replace

from quorum.membership.adaptation import Adaptation, Proposal
from quorum.membership.observation import Limits, Observation
from quorum.membership.policy import policy_of
from quorum.membership.reconfiguration import Reseat, apply_change
from quorum.model import Configuration, NodeId
from quorum.systems.build import build
from quorum.systems.participation import Participation, unavailability

LIFE_US = 1_000_000_000
"""The mean time to failure of a node: so long that whole microseconds are fine enough for all rates."""
AT_ONCE = Limits(hold_us=0, stable_us=0, stable_max_us=0, forgive_us=0)
Change = Literal["newest", "joint"]


class Case(NamedTuple):
    """One model. `change`: what is in force after the delay. "newest": what the policy asks for by then, as in the
    chain. "joint": what it asked for at first, by joint consensus, during which quorums of both committees are
    needed and nothing else is proposed, as in the engine."""

    nodes: int
    repair_ratio: float
    policy: str = "adaptive"
    reconfiguration_ratio: float = 100.0
    change: Change = "newest"

    @property
    def exact(self) -> float:
        """What the chain says of it."""
        policy: Literal["majority", "adaptive"] = "majority" if self.policy == "fixed" else "adaptive"
        asked = Participation(self.nodes, self.repair_ratio, policy, self.reconfiguration_ratio)
        return unavailability(asked).unavailability

    def __str__(self) -> str:
        change = f", delta/mu {self.reconfiguration_ratio:g}, {self.change}" if self.policy != "fixed" else ""
        return f"N={self.nodes} {self.policy}, ratio {self.repair_ratio:g}{change}"


class Measured(NamedTuple):
    """The share of time without a quorum, its standard error over independent cycles, how often it was lost."""

    unavailability: float
    error: float
    losses: int
    cycles: int
    fewest: int
    """The smallest committee that was in force."""

    def deviation(self, exact: float) -> float:
        """How many standard errors it is away from the exact figure."""
        return (self.unavailability - exact) / self.error


class Cycle(NamedTuple):
    """From one moment at which everybody is up and votes to the next: independent of all others."""

    lasted: float
    without: float
    losses: int
    fewest: int


def measure(cycles: list[Cycle]) -> Measured:
    """Source: Crane and Iglehart, "Simulating stable stochastic systems III: regenerative processes" (1975)."""
    whole = sum(cycle.lasted for cycle in cycles)
    share = sum(cycle.without for cycle in cycles) / whole
    error = math.sqrt(sum((cycle.without - share * cycle.lasted) ** 2 for cycle in cycles)) / whole
    return Measured(
        share,
        error,
        sum(cycle.losses for cycle in cycles),
        len(cycles),
        min(cycle.fewest for cycle in cycles),
    )


class Cluster:
    """Nodes that fail and are repaired, and the committee that the policy gives them."""

    def __init__(self, case: Case, seed: int, is_looked_up: bool = True) -> None:
        self._case = case
        self._is_looked_up = is_looked_up and case.change == "newest"
        self._random = Random(seed)
        self._names: tuple[NodeId, ...] = tuple(f"n{number}" for number in range(1, case.nodes + 1))
        self._up = set(self._names)
        self._configuration = Configuration(1, self._names)
        self._leader: NodeId = ""
        self._adaptation = self._new_adaptation()
        self._proposal: Proposal | None = None
        self._now = 0.0
        self._deciding: dict[tuple[tuple[NodeId, ...], frozenset[NodeId]], bool] = {}
        self._proposals: dict[tuple[tuple[NodeId, ...], NodeId, frozenset[NodeId]], Proposal | None] = {}

    def cycles(self, lives: float) -> Iterator[Cycle]:
        """Whole cycles until `lives` mean times to failure have gone by."""
        self._ask()
        while self._now < lives:
            began, without, losses, works, fewest = self._now, 0.0, 0, True, self._case.nodes
            while True:
                lasted = self._event()
                without += 0.0 if works else lasted
                works_now = self._works()
                losses += works and not works_now
                works = works_now
                fewest = min(fewest, len(self._configuration.voters))
                if self._is_whole:
                    break
            yield Cycle(self._now - began, without, losses, fewest)

    @property
    def _is_whole(self) -> bool:
        """Everybody is up, and as many vote as may."""
        most = self._case.nodes - (self._case.policy == "adaptive" and self._case.nodes % 2 == 0)
        is_full = len(self._configuration.voters) == most and self._configuration.outgoing is None
        return is_full and len(self._up) == self._case.nodes

    def _event(self) -> float:
        """The next failure, repair or change; returns the time until it."""
        repair = self._case.repair_ratio
        up, down = len(self._up), self._case.nodes - len(self._up)
        is_changing = self._proposal is not None or self._configuration.outgoing is not None
        change = self._case.reconfiguration_ratio * repair if is_changing else 0.0
        lasts = self._random.expovariate(up + down * repair + change)
        self._now += lasts
        draw = self._random.random() * (up + down * repair + change)
        if draw < up:
            self._up.discard(self._random.choice(sorted(self._up)))
        elif draw < up + down * repair:
            self._up.add(self._random.choice(sorted(set(self._names) - self._up)))
        else:
            self._change()
        self._ask()
        return lasts

    def _change(self) -> None:
        """The change under way is committed, if quorums of both committees are up."""
        if self._proposal is not None:
            self._configuration, self._proposal = self._after(self._proposal), None
            assert self._works(), "a change that is proposed is one that both committees can decide on"
        if self._works():
            self._configuration = replace(self._configuration, outgoing=None)

    def _after(self, proposal: Proposal) -> Configuration:
        old = self._configuration
        following = apply_change(old, Reseat(proposal.seats), int(self._now * LIFE_US))
        return replace(following, outgoing=old)

    def _ask(self) -> None:
        """Whoever leads asks its policy; without a quorum nobody leads."""
        self._proposal = None
        if not self._works():
            self._leader = ""
            return
        if self._leader not in self._up or self._leader not in self._configuration.voters:
            self._leader = self._random.choice(sorted(self._up & set(self._configuration.candidates)))
            self._adaptation = self._new_adaptation()
        proposal = self._looked_up() if self._is_looked_up else self._step()
        if proposal is not None and self._case.change == "joint":
            self._configuration = self._after(proposal)
        else:
            self._proposal = proposal

    def _looked_up(self) -> Proposal | None:
        key = (self._configuration.voters, self._leader, frozenset(self._up))
        if key not in self._proposals:
            self._adaptation = self._new_adaptation()
            self._proposals[key] = self._step()
        return self._proposals[key]

    def _step(self) -> Proposal | None:
        """What the policy code proposes now."""
        observed = [Observation(name, phi=0.0 if name in self._up else 20.0) for name in self._names]
        return self._adaptation.step(self._configuration, self._leader, observed, int(self._now * LIFE_US))

    def _works(self) -> bool:
        """Whether those who are up can decide."""
        outgoing = self._configuration.outgoing
        key = ((*self._configuration.voters, "", *(outgoing.voters if outgoing else ())), frozenset(self._up))
        if key not in self._deciding:
            self._deciding[key] = build(self._configuration).writes.contains(key[1])
        return self._deciding[key]

    def _new_adaptation(self) -> Adaptation:
        case = self._case
        return Adaptation(policy_of(case.policy), case.nodes, (case.nodes - 1) // 2, limits=AT_ONCE)
