"""`quorum explain NODE`: why a member is in or out of the vote, since when, and what would change that."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from quorum.console.changing import ask_leader
from quorum.console.command import CONFIG, command, print_json, seconds_option
from quorum.console.told import moment
from quorum.errors import ConfigurationError
from quorum.runtime.config import find_config, load_cluster
from quorum.runtime.connect import at_config
from quorum.runtime.status import NodeStatus


@command("explain", "quorum explain n5")
@click.argument("node")
@CONFIG
@seconds_option("--timeout", 10.0, "Seconds to wait for a leader.")
def explain(node: str, config: Path | None, timeout: float, as_json: bool) -> None:
    """Say why a member votes or not, since when, and what would change that: as the leader sees it, and where
    members may lie, as they say together."""
    path = find_config(config)
    if load_cluster(path).model == "byzantine":
        _of_committee(path, node, as_json)
        return
    leader = asyncio.run(ask_leader(at_config(path), timeout))
    if node not in leader.members:
        raise ConfigurationError(
            f"{node[:80]} was to be explained, but it is no member. Members are {', '.join(leader.members)}."
        )
    facts = facts_of(leader, node)
    if as_json:
        print_json(facts)
        return
    click.echo(facts["text"])
    if facts["since"]:
        click.echo(f"recorded at {facts['since']}, in the configuration of epoch {leader.epoch} or before")
    if leader.policy == "fixed":
        click.echo(
            "the policy is fixed: whatever is seen, only an operator puts it in or out (quorum promote, demote)"
        )
    elif leader.policy_waits:
        click.echo(f"the policy wants a change, which waits: {leader.policy_waits}")


def _of_committee(path: Path, node: str, as_json: bool) -> None:
    from quorum.console.explain_committee import answers_of, explanation_of

    facts = explanation_of(answers_of(path), node)
    if as_json:
        print_json(facts)
        return
    click.echo("\n".join((facts["text"], *facts["refused"])))
    if facts["policy"] == "fixed":
        click.echo("the policy is fixed: whatever is seen, only its operators put it in or out (quorum approve)")


def facts_of(leader: NodeStatus, node: str) -> dict[str, Any]:
    """What is known of one member."""
    seat = leader.seats.get(node)
    votes = node in leader.voters or node in leader.witnesses
    since = "" if seat is None or not seat.since_us else moment(seat.since_us).isoformat(timespec="seconds")
    return {
        "node": node,
        "votes": votes,
        "reason": "" if seat is None or votes else seat.reason,
        "since": since,
        "flaps": 0 if seat is None else seat.flaps,
        "health": leader.health.get(node, ""),
        "policy": leader.policy,
        "waits": leader.policy_waits,
        "text": leader.explained.get(node) or f"{node} {'votes' if votes else 'has no vote'}.",
    }
