"""Who votes now, how many of them decide, and what a change of that was: as lines for people."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from quorum.errors import ConfigurationError
from quorum.membership.health import SPARE
from quorum.model import NodeId
from quorum.runtime.status import NodeStatus
from quorum.systems.expression import parse


class Votes(NamedTuple):
    """Who votes in an epoch. `quorum` is how many of them decide, or where they have weights, how much of the
    whole `weight`; None where neither says it."""

    epoch: int
    voters: tuple[NodeId, ...]
    quorum: int | None
    weight: int | None = None

    def threshold(self) -> str:
        """What decides."""
        whole = "" if self.weight is None else f" of weight {self.weight}"
        return f"quorum {'-' if self.quorum is None else self.quorum}{whole}"

    def line(self, heard: Collection[NodeId]) -> str:
        """For people. Voters that the leader does not hear have a question mark."""
        names = " ".join(node if node in heard else f"{node}?" for node in self.voters)
        return f"epoch {self.epoch}: {names or 'nobody'} vote, {self.threshold()}"


def votes_of(status: NodeStatus) -> Votes:
    """Who votes, as one node says."""
    voters = tuple(sorted(status.voters))
    try:
        counted = parse(status.writes).as_threshold()
    except ConfigurationError:  # what no honest node says
        counted = None
    if counted is None:
        return Votes(status.epoch, voters, None)
    weights = [weight for _, weight in counted.weights]
    return Votes(status.epoch, voters, counted.k, None if set(weights) == {1} else sum(weights))


def moved(before: Votes, leader: NodeStatus) -> str:
    """What became of the voters since `before`; "" where the same vote."""
    now = votes_of(leader)
    out = [node for node in before.voters if node not in now.voters]
    said = [f"{node} {_left(leader, node)}" for node in out]
    said += [f"{node} votes again" for node in now.voters if node not in before.voters]
    if not said:
        return ""
    return "; ".join((*said, f"{len(now.voters)} vote now, {now.threshold()}"))


def _left(leader: NodeStatus, node: NodeId) -> str:
    seat = leader.seats.get(node)
    if seat is None or not seat.reason:
        return "votes no more"
    if seat.reason == SPARE:
        return "stands by, to keep it odd"
    return f"is put out of the vote: {seat.reason}"
