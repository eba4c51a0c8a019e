"""`quorum status`: every node of a cluster as it sees itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from quorum.console.command import CONFIG, AnswerNo, command, plain, print_json, seconds_option
from quorum.console.committee_told import CommitteeTold, committee_told, unlinked_warnings
from quorum.console.decides import Decides, decides_by, decides_of
from quorum.console.inquiry import Answers, ask_all, discreet, leader_of, silent
from quorum.console.inquiry import answering as answering_nodes
from quorum.console.lies_told import lies_told
from quorum.console.lost import lost_text
from quorum.console.need import may_lie, needed_text, orderer
from quorum.console.participation_told import Out, out_told, participation_warnings, seats_told
from quorum.console.proposals import Proposal, proposals_of
from quorum.console.recovered import recovered_line, recovered_of
from quorum.console.told import most
from quorum.console.voters import quorum_runs
from quorum.model import Recovery, nodes_needed
from quorum.runtime.config import find_config, load_cluster
from quorum.runtime.connect import at_config
from quorum.runtime.place import Place
from quorum.runtime.setup import GENESIS_FILE
from quorum.runtime.status import NodeStatus

if TYPE_CHECKING:
    from rich.table import Table

PLAIN_WIDTH = 110
INTERVAL_S_MIN = 0.1
# 80 columns must do. "sync ms": p50 and p99 of the newest log syncs.
COLUMNS = (
    "node",
    "role",
    "term",
    "leader",
    "applied",
    "lag",
    "links",
    "memory",
    "sync ms",
)
OF_LIARS = {"term": "view", "leader": "primary"}


class Overview(msgspec.Struct, frozen=True):
    """The cluster at one moment, and what is wrong with it. `healthy`: a leader answers and no state differs.

    `n` members vote, and `quorum` of them decide (None: it matters which). Where they may lie, `leader` is the
    `primary` and `term` the `view`, and `faults` (T) may lie; these three are None elsewhere. `proposed`: next
    committees of which a member's operator has approved. `recovered`: how this `incarnation` of the cluster began,
    where it is not the first (""). `decides`: votes and threshold of the present epoch. `out`: who lost its vote,
    and why, where the policy is adaptive and members may lie; nobody does where `floor` (3T+1) are left.
    """

    cluster: str
    model: str
    policy: str
    leader: str | None
    term: int
    commit_index: int
    healthy: bool
    nodes: dict[str, dict[str, Any]]
    warnings: list[str]
    epoch: int = 0
    n: int = 0
    faults: int | None = None
    quorum: int | None = None
    primary: str | None = None
    view: int | None = None
    proposed: tuple[Proposal, ...] = ()
    incarnation: str = ""
    recovered: Recovery | None = None
    decides: Decides | None = None
    floor: int | None = None
    out: tuple[Out, ...] = ()

    @property
    def may_lie(self) -> bool:
        return self.model == "byzantine"


def overview_of(
    answers: Answers, election_timeout_us: int, genesis: Path = Path(GENESIS_FILE), place: Place | None = None
) -> Overview:
    """What the answers of all nodes of `place` say together; `genesis` is where evidence is verified by."""
    answering = answering_nodes(answers)
    leader = leader_of(answers, place)
    commit = max((status.commit_index for status in answering), default=0)
    diverged = sorted({node for status in answering for node in status.diverged})
    nodes = {
        name: _facts(answer) | {"lag": commit - answer.applied_index, "reachable": True}
        if isinstance(answer, NodeStatus)
        else {"node": name, "reachable": answer.is_discreet, "reason": answer.reason}
        for name, answer in answers.items()
    }
    term = max((status.term for status in answering), default=0)
    told = committee_told(answers)
    lies = may_lie(answers)
    recovered = None if lies else recovered_of(answers)  # there nobody recovers one, whatever a liar tells
    return Overview(
        cluster=most(each.cluster for each in answering),
        model=most(each.model for each in answering),
        policy=most(each.policy for each in answering),
        leader=leader.node if leader else None,
        term=term,
        commit_index=commit,
        healthy=leader is not None and not diverged,
        nodes=nodes,
        warnings=_warnings(answers, diverged, leader, election_timeout_us, genesis, place),
        epoch=0 if told is None else told.epoch,
        n=0 if told is None else len(told.nodes),
        faults=told.faults if told is not None and lies else None,
        quorum=None if told is None else told.quorum,
        primary=leader.node if leader is not None and lies else None,
        view=(term if leader is None else leader.term) if lies else None,
        proposed=proposals_of(answers) if lies else (),
        incarnation="" if recovered is None else recovered.incarnation,
        recovered=recovered,
        decides=_decides(answers, told, leader, lies),
        floor=_floor(told, leader, lies),
        out=out_told(answers) if lies else seats_told(leader),
    )


def _decides(
    answers: Answers, told: CommitteeTold | None, leader: NodeStatus | None, lies: bool
) -> Decides | None:
    """By the word of most where members may lie, else of the leader, or of who knows the newest epoch."""
    if told is not None and lies:
        return decides_of(told.epoch, told.writes, told.writes)
    newest = leader or max(answering_nodes(answers), key=lambda each: each.epoch, default=None)
    return None if newest is None else decides_by(newest)


def _floor(told: CommitteeTold | None, leader: NodeStatus | None, lies: bool) -> int | None:
    if lies:
        return None if told is None else nodes_needed(told.faults, "byzantine")
    return None if leader is None else leader.floor


def _facts(status: NodeStatus) -> dict[str, Any]:
    """What a node says, with the names that its model has for it."""
    facts: dict[str, Any] = msgspec.to_builtins(status)
    return facts | {"view": status.term, "primary": status.leader} if status.model == "byzantine" else facts


def _warnings(
    answers: Answers,
    diverged: list[str],
    leader: NodeStatus | None,
    election_timeout_us: int,
    genesis: Path,
    place: Place | None,
) -> list[str]:
    found = [f"{silence.node} is unreachable: {silence.reason}" for silence in silent(answers)]
    found += [f"{one.node} runs, and does not tell: {one.reason}" for one in discreet(answers)]
    found += [f"{node} has diverged: its state differs from a quorum's, do not trust it" for node in diverged]
    found += lies_told(answers, genesis)
    found += unlinked_warnings(answers) + participation_warnings(answers) if may_lie(answers, place) else []
    if leader is None and not discreet(answers):
        needed = needed_text(answers, place)
        until = "those who vote agree on one" if quorum_runs(answers) else "a quorum of the nodes runs"
        missing = ", ".join(silence.node for silence in silent(answers))
        lost = lost_text(answers, place) if missing and not quorum_runs(answers) else ""
        found.append(
            f"no {orderer(answers, place)} answers: nothing can be decided until {until}"
            f"{f' ({needed}, {len(answering_nodes(answers))} of {len(answers)} answer)' if needed else ''}"
            f"{f'; missing {missing}' if missing else ''}{f'. {lost}' if lost else ''}"
        )
    if leader is not None and leader.policy_waits:
        found.append(f"the policy {leader.policy} wants a change, which waits: {leader.policy_waits}")
    for status in answering_nodes(answers):
        if status.sync_p99_us > election_timeout_us / 10:
            found.append(
                f"{status.node} syncs its disk in {status.sync_p99_us / 1000:.1f} ms (p99), more than a tenth of "
                f"the election timeout of {election_timeout_us / 1000:.0f} ms: elections may fail. Use a faster "
                "disk, or raise election_timeout"
            )
        if not status.may_vote and status.node in status.members:
            until = "a quorum has told it their views" if may_lie(answers) else "a leader has confirmed its log"
            found.append(f"{status.node} may not vote until {until}")
        if status.no_space:
            found.append(
                f"{status.node} has no space left on its disk: it stores nothing new and acknowledges nothing. "
                "Free some; it goes on by itself"
            )
        if status.blocked:
            found.append(f"{status.node} has its links to {', '.join(status.blocked)} cut by a drill")
    return found


@command("status", "quorum status --watch")
@CONFIG
@click.option("--watch", is_flag=True, help="Go on showing it, until Ctrl-C.")
@seconds_option("--interval", 1.0, "Seconds between two looks.")
def status(config: Path | None, watch: bool, interval: float, as_json: bool) -> None:
    """Show every node of a cluster as it sees itself.

    Exit 1 when no leader answers, or a node's state differs from the others'.
    """
    if watch and as_json:
        raise click.UsageError("--watch shows a live view, and --json prints one object. Use one of them.")
    path = find_config(config)
    place, timeout_us = at_config(path), load_cluster(path).timing.election_timeout_us
    genesis = path.absolute().parent / GENESIS_FILE
    if watch:
        with suppress(KeyboardInterrupt):
            asyncio.run(_watch(place, timeout_us, genesis, max(INTERVAL_S_MIN, interval)))
        return
    overview = overview_of(asyncio.run(ask_all(place)), timeout_us, genesis, place)
    if as_json:
        print_json(overview)
    else:
        _draw(overview)
    if not overview.healthy:
        raise AnswerNo


async def _watch(place: Place, timeout_us: int, genesis: Path, interval_s: float) -> None:
    from rich.console import Console, Group
    from rich.live import Live

    while not Console().is_terminal:
        _draw(overview_of(await ask_all(place), timeout_us, genesis, place))
        await asyncio.sleep(interval_s)
    with Live(console=Console(markup=False), auto_refresh=False, screen=False) as live:
        while True:
            overview = overview_of(await ask_all(place), timeout_us, genesis, place)
            warnings = [f"warning: {text}" for text in overview.warnings]
            proposed = [plain(each.line(overview.quorum)) for each in overview.proposed]
            out = [each.line() for each in overview.out]
            live.update(Group(_headline(overview), _table(overview), *out, *proposed, *warnings), refresh=True)
            await asyncio.sleep(interval_s)


def _draw(overview: Overview) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = max(console.width, PLAIN_WIDTH)
    console.print(_headline(overview), soft_wrap=True)
    console.print(_table(overview))
    for gone in overview.out:
        click.echo(gone.line())
    for each in overview.proposed:
        click.echo(plain(each.line(overview.quorum)))
    if overview.recovered is not None:
        click.echo(plain(recovered_line(overview.recovered)))
    for text in overview.warnings:
        click.echo(f"warning: {text}", err=True)


def _headline(overview: Overview) -> str:
    if not overview.cluster:
        some_run = any(node["reachable"] for node in overview.nodes.values())
        return "no node tells this client how it is" if some_run else "no node answers"
    whole = f"cluster {overview.cluster}, model {overview.model}, policy {overview.policy}: "
    committed = f"committed {overview.commit_index}"
    decides = overview.decides
    if not overview.may_lie:
        epoch = f"epoch {overview.epoch}" if decides is None else decides.line()
        return f"{whole}{epoch}; leader {overview.leader or 'unknown'} in term {overview.term}, {committed}"
    quorum = "quorum by cluster.toml" if decides is None else decides.quorum_text()
    committee = f"epoch {overview.epoch}, N {overview.n}, T {overview.faults}, {quorum}"
    if overview.policy == "adaptive":
        committee += f", floor {overview.floor}"
    return f"{whole}{committee}; primary {overview.primary or 'unknown'} in view {overview.view}, {committed}"


def _role(node: dict[str, Any]) -> str:
    """A node that may lie and has no vote keeps silent: people know it as a learner."""
    follows = node["model"] == "byzantine" and node["node"] not in node["voters"]
    return "learner" if follows else str(node["role"])


def _table(overview: Overview) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in COLUMNS:
        justify: Literal["left", "right"] = "left" if column in ("node", "role", "leader") else "right"
        shown = OF_LIARS.get(column, column) if overview.may_lie else column
        table.add_column(shown, justify=justify, no_wrap=True)
    for name, node in overview.nodes.items():
        if "role" not in node:
            table.add_row(name, "not told" if node["reachable"] else "unreachable")
            continue
        table.add_row(
            name,
            "DIVERGED"
            if any(name in other.get("diverged", ()) for other in overview.nodes.values())
            else _role(node),
            str(node["term"]),
            node["leader"] or "-",
            str(node["applied_index"]),
            str(node["lag"]),
            f"{len(set(node['connected']) & set(overview.nodes))}/{len(overview.nodes) - 1}",
            f"{node['memory_bytes'] / 1e6:.0f} MB",
            f"{node['sync_p50_us'] / 1000:.1f}/{node['sync_p99_us'] / 1000:.1f}",
        )
    return table
