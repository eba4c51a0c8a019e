"""`quorum members` where members may lie: who votes, who only follows, and how far each is by its own word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import click

from quorum.console.command import print_json
from quorum.console.committee_told import CommitteeTold
from quorum.console.decides import decides_of
from quorum.console.inquiry import Answers, Silence
from quorum.console.present import Present
from quorum.model import NodeId
from quorum.runtime.status import NodeStatus

IN_STEP_BLOCKS = 100
"""A node that lacks fewer blocks than this is in step: they are on their way."""
COLUMNS = ("node", "role", "votes", "address", "behind", "state")
PLAIN_WIDTH = 500


def rows_of(
    answers: Answers,
    present: Present,
    primary: NodeStatus,
    first: frozenset[NodeId],
    endpoints: Mapping[NodeId, str],
) -> list[dict[str, Any]]:
    """One row for each member and each node that follows without a vote: those of the `first` committee that have
    none any more are "departed", the others "learner"."""
    decided = sorted((each.commit_index for each in present.those_of(answers)), reverse=True)
    goal = decided[present.faults] if len(decided) > present.faults else primary.commit_index
    rows = []
    for node in sorted({*present.nodes, *endpoints}):
        votes = node in present.nodes
        answer = answers.get(node, Silence(node, "its address is not known"))
        behind = max(0, goal - answer.applied_index) if isinstance(answer, NodeStatus) else None
        rows.append(
            {
                "node": node,
                "role": "voter" if votes else "departed" if node in first else "learner",
                "leads": node == primary.node,
                "votes": primary.weights.get(node, 1) if votes else 0,
                "priority": 0,
                "address": endpoints.get(node, ""),
                "behind": behind,
                "state": _state(answer, node, behind, present, answers),
            }
        )
    return rows


def _state(
    answer: NodeStatus | Silence, node: NodeId, behind: int | None, present: Present, answers: Answers
) -> str:
    acting = present.those_of(answers)
    if any(node in each.accused for each in acting):
        return "LIED"
    if sum(node in each.diverged for each in acting) > present.faults:
        return "DIVERGED"
    if isinstance(answer, Silence):
        return "not told" if answer.is_discreet else "unreachable"
    if sum(node not in each.connected for each in acting if each.node != node) > present.faults:
        return "not linked"
    return "in step" if behind is not None and behind < IN_STEP_BLOCKS else "catching up"


def show(cluster: str, rows: list[dict[str, Any]], present: Present, primary: NodeStatus, as_json: bool) -> None:
    """Print the members, for people or for programs."""
    told = CommitteeTold(present.epoch, present.nodes, present.faults, present.writes)
    if as_json:
        facts = {"cluster": cluster, "leader": primary.node, "term": primary.term, **told.facts()}
        facts |= {"primary": primary.node, "view": primary.term}
        facts |= {"decides": decides_of(present.epoch, present.writes, present.writes)}
        print_json(facts | {"reads": present.writes, "writes": present.writes, "members": rows})
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in COLUMNS:
        justify: Literal["left", "right"] = "right" if column in ("votes", "behind") else "left"
        table.add_column(column, justify=justify, no_wrap=column != "address", overflow="fold")
    for row in rows:
        name = f"{row['node']} (primary)" if row["leads"] else row["node"]
        behind = "-" if row["behind"] is None else str(row["behind"])
        table.add_row(name, row["role"], str(row["votes"]), row["address"], behind, row["state"])
    click.echo(f"cluster {cluster}, {told.line()}, primary {primary.node} in view {primary.term}")
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    console.print(table)
    if any(row["role"] == "learner" for row in rows):
        click.echo("a learner follows, and votes once `quorum approve` names a committee with it")
