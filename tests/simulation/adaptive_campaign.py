"""Members that lie while committees adapt: `python -m tests.simulation.adaptive_campaign` from the root."""

from __future__ import annotations

import sys

from quorum.sim.campaign import Outcome

from .adaptive_plans import EXPECTED, NODES, OPERATIONS_MIN, SECONDS, shortcoming
from .byzantine_campaign import ByzantineTally, main


class AdaptiveTally(ByzantineTally):
    """The campaign of adaptive committees: up to T members lie, all evict and readmit each other, and in half of
    the seeds weights follow links that change all the time."""

    command = "tests.simulation.adaptive_campaign"
    shard = "adaptive_shard"
    expected = EXPECTED
    nodes = NODES
    seconds, operations_min = SECONDS, OPERATIONS_MIN

    def shortcoming(self, outcome: Outcome) -> str:
        return shortcoming(outcome)


if __name__ == "__main__":
    sys.exit(main(kind=AdaptiveTally))
