"""One seed of a subject: nodes, clients and faults for some simulated seconds, and every claim checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

from quorum.checkers.violation import Violation
from quorum.errors import ConfigurationError
from quorum.model import Configuration
from quorum.protocols.raft.settings import Settings
from quorum.sim.actor import Actor, Expected, Operation, Workload
from quorum.sim.campaign import CALM_US, check_ending, set_disks
from quorum.sim.faults import SECOND_US, Nemesis
from quorum.sim.sequential import judge
from quorum.sim.subject import Claim, Subject, error_text
from quorum.sim.watched import Applied, WatchedWorld

SYNCS_US = (300, 300, 3_000, 15_000)
"""How long a sync of a disk takes at least, in one seed or another."""
BLOCKED_SHOWN = 4
"""Operations in one part of a report."""
LINEARIZABLE = "what clients were told is linearizable"
SAME_RUN = "the same seed gives the same run"


class Run(msgspec.Struct, frozen=True):
    """What one seed showed. `failure` is empty where every claim held. `faults` counts them by kind, `trace` is
    the hash over all that happened, `verdict` that of the search for a linearization, `tale` the last events."""

    seed: int
    failure: str
    operations: int
    unknown: int
    entries: int
    leaders: int
    faults: dict[str, int]
    trace: str
    verdict: str
    simulated_s: float
    tale: tuple[str, ...] = ()


class Case(msgspec.Struct, frozen=True):
    """What is the same for every seed of a simulation."""

    subject: Subject
    workload: Workload
    claims: dict[str, Claim]
    check_history: Callable[[Sequence[Operation]], Any] | None
    expected: Expected
    nodes: int
    crashes_max: int
    clients: int
    duration_us: int
    pause_us: int
    faults: tuple[str, ...]
    stale: bool
    snapshot_entries: int
    steps_max: int


def run_twice(case: Case, seed: int) -> tuple[Run, list[Applied]]:
    """The run of a seed. Whether it is the same each time belongs to it."""
    run, log = _run(case, seed)
    again, _ = _run(case, seed)
    if (again.trace, again.failure) == (run.trace, run.failure):
        return run, log
    if run.failure or again.failure:
        failure = run.failure or again.failure
        return msgspec.structs.replace(
            run if run.failure else again,
            failure=f"{failure}. And {SAME_RUN}: another run of it ended otherwise, so that something beside the "
            "seed decides",
        ), log
    return msgspec.structs.replace(
        run,
        failure=f"{SAME_RUN}: two runs of it have the traces {run.trace} and {again.trace}. Something beside the "
        "seed decides; draw in the workload from the random.Random that it is given, keep nothing between runs",
    ), log


def _run(case: Case, seed: int) -> tuple[Run, list[Applied]]:
    draw = Random(f"plan/{seed}")
    faults_at_once, patience_ms = draw.choice((1, 1, 2)), draw.choice((3_000, 3_000, 400))
    sync_us = draw.choice(SYNCS_US)
    names = tuple(f"n{number}" for number in range(1, case.nodes + 1))
    settings = Settings(
        snapshot_entries=case.snapshot_entries, log_kept_entries=max(1, case.snapshot_entries // 2)
    )
    world = WatchedWorld(case.subject, case.claims, seed, Configuration(epoch=1, voters=names), settings)
    set_disks(world, sync_us)
    history: list[Operation] = []
    actors = [
        Actor(
            world,
            f"c{number}",
            case.workload,
            case.subject.handle(case.stale),
            history,
            case.expected,
            case.duration_us,
            case.pause_us,
            patience_ms * 1000,
        )
        for number in range(1, case.clients + 1)
    ]
    verdict = ""
    try:
        _play(case, world, actors, faults_at_once, sync_us)
        verdict = _judge(case, world, history)
        failure = ""
    except Violation as violation:
        failure = str(violation)
    except ConfigurationError:
        raise
    except AssertionError as error:
        failure = f"an invariant of the code broke: {error}"
    except Exception as error:
        failure = f"no exception leaves the application: {error_text(error)}"
    return _result(seed, failure, verdict, world, actors), [
        applied for _, (_, applied) in sorted(world.entries.items())
    ]


def _play(case: Case, world: WatchedWorld, actors: Sequence[Actor], faults_at_once: int, sync_us: int) -> None:
    """Let everything happen, and see that it ends well."""
    nemeses = [Nemesis(world, case.faults, case.duration_us) for _ in range(faults_at_once)]
    for number, nemesis in enumerate(nemeses, 1):
        nemesis.crashes_max = case.crashes_max
        if number > 1:
            nemesis.random = world.random(f"nemesis {number}")
    world.schedule(case.duration_us + 1, set_disks, world, sync_us)
    world.boot()
    for actor in actors:
        actor.start()
    for nemesis in nemeses:
        nemesis.start()
    world.run(case.duration_us + CALM_US)
    check_ending(world, actors)


def _judge(case: Case, world: WatchedWorld, history: Sequence[Operation]) -> str:
    """What the whole history says. Raises Violation."""
    verdict, judged = judge(world, history, case.steps_max, case.stale)
    if not verdict:
        reached = [judged[i] for i in verdict.linearized[-3:]]
        blocked = [judged[i] for i in verdict.blocked]
        _tell_of(world, history, blocked)
        why = (
            "no order of all operations gives what they were told. "
            f"After {_listed(reached) or 'the beginning'}, none of these fits: {_listed(blocked)}"
        )
        if verdict.verdict == "undecided":
            why = f"undecided after {verdict.steps} steps (fewer clients, or a larger steps_max, decide it). {why}"
        raise Violation(LINEARIZABLE, why)
    if case.check_history is not None:
        name = getattr(case.check_history, "__name__", "check_history")
        try:
            holds = case.check_history(tuple(history))
        except Exception as error:
            raise Violation(f"{name} holds at the end", error_text(error)) from error
        if holds is False:
            raise Violation(f"{name} holds at the end", "it is False")
    return verdict.verdict


def _listed(operations: Sequence[Operation]) -> str:
    more = f"; and {len(operations) - BLOCKED_SHOWN} more" if len(operations) > BLOCKED_SHOWN else ""
    return "; ".join(map(str, operations[:BLOCKED_SHOWN])) + more


def _tell_of(world: WatchedWorld, history: Sequence[Operation], blocked: Sequence[Operation]) -> None:
    """Let the tale end where the search for an order ended, instead of where the run did."""
    ends = [each.completed_us for each in blocked if each.completed_us is not None]
    until_us = min(ends, default=world.now_us)
    known = [each for each in history if each.completed_us is not None and each.completed_us <= until_us]
    told = [
        (each.completed_us or 0, f"{each} (asked at {each.invoked_us / SECOND_US:.6f} s)")
        for each in sorted(known, key=lambda each: each.completed or 0)
    ]
    incidents = [each for each in world.incidents if each[0] <= until_us]
    world.tale.clear()
    world.tale.extend(sorted(told + incidents, key=lambda each: each[0]))


def _result(seed: int, failure: str, verdict: str, world: WatchedWorld, actors: Sequence[Actor]) -> Run:
    return Run(
        seed=seed,
        failure=failure,
        operations=sum(actor.answered + actor.unknown for actor in actors),
        unknown=sum(actor.unknown for actor in actors),
        entries=world.agreement.decided.last,
        leaders=world.leaders,
        faults=dict(sorted(world.faults.items())),
        trace=world.trace.hexdigest(),
        verdict=verdict,
        simulated_s=world.now_us / SECOND_US,
        tale=tuple(f"{at_us / SECOND_US:10.6f} s  {what}" for at_us, what in world.tale),
    )
