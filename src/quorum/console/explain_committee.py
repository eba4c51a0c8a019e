"""Why a member that may lie votes or not: what the members say together, as none of them is believed alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from quorum.console.command import plain
from quorum.console.committee_told import committee_told
from quorum.console.decides import Decides, decides_of
from quorum.console.inquiry import Answers, answering, ask_all, refuse_discretion, silent
from quorum.console.participation_told import out_told, participation_warnings
from quorum.console.told import moment, most
from quorum.errors import ConfigurationError, NoQuorum
from quorum.model import NodeId, nodes_needed
from quorum.runtime.connect import at_config


def answers_of(path: Path) -> Answers:
    """What every node says. Raises NoQuorum where none answers, RequestRefused where they tell only an admin."""
    answers = asyncio.run(ask_all(at_config(path)))
    refuse_discretion(answers)
    if not answering(answers):
        raise NoQuorum(
            "the members were asked who votes and why, but none answers. Look which of them run: quorum status.",
            tuple(silence.node for silence in silent(answers)),
        )
    return answers


def explanation_of(answers: Answers, node: NodeId) -> dict[str, Any]:
    """What is known of one node, for programs; `text` is for people. Raises ConfigurationError for a stranger."""
    told = committee_told(answers)
    assert told is not None, "somebody answers"
    out = next((each for each in out_told(answers) if each.node == node), None)
    if node not in told.nodes and out is None and node not in answers:
        raise ConfigurationError(
            f"{node[:80]} was to be explained, but it is no node of this cluster. Nodes are "
            f"{', '.join(sorted({*told.nodes, *answers}))}."
        )
    by = complained_of_by(answers, node)
    since = "" if out is None else moment(out.since_us).isoformat(timespec="seconds")
    return {
        "node": node,
        "votes": node in told.nodes,
        "reason": "" if out is None else out.reason,
        "since": since,
        "since_epoch": None if out is None else out.epoch,
        "returns_in_us": None if out is None else out.returns_in_us,
        "complained_of_by": by,
        "needed": told.faults + 1,
        "told_by": () if out is None else out.told_by,
        "policy": most(each.policy for each in answering(answers)),
        "text": out.line() if out is not None else _of_member(node, node in told.nodes, by, told.faults + 1),
        "refused": refused_of(answers, node),
    }


def complained_of_by(answers: Answers, node: NodeId) -> tuple[NodeId, ...]:
    """Who complains of it, as anybody tells."""
    found = (by for status in answering(answers) for by in status.complaints.get(node, ()))
    return tuple(sorted(set(found)))


def refused_of(answers: Answers, node: NodeId) -> list[str]:
    """Why it stays although it should leave, or stays out although it may join, as members say."""
    heads = (f"{node} was to leave ", f"{node} was to join ")
    return sorted({plain(each.refused, 500) for each in answering(answers) if each.refused.startswith(heads)})


def _of_member(node: NodeId, votes: bool, by: tuple[NodeId, ...], needed: int) -> str:
    if not votes:
        return f"{plain(node)} follows and has no vote: no committee named it. quorum approve does, with it in it."
    if not by:
        return f"{plain(node)} votes, and nobody complains of it."
    return (
        f"{plain(node)} votes. {', '.join(map(plain, by))} complain that it is slow or gone; {needed} (T+1) have "
        "to before it can leave."
    )


def policy_of(answers: Answers) -> dict[str, Any]:
    """The policy, and what it makes of the members, for programs."""
    told = committee_told(answers)
    assert told is not None, "somebody answers"
    return {
        "policy": most(each.policy for each in answering(answers)),
        "floor": nodes_needed(told.faults, "byzantine"),
        "faults": told.faults,
        "quorum": told.quorum,
        "epoch": told.epoch,
        "voters": told.nodes,
        "decides": decides_of(told.epoch, told.writes, told.writes),
        "weighing": {status.node: status.weighing for status in answering(answers) if status.weighing},
        "out": out_told(answers),
        "explained": {node: explanation_of(answers, node)["text"] for node in told.nodes},
        "warnings": participation_warnings(answers),
    }


def policy_lines(facts: dict[str, Any]) -> list[str]:
    """The same for people."""
    decides = facts["decides"]
    quorum = f"quorum {facts['quorum']}" if decides is None else decides.quorum_text()
    return [
        f"policy {facts['policy']}, floor {facts['floor']} (3T+1), T {facts['faults']}, {quorum}, "
        f"epoch {facts['epoch']}",
        f"votes: {', '.join(_with_weight(node, decides) for node in facts['voters'])}",
        *_weighing_lines(facts["weighing"]),
        *(each.line() for each in facts["out"]),
        *facts["warnings"],
    ]


def _weighing_lines(weighing: dict[NodeId, str]) -> list[str]:
    """Who says the same says it in one line."""
    by: dict[str, list[NodeId]] = {}
    for node, why in weighing.items():
        by.setdefault(why, []).append(plain(node))
    return [
        f"weights follow the network, {', '.join(nodes)} {'say' if len(nodes) > 1 else 'says'}: {plain(why)}"
        for why, nodes in by.items()
    ]


def _with_weight(node: NodeId, decides: Decides | None) -> str:
    votes = 1 if decides is None else decides.votes.get(node, 1)
    return node if votes == 1 else f"{node} ({votes} votes)"
