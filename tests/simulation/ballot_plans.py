"""What each seed of the campaign of ballots runs: everything but the seed follows from the seed."""

from __future__ import annotations

from random import Random

from quorum.sim.adversary import DRAWN
from quorum.sim.campaign import Outcome
from quorum.sim.faults import ALL_FAULTS, USUAL_FAULTS

from . import ballot_observer as seen
from .ballot_scene import BallotPlan, run_ballots

NODES = (3, 4, 5)
LIARS_EVERY, DISK_EVERY, FEW_FAULTS_EVERY, FULL_DISK_EVERY, ONE_LIE_EVERY, DIVIDED_EVERY = 5, 6, 4, 7, 3, 3
"""In so many seeds one has members that may lie, and so on."""
OPERATIONS_MIN, ENDED_MIN = 200, 2
"""Of each seed: client operations, and ballots that ended."""

EXPECTED = (
    seen.WON,
    seen.LOST,
    seen.MEASURED_WON,
    seen.ROUNDS,
    seen.TIMED_ROUND,
    seen.LOCKED,
    seen.AMBIGUOUS,
    seen.LIES,
    seen.REVEALED,
    seen.EXPIRED,
    seen.CLOSED,
    seen.FORGOTTEN,
    seen.CHANGED,
    seen.LATE,
    seen.CARRIED,
    seen.PROVEN,
    seen.FORGED,
    seen.UNKNOWN,
    *(f"fault {kind}" for kind in ALL_FAULTS),
)
"""What a whole campaign must have met."""


def plan_of(seed: int, nodes: tuple[int, ...] = NODES) -> BallotPlan:
    """The plan of one seed. Crash faults on an odd number of nodes, or a liar among four or more."""
    draw = Random(f"ballot plan/{seed}")
    odd, many = [count for count in nodes if count % 2], [count for count in nodes if count >= 4]
    lies = bool(many) and (seed % LIARS_EVERY == LIARS_EVERY - 1 or not odd)
    few = seed % FEW_FAULTS_EVERY == FEW_FAULTS_EVERY - 1
    full = seed % FULL_DISK_EVERY == FULL_DISK_EVERY - 1 and not few
    faults = tuple(sorted(draw.sample(ALL_FAULTS, 3))) if few else USUAL_FAULTS if full else ALL_FAULTS
    return BallotPlan(
        seed,
        draw.choice(many if lies else odd),
        "byzantine" if lies else "crash",
        faults=faults,
        lies=(draw.choice(DRAWN),) if seed % ONE_LIE_EVERY == 1 else DRAWN,
        snapshot_entries=draw.choice((20, 50, 200)),
        disk=seed % DISK_EVERY == 0,
        divided=seed % DIVIDED_EVERY == 2,
    )


def run_planned(seed: int, nodes: tuple[int, ...] = NODES) -> Outcome:
    """Run one seed of the campaign."""
    return run_ballots(plan_of(seed, nodes))[0]


def shortcoming(outcome: Outcome) -> str:
    """Why a seed does not count as passed; empty if it does."""
    if outcome.failure:
        return outcome.failure
    ended = outcome.sometimes.get(seen.WON, 0) + outcome.sometimes.get(seen.LOST, 0)
    if outcome.operations < OPERATIONS_MIN or ended < ENDED_MIN:
        return f"too little: {outcome.operations} operations, {ended} ballots ended"
    return ""
