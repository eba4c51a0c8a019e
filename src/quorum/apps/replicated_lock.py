"""`ReplicatedLock`: locks by name in a replicated object, with owners, fencing tokens, limits and fair queues.

A command cannot wait, so that `acquire` answers at once: with a token, or with None and a place in the queue. Who
waits asks again. Nothing happens between commands: a limit that has passed is noticed by the next command that
concerns the lock, on every replica alike.
"""

from __future__ import annotations

from itertools import islice
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from quorum.apps.replicated import Replicated, command, query

TTL_SECONDS_MIN = 0.001
TTL_SECONDS_MAX = 366 * 24 * 3600
Name = Annotated[str, Meta(min_length=1, max_length=512)]


class LockHolder(Struct, frozen=True, gc=False, array_like=True):
    """Who holds a lock, by which token, and until which log time (microseconds since 1970), if not renewed."""

    owner: str
    token: int
    until_us: int


class LockWaiter(Struct, frozen=True, gc=False, array_like=True):
    """Who waits, for how long it wants to hold the lock, and until which log time its place is kept."""

    owner: str
    ttl_us: int
    until_us: int


class ReplicatedLock(Replicated):
    """Locks by name, each held by one owner at a time.

    An owner is whoever says that name, so every holder needs one of its own. Asking again is no second lock: the
    owner that holds it gets the same token and a new limit, and one `release` frees it.

    I1  a lock that nobody holds has no queue, after every command that concerns it.
    I2  every grant has a larger token than all before, over all locks of the object.
    """

    waiters_max: ClassVar[int] = 100
    newest: int = 0
    holders: dict[str, LockHolder] = {}
    waiting: dict[tuple[str, int], LockWaiter] = {}
    numbers: dict[tuple[str, str], int] = {}
    queues: dict[str, tuple[int, int]] = {}

    @command
    def acquire(self, name: Name, owner: Name, ttl: float = 30.0) -> int | None:
        """The token if `owner` holds the lock from now on or did so before, for `ttl` seconds from now; otherwise
        None, and `owner` waits behind all others. It keeps its place by asking again within `ttl` seconds.

        Raises ValueError for a ttl out of range, and if more than `waiters_max` would wait.
        """
        ttl_us = _microseconds(ttl)
        self._settle(name)
        token = self._take(name, owner, ttl_us)
        if token is None:
            self._wait(name, LockWaiter(owner, ttl_us, self.context.now_us + ttl_us))
        return token

    @command
    def try_acquire(self, name: Name, owner: Name, ttl: float = 30.0) -> int | None:
        """As `acquire`, but who does not get the lock does not wait for it either. It overtakes nobody."""
        ttl_us = _microseconds(ttl)
        self._settle(name)
        return self._take(name, owner, ttl_us)

    @command
    def renew(self, name: Name, token: int, ttl: float = 30.0) -> bool:
        """Let the grant of `token` last for `ttl` seconds from now. False if it is over: it does not come back."""
        ttl_us = _microseconds(ttl)
        self._settle(name)
        holder = self.holders.get(name)
        if holder is None or holder.token != token:
            return False
        self.holders[name] = LockHolder(holder.owner, token, self.context.now_us + ttl_us)
        return True

    @command
    def release(self, name: Name, owner: Name) -> bool:
        """Give up the lock, which goes to the next in the queue, or the place in the queue. False if `owner` had
        neither. Anybody may do so for an owner that is known to be gone."""
        self._settle(name)
        holder = self.holders.get(name)
        if holder is not None and holder.owner == owner:
            del self.holders[name]
            self._settle(name)
            return True
        return self._leave(name, owner)

    @query
    def holder(self, name: Name) -> LockHolder | None:
        """Who holds the lock, as the newest command left it: its limit may have passed since. None: nobody."""
        return self.holders.get(name)

    @query
    def waiters(self, name: Name, start: int = 0, limit: int = 1000) -> list[str]:
        """Owners in the queue, the next one first, as the newest command left it. Costs those before, too."""
        first, behind = self.queues.get(name, (0, 0))
        present = (self.waiting.get((name, number)) for number in range(first, behind))
        return [waiter.owner for waiter in islice((each for each in present if each), start, start + limit)]

    @query
    def names(self, start: int = 0, limit: int = 1000) -> list[str]:
        """Locks that are held, as the newest commands left them. Costs those before, too."""
        return list(islice(self.holders, start, start + limit))

    @query
    def size(self) -> int:
        """How many locks are held, as the newest commands left them."""
        return len(self.holders)

    def _settle(self, name: str) -> None:
        """Take the lock from a holder whose limit has passed, and give it to the first who still waits."""
        now_us = self.context.now_us
        holder = self.holders.get(name)
        if holder is not None:
            if now_us < holder.until_us:
                return
            del self.holders[name]
        if name not in self.queues:
            return
        first, behind = self.queues[name]
        while first < behind:
            waiter = self.waiting.pop((name, first), None)
            first += 1
            if waiter is None:
                continue  # it left its place
            del self.numbers[name, waiter.owner]
            if now_us < waiter.until_us:
                self._grant(name, waiter.owner, waiter.ttl_us)
                break
        if first < behind:
            self.queues[name] = (first, behind)
        else:
            del self.queues[name]

    def _take(self, name: str, owner: str, ttl_us: int) -> int | None:
        holder = self.holders.get(name)
        if holder is None:
            return self._grant(name, owner, ttl_us)
        if holder.owner != owner:
            return None
        self.holders[name] = LockHolder(owner, holder.token, self.context.now_us + ttl_us)
        return holder.token

    def _grant(self, name: str, owner: str, ttl_us: int) -> int:
        self.newest = max(self.newest + 1, self.context.index)
        self.holders[name] = LockHolder(owner, self.newest, self.context.now_us + ttl_us)
        return self.newest

    def _leave(self, name: str, owner: str) -> bool:
        """Give up a place in the queue; return whether `owner` still had one."""
        number = self.numbers.pop((name, owner), None)
        if number is None:
            return False
        return self.context.now_us < self.waiting.pop((name, number)).until_us

    def _wait(self, name: str, waiter: LockWaiter) -> None:
        number = self.numbers.get((name, waiter.owner))
        if number is not None and self.waiting[name, number].until_us <= self.context.now_us:
            self._leave(name, waiter.owner)
            number = None
        if number is None:
            first, number = self.queues.get(name, (0, 0))
            if number - first >= self.waiters_max:
                first, number = self._closed_up(name, waiter.owner)
            self.queues[name] = (first, number + 1)
            self.numbers[name, waiter.owner] = number
        self.waiting[name, number] = waiter

    def _closed_up(self, name: str, owner: str) -> tuple[int, int]:
        """The ends of a full queue, once those who left and those whose time is over take no place any more."""
        kept: list[LockWaiter] = []
        for number in range(*self.queues[name]):
            waiter = self.waiting.pop((name, number), None)
            if waiter is not None:
                del self.numbers[name, waiter.owner]
                if self.context.now_us < waiter.until_us:
                    kept.append(waiter)
        if len(kept) >= self.waiters_max:
            raise ValueError(
                f"{owner!r} was to wait for the lock {name!r}, but {len(kept)} owners do so already. Ask again "
                "later, or raise waiters_max in a class of your own."
            )
        for number, waiter in enumerate(kept):
            self.waiting[name, number] = waiter
            self.numbers[name, waiter.owner] = number
        return 0, len(kept)


def _microseconds(ttl: float) -> int:
    if not TTL_SECONDS_MIN <= ttl <= TTL_SECONDS_MAX:
        raise ValueError(
            f"a lock was asked for with a ttl of {ttl} s, but limits are from {TTL_SECONDS_MIN} s to 366 days. "
            "Give one in between."
        )
    return round(ttl * 1_000_000)
