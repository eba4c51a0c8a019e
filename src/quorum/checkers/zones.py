"""A quick refutation for registers whose values are written once.

If only one operation can write a value, the register holds it without a break. The operations that write it or see
it form a cluster, with `finish`, the earliest return among them, and `start`, the latest call. If finish <
start, the register holds the value all the way between (a forward zone); else all of them overlap there (a
backward zone). No two forward zones may overlap, and no backward zone may lie inside a forward one.

Source: Gibbons and Korach, "Testing Shared Memories" (1997), on linearizability when it is known which write each
read sees. Used here for the "only if" alone, which also holds beside cas and beside values written more than once:
where a cas ends one value and begins the next, their zones share a point at most.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import NamedTuple

from quorum.checkers.register import INITIAL, NONE, Register

BEFORE_ALL = -1


class Zone(NamedTuple):
    """A value's cluster. `first` returned at `finish`, `last` was called at `start` (NONE: the initial state)."""

    finish: int
    start: int
    first: int
    last: int
    writer: int


def zones_of(register: Register) -> dict[int, Zone]:
    """The zone of each value that one operation alone can write, and of the initial value if none can."""
    writers, readers = register.writers(), register.readers()
    found = {}
    for value in sorted({*writers, *readers}):
        wrote, saw = writers.get(value, []), readers.get(value, [])
        if len(wrote) == 1 and value != INITIAL:
            cluster = [*wrote, *saw]
            done = [i for i in cluster if not register.optional[i]]
            first = min(done, key=lambda i: register.returns[i], default=wrote[0])
            last = max(cluster, key=lambda i: register.calls[i])
            found[value] = Zone(register.returns[first][0], register.calls[last], first, last, wrote[0])
        elif not wrote and value == INITIAL:
            last = max(saw, key=lambda i: register.calls[i])
            found[value] = Zone(BEFORE_ALL, register.calls[last], NONE, last, NONE)
    return found


def find_conflict(register: Register) -> tuple[int, ...]:
    """Operations that cannot all have happened, in the order of invocation; empty if zones do not tell.

    Not for keys that are appended to.
    """
    writers, readers = register.writers(), register.readers()
    for value in sorted(readers):
        saw = min(readers[value], key=lambda i: register.returns[i])
        wrote = writers.get(value, [])
        if value != INITIAL and all(register.calls[i] > register.returns[saw][0] for i in wrote):
            return tuple(sorted({saw, *wrote[:1]}))  # seen, but not written by then
    zones = sorted(zones_of(register).values())
    forward = [zone for zone in zones if zone.finish < zone.start]
    for one, other in pairwise(forward):
        if other.finish < one.start:
            return _members(one, other)
    finishes = [zone.finish for zone in forward]
    for zone in zones:
        if zone.finish < zone.start:
            continue
        at = bisect_left(finishes, zone.start) - 1
        if at >= 0 and zone.finish < forward[at].start:
            return _members(forward[at], zone)
    return ()


def _members(one: Zone, other: Zone) -> tuple[int, ...]:
    named = {one.first, one.last, one.writer, other.first, other.last, other.writer}
    return tuple(sorted(named - {NONE}))
