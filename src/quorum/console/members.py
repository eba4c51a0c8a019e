"""`quorum members`, `admit`, `evict`, `promote`, `demote`, `prefer`, `quorums` and `transfer`: who takes part."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

import click

from quorum.console import committee_members
from quorum.console.changing import (
    DRY_RUN,
    NOTHING,
    RETRY_S,
    Outcome,
    ask_leader,
    at_leader,
    change_members,
    preview,
)
from quorum.console.command import CONFIG, command, plain, print_json, seconds_option
from quorum.console.decides import decides_by
from quorum.console.followers import add_follower, evict_followers, runs_here, strike_out
from quorum.console.inquiry import (
    Answers,
    ask_all,
    no_quorum,
)
from quorum.console.modes import COMMITTEE, PRIMARY, QUORUMS, crash_only
from quorum.console.present import present_of
from quorum.console.recovered import recovered_line
from quorum.errors import ConfigurationError, OutcomeUnknown, RequestRefused
from quorum.membership.health import HELD, NEW, SPARE
from quorum.membership.reconfiguration import (
    Admit,
    Change,
    Demote,
    Evict,
    Promote,
    Replace,
    Role,
    SetPriority,
    SetQuorums,
)
from quorum.runtime.byzantine_config import voters_of
from quorum.runtime.config import ClusterConfig, find_config, load_cluster
from quorum.runtime.connect import at_config
from quorum.runtime.enrol import add_member
from quorum.runtime.local import LocalCluster
from quorum.runtime.place import Place
from quorum.runtime.setup import NODE_FILE
from quorum.runtime.status import NodeStatus
from quorum.systems.expression import parse

PLAIN_WIDTH = 500
"""Of a table that nobody sees in a terminal: nothing in it is cut."""
DRY_ELSEWHERE = (
    "a dry run was asked for, but where members may lie this writes cluster.toml alone, and changes no vote. "
    "Leave --dry-run out; what a quorum of operators is to decide is shown by quorum status before it is."
)
AdmittedRole = Role | Literal["standby"]
IN_STEP_ENTRIES = 100
"""A member that lacks fewer entries than this is in step: they are on their way."""

_TIMEOUT = seconds_option("--timeout", 60.0, "Seconds until the change must be done.")


# Looking.


@command("members", "quorum members")
@CONFIG
@seconds_option("--timeout", 10.0, "Seconds to wait for a leader.")
def members(config: Path | None, timeout: float, as_json: bool) -> None:
    """Show who takes part, in which role, and how far each is.

    As the leader sees it. Where members may lie, as more of them than may lie see it; nodes that were admitted and
    have no vote yet are shown, too.
    """
    path = find_config(config)
    place, cluster = at_config(path), load_cluster(path)
    if cluster.model == "byzantine":
        _show_committee(place, cluster, timeout, as_json)
        return
    _show(asyncio.run(ask_leader(place, timeout)), as_json)


def _show_committee(place: Place, cluster: ClusterConfig, timeout: float, as_json: bool) -> None:
    async def ask() -> tuple[NodeStatus, Answers]:
        return await ask_leader(place, timeout), await ask_all(place)

    primary, answers = asyncio.run(ask())
    present = present_of(answers, cluster)
    if present is None:
        raise no_quorum(answers, place)
    first = frozenset(member.id for member in voters_of(cluster))
    rows = committee_members.rows_of(answers, present, primary, first, place.endpoints)
    committee_members.show(cluster.cluster_id, rows, present, primary, as_json)


def rows_of(leader: NodeStatus) -> list[dict[str, Any]]:
    """One row for each member: node, role, votes, priority, address, behind (entries), state."""
    deciding = parse(leader.writes).nodes
    rows = []
    for node in leader.members:
        matched = leader.last_index if node == leader.node else leader.matched.get(node, 0)
        behind = max(0, leader.last_index - matched)
        role = _role(leader, node)
        rows.append(
            {
                "node": node,
                "role": role,
                "leads": node == leader.node,
                "votes": leader.weights.get(node, 1) if node in deciding else 0,
                "priority": leader.priorities.get(node, 1) if role == "voter" else 0,
                "address": leader.addresses.get(node, ""),
                "behind": behind,
                "state": _state(leader, node, behind),
            }
        )
    return rows


def _role(leader: NodeStatus, node: str) -> str:
    roles = {"voter": leader.voters, "witness": leader.witnesses, "learner": leader.learners}
    role = next((role for role, nodes in roles.items() if node in nodes), "leaving")
    seat = leader.seats.get(node)
    is_held = leader.policy == "fixed" or (seat is not None and seat.reason == HELD)
    return "standby" if role == "learner" and not is_held else role


def _state(leader: NodeStatus, node: str, behind: int) -> str:
    if node in leader.diverged:
        return "DIVERGED"
    if node != leader.node and node not in leader.connected:
        return "unreachable"
    if node in leader.catching_up:
        return "catching up"
    seen = leader.health.get(node, "well")
    if seen not in ("well", HELD, NEW):
        return seen
    seat = leader.seats.get(node)
    if seat is not None and seat.reason == SPARE:
        return SPARE
    return "in step" if behind < IN_STEP_ENTRIES else "behind"


def _show(leader: NodeStatus, as_json: bool, done: str = "", changed: bool | None = None) -> None:
    """The members, below what was done; `changed` is told to programs where something was asked for."""
    rows, decides = rows_of(leader), decides_by(leader)
    if as_json:
        facts = {"cluster": leader.cluster, "epoch": leader.epoch, "leader": leader.node, "term": leader.term}
        facts |= {"incarnation": leader.incarnation, "recovered": leader.recovered}
        facts |= {"reads": leader.reads, "writes": leader.writes, "decides": decides}
        asked = {} if changed is None else {"changed": changed}
        print_json(facts | asked | {"members": rows})
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if done:
        click.echo(done)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("node", "role", "votes", "priority", "address", "behind", "state"):
        justify: Literal["left", "right"] = "right" if column in ("votes", "priority", "behind") else "left"
        table.add_column(column, justify=justify, no_wrap=column != "address", overflow="fold")
    for row in rows:
        name = f"{row['node']} (leader)" if row["leads"] else row["node"]
        table.add_row(
            name, *(str(row[key]) for key in ("role", "votes", "priority", "address", "behind", "state"))
        )
    epoch = f"epoch {leader.epoch}" if decides is None else decides.line()
    click.echo(f"cluster {leader.cluster}, {epoch}")
    click.echo(f"elect {leader.reads}, commit {leader.writes}")
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    console.print(table)
    if leader.recovered is not None:
        click.echo(plain(recovered_line(leader.recovered)))


def _show_outcome(outcome: Outcome, as_json: bool, done: str, already: str) -> None:
    _show(outcome.leader, as_json, outcome.told(done, already), outcome.changed)


# Changing.


@command("admit", "quorum admit n6")
@click.argument("node")
@CONFIG
@_TIMEOUT
@click.option(
    "--role",
    type=click.Choice(("voter", "standby", "learner", "witness")),
    help="What it may do; a standby votes when the policy wants it.  [default: voter, or as OLD]",
)
@click.option("--address", help='Where it listens, "host:port". A new local node: a free port.')
@click.option("--replace", "old", metavar="OLD", help="It takes the place of this member, in one change.")
@click.option("--start/--no-start", default=None, help="Start its process here. Usual where the others run here.")
@DRY_RUN
def admit(
    node: str,
    config: Path | None,
    timeout: float,
    role: AdmittedRole | None,
    address: str | None,
    old: str | None,
    start: bool | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Let a new node join: it stores the log first, and votes once it has caught up. Where members may lie it
    follows without a vote, until a quorum of members approves of a committee with it: quorum approve.

    A node that cluster.toml does not name is added to it, with a node.toml and keys. One that runs on another
    machine is started there by `quorum node --config NODE.toml --join`.
    """
    if old is not None and role is not None:
        raise click.UsageError(
            f"--role and --replace were given, but {node} takes the role of {old[:80]}. Leave --role out, or "
            "admit it without --replace and evict the other one."
        )
    path = find_config(config)
    before = load_cluster(path)
    if dry_run:
        _preview_admission(path, before, node, role, address, old, timeout, as_json)
        return
    if before.model == "byzantine":
        if role not in (None, "learner") or old is not None:
            raise ConfigurationError(
                f"{node} was to be admitted as {role or f'the one after {old}'}, but where members may lie a new "
                "node follows, until a quorum of members approves of a committee with it. Leave --role and "
                "--replace out."
            )
        add_follower(path, node, address, start, as_json)
        return
    known = {member.id: str(member.advertise) for member in before.members}
    if old is not None and old not in known:
        raise ConfigurationError(
            f"{node} was to replace {old[:80]}, but there is no such member. Name one that is."
        )
    if node not in known:
        new = "learner" if role == "standby" else role or "voter"
        kept = next((member.role for member in before.members if member.id == old), new)
        known = {m.id: str(m.advertise) for m in add_member(path, node, kept, address).members}
    _start(path, node, start)
    where = _where(path, node, address, known, timeout)
    change: Change = Admit(node, role or "voter", where) if old is None else Replace(old, node, where)
    outcome = change_members(path, change, timeout)
    if old is not None:
        strike_out(path, (old,))
    is_now = _role(outcome.leader, node)
    _show_outcome(outcome, as_json, f"{node} is a {is_now}", f"{node} is a {is_now} already")


