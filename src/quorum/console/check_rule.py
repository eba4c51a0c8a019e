"""`quorum check --rule participation`: the published rule for one N and T, and a counterexample where it fails."""

from __future__ import annotations

from typing import Any

import click

from quorum.console.command import AnswerNo, print_json
from quorum.errors import ConfigurationError
from quorum.model import FaultModel
from quorum.systems.participation_rule import Arithmetic, Asked, Committee, Verdict, judge

NODES_SHOWN = 12


def check_rule(
    nodes: int | None,
    faults: int | None,
    model: FaultModel,
    committee: Committee,
    arithmetic: Arithmetic,
    as_json: bool,
) -> None:
    """Print the verdict. Raises AnswerNo where it is unsafe, and ConfigurationError for what is no question."""
    if nodes is None or faults is None:
        missing = "--nodes" if nodes is None else "--faults"
        raise ConfigurationError(
            f"the participation rule was to be checked, but without {missing} it has no numbers. Give them, as in "
            "`quorum check --rule participation --nodes 6 --faults 2`."
        )
    asked = Asked(nodes, faults, model, committee, arithmetic)
    verdict = judge(asked)
    if as_json:
        print_json(facts_of(asked, verdict))
    else:
        click.echo("\n".join(lines_of(asked, verdict)))
    if not verdict.safe:
        raise AnswerNo


def facts_of(asked: Asked, verdict: Verdict) -> dict[str, Any]:
    """For programs."""
    witness = verdict.witness
    return {
        "safe": verdict.safe,
        "live": verdict.live,
        "feasible": verdict.feasible,
        "threshold": asked.threshold,
        "participants": asked.participants,
        "witness": None
        if witness is None
        else {name: sorted(getattr(witness, name)) for name in witness.__struct_fields__},
    }


def lines_of(asked: Asked, verdict: Verdict) -> list[str]:
    """For people."""
    does = "crash" if asked.model == "crash" else "lie"
    chosen = "agreed on" if asked.committee == "agreed" else "chosen by each node for itself"
    lines = [
        f"N={asked.nodes}, T={asked.faults} may {does}: {asked.participants} take part, {asked.threshold} votes "
        f"decide; the committee is {chosen}"
    ]
    if not verdict.feasible:
        lines.append("safe              yes, for nothing is ever decided: more are to take part than there are")
    elif verdict.witness is None:
        lines.append("safe              yes: any two decisions share " + _shared(asked))
    else:
        witness = verdict.witness
        lines.append("safe              no: these two decide differently")
        lines.append(f"  first           {_listed(witness.first)} of committee {_listed(witness.first_committee)}")
        lines.append(
            f"  second          {_listed(witness.second)} of committee {_listed(witness.second_committee)}"
        )
        if asked.model == "byzantine":
            lines.append(f"  who lies        {_listed(witness.faulty)}")
    lines.append(f"live              {'yes' if verdict.live else 'no'}")
    return lines


def _shared(asked: Asked) -> str:
    return "a node" if asked.shared_needed == 1 else f"{asked.shared_needed} nodes, one of them honest"


def _listed(nodes: frozenset[int]) -> str:
    shown = list(map(str, sorted(nodes)))
    more = [f"and {len(shown) - NODES_SHOWN} more"] if len(shown) > NODES_SHOWN else []
    return "{" + ", ".join(shown[:NODES_SHOWN] + more) + "}"
