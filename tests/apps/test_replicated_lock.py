"""`ReplicatedLock` against a model of lists, its limits by log time, and what it writes."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from objects_log import ObjectLog
from quorum import ReplicatedLock
from quorum.apps.objects import Raised
from quorum.apps.replicated_lock import LockHolder

SECOND_US = 1_000_000
NAMES = st.sampled_from(["door", "gate"])
OWNERS = st.sampled_from(["ann", "bob", "cid", "dan"])
TTLS = st.sampled_from([1.0, 2.5, 10.0])


class Queue3(ReplicatedLock):
    waiters_max = 3


class TimedLog(ObjectLog):
    """Its entries have the log time that the test sets."""

    def __init__(self, **classes):
        self.now_us = 1_700_000_000 * SECOND_US
        super().__init__(**classes)

    def append(self, body):
        machine, log = self.machine, self

        class Timed:
            def apply(self, header, body):
                head = msgspec.structs.replace(header, time_us=log.now_us)
                log.entries[-1] = (head, body)
                return machine.apply(head, body)

        self.machine = Timed()
        try:
            return super().append(body)
        finally:
            self.machine = machine

    def wait(self, seconds):
        self.now_us += round(seconds * SECOND_US)


class Waiter(NamedTuple):
    owner: str
    ttl: float
    until_us: int


class OneLock:
    """A lock as one would write it down: a holder and a list."""

    def __init__(self):
        self.holder, self.queue = None, []

    def settle(self, now_us, grant):
        if self.holder is not None and self.holder.until_us <= now_us:
            self.holder = None
        self.queue = [each for each in self.queue if now_us < each.until_us]
        if self.holder is None and self.queue:
            first = self.queue.pop(0)
            grant(self, first.owner, first.ttl)

    def place(self, owner):
        return next((at for at, each in enumerate(self.queue) if each.owner == owner), None)


class AgainstAModel(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.log = TimedLog(lock=Queue3)
        self.locks = {name: OneLock() for name in ("door", "gate")}
        self.newest = 0
        self.index = len(self.log.entries)

    def until(self, ttl):
        return self.log.now_us + round(ttl * SECOND_US)

    def grant(self, lock, owner, ttl):
        self.newest = max(self.newest + 1, len(self.log.entries) + 1)
        lock.holder = LockHolder(owner, self.newest, self.until(ttl))

    def settled(self, name):
        lock = self.locks[name]
        lock.settle(self.log.now_us, self.grant)
        return lock

    def taken(self, lock, owner, ttl):
        if lock.holder is None:
            self.grant(lock, owner, ttl)
        elif lock.holder.owner == owner:
            lock.holder = LockHolder(owner, lock.holder.token, self.until(ttl))
        return lock.holder.token if lock.holder.owner == owner else None

    @rule(name=NAMES, owner=OWNERS | st.sampled_from(["eve", "fay"]), ttl=TTLS)
    def acquire(self, name, owner, ttl):
        before = self.locks[name].holder, list(self.locks[name].queue), self.newest
        lock = self.settled(name)
        expected = self.taken(lock, owner, ttl)
        if expected is None:
            waiter, place = Waiter(owner, ttl, self.until(ttl)), lock.place(owner)
            if place is not None:
                lock.queue[place] = waiter
            elif len(lock.queue) < 3:
                lock.queue.append(waiter)
            else:
                lock.holder, lock.queue, self.newest = before
                expected = Raised
        found = self.log.call("lock", "acquire", name, owner, ttl)
        assert found == expected or (expected is Raised and isinstance(found, Raised))

    @rule(name=NAMES, owner=OWNERS, ttl=TTLS)
    def try_acquire(self, name, owner, ttl):
        expected = self.taken(self.settled(name), owner, ttl)
        assert self.log.call("lock", "try_acquire", name, owner, ttl) == expected

    @rule(name=NAMES, back=st.integers(0, 3), ttl=TTLS)
    def renew(self, name, back, ttl):
        lock, token = self.settled(name), self.newest - back
        is_held = lock.holder is not None and lock.holder.token == token
        if is_held:
            lock.holder = LockHolder(lock.holder.owner, token, self.until(ttl))
        assert self.log.call("lock", "renew", name, token, ttl) is is_held

    @rule(name=NAMES, owner=OWNERS)
    def release(self, name, owner):
        lock = self.settled(name)
        had = True
        if lock.holder is not None and lock.holder.owner == owner:
            lock.holder = None
            self.settled(name)
        elif lock.place(owner) is not None:
            lock.queue.pop(lock.place(owner))
        else:
            had = False
        assert self.log.call("lock", "release", name, owner) is had

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.5, 11.0]))
    def time_passes(self, seconds):
        self.log.wait(seconds)

    @rule()
    def go_on_from_a_snapshot(self):
        restored = self.log.restored()
        assert restored.digest() == self.log.machine.digest()
        self.log.machine = restored

    @invariant()
    def they_say_the_same(self):
        for name, lock in self.locks.items():
            assert self.log.ask("lock", "holder", name) == lock.holder
            alive = [each.owner for each in lock.queue if self.log.now_us < each.until_us]
            assert [each for each in self.log.ask("lock", "waiters", name) if each in alive] == alive
            assert lock.holder is not None or not self.log.ask("lock", "waiters", name), "nobody holds it"
        held = [name for name, lock in self.locks.items() if lock.holder is not None]
        assert sorted(self.log.ask("lock", "names")) == held and self.log.ask("lock", "size") == len(held)

    def teardown(self):
        if hasattr(self, "log"):
            assert self.log.replay().digest() == self.log.machine.digest()


AgainstAModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_a_replicated_lock_agrees_with_a_model_of_lists = AgainstAModel.TestCase


@given(st.lists(st.tuples(st.sampled_from(["acquire", "release"]), NAMES, OWNERS, st.floats(0.1, 5)), max_size=40))
@settings(max_examples=50, deadline=None)
def test_every_grant_has_a_larger_token_than_all_before(steps):
    log, granted = TimedLog(lock=ReplicatedLock), []
    for method, name, owner, seconds in steps:
        log.call("lock", method, name, owner)
        holder = log.ask("lock", "holder", name)
        if holder is not None and all(holder.token != token for _, token in granted):
            assert all(token < holder.token for _, token in granted)
            granted.append((holder.owner, holder.token))
        log.wait(seconds * 10)
    assert len({token for _, token in granted}) == len(granted)


def test_owners_are_served_in_the_order_in_which_the_log_has_them():
    log = TimedLog(lock=ReplicatedLock)
    assert log.call("lock", "acquire", "door", "ann") > 0
    for owner in ("bob", "cid", "dan"):
        assert log.call("lock", "acquire", "door", owner) is None
    assert log.call("lock", "acquire", "door", "bob") is None, "asking again keeps the place"
    assert log.call("lock", "try_acquire", "door", "eve") is None
    assert log.call("lock", "release", "door", "cid"), "who leaves the queue is not served"
    served = ["ann"]
    while log.call("lock", "release", "door", served[-1]) and log.ask("lock", "holder", "door"):
        served.append(log.ask("lock", "holder", "door").owner)
    assert served == ["ann", "bob", "dan"]


def test_a_lock_whose_holder_is_gone_goes_to_the_first_who_still_asks():
    log = TimedLog(lock=ReplicatedLock)
    first = log.call("lock", "acquire", "door", "ann", ttl=10)
    log.call("lock", "acquire", "door", "bob", ttl=3)
    log.call("lock", "acquire", "door", "cid", ttl=60)
    log.wait(9.999)
    assert log.call("lock", "try_acquire", "door", "dan") is None
    log.wait(0.001)
    assert log.ask("lock", "holder", "door").owner == "ann", "a query cannot know the time"
    assert not log.call("lock", "renew", "door", first), "and what is over does not come back"
    assert log.ask("lock", "holder", "door").owner == "cid", "bob has not asked for three seconds"
    assert log.call("lock", "acquire", "door", "cid") > first


def test_a_lock_is_taken_once_however_often_its_owner_asks():
    log = TimedLog(lock=ReplicatedLock)
    token = log.call("lock", "acquire", "door", "ann")
    assert [log.call("lock", name, "door", "ann") for name in ("acquire", "try_acquire")] == [token, token]
    assert log.call("lock", "release", "door", "ann") and not log.call("lock", "release", "door", "ann")


@pytest.mark.parametrize("ttl", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_a_limit_out_of_range_is_refused(ttl):
    lock = ReplicatedLock()
    for call in (lambda: lock.acquire.sync("a", "ann", ttl), lambda: lock.renew.sync("a", 1, ttl)):
        with pytest.raises(ValueError, match=r"limits are from 0.001 s to 366 days. Give one in between"):
            call()
    assert lock.size.sync() == 0


def test_a_lock_that_is_free_leaves_nothing_behind():
    log = TimedLog(lock=ReplicatedLock)
    cells = log.machine._objects["lock"].cells
    before = sum(1 for _ in cells.leaves.scan(b"", None))
    for _ in range(3):
        for owner in ("ann", "bob", "cid"):
            log.call("lock", "acquire", "door", owner)
        for owner in ("bob", "ann", "cid"):
            assert log.call("lock", "release", "door", owner)
    assert sum(1 for _ in cells.leaves.scan(b"", None)) == before


def test_the_price_of_a_lock_does_not_grow_with_the_queue():
    """Counted in cells written, not in time."""
    log = TimedLog(lock=ReplicatedLock)
    for number in range(80):
        log.call("lock", "acquire", "door", f"owner-{number}")
    cells = log.machine._objects["lock"].cells
    for method, owner in (("acquire", "owner-70"), ("acquire", "late"), ("release", "owner-0")):
        before = cells.revision
        log.call("lock", method, "door", owner)
        assert cells.revision - before <= 5
