"""One seed: a cluster, clients and faults for some simulated seconds, and every claim about it checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec

from quorum.checkers.history import History, Key
from quorum.checkers.linearizability import Verdict, check_linearizable
from quorum.checkers.violation import Violation
from quorum.errors import ConfigurationError
from quorum.membership.observation import Limits
from quorum.membership.policy import FLOOR, check_policy
from quorum.model import Configuration
from quorum.protocols.raft.settings import Settings
from quorum.runtime.session_settings import SessionSettings
from quorum.sim.churn import Operator
from quorum.sim.client import SimClient
from quorum.sim.faults import ALL_FAULTS, DRIFT, SECOND_US, Nemesis
from quorum.sim.weighing import RestlessWorld
from quorum.sim.workload import Worker
from quorum.sim.world import World

CALM_US = 12 * SECOND_US
"""The last seconds are without faults: everything must be answered and everybody must agree."""
_USUAL = (
    ("snapshot_entries", 50),
    ("message_entries", 1024),
    ("sync_us", 300),
    ("faults_at_once", 1),
    ("patience_ms", 3000),
    ("in_flight", 1),
    ("spares", 0),
    ("witnesses", 0),
    ("churn_ms", 2000),
    ("policy", "fixed"),
    ("hold_ms", 1000),
)


class Plan(msgspec.Struct, frozen=True):
    """What one seed runs. `seconds` are simulated; `clients` have `in_flight` operations open each.

    `wire`: messages travel as bytes. `disk`: nodes keep the production log on a simulated disk. `message_entries`:
    how many entries one message holds at most. `sync_us`: how long a sync takes, at least. `spares`: so many more
    nodes wait to be admitted, the last `witnesses` of them as witnesses, and an operator changes the members,
    about once in `churn_ms`. `lease`: reads by leases, for clocks that drift as `sim.faults` says. `policy`: how
    the committee follows who is well; who is badly seen for `hold_ms` is put out, and taken back once it has been
    well for as long. `restless`: links become longer and shorter, and weights follow (sim.weighing).
    `faults_at_once`: how many faults may overlap. `patience_ms`: how long a client waits for a silent node.
    """

    seed: int
    nodes: int = 5
    seconds: int = 60
    clients: int = 10
    pause_ms: int = 100
    faults: tuple[str, ...] = ALL_FAULTS
    reads: str = ""
    writes: str = ""
    stale: bool = False
    snapshot_entries: int = 50
    keep: int = 0
    wire: bool = False
    disk: bool = False
    message_entries: int = 1024
    sync_us: int = 300
    faults_at_once: int = 1
    patience_ms: int = 3000
    in_flight: int = 1
    spares: int = 0
    witnesses: int = 0
    lease: bool = False
    churn_ms: int = 2000
    policy: str = "fixed"
    hold_ms: int = 1000
    restless: bool = False

    def replay_command(self) -> str:
        """The one line that runs this seed again."""
        command = f"quorum replay --seed {self.seed} --nodes {self.nodes} --seconds {self.seconds}"
        command += f" --clients {self.clients} --pause-ms {self.pause_ms}"
        if self.faults != ALL_FAULTS:
            command += f" --faults {','.join(self.faults) or 'none'}"
        if self.reads:
            command += f" --reads '{self.reads}'"
        if self.writes:
            command += f" --writes '{self.writes}'"
        for name, usual in _USUAL:
            if getattr(self, name) != usual:
                command += f" --{name.replace('_', '-')} {getattr(self, name)}"
        for name in ("stale", "wire", "disk", "lease", "restless"):
            if getattr(self, name):
                command += f" --{name}"
        return command


class Outcome(msgspec.Struct, frozen=True):
    """What one seed showed. `failure` is empty when every claim held; `failing_key` and `window` are those of the
    history's checkers.linearizability.Verdict where that was the claim."""

    seed: int
    failure: str
    trace: str
    events: int
    operations: int
    unknown: int
    decided: int
    leaders: int
    simulated_us: int
    sometimes: dict[str, int]
    replay: str
    failing_key: Key = None
    window: tuple[dict[str, Any], ...] | None = None


class Refuted(Violation):
    """The history of a run is not linearizable, or too hard to judge."""

    def __init__(self, verdict: Verdict) -> None:
        operations = f", see {len(verdict.window)} of its operations" if verdict.window else ""
        detail = f"key {verdict.failing_key!r} is {verdict.verdict}{operations}"
        super().__init__("the history is linearizable", detail)
        self.verdict = verdict


MakeWorld = Callable[..., World]
"""Takes what `World` takes."""


