"""`quorum backup` and `quorum restore`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quorum.console.command import CONFIG, AnswerNo, command, print_json, seconds_option
from quorum.console.inquiry import ask_all, leader_of, no_quorum, refuse_discretion
from quorum.console.setup import split
from quorum.console.verify_data import progress_bar
from quorum.errors import ConfigurationError, QuorumError, StorageCorrupt
from quorum.runtime.config import find_config
from quorum.runtime.connect import at_config
from quorum.runtime.place import Place

if TYPE_CHECKING:
    from quorum.runtime.backup import BackupReport, Progress
    from quorum.runtime.restore import Restored


@command("backup", "quorum backup friday.backup")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--node", help="Which node to take it from.  [default: the leader]")
@click.option("--verify", is_flag=True, help="Take none: check FILE, without a cluster.")
@CONFIG
@seconds_option("--timeout", 600.0, "Seconds until the backup must be there.")
def backup(file: Path, node: str | None, verify: bool, config: Path | None, timeout: float, as_json: bool) -> None:
    """Write a backup of a running cluster to FILE, or check one.

    It holds all that was acknowledged before, in one consistent state, and is verified before FILE appears.
    Nothing is overwritten. Only an admin's certificate may take one. Exit 1 when --verify finds damage.
    """
    from quorum.runtime.backup import refuse_existing, verify_backup

    if verify:
        _verify(file, as_json, verify_backup)
        return
    refuse_existing(file)
    place = at_config(find_config(config))
    if place.may_lie:
        raise ConfigurationError(
            "a backup was to be taken from a cluster whose members may lie, but it would be one member's word for "
            "all that it holds. Read what is to be kept, say by `quorum kv range`: that several answer alike."
        )
    if node is not None and node not in place.endpoints:
        raise ConfigurationError(
            f"a backup was to be taken from {node[:80]}, but the cluster has no such node. Its members are "
            f"{', '.join(place.endpoints)}."
        )
    with progress_bar(f"fetching {file.name}", as_json) as progress:
        source, report = asyncio.run(_take(place, node, file, timeout, progress))
    if as_json:
        print_json({"node": source, "backup": report})
        return
    _show(report)
    click.echo(f"taken from {source}, verified")


def _verify(file: Path, as_json: bool, verify_backup: Callable[[Path], BackupReport]) -> None:
    try:
        report = verify_backup(file)
    except StorageCorrupt as error:
        if as_json:
            print_json({"whole": False, "offset": error.offset, "error": str(error)})
        click.echo(f"Error: {error}", err=True)
        raise AnswerNo from None
    if as_json:
        print_json({"whole": True, "backup": report})
    else:
        _show(report)
        click.echo("whole: every byte is as it was written")


async def _take(
    place: Place, node: str | None, file: Path, timeout: float, progress: Progress
) -> tuple[str, BackupReport]:
    from quorum.runtime.backup import take_backup

    if node is None:
        answers = await ask_all(place)
        leader = leader_of(answers, place)
        if leader is None:
            refuse_discretion(answers)
            raise no_quorum(answers, place)
        node = leader.node
    try:
        async with asyncio.timeout(timeout), place.node(node) as connection:
            return node, await take_backup(connection, place.cluster_id, file, progress)
    except TimeoutError:
        reason = f"it was not there after {timeout:g} s"
    except OSError as error:
        reason = f"the node cannot be reached ({os.strerror(error.errno).lower() if error.errno else error})"
    raise QuorumError(
        f"a backup was to be taken from {node}, but {reason}. Nothing was written. See `quorum status`, and retry."
    )


def _show(report: BackupReport) -> None:
    when = datetime.fromtimestamp(report.time_us / 1e6, UTC)
    click.echo(f"backup   {report.file}, {report.bytes} bytes, digest {report.digest}")
    click.echo(f"cluster  {report.cluster}, epoch {report.epoch}, voters {', '.join(report.voters)}")
    click.echo(f"state    after entry {report.index} of term {report.term}, log time {when:%Y-%m-%d %H:%M:%S} UTC")


@command("restore", "quorum restore friday.backup new --nodes 3")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--nodes", type=int, help="How many nodes: n1, n2, ...  [default: as in the backup]")
@click.option("--names", help="Ids of the nodes, comma-separated.  [default: as in the backup]")
@click.option("--addresses", help="host:port of each, comma-separated.  [default: free ports on loopback]")
@click.option("--base-port", type=int, help="Loopback ports from here on.")
@click.option("--reads", help="Election quorums.  [default: as in the backup, with its members]")
@click.option("--writes", help="Replication quorums.  [default: as in the backup, with its members]")
@click.option("--insecure", is_flag=True, help="No TLS; loopback addresses only.")
def restore(
    file: Path,
    folder: Path,
    nodes: int | None,
    names: str | None,
    addresses: str | None,
    base_port: int | None,
    reads: str | None,
    writes: str | None,
    insecure: bool,
    as_json: bool,
) -> None:
    """Set up in FOLDER a new cluster that begins with the state of the backup FILE; start nothing.

    It has a cluster id and keys of its own, so that no node and no client of the old cluster can join it. Nothing
    is overwritten. Start its nodes without --bootstrap: they have data.
    """
    from quorum.runtime.restore import restore_cluster

    if nodes is not None and names is not None:
        raise click.UsageError("--nodes and --names were given, but names settle how many there are. Give one.")
    with progress_bar(f"writing {folder}", as_json) as progress:
        restored = restore_cluster(
            file,
            folder,
            nodes,
            split(names),
            base_port,
            split(addresses),
            reads,
            writes,
            insecure,
            progress,
        )
    _report(restored, as_json)


def _report(restored: Restored, as_json: bool) -> None:
    layout = restored.layout
    if as_json:
        print_json(
            {
                "cluster_id": layout.config.cluster_id,
                "cluster": str(layout.cluster),
                "keys": str(layout.keys),
                "nodes": {node: str(path) for node, path in layout.nodes.items()},
                "addresses": {member.id: str(member.advertise) for member in layout.config.members},
                "index": restored.index,
                "term": restored.term,
                "epoch": restored.epoch,
                "objects": restored.objects,
                "backup": restored.backup,
            }
        )
        return
    click.echo(f"cluster {layout.config.cluster_id} of {len(layout.nodes)} nodes, from {restored.backup.cluster}")
    click.echo(f"configuration  {layout.cluster}")
    click.echo(f"keys           {layout.keys} (client identity: {layout.admin})")
    for member in layout.config.members:
        click.echo(f"{member.id:<14} {layout.nodes[member.id]} at {member.advertise}")
    for name, version in restored.objects.items():
        click.echo(f"object         {name}, version {version}")
    if restored.objects:
        click.echo(
            "Its nodes need the classes of these objects: name them under [objects] in the new cluster.toml."
        )
    click.echo(f"Start it on this machine by `quorum up --folder {layout.folder}`, or each node by `quorum node`,")
    click.echo("without --bootstrap. Copy its data folder with the rest, before its first start.")
