"""What `quorum recover` would do, and what would be lost: in words, and for programs."""

from __future__ import annotations

from typing import Any

import click

from quorum.console.command import plain
from quorum.console.inquiry import Answers, silent
from quorum.membership.recovery import faults_borne
from quorum.membership.survivors import Assessment, Survivor
from quorum.runtime.config import ClusterConfig

PLAIN_WIDTH = 110


def plan_facts(
    cluster: ClusterConfig, assessment: Assessment, found: list[Survivor], answers: Answers, faults: int
) -> dict[str, Any]:
    """For programs: who is left, who goes on from where, what is not known to be decided, what may be lost, and
    the T of the new incarnation, of which the survivor alone bears `faults_borne`."""
    best = assessment.best
    return {
        "cluster": cluster.cluster_id,
        "incarnation": best.configuration.incarnation,
        "epoch": best.configuration.epoch,
        "survivor": best.node,
        "data": best.place,
        "term": best.last_term,
        "index": best.last_index,
        "known_committed": assessment.committed,
        "may_be_lost": not assessment.is_complete,
        "given_up": assessment.given_up,
        "faults": faults,
        "faults_borne": faults_borne(1, faults),
        "nodes": [
            {
                "node": each.node,
                "role": each.role,
                "place": each.place,
                "runs": each.runs,
                "incarnation": each.configuration.incarnation,
                "epoch": each.configuration.epoch,
                "term": each.last_term,
                "index": each.last_index,
                "known_committed": each.committed,
                "may_vote": each.may_vote,
                "usable": each.is_usable,
                "state": each.text,
            }
            for each in found
        ],
        "nothing_left": missing(assessment, found, answers),
        "told": sentences(assessment, faults),
    }


def missing(assessment: Assessment, found: list[Survivor], answers: Answers) -> dict[str, str]:
    """Members of whom nothing is left here, and why they do not answer."""
    reasons = {each.node: each.reason for each in silent(answers)}
    here = {each.node for each in found}
    members = assessment.best.configuration.members
    return {node: reasons.get(node, "is not known here") for node in members if node not in here}


def sentences(assessment: Assessment, faults: int) -> list[str]:
    """What goes on, what is kept, what may be lost, and how many losses are to be tolerated."""
    best, committed = assessment.best, assessment.committed
    told = [
        f"{best.node} is the most advanced that is left: its log ends with entry {best.last_index} of term "
        f"{best.last_term}."
    ]
    if committed < best.last_index:
        told.append(
            f"Kept: all of it. Entries {committed + 1} to {best.last_index} are not known to have been decided; "
            "they stay, since they may have been acknowledged."
        )
    else:
        told.append("Kept: all of it, and all of it was decided.")
    if assessment.is_complete:
        told.append("Lost: nothing that was acknowledged. Every quorum that commits has a member that is left.")
    else:
        told.append(
            f"May be lost: whatever was acknowledged after entry {best.last_index}. A quorum of members that are "
            "gone may have decided it, and nobody who is left can exclude that."
        )
    if not best.may_vote:
        told.append(f"{best.node} has a damaged end of its log: what was acknowledged there may be lost, too.")
    told.append(
        f"Given up for good: {', '.join(assessment.given_up) or 'nobody'}. They must not come back; nodes of the "
        f"new incarnation refuse them. {best.node} votes alone until others are admitted."
    )
    told.append(_faults_told(best.configuration.faults, faults))
    return told


def _faults_told(before: int, faults: int) -> str:
    """What becomes of T."""
    what = f"T stays {faults}" if faults == before else f"T becomes {faults}, and was {before}"
    if faults == 0:
        return f"{what}: no loss is tolerated on purpose. Give --faults T here, or later to quorum policy set."
    rule = "of one voter none may be lost, of three one"
    more = "" if faults == 1 else f", and {faults} once there are {2 * faults + 1}"
    return f"{what}, as far as those who are there bear it: {rule}{more}."


def draw_plan(
    cluster: ClusterConfig, assessment: Assessment, found: list[Survivor], answers: Answers, faults: int
) -> None:
    """For people: a table of the members, and the sentences."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    best = assessment.best
    n, epoch = len(best.configuration.members), best.configuration.epoch
    click.echo(f"cluster {cluster.cluster_id}, epoch {epoch}: of {n} members no quorum is left")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("node", "role", "term", "entry", "decided", "state"):
        right = column in ("term", "entry", "decided")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for each in found:
        name = f"{each.node} (goes on)" if each is best else each.node
        numbers = (str(each.last_term), str(each.last_index), str(each.committed))
        table.add_row(name, each.role or "none", *numbers, f"{each.text}, {each.place}")
    for node, reason in missing(assessment, found, answers).items():
        table.add_row(node, "", "", "", "", f"nothing is left: no data, no answer ({plain(reason)})")
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    console.print(table)
    for sentence in sentences(assessment, faults):
        click.echo(sentence)
