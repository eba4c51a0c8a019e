"""Who was evicted for being slow, and whether it has shown long enough that it is well.

I1  nobody is ready who has not shown certified state, without a break, for all of its observation period.
I2  the period doubles with each return that did not last, and never exceeds `stable_max_us`.
"""

from __future__ import annotations

import msgspec

from quorum.membership.observation import Limits
from quorum.model import NodeId

BREAK_US = 5_000_000
"""Whoever shows nothing for so long begins anew."""


class Out(msgspec.Struct):
    """One of them. `flaps`: so many returns did not last. `good_since_us`: since then it shows what it should."""

    node: NodeId
    flaps: int = 0
    returned_us: int | None = None
    good_since_us: int | None = None
    shown_us: int = 0


class Returns:
    """Times are this node's clock, in microseconds."""

    def __init__(self, limits: Limits, break_us: int = BREAK_US) -> None:
        self._limits = limits
        self._break_us = break_us
        self._known: dict[NodeId, Out] = {}

    def left(self, node: NodeId, now_us: int, flaps: int = 0) -> None:
        """It was evicted. `flaps`: at least so many of its returns did not last."""
        out = self._known.setdefault(node, Out(node, flaps))
        if out.returned_us is not None:
            is_forgiven = now_us - out.returned_us >= self._limits.forgive_us
            out.flaps = 0 if is_forgiven else out.flaps + 1
        out.flaps = max(out.flaps, flaps)
        out.returned_us = out.good_since_us = None

    def returned(self, node: NodeId, now_us: int) -> None:
        """It is in the committee again."""
        if node in self._known:
            self._known[node].returned_us = now_us
            self._known[node].good_since_us = None

    def shows(self, node: NodeId, is_right: bool, now_us: int) -> None:
        """It showed its state, with its fresh key; `is_right`: it is that of the others, and near enough."""
        out = self._known.get(node)
        if out is None or out.returned_us is not None:
            return
        if not is_right:
            out.good_since_us = None
        elif out.good_since_us is None or now_us - out.shown_us > self._break_us:
            out.good_since_us = now_us
        out.shown_us = now_us

    def period_us(self, node: NodeId) -> int:
        """How long it has to show it."""
        flaps = self._known[node].flaps if node in self._known else 0
        return min(self._limits.stable_max_us, self._limits.stable_us << min(flaps, 20))

    def flaps(self, node: NodeId) -> int:
        """How many of its returns did not last."""
        return self._known[node].flaps if node in self._known else 0

    def ready(self, now_us: int) -> tuple[NodeId, ...]:
        """Who may be readmitted, by name."""
        return tuple(sorted(node for node, out in self._known.items() if self._is_ready(out, now_us)))

    def _is_ready(self, out: Out, now_us: int) -> bool:
        if out.good_since_us is None or now_us - out.shown_us > self._break_us:
            return False
        return now_us - out.good_since_us >= self.period_us(out.node)

    def left_us(self, node: NodeId, now_us: int) -> int | None:
        """How long until it is ready, if it goes on like this; None: it shows nothing now."""
        out = self._known.get(node)
        if out is None or out.good_since_us is None or now_us - out.shown_us > self._break_us:
            return None
        return max(0, self.period_us(node) - (now_us - out.good_since_us))
