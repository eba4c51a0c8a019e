"""`quorum up` and `quorum down`: a local cluster that stays, with its data kept in a folder."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from quorum.console.command import AnswerNo, command, print_json, seconds_option
from quorum.console.inquiry import Answers, Silence, answering, ask_all, leader_of, no_quorum, silent
from quorum.errors import ConfigurationError, NoQuorum
from quorum.runtime.connect import SCHEME, at_config
from quorum.runtime.local import GRACE_S, LocalCluster
from quorum.runtime.setup import CLUSTER_FILE, init_cluster
from quorum.runtime.toml import shown_path
from quorum.systems.build import build

POLL_S = 0.1
FOLDER = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path(".quorum"),
    help="Where the cluster's files are.",
)


@command("up", "quorum up --nodes 3")
@FOLDER
@click.option("--nodes", type=int, help="How many nodes a new cluster has.  [default: 5, byzantine 4]")
@click.option("--model", default="crash", help="What a faulty node may do: crash, or byzantine (lie).")
@click.option("--insecure", is_flag=True, help="A new cluster without TLS.")
@seconds_option("--timeout", 30.0, "Seconds to wait until all are ready.")
def up(folder: Path, nodes: int | None, model: str, insecure: bool, timeout: float, as_json: bool) -> None:
    """Start a local cluster that stays, or what is missing of it, and wait until every node is ready.

    Ready is a node that has links to the others and has caught up with the leader. The first time this writes the
    configuration and keys. Nodes that run are left alone; data is kept.
    """
    path = folder / CLUSTER_FILE
    if not os.path.exists(path):  # unlike Path.exists it takes any name
        usual = 4 if model == "byzantine" else 5
        init_cluster(folder, nodes=usual if nodes is None else nodes, model=model, insecure=insecure)
    cluster = LocalCluster(path)
    if nodes is not None and nodes != len(cluster.nodes):
        raise ConfigurationError(
            f"{nodes} nodes were asked for, but the cluster in {folder} has {len(cluster.nodes)}. Leave --nodes "
            "out, or name another --folder for another cluster."
        )
    with cluster.exclusive():
        try:
            started = cluster.start_all()
            with _waiting(as_json) as show:
                answers, waiting = asyncio.run(wait_until_ready(cluster, started, timeout, show))
            failed = cluster.failures(started)
            if leader_of(answers) is not None and not failed:
                cluster.first_start_done()
        finally:
            cluster.let_go()
    _report(cluster, started, answers, failed, waiting, as_json)
    if failed:
        raise AnswerNo


async def wait_until_ready(
    cluster: LocalCluster,
    started: tuple[str, ...],
    timeout: float = 30.0,
    show: Callable[[str], None] = lambda text: None,
) -> tuple[Answers, dict[str, str]]:
    """Wait until a leader answers and every node that runs is linked to the others and has applied what was in
    the leader's log when it was seen first: a node whose program cannot apply that has stopped by then. Returns
    who is not ready after `timeout` seconds, and why.

    `show` is told what is waited for. Raises NoQuorum when no leader answers in time, or earlier when so many
    have stopped that the others cannot elect one.
    """
    place = at_config(cluster.path)
    deadline = time.monotonic() + timeout
    system = build(cluster.config.configuration())
    goal: int | None = None
    while True:
        answers = await ask_all(place, timeout=POLL_S * 5)
        running = cluster.running()
        stopped = cluster.failures([node for node in started if node not in running])
        leader = leader_of(answers)
        is_late = time.monotonic() >= deadline
        if leader is not None:
            goal = leader.last_index if goal is None else goal
            waiting = not_ready(answers, tuple(running), goal)
            if is_late or not waiting:
                return answers, waiting
            show("; ".join(f"{node} {why}" for node, why in waiting.items()))
        elif is_late or not running or (stopped and not system.reads.contains(set(running))):
            raise _not_started(stopped, answers) if stopped else no_quorum(answers)
        else:
            show(f"no leader yet, {len(answering(answers))} of {len(answers)} nodes answer")
        await asyncio.sleep(POLL_S)


def _not_started(stopped: dict[str, str], answers: Answers) -> NoQuorum:
    """What to say where nodes that were started have stopped, and nobody leads: each reason once."""
    by_reason: dict[str, list[str]] = {}
    for node, reason in stopped.items():
        by_reason.setdefault(reason.removeprefix("Error: "), []).append(node)
    reasons = " ".join(f"{', '.join(nodes)}: {reason}" for reason, nodes in by_reason.items())
    return NoQuorum(
        f"the cluster was to be started, but {', '.join(stopped)} stopped, and no leader answers. {reasons} "
        "Repair that, then run `quorum up` again; node.log beside each node.toml says more.",
        tuple(silence.node for silence in silent(answers)),
    )


def not_ready(answers: Answers, running: Collection[str], goal: int) -> dict[str, str]:
    """Those of `running` that are not ready, and why: silent, without a link, or behind entry `goal`."""
    found: dict[str, str] = {}
    for node in running:
        answer = answers[node]
        if isinstance(answer, Silence):
            found[node] = "does not answer yet"
        elif missing := sorted(set(running) - {node} - set(answer.connected)):
            found[node] = f"has no link to {', '.join(missing)} yet"
        elif answer.applied_index < goal:
            found[node] = f"has applied {answer.applied_index} of {goal} entries"
        elif not answer.may_vote and node in answer.members:
            found[node] = "waits for a leader to confirm its log"
    return found


@contextmanager
def _waiting(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Shows on stderr what is waited for; nothing where that is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    with Console(stderr=True).status("starting the nodes") as status:
        yield status.update


def _report(
    cluster: LocalCluster,
    started: tuple[str, ...],
    answers: Answers,
    failed: dict[str, str],
    waiting: dict[str, str],
    as_json: bool,
) -> None:
    pids = cluster.running()
    leader = leader_of(answers)
    config = cluster.config
    most = (len(config.members) - 1) // (3 if config.model == "byzantine" else 2)
    tolerated = most if config.faults is None else config.faults
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
                "not_ready": waiting,
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
    fails = "lie" if config.model == "byzantine" else "crash"
    click.echo(
        f"cluster {config.cluster_id}: {len(config.members)} nodes, model {config.model}, policy {config.policy}, "
        f"up to {tolerated} may {fails}, {'plain text' if insecure else 'mutual TLS'}"
    )
    for node, local in cluster.nodes.items():
        role = ", leader" if leader is not None and leader.node == node else ""
        state = f"pid {pids[node]}{role}" if node in pids else "stopped"
        click.echo(f"  {node:<6} {config.member(node).advertise!s:<22} {state:<20} {local.pid_file}")
    click.echo(f"reach it by   --config {cluster.path} (or QUORUM_CONFIG; in this folder nothing is needed)")
    tls = "" if insecure else f', tls="{cluster.folder / "keys"}"'
    place = f'"{url}"{tls}' if not insecure or config.model == "crash" else f'config="{cluster.path}"'
    click.echo(f"from Python   quorum.connect({place})")
    click.echo(f"stop it by    quorum down --folder {cluster.folder}")
    for node, reason in failed.items():
        click.echo(f"{node} was started, but it stopped. {reason}", err=True)
    for node, why in waiting.items():
        click.echo(f"{node} runs, but {why}. Look with `quorum status`.", err=True)
    if failed:
        click.echo("The other nodes run on. Repair this, then run `quorum up` again.", err=True)


@command("down", "quorum down")
@FOLDER
@seconds_option("--grace", GRACE_S, "Seconds until a node is killed.")
def down(folder: Path, grace: float, as_json: bool) -> None:
    """Stop the local cluster; its data stays. Exit 0 also when nothing ran."""
    path = folder / CLUSTER_FILE
    if not os.path.exists(path):
        raise ConfigurationError(
            f"the cluster in {shown_path(folder)} was to be stopped, but it holds no {CLUSTER_FILE}. Name its "
            "folder by --folder."
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
