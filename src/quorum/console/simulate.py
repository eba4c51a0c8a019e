"""`quorum simulate` and `quorum replay`: seeded fault campaigns, and one seed of them again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from typing import Any

import click
import msgspec

from quorum.console.command import AnswerNo, command, print_json
from quorum.console.plans import plan_of, plan_options
from quorum.console.window import window_lines
from quorum.errors import ConfigurationError
from quorum.sim.byzantine_campaign import ByzantinePlan, run_byzantine_seed
from quorum.sim.byzantine_world import ByzantineWorld
from quorum.sim.campaign import Outcome, Plan, run_seed
from quorum.sim.progress import progress
from quorum.sim.world import World

TRACE_CHARACTERS_MAX = 160
FAILURE_CHARACTERS_MAX = 1000
SEEDS_PER_TASK = 2


@command("simulate", "quorum simulate --seeds 20 --nodes 5 --faults split,crash")
@click.option("--seeds", type=int, default=100, help="How many seeds.")
@click.option("--first", type=int, default=0, help="The first of them.")
@click.option("--workers", type=int, help="Processes.  [default: one for each core]")
@plan_options
def simulate(
    seeds: int,
    first: int,
    workers: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run seeded fault campaigns on a simulated cluster; name each seed that broke a claim, and its replay.

    Every seed runs the production code under faults drawn from it, and checks agreement, linearizability and
    progress. Exit 1 if any failed.
    """
    for name, value in (("--seeds", seeds), ("--workers", 1 if workers is None else workers)):
        if value < 1:
            raise ConfigurationError(f"{name} {value} was asked for, but nothing would run. Give 1 or more.")
    plan = plan_of(first, **options)
    plans = [msgspec.structs.replace(plan, seed=seed) for seed in range(first, first + seeds)]
    began = time.monotonic()
    with progress(len(plans), is_quiet=as_json) as advance:
        outcomes = []
        for outcome in run_plans(plans, workers or os.cpu_count() or 1):
            outcomes.append(outcome)
            advance(f"{sum(1 for done in outcomes if done.failure)} failed")
    _report(sorted(outcomes, key=lambda outcome: outcome.seed), time.monotonic() - began, plan, as_json)
    if any(outcome.failure for outcome in outcomes):
        raise AnswerNo


def run_plans(plans: Sequence[Plan | ByzantinePlan], workers: int) -> Iterator[Outcome]:
    """The outcome of every plan, as they come; on `workers` processes, or here where one is enough."""
    workers = min(workers, len(plans))
    if workers == 1:
        yield from map(_run, plans)
        return
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_run, plans, chunksize=SEEDS_PER_TASK if len(plans) > 4 * workers else 1)


def _run(plan: Plan | ByzantinePlan) -> Outcome:
    return _run_in_world(plan)[0]


def _run_in_world(plan: Plan | ByzantinePlan) -> tuple[Outcome, World | ByzantineWorld]:
    if isinstance(plan, ByzantinePlan):
        outcome, _, lying = run_byzantine_seed(plan)
        return outcome, lying
    outcome, _, world = run_seed(plan)
    return outcome, world


def _decided(plan: Plan | ByzantinePlan, decided: int, leaders: int) -> str:
    """What was decided, and under how many, in the words of the plan's model."""
    if isinstance(plan, ByzantinePlan):
        return f"{decided} blocks decided, {leaders} primaries"
    return f"{decided} entries decided, {leaders} leaders"


def _report(outcomes: list[Outcome], seconds: float, plan: Plan | ByzantinePlan, as_json: bool) -> None:
    failed = [outcome for outcome in outcomes if outcome.failure]
    total = {
        name: sum(getattr(outcome, name) for outcome in outcomes)
        for name in ("events", "operations", "unknown", "decided", "leaders")
    }
    rate = round(total["events"] / max(seconds, 1e-9))
    if as_json:
        names = ("seed", "failure", "replay", "failing_key", "window")
        failures = [{name: getattr(done, name) for name in names} for done in failed]
        sometimes: dict[str, int] = {}
        for outcome in outcomes:
            for name, count in outcome.sometimes.items():
                sometimes[name] = sometimes.get(name, 0) + count
        print_json(
            {
                "seeds": len(outcomes),
                "failed": failures,
                **total,
                "seconds": round(seconds, 3),
                "events_per_second": rate,
                "sometimes": dict(sorted(sometimes.items())),
            }
        )
        return
    for outcome in failed:
        click.echo(f"seed {outcome.seed} failed: {outcome.failure[:FAILURE_CHARACTERS_MAX]}")
        for line in window_lines(outcome.window or ()):
            click.echo(f"  {line}")
        click.echo(f"  {outcome.replay}")
    click.echo(
        f"{len(outcomes)} seeds, {len(failed)} failed: {total['operations']} operations, "
        f"{_decided(plan, total['decided'], total['leaders'])}, {total['events']} events, {rate} events/s"
    )


@command("replay", "quorum replay --seed 7 --nodes 5 --seconds 60 --trace 20")
@click.option("--seed", type=int, required=True, help="The seed.")
@click.option("--trace", type=click.IntRange(min=0), default=10, help="Show the last N events.")
@plan_options
def replay(
    seed: int,
    trace: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Run one seed again and show its last events, its trace hash and its verdict. Exit 1 if a claim broke.

    The same seed and options give the same run, event by event, on any machine.
    """
    plan = plan_of(seed, keep=trace, **options)
    outcome, world = _run_in_world(plan)
    tail = [_described(event) for event in world.trace.tail] if trace else []
    if as_json:
        print_json(msgspec.to_builtins(outcome) | {"events_shown": tail})
    else:
        for line in tail:
            click.echo(line)
        click.echo(
            f"seed {seed}: {outcome.operations} operations ({outcome.unknown} unknown), "
            f"{_decided(plan, outcome.decided, outcome.leaders)}, {outcome.events} events"
        )
        click.echo(f"trace {outcome.trace}")
        failed = f"failed: {outcome.failure[:FAILURE_CHARACTERS_MAX]}"
        click.echo(failed if outcome.failure else "every claim held")
        for line in window_lines(outcome.window or ()):
            click.echo(f"  {line}")
    if outcome.failure:
        raise AnswerNo


def _described(event: tuple[object, ...]) -> str:
    """One event of a trace on one line: its time in seconds, then what happened."""
    now_us, *rest = event
    text = " ".join(str(part) for part in rest)
    shown = text if len(text) <= TRACE_CHARACTERS_MAX else text[: TRACE_CHARACTERS_MAX - 3] + "..."
    assert isinstance(now_us, int), "an event begins with its time"
    return f"{now_us / 1e6:12.6f} {shown}"
