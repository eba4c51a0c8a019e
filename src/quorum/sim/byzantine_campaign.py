"""One seed of a committee with liars: clients, faults and lies for simulated seconds, and every claim checked."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from random import Random

import msgspec

from quorum.certificate.committee import check_committee
from quorum.checkers.history import History
from quorum.checkers.linearizability import Verdict, check_linearizable
from quorum.checkers.violation import Violation
from quorum.errors import ConfigurationError
from quorum.model import NodeId, check_fault_budget
from quorum.protocols.pbft.settings import Settings
from quorum.runtime.session_settings import SessionSettings
from quorum.sim.adversary import BEHAVIOURS, DRAWN, Floods
from quorum.sim.byzantine_adaptive import AdaptiveWorld
from quorum.sim.byzantine_churn import Operators
from quorum.sim.byzantine_weighing import RestlessCommitteeWorld
from quorum.sim.byzantine_world import ByzantineWorld, Key, committee_with
from quorum.sim.campaign import CALM_US, Outcome, Refuted, outcome_of, set_disks
from quorum.sim.faults import ALL_FAULTS, SECOND_US, Nemesis
from quorum.sim.workload import Worker

UNDER_WAY_US = 2 * SECOND_US
"""A liar has old requests ordered again now and then, also in the calm: what is under way at the end may end."""
CALM_BYZANTINE_US = CALM_US + 12 * SECOND_US
"""Views that failed one after the other have doubled the patience for the next."""

FLOOD_JUNK = 3
"""So much junk goes with each message of a member that floods: such a seed takes twice as long at most."""

_USUAL = (("state_blocks", 32), ("sync_us", 300), ("spares", 0), ("churn_ms", 4000), ("verify_us", 0))
_TEXTS = ("weights", "quorums")


class ByzantinePlan(msgspec.Struct, frozen=True):
    """What one seed runs. `lies`: what liars may do, drawn for each; `liars`: how many of the T members that may.

    `real`: Ed25519 instead of the simulator's tokens. `state_blocks`: the state is certified at every so many
    blocks. `spares`: so many more nodes follow without a vote, and about once in `churn_ms` the operators have one
    join, leave, or take another's place. `verify_us`: checks of signatures come back up to so much later, as from
    threads; 0: at once. `weights`: the members' votes, such as "2,2,2,1"; `quorums`: an expression over the
    members; neither goes with spares. `adaptive`: members evict and readmit each other by themselves
    (sim.byzantine_adaptive), which goes with none of these three. `restless`: they do, and links become longer and
    shorter, and weights follow (sim.byzantine_weighing). The rest is as in sim.campaign.Plan.
    """

    seed: int
    nodes: int = 4
    seconds: int = 72
    clients: int = 10
    pause_ms: int = 80
    faults: tuple[str, ...] = ALL_FAULTS
    lies: tuple[str, ...] = DRAWN
    liars: int | None = None
    state_blocks: int = 32
    keep: int = 0
    wire: bool = False
    disk: bool = False
    real: bool = False
    sync_us: int = 300
    spares: int = 0
    churn_ms: int = 4000
    verify_us: int = 0
    weights: str = ""
    quorums: str = ""
    adaptive: bool = False
    restless: bool = False

    @property
    def tolerated(self) -> int:
        """T, the most that N members allow for."""
        return (self.nodes - 1) // 3

    def replay_command(self) -> str:
        """The one line that runs this seed again."""
        command = (
            f"quorum replay --model byzantine --seed {self.seed} --nodes {self.nodes} --seconds {self.seconds}"
        )
        command += f" --clients {self.clients} --pause-ms {self.pause_ms}"
        if self.faults != ALL_FAULTS:
            command += f" --faults {','.join(self.faults) or 'none'}"
        if self.lies != DRAWN:
            command += f" --lies {','.join(self.lies) or 'none'}"
        if self.liars is not None:
            command += f" --liars {self.liars}"
        for name, usual in _USUAL:
            if getattr(self, name) != usual:
                command += f" --{name.replace('_', '-')} {getattr(self, name)}"
        for name in _TEXTS:
            if getattr(self, name):
                command += f" --{name} {shlex.quote(getattr(self, name))}"
        for name in ("wire", "disk", "real", "adaptive", "restless"):
            if getattr(self, name):
                command += f" --{name}"
        return command


def behaviours_of(plan: ByzantinePlan) -> dict[NodeId, str]:
    """Who lies in this seed, and how. Raises ConfigurationError for a plan that cannot be."""
    check_fault_budget(plan.nodes, plan.tolerated, "byzantine")
    wanted = plan.tolerated if plan.liars is None else plan.liars
    unknown = sorted(set(plan.lies) - set(BEHAVIOURS))
    if unknown or wanted > plan.tolerated or plan.seconds * SECOND_US <= CALM_BYZANTINE_US:
        raise ConfigurationError(
            f"{wanted} liars among {plan.nodes} with the lies {', '.join(plan.lies)} for {plan.seconds} s were "
            f"asked for, but {plan.nodes} members tolerate {plan.tolerated}, a run ends with "
            f"{CALM_BYZANTINE_US // SECOND_US} calm seconds, and lies are {', '.join(sorted(BEHAVIOURS))}. "
            "Correct that."
        )
    if (plan.adaptive or plan.restless) and (plan.spares or plan.weights or plan.quorums):
        raise ConfigurationError(
            "adaptive or restless was asked for with spares, weights or quorums, but members that adapt begin as "
            "equals, and nobody operates them. Leave these out."
        )
    names = [f"n{i}" for i in range(1, plan.nodes + 1)]
    keys = {name: Key(name.encode(), False) for name in names}
    check_committee(committee_with(keys, plan.tolerated, votes_of(plan), plan.quorums))
    random = Random(f"{plan.seed}/liars")
    if not plan.lies:
        return {}
    return {name: random.choice(plan.lies) for name in random.sample(names, wanted)}


def votes_of(plan: ByzantinePlan) -> tuple[int, ...]:
    """The members' weights; empty: one vote each. Raises ConfigurationError for weights that are none."""
    votes = tuple(int(vote) for vote in plan.weights.split(",") if vote.strip().isdecimal())
    is_right = not plan.weights or len(votes) == len(plan.weights.split(",")) == plan.nodes
    if not is_right or (plan.spares and (plan.weights or plan.quorums)):
        raise ConfigurationError(
            f"weights {plan.weights!r} and quorums {plan.quorums!r} were asked for with {plan.nodes} members and "
            f"{plan.spares} spares, but each member has one weight, and committees that change have neither. Give "
            f"{plan.nodes} numbers with commas between them, and no spares."
        )
    return votes