def configuration_of(plan: Plan) -> Configuration:
    """Nodes n1, n2, ... under the plan's quorum system."""
    if plan.nodes < 1 or plan.seconds * SECOND_US <= CALM_US or plan.clients < 1:
        raise ConfigurationError(
            f"{plan.nodes} nodes, {plan.clients} clients and {plan.seconds} s were asked for, but a run needs "
            f"one of each and ends with {CALM_US // SECOND_US} calm seconds. Ask for more."
        )
    if plan.spares < plan.witnesses or plan.witnesses < 0:
        raise ConfigurationError(
            f"{plan.witnesses} witnesses were asked for among {plan.spares} spare nodes. Ask for as many spares."
        )
    names = tuple(f"n{i}" for i in range(1, plan.nodes + 1))
    check_policy(plan.policy, plan.nodes, faults := (plan.nodes - 1) // 2, FLOOR)
    return Configuration(
        epoch=1, voters=names, reads=plan.reads, writes=plan.writes, policy=plan.policy, faults=faults
    )


def run_seed(plan: Plan, make_world: MakeWorld = World) -> tuple[Outcome, History, World]:
    """Run one seed. A broken claim is in the outcome, not raised; a bad plan raises ConfigurationError."""
    settings = Settings(
        snapshot_entries=plan.snapshot_entries,
        log_kept_entries=plan.snapshot_entries // 2,
        message_entries_max=plan.message_entries,
        lease_reads=plan.lease,
        clock_drift_ppm=int((DRIFT**2 - 1) * 1_000_000),
    )
    spares = tuple(f"n{i}" for i in range(plan.nodes + 1, plan.nodes + plan.spares + 1))
    witnesses = spares[plan.spares - plan.witnesses :]
    limits = Limits(hold_us=plan.hold_ms * 1000, stable_us=plan.hold_ms * 1000)
    shape = (configuration_of(plan), settings, plan.keep, plan.wire, plan.disk, spares, witnesses, limits)
    stop_us = plan.seconds * SECOND_US - CALM_US
    if plan.restless and make_world is World:
        make_world = partial(RestlessWorld, calm_us=stop_us)
    world = make_world(plan.seed, *shape)
    set_disks(world, plan.sync_us)
    history = History()
    session = SessionSettings(silence_us=plan.patience_ms * 1000)
    workers = [
        Worker(world, f"c{i}", history, plan.pause_ms * 1000, stop_us, plan.stale, session, plan.in_flight)
        for i in range(1, plan.clients + 1)
    ]
    nemeses = [Nemesis(world, plan.faults, stop_us) for _ in range(plan.faults_at_once)]
    for number, nemesis in enumerate(nemeses[1:], 2):
        nemesis.random = world.random(f"nemesis {number}")
    operator = Operator(world, stop_us, plan.churn_ms * 1000) if plan.spares else None
    world.schedule(stop_us + 1, set_disks, world, plan.sync_us)
    verdict: Verdict | None = None
    try:
        world.boot()
        for worker in workers:
            worker.start()
        for nemesis in nemeses:
            nemesis.start()
        if operator is not None:
            operator.start()
        world.run(plan.seconds * SECOND_US)
        check_ending(world, workers)
        _check_history(history)
        failure = ""
    except Violation as violation:
        failure = str(violation)
        verdict = violation.verdict if isinstance(violation, Refuted) else None
    except AssertionError as error:
        failure = f"an invariant of the code broke: {error}"
    return outcome_of(plan, failure, verdict, world, workers), history, world


def set_disks(world: World, sync_us: int) -> None:
    """As fast as `sync_us` says: at the start, and after the faults, for slow disks may have overlapped."""
    for node in world.nodes.values():
        node.log.sync_us, node.log.sync_jitter_us = sync_us, 2 * sync_us


class Answered(Protocol):
    """A client whose answers count."""

    name: str
    client: SimClient
    answered: int


def check_ending(world: World, workers: Sequence[Answered]) -> None:
    """After the calm: somebody leads, everybody runs and has applied the same, every client was answered."""
    leader = world.leader()
    if leader is None:
        raise Violation("progress: the calm network elects a leader", "nobody leads at the end")
    replica = world.nodes[leader].replica
    assert replica is not None, "a leader runs"
    members = {name: world.nodes[name] for name in replica.configuration.members}
    if replica.configuration.outgoing is not None:
        raise Violation("progress: every change ends in the calm", f"{replica.configuration} is in force")
    full = [name for name, node in members.items() if node.driver is not None and node.driver.is_full]
    if full:
        raise Violation("progress: a node goes on once its disk has space again", f"{full} wait for space")
    applied = {name: node.driver.applied_index for name, node in members.items() if node.driver}
    if len(applied) < len(members) or len(set(applied.values())) > 1:
        raise Violation("progress: every member catches up in the calm", f"applied indexes {applied}")
    digests = {
        name: node.host.digest()
        for name, node in members.items()
        if node.host is not None and node.host.keeps_state
    }
    if len(set(digests.values())) > 1:
        raise Violation("equal logs give equal states", f"digests {digests}")
    waiting = [worker.name for worker in workers if worker.client.session.unanswered]
    if waiting:
        raise Violation("progress: every client is answered in the calm", f"{waiting} wait")
    if sum(worker.answered for worker in workers) == 0:
        raise Violation("progress: a run that decided nothing proves nothing", "no operation was answered")


def _check_history(history: History) -> None:
    verdict = check_linearizable(history)
    if not verdict:
        raise Refuted(verdict)


class Replayable(Protocol):
    """A plan of one seed, of either fault model."""

    @property
    def seed(self) -> int: ...

    def replay_command(self) -> str: ...


def outcome_of(
    plan: Replayable, failure: str, verdict: Verdict | None, world: World, workers: list[Worker]
) -> Outcome:
    """What a run came to; `verdict` is that of its history, where that was the broken claim."""
    return Outcome(
        seed=plan.seed,
        failure=failure,
        trace=world.trace.hexdigest(),
        events=world.trace.events,
        operations=sum(worker.answered + worker.unknown for worker in workers),
        unknown=sum(worker.unknown for worker in workers),
        decided=world.agreement.decided.last,
        leaders=world.leaders,
        simulated_us=world.now_us,
        sometimes=dict(sorted(world.sometimes.counts.items())),
        replay=plan.replay_command(),
        failing_key=verdict.failing_key if verdict is not None else None,
        window=verdict.window if verdict is not None else None,
    )
