"""What the members that may lie say of their committee, as one line and as facts for programs."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from quorum.console.decides import decides_of
from quorum.console.inquiry import Answers, answering
from quorum.console.need import count_of
from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.systems.expression import parse

EXPRESSION_SHOWN_MAX = 120


class CommitteeTold(NamedTuple):
    """`faults` (T) of the `nodes` (N) may lie; `writes` are their quorums."""

    epoch: int
    nodes: tuple[NodeId, ...]
    faults: int
    writes: str

    @property
    def quorum(self) -> int | None:
        """How many members are a quorum; None where it matters which."""
        try:
            return count_of(parse(self.writes))
        except ConfigurationError:  # what no honest node says
            return None

    def line(self) -> str:
        """For people."""
        decides = decides_of(self.epoch, self.writes, self.writes)
        quorum = f"quorum {self.writes[:EXPRESSION_SHOWN_MAX]}"
        if decides is not None and decides.threshold is not None:
            quorum = decides.quorum_text()
        return f"epoch {self.epoch}, N {len(self.nodes)}, T {self.faults}, {quorum}"

    def facts(self) -> dict[str, Any]:
        """For programs."""
        return {"epoch": self.epoch, "n": len(self.nodes), "faults": self.faults, "quorum": self.quorum}


def committee_told(answers: Answers) -> CommitteeTold | None:
    """The committee that most of the nodes say acts, of two that are named as often the newer one; None where
    nobody answers."""
    told = Counter(CommitteeTold(one.epoch, one.voters, one.faults, one.writes) for one in answering(answers))
    return max(told, key=lambda committee: (told[committee], committee.epoch), default=None)


def unlinked_warnings(answers: Answers) -> list[str]:
    """Members that answer, but that more of the others than may lie have no link to: their votes do not arrive."""
    told = committee_told(answers)
    if told is None:
        return []
    members = [each for each in answering(answers) if each.node in told.nodes]
    found = []
    for member in members:
        without = sorted(each.node for each in members if each is not member and member.node not in each.connected)
        if len(without) > told.faults:
            found.append(
                f"{member.node} votes, but {', '.join(without)} have no link to it: restart them, one after "
                "another, with the cluster.toml that names it"
            )
    return found
