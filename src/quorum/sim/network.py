"""The simulated network: links that lose, duplicate, delay, reorder, and partitions of every shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import msgspec

from quorum.entry import Buffer
from quorum.model import NodeId

Schedule = Callable[..., None]
Deliver = Callable[[NodeId, NodeId, object, tuple[Buffer, ...]], None]


class Weather(msgspec.Struct, frozen=True):
    """How links behave now. Delays in microseconds; `fifo` keeps the order within a link, as TCP does."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_us: int = 200
    jitter_us: int = 800
    fifo: bool = True


CALM = Weather()


class Network:
    """Links between named ends. Every draw comes from its own generator, so that other faults do not shift it."""

    def __init__(self, random: Random, schedule: Schedule, deliver: Deliver) -> None:
        self._random = random
        self._schedule = schedule
        self._deliver = deliver
        self._blocked: set[tuple[NodeId, NodeId]] = set()
        self._free_at: dict[tuple[NodeId, NodeId], int] = {}
        self.weather = CALM
        self.distances: dict[tuple[NodeId, NodeId], int] = {}
        """Microseconds that a link takes, one way, beside what the weather adds; 0 where none is given."""
        self.now_us = 0
        self.dropped = 0

    def send(self, source: NodeId, to: NodeId, message: object, attached: Sequence[Buffer]) -> None:
        """Put one message on the link; it arrives later, twice, or never."""
        if self._blocked and (source, to) in self._blocked:
            self.dropped += 1
            return
        weather, draw = self.weather, self._random.random
        if weather.loss and draw() < weather.loss:
            self.dropped += 1
            return
        copies = 2 if weather.duplication and draw() < weather.duplication else 1
        for _ in range(copies):
            delay = weather.delay_us + int(draw() * weather.jitter_us) + self.distances.get((source, to), 0)
            if weather.fifo:
                link = (source, to)
                arrival = max(self.now_us + delay, self._free_at.get(link, 0))
                self._free_at[link] = arrival
                delay = arrival - self.now_us
            self._schedule(delay, self._deliver, source, to, message, tuple(attached))

    @property
    def is_whole(self) -> bool:
        """Whether no link is cut."""
        return not self._blocked

    def is_blocked(self, source: NodeId, to: NodeId) -> bool:
        return (source, to) in self._blocked

    def block(self, source: NodeId, to: NodeId) -> None:
        """Cut one direction of one link."""
        self._blocked.add((source, to))

    def partition(self, *groups: Sequence[NodeId]) -> None:
        """Cut every link between nodes of different groups, both ways."""
        for group in groups:
            for other in groups:
                if group is not other:
                    for a in group:
                        for b in other:
                            self.block(a, b)

    def heal(self) -> None:
        """Every link works again."""
        self._blocked.clear()
