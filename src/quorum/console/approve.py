"""`quorum approve`: what operators of a committee that may lie say together, and no leader for them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path

import click
import msgspec

from quorum.certificate.committee import Committee, Member, check_committee
from quorum.certificate.genesis import encode_genesis
from quorum.console.command import AnswerNo, command, print_json, seconds_option
from quorum.console.inquiry import Answers, ask_all
from quorum.errors import ConfigurationError, QuorumError
from quorum.runtime.byzantine_config import members_dialled, tolerated
from quorum.runtime.config import ClusterConfig, find_config, load_cluster
from quorum.runtime.connect import Place, at_config
from quorum.runtime.keyring import load_public_keys
from quorum.runtime.setup import KEYS_FOLDER
from quorum.runtime.status import NodeStatus

POLL_S = 0.2


class Approval(msgspec.Struct, frozen=True):
    """`approved` and `refused` (with the reason) by member; `in_force`: the committee acts already."""

    epoch: int
    members: tuple[str, ...]
    faults: int
    approved: tuple[str, ...]
    refused: dict[str, str]
    in_force: bool


@command("approve", "quorum approve n1 n2 n3 n4")
@click.argument("nodes", nargs=-1, required=True)
@click.option("--faults", type=int, help="Liars to be tolerated (T).  [default: as many as the members allow]")
@click.option("--at", multiple=True, metavar="NODE", help="Only for this member; may be repeated.  [default: all]")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The cluster.toml. Else QUORUM_CONFIG, else .quorum/cluster.toml.",
)
@seconds_option("--timeout", 30.0, "Seconds until the committee must act.")
def approve(
    nodes: tuple[str, ...],
    faults: int | None,
    at: tuple[str, ...],
    config: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Approve of the next committee, where members may lie: NODES.

    Each member takes the word of its own operator: whoever may speak for one alone names it by --at. The committee
    changes once a quorum of the present one has approved of the same. Exit 1 if it does not act in time.
    """
    path = find_config(config)
    done = asyncio.run(_approve(path, load_cluster(path), nodes, faults, at, timeout))
    if as_json:
        print_json(done)
    else:
        _show(done)
    if not done.in_force:
        raise AnswerNo


async def _approve(
    path: Path,
    cluster: ClusterConfig,
    nodes: tuple[str, ...],
    faults: int | None,
    at: tuple[str, ...],
    timeout: float,
) -> Approval:
    place = at_config(path)
    committee = await _committee(path, cluster, place, nodes, faults)
    approved, refused = [], {}
    for node in at or tuple(place.endpoints):
        try:
            async with asyncio.timeout(timeout), place.node(node) as connection:
                await connection.approve(encode_genesis(committee))
            approved.append(node)
        except (TimeoutError, OSError, QuorumError) as error:
            refused[node] = str(error) or "does not answer"
    in_force = bool(approved) and await _acts(place, committee, timeout)
    return Approval(committee.epoch, committee.nodes, committee.faults, tuple(approved), refused, in_force)


async def _committee(
    path: Path, cluster: ClusterConfig, place: Place, nodes: tuple[str, ...], faults: int | None
) -> Committee:
    """The next committee, with keys from the list. Raises ConfigurationError."""
    if cluster.model != "byzantine":
        raise ConfigurationError(
            f"a next committee was wanted for {cluster.cluster_id}, but it is of crash mode, where the leader "
            "changes the members. Use quorum admit and quorum evict."
        )
    known = load_public_keys(path.parent / KEYS_FOLDER)
    members = []
    for node in sorted(set(nodes)):
        weight = cluster.member(node).weight
        if node not in known:
            raise ConfigurationError(
                f"{node} was to be in the next committee, but {path.parent / KEYS_FOLDER} has no signing key of "
                "it. Copy signing-keys.json from where its key was made."
            )
        members.append(Member(node, known[node], weight))
    epoch = newest_epoch(await ask_all(place), members_dialled(cluster), tolerated(cluster))
    may_lie = (len(members) - 1) // 3 if faults is None else faults
    committee = Committee(cluster.cluster_id, epoch + 1, tuple(members), may_lie)
    check_committee(committee)
    return committee


def newest_epoch(answers: Answers, first: Collection[str], faults: int) -> int:
    """The highest epoch that more than `faults` of the `first` committee say they have reached, so that one honest
    member has. Raises ConfigurationError where no more than that answer."""
    found = [answer.epoch for node, answer in answers.items() if node in first and isinstance(answer, NodeStatus)]
    if len(found) <= faults:
        raise ConfigurationError(
            f"the epoch of the committee was asked for, but {len(found)} members of the first one say theirs, and "
            f"{faults + 1} are needed where {faults} may lie. Look whether they run."
        )
    return sorted(found, reverse=True)[faults]


async def _acts(place: Place, committee: Committee, timeout: float) -> bool:
    """Whether more members than may lie say, in time, that they stand in the committee's epoch."""
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        if is_in_force(await ask_all(place), committee):
            return True
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(POLL_S)


def is_in_force(answers: Answers, committee: Committee) -> bool:
    """Whether more of the committee than may lie say that they stand in its epoch. Who answered is who was asked,
    whatever the answer says."""
    asked = [answers.get(node) for node in committee.nodes]
    there = [each for each in asked if isinstance(each, NodeStatus) and each.epoch == committee.epoch]
    return sum(each.voters == committee.nodes for each in there) > committee.faults


def _show(done: Approval) -> None:
    click.echo(f"epoch {done.epoch}: {', '.join(done.members)}, of which {done.faults} may lie")
    click.echo(f"approved at {', '.join(done.approved) or 'no member'}")
    for node, reason in sorted(done.refused.items()):
        click.echo(f"  {node}: {reason}")
    click.echo(
        "the committee acts" if done.in_force else "the present committee goes on: no quorum has approved yet"
    )
