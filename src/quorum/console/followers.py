"""Nodes without a vote where members may lie: they are written into cluster.toml, and out of it, by no leader."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import click

from quorum.console.changing import NOTHING
from quorum.console.command import print_json
from quorum.console.inquiry import ask_all
from quorum.console.present import present_of
from quorum.errors import ConfigurationError
from quorum.runtime.byzantine_config import voters_of
from quorum.runtime.config import load_cluster
from quorum.runtime.connect import at_config
from quorum.runtime.enrol import add_member, remove_member
from quorum.runtime.local import LocalCluster
from quorum.runtime.newest_committee import newest_committee
from quorum.runtime.setup import NODE_FILE

LOOK_S = 0.03
BEGIN_S = 10.0
"""How long a new node may take to begin its log."""


def add_follower(path: Path, node: str, address: str | None, start: bool | None, as_json: bool) -> None:
    """A node is written into the files, and follows; a committee that names it gives it a vote. One that is there
    as it is asked for stays as it is."""
    known = next((member for member in load_cluster(path).members if member.id == node), None)
    if known is not None and known.role == "learner" and address in (None, str(known.listen)):
        if as_json:
            print_json({"changed": False, "node": node, "role": "learner", "address": str(known.advertise)})
        else:
            click.echo(f"{NOTHING}: {node} is a learner at {known.advertise} already, in {path}")
        return
    after = add_member(path, node, "learner", address)
    if start or (start is None and runs_here(path, node)):
        local = LocalCluster(path)
        local.start(node, bootstrap=True)  # its key is new, so that it remembers all that it ever signed
        deadline = time.monotonic() + BEGIN_S
        while not local.nodes[node].has_run and local.pid(node) is not None and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        local.let_go()
    else:
        click.echo(
            f"{node} is not started here. Start it on its machine, with these files and its keys: "
            f"quorum node --config {path.parent / node / NODE_FILE} --bootstrap",
            err=True,
        )
    where = str(after.member(node).advertise)
    if as_json:
        print_json({"changed": True, "node": node, "role": "learner", "address": where})
        return
    click.echo(f"{node} is a learner at {where}, in {path}")
    click.echo("restart the members one after the other with this file, so that they reach it; then:")
    try:
        click.echo(f"quorum approve {' '.join(sorted({*acting(path), node}))}")
    except ConfigurationError:
        click.echo(f"quorum approve {node}, and with it the members that `quorum status` shows then")


def evict_followers(path: Path, nodes: tuple[str, ...], as_json: bool) -> None:
    """Take nodes without a vote out of the files, and stop them where they run here. Raises ConfigurationError,
    nothing changed, for members of the first committee and of the one that acts."""
    cluster = load_cluster(path)
    first = {member.id for member in voters_of(cluster)}
    for node in nodes:
        cluster.member(node)
        if node in first:
            raise ConfigurationError(
                f"{node} was to be taken out of {path}, but it is of the first committee, from which every later "
                "one follows: without it no node could verify its own log. Leave the file as it is. Once quorum "
                f"approve has named a committee without {node}, its process may be stopped."
            )
    still = sorted(set(nodes) & set(acting(path)))
    if still:
        raise ConfigurationError(
            f"{still[0]} was to be taken out of {path}, but it has a vote now. Name a committee without it by "
            "quorum approve first."
        )
    strike_out(path, nodes)
    if as_json:
        print_json({"changed": True, "evicted": nodes})
    else:
        click.echo(f"{', '.join(nodes)} taken out of {path}")
        click.echo("restart the members one after the other with this file, so that they dial it no more")


def acting(path: Path) -> tuple[str, ...]:
    """The members that act now. Raises ConfigurationError where they do not tell."""
    cluster = load_cluster(path)
    place = at_config(path)
    proven = asyncio.run(newest_committee(place))
    present = present_of(asyncio.run(ask_all(place)), cluster, proven)
    if present is None:
        raise ConfigurationError(
            f"the members that act in {cluster.cluster_id} were asked for, but too few of "
            f"{', '.join(proven.nodes)} tell the same. Look with quorum status whether they run, then retry."
        )
    return present.nodes


def runs_here(path: Path, node: str) -> bool:
    """Whether the other nodes of this folder are processes of this machine."""
    try:
        local = LocalCluster(path)
    except ConfigurationError:
        return False
    return bool(set(local.running()) - {node})


def strike_out(path: Path, nodes: tuple[str, ...]) -> None:
    """Stop those who have left, where they run here, and take them out of cluster.toml."""
    try:
        LocalCluster(path).stop(nodes)
    except ConfigurationError:
        click.echo(f"processes of {', '.join(nodes)} elsewhere run on: stop them there", err=True)
    for member in load_cluster(path).members:
        if member.id in nodes:
            remove_member(path, member.id)
