"""Leases of keys against a plain model, at log times that jump, through snapshots, restores and a replay."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lease_log import SECOND_US, LeaseLog
from quorum.apps.kv import (
    Delete,
    DeleteRange,
    LeaseKeepAlive,
    LeaseList,
    LeaseLook,
    LeaseRevoke,
    Put,
    PutWithLease,
    PutWithTtl,
    Range,
    Txn,
)
from quorum.apps.kv_leases import OWN
from quorum.entry import BARRIER

KEYS = st.integers(0, 12).map(lambda number: b"%02d" % number)
LEASES = st.integers(1, 5)
TTLS = st.integers(1, 5).map(lambda count: count * SECOND_US)


class AgainstAModel(RuleBasedStateMachine):
    """`keys` maps a key to its lease (0: none), `ends` a lease to its ttl and when its time is over; `newest`
    counts the leases, `revision` what the store's is."""

    @initialize()
    def begin(self) -> None:
        self.log = LeaseLog()
        self.keys: dict[bytes, int] = {}
        self.ends: dict[int, tuple[int, int]] = {}
        self.newest = self.revision = 0
        self.lease_now_us = 0
        """Lease time, counted here by its definition."""
        for ttl_s in (2, 60, 60):
            self.grant(ttl_s * SECOND_US)

    # The model.

    def end(self, lease: int) -> None:
        del self.ends[lease]
        doomed = [key for key in self.keys if self.keys[key] == lease]
        for key in doomed:
            del self.keys[key]
        self.revision += bool(doomed)

    def write(self, key: bytes, lease: int | None) -> None:
        """A key was written with a lease (0: without), or removed."""
        old = self.keys.pop(key, 0)
        if old >= OWN:
            del self.ends[old]
        if lease is not None:
            self.keys[key] = lease

    def pass_time(self, us: int) -> None:
        self.lease_now_us += us
        for end_us, lease in sorted((end_us, lease) for lease, (_, end_us) in self.ends.items()):
            if end_us <= self.lease_now_us:
                self.end(lease)

    # What clients do.

    @rule(ttl_us=TTLS)
    def grant(self, ttl_us):
        self.newest += 1
        assert self.log.grant(ttl_us) == self.newest
        self.ends[self.newest] = (ttl_us, self.lease_now_us + ttl_us)

    @rule(lease=LEASES)
    def keep_alive(self, lease):
        result = self.log.do(LeaseKeepAlive(lease))
        if lease in self.ends:
            ttl_us = self.ends[lease][0]
            assert result.ttl_us == ttl_us
            self.ends[lease] = (ttl_us, self.lease_now_us + ttl_us)
        else:
            assert result.reason == "ended"

    @rule(lease=LEASES)
    def revoke(self, lease):
        count = list(self.keys.values()).count(lease)
        result = self.log.do(LeaseRevoke(lease))
        assert (result.existed, result.count) == (lease in self.ends, count)
        if lease in self.ends:
            self.end(lease)

    @rule(keys=st.lists(KEYS, min_size=1, max_size=12))
    def put_plainly(self, keys):
        self.log.batch(*(Put(key, b"") for key in keys))
        for key in keys:
            self.write(key, 0)
        self.revision += len(keys)

    @rule(keys=st.lists(KEYS, min_size=1, max_size=6), lease=LEASES)
    def put_with_a_lease(self, keys, lease):
        results = self.log.batch(*(PutWithLease(key, b"", lease) for key in keys))
        for key, result in zip(keys, results, strict=True):
            if lease in self.ends:
                self.write(key, lease)
                self.revision += 1
                assert result.revision == self.revision
            else:
                assert result.reason == "ended"

    @rule(key=KEYS, ttl_us=TTLS)
    def put_for_a_time(self, key, ttl_us):
        self.log.do(PutWithTtl(key, b"", ttl_us))
        self.newest += 1
        self.write(key, OWN + self.newest)
        self.ends[OWN + self.newest] = (ttl_us, self.lease_now_us + ttl_us)
        self.revision += 1

    @rule(put=KEYS, timed=KEYS, deleted=KEYS, lease=LEASES)
    def transact(self, put, timed, deleted, lease):
        if len({put, timed, deleted}) < 3:
            return
        result = self.log.do(
            Txn([], [PutWithLease(put, b"", lease), PutWithTtl(timed, b"", SECOND_US), Delete(deleted)], [])
        )
        if lease not in self.ends:
            assert result.reason == "ended"
            return
        self.newest += 1
        self.revision += 1
        self.write(put, lease)
        self.write(timed, OWN + self.newest)
        self.ends[OWN + self.newest] = (SECOND_US, self.lease_now_us + SECOND_US)
        self.write(deleted, None)

    @rule(start=KEYS, end=st.none() | KEYS, wide=st.booleans())
    def delete(self, start, end, wide):
        doomed = [
            key for key in self.keys if (start <= key and (end is None or key < end) if wide else key == start)
        ]
        result = self.log.do(DeleteRange(start, end) if wide else Delete(start))
        assert result.count == len(doomed)
        for key in doomed:
            self.write(key, None)
        self.revision += bool(doomed)

    @rule(us=st.integers(1, 2 * SECOND_US))
    def time_passes(self, us):
        self.log.now_us += us
        self.log.append(b"")
        self.pass_time(us)

    @rule(us=st.integers(3, 3600).map(lambda count: count * SECOND_US))
    def the_leaders_clock_jumps_ahead(self, us):
        """It costs two seconds at most, as `log_clock` says."""
        self.log.now_us += us
        self.log.append(b"")
        self.pass_time(2 * SECOND_US)

    @rule(us=st.sampled_from([0, 1, 5, 3600]).map(lambda count: count * SECOND_US))
    def another_leads_by_another_clock(self, us):
        """Its first entry counts no time."""
        self.log.now_us += us
        self.log.append(b"", BARRIER)

    @precondition(lambda self: len(self.log.entries) > 1)
    @rule()
    def go_on_from_a_snapshot(self):
        before = self.log.host.digest()
        self.log.host = self.log.restored()
        assert self.log.host.digest() == before == self.log.replayed().digest()

    # What must hold.

    @invariant()
    def the_keys_and_their_leases_are_those_of_the_model(self):
        found = self.log.ask(Range(b"", None))
        assert {item.key: item.lease for item in found.items} == self.keys
        assert found.revision == self.revision

    @invariant()
    def the_leases_are_those_of_the_model(self):
        assert self.log.store.lease_count == len(self.ends)
        listed = self.log.ask(LeaseList())
        assert (listed.more, listed.total) == (False, len(self.ends))
        assert [each.lease for each in listed.leases] == sorted(self.ends)
        assert {each.lease: (each.ttl_us, each.remaining_us) for each in listed.leases} == {
            lease: (ttl_us, end_us - self.lease_now_us) for lease, (ttl_us, end_us) in self.ends.items()
        }
        assert all(each.count == list(self.keys.values()).count(each.lease) for each in listed.leases)
        for lease, (ttl_us, end_us) in self.ends.items():
            view = self.log.ask(LeaseLook(lease))
            assert (view.ttl_us, view.remaining_us) == (ttl_us, end_us - self.lease_now_us)
            assert view.keys == sorted(key for key in self.keys if self.keys[key] == lease)

    @invariant()
    def the_host_knows_when_the_next_lease_ends(self):
        ends = [end_us - self.lease_now_us for _, end_us in self.ends.values()]
        assert self.log.host.expires_in_us == min(ends, default=None)

    @invariant()
    def the_history_tells_every_change(self):
        there: set[bytes] = set()
        for change in self.log.store.history.since(0):
            (there.discard if change.is_removal else there.add)(change.key)
        assert there == set(self.keys)


AgainstAModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_leases_of_keys_agree_with_a_model = AgainstAModel.TestCase
