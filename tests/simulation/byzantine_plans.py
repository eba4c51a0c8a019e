"""What each seed of the Byzantine campaign runs: everything but the seed follows from the seed."""

from __future__ import annotations

from random import Random

from quorum.sim import byzantine_branches as branches
from quorum.sim.adversary import DRAWN
from quorum.sim.byzantine_campaign import ByzantinePlan, run_byzantine_seed
from quorum.sim.byzantine_churn import APPROVED, KEY_RENEWED, REFUSED
from quorum.sim.byzantine_client import FOLLOWED
from quorum.sim.campaign import Outcome
from quorum.sim.faults import ALL_FAULTS, USUAL_FAULTS

SECONDS = 60
OPERATIONS_MIN = 150
NODES = (4, 5, 6, 7, 8, 9)
ONE_LIE_EVERY, WIRE_EVERY, DISK_EVERY, FEW_FAULTS_EVERY, REAL_EVERY = 3, 7, 5, 4, 40
FULL_DISK_EVERY = 4
CHURN_EVERY = 6
"""In so many seeds one has committees that change."""

LOADS = ((4, 100), (6, 120), (8, 200))
"""(clients, mean pause in ms)."""

EXPECTED = (
    branches.VIEW_LEFT,
    branches.VIEW_BEGAN,
    branches.OLD_VIEW,
    branches.BASE_MISSING,
    branches.ASIDE,
    branches.VOTES_AGAIN,
    branches.BLOCKS_GIVEN,
    branches.OFFERED,
    branches.INSTALLED,
    branches.RESTORED,
    branches.FORWARDED,
    branches.LOST_TAIL,
    branches.SILENT,
    branches.EPOCH,
    branches.EPOCHS_TOLD,
    branches.JOINED,
    branches.LEFT,
    KEY_RENEWED,
    APPROVED,
    REFUSED,
    FOLLOWED,
    "evidence found",
    *(f"fault {kind}" for kind in USUAL_FAULTS),
)
"""Branches that a whole campaign must have met."""


def plan_of(seed: int, nodes: tuple[int, ...] = NODES) -> ByzantinePlan:
    """The plan of one seed. The same seed and choice of node counts give the same plan."""
    draw = Random(f"byzantine plan/{seed}")
    clients, pause_ms = draw.choice(LOADS)
    behaviours = DRAWN
    few = seed % FEW_FAULTS_EVERY == FEW_FAULTS_EVERY - 1
    full = seed % FULL_DISK_EVERY == FULL_DISK_EVERY - 2
    real = seed % REAL_EVERY == REAL_EVERY - 1
    return ByzantinePlan(
        seed,
        draw.choice(nodes),
        SECONDS,
        clients,
        pause_ms,
        tuple(sorted(draw.sample(ALL_FAULTS, 3))) if few else (USUAL_FAULTS if full else ALL_FAULTS),
        (draw.choice(behaviours),) if seed % ONE_LIE_EVERY == 1 else behaviours,
        state_blocks=draw.choice((8, 32, 32, 128)),
        wire=seed % WIRE_EVERY == 0,
        disk=seed % DISK_EVERY == 0,
        real=real,
        sync_us=draw.choice((300, 300, 3_000, 15_000)),
        spares=1 + seed // CHURN_EVERY % 3 if seed % CHURN_EVERY == CHURN_EVERY - 1 else 0,
    )


def run_planned(seed: int, nodes: tuple[int, ...] = NODES) -> Outcome:
    """Run one seed of the campaign."""
    return run_byzantine_seed(plan_of(seed, nodes))[0]


def shortcoming(outcome: Outcome) -> str:
    """Why a seed does not count as passed; empty if it does."""
    if outcome.failure:
        return outcome.failure
    if outcome.simulated_us < SECONDS * 1_000_000 or outcome.operations < OPERATIONS_MIN:
        return f"too little: {outcome.operations} operations in {outcome.simulated_us / 1e6:.0f} s"
    return ""
