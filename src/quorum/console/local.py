"""`quorum up` and `quorum down`: a local cluster that stays, with its data kept in a folder."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import click

from quorum.console.command import AnswerNo, command, print_json, seconds_option
from quorum.console.inquiry import Answers, ask_all, leader_of, no_quorum
from quorum.errors import ConfigurationError
from quorum.runtime.connect import SCHEME, at_config
from quorum.runtime.local import GRACE_S, LocalCluster
from quorum.runtime.setup import CLUSTER_FILE, init_cluster

POLL_S = 0.1
FOLDER = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path(".quorum"),
    help="Where the cluster's files are.",
)


@command("up", "quorum up --nodes 3")
@FOLDER
@click.option("--nodes", type=int, help="How many nodes a new cluster has.  [default: 5]")
@click.option("--model", default="crash", help="What a faulty node may do: crash.")
@click.option("--insecure", is_flag=True, help="A new cluster without TLS.")
@seconds_option("--timeout", 30.0, "Seconds to wait for a leader.")
def up(folder: Path, nodes: int | None, model: str, insecure: bool, timeout: float, as_json: bool) -> None:
    """Start a local cluster that stays, or what is missing of it, and wait until it has a leader.

    The first time it writes the configuration and keys. Nodes that run are left alone; data is kept.
    """
    path = folder / CLUSTER_FILE
    if not path.exists():
        init_cluster(folder, nodes=5 if nodes is None else nodes, model=model, insecure=insecure)
    cluster = LocalCluster(path)
    if nodes is not None and nodes != len(cluster.nodes):
        raise ConfigurationError(
            f"{nodes} nodes were asked for, but the cluster in {folder} has {len(cluster.nodes)}. Leave --nodes "
            "out, or name another --folder for another cluster."
        )
    with cluster.exclusive():
        started = cluster.start_all()
        answers = asyncio.run(wait_for_leader(cluster, started, timeout))
        failed = cluster.failures(started)
        if leader_of(answers) is not None and not failed:
            cluster.first_start_done()
        cluster.let_go()
    _report(cluster, started, answers, failed, as_json)
    if failed:
        raise AnswerNo


async def wait_for_leader(cluster: LocalCluster, started: tuple[str, ...], timeout: float = 30.0) -> Answers:
    """Wait until a leader answers and every node of `started` has answered or stopped.

    Raises NoQuorum when no leader answers after `timeout` seconds, or earlier when too many have stopped.
    """
    place = at_config(cluster.path)
    deadline = time.monotonic() + timeout
    while True:
        answers = await ask_all(place, timeout=POLL_S * 5)
        silent = [node for node in started if not hasattr(answers[node], "role")]
        stopped = cluster.failures(silent)
        leader = leader_of(answers)
        is_late = time.monotonic() >= deadline
        if leader is not None and (is_late or len(stopped) == len(silent)):
            return answers
        if leader is None and (is_late or len(stopped) == len(cluster.nodes)):
            reasons = "".join(f" {node}: {reason}" for node, reason in stopped.items())
            error = no_quorum(answers)
            raise type(error)(f"{error}{reasons}", error.missing)
        await asyncio.sleep(POLL_S)


def _report(
    cluster: LocalCluster, started: tuple[str, ...], answers: Answers, failed: dict[str, str], as_json: bool
) -> None:
    pids = cluster.running()
    leader = leader_of(answers)
    config = cluster.config
    tolerated = config.faults if config.faults is not None else (len(config.members) - 1) // 2
    insecure = next(iter(cluster.nodes.values())).config.insecure
    url = SCHEME + ",".join(str(member.advertise) for member in config.members)
    if as_json:
        print_json(
            {
                "cluster": config.cluster_id,
                "config": str(cluster.path),
                "url": url,
                "tls": None if insecure else str(cluster.folder / "keys"),
                "model": config.model,
                "policy": config.policy,
                "leader": leader.node if leader else None,
                "started": list(started),
                "failed": failed,
                "nodes": {
                    node: {
                        "address": str(config.member(node).advertise),
                        "pid": pids.get(node),
                        "pid_file": str(local.pid_file),
                        "log": str(local.log_file),
                    }
                    for node, local in cluster.nodes.items()
                },
            }
        )
        return
    if not started:
        click.echo(f"the cluster in {cluster.folder} is running already")
    elif len(started) < len(cluster.nodes):
        click.echo(f"started again: {', '.join(started)}")
    click.echo(
        f"cluster {config.cluster_id}: {len(config.members)} nodes, model {config.model}, policy {config.policy}, "
        f"up to {tolerated} may crash, {'plain text' if insecure else 'mutual TLS'}"
    )
    for node, local in cluster.nodes.items():
        role = ", leader" if leader is not None and leader.node == node else ""
        state = f"pid {pids[node]}{role}" if node in pids else "stopped"
        click.echo(f"  {node:<6} {config.member(node).advertise!s:<22} {state:<20} {local.pid_file}")
    click.echo(f"reach it by   --config {cluster.path} (or QUORUM_CONFIG; in this folder nothing is needed)")
    tls = "" if insecure else f', tls="{cluster.folder / "keys"}"'
    click.echo(f'from Python   quorum.connect("{url}"{tls})')
    click.echo(f"stop it by    quorum down --folder {cluster.folder}")
    for node, reason in failed.items():
        click.echo(f"{node} was started, but it stopped. {reason}", err=True)
    if failed:
        click.echo("The other nodes run on. Repair this, then run `quorum up` again.", err=True)


@command("down", "quorum down")
@FOLDER
@seconds_option("--grace", GRACE_S, "Seconds until a node is killed.")
def down(folder: Path, grace: float, as_json: bool) -> None:
    """Stop the local cluster; its data stays. Exit 0 also when nothing ran."""
    path = folder / CLUSTER_FILE
    if not path.exists():
        raise ConfigurationError(
            f"the cluster in {folder} was to be stopped, but there is no {path}. Name its folder by --folder."
        )
    cluster = LocalCluster(path)
    with cluster.exclusive():
        ended = cluster.stop_all(grace)
    if as_json:
        print_json({"cluster": cluster.config.cluster_id, "nodes": ended})
    elif not ended:
        click.echo(f"no node of the cluster in {cluster.folder} runs")
    else:
        for node, how in ended.items():
            click.echo(f"{node} {how}")
        click.echo("the data is kept; `quorum up` goes on with it")
