"""What each seed of the Byzantine campaign runs: everything but the seed follows from the seed."""

from __future__ import annotations

from random import Random

from quorum.model import quorum_size
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
VOTES_EVERY = 10
"""In so many seeds one has weights, or quorums of its own; those with spares have neither."""

VERIFY_US = (0, 0, 300, 1_500, 4_000)
"""How late checks of signatures come back at most."""
LOADS = ((4, 100), (6, 120), (8, 200))
"""(clients, mean pause in ms)."""

EXPECTED = (
    branches.VIEW_LEFT,
    branches.VIEW_BEGAN,
    branches.OLD_VIEW,
    branches.BASE_MISSING,
    branches.ASIDE,
    branches.PASSED_ON,
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
    late = Random(f"byzantine plan/verifying/{seed}")  # of its own, so that the rest of a plan stays what it was
    clients, pause_ms = draw.choice(LOADS)
    behaviours = DRAWN
    few = seed % FEW_FAULTS_EVERY == FEW_FAULTS_EVERY - 1
    full = seed % FULL_DISK_EVERY == FULL_DISK_EVERY - 2
    has_spares = seed % CHURN_EVERY == CHURN_EVERY - 1
    count = draw.choice(nodes)
    weights, quorums = ("", "") if has_spares or seed % VOTES_EVERY != 3 else uneven_votes(seed, count)
    real = seed % REAL_EVERY == REAL_EVERY - 1
    return ByzantinePlan(
        seed,
        count,
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
        spares=1 + seed // CHURN_EVERY % 3 if has_spares else 0,
        verify_us=late.choice(VERIFY_US),
        weights=weights,
        quorums=quorums,
    )


def uneven_votes(seed: int, count: int) -> tuple[str, str]:
    """The weights of so many members, or their quorums where one or the other are no plain threshold."""
    draw = Random(f"byzantine plan/votes/{seed}")
    faults, names = (count - 1) // 3, [f"n{number}" for number in range(1, count + 1)]
    if seed // VOTES_EVERY % 2:
        return "", quorums_of(names, faults)
    while True:
        weights = [draw.randrange(1, 5) for _ in names]
        heaviest, total = sum(sorted(weights)[-faults:]), sum(weights)
        if len(set(weights)) > 1 and (total + heaviest) // 2 + 1 <= total - heaviest:
            return ",".join(map(str, weights)), ""


def quorums_of(names: list[str], faults: int) -> str:
    """An expression that is safe and live: where ceil((N+T+1)/2) rounds up, some of one member less are a quorum,
    too; else each must have somebody of every group of more than T, which says nothing new of 3T+1 members."""
    size = quorum_size(len(names), faults, "byzantine")
    usual = f"choose({size}, {', '.join(names)})"
    if (len(names) + faults) % 2 == 0:
        return f"{usual} + {'*'.join(names[: size - 1])}"
    groups = [names[at : at + faults + 1] for at in range(0, len(names) - faults, faults + 1)]
    return " * ".join([usual, *(f"choose(1, {', '.join(group)})" for group in groups)])


def run_planned(seed: int, nodes: tuple[int, ...] = NODES) -> Outcome:
    """Run one seed of the campaign."""
    return run_byzantine_seed(plan_of(seed, nodes))[0]


def shortcoming(outcome: Outcome, operations_min: int = OPERATIONS_MIN) -> str:
    """Why a seed does not count as passed; empty if it does."""
    if outcome.failure:
        return outcome.failure
    if outcome.simulated_us < SECONDS * 1_000_000 or outcome.operations < operations_min:
        return f"too little: {outcome.operations} operations in {outcome.simulated_us / 1e6:.0f} s"
    return ""
