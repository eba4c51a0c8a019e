"""`quorum up` and `quorum down`: a local cluster that stays, with its data kept in a folder."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import click

from quorum.console.command import AnswerNo, command, print_json, seconds_option
from quorum.console.inquiry import (
    Answers,
    Silence,
    answering,
    ask_all,
    leader_of,
    no_quorum,
    silent,
    waiting_line,
)
from quorum.console.lost import lost_text
from quorum.console.need import needed_text, orderer
from quorum.console.tolerance import NODES, check_tolerates, tolerance_of
from quorum.console.waiting import waiting as telling
from quorum.errors import ConfigurationError, NoQuorum
from quorum.runtime.connect import SCHEME, at_config
from quorum.runtime.local import GRACE_S, LocalCluster, stop_by_files
from quorum.runtime.place import Place
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
@click.option(
    "--model", help="What a faulty node of a new cluster may do: crash, or byzantine (lie).  [default: crash]"
)
@click.option("--insecure", is_flag=True, help="A new cluster without TLS.")
@seconds_option("--timeout", 30.0, "Seconds to wait until all are ready.")
def up(folder: Path, nodes: int | None, model: str | None, insecure: bool, timeout: float, as_json: bool) -> None:
    """Start a local cluster that stays, or what is missing of it, and wait until every node is ready.

    Ready is a node that has links to the others and has caught up with the leader. The first time this writes the
    configuration and keys. Nodes that run are left alone; data is kept.
    """
    path = folder / CLUSTER_FILE
    is_new = not os.path.exists(path)  # unlike Path.exists it takes any name
    if is_new:
        kind = model or "crash"
        count = NODES.get(kind, NODES["crash"]) if nodes is None else nodes
        check_tolerates(count, None, kind)
        init_cluster(folder, nodes=count, model=kind, insecure=insecure)
    cluster = LocalCluster(path)
    if not is_new:
        _check_same(cluster, nodes, model, insecure)
    with cluster.exclusive():
        try:
            started = cluster.start_all()
            with telling("starting the nodes", quiet=as_json) as show:
                answers, waiting = asyncio.run(wait_until_ready(cluster, started, timeout, show))
            failed = cluster.failures(started)
            if leader_of(answers) is not None and not failed:
                cluster.first_start_done()
        finally:
            cluster.let_go()
    report = Report(cluster, started, answers, failed, waiting)
    if as_json:
        print_json(_report_facts(report))
    else:
        _tell(report)
    if failed:
        raise AnswerNo


def _check_same(cluster: LocalCluster, nodes: int | None, model: str | None, insecure: bool) -> None:
    """Raise ConfigurationError where a new cluster is described, but the folder holds another one."""
    config = cluster.config
    is_insecure = next(iter(cluster.nodes.values())).config.insecure
    differences = (
        ("--nodes", nodes is not None and nodes != len(cluster.nodes), f"{nodes} nodes", f"{len(cluster.nodes)}"),
        (
            "--model",
            model is not None and model != config.model,
            f"model {str(model)[:40]}",
            f"model {config.model}",
        ),
        ("--insecure", insecure and not is_insecure, "a cluster without TLS", "TLS"),
    )
    for option, differs, asked, has in differences:
        if differs:
            raise ConfigurationError(
                f"{asked} was asked for by {option}, but the cluster in {cluster.folder} has {has}, and that is "
                f"set once. Leave {option} out to start it, or name another --folder for another cluster."
            )


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
        leader = leader_of(answers, place)
        is_late = time.monotonic() >= deadline
        if leader is not None:
            goal = leader.last_index if goal is None else goal
            waiting = not_ready(answers, tuple(running), goal)
            if is_late or not waiting:
                return answers, waiting
            late = "; ".join(f"{node} {why}" for node, why in waiting.items())
            there = f"{leader.node} is the {leader.role}, and {needed_text(answers, place)} to decide"
            show(f"waiting until all {len(running)} that run are ready: {late} ({there})")
        elif is_late or not running or (stopped and not system.reads.contains(set(running))):
            raise _not_started(cluster, stopped, answers, place) if stopped else no_quorum(answers, place)
        else:
            show(waiting_line(answers, place))
        await asyncio.sleep(POLL_S)


def _not_started(cluster: LocalCluster, stopped: dict[str, str], answers: Answers, place: Place) -> NoQuorum:
    """What to say where nodes that were started have stopped, and nobody leads: each reason once. A cluster that
    never had a leader has nothing to lose."""
    by_reason: dict[str, list[str]] = {}
    for node, reason in stopped.items():
        by_reason.setdefault(reason.removeprefix("Error: "), []).append(node)
    reasons = " ".join(f"{', '.join(nodes)}: {reason}" for reason, nodes in by_reason.items())
    heard = f"{len(answering(answers))} of {len(answers)} nodes answer, {needed_text(answers, place)}"
    who = f"no {orderer(answers, place)} answers: {heard}"
    lost = "" if cluster.never_led else " ".join(("", lost_text(answers, place))).rstrip()
    return NoQuorum(
        f"the cluster was to be started, but {', '.join(stopped)} stopped, and {who}. {reasons} "
        f"Repair that, then run `quorum up` again; node.log beside each node.toml says more.{lost}",
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


class Report(NamedTuple):
    """What `up` came to: which nodes it started, what all answer, and which stopped or are not ready, and why."""

    cluster: LocalCluster
    started: tuple[str, ...]
    answers: Answers
    failed: dict[str, str]
    waiting: dict[str, str]

    @property
    def leader(self) -> str | None:
        """Who leads, if somebody does."""
        leader = leader_of(self.answers)
        return None if leader is None else leader.node

    @property
    def policy(self) -> str:
        """The policy in force, or where nobody leads that of the file."""
        leader = leader_of(self.answers)
        return self.cluster.config.policy if leader is None else leader.policy

    @property
    def insecure(self) -> bool:
        """Whether its nodes speak plain text."""
        return next(iter(self.cluster.nodes.values())).config.insecure

    @property
    def url(self) -> str:
        """How clients reach it."""
        return SCHEME + ",".join(str(member.advertise) for member in self.cluster.config.members)


def _report_facts(report: Report) -> dict[str, Any]:
    """For programs."""
    cluster, config, pids = report.cluster, report.cluster.config, report.cluster.running()
    return {
        "cluster": config.cluster_id,
        "config": str(cluster.path),
        "url": report.url,
        "tls": None if report.insecure else str(cluster.folder / "keys"),
        "model": config.model,
        "policy": report.policy,
        **tolerance_of(config).facts(),
        "leader": report.leader,
        "started": list(report.started),
        "failed": report.failed,
        "not_ready": report.waiting,
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


def _tell(report: Report) -> None:
    """For people: what runs, how to reach it, and what went wrong."""
    _tell_cluster(report)
    _tell_ways(report)
    for reason, stopped in _by_reason(report.failed).items():
        who = f"{', '.join(stopped)} {'was' if len(stopped) == 1 else 'were'}"
        click.echo(f"{who} started, but stopped. {reason}", err=True)
    for node, why in report.waiting.items():
        click.echo(f"{node} runs, but {why}. Look with `quorum status`.", err=True)
    if report.failed:
        others = "The other nodes run on" if report.cluster.running() else "No node runs"
        click.echo(f"{others}. Repair this, then run `quorum up` again.", err=True)


def _tell_cluster(report: Report) -> None:
    cluster, config, pids = report.cluster, report.cluster.config, report.cluster.running()
    tolerance = tolerance_of(config)
    if not report.started:
        click.echo(f"the cluster in {cluster.folder} is running already")
    elif len(report.started) < len(cluster.nodes):
        click.echo(f"started again: {', '.join(report.started)}")
    fails = "lie" if config.model == "byzantine" else "crash"
    click.echo(
        f"cluster {config.cluster_id}: {len(config.members)} nodes, model {config.model}, policy {report.policy}, "
        f"up to {tolerance.faults} may {fails}, {'plain text' if report.insecure else 'mutual TLS'}"
    )
    if adaptivity := tolerance.adaptivity(report.policy):
        click.echo(f"quorum {tolerance.quorum or 'by cluster.toml'}; {adaptivity}")
    for node, local in cluster.nodes.items():
        role = ", leader" if node == report.leader else ""
        state = f"pid {pids[node]}{role}" if node in pids else "stopped"
        click.echo(f"  {node:<6} {config.member(node).advertise!s:<22} {state:<20} {local.pid_file}")


def _tell_ways(report: Report) -> None:
    """How it is reached, and stopped."""
    cluster, insecure = report.cluster, report.insecure
    click.echo(f"reach it by   --config {cluster.path} (or QUORUM_CONFIG; in this folder nothing is needed)")
    tls = "" if insecure else f', tls="{cluster.folder / "keys"}"'
    by_url = not insecure or cluster.config.model == "crash"
    place = f'"{report.url}"{tls}' if by_url else f'config="{cluster.path}"'
    click.echo(f"from Python   quorum.connect({place})")
    click.echo(f"stop it by    quorum down --folder {cluster.folder}")


def _by_reason(failed: dict[str, str]) -> dict[str, list[str]]:
    """Nodes that stopped, by what they say of it."""
    found: dict[str, list[str]] = {}
    for node, reason in failed.items():
        found.setdefault(reason, []).append(node)
    return found


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
    cluster_id: str | None = None
    try:
        cluster = LocalCluster(path)
    except ConfigurationError as error:
        ended = stop_by_files(path.parent, grace)
        if not ended:
            raise
        click.echo(f"warning: {error} The nodes that were started there are stopped all the same.", err=True)
    else:
        cluster_id = cluster.config.cluster_id
        with cluster.exclusive():
            ended = cluster.stop_all(grace)
    if as_json:
        print_json({"cluster": cluster_id, "nodes": ended})
    elif not ended:
        click.echo(f"no node of the cluster in {path.parent} runs")
    else:
        for node, how in ended.items():
            click.echo(f"{node} {how}")
        click.echo("the data is kept; `quorum up` goes on with it")
