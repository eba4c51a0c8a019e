"""`quorum approve`: what operators of a committee that may lie say together, and no leader for them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path

import click
import msgspec

from quorum.certificate.committee import Committee, Member, check_committee
from quorum.console.approval_asked import POLL_S, Word, acts, tell_all
from quorum.console.approval_checks import (
    acts_already,
    approving,
    are_quorum,
    check_faults,
    check_named,
    check_newcomers,
    needed,
)
from quorum.console.changing import DRY_RUN
from quorum.console.command import CONFIG, AnswerNo, command, print_json, seconds_option
from quorum.console.inquiry import Answers, ask_all, refuse_discretion
from quorum.console.present import Present, present_of
from quorum.errors import ConfigurationError
from quorum.runtime.config import ClusterConfig, find_config, load_cluster
from quorum.runtime.connect import at_config
from quorum.runtime.keyring import load_public_keys
from quorum.runtime.newest_committee import newest_committee
from quorum.runtime.place import Place
from quorum.runtime.setup import KEYS_FOLDER
from quorum.runtime.status import NodeStatus


class Approval(msgspec.Struct, frozen=True):
    """`approved` and `refused` (with the reason) by member; `in_force`: the committee acts, `already` before
    anybody was asked. `noted`: all that were asked keep the approval, and a quorum is yet to come: `known` are
    those that are known to approve, `needed` so many are enough (None: no number, or not known). `silent` did not
    answer, and are in `refused`, too. `planned`: nobody was asked, and nothing speaks against it."""

    epoch: int
    members: tuple[str, ...]
    faults: int
    approved: tuple[str, ...]
    refused: dict[str, str]
    in_force: bool
    already: bool = False
    noted: bool = False
    known: tuple[str, ...] = ()
    needed: int | None = None
    silent: tuple[str, ...] = ()
    planned: bool = False


@command("approve", "quorum approve n1 n2 n3 n4")
@click.argument("nodes", nargs=-1, required=True)
@click.option("--faults", type=int, help="Liars to be tolerated (T).  [default: as many as the members allow]")
@click.option("--force", is_flag=True, help="Also of a new member that is out of reach, or far behind.")
@click.option("--at", multiple=True, metavar="NODE", help="Only for this member; may be repeated.  [default: all]")
@CONFIG
@seconds_option("--timeout", 30.0, "Seconds until the committee must act.")
@DRY_RUN
def approve(
    nodes: tuple[str, ...],
    faults: int | None,
    force: bool,
    at: tuple[str, ...],
    config: Path | None,
    timeout: float,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Approve of the next committee, where members may lie: NODES.

    Each member takes the word of its own operator: whoever may speak for one alone names it by --at. The committee
    changes once a quorum of the present one has approved of the same. Exit 1 if it does not act in time; with
    --at, if a member named there refuses. Fewer liars than now are tolerated only where --faults says so.
    """
    path = find_config(config)
    done = asyncio.run(_approve(path, load_cluster(path), nodes, faults, at, timeout, force, dry_run))
    if as_json:
        print_json(done)
    else:
        _show(done)
    if not (done.in_force or done.noted or done.planned):
        raise AnswerNo


async def _approve(
    path: Path,
    cluster: ClusterConfig,
    nodes: tuple[str, ...],
    faults: int | None,
    at: tuple[str, ...],
    timeout_s: float,
    force: bool = False,
    dry_run: bool = False,
) -> Approval:
    place = at_config(path)
    check_named(nodes, at, place.endpoints)
    committee = await _committee(path, cluster, place, nodes, faults)
    present = present_of(await ask_all(place), cluster, await newest_committee(place))
    if present is not None:
        if acts_already(present, committee, cluster.writes):
            return Approval(present.epoch, committee.nodes, committee.faults, (), {}, True, already=True)
        check_faults(present, committee, faults)
        if not force:
            await check_newcomers(place, present, committee, timeout_s)
    if dry_run:
        return Approval(committee.epoch, committee.nodes, committee.faults, (), {}, False, planned=True)
    began = asyncio.get_running_loop().time()
    word = await tell_all(place, at or tuple(place.endpoints), committee, present, timeout_s)
    left_s = max(0.0, began + timeout_s - asyncio.get_running_loop().time())
    if at and word.approved and present is not None:
        return await _after(place, committee, present, word, left_s)
    in_force = await acts(place, committee, left_s if word.approved else 0.0)
    approved = word.approved
    if in_force:
        word = word.but_for(await _still_refused(place, committee, present, word.refused))
    return Approval(
        committee.epoch, committee.nodes, committee.faults, approved, word.refused, in_force, silent=word.silent
    )


