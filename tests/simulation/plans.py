"""What each seed of the campaign runs: everything but the seed follows from the seed."""

from __future__ import annotations

from random import Random

from quorum.sim import branches, churn
from quorum.sim.campaign import Outcome, Plan, run_seed
from quorum.sim.disk_log import TORN_WRITE
from quorum.sim.faults import ALL_FAULTS, LEASE_FAULTS, USUAL_FAULTS
from quorum.sim.node import PUT_OUT, SPACE_BACK, TAKEN_BACK
from quorum.sim.storage import SYNC_IN_PLACE
from quorum.sim.world import World
from quorum.systems import classic
from quorum.systems.system import QuorumSystem

from .adversary import LOSES, STRIKES, Adversary

SECONDS = 60
OPERATIONS_MIN = 500
NODES = (3, 5, 7)
QUORUMS_EVERY, WIRE_EVERY, DISK_EVERY, FEW_FAULTS_EVERY, ADVERSARY_EVERY = 10, 7, 5, 4, 6
CHURN_EVERY, WITNESS_EVERY, LEASE_EVERY, FULL_EVERY, POLICY_EVERY = 4, 8, 9, 11, 3

LOADS = ((5, 100), (10, 100), (10, 150), (20, 200))
"""(clients, mean pause in ms)."""

EXPECTED = (
    branches.SPLIT_VOTE,
    branches.NO_QUORUM,
    branches.DEPOSED,
    branches.UNCOMMITTED,
    branches.TRUNCATED,
    branches.BACKTRACKED,
    branches.VOTE_REFUSED,
    branches.PRE_VOTE_REFUSED,
    branches.OLD_LEADER,
    branches.OFFERED,
    branches.INSTALLED,
    branches.RESTORED,
    branches.REROUTED,
    branches.SENT_AGAIN,
    branches.DUPLICATE,
    branches.LOST_TAIL,
    branches.TORN_TAIL,
    TORN_WRITE,
    SYNC_IN_PLACE,
    STRIKES,
    LOSES,
    branches.JOINT_INHERITED,
    churn.CHANGED,
    churn.LEADER_LEFT,
    churn.QUORUMS_CHANGED,
    churn.WITNESS_ADMITTED,
    churn.TRANSFERRED,
    churn.REFUSED,
    churn.UNKNOWN,
    SPACE_BACK,
    PUT_OUT,
    TAKEN_BACK,
    *(f"fault {kind}" for kind in USUAL_FAULTS),
)
"""Branches that a whole campaign must have met."""


def systems_of(names: tuple[str, ...]) -> tuple[QuorumSystem, ...]:
    """Quorum systems over `names` that are no majorities, and on which Raft is safe."""
    count, half = len(names), len(names) // 2
    weights = dict.fromkeys(names, 1) | {names[0]: 2}
    rows = [names[: count // 2], names[count // 2 : 2 * (count // 2)]]
    zones = [names[at : at + 3] for at in range(0, count, 3)]
    return (
        classic.threshold(names, count - half + 1, half),
        classic.weighted(weights, count // 2 + 2, count // 2 + 1),
        classic.grid(rows),
        classic.hierarchical(zones),
        classic.crumbling_wall([names[:1], names[1:]]),
    )


def is_hostile(seed: int) -> bool:
    """Whether the adversary plays in this seed."""
    return seed % ADVERSARY_EVERY == ADVERSARY_EVERY - 1


def plan_of(seed: int, nodes: tuple[int, ...] = NODES) -> Plan:
    """The plan of one seed. The same seed and choice of node counts give the same plan."""
    draw = Random(f"plan/{seed}")
    count = nodes[seed % len(nodes)]
    clients, pause_ms = draw.choice(LOADS)
    faults, faults_at_once = ALL_FAULTS, draw.choice((1, 1, 2))
    if is_hostile(seed):
        clients, pause_ms, faults_at_once = 10, 80, 1
    elif seed % FEW_FAULTS_EVERY == FEW_FAULTS_EVERY - 1:
        faults, faults_at_once = tuple(sorted(draw.sample(ALL_FAULTS, 3))), 1
    lease = seed % LEASE_EVERY == 4 and not is_hostile(seed)
    if lease:
        faults = (*(kind for kind in faults if kind in LEASE_FAULTS), "drift")
    if seed % FULL_EVERY == 7:
        faults = (*faults, "full-disk")
    spares = 4 if seed % CHURN_EVERY == 1 else 0
    reads = writes = ""
    if seed % QUORUMS_EVERY == 3:
        system = draw.choice(systems_of(tuple(f"n{i}" for i in range(1, count + 1))))
        reads, writes = str(system.reads), str(system.writes)
    return Plan(
        seed,
        count,
        SECONDS,
        clients,
        pause_ms,
        faults,
        reads,
        writes,
        snapshot_entries=draw.choice((20, 50, 200)),
        wire=seed % WIRE_EVERY == 0,
        disk=seed % DISK_EVERY == 0,
        message_entries=draw.choice((1, 3, 1024)),
        sync_us=draw.choice((300, 300, 3_000, 15_000)),
        faults_at_once=faults_at_once,
        patience_ms=draw.choice((3_000, 3_000, 400)),
        spares=spares,
        witnesses=1 if spares and seed % WITNESS_EVERY == 1 else 0,
        lease=lease,
        in_flight=draw.choice((1, 1, 3)),
        policy=_policy(seed) if not reads else "fixed",
    )


def _policy(seed: int) -> str:
    """Every third seed adapts its committee, some of them at any size, as an operator may choose."""
    if seed % POLICY_EVERY != 2:
        return "fixed"
    return "participation" if seed % 2 else "adaptive"


def run_planned(seed: int, nodes: tuple[int, ...] = NODES) -> Outcome:
    """Run one seed of the campaign."""
    return run_seed(plan_of(seed, nodes), Adversary if is_hostile(seed) else World)[0]


def shortcoming(outcome: Outcome) -> str:
    """Why a seed does not count as passed; empty if it does."""
    if outcome.failure:
        return outcome.failure
    if outcome.simulated_us < SECONDS * 1_000_000 or outcome.operations < OPERATIONS_MIN:
        return f"too little: {outcome.operations} operations in {outcome.simulated_us / 1e6:.0f} s"
    return ""
