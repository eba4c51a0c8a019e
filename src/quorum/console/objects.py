"""`quorum objects`: what a cluster hosts, and the versions of its objects."""

from __future__ import annotations

from pathlib import Path

import click

from quorum.apps.objects import Description
from quorum.console.command import AnswerNo, Group, command, print_json, with_cluster
from quorum.console.inquiry import run_client
from quorum.errors import LocalProtocolError
from quorum.runtime.client import Client
from quorum.runtime.config import find_config
from quorum.runtime.connect import at_config
from quorum.runtime.object_client import describe
from quorum.runtime.object_versions import Answers, ask_members, raise_where_known


@click.group(cls=Group, epilog="Example: quorum objects list")
def objects() -> None:
    """Show the replicated objects of a cluster, and raise their versions.

    cluster.toml names their classes; see docs/replicated.md.
    """


@command("list", "quorum objects list")
@with_cluster
def list_(config: Path | None, timeout: float, as_json: bool) -> None:
    """Show every object: its class, the version it is at, and the versions that each node's program knows.

    Exit 1 if some node could not be asked.
    """
    place = at_config(find_config(config))

    async def ask(client: Client) -> tuple[list[Description], Answers]:
        return await describe(client), await ask_members(place)

    present, answers = run_client(config, timeout, ask)
    silent = {node: answer for node, answer in answers.items() if isinstance(answer, str)}
    known = {each.object: _known(each.object, answers) for each in present}
    if as_json:
        found = [
            {"object": each.object, "class": each.cls, "version": each.version, "known": known[each.object]}
            for each in present
        ]
        print_json({"objects": found, "silent": silent})
    else:
        for each in present:
            at = f"version {each.version}" if each.version else "not there yet"
            nodes = ", ".join(f"{node} {first}-{last}" for node, (first, last) in known[each.object].items())
            click.echo(f"{each.object}: {each.cls}, {at}; known: {nodes}")
        if not present:
            click.echo("no objects: cluster.toml names none under [objects]")
        for node, reason in silent.items():
            click.echo(f"{node} could not be asked: {reason}", err=True)
    if silent:
        raise AnswerNo


@command("raise", "quorum objects raise stock")
@click.argument("name")
@click.option("--to", "version", type=click.IntRange(min=1), help="The version.  [default: the newest all know]")
@with_cluster
def raise_(name: str, version: int | None, config: Path | None, timeout: float, as_json: bool) -> None:
    """Raise object NAME to a newer version of its class, once the program of every node knows it.

    There is no way back. Exit 1, and nothing happens, where a node does not know the version or cannot be asked.
    """
    place = at_config(find_config(config))
    try:
        raised = run_client(config, timeout, lambda client: raise_where_known(place, client, name, version))
    except LocalProtocolError as error:
        if as_json:
            print_json({"object": name, "raised": False, "reason": str(error)})
        else:
            click.echo(str(error), err=True)
        raise AnswerNo from None
    is_raised = raised.version > raised.before
    stays_behind = version is None and not is_raised and bool(raised.behind)
    if as_json:
        behind = {"behind": list(raised.behind)} if stays_behind else {}
        print_json({"object": name, "raised": is_raised, "version": raised.version, **behind})
    elif stays_behind:
        click.echo(
            f"{name} stays at version {raised.version}: the programs of {', '.join(raised.behind)} know no newer "
            "one. Start them with the program of the others first.",
            err=True,
        )
    else:
        was = f" from {raised.before}" if is_raised else " already"
        click.echo(f"{name} is at version {raised.version}{was}")
    if stays_behind:
        raise AnswerNo


objects.add_command(list_)
objects.add_command(raise_)


def _known(name: str, answers: Answers) -> dict[str, tuple[int, int]]:
    """The oldest and the newest version that each node's program knows."""
    return {
        node: (each.oldest, each.newest)
        for node, answer in answers.items()
        if answer is not None and not isinstance(answer, str)
        for each in answer
        if each.object == name
    }
