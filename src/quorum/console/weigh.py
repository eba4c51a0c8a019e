"""`quorum weigh`: how many votes each member has."""

from __future__ import annotations

from pathlib import Path

import click

from quorum.console.changing import DRY_RUN, NOTHING, change_members, preview
from quorum.console.command import CONFIG, command, print_json, seconds_option
from quorum.console.decides import decides_by
from quorum.console.modes import WEIGHTS, crash_only
from quorum.errors import ConfigurationError
from quorum.membership.reconfiguration import SetWeights


@command("weigh", "quorum weigh n1=3 --faults 1")
@click.argument("votes", nargs=-1, metavar="[NODE=VOTES]...")
@click.option("--faults", type=click.IntRange(0), default=1, help="Any so many may be lost, and a quorum is left.")
@CONFIG
@seconds_option("--timeout", 60.0, "Seconds until the change must be done.")
@DRY_RUN
def weigh(
    votes: tuple[str, ...], faults: int, config: Path | None, timeout: float, dry_run: bool, as_json: bool
) -> None:
    """Give members more votes than others, or all the same.

    Who is not named has 1 vote; all of it is one change. Weights under which the loss of --faults members would
    leave no quorum are refused. In crash mode.
    """
    path = crash_only(config, "members were to be given weights", WEIGHTS)
    change = SetWeights(tuple(map(_pair, votes)), faults)
    if dry_run:
        preview(path, change, timeout, as_json)
        return
    leader, changed = change_members(path, change, timeout)
    decides = decides_by(leader)
    if as_json:
        facts = {"changed": changed, "epoch": leader.epoch, "weights": leader.weights, "decides": decides}
        print_json(facts)
        return
    if not changed:
        click.echo(f"{NOTHING}: these are their votes already")
    click.echo(f"epoch {leader.epoch}" if decides is None else decides.line())


def _pair(text: str) -> tuple[str, int]:
    """Raises ConfigurationError for what is no NODE=VOTES."""
    node, _, votes = text.partition("=")
    if not node or not votes.isascii() or not votes.isdigit() or len(votes) > 9:
        raise ConfigurationError(
            f"{text[:80]!r} was given, but a weight is a member and its votes. Write it like n1=3."
        )
    return node, int(votes)
