"""Who lied, by the word of which nodes, and how anybody verifies that: the word of one node proves nothing."""

from __future__ import annotations

import shlex
from pathlib import Path

from quorum.console.command import plain
from quorum.console.inquiry import Answers
from quorum.model import NodeId
from quorum.runtime.status import NodeStatus

PATH_CHARS_MAX = 500


def lies_told(answers: Answers, genesis: Path) -> list[str]:
    """One line for each member that nodes say they can prove to have lied: who has the proof, where, and the
    command that verifies it by the committee in `genesis`. Whose word it is, is who was asked."""
    proofs: dict[NodeId, dict[NodeId, str]] = {}
    for node, answer in sorted(answers.items()):
        if not isinstance(answer, NodeStatus):
            continue
        for liar in answer.accused:
            proofs.setdefault(liar, {})[node] = answer.evidence.get(liar, "")
    return [_line(plain(liar), by_node, genesis) for liar, by_node in sorted(proofs.items())]


def _line(liar: NodeId, by_node: dict[NodeId, str], genesis: Path) -> str:
    """Of several that have a proof, the first that tells where."""
    node = next((node for node, path in by_node.items() if path), min(by_node))
    holders = ", ".join(by_node)
    if not by_node[node]:
        return f"{liar} lied: the proof is in the data folder of {holders}"
    path = plain(by_node[node], PATH_CHARS_MAX)
    command = f"quorum verify {shlex.quote(path)} --genesis {shlex.quote(str(genesis))}"
    return f"{liar} lied: {holders} can prove it. On {node} the proof is {path}; verify it: {command}"