def _start(path: Path, node: str, start: bool | None) -> None:
    """Start the process of a node that joins, where that is wanted and it does not run; else say how."""
    if start or (start is None and runs_here(path, node)):
        local = LocalCluster(path)
        if local.pid(node) is None:
            local.start(node, join=not local.nodes[node].has_run)
            local.let_go()
    else:
        click.echo(
            f"{node} is not started here. Unless it runs, start it on its machine, with these files and its keys: "
            f"quorum node --config {path.parent / node / NODE_FILE} --join",
            err=True,
        )


def _where(path: Path, node: str, address: str | None, known: dict[str, str], timeout: float) -> str:
    """The address to tell the leader; "" for a member that is where cluster.toml says: the log need not."""
    where = address or known[node]
    leader = asyncio.run(ask_leader(at_config(path), timeout))
    return "" if node in leader.members and leader.addresses.get(node) == where else where


def _preview_admission(
    path: Path,
    cluster: ClusterConfig,
    node: str,
    role: AdmittedRole | None,
    address: str | None,
    old: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """What the change would lead to; no file is written, and no address is looked for."""
    if cluster.model == "byzantine":
        raise ConfigurationError(DRY_ELSEWHERE)
    known = {node: "127.0.0.1:1"} | {member.id: str(member.advertise) for member in cluster.members}
    where = _where(path, node, address, known, timeout)
    preview(
        path, Admit(node, role or "voter", where) if old is None else Replace(old, node, where), timeout, as_json
    )


@command("evict", "quorum evict n5")
@click.argument("nodes", nargs=-1, required=True)
@CONFIG
@_TIMEOUT
@DRY_RUN
def evict(nodes: tuple[str, ...], config: Path | None, timeout: float, dry_run: bool, as_json: bool) -> None:
    """Take members out, all in one change; the leader may be among them.

    Their data stays; a process of theirs on this machine is stopped. Where members may lie, only nodes without a
    vote that are not of the first committee: quorum approve names those who vote.
    """
    path = find_config(config)
    if load_cluster(path).model == "byzantine":
        if dry_run:
            raise ConfigurationError(DRY_ELSEWHERE)
        evict_followers(path, nodes, as_json)
        return
    if dry_run:
        preview(path, Evict(nodes), timeout, as_json)
        return
    try:
        outcome = change_members(path, Evict(nodes), timeout)
    except RequestRefused:
        leader = asyncio.run(ask_leader(at_config(path), timeout))
        listed = {member.id for member in load_cluster(path).members}
        if set(nodes) & set(leader.members) or not set(nodes) <= listed:
            raise
        outcome = Outcome(leader, True)
        # They were evicted before, by a command that did not hear of it: the file is still to be put right.
    strike_out(path, nodes)
    _show_outcome(outcome, as_json, f"{', '.join(nodes)} evicted", "")


@command("promote", "quorum promote n6")
@click.argument("node")
@CONFIG
@_TIMEOUT
@DRY_RUN
def promote(node: str, config: Path | None, timeout: float, dry_run: bool, as_json: bool) -> None:
    """Let a learner vote, once it has caught up. In crash mode; where members may lie, quorum approve."""
    path = crash_only(config, f"{node[:80]} was to be promoted", COMMITTEE)
    if dry_run:
        preview(path, Promote(node), timeout, as_json)
        return
    outcome = change_members(path, Promote(node), timeout)
    _show_outcome(outcome, as_json, f"{node} is a voter", f"{node} is a voter already")


@command("demote", "quorum demote n5")
@click.argument("node")
@CONFIG
@_TIMEOUT
@DRY_RUN
def demote(node: str, config: Path | None, timeout: float, dry_run: bool, as_json: bool) -> None:
    """Take a member's vote; it goes on storing everything. In crash mode: elsewhere, quorum approve."""
    path = crash_only(config, f"{node[:80]} was to be demoted", COMMITTEE)
    if dry_run:
        preview(path, Demote(node), timeout, as_json)
        return
    outcome = change_members(path, Demote(node), timeout)
    _show_outcome(outcome, as_json, f"{node} is a learner", f"{node} is a learner already")


@command("prefer", "quorum prefer n1 5")
@click.argument("node")
@click.argument("priority", type=int)
@CONFIG
@_TIMEOUT
@DRY_RUN
def prefer(node: str, priority: int, config: Path | None, timeout: float, dry_run: bool, as_json: bool) -> None:
    """Say how much a voter is wanted as leader: 1 is usual, 0 means never. In crash mode."""
    path = crash_only(config, f"{node[:80]} was to be preferred as leader", PRIMARY)
    if dry_run:
        preview(path, SetPriority(node, priority), timeout, as_json)
        return
    outcome = change_members(path, SetPriority(node, priority), timeout)
    _show_outcome(outcome, as_json, f"{node} has priority {priority}", f"{node} has priority {priority} already")


@command("quorums", "quorum quorums --writes 'choose(2, n1, n2, n3, n4)' --reads 'choose(3, n1, n2, n3, n4)'")
@click.option(
    "--reads", default="", help="Which sets elect a leader; empty: the other side's dual, or the majority."
)
@click.option("--writes", default="", help="Which sets commit.")
@CONFIG
@_TIMEOUT
@DRY_RUN
def quorums(reads: str, writes: str, config: Path | None, timeout: float, dry_run: bool, as_json: bool) -> None:
    """Let other sets of members decide. In crash mode: where members may lie, quorums follow from N and T.

    A system whose quorums can miss each other is refused, with two that do.
    """
    path = crash_only(config, "other sets of members were to decide", QUORUMS)
    if dry_run:
        preview(path, SetQuorums(reads, writes), timeout, as_json)
        return
    outcome = change_members(path, SetQuorums(reads, writes), timeout)
    _show_outcome(outcome, as_json, "the quorums have changed", "these sets decide already")


@command("transfer", "quorum transfer n2")
@click.argument("node", required=False)
@CONFIG
@seconds_option("--timeout", 10.0, "Seconds until another node must lead.")
@DRY_RUN
def transfer(node: str | None, config: Path | None, timeout: float, dry_run: bool, as_json: bool) -> None:
    """Hand leadership to a node, or to the one that fits best. In crash mode.

    Exit 1 if it does not take over.
    """
    place = at_config(crash_only(config, "leadership was to be handed over", PRIMARY))
    if dry_run:
        _show_successor(asyncio.run(ask_leader(place, timeout)), node, as_json)
        return
    leader, changed = asyncio.run(_transfer(place, node, timeout))
    _show(leader, as_json, "" if changed else f"{NOTHING}: {leader.node} leads already", changed)


def _show_successor(leader: NodeStatus, node: str | None, as_json: bool) -> None:
    """Who would lead. Raises ConfigurationError for a node that may not."""
    if node == leader.node:
        if as_json:
            print_json({"changed": False, "leader": node, "would_lead": node, "behind": 0})
        else:
            click.echo(f"nothing was changed, and nothing would be: {node} leads already")
        return
    may = [other for other in leader.voters if other != leader.node and leader.priorities.get(other, 1) > 0]
    if not may or (node is not None and node not in may):
        who = f"{node[:80]} was" if node is not None else "another node was"
        raise ConfigurationError(
            f"{who} to lead, but beside {leader.node}, which leads, those who may are {', '.join(may) or 'none'}. "
            "Name one of them, or promote a member first."
        )
    best = max(may, key=lambda each: (leader.priorities.get(each, 1), leader.matched.get(each, 0)))
    chosen = best if node is None else node
    behind = max(0, leader.last_index - leader.matched.get(chosen, 0))
    if as_json:
        print_json({"changed": False, "leader": leader.node, "would_lead": chosen, "behind": behind})
    else:
        click.echo(f"nothing was changed; {chosen} would lead after {leader.node}, and lacks {behind} entries now")


async def _transfer(place: Place, node: str | None, timeout: float) -> Outcome:
    before = await ask_leader(place, timeout)
    if node == before.node:
        return Outcome(before, False)
    await at_leader(place, timeout, lambda connection: connection.transfer(node))
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        leader = await ask_leader(place, timeout)
        if leader.node == node or (node is None and leader.node != before.node):
            return Outcome(leader, True)
        if asyncio.get_running_loop().time() >= deadline:
            raise OutcomeUnknown(
                f"leadership was to move to {node or 'another node'}, but {leader.node} leads. See whether the "
                "node keeps up, then try again."
            )
        await asyncio.sleep(RETRY_S)
