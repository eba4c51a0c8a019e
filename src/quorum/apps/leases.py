"""A table of leases: promises that end unless they are kept alive, by lease time (`log_clock`).

The table knows nothing of what hangs on a lease. Its application grants, keeps alive and revokes by commands, and
takes the leases that are due from `expire` (see `state_machine.Expiring`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush, heapreplace

from quorum.apps.batch import Refused
from quorum.apps.leaves import Leaves, View
from quorum.apps.log_clock import LogClock

LEASES_MAX = 100_000
LEASE_ID_MAX = (1 << 63) - 1
TTL_US_MIN = 100_000
TTL_US_MAX = 366 * 24 * 3600 * 1_000_000
EXPIRED_MAX = 1_000
"""So many leases expire at one entry at most; the next entry goes on. It bounds the work of one entry."""

_KEY = struct.Struct(">Q")
_TIMES = struct.Struct(">QQ")


class Lease:
    """`queued_us`: the deadline under which the lease stands in the heap, which may be an earlier one."""

    __slots__ = ("deadline_us", "queued_us", "ttl_us")

    def __init__(self, ttl_us: int, deadline_us: int) -> None:
        self.ttl_us = ttl_us
        self.deadline_us = deadline_us
        self.queued_us = deadline_us


class Leases:
    """Leases by their id, 1 to LEASE_ID_MAX, which the application chooses. Times are microseconds of lease time.

    `leases_max` must be the same on every node. Commands that cannot be done return `Refused` and change nothing.

    I1  every lease stands in the heap once under its `queued_us`, which is at most its deadline; whatever else is
        in the heap is stale and skipped.
    """

    def __init__(self, clock: LogClock, leases_max: int = LEASES_MAX) -> None:
        self._clock = clock
        self._leases_max = leases_max
        self._leases: dict[int, Lease] = {}
        self._heap: list[tuple[int, int]] = []
        self._records = Leaves()

    def empty(self) -> Leases:
        """A new table with the same clock and bound."""
        return Leases(self._clock, self._leases_max)

    def __len__(self) -> int:
        """The number of leases."""
        return len(self._leases)

    def __contains__(self, lease_id: int) -> bool:
        return lease_id in self._leases

    def grant(self, lease_id: int, ttl_us: int) -> Refused | None:
        """A new lease that ends in `ttl_us`, unless it is kept alive."""
        if not 0 < lease_id <= LEASE_ID_MAX:
            return Refused("lease", f"lease {lease_id} was asked for, but ids are 1 to 2^63-1. Choose another.")
        if lease_id in self._leases:
            return Refused("exists", f"lease {lease_id} was asked for, but it exists. Choose another id.")
        refused = self.refusal(ttl_us)
        if refused is not None:
            return refused
        lease = self._leases[lease_id] = Lease(ttl_us, self._clock.now_us + ttl_us)
        heappush(self._heap, (lease.deadline_us, lease_id))
        self._record(lease_id, lease)
        return None

    def refusal(self, ttl_us: int, more: int = 1) -> Refused | None:
        """Why `more` further leases of this time cannot be granted; None if they can."""
        if not TTL_US_MIN <= ttl_us <= TTL_US_MAX:
            return Refused(
                "ttl",
                f"a lease of {ttl_us} us was asked for, but leases last {TTL_US_MIN} us (0.1 s) to {TTL_US_MAX} "
                "us (a year). Ask for a time between them.",
            )
        if more > 0 and len(self._leases) + more > self._leases_max:
            return Refused(
                "leases",
                f"a lease was asked for, but {self._leases_max} are held, which is the most. Revoke some, or let "
                "several keys share one.",
            )
        return None

    def keep_alive(self, lease_id: int) -> int | None:
        """Let the lease last for its whole ttl from now on; return that ttl. None if there is no such lease."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return None
        lease.deadline_us = self._clock.now_us + lease.ttl_us
        self._record(lease_id, lease)
        return lease.ttl_us

    def revoke(self, lease_id: int) -> bool:
        """End a lease now. True if there was one."""
        if self._leases.pop(lease_id, None) is None:
            return False
        self._records.delete(_KEY.pack(lease_id))
        if len(self._heap) > 2 * len(self._leases) + 64:
            self._rebuild_heap()
        return True

    def ttl_us(self, lease_id: int) -> int | None:
        """For how long the lease was granted. None if there is no such lease."""
        lease = self._leases.get(lease_id)
        return None if lease is None else lease.ttl_us

    def remaining_us(self, lease_id: int) -> int | None:
        """What is left of a lease, 0 if it is due. None if there is no such lease."""
        lease = self._leases.get(lease_id)
        return None if lease is None else max(0, lease.deadline_us - self._clock.now_us)

    def behind(self, lease_id: int) -> Iterator[int]:
        """The leases behind an id, ascending. Not to be written to meanwhile. Costs those that are taken."""
        for key, _ in self._records.scan(_KEY.pack(lease_id + 1), None):
            yield _KEY.unpack(key)[0]

    def ids(self) -> list[int]:
        """All leases, ascending."""
        return sorted(self._leases)

    @property
    def next_deadline_us(self) -> int | None:
        """When the next lease ends, unless it is kept alive. None without leases."""
        heap, leases = self._heap, self._leases
        while heap:
            queued_us, lease_id = heap[0]
            lease = leases.get(lease_id)
            if lease is None or lease.queued_us != queued_us:
                heappop(heap)
            elif lease.deadline_us != queued_us:
                lease.queued_us = lease.deadline_us
                heapreplace(heap, (lease.deadline_us, lease_id))
            else:
                return queued_us
        return None

    def due(self) -> int | None:
        """Of the leases that are due the one that `expire` would end first; None if none is."""
        deadline_us = self.next_deadline_us
        return None if deadline_us is None or deadline_us > self._clock.now_us else self._heap[0][1]

    def expire(self, limit: int = EXPIRED_MAX) -> list[int]:
        """End the leases that are due, at most `limit` of them; return them, the earliest deadline first, of equal
        deadlines the smallest id."""
        expired: list[int] = []
        while len(expired) < limit:
            deadline_us = self.next_deadline_us
            if deadline_us is None or deadline_us > self._clock.now_us:
                break
            _, lease_id = heappop(self._heap)
            del self._leases[lease_id]
            self._records.delete(_KEY.pack(lease_id))
            expired.append(lease_id)
        return expired

    def digest(self) -> bytes:
        """The root over all leases: 32 bytes. Costs the records changed since the last time."""
        return self._records.digest()

    def view(self) -> View:
        """Pin the present leases; `chunks` gives them in canonical form."""
        return self._records.view()

    def load(self, chunks: Iterable[bytes]) -> None:
        """Replace all leases by the chunks of a view. Raises ValueError, nothing changed, if they are damaged."""
        records = self._records.empty()
        records.load(chunks)
        leases: dict[int, Lease] = {}
        for key, stored in records.scan(b"", None):
            if len(key) != _KEY.size or len(stored.value) != _TIMES.size:
                raise ValueError("leases were to be restored, but a record is damaged. Fetch another snapshot.")
            leases[_KEY.unpack(key)[0]] = Lease(*_TIMES.unpack(stored.value))
        if len(leases) > self._leases_max:
            raise ValueError(
                f"{len(leases)} leases were to be restored where at most {self._leases_max} are held. Use one "
                "bound on every node."
            )
        self._records, self._leases = records, leases
        self._rebuild_heap()

    def _record(self, lease_id: int, lease: Lease) -> None:
        self._records.put(_KEY.pack(lease_id), _TIMES.pack(lease.ttl_us, lease.deadline_us), 0)

    def _rebuild_heap(self) -> None:
        for lease in self._leases.values():
            lease.queued_us = lease.deadline_us
        self._heap = [(lease.deadline_us, lease_id) for lease_id, lease in self._leases.items()]
        heapify(self._heap)
