"""What every checker raises when a run broke a claim."""

from __future__ import annotations

from quorum.errors import QuorumError
from quorum.model import NodeId


class Violation(QuorumError):
    """A run broke `claim`. It judges the system under test, so it is no AssertionError of our own code.

    `detail` says what was seen where; `nodes` are the nodes that disagree, as far as they are known.
    """

    def __init__(self, claim: str, detail: str, nodes: tuple[NodeId, ...] = ()) -> None:
        super().__init__(f"{claim}: {detail}")
        self.claim = claim
        self.detail = detail
        self.nodes = nodes