async def _after(
    place: Place,
    committee: Committee,
    present: Present,
    word: Word,
    timeout_s: float,
) -> Approval:
    """What came of the word of some members: it waits for others, or a quorum has approved and the change
    comes."""
    approved = word.approved
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        in_force = await acts(place, committee, 0.0)
        known = tuple(sorted({*approving(await ask_all(place), present, committee), *approved}))
        is_enough = are_quorum(present, known)
        if in_force or not is_enough or asyncio.get_running_loop().time() >= deadline:
            break
        await asyncio.sleep(POLL_S)
    if in_force:
        word = word.but_for(await _still_refused(place, committee, present, word.refused))
    return Approval(
        committee.epoch,
        committee.nodes,
        committee.faults,
        approved,
        word.refused,
        in_force,
        noted=not (in_force or is_enough or word.refused),
        known=known,
        needed=needed(present),
        silent=word.silent,
    )


async def _still_refused(
    place: Place, committee: Committee, present: Present | None, refused: dict[str, str]
) -> dict[str, str]:
    """The change was decided meanwhile: a member that had no need of its operator's word, as it follows, refused
    nothing."""
    answers = await ask_all(place)
    name = committee.membership_hash.hex()
    acting = {node for node, each in answers.items() if isinstance(each, NodeStatus) and each.committee == name}
    had_vote = set(refused) if present is None else set(present.nodes)
    return {node: reason for node, reason in refused.items() if node not in acting & had_vote}


async def _committee(
    path: Path, cluster: ClusterConfig, place: Place, nodes: tuple[str, ...], faults: int | None
) -> Committee:
    """The next committee, with keys from the list. Raises ConfigurationError."""
    if cluster.model != "byzantine":
        raise ConfigurationError(
            f"a next committee was wanted for {cluster.cluster_id}, but it is of crash mode, where the leader "
            "changes the members. Use quorum admit and quorum evict."
        )
    proven = await newest_committee(place)
    # A member that was readmitted votes with a key that it made itself, which is in no list.
    known = load_public_keys(path.parent / KEYS_FOLDER) | proven.keys
    members = []
    for node in sorted(set(nodes)):
        weight = cluster.member(node).weight
        if node not in known:
            raise ConfigurationError(
                f"{node} was to be in the next committee, but {path.parent / KEYS_FOLDER} has no signing key of "
                "it. Copy signing-keys.json from where its key was made."
            )
        members.append(Member(node, known[node], weight))
    answers = await ask_all(place)
    refuse_discretion(answers)
    epoch = newest_epoch(answers, proven.nodes, proven.faults)
    may_lie = (len(members) - 1) // 3 if faults is None else faults
    committee = Committee(cluster.cluster_id, epoch + 1, tuple(members), may_lie)
    check_committee(committee)
    return committee


def newest_epoch(answers: Answers, proven: Collection[str], faults: int) -> int:
    """The highest epoch that more than `faults` of the newest `proven` committee say they have reached, so that
    one honest member has. Raises ConfigurationError where no more than that answer."""
    found = [answer.epoch for node, answer in answers.items() if node in proven and isinstance(answer, NodeStatus)]
    if len(found) <= faults:
        raise ConfigurationError(
            f"the epoch of the committee was asked for, but {len(found)} of its members say theirs, and "
            f"{faults + 1} are needed where {faults} may lie. Look whether they run."
        )
    return sorted(found, reverse=True)[faults]


def _show(done: Approval) -> None:
    click.echo(f"epoch {done.epoch}: {', '.join(done.members)}, of which {done.faults} may lie")
    if done.already:
        click.echo("the committee acts already")
        return
    if done.planned:
        click.echo("nobody was asked; nothing speaks against it, as far as the members tell")
        return
    silent = f"; no answer from {', '.join(done.silent)}" if done.silent else ""
    click.echo(f"{'noted' if done.noted else 'approved'} at {', '.join(done.approved) or 'no member'}{silent}")
    for node, reason in sorted(done.refused.items()):
        click.echo(f"  {reason}" if reason.startswith(f"{node} ") else f"  {node}: {reason}")
    if done.in_force:
        click.echo("the committee acts")
    elif done.needed is not None:
        click.echo(f"{len(done.known)} of {done.needed} needed have approved")
    else:
        click.echo("the present committee goes on: no quorum has approved yet")
