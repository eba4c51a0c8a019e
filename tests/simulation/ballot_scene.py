"""One seed of ballots: who votes, under which faults, on which committee; and what must be true at its end."""

from __future__ import annotations

from typing import Any

import msgspec

from quorum.apps.ballot import BallotView, LookBallot, decode_results, encode_query
from quorum.apps.catalogue import BALLOT_APP
from quorum.checkers.violation import Violation
from quorum.model import Configuration
from quorum.protocols.pbft.settings import Settings as PbftSettings
from quorum.protocols.raft.settings import Settings
from quorum.sim import byzantine_campaign, campaign
from quorum.sim.adversary import DRAWN
from quorum.sim.byzantine_campaign import ByzantinePlan, behaviours_of
from quorum.sim.byzantine_world import ByzantineWorld
from quorum.sim.campaign import Outcome, outcome_of, set_disks
from quorum.sim.faults import ALL_FAULTS, Nemesis
from quorum.sim.world import World

from .ballot_observer import Observer
from .ballot_terms import SECOND_US, VOTERS
from .ballot_workload import Carrier, Citizen, Elector, Organiser

BYZANTINE_CALM_US = byzantine_campaign.CALM_BYZANTINE_US


class BallotPlan(msgspec.Struct, frozen=True):
    """What one seed runs. `model`: crash or byzantine, with a member that lies in one of these ways. `divided`: in
    all ballots signatures are to be the proof, and opinions are divided."""

    seed: int
    nodes: int = 3
    model: str = "crash"
    seconds: int = 45
    organisers: int = 4
    faults: tuple[str, ...] = ALL_FAULTS
    lies: tuple[str, ...] = DRAWN
    snapshot_entries: int = 50
    disk: bool = False
    divided: bool = False

    def replay_command(self) -> str:
        """The one line that runs this seed again."""
        return f"python -m tests.simulation.ballot_campaign --first {self.seed} --seeds 1 --runs 1"

    @property
    def stop_us(self) -> int:
        """When faults end, and no more ballots are opened."""
        calm_us = BYZANTINE_CALM_US if self.model == "byzantine" else campaign.CALM_US
        return self.seconds * SECOND_US - calm_us - 3 * SECOND_US


def world_of(plan: BallotPlan) -> World:
    """The nodes."""
    if plan.model == "byzantine":
        ways = behaviours_of(ByzantinePlan(plan.seed, plan.nodes, lies=plan.lies))
        settings = PbftSettings(state_blocks=32, log_kept_blocks=16)
        return ByzantineWorld(plan.seed, plan.nodes, 1, ways, settings, disk=plan.disk)
    names = tuple(f"n{number}" for number in range(1, plan.nodes + 1))
    settings = Settings(snapshot_entries=plan.snapshot_entries, log_kept_entries=plan.snapshot_entries // 2)
    return World(plan.seed, Configuration(epoch=1, voters=names), settings, disk=plan.disk)


def run_ballots(plan: BallotPlan) -> tuple[Outcome, Observer, World]:
    """Run one seed. A broken claim is in the outcome, not raised."""
    world = world_of(plan)
    set_disks(world, 300)
    observer = Observer(world.sometimes)
    organisers = [Organiser(world, f"o{n}", observer, plan.stop_us) for n in range(1, plan.organisers + 1)]
    for organiser in organisers:  # where members may lie a voter is known by its key
        organiser.is_keyed, organiser.is_transferable = plan.model == "byzantine", plan.divided
    citizens: list[Citizen] = [*organisers]
    citizens += [Elector(world, name, observer, plan.stop_us) for name in VOTERS]
    citizens.append(Carrier(world, "carrier", observer, plan.stop_us))
    nemesis = Nemesis(world, plan.faults, plan.stop_us)
    world.schedule(plan.stop_us + 1, set_disks, world, 300)
    failure = ""
    try:
        world.boot()
        for citizen in citizens:
            citizen.start()
        nemesis.start()
        world.run(plan.seconds * SECOND_US)
        check_ending(world, citizens)
        check_nodes(world, observer)
        observer.check_proofs()
    except Violation as violation:
        failure = str(violation)
    except AssertionError as error:
        failure = f"an invariant of the code broke: {error}"
    return outcome_of(plan, failure, None, world, citizens), observer, world  # type: ignore[arg-type]


def check_ending(world: World, citizens: list[Citizen]) -> None:
    """Every node holds the same, every client was answered and has come to its end."""
    if isinstance(world, ByzantineWorld):
        world.run_until(
            lambda: len(set(byzantine_campaign.applied_by(world).values())) == 1, byzantine_campaign.UNDER_WAY_US
        )
        byzantine_campaign.check_ending(world, citizens)  # type: ignore[arg-type]
    else:
        campaign.check_ending(world, citizens)
    waiting = [citizen.name for citizen in citizens if not citizen.is_done]
    if waiting:
        raise Violation("progress: every client comes to its end in the calm", f"{waiting} go on")


def check_nodes(world: World, observer: Observer) -> None:
    """What every node holds of every ballot is what its clients were told."""
    names = world.honest if isinstance(world, ByzantineWorld) else tuple(world.nodes)
    for name in names:
        host = world.nodes[name].host
        assert host is not None, "it runs"
        for affair in list(observer.affairs.values()):
            (found,) = decode_results(host.query(BALLOT_APP, encode_query([LookBallot(affair.terms.name)])).body)
            if isinstance(found, BallotView) and found.opening == affair.opening:
                observer.heard(LookBallot(affair.terms.name), found, observer.answers)


def figures(observer: Observer) -> dict[str, Any]:
    """What a run came to, for people."""
    counts = observer.sometimes.counts
    return {name: counts[name] for name in sorted(counts) if name.startswith("ballot")}
