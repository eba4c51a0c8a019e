"""`quorum simulate` and `quorum replay`: seeded fault campaigns, and one seed of them again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from multiprocessing import get_context
from typing import Any

import click
import msgspec

from quorum.console.command import AnswerNo, Decorated, command, print_json
from quorum.console.window import window_lines
from quorum.errors import ConfigurationError
from quorum.sim.campaign import Outcome, Plan, configuration_of, run_seed
from quorum.sim.faults import ALL_FAULTS, FAULTS, LEASE_FAULTS
from quorum.sim.progress import progress
from quorum.systems.build import build

TRACE_CHARACTERS_MAX = 160
FAILURE_CHARACTERS_MAX = 1000
SEEDS_PER_TASK = 2


_ABOUT = {
    "nodes": "Nodes n1, n2, ...",
    "seconds": "Simulated seconds; the last ones are calm.",
    "clients": "Clients, each with one session.",
    "in_flight": "Operations that each client has open at once.",
    "pause_ms": "A client's mean pause between operations, for each that it may have open.",
    "reads": 'Which nodes elect, such as "choose(3, n1, n2, n3, n4)".',
    "writes": "Which nodes commit; one side alone: the other follows.",
    "stale": "Any node answers reads: the history must be refuted.",
    "snapshot_entries": "Applied entries that make a snapshot.",
    "wire": "Messages travel as bytes.",
    "disk": "Nodes keep the production log on a simulated disk.",
    "message_entries": "Entries in one message, at most.",
    "spares": "More nodes, which an operator admits, evicts and replaces all the time.",
    "witnesses": "So many of the spare nodes are witnesses.",
    "churn_ms": "The operator's mean pause between changes.",
    "lease": "A leader serves reads by leases; clocks must keep to --faults drift.",
    "sync_us": "How long a sync of the disk takes, about.",
}
_SPECIAL = ("seed", "keep", "faults")


def _plan_options(function: Decorated) -> Decorated:
    """What both commands ask of a run: the fields of `Plan`, and its defaults."""
    for field in reversed(msgspec.structs.fields(Plan)):
        if field.name not in _SPECIAL:
            option, about = f"--{field.name.replace('_', '-')}", _ABOUT.get(field.name, "See sim.campaign.Plan.")
            is_flag = field.type is bool
            kind = None if is_flag else field.type
            function = click.option(option, is_flag=is_flag, type=kind, default=field.default, help=about)(
                function
            )
    about = f"all, none, or of: {', '.join(sorted(FAULTS))}."
    return click.option("--faults", default="all", help=about)(function)


def plan_of(seed: int, faults: str, **fields: Any) -> Plan:
    """The plan that the options describe. Raises ConfigurationError for one that cannot run."""
    plan = Plan(seed=seed, faults=faults_of(faults), **fields)
    for name, value in msgspec.structs.asdict(plan).items():
        least = 0 if name in ("spares", "witnesses") else 1
        if name not in ("seed", "keep") and type(value) is int and value < least:
            option = f"--{name.replace('_', '-')} {value}"
            raise ConfigurationError(
                f"{option} was asked for, but it must be at least {least}. Give {least} or more."
            )
    if plan.lease and "clock" in plan.faults:
        raise ConfigurationError(
            "--lease was asked for together with clocks that jump and race, for which no lease is safe. Name the "
            f"faults: --faults {','.join(LEASE_FAULTS)}."
        )
    build(configuration_of(plan))
    return plan


def faults_of(text: str) -> tuple[str, ...]:
    """The faults that `all`, `none` or a comma-separated list names. Raises ConfigurationError."""
    if text in ("all", "none"):
        return ALL_FAULTS if text == "all" else ()
    kinds = tuple(part.strip() for part in text.split(","))
    unknown = [kind for kind in kinds if kind not in FAULTS]
    if unknown:
        raise ConfigurationError(
            f"the fault {unknown[0]!r} was asked for, but it is not known. "
            f"Choose from: {', '.join(sorted(FAULTS))}, or write all or none."
        )
    return kinds


@command("simulate", "quorum simulate --seeds 20 --nodes 5 --faults split,crash")
@click.option("--seeds", type=int, default=100, help="How many seeds.")
@click.option("--first", type=int, default=0, help="The first of them.")
@click.option("--workers", type=int, help="Processes.  [default: one for each core]")
@_plan_options
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
    _report(sorted(outcomes, key=lambda outcome: outcome.seed), time.monotonic() - began, as_json)
    if any(outcome.failure for outcome in outcomes):
        raise AnswerNo


def run_plans(plans: list[Plan], workers: int) -> Iterator[Outcome]:
    """The outcome of every plan, as they come; on `workers` processes, or here where one is enough."""
    workers = min(workers, len(plans))
    if workers == 1:
        yield from map(_run, plans)
        return
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_run, plans, chunksize=SEEDS_PER_TASK if len(plans) > 4 * workers else 1)


def _run(plan: Plan) -> Outcome:
    return run_seed(plan)[0]


def _report(outcomes: list[Outcome], seconds: float, as_json: bool) -> None:
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
        f"{total['decided']} entries decided, {total['leaders']} leaders, "
        f"{total['events']} events, {rate} events/s"
    )


@command("replay", "quorum replay --seed 7 --nodes 5 --seconds 60 --trace 20")
@click.option("--seed", type=int, required=True, help="The seed.")
@click.option("--trace", type=click.IntRange(min=0), default=10, help="Show the last N events.")
@_plan_options
def replay(
    seed: int,
    trace: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Run one seed again and show its last events, its trace hash and its verdict. Exit 1 if a claim broke.

    The same seed and options give the same run, event by event, on any machine.
    """
    outcome, _, world = run_seed(plan_of(seed, keep=trace, **options))
    tail = [_described(event) for event in world.trace.tail] if trace else []
    if as_json:
        print_json(msgspec.to_builtins(outcome) | {"events_shown": tail})
    else:
        for line in tail:
            click.echo(line)
        click.echo(
            f"seed {seed}: {outcome.operations} operations ({outcome.unknown} unknown), {outcome.decided} entries "
            f"decided, {outcome.leaders} leaders, {outcome.events} events"
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
