"""`quorum init`: what a new cluster needs, written once."""

from __future__ import annotations

from pathlib import Path

import click

from quorum.console.command import command, print_json
from quorum.console.tolerance import NODES, check_tolerates, tolerance_of
from quorum.errors import ConfigurationError
from quorum.runtime.setup import init_cluster


@command("init", "quorum init --folder cluster --nodes 3 --base-port 7000")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".quorum"), help="Where to write.")
@click.option("--nodes", type=int, help="How many members vote (N).  [default: 5, byzantine 4, or as --names]")
@click.option("--faults", type=int, help="Crashes or liars to be tolerated (T).  [default: as many as N allows]")
@click.option("--model", default="crash", help="What a faulty node may do: crash, or byzantine (lie).")
@click.option("--names", help="Node ids, comma-separated; their number is N.  [default: n1, n2, ...]")
@click.option("--addresses", help="host:port of each node, comma-separated.  [default: free ports of loopback]")
@click.option("--base-port", type=int, help="Node i listens on this port plus i, on loopback.")
@click.option("--reads", default="", help='Which nodes elect, as an expression such as "choose(2, n1, n2, n3)".')
@click.option("--writes", default="", help="Which nodes commit; one side alone: the other follows.")
@click.option("--zones", help="Zones to deal the nodes out to, comma-separated.")
@click.option("--ledger", default="", metavar="MODULE:CLASS", help="The application of a ledger.")
@click.option("--insecure", is_flag=True, help="No TLS; loopback addresses only.")
@click.option("--allow-faults", is_flag=True, help="Let drills cut the links of the nodes.")
def init(
    folder: Path,
    nodes: int | None,
    faults: int | None,
    model: str,
    names: str | None,
    addresses: str | None,
    base_port: int | None,
    reads: str,
    writes: str,
    zones: str | None,
    ledger: str,
    insecure: bool,
    allow_faults: bool,
    as_json: bool,
) -> None:
    """Write the configuration, keys and certificates of a new cluster; start nothing.

    Copy cluster.toml to every machine, and to each its own node.toml and keys. Start each node once with
    --bootstrap, and without it from then on.
    """
    ids = split(names)
    if nodes is not None and ids is not None and nodes != len(ids):
        raise ConfigurationError(
            f"{nodes} nodes were asked for by --nodes and {len(ids)} by --names, but each node has one name. "
            "Leave --nodes out, or give as many names."
        )
    count = NODES.get(model, NODES["crash"]) if nodes is None else nodes
    check_tolerates(count if ids is None else len(ids), faults, model)
    layout = init_cluster(
        folder,
        count,
        base_port,
        faults,
        model,
        ids,
        reads,
        writes,
        split(zones) or (),
        split(addresses),
        insecure,
        allow_faults,
        ledger=ledger,
    )
    tolerance = tolerance_of(layout.config)
    if tolerance.warning():
        click.echo(f"warning: {tolerance.warning()}", err=True)
    if as_json:
        print_json(
            {
                "cluster_id": layout.config.cluster_id,
                "cluster": str(layout.cluster),
                "keys": str(layout.keys),
                "admin": layout.admin,
                "nodes": {node: str(path) for node, path in layout.nodes.items()},
                "addresses": {member.id: str(member.advertise) for member in layout.config.members},
                "model": model,
                **tolerance.facts(),
            }
        )
        return
    click.echo(f"cluster {layout.config.cluster_id} of {len(layout.nodes)} nodes")
    click.echo(tolerance.line())
    click.echo(f"configuration  {layout.cluster}")
    click.echo(f"keys           {layout.keys} (client identity: {layout.admin})")
    for member in layout.config.members:
        click.echo(f"{member.id:<14} {layout.nodes[member.id]} at {member.advertise}")
    if all(member.advertise.is_loopback for member in layout.config.members):
        click.echo(f"Start all of them on this machine by `quorum up --folder {folder}`. Or each by itself:")
    first = next(iter(layout.nodes.values()))
    click.echo(f"Start each once with --bootstrap: quorum node --config {first} --bootstrap")


def split(text: str | None) -> list[str] | None:
    """The parts of a comma-separated option; None if it was not given."""
    return None if text is None else [part.strip() for part in text.split(",")]
