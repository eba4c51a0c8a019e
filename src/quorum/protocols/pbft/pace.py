"""Whether the primary is worth having: it makes some progress, and enough.

A lying primary could stay just below any timeout and slow everybody down, so its blocks must also come at a rate
(Clement et al., "Making Byzantine Fault Tolerant Systems Tolerate Byzantine Faults", 2009, section 4.3).
"""

from __future__ import annotations

from collections import deque

from quorum.protocols.pbft.settings import Settings

BLOCKS_JUDGED = 4
"""So many blocks in a row are looked at together."""
BLOCKS_FORGIVEN = 64
"""After so many good ones in a view, the next slow primary is met with less patience."""


class Pace:
    """Judges one primary after the other. Times are this node's clock, in microseconds.

    Patience doubles with every view that decided nothing, and with every primary replaced for being slow, so that
    a slow network does not depose one honest primary after the other; progress brings it back.
    """

    __slots__ = ("_deadline_us", "_decided_us", "_good", "_recent", "_settings", "_slow_views", "fruitless_views")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.fruitless_views = 0
        self._slow_views = 0
        self._deadline_us: int | None = None
        self._decided_us = 0
        self._recent: deque[int] = deque(maxlen=BLOCKS_JUDGED)
        self._good = 0

    @property
    def timeout_us(self) -> int:
        """How long to wait for progress now."""
        return self._settings.view_timeout_us << min(self.fruitless_views, self._settings.backoff_max)

    @property
    def deadline_us(self) -> int | None:
        """When the primary, or the next view, is too late; None: nothing is waited for."""
        return self._deadline_us

    def wait(self, now_us: int) -> None:
        """Something waits: the clock runs, unless it does already."""
        if self._deadline_us is None:
            self._deadline_us = now_us + self.timeout_us

    def hurry(self, now_us: int) -> None:
        """The primary may be gone: wait for a quarter of the time at most, if anything is waited for."""
        if self._deadline_us is not None:
            self._deadline_us = min(self._deadline_us, now_us + self.timeout_us // 4)

    def rest(self) -> None:
        """Nothing waits."""
        self._deadline_us = None

    def view_began(self, now_us: int, waiting: bool) -> None:
        """Another primary orders from now on."""
        self._recent.clear()
        self._good = 0
        self._decided_us = now_us
        self._deadline_us = now_us + self.timeout_us if waiting else None

    def left(self, was_active: bool) -> None:
        """This node left its view. The clock stands until a quorum has done so."""
        self._deadline_us = None
        self.fruitless_views += 1
        if was_active and self._is_slow():
            self._slow_views += 1

    def restart(self, now_us: int) -> None:
        """A quorum wants the next view: its primary has one timeout to begin it."""
        self._deadline_us = now_us + self.timeout_us

    def decided(self, now_us: int, since_us: int | None, waiting: bool) -> None:
        """A block was decided; the oldest request in it waited since `since_us` (None: not known here)."""
        if since_us is not None:
            self._recent.append(now_us - max(since_us, self._decided_us))
            if not self._is_slow():
                self._good += 1
                if self._good >= BLOCKS_FORGIVEN:
                    self._good, self._slow_views = 0, max(0, self._slow_views - 1)
        self._decided_us = now_us
        self.fruitless_views = 0
        self._deadline_us = now_us + self.timeout_us if waiting else None

    def is_too_slow(self) -> bool:
        """Whether the primary's recent blocks took too long on average."""
        return self._is_slow()

    def _is_slow(self) -> bool:
        if len(self._recent) < BLOCKS_JUDGED:
            return False
        allowed = int(self._settings.view_timeout_us * self._settings.slow_share) << min(self._slow_views, 8)
        return sum(self._recent) > BLOCKS_JUDGED * allowed
