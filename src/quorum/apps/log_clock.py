"""Lease time: how long the log has been moving, so that what expires does so at the same entry on every replica.

Log time (`Header.time_us`) is the leader's clock. Lease time adds up the gaps of log time from entry to entry and
leaves out what no entry can vouch for: the gap before the first entry of a new leader, whose clock may be another,
and whatever of a gap is longer than GAP_US_MAX. So it stands still while nobody leads, and while every node is
down or stopped; a leader's clock that jumps costs every lease GAP_US_MAX at most. While a lease waits to expire,
the leader orders an entry at least every TICK_US_MAX, so that the lease time of an idle cluster keeps up.

Lease time is never far ahead of real time, and may be far behind it: what expires may live longer than it asked
for, and not shorter but for GAP_US_MAX at a clock that jumps, and the drift of the leaders' clocks.
"""

from __future__ import annotations

from quorum.entry import BARRIER
from quorum.header import Header

TICK_US_MAX = 1_000_000
"""While a lease waits to expire, no leader lets more time pass without an entry."""
GAP_US_MAX = 2 * TICK_US_MAX
"""What one gap counts at most. Must be the same on every node."""


class LogClock:
    """Microseconds of lease time since the first entry of the log; `index` is that of the newest entry.

    I1  neither `now_us` nor `log_time_us` ever decreases.
    I2  `now_us` is a function of the log's kinds and log times alone.
    """

    __slots__ = ("index", "log_time_us", "now_us")

    def __init__(self) -> None:
        self.now_us = 0
        self.log_time_us = 0
        self.index = 0

    def advance(self, header: Header) -> int:
        """Move on to the entry with this header; return lease time there."""
        self.index = header.index
        gap_us = header.time_us - self.log_time_us
        if gap_us > 0:
            self.log_time_us = header.time_us
            if header.kind != BARRIER:
                self.now_us += gap_us if gap_us < GAP_US_MAX else GAP_US_MAX
        return self.now_us

    def restore(self, now_us: int, log_time_us: int, index: int) -> None:
        """Stand where a snapshot was made."""
        self.now_us, self.log_time_us, self.index = now_us, log_time_us, index
