"""Whom to ask for the next pieces of a state: members that offer it take turns, and liars are left out a while.

Each piece is proven by itself, so it does not matter who gives it. Since turns go round, a member that is slow, or
gives nothing, holds the others up for its own turn alone, however often it offers.
"""

from __future__ import annotations

from quorum.model import NodeId

TURN_US = 1_000_000
"""After so long another member is asked, if one offers the same state."""
OFFER_US = 5_000_000
"""An offer that is older counts no more."""
BANNED_US = 60_000_000
"""So long nobody asks a member that gave what its proof does not prove."""


class Turns:
    """The members that offer one state. Times are microseconds of this node's clock."""

    def __init__(self) -> None:
        self._offered: dict[NodeId, int] = {}
        self._asked: dict[NodeId, int] = {}
        self._banned: dict[NodeId, int] = {}
        self.now: NodeId | None = None
        """Whose turn it is."""

    def offered(self, node: NodeId, now_us: int) -> None:
        """A member offers the state."""
        self._offered[node] = now_us

    def is_banned(self, node: NodeId, now_us: int) -> bool:
        """Whether nothing is to be had from this member."""
        return now_us < self._banned.get(node, now_us)

    def ban(self, node: NodeId, now_us: int) -> None:
        """A member lied."""
        self._banned[node] = now_us + BANNED_US
        self.lost(node)

    def lost(self, node: NodeId) -> None:
        """A member does not have the state any more, or is not connected."""
        self._offered.pop(node, None)
        if self.now == node:
            self.now = None

    def forget_offers(self) -> None:
        """Another state is wanted. Who lied is still known."""
        self._offered.clear()
        self.now = None

    def next(self, now_us: int) -> NodeId | None:
        """Whose turn it is from now on: the present one's if it is not over, or else of the member that was asked
        longest ago. None: nobody offers."""
        if self.now is not None and now_us < self._asked[self.now] + TURN_US:
            return self.now
        fresh = self._fresh(now_us)
        self.now = min(fresh, key=lambda node: (self._asked.get(node, -1), node), default=None)
        if self.now is not None:
            self._asked[self.now] = now_us
        return self.now

    def count(self, now_us: int) -> int:
        """How many members offer the state."""
        return len(self._fresh(now_us))

    def _fresh(self, now_us: int) -> list[NodeId]:
        return [
            node
            for node, offered_us in self._offered.items()
            if offered_us + OFFER_US > now_us and not self.is_banned(node, now_us)
        ]
