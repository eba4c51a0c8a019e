"""One seed of a control loop on a simulated cluster: probes report, some lie, nodes fail, all claims are checked.

Each node has a probe beside it, which owns one channel of the loop, sends its reading in each tick and says when
the tick is due. While a node is down its probe is silent. Probes that lie draw a lie for each tick; where members
may lie, the node beside a lying probe does, too.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import msgspec

from quorum.apps.answer import OK
from quorum.apps.catalogue import CONTROL_APP
from quorum.apps.control import (
    Command,
    Decided,
    Decisions,
    Declared,
    DeclareLoop,
    Due,
    LookDecisions,
    LoopSpec,
    Measured,
    Report,
    Reported,
    decode_results,
    encode_batch,
    encode_query,
    spec_of,
)
from quorum.checkers.violation import Violation
from quorum.errors import ConfigurationError, QuorumError
from quorum.model import Configuration, NodeId, check_fault_budget
from quorum.protocols.pbft.settings import Settings as ByzantineSettings
from quorum.protocols.raft.settings import Settings
from quorum.runtime.session_settings import SessionSettings
from quorum.sim.adversary import DRAWN, Floods
from quorum.sim.byzantine_world import ByzantineWorld
from quorum.sim.client import SimClient
from quorum.sim.faults import SECOND_US, Nemesis
from quorum.sim.world import World
from quorum.voting.control.channels import Channel

LOOP = "plant"
HALF = 0.5
"""Half-width of a reading; what an honest probe reads is no further from the truth."""
PERIOD_US = 100_000
DEADLINE_US = 60_000
BEGIN_US = 3 * SECOND_US
"""When the first tick begins: somebody leads by then, and the loop is declared."""
CALM_US = 8 * SECOND_US
PATIENCE_US = 2 * SECOND_US
SKEW_US = 5_000
"""Clocks of probes differ by so much at most."""
LIES = ("far", "edge", "ahead", "early", "steal", "nonsense", "silent")
"""What a probe may do instead of reporting; `edge`: the truth lies just outside of what it says."""


class ControlPlan(msgspec.Struct, frozen=True):
    """What one seed runs. `faults`: T of the loop; `liars`: so many probes lie (and members, where they may).
    `lie`: what they do; "": drawn in each tick. `strikes`: what happens to nodes (sim.faults), until the calm."""

    seed: int
    model: str = "crash"
    nodes: int = 5
    faults: int = 1
    liars: int = 1
    lie: str = ""
    degradation: str = "3oo5 3oo4 2oo3"
    seconds: int = 24
    strikes: tuple[str, ...] = ("crash", "isolate", "pause", "split", "weather")

    def replay_command(self) -> str:
        """The one line that runs this seed again, in a checkout."""
        command = f"python -m tests.simulation.control_campaign --seed {self.seed} --model {self.model}"
        command += f" --liars {self.liars} --seconds {self.seconds}"
        command += f" --strikes {','.join(self.strikes) or 'none'}"
        return command + (f" --lie {self.lie}" if self.lie else "")


class ControlOutcome(msgspec.Struct, frozen=True):
    """What one seed showed; `failure` is empty when every claim held."""

    seed: int
    failure: str
    trace: str
    decisions: dict[int, Decided]
    refused: int
    sometimes: dict[str, int]
    replay: str

    @property
    def due(self) -> int:
        """How many ticks were decided at their deadline."""
        return sum(each.is_due for each in self.decisions.values())


def truth_at(tick: int) -> float:
    """What is measured: it goes up and down between 20 and 30."""
    place = tick % 100
    return 20.0 + (place if place < 50 else 100 - place) / 5


class Probe:
    """A client beside one node, which owns the channel of that number."""

    def __init__(self, scene: ControlScene, number: int, lies: bool) -> None:
        self.scene, self.number, self.lies = scene, number, lies
        self.node, self.name, self.channel = f"n{number}", f"p{number}", f"c{number}"
        world = scene.world
        self.random: Random = world.random(f"probe {number}")
        settings = SessionSettings(silence_us=SECOND_US)
        self.client: SimClient = world.make_client(self.name, self._on_answer, settings)
        self.skew_us = self.random.randrange(-SKEW_US, SKEW_US)
        self.refused: list[str] = []
        self._known: set[int] = set()

    @property
    def caller(self) -> str:
        """By which name the application knows it."""
        world = self.scene.world
        return world.client_key(self.name).public.hex() if isinstance(world, ByzantineWorld) else self.name

    def start(self) -> None:
        self.client.start()
        self._at(0, self._begin)

    def _at(self, tick: int, act: Callable[[int], None], later_us: int = 0) -> None:
        world = self.scene.world
        at_us = BEGIN_US + tick * PERIOD_US + later_us + self.skew_us
        world.schedule(max(0, at_us - world.now_us), act, tick)

    def _begin(self, tick: int) -> None:
        if tick >= self.scene.ticks:
            return
        self._at(tick + 1, self._begin)
        self._at(tick, self._end, DEADLINE_US)
        if self.scene.world.nodes[self.node].is_up:
            if self.lies:
                self._lie(tick)
            else:
                self._report(tick, truth_at(tick) + self.random.uniform(-HALF, HALF))

    def _end(self, tick: int) -> None:
        if tick not in self._known and self.scene.world.nodes[self.node].is_up:
            self.send(Due(LOOP, tick))

    def _report(self, tick: int, value: float, channel: str = "") -> None:
        at_us = self.scene.world.now_us + self.skew_us
        self.send(Report(LOOP, tick, [Measured(channel or self.channel, at_us, value)]))

    def _lie(self, tick: int) -> None:
        lie = self.scene.plan.lie or self.random.choice(LIES)
        self.scene.world.sometimes.reached(f"lie {lie}")
        match lie:
            case "far":
                self._report(tick, 85.0)
            case "edge":
                self._report(tick, truth_at(tick) + HALF + 0.05)
            case "ahead":
                for ahead in range(20):
                    self._report(tick + ahead, 85.0)
            case "early" if isinstance(self.scene.world, ByzantineWorld):  # elsewhere clocks do not lie
                self._report(tick, 85.0)
                self.send(Due(LOOP, tick))
                self.send(Due(LOOP, tick + 3))
            case "steal":
                self._report(tick, 85.0, f"c{self.number % self.scene.plan.nodes + 1}")
            case "nonsense":
                self._report(tick, float("nan"))

    def send(self, command: Command) -> None:
        self.client.session.submit(self.scene.world.now_us, CONTROL_APP, 1, encode_batch([command]), PATIENCE_US)

    def _on_answer(self, handle: int, status: int, body: bytes, error: QuorumError | None) -> None:
        if error is not None or status != OK:
            self.scene.world.sometimes.reached("a probe was not answered")
            return
        for result in decode_results(body):
            if isinstance(result, Reported):
                if result.decided is not None:
                    self._known.add(result.decided.tick)
                self.scene.answered(result)
            elif isinstance(result, Declared):
                self.scene.is_declared = True
            elif self.lies:
                self.refused.append(repr(result))
            else:
                raise Violation("what an honest probe sends is never refused", repr(result))


class ControlScene:
    """A world with its probes. `decisions` are those that any node showed so far, by their ticks."""

    def __init__(self, plan: ControlPlan, world: World) -> None:
        self.plan, self.world = plan, world
        self.ticks = (plan.seconds * SECOND_US - BEGIN_US) // PERIOD_US - 10
        self.decisions: dict[int, Decided] = {}
        self.is_declared = False
        members = sorted(world.liars) if isinstance(world, ByzantineWorld) else []
        drawn = world.random("liars").sample(range(1, plan.nodes + 1), plan.nodes)
        self.liars = list(dict.fromkeys([*(int(name[1:]) for name in members), *drawn]))[: plan.liars]
        self.probes = [Probe(self, number, number in self.liars) for number in range(1, plan.nodes + 1)]

    def spec(self) -> LoopSpec:
        """The loop: each probe owns its channel."""
        may_lie = isinstance(self.world, ByzantineWorld)
        return spec_of(
            [Channel(name=each.channel, half_width=HALF) for each in self.probes],
            self.plan.degradation,
            faults=self.plan.faults,
            period_us=PERIOD_US,
            deadline_us=DEADLINE_US,
            owners={each.channel: each.caller for each in self.probes},
            liars=self.plan.faults if may_lie else 0,
            start_us=BEGIN_US,
        )

    def start(self) -> None:
        """Boot the nodes, declare the loop, and let the probes begin. Raises Violation if it is not."""
        self.world.boot()
        for probe in self.probes:
            probe.start()
        declarer = next(probe for probe in self.probes if not probe.lies)
        self.world.schedule(SECOND_US, declarer.send, DeclareLoop(LOOP, self.spec()))
        self.world.schedule(SECOND_US, self._look_around)
        if not self.world.run_until(lambda: self.is_declared, BEGIN_US):
            raise Violation("progress: a loop is declared before anything fails", "it was not")

    def answered(self, reported: Reported) -> None:
        """A probe heard of a decision."""
        if reported.decided is not None:
            self._same(reported.decided, "a probe")

    def _look_around(self) -> None:
        self.compare()
        self.world.schedule(SECOND_US, self._look_around)

    def compare(self) -> None:
        """Compare what every honest node that runs has decided. Raises Violation where two differ."""
        for name in self.honest:
            host = self.world.nodes[name].host
            application = None if host is None else host.application(CONTROL_APP)
            if application is None:
                continue
            (found,) = decode_results(application.query(encode_query([LookDecisions(LOOP)])))
            if isinstance(found, Decisions):
                for decided in found.decisions:
                    self._same(decided, name)

    @property
    def honest(self) -> tuple[NodeId, ...]:
        """The nodes that do not lie."""
        world = self.world
        return world.honest if isinstance(world, ByzantineWorld) else tuple(world.nodes)

    def _same(self, decided: Decided, who: str) -> None:
        known = self.decisions.setdefault(decided.tick, decided)
        if known != decided:
            raise Violation("every node decides the same", f"{who} has {decided}, and another one {known}")

    # After the run.

    def check(self) -> None:
        """Raise Violation where a claim does not hold."""
        self.compare()
        for decided in self.decisions.values():
            self.check_interval(decided)
        hosts = [self.world.nodes[name].host for name in self.honest]
        if len({host.digest() for host in hosts if host is not None}) != 1 or None in hosts:
            raise Violation("progress: every honest node catches up in the calm", "their states differ")
        calm = range(self.ticks - (CALM_US // 2) // PERIOD_US, self.ticks)
        missing = [tick for tick in calm if not self.decisions.get(tick)]
        if missing:
            raise Violation("progress: every tick is decided in the calm", f"ticks {missing[:20]} were not")

    def check_interval(self, decided: Decided) -> None:
        """The decided interval holds the truth where the stage outvotes T."""
        if decided.low is None or decided.high is None:
            return
        agree, _, channels = decided.stage.partition("oo")
        if int(channels) - int(agree) < self.plan.faults or 2 * int(agree) <= int(channels):
            return
        self.world.sometimes.reached("an interval holds the truth")
        if not decided.low <= truth_at(decided.tick) <= decided.high:
            detail = f"tick {decided.tick}: {truth_at(decided.tick)} is not in {decided}"
            raise Violation("a decided interval holds the truth while at most T channels lie", detail)


def world_of(plan: ControlPlan) -> World:
    """The world of a plan. Raises ConfigurationError for one that cannot be."""
    if plan.seconds * SECOND_US < BEGIN_US + 2 * CALM_US or plan.liars >= plan.nodes:
        raise ConfigurationError(
            f"{plan.seconds} s with {plan.liars} liars of {plan.nodes} were asked for, but a run has at least "
            f"{(BEGIN_US + 2 * CALM_US) // SECOND_US} s, and somebody honest. Ask for more time, or fewer liars."
        )
    if plan.model != "byzantine":
        names = tuple(f"n{number}" for number in range(1, plan.nodes + 1))
        settings = Settings(snapshot_entries=100, log_kept_entries=50)
        return World(plan.seed, Configuration(epoch=1, voters=names), settings)
    tolerated = (plan.nodes - 1) // 3
    check_fault_budget(plan.nodes, tolerated, "byzantine")
    random = Random(f"{plan.seed}/lying members")
    lying = random.sample(range(1, plan.nodes + 1), min(plan.liars, tolerated))
    behaviours = {f"n{number}": random.choice([each for each in DRAWN if each != Floods.name]) for number in lying}
    state = ByzantineSettings(state_blocks=64, log_kept_blocks=32)
    return ByzantineWorld(plan.seed, plan.nodes, tolerated, behaviours, state)


def run_control_seed(plan: ControlPlan) -> ControlOutcome:
    """Run one seed. A broken claim is in the outcome, not raised."""
    world = world_of(plan)
    scene = ControlScene(plan, world)
    failure = ""
    try:
        scene.start()
        Nemesis(world, plan.strikes, plan.seconds * SECOND_US - CALM_US).start()
        world.run(plan.seconds * SECOND_US)
        scene.check()
    except Violation as violation:
        failure = str(violation)
    except AssertionError as error:
        failure = f"an invariant of the code broke: {error}"
    return ControlOutcome(
        plan.seed,
        failure,
        world.trace.hexdigest(),
        dict(sorted(scene.decisions.items())),
        sum(len(probe.refused) for probe in scene.probes),
        dict(sorted(world.sometimes.counts.items())),
        plan.replay_command(),
    )
