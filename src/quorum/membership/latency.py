"""How long messages between members take, from what they report, of which some may be lies.

Each member reports the median of its own round trips with every other. Of a pair both ends report, and the larger
report counts: so a liar can make links of its own seem longer, which only makes it less wanted, and never shorter
than an honest end says; it has no say on links between others.

Sources: Berger, Reiser, Sousa and Bessani, "AWARE: Adaptive Wide-Area Replication" (2022), for measured rows and
the larger of two directions; Chotkan, Nasrulin, Pouwelse and Decouchant, "Robust and Automated Reconfiguration of
Byzantine Wide-Area Replication" (2026), for what liars gain where reports are believed as they come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from quorum.model import NodeId

Reports: TypeAlias = Mapping[NodeId, Mapping[NodeId, int]]
"""By member: its round trips with others, in microseconds."""

WINDOW = 31
"""Round trips that are remembered with each node."""
STALE_US = 10_000_000
"""A node that has not answered for so long is reported no more."""
FAR_US = 10_000_000
"""A link of which nobody tells is taken to be so long, and none is taken to be longer."""
DISPUTED_FACTOR = 4
"""Two ends that differ by more do not measure the same: one lies, or is ill."""
DISPUTED_US_MIN = 1_000
"""Below this, two ends may differ by any factor."""


class RoundTrips:
    """The newest round trips of one node with each other."""

    def __init__(self) -> None:
        self._taken: dict[NodeId, deque[int]] = {}
        self._last_us: dict[NodeId, int] = {}

    def keep(self, nodes: Iterable[NodeId]) -> None:
        """Forget all but these."""
        kept = frozenset(nodes)
        self._taken = {node: taken for node, taken in self._taken.items() if node in kept}
        self._last_us = {node: at_us for node, at_us in self._last_us.items() if node in kept}

    def took(self, node: NodeId, rtt_us: int, now_us: int) -> None:
        """A question to `node` was answered after `rtt_us`."""
        self._taken.setdefault(node, deque(maxlen=WINDOW)).append(min(FAR_US, max(0, rtt_us)))
        self._last_us[node] = now_us

    def row(self, now_us: int) -> dict[NodeId, int]:
        """What this node reports: the median with each node that still answers, by name."""
        return {
            node: median(self._taken[node])
            for node, at_us in sorted(self._last_us.items())
            if now_us - at_us <= STALE_US
        }


class Latencies:
    """What is believed of every pair of `nodes`, where up to `faults` of the reports are lies (0: none is).

    I1  a pair with an honest end is at least as long as that end says; where both ends tell, it is as long as the
        longer report.
    I2  `distance` lies within what honest members say of the node, if 2 * faults + 1 others report on it.
    """

    def __init__(self, nodes: Iterable[NodeId], reports: Reports, faults: int = 0) -> None:
        self.nodes = tuple(sorted(set(nodes)))
        self.faults = faults
        self.disputed: tuple[tuple[NodeId, NodeId], ...] = ()
        """Pairs whose two ends say different things; the larger counts, as everywhere."""
        self._reports = {node: reports.get(node, {}) for node in self.nodes}
        self._distances = {node: self._trimmed(node) for node in self.nodes}
        self._us: dict[tuple[NodeId, NodeId], int] = {}
        disputed = []
        for place, one in enumerate(self.nodes):
            self._us[one, one] = 0
            for other in self.nodes[place + 1 :]:
                told = self._told(one, other)
                self._us[one, other] = self._us[other, one] = self._believed(one, other, told)
                if len(told) == 2 and max(told) > max(DISPUTED_US_MIN, DISPUTED_FACTOR * min(told)):
                    disputed.append((one, other))
        self.disputed = tuple(disputed)

    def rtt_us(self, one: NodeId, other: NodeId) -> int:
        """The round trip between two nodes; 0 of a node with itself."""
        return self._us[one, other]

    def distance(self, node: NodeId) -> int | None:
        """How far `node` is from the others: the median of what they say, without the `faults` least and the
        `faults` greatest; None where too few say something."""
        return self._distances[node]

    @property
    def reporting(self) -> int:
        """How many nodes say anything."""
        return sum(bool(row) for row in self._reports.values())

    def _told(self, one: NodeId, other: NodeId) -> list[int]:
        ends = ((one, other), (other, one))
        return [min(FAR_US, max(0, self._reports[end][of])) for end, of in ends if of in self._reports[end]]

    def _believed(self, one: NodeId, other: NodeId, told: list[int]) -> int:
        """A single report is believed where nobody lies. Else an untold pair is as long as the farther of the two
        is from the others."""
        if len(told) == 2 or (told and not self.faults):
            return max(told)
        distances = [self._distances[one], self._distances[other]]
        known = [each for each in distances if each is not None]
        return max([*known, *told]) if len(known) == 2 else FAR_US

    def _trimmed(self, node: NodeId) -> int | None:
        told = sorted(
            min(FAR_US, max(0, row[node]))
            for teller, row in self._reports.items()
            if teller != node and node in row
        )
        if len(told) < 2 * self.faults + 1:
            return None
        return median(told[self.faults : len(told) - self.faults])


def median(values: Iterable[int]) -> int:
    """The middle value; of two, the greater, since a link that is long half of the time is long."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
