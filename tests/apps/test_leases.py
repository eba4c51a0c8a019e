"""The table of leases, against a plain dict."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from quorum.apps.batch import Refused
from quorum.apps.leases import EXPIRED_MAX, TTL_US_MAX, TTL_US_MIN, Leases
from quorum.apps.log_clock import LogClock

SECOND_US = 1_000_000
IDS = st.integers(1, 12)


def table(leases_max: int = 1000) -> tuple[Leases, LogClock]:
    clock = LogClock()
    return Leases(clock, leases_max), clock


def test_a_lease_ends_when_its_time_is_over():
    leases, clock = table()
    assert leases.grant(7, SECOND_US) is None
    clock.restore(SECOND_US - 1, 0, 0)
    assert leases.expire() == [] and leases.remaining_us(7) == 1
    clock.restore(SECOND_US, 0, 0)
    assert leases.remaining_us(7) == 0
    assert leases.expire() == [7] and 7 not in leases and leases.next_deadline_us is None


def test_a_lease_that_is_kept_alive_lasts_its_whole_time_again():
    leases, clock = table()
    leases.grant(7, SECOND_US)
    clock.restore(900_000, 0, 0)
    assert leases.keep_alive(7) == SECOND_US
    assert leases.next_deadline_us == 1_900_000
    clock.restore(1_800_000, 0, 0)
    assert leases.expire() == []


def test_a_lease_that_is_gone_cannot_be_kept_alive():
    leases, clock = table()
    leases.grant(7, SECOND_US)
    assert leases.revoke(7) and not leases.revoke(7)
    assert leases.keep_alive(7) is None and leases.ttl_us(7) is None and leases.remaining_us(7) is None
    clock.restore(2 * SECOND_US, 0, 0)
    assert leases.expire() == []


@pytest.mark.parametrize(
    ("lease_id", "ttl_us", "reason"),
    [
        (0, SECOND_US, "lease"),
        (1 << 63, SECOND_US, "lease"),
        (-1, SECOND_US, "lease"),
        (3, SECOND_US, "exists"),
        (4, TTL_US_MIN - 1, "ttl"),
        (4, TTL_US_MAX + 1, "ttl"),
        (4, SECOND_US, "leases"),
    ],
)
def test_what_cannot_be_granted_is_refused_and_changes_nothing(lease_id, ttl_us, reason):
    leases, _ = table(leases_max=3)
    for known in (1, 2, 3):
        leases.grant(known, SECOND_US)
    before = leases.digest()
    refused = leases.grant(lease_id, ttl_us)
    assert isinstance(refused, Refused) and refused.reason == reason
    assert leases.digest() == before and len(leases) == 3


def test_one_call_ends_a_bounded_number():
    leases, clock = table(leases_max=3 * EXPIRED_MAX)
    for lease_id in range(1, EXPIRED_MAX + 11):
        leases.grant(lease_id, SECOND_US)
    clock.restore(SECOND_US, 0, 0)
    assert leases.expire() == list(range(1, EXPIRED_MAX + 1))
    assert leases.next_deadline_us == SECOND_US
    assert leases.expire() == list(range(EXPIRED_MAX + 1, EXPIRED_MAX + 11))


def test_granting_and_revoking_over_and_over_keeps_the_memory_bounded():
    leases, _ = table()
    for number in range(5000):
        leases.grant(1 + number % 3, SECOND_US)
        leases.keep_alive(1 + number % 3)
        leases.revoke(1 + number % 3)
    assert len(leases._heap) <= 66


def test_damaged_records_are_refused():
    leases, _ = table()
    leases.grant(1, SECOND_US)
    for wrong in ((b"short", b"\0" * 16), (b"\0" * 8, b"short")):
        broken, _ = table()
        broken._records.put(*wrong, 0)
        with pytest.raises(ValueError, match="damaged"):
            leases.load(broken.view().chunks())
    many, _ = table()
    for lease_id in (1, 2):
        many.grant(lease_id, SECOND_US)
    few, _ = table(leases_max=1)
    with pytest.raises(ValueError, match="at most 1"):
        few.load(many.view().chunks())
    assert leases.remaining_us(1) == SECOND_US


class AgainstADict(RuleBasedStateMachine):
    """`oracle` maps a lease to (ttl, deadline)."""

    def __init__(self) -> None:
        super().__init__()
        self.leases, self.clock = table()
        self.oracle: dict[int, tuple[int, int]] = {}

    @rule(lease_id=IDS, ttl_us=st.integers(1, 5).map(lambda count: count * TTL_US_MIN))
    def grant(self, lease_id, ttl_us):
        granted = self.leases.grant(lease_id, ttl_us) is None
        assert granted == (lease_id not in self.oracle)
        if granted:
            self.oracle[lease_id] = (ttl_us, self.clock.now_us + ttl_us)

    @rule(lease_id=IDS)
    def keep_alive(self, lease_id):
        known = self.oracle.get(lease_id)
        assert self.leases.keep_alive(lease_id) == (known and known[0])
        if known is not None:
            self.oracle[lease_id] = (known[0], self.clock.now_us + known[0])

    @rule(lease_id=IDS)
    def revoke(self, lease_id):
        assert self.leases.revoke(lease_id) == (self.oracle.pop(lease_id, None) is not None)

    @rule(gap_us=st.integers(0, 3 * TTL_US_MIN), limit=st.sampled_from([1, 2, 100]))
    def time_passes(self, gap_us, limit):
        self.clock.restore(self.clock.now_us + gap_us, 0, 0)
        due = sorted((deadline, lease_id) for lease_id, (_, deadline) in self.oracle.items())
        due = [lease_id for deadline, lease_id in due if deadline <= self.clock.now_us][:limit]
        assert self.leases.expire(limit) == due
        for lease_id in due:
            del self.oracle[lease_id]

    @rule()
    def go_on_from_a_snapshot(self):
        before = self.leases.digest()
        restored = Leases(self.clock, 1000)
        restored.load(list(self.leases.view().chunks()))
        assert restored.digest() == before
        self.leases = restored

    @invariant()
    def they_agree(self):
        assert self.leases.ids() == sorted(self.oracle) and len(self.leases) == len(self.oracle)
        assert self.leases.next_deadline_us == min((end for _, end in self.oracle.values()), default=None)
        for lease_id, (ttl_us, deadline_us) in self.oracle.items():
            assert self.leases.ttl_us(lease_id) == ttl_us
            assert self.leases.remaining_us(lease_id) == max(0, deadline_us - self.clock.now_us)


AgainstADict.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
test_the_table_agrees_with_a_dict = AgainstADict.TestCase
