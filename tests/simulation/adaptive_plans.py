"""What each seed of the campaign of adaptive committees with liars runs: everything but the seed follows from
it."""

from __future__ import annotations

from random import Random

from quorum.sim.adversary import DRAWN, Complains, Misreports
from quorum.sim.byzantine_adaptive import AT_FLOOR, EVICTED_LIAR, EVICTED_SLOW, READMITTED
from quorum.sim.byzantine_campaign import ByzantinePlan, run_byzantine_seed
from quorum.sim.campaign import Outcome
from quorum.sim.faults import ALL_FAULTS, USUAL_FAULTS
from quorum.sim.node import WEIGHED

from . import byzantine_plans

SECONDS = byzantine_plans.SECONDS
OPERATIONS_MIN = 100
NODES = (5, 6, 7, 8, 9)
LIES = (*DRAWN, Complains.name, Misreports.name)
RESTLESS_EVERY, ONE_LIE_EVERY, WIRE_EVERY, DISK_EVERY, REAL_EVERY = 2, 3, 7, 5, 40

EXPECTED = (
    EVICTED_LIAR,
    EVICTED_SLOW,
    READMITTED,
    AT_FLOOR,
    WEIGHED,
    "evidence found",
    *(f"fault {kind}" for kind in USUAL_FAULTS),
)
"""Branches that a whole campaign must have met."""


def plan_of(seed: int, nodes: tuple[int, ...] = NODES) -> ByzantinePlan:
    """The plan of one seed. The same seed and choice of node counts give the same plan. Members evict and readmit
    each other in all, and in half of them links change, and weights follow."""
    draw = Random(f"adaptive byzantine plan/{seed}")
    is_restless = seed % RESTLESS_EVERY == 0
    return ByzantinePlan(
        seed,
        draw.choice(nodes),
        SECONDS,
        draw.choice((3, 5, 8)),
        draw.choice((100, 150, 250)),
        tuple(sorted(draw.sample(ALL_FAULTS, 3))) if draw.random() < 0.3 else ALL_FAULTS,
        (draw.choice(LIES),) if seed % ONE_LIE_EVERY == 1 else LIES,
        state_blocks=draw.choice((8, 32, 128)),
        wire=seed % WIRE_EVERY == 0,
        disk=seed % DISK_EVERY == 0,
        real=seed % REAL_EVERY == REAL_EVERY - 1,
        sync_us=draw.choice((300, 3_000)),
        verify_us=draw.choice((0, 300, 1_500)),
        adaptive=not is_restless,
        restless=is_restless,
    )


def run_planned(seed: int, nodes: tuple[int, ...] = NODES) -> Outcome:
    """Run one seed of the campaign."""
    return run_byzantine_seed(plan_of(seed, nodes))[0]


def shortcoming(outcome: Outcome) -> str:
    """Why a seed does not count as passed; empty if it does."""
    return byzantine_plans.shortcoming(outcome, OPERATIONS_MIN)
