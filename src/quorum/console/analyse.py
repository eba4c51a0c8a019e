"""`quorum analyse`: a quorum system, or how much of the time a committee has no quorum, adapting or fixed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import click
from msgspec.structs import replace

from quorum.console.command import command, print_json
from quorum.errors import ConfigurationError
from quorum.model import FaultModel
from quorum.systems.optimum import AIMS, Aim, Limits
from quorum.systems.participation import (
    CRASH_FLOOR,
    POLICIES,
    Figures,
    Participation,
    Policy,
    break_even,
    unavailability,
)

MINUTES_A_YEAR = 365.25 * 24 * 60
SAME = 1.05
"""A gain below this is none that anybody would notice."""
BREAK_EVEN_NODES_MAX = 11
"""With more nodes the search for the break-even takes longer than a person waits."""


class Row(NamedTuple):
    """What one policy comes to, and the fixed majority beside it."""

    asked: Participation
    figures: Figures
    fixed: Figures

    @property
    def gain(self) -> float:
        """How many times less than with a fixed majority there is no quorum."""
        return self.fixed.unavailability / self.figures.unavailability

    def facts(self) -> dict[str, Any]:
        """For programs; null stands for a ratio or a time without an end."""
        asked, figures = self.asked, self.figures
        ratio = asked.reconfiguration_ratio
        return {
            "nodes": asked.nodes,
            "policy": asked.policy,
            "model": asked.model,
            "faults": asked.faults,
            "repair_ratio": asked.repair_ratio,
            "reconfiguration_ratio": None if math.isinf(ratio) else ratio,
            "unavailability": figures.unavailability,
            "availability": 1 - figures.unavailability,
            "minutes_a_year": figures.unavailability * MINUTES_A_YEAR,
            "time_to_loss": figures.time_to_loss,
            "time_to_return": figures.time_to_return,
            "states": figures.states,
            "fixed_unavailability": self.fixed.unavailability,
            "gain": self.gain,
        }


def rows_of(asked: Participation, policies: tuple[Policy, ...]) -> list[Row]:
    """One row for each policy. Raises ConfigurationError for a question that has no answer."""
    fixed = unavailability(replace(asked, policy="majority"))
    each = [replace(asked, policy=policy) for policy in policies]
    return [Row(one, fixed if one.policy == "majority" else unavailability(one), fixed) for one in each]


def notes_of(rows: list[Row]) -> list[str]:
    """Where adapting gains nothing, or loses, and why; and what these figures take for granted."""
    notes = []
    for row in rows:
        asked = row.asked
        least = CRASH_FLOOR if asked.model == "crash" else 3 * asked.faults + 1
        if asked.policy != "adaptive":
            continue
        if asked.nodes <= least:
            rule = f" (3T+1 with T={asked.faults})" if asked.model == "byzantine" else ""
            notes.append(
                f"Adapting gains nothing here: a committee keeps {least} members at least{rule}, so of "
                f"{asked.nodes} there is none to leave out."
            )
        elif row.gain < SAME:
            what = "is worse than a fixed committee" if row.gain < 1 else "gains next to nothing"
            notes.append(f"Adapting {what} here: a change takes too long beside a repair.{_even_text(asked)}")
    notes.append("Failures are taken to be independent. Who loses a majority at one stroke gains nothing.")
    return notes


def _even_text(asked: Participation) -> str:
    even = break_even(asked) if asked.nodes <= BREAK_EVEN_NODES_MAX else None
    return "" if even is None else f" It pays from a reconfiguration ratio of {even:.2f} on."


def lines_of(rows: list[Row]) -> list[str]:
    """The table for people, and the notes below it."""
    asked = rows[0].asked
    ratio = asked.reconfiguration_ratio
    changed = "changes at once" if math.isinf(ratio) else f"changes {ratio:g} times as fast as repairs"
    liars = f", T={asked.faults} of them may lie" if asked.model == "byzantine" else ""
    lines = [
        f"{asked.nodes} nodes{liars}; repairs {asked.repair_ratio:g} times as fast as failures, {changed}",
        "",
    ]
    lines.append(
        f"{'policy':15}{'no quorum':>12}{'minutes a year':>16}{'to a loss':>12}{'to a return':>13}{'gain':>10}"
    )
    for row in rows:
        figures = row.figures
        lines.append(
            f"{row.asked.policy:15}{figures.unavailability:>12.3e}"
            f"{figures.unavailability * MINUTES_A_YEAR:>16.4g}{_time(figures.time_to_loss):>12}"
            f"{_time(figures.time_to_return):>13}{row.gain:>9.3g}x"
        )
    lines += ["", "Times are in mean times to failure of one node; gain is beside the fixed majority."]
    return lines + notes_of(rows)


def _time(time: float | None) -> str:
    return "never" if time is None else f"{time:.3g}"


def asked_of(
    nodes: int | None, repair: float | None, reconfiguration: float | None, model: FaultModel, faults: int | None
) -> Participation:
    """The question that the options ask. Raises ConfigurationError for what is left out."""
    for name, value in (("--nodes", nodes), ("--repair-ratio", repair)):
        if value is None:
            raise ConfigurationError(
                f"exact figures were asked for, but without {name} there is no model. Give it, as in "
                "`quorum analyse --markov --nodes 5 --repair-ratio 20`."
            )
    assert nodes is not None and repair is not None, "checked above"
    if faults is None:
        faults = max(0, (nodes - 1) // (2 if model == "crash" else 3))
    ratio = math.inf if reconfiguration is None else reconfiguration
    return Participation(nodes, repair, "majority", ratio, model, faults)


def policies_of(policy: Policy | None, model: FaultModel) -> tuple[Policy, ...]:
    """Those to show: the one that was named, or all that the model allows."""
    if policy is not None:
        return (policy,)
    return POLICIES if model == "crash" else ("majority", "adaptive")


@command("analyse", "quorum analyse system.toml --optimise latency --load-limit 0.0005")
@click.argument("system", required=False, type=click.Path(path_type=Path))
@click.option("--optimise", type=click.Choice(AIMS), help="What is to be as small as possible. Else the load.")
@click.option("--f", "losses", type=click.IntRange(0), help="Sets that are asked survive the loss of any so many.")
@click.option("--load-limit", type=float, help="At most this load: 1/load operations per second are served.")
@click.option("--network-limit", type=float, help="At most so many nodes are asked for an operation, on average.")
@click.option("--latency-limit", type=float, help="At most so many seconds for an operation, on average.")
@click.option(
    "--explain", is_flag=True, help="With --json: also the proven bound, and the prices of nodes and limits."
)
@click.option("--markov", is_flag=True, help="Exact figures of a committee that adapts, or does not.")
@click.option("--nodes", type=int, help="N: how many nodes there are.")
@click.option("--repair-ratio", type=float, help="Rate of repair over rate of failure of one node.")
@click.option(
    "--reconfiguration-ratio",
    type=float,
    help="Rate at which a committee is changed over rate of repair. Else it is changed at once.",
)
@click.option("--policy", type=click.Choice(POLICIES), help="One of them. Else all, beside each other.")
@click.option("--model", type=click.Choice(("crash", "byzantine")), help="What nodes may do. Else crash.")
@click.option("--faults", type=int, help="T: how many nodes may fail. Else as many as N allows.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw it by repair ratio: a .svg, .png or .pdf.")
def analyse(
    system: Path | None,
    optimise: Aim | None,
    losses: int | None,
    load_limit: float | None,
    network_limit: float | None,
    latency_limit: float | None,
    explain: bool,
    markov: bool,
    nodes: int | None,
    repair_ratio: float | None,
    reconfiguration_ratio: float | None,
    policy: Policy | None,
    model: FaultModel | None,
    faults: int | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Say what a quorum system can do, or how often a committee is without a quorum. All figures are exact.

    SYSTEM is a TOML or JSON file: reads and writes as expressions, capacity, latency and failures of each node.
    Shown are its best strategy, capacity, load, latency, resilience and availability.

    With --markov: `majority` never changes. `dynamic` and `dynamic-linear` follow who is up, to the last node.
    `adaptive` follows in odd steps and keeps three at least, or 3T+1 where nodes may lie:
    quorum analyse --markov --nodes 5 --repair-ratio 20
    """
    of_systems = (optimise, losses, load_limit, network_limit, latency_limit, explain or None)
    of_committees = (nodes, repair_ratio, reconfiguration_ratio, policy, model, faults, plot, markov or None)
    if system is not None:
        _refuse_others(of_committees, "a system", "--markov")
        limits = Limits(load_limit, network_limit, latency_limit)
        _show_system(system, optimise or "load", losses or 0, limits, explain, as_json)
        return
    if not markov:
        raise ConfigurationError(
            "an analysis was asked for, but of nothing. Name a file: `quorum analyse system.toml`; or ask for a "
            "committee that adapts: `quorum analyse --markov --nodes 5 --repair-ratio 20`."
        )
    _refuse_others(of_systems, "a committee", "a SYSTEM")
    model = model or "crash"
    asked = asked_of(nodes, repair_ratio, reconfiguration_ratio, model, faults)
    rows = rows_of(asked, policies_of(policy, model))
    if plot is not None:
        from quorum.console.analyse_plot import draw

        draw(asked, policies_of(policy, model), plot)
    if as_json:
        facts = [row.facts() for row in rows]
        told = facts[0] if policy is not None else {"policies": facts}
        drawn = {} if plot is None else {"plot": str(plot)}
        print_json(told | {"notes": notes_of(rows)} | drawn)
        return
    for line in lines_of(rows):
        click.echo(line)
    if plot is not None:
        click.echo(f"drawn: {plot}")


def _refuse_others(options: tuple[object, ...], what: str, other: str) -> None:
    if any(each is not None for each in options):
        raise ConfigurationError(
            f"{what} was to be analysed, but an option was given that goes with {other} only, and would count for "
            "nothing. Leave it out; `quorum analyse --help` lists them."
        )


def _show_system(path: Path, aim: Aim, losses: int, limits: Limits, explain: bool, as_json: bool) -> None:
    from quorum.console.analyse_system import analysis_of, facts_of, lines_of, note_of, read_system

    architecture = read_system(path)
    found = analysis_of(architecture, aim, losses, limits)
    note = note_of(architecture)
    if note is not None:
        click.echo(f"note: {note}", err=True)
    if as_json:
        print_json(facts_of(found, explain))
        return
    for line in lines_of(found):
        click.echo(line)
