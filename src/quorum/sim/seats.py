"""Who takes part in one decision, and the operator who puts members out of the vote and takes them back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from quorum.entry import Buffer
from quorum.model import NodeId
from quorum.runtime.messages import Failure, Result
from quorum.systems.system import QuorumSystem


class Voters(NamedTuple):
    """Who votes, and how many of them decide; `system` says which."""

    nodes: tuple[NodeId, ...]
    threshold: int
    system: QuorumSystem


class Operator:
    """Asks nodes for changes, and remembers what they answered (runtime.gateway.Client)."""

    identity = "operator"

    def __init__(self) -> None:
        self.asked = 0
        self.answers: dict[int, Result | Failure] = {}

    def next(self) -> int:
        """The number of the next request."""
        self.asked += 1
        return self.asked

    def answer(self, message: object, attached: Sequence[Buffer]) -> None:
        """One answer."""
        if isinstance(message, Result | Failure):
            self.answers[message.request] = message

    def backlog(self) -> int:
        """Nothing is held back from it."""
        return 0
