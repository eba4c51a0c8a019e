"""The leases of the key-value store: which there are, and which keys hang on them.

Nothing here touches the keys themselves. The store asks before it writes, tells of each key that is written or
removed, and removes those that `end` gives it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice

from quorum.apps.batch import Refused
from quorum.apps.kv import (
    LEASE_KEYS_MAX,
    LeaseGranted,
    LeaseKept,
    LeaseView,
    ListedLease,
    Operation,
    PutWithLease,
    PutWithTtl,
)
from quorum.apps.leases import LEASES_MAX, Leases
from quorum.apps.leaves import Leaves, View
from quorum.apps.log_clock import LogClock

OWN = 1 << 62
"""A lease from here on is one key's own, and ends when that key is removed or written otherwise."""
LEASE_GAP = 10**12
"""Between the names of a backup and those of what is restored from it."""
_LEASE = struct.Struct(">Q")


class KeyLeases:
    """A table of leases, and the keys on each. Both bounds must be the same on every node.

    `of` tells the lease of each key that has one. Never write to it.

    I1  what a key hangs on is a lease that has not ended.
    I2  a lease that is a key's own has exactly that key.
    """

    def __init__(self, clock: LogClock, leases_max: int = LEASES_MAX, keys_max: int = LEASE_KEYS_MAX) -> None:
        self.of: dict[bytes, int] = {}
        self._clock = clock
        self._leases_max = leases_max
        self._keys_max = keys_max
        self._table = Leases(clock, leases_max)
        self._rows = Leaves()  # the number of a lease and a key, in canonical form
        self._counts: dict[int, int] = {}
        self._newest = 0

    def empty(self) -> KeyLeases:
        """A new one with the same clock and bounds."""
        return KeyLeases(self._clock, self._leases_max, self._keys_max)

    def __len__(self) -> int:
        """The number of leases."""
        return len(self._table)

    @property
    def newest(self) -> int:
        """How many leases there ever were; 0 as long as nobody asked for one."""
        return self._newest

    @property
    def next_deadline_us(self) -> int | None:
        """When the next lease ends, unless it is kept alive."""
        return self._table.next_deadline_us

    def count(self, lease: int) -> int:
        """How many keys hang on a lease."""
        return self._counts.get(lease, 0)

    # Leases.

    def grant(self, ttl_us: int) -> LeaseGranted | Refused:
        """A new lease."""
        refused = self._table.grant(self._newest + 1, ttl_us)
        if refused is not None:
            return refused
        self._newest += 1
        return LeaseGranted(self._newest, ttl_us)

    def keep_alive(self, lease: int) -> LeaseKept | Refused:
        """Let a lease last for its whole time from now on. One that is due has ended, even where its keys still
        wait to be removed."""
        if not self._table.remaining_us(lease):
            return ended(lease)
        ttl_us = self._table.keep_alive(lease)
        assert ttl_us is not None, "a lease of which something remains is in the table"
        return LeaseKept(ttl_us)

    def due(self) -> int | None:
        """The lease that is due and comes next; None if none is."""
        return self._table.due()

    def end(self, lease: int) -> list[bytes] | None:
        """Forget a lease; its keys, ascending, are to be removed. None if there is no such lease."""
        if not self._table.revoke(lease):
            return None
        keys = self._keys(lease, b"", self._counts.pop(lease, 0))
        for key in keys:
            del self.of[key]
        self._rows.delete_range(_LEASE.pack(lease), _LEASE.pack(lease + 1))
        return keys

    def look(self, lease: int, start: bytes, limit: int) -> LeaseView | Refused:
        """A lease as it stands, with at most `limit` of its keys, from `start` on."""
        ttl_us, remaining_us = self._table.ttl_us(lease), self._table.remaining_us(lease)
        if ttl_us is None or remaining_us is None:
            return ended(lease)
        keys = self._keys(lease, start, limit + 1)
        return LeaseView(lease, ttl_us, remaining_us, self.count(lease), keys[:limit], len(keys) > limit)

    def listed(self, after: int, limit: int) -> tuple[list[ListedLease], bool]:
        """At most `limit` of the leases behind `after`, ascending, and whether there are more."""
        found: list[ListedLease] = []
        for lease in self._table.behind(after):
            if len(found) == limit:
                return found, True
            ttl_us, remaining_us = self._table.ttl_us(lease), self._table.remaining_us(lease)
            assert ttl_us is not None and remaining_us is not None, "a lease that has a record is in the table"
            found.append(ListedLease(lease, ttl_us, remaining_us, self.count(lease), lease >= OWN))
        return found, False

    # Keys.

    def refusal(self, operation: Operation) -> Refused | None:
        """Why a write cannot have the lease it asks for; None if it can, or asks for none."""
        return self.refusal_of_all((operation,)) if isinstance(operation, PutWithLease | PutWithTtl) else None

    def refusal_of_all(self, operations: Iterable[Operation]) -> Refused | None:
        """As `refusal`, for writes of different keys that are done together."""
        added: dict[int, int] = {}
        own = 0
        for operation in operations:
            refused = None
            if isinstance(operation, PutWithLease):
                lease = operation.lease
                added[lease] = added.get(lease, 0) + (self.of.get(operation.key) != lease)
                refused = self._refusal_of_keys(lease, added[lease])
            elif isinstance(operation, PutWithTtl):
                own += self.of.get(operation.key, 0) < OWN
                refused = self._table.refusal(operation.ttl_us, own)
            if refused is not None:
                return refused
        return None

    def _refusal_of_keys(self, lease: int, more: int) -> Refused | None:
        if not self._table.remaining_us(lease):
            return ended(lease)
        if lease >= OWN:
            return Refused(
                "lease",
                f"a key was to hang on lease {lease}, but that is the own lease of a key that was put with a "
                "time. Grant one to share.",
            )
        if more and self.count(lease) + more > self._keys_max:
            return Refused(
                "lease",
                f"a key was to hang on lease {lease}, but {self._keys_max} keys on one lease are the most. Grant "
                "another.",
            )
        return None

    def attach(self, key: bytes, lease: int) -> None:
        """A key was written that hangs on a lease, which `refusal` has allowed."""
        if self.of.get(key) != lease:
            self.detach(key)
            self._hang(key, lease)

    def attach_own(self, key: bytes, ttl_us: int) -> None:
        """A key was written with a time, which `refusal` has allowed."""
        self.detach(key)
        self._newest += 1
        refused = self._table.grant(OWN + self._newest, ttl_us)
        assert refused is None, "what was allowed is granted"
        self._hang(key, OWN + self._newest)

    def detach(self, key: bytes) -> None:
        """A key was removed, or written without a lease."""
        lease = self.of.pop(key, None)
        if lease is None:
            return
        self._rows.delete(_LEASE.pack(lease) + key)
        self._counts[lease] -= 1
        if self._counts[lease] == 0:
            del self._counts[lease]
            if lease >= OWN:
                self._table.revoke(lease)

    def attached(self, start: bytes, end: bytes | None) -> list[bytes]:
        """The keys from `start` up to but without `end` that have a lease, ascending. Costs all that have one."""
        return sorted(key for key in self.of if key >= start and (end is None or key < end))

    def _hang(self, key: bytes, lease: int) -> None:
        self.of[key] = lease
        self._counts[lease] = self._counts.get(lease, 0) + 1
        self._rows.put(_LEASE.pack(lease) + key, b"", 0)

    def _keys(self, lease: int, start: bytes, limit: int) -> list[bytes]:
        number = _LEASE.pack(lease)
        rows = self._rows.scan(number + start, _LEASE.pack(lease + 1))
        return [row[_LEASE.size :] for row, _ in islice(rows, limit)]

    # The state.

    def digest(self) -> bytes:
        """The root over leases and their keys: 32 bytes."""
        root = blake2b(_LEASE.pack(self._newest), digest_size=32)
        root.update(self._table.digest())
        root.update(self._rows.digest())
        return root.digest()

    def views(self) -> tuple[View, View]:
        """Pin the present leases, and what hangs on them."""
        return self._table.view(), self._rows.view()

    def load(self, newest: int, leases: Iterable[bytes], rows: Iterable[bytes], holds: Leaves) -> None:
        """Replace everything by the chunks of two views, of a store that holds `holds`. Raises ValueError if they
        are damaged; then it must not be used."""
        self._newest = newest
        self._table.load(leases)
        self._rows.load(rows)
        for lease in self._table.ids():
            _require(0 < lease - (OWN if lease >= OWN else 0) <= newest, "one is newer than the newest")
        for row, _ in self._rows.scan(b"", None):
            _require(len(row) > _LEASE.size, "a row is short")
            lease, key = _LEASE.unpack_from(row)[0], row[_LEASE.size :]
            _require(lease in self._table and key not in self.of, "a key hangs on two, or on one that has ended")
            _require(holds.get(key) is not None, "a key hangs on one that is not there")
            self.of[key] = lease
            self._counts[lease] = self._counts.get(lease, 0) + 1
        _require(
            all(self.count(lease) == 1 for lease in self._own()), "one that is a key's own has another number"
        )

    def begin_anew(self) -> None:
        """Give no name that was given out after a backup, which was restored: who held it there hears that it has
        ended."""
        self._newest += LEASE_GAP

    def _own(self) -> Iterator[int]:
        return (lease for lease in self._table.ids() if lease >= OWN)


def ended(lease: int) -> Refused:
    return Refused(
        "ended", f"lease {lease} was named, but it has ended, or never was. Its keys are removed; grant another."
    )


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(f"leases of keys were to be restored, but {otherwise}. Fetch another snapshot.")
