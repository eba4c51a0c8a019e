"""`quorum policy show` and `quorum policy set`: how the committee follows who is well."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from quorum.console.changing import DRY_RUN, NOTHING, ask_leader, change_members, preview
from quorum.console.command import CONFIG, Group, command, print_json, seconds_option
from quorum.console.decides import decides_by
from quorum.console.modes import POLICY, crash_only
from quorum.membership.health import HELD
from quorum.membership.policy import POLICIES
from quorum.membership.reconfiguration import SetPolicy
from quorum.runtime.config import find_config, load_cluster
from quorum.runtime.connect import at_config
from quorum.runtime.status import NodeStatus


@click.group(cls=Group, epilog="Example: quorum policy set adaptive")
def policy() -> None:
    """Show or change how members are put out of the vote, and taken back."""


@command("show", "quorum policy show")
@CONFIG
@seconds_option("--timeout", 10.0, "Seconds to wait for a leader.")
def show(config: Path | None, timeout: float, as_json: bool) -> None:
    """Show the policy in force, the committee that it chose, and who is out and why."""
    path = find_config(config)
    if load_cluster(path).model == "byzantine":
        from quorum.console.explain_committee import answers_of, policy_lines, policy_of

        facts = policy_of(answers_of(path))
        if as_json:
            print_json(facts)
        else:
            click.echo("\n".join(policy_lines(facts)))
        return
    _tell(asyncio.run(ask_leader(at_config(path), timeout)), as_json)


@command("set", "quorum policy set participation --faults 2")
@click.argument("name", type=click.Choice(POLICIES))
@click.option("--floor", type=int, help="Never fewer voters than this; 3 or more.")
@click.option("--faults", type=int, help="T, for the participation policy: n = N-T+1 vote.")
@CONFIG
@seconds_option("--timeout", 60.0, "Seconds until the change must be done.")
@DRY_RUN
def set_policy(
    name: str,
    floor: int | None,
    faults: int | None,
    config: Path | None,
    timeout: float,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Let another policy choose who votes. It is an entry in the log, and holds for every later leader.

    fixed: nobody is put in or out without a command. adaptive: all who are well vote, with an odd number of votes,
    never fewer than the floor. participation: n = N-T+1 vote, and standbys replace who is lost. custom: the
    function in cluster.toml.
    """
    path = crash_only(config, "another policy was asked for", POLICY)
    change = SetPolicy(name, floor, faults)
    if dry_run:
        preview(path, change, timeout, as_json)
        return
    leader, changed = change_members(path, change, timeout)
    if as_json:
        print_json(told(leader) | {"changed": changed})
        return
    if not changed:
        click.echo(f"{NOTHING}: that policy is in force already")
    _tell(leader, as_json)


policy.add_command(show)
policy.add_command(set_policy)


def told(leader: NodeStatus) -> dict[str, Any]:
    """The policy and what it makes of the members, as the leader sees it."""
    out = {node: seat for node, seat in leader.seats.items() if seat.reason}
    return {
        "policy": leader.policy,
        "floor": leader.floor,
        "faults": leader.tolerated,
        "epoch": leader.epoch,
        "voters": leader.voters,
        "standbys": [node for node in leader.learners if node not in out or out[node].reason != HELD],
        "out": {
            node: {"reason": seat.reason, "since_us": seat.since_us, "flaps": seat.flaps}
            for node, seat in out.items()
        },
        "reads": leader.reads,
        "writes": leader.writes,
        "decides": decides_by(leader),
        "waits": leader.policy_waits,
        "weighing": leader.weighing,
        "explained": leader.explained,
    }


def _tell(leader: NodeStatus, as_json: bool) -> None:
    facts = told(leader)
    if as_json:
        print_json(facts)
        return
    click.echo(f"policy {leader.policy}, floor {leader.floor}, T {leader.tolerated}, epoch {leader.epoch}")
    decides = facts["decides"]
    if decides is not None:
        click.echo(decides.line())
    click.echo(f"votes: {', '.join(leader.voters)}; elect {leader.reads}, commit {leader.writes}")
    for node, text in leader.explained.items():
        if node not in leader.voters or "badly seen" in text:
            click.echo(text)
    if leader.policy_waits:
        click.echo(f"waits: {leader.policy_waits}")
    if leader.weighing:
        click.echo(f"weights follow the network: {leader.weighing}")
