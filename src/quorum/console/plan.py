"""`quorum plan`: how many nodes, and why not fewer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from quorum.console.command import AnswerNo, command, print_json
from quorum.errors import ConfigurationError

if TYPE_CHECKING:
    from fractions import Fraction

    from quorum.systems.planning import Candidate, Plan, Wanted

MINUTES_A_YEAR = 365.25 * 24 * 60
CHEAPER_SHOWN = 3
NINES_MAX, CHARACTERS_MAX = 60, 60
FRONT_SHOWN = 8
MODELS = click.Choice(["crash", "byzantine"])


@command("plan", "quorum plan --target 0.99999 --node-availability 0.99 --model byzantine")
@click.option("--target", required=True, help="How much of the time a quorum is up: 0.99999, or 5nines.")
@click.option("--node-availability", required=True, help="How much of the time a node is up, while its zone is.")
@click.option("--model", type=MODELS, default="crash", help="What a faulty node may do.")
@click.option("--faults", type=int, default=1, help="Faults to be tolerated at least (T).")
@click.option("--lying", default="0", help="How likely a node lies, where members may: then safe and live count.")
@click.option("--zones", type=int, default=0, help="Zones to deal the nodes out to; 0: none.")
@click.option("--zone-availability", default="1", help="How much of the time a zone is up.")
@click.option("--survive-zone", is_flag=True, help="Whichever zone is lost, a quorum is left.")
@click.option("--node-cost", type=float, default=1.0, help="What a node costs, in any unit.")
@click.option("--nodes-max", type=int, default=51, help="No more nodes than this.")
def plan(
    target: str,
    node_availability: str,
    model: str,
    faults: int,
    lying: str,
    zones: int,
    zone_availability: str,
    survive_zone: bool,
    node_cost: float,
    nodes_max: int,
    as_json: bool,
) -> None:
    """Choose how many nodes, and say why fewer do not do.

    The fewest whose quorums are up often enough, exactly, and T as far as they bear it. Exit 1 if not even
    --nodes-max nodes reach the target. Shares of the time are 0.999, 99.9%, 3nines or 999/1000.
    """
    from quorum.systems.planning import Wanted, plan

    wanted = Wanted(
        target=share_of(target, "--target"),
        failure=1 - share_of(node_availability, "--node-availability"),
        model="byzantine" if model == "byzantine" else "crash",
        faults=faults,
        lying=share_of(lying, "--lying"),
        zones=zones,
        zone_failure=1 - share_of(zone_availability, "--zone-availability"),
        survives_zone=survive_zone,
        node_cost=node_cost,
        nodes_max=nodes_max,
    )
    found = plan(wanted)
    if as_json:
        print_json(facts_of(found))
    else:
        for line in lines_of(wanted, found):
            click.echo(line)
    if found.chosen is None:
        raise AnswerNo


def share_of(text: str, option: str) -> Fraction:
    """A share of the time: 0.99999, 99.999%, 99999/100000 or 5nines. Raises ConfigurationError for what is
    none."""
    from fractions import Fraction

    count = text.removesuffix("nines").strip()
    try:
        if text.endswith("nines"):
            if not 1 <= int(count) <= NINES_MAX:
                raise ValueError
            return 1 - Fraction(1, 10 ** int(count))
        exponent = text.lower().partition("e")[2]  # a great one would be written out
        if len(text) <= CHARACTERS_MAX and len(exponent) <= len("-99%"):
            share = Fraction(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
            if 0 <= share <= 1:
                return share
    except (ValueError, ZeroDivisionError):
        pass
    raise ConfigurationError(
        f"{option} {text[:40]!r} was given, but that is no share of the time. Write 0.99999, 99.999% or 5nines."
    )


def facts_of(found: Plan) -> dict[str, Any]:
    """For programs."""
    return {
        "chosen": None if found.chosen is None else _facts(found.chosen),
        "cheaper": [_facts(each) for each in found.cheaper],
        "front": [_facts(each) for each in found.front],
    }


def _facts(candidate: Candidate) -> dict[str, Any]:
    from quorum.console.analyse_system import number

    return {
        "nodes": candidate.nodes,
        "faults": candidate.faults,
        "quorum": candidate.quorum,
        "zones": list(candidate.zones),
        "cost": candidate.cost,
        "load": candidate.load,
        "unavailability": number(candidate.log_unavailability),
        "nines": candidate.nines if math.isfinite(candidate.nines) else None,
        "minutes_a_year": candidate.unavailability * MINUTES_A_YEAR,
        "shortcoming": candidate.shortcoming or None,
    }


def lines_of(wanted: Wanted, found: Plan) -> list[str]:
    """For people."""
    chosen = found.chosen
    if chosen is None:
        lines = [f"no: not even {wanted.nodes_max} nodes reach it"]
    else:
        lines = [f"N={chosen.nodes}, T={chosen.faults}: any {chosen.quorum} of the nodes decide{_zones(chosen)}"]
        lines.append(f"  {_up(chosen)}; cost {chosen.cost:g}, load {chosen.load:.2f}")
    if found.cheaper:
        lines.append("why not fewer")
        lines += [
            f"  N={each.nodes}, T={each.faults}, cost {each.cost:g}: {each.shortcoming} ({_up(each)})"
            for each in found.cheaper[:CHEAPER_SHOWN]
        ]
    lines.append("what more would give")
    more = [each for each in found.front if chosen is not None and each.cost > chosen.cost]
    lines += [
        f"  N={each.nodes}, T={each.faults}, cost {each.cost:g}: {_up(each)}, load {each.load:.2f}"
        for each in more[:FRONT_SHOWN]
    ]
    return lines if more else lines[:-1]


def _zones(candidate: Candidate) -> str:
    return f", zones of {' + '.join(map(str, candidate.zones))}" if candidate.zones else ""


def _up(candidate: Candidate) -> str:
    if candidate.log_unavailability == -math.inf:
        return "always up"
    minutes = candidate.unavailability * MINUTES_A_YEAR
    down = f"{minutes:.3g} minutes a year" if minutes >= 1e-3 else f"{minutes * 60e3:.2g} ms a year"
    return f"{candidate.nines:.1f} nines, down {down}"
