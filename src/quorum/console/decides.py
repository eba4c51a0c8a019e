"""What decides in the present epoch: votes, threshold, how many nodes that takes, which losses it survives."""

from __future__ import annotations

import msgspec

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.runtime.status import NodeStatus
from quorum.systems.algebra import Expression
from quorum.systems.expression import parse
from quorum.systems.extent import extent_of


class Decides(msgspec.Struct, frozen=True):
    """`votes` of each who votes, `total` and `threshold` of them, where votes decide; None where it matters whose
    they are, or while two configurations decide together (`is_joint`). The smallest and the largest minimal quorum
    have `smallest` and `largest` nodes, and whichever `survives` nodes are lost, one is left; None: not known.
    `elect`: the same of electing a leader, where other sets do that than decide."""

    epoch: int
    votes: dict[NodeId, int]
    total: int | None
    threshold: int | None
    smallest: int | None
    largest: int | None
    survives: int | None
    is_joint: bool = False
    elect: Decides | None = None

    def line(self) -> str:
        """For people."""
        said = f"epoch {self.epoch}, N {len(self.votes)}, {self.quorum_text()}"
        if self.survives is not None:
            said += f", survives the loss of {self.survives}"
        if self.is_joint:
            said += " (a change is under way)"
        return said if self.elect is None else f"{said}; to elect a leader, {self.elect.quorum_text()}"

    def quorum_text(self) -> str:
        """The quorum alone."""
        if self.smallest is None:
            return "quorums too many to count"
        most = "more" if self.largest is None else self.largest
        sizes = f"{self.smallest}" if self.smallest == self.largest else f"{self.smallest} to {most}"
        if self.threshold is None:
            return f"quorums of {sizes} nodes"
        if set(self.votes.values()) == {1}:
            return f"quorum {self.threshold}"
        return f"quorum {self.threshold} of {self.total} votes ({sizes} nodes)"


def decides_of(epoch: int, reads: str, writes: str, is_joint: bool = False) -> Decides | None:
    """What these expressions come to; None where they are none, as no honest node says."""
    try:
        elect, commit = parse(reads), parse(writes)
    except ConfigurationError:
        return None
    of_commit = _of(epoch, commit, is_joint)
    if elect == commit:
        return of_commit
    return msgspec.structs.replace(of_commit, survives=_less(commit, elect), elect=_of(epoch, elect, is_joint))


def decides_by(status: NodeStatus) -> Decides | None:
    """By the word of one node."""
    return decides_of(status.epoch, status.reads, status.writes, bool(status.outgoing))


def _of(epoch: int, expression: Expression, is_joint: bool) -> Decides:
    votes = expression.as_threshold()
    of_each = dict.fromkeys(expression.nodes, 1) if votes is None else dict(votes.weights)
    return Decides(epoch, of_each, *extent_of(expression), is_joint)


def _less(commit: Expression, elect: Expression) -> int | None:
    """A cluster goes on where it can both decide and elect."""
    both = extent_of(commit).survives, extent_of(elect).survives
    return min(each for each in both if each is not None) if None not in both else None