def run_byzantine_seed(
    plan: ByzantinePlan, make_world: Callable[..., ByzantineWorld] = ByzantineWorld
) -> tuple[Outcome, History, ByzantineWorld]:
    """Run one seed. A broken claim is in the outcome, not raised; a bad plan raises ConfigurationError."""
    stop_us = plan.seconds * SECOND_US - CALM_BYZANTINE_US
    if make_world is ByzantineWorld and plan.restless:
        make_world = partial(RestlessCommitteeWorld, calm_us=stop_us)
    elif make_world is ByzantineWorld and plan.adaptive:
        make_world = AdaptiveWorld
    settings = Settings(state_blocks=plan.state_blocks, log_kept_blocks=max(1, plan.state_blocks // 2))
    world = make_world(
        plan.seed,
        plan.nodes,
        plan.tolerated,
        behaviours_of(plan),
        settings,
        plan.keep,
        plan.wire,
        plan.disk,
        plan.real,
        plan.spares,
        plan.verify_us,
        votes_of(plan),
        plan.quorums,
    )
    for liar in world.liars.values():
        if isinstance(liar, Floods):
            liar.junk_each = FLOOD_JUNK
    set_disks(world, plan.sync_us)
    history = History()
    patience = SessionSettings(silence_us=1_000_000)
    workers = [
        Worker(world, f"c{i}", history, plan.pause_ms * 1000, stop_us, False, patience)
        for i in range(1, plan.clients + 1)
    ]
    nemesis = Nemesis(world, plan.faults, stop_us)
    world.schedule(stop_us + 1, set_disks, world, plan.sync_us)
    failure = ""
    refuted: Verdict | None = None
    try:
        world.boot()
        for worker in workers:
            worker.start()
        nemesis.start()
        if plan.spares:
            Operators(world, stop_us, plan.churn_ms * 1000).start()
        world.run(plan.seconds * SECOND_US)
        world.run_until(lambda: len(set(applied_by(world).values())) == 1, UNDER_WAY_US)
        check_ending(world, workers)
        verdict = check_linearizable(history)
        if not verdict:
            raise Refuted(verdict)
    except Violation as violation:
        failure = str(violation)
        refuted = violation.verdict if isinstance(violation, Refuted) else None
    except AssertionError as error:
        failure = f"an invariant of the code broke: {error}"
    return outcome_of(plan, failure, refuted, world, workers), history, world


def applied_by(world: ByzantineWorld) -> dict[NodeId, int]:
    """How far each honest member that runs has applied."""
    drivers = {name: world.nodes[name].driver for name in world.honest}
    return {name: driver.applied_index for name, driver in drivers.items() if driver is not None}


def check_ending(world: ByzantineWorld, workers: list[Worker]) -> None:
    """After the calm: every honest member runs and has applied the same, every client was answered."""
    honest, applied = {name: world.nodes[name] for name in world.honest}, applied_by(world)
    if len(applied) < len(honest) or len(set(applied.values())) > 1:
        raise Violation("progress: every honest member catches up in the calm", f"applied blocks {applied}")
    digests = {name: node.host.digest() for name, node in honest.items() if node.host is not None}
    if len(set(digests.values())) > 1:
        raise Violation("equal logs give equal states", f"digests {digests}")
    waiting = [worker.name for worker in workers if worker.client.session.unanswered]
    if waiting:
        raise Violation("progress: every client is answered in the calm", f"{waiting} wait")
    if sum(worker.answered for worker in workers) == 0:
        raise Violation("progress: a run that decided nothing proves nothing", "no operation was answered")
