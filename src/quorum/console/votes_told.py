"""Who votes now, how many of them decide, and what a change of that was: as lines for people."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from quorum.console.need import count_of
from quorum.errors import ConfigurationError
from quorum.membership.health import SPARE
from quorum.model import NodeId
from quorum.runtime.status import NodeStatus
from quorum.systems.expression import parse


class Votes(NamedTuple):
    """Who votes in an epoch. `quorum` of them decide; None where it matters which."""

    epoch: int
    voters: tuple[NodeId, ...]
    quorum: int | None

    def line(self, heard: Collection[NodeId]) -> str:
        """For people. Voters that the leader does not hear have a question mark."""
        names = " ".join(node if node in heard else f"{node}?" for node in self.voters)
        return f"epoch {self.epoch}: {names or 'nobody'} vote, quorum {self.quorum or '-'}"


def votes_of(status: NodeStatus) -> Votes:
    """Who votes, as one node says."""
    try:
        quorum = count_of(parse(status.writes))
    except ConfigurationError:  # what no honest node says
        quorum = None
    return Votes(status.epoch, tuple(sorted(status.voters)), quorum)


def moved(before: Votes, leader: NodeStatus) -> str:
    """What became of the voters since `before`; "" where the same vote."""
    now = votes_of(leader)
    out = [node for node in before.voters if node not in now.voters]
    said = [f"{node} {_left(leader, node)}" for node in out]
    said += [f"{node} votes again" for node in now.voters if node not in before.voters]
    if not said:
        return ""
    return "; ".join((*said, f"{len(now.voters)} vote now, quorum {now.quorum or '-'}"))


def _left(leader: NodeStatus, node: NodeId) -> str:
    seat = leader.seats.get(node)
    if seat is None or not seat.reason:
        return "votes no more"
    if seat.reason == SPARE:
        return "stands by, to keep it odd"
    return f"is put out of the vote: {seat.reason}"
