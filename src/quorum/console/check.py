"""`quorum check`: is it safe, or what is the counterexample?

What is checked is named by its own options; each kind has a file of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from quorum.console.command import command
from quorum.errors import ConfigurationError

MODELS = ("crash", "byzantine", "masking", "opaque")
FEDERATED = ("organizations", "group_by", "scope")
RULE_ALONE = ("nodes", "committee", "arithmetic")
FOREIGN = {
    "SYSTEM": (*FEDERATED, *RULE_ALONE),
    "--fbas": (*RULE_ALONE, "faults", "model"),
    "--rule": FEDERATED,
}
"""Options that a kind of check does not have."""


@command("check", "quorum check --rule participation --nodes 6 --faults 2 --committee local")
@click.argument("system", required=False, type=click.Path(path_type=Path))
@click.option(
    "--fbas", type=click.Path(path_type=Path), metavar="FILE", help="Nodes with their own quorum sets (JSON)."
)
@click.option(
    "--organizations", type=click.Path(path_type=Path), metavar="FILE", help="Who runs which nodes (JSON)."
)
@click.option("--group-by", type=click.Choice(("organization", "country")), help="Count these, not nodes.")
@click.option(
    "--scope", type=click.Choice(("core", "all")), help="Nodes that need each other, or all nodes. Else core."
)
@click.option("--rule", type=click.Choice(("participation",)), help="A rule to check for one N and T.")
@click.option("--nodes", type=int, help="N: how many nodes there are.")
@click.option("--faults", type=int, help="T: how many of them may fail.")
@click.option("--model", type=click.Choice(MODELS), help="What nodes may do. Else crash.")
@click.option(
    "--committee",
    type=click.Choice(("agreed", "local")),
    help="Who takes part, is agreed on, or not. Else agreed.",
)
@click.option(
    "--arithmetic", type=click.Choice(("real", "integer")), help="Round half a node up, or down. Else real."
)
def check(system: Path | None, fbas: Path | None, rule: str | None, as_json: bool, **options: Any) -> None:
    """Say whether every two quorums meet, or show two that do not.

    SYSTEM is a file with reads and writes, in TOML or JSON: do they meet, in how many nodes, how many may fail?

    --fbas checks federated quorums, where each node chooses whom it needs: do they intersect, which nodes are the
    top tier, and how few nodes could stop or split them.

    --rule participation checks the rule that N-T+1 nodes take part and (N-T)/2+1 votes decide.

    Exit code 1: it is not safe.
    """
    kinds = {"SYSTEM": system, "--fbas": fbas, "--rule": rule}
    asked = [name for name, value in kinds.items() if value is not None]
    if len(asked) != 1:
        what = "nothing was" if not asked else "two things were"
        raise ConfigurationError(
            f"a check was asked for, but {what} named to be checked. Write `quorum check SYSTEM`, or `quorum "
            "check --fbas FILE`, or `quorum check --rule participation --nodes 5 --faults 1`."
        )
    _check_others(options, FOREIGN[asked[0]], asked[0])
    if system is not None:
        from quorum.console.check_system import check_system

        check_system(system, options["model"] or "crash", options["faults"] or 0, as_json)
        return
    if fbas is not None:
        from quorum.console.check_federated import check_federated

        check_federated(fbas, options["organizations"], options["group_by"], options["scope"] or "core", as_json)
        return
    from quorum.console.check_rule import check_rule

    model, committee, arithmetic = options["model"], options["committee"], options["arithmetic"]
    check_rule(
        options["nodes"],
        options["faults"],
        model or "crash",
        committee or "agreed",
        arithmetic or "real",
        as_json,
    )


def _check_others(options: dict[str, Any], foreign: tuple[str, ...], asked: str) -> None:
    """Raise ConfigurationError for an option that this kind of check does not have."""
    for name in foreign:
        if options[name] is not None:
            option = "--" + name.replace("_", "-")
            raise ConfigurationError(
                f"{option} was given together with {asked}, but it would count for nothing there. Leave it out."
            )
