"""Keys that hang on leases: what attaches and detaches them, how a lease ends, what is refused and kept."""

from __future__ import annotations

import msgspec
import pytest

from apps_log import KV, header
from lease_log import SECOND_US, LeaseLog
from quorum.apps.batch import Refused
from quorum.apps.kv import (
    ENDED_MAX,
    ITEM_BYTES,
    LEASE_KEYS_MAX,
    LEASES_LISTED_MAX,
    READ_BYTES_MAX,
    Compact,
    Compare,
    CompareAndSwap,
    Delete,
    DeleteRange,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseKept,
    LeaseList,
    LeaseLook,
    LeaseRevoke,
    LeaseRevoked,
    LeasesListed,
    LeaseView,
    ListedLease,
    Put,
    PutWithLease,
    PutWithTtl,
    Range,
    Txn,
    Written,
    decode_results,
    encode_batch,
    encode_query,
)
from quorum.apps.kv_leases import OWN
from quorum.apps.kv_store import KeyValueStore
from quorum.apps.leases import LEASE_ID_MAX, TTL_US_MAX, TTL_US_MIN
from quorum.entry import TICK


@pytest.fixture
def log() -> LeaseLog:
    return LeaseLog()


def changes(log: LeaseLog, first: int = 0) -> list[tuple[bytes, int, bool]]:
    history = log.store.history
    return [(change.key, change.revision, change.is_removal) for change in history.since(first)]


# Attaching and detaching.


def test_a_key_tells_its_lease_and_the_lease_its_keys(log):
    lease = log.grant()
    assert log.batch(PutWithLease(b"b", b"2", lease), PutWithLease(b"a", b"1", lease)) == [Written(1), Written(2)]
    assert log.get(b"a").lease == lease and log.get(b"a").value == b"1"
    assert [item.lease for item in log.ask(Range(b"", None)).items] == [lease, lease]
    view = log.ask(LeaseLook(lease))
    assert view == LeaseView(lease, 10 * SECOND_US, 10 * SECOND_US, 2, [b"a", b"b"], False)


def test_the_keys_of_a_lease_are_read_in_pages(log):
    lease = log.grant()
    log.batch(*(PutWithLease(b"%d" % number, b"", lease) for number in range(5)))
    first = log.ask(LeaseLook(lease, limit=2))
    assert (first.keys, first.more, first.count) == ([b"0", b"1"], True, 5)
    rest = log.ask(LeaseLook(lease, first.keys[-1] + b"\0"))
    assert (rest.keys, rest.more) == ([b"2", b"3", b"4"], False)
    assert log.ask(LeaseLook(lease, limit=-1)).reason == "lease"


def test_all_leases_are_listed_in_pages_in_order(log):
    assert log.ask(LeaseList()) == LeasesListed([], False, 0)
    first, second, third = log.grant(), log.grant(20 * SECOND_US), log.grant()
    log.batch(PutWithLease(b"a", b"", second), PutWithLease(b"b", b"", second), PutWithTtl(b"c", b"", SECOND_US))
    log.now_us += SECOND_US // 2
    log.append(b"", TICK)
    page = log.ask(LeaseList(limit=2))
    assert page == LeasesListed(
        [
            ListedLease(first, 10 * SECOND_US, 10 * SECOND_US - SECOND_US // 2, 0, False),
            ListedLease(second, 20 * SECOND_US, 20 * SECOND_US - SECOND_US // 2, 2, False),
        ],
        True,
        4,
    )
    rest = log.ask(LeaseList(second))
    own = log.get(b"c").lease
    assert [(each.lease, each.count, each.is_own) for each in rest.leases] == [(third, 0, False), (own, 1, True)]
    assert (rest.more, rest.total) == (False, 4) and log.ask(LeaseList(own)) == LeasesListed([], False, 4)
    assert log.ask(LeaseList(LEASE_ID_MAX)).leases == []


@pytest.mark.parametrize("query", [LeaseList(-1), LeaseList(LEASE_ID_MAX + 1), LeaseList(0, -1)])
def test_a_list_that_makes_no_sense_is_refused(log, query):
    assert log.ask(query).reason == "lease"


def test_a_list_of_leases_is_bounded_as_every_read(log):
    for _ in range(2):
        log.batch(*(LeaseGrant(SECOND_US) for _ in range(LEASES_LISTED_MAX)))
    page = log.ask(LeaseList())
    assert len(page.leases) == LEASES_LISTED_MAX and page.more and page.total == 2 * LEASES_LISTED_MAX
    many = READ_BYTES_MAX // ITEM_BYTES // LEASES_LISTED_MAX + 2
    results = decode_results(log.host.query(KV, encode_query([LeaseList()] * many)).body)
    assert sum(len(each.leases) for each in results[:-1]) == READ_BYTES_MAX // ITEM_BYTES
    assert results[-2].more and results[-1].reason == "read"


@pytest.mark.parametrize(
    "write",
    [
        [Put(b"k", b"2")],
        [Put(b"k", b"2")] * 20,
        [CompareAndSwap(b"k", b"1", b"2")],
        [Txn([], [Put(b"k", b"2")], [])],
        [Delete(b"k"), Put(b"k", b"2")],
        [DeleteRange(b"", None), Put(b"k", b"2")],
        [DeleteRange(b"j", b"l"), Put(b"k", b"2")],
    ],
    ids=["put", "many puts", "swap", "transaction", "delete", "delete all", "delete range"],
)
def test_a_write_without_a_lease_takes_the_key_off_it(log, write):
    lease = log.grant()
    log.do(PutWithLease(b"k", b"1", lease))
    log.batch(*write)
    assert log.get(b"k").lease == 0 and log.ask(LeaseLook(lease)).keys == []
    assert log.do(LeaseRevoke(lease)).count == 0
    assert log.get(b"k").value == b"2"
    assert log.host.digest() == log.replayed().digest() == log.restored().digest()


def test_the_commands_of_a_batch_attach_and_detach_in_order(log):
    first, second = log.grant(), log.grant()
    log.batch(
        PutWithLease(b"a", b"", first),
        Put(b"a", b""),
        PutWithLease(b"a", b"", second),
        PutWithLease(b"b", b"", first),
    )
    log.batch(Put(b"b", b""), PutWithLease(b"b", b"", second))
    assert log.ask(LeaseLook(first)).keys == [] and log.ask(LeaseLook(second)).keys == [b"a", b"b"]


def test_a_swap_that_does_not_hold_leaves_the_key_on_its_lease(log):
    lease = log.grant()
    log.do(PutWithLease(b"k", b"1", lease))
    assert not log.do(CompareAndSwap(b"k", b"other", b"2")).succeeded
    assert log.get(b"k").lease == lease


def test_a_transaction_puts_with_leases_or_is_refused_whole(log):
    lease = log.grant()
    absent = [Compare(b"k", "version", "=", 0)]
    made = log.do(Txn(absent, [PutWithLease(b"k", b"1", lease), PutWithTtl(b"t", b"1", SECOND_US)], []))
    assert made.succeeded and (log.get(b"k").lease, log.get(b"t").lease >= OWN) == (lease, True)
    refused = log.do(Txn([], [Put(b"x", b"1"), PutWithLease(b"y", b"1", 99)], []))
    assert refused.reason == "ended" and log.get(b"x") is None
    assert log.do(Txn(absent, [PutWithLease(b"y", b"1", 99)], [Put(b"x", b"1")])).results == [Written(2)]
    twice = Txn([], [Put(b"x", b"1"), PutWithLease(b"x", b"2", lease)], [])
    assert log.do(twice).reason == "txn"


# The end of a lease.


def test_a_revoked_lease_takes_its_keys_with_it_at_one_revision(log):
    lease = log.grant()
    log.batch(Put(b"stays", b""), *(PutWithLease(b"%d" % number, b"", lease) for number in (3, 1, 2)))
    assert log.do(LeaseRevoke(lease)) == LeaseRevoked(True, 3, 5)
    assert len(log.store) == 1 and log.store.revision == 5
    assert changes(log, 4) == [(b"1", 5, True), (b"2", 5, True), (b"3", 5, True)]
    assert log.do(LeaseRevoke(lease)) == LeaseRevoked(False, 0, 5)
    assert log.ask(LeaseLook(lease)).reason == log.do(LeaseKeepAlive(lease)).reason == "ended"


def test_a_lease_ends_when_its_time_is_over_and_not_before(log):
    lease = log.grant(3 * SECOND_US)
    log.do(PutWithLease(b"k", b"", lease))
    log.wait(3 * SECOND_US - 1)
    assert log.get(b"k") is not None and log.ask(LeaseLook(lease)).remaining_us == 1
    assert log.host.expires_in_us == 1
    log.wait(1)
    assert log.get(b"k") is None and log.store.lease_count == 0
    assert changes(log) == [(b"k", 1, False), (b"k", 2, True)]
    assert log.host.expires_in_us is None
    assert log.host.digest() == log.replayed().digest() == log.restored().digest()


def test_a_lease_that_is_kept_alive_lasts_for_its_whole_time_again(log):
    lease = log.grant(3 * SECOND_US)
    log.do(PutWithLease(b"k", b"", lease))
    for _ in range(5):
        log.wait(2 * SECOND_US)
        assert log.do(LeaseKeepAlive(lease)) == LeaseKept(3 * SECOND_US)
    log.wait(3 * SECOND_US)
    assert log.get(b"k") is None


def test_what_is_due_is_gone_before_the_command_of_the_same_entry(log):
    lease = log.grant(SECOND_US)
    log.do(PutWithLease(b"k", b"", lease))
    log.now_us += SECOND_US
    swapped, refused = log.batch(CompareAndSwap(b"k", None, b"new"), PutWithLease(b"x", b"", lease))
    assert swapped.succeeded and swapped.revision == 3 and refused.reason == "ended"


def test_the_removals_of_a_lease_are_kept_in_a_compacted_history(log):
    lease = log.grant(SECOND_US)
    log.batch(Put(b"a", b""), PutWithLease(b"k", b"", lease))
    log.do(Compact(2))
    log.wait(SECOND_US)
    assert changes(log, log.store.history.begin) == [(b"k", 3, True)]


def test_leases_that_end_together_end_in_order_each_at_a_revision_of_its_own(log):
    later, sooner, same = log.grant(2 * SECOND_US), log.grant(SECOND_US), log.grant(2 * SECOND_US)
    log.batch(*(PutWithLease(b"%d" % lease, b"", lease) for lease in (later, sooner, same)))
    log.now_us += 2 * SECOND_US
    log.batch(Put(b"z", b""))
    removed = [(key, revision) for key, revision, is_removal in changes(log) if is_removal]
    assert removed == [(b"%d" % sooner, 4), (b"%d" % later, 5), (b"%d" % same, 6)]


def test_one_entry_ends_so_many_keys_at_most_and_the_next_goes_on(log):
    """Each lease still ends whole, at one revision."""
    leases = [log.grant(SECOND_US) for _ in range(3)]
    each = LEASE_KEYS_MAX - 1
    for lease in leases:
        log.batch(*(PutWithLease(b"%d/%d" % (lease, number), b"", lease) for number in range(each)))
    log.now_us += SECOND_US
    left = []
    for _ in range(3):
        log.append(b"")
        left.append(len(log.store))
        assert log.host.expires_in_us == (0 if left[-1] else None)
    assert left == [2 * each, each, 0]
    removed = [revision for _, revision, is_removal in changes(log) if is_removal]
    assert [removed.count(revision) for revision in sorted(set(removed))] == [each] * 3
    assert log.host.digest() == log.replayed().digest() == log.restored().digest()


def test_a_lease_that_is_due_has_ended_although_its_keys_wait_for_the_next_entry(log):
    first, second = log.grant(SECOND_US), log.grant(SECOND_US)
    for lease in (first, second):
        log.batch(*(PutWithLease(b"%d/%d" % (lease, number), b"", lease) for number in range(LEASE_KEYS_MAX)))
    log.now_us += SECOND_US
    kept, put = log.batch(LeaseKeepAlive(second), PutWithLease(b"%d/0" % second, b"", second))
    assert kept.reason == put.reason == "ended" and len(log.store) == LEASE_KEYS_MAX
    assert log.ask(LeaseLook(second)).remaining_us == 0
    log.append(b"")
    assert len(log.store) == log.store.lease_count == 0


def test_so_many_keys_are_removed_by_the_revocations_of_one_batch_at_most(log):
    first, second, small = log.grant(), log.grant(), log.grant()
    for lease in (first, second):
        log.batch(*(PutWithLease(b"%d/%d" % (lease, number), b"", lease) for number in range(ENDED_MAX // 2)))
    done, refused, fits = log.batch(LeaseRevoke(first), LeaseRevoke(second), LeaseRevoke(small))
    assert (done.count, refused.reason, fits.existed) == (ENDED_MAX // 2, "leases", True)
    assert log.do(LeaseRevoke(second)).count == ENDED_MAX // 2


# Keys with a time of their own.


def test_a_key_with_a_time_ends_and_its_lease_with_it(log):
    assert log.do(PutWithTtl(b"k", b"1", SECOND_US)) == Written(1)
    assert log.get(b"k").lease >= OWN and log.store.lease_count == 1
    log.wait(SECOND_US)
    assert log.get(b"k") is None and log.store.lease_count == 0


def test_each_write_with_a_time_begins_it_anew(log):
    for _ in range(5):
        log.do(PutWithTtl(b"k", b"1", 2 * SECOND_US))
        log.wait(SECOND_US)
    assert log.get(b"k").version == 5 and log.store.lease_count == 1
    log.wait(SECOND_US)
    assert log.get(b"k") is None


@pytest.mark.parametrize("write", [Put(b"k", b"2"), Delete(b"k"), DeleteRange(b"", None), LeaseRevoke(OWN + 1)])
def test_a_keys_own_lease_ends_when_the_key_is_removed_or_written_otherwise(log, write):
    log.do(PutWithTtl(b"k", b"1", SECOND_US))
    log.batch(write)
    assert log.store.lease_count == 0 and log.host.expires_in_us is None
    log.wait(2 * SECOND_US)
    assert (log.get(b"k") is not None) == isinstance(write, Put)


def test_no_other_key_hangs_on_a_keys_own_lease(log):
    log.do(PutWithTtl(b"k", b"1", SECOND_US))
    for key in (b"k", b"other"):
        assert log.do(PutWithLease(key, b"1", log.get(b"k").lease)).reason == "lease"


# What is refused, in three parts, with nothing changed.


def refused_as(log: LeaseLog, command, reason: str) -> None:
    before = log.store.digest()
    refused = log.do(command)
    assert isinstance(refused, Refused) and refused.reason == reason
    assert ", but " in refused.message and refused.message.count(". ") == 1 and refused.message.endswith(".")
    assert log.store.digest() == before


def test_times_out_of_bounds_are_refused(log):
    for ttl_us in (-1, 0, TTL_US_MIN - 1, TTL_US_MAX + 1, 2**64 - 1):
        refused_as(log, LeaseGrant(ttl_us), "ttl")
        refused_as(log, PutWithTtl(b"k", b"", ttl_us), "ttl")
    assert log.grant(TTL_US_MIN) == 1 and log.grant(TTL_US_MAX) == 2


def test_a_put_with_a_lease_that_never_was_is_refused(log):
    for lease in (-1, 0, 1, 2**63 - 1, 2**64 - 1):
        refused_as(log, PutWithLease(b"k", b"", lease), "ended")
        refused_as(log, LeaseKeepAlive(lease), "ended")
        assert log.do(LeaseRevoke(lease)) == LeaseRevoked(False, 0, 0)


def test_keys_and_values_with_leases_are_bounded_as_without(log):
    lease = log.grant()
    assert log.do(PutWithLease(b"", b"", lease)).reason == log.do(PutWithTtl(b"", b"", SECOND_US)).reason == "key"
    assert log.do(PutWithLease(b"k", bytes(2**20 + 1), lease)).reason == "value"


def test_the_number_of_leases_and_of_keys_on_one_is_bounded():
    log = LeaseLog(leases_max=3, keys_max=2)
    lease = log.grant()
    log.batch(PutWithLease(b"a", b"", lease), PutWithLease(b"b", b"", lease))
    refused_as(log, PutWithLease(b"c", b"", lease), "lease")
    assert isinstance(log.do(PutWithLease(b"a", b"again", lease)), Written)
    branch = [PutWithLease(b"c", b"", log.grant()), PutWithLease(b"d", b"", 2), PutWithLease(b"e", b"", 2)]
    refused_as(log, Txn([], branch, []), "lease")
    refused_as(log, Txn([], [PutWithTtl(b"t", b"", SECOND_US), PutWithTtl(b"u", b"", SECOND_US)], []), "leases")
    log.do(PutWithTtl(b"t", b"", SECOND_US))
    refused_as(log, LeaseGrant(SECOND_US), "leases")
    refused_as(log, PutWithTtl(b"u", b"", SECOND_US), "leases")
    assert isinstance(log.do(PutWithTtl(b"t", b"", SECOND_US)), Written)  # in place of its own


# State.


def test_a_store_that_never_had_a_lease_has_the_digest_and_the_snapshot_it_had_before_there_were_leases():
    store = KeyValueStore()
    store.apply(header(1), encode_batch([Put(b"a", b"1"), Delete(b"a"), Put(b"b", b"2")]))
    assert store.digest().hex() == "c20ba2ff5cbbc42cc0f604d20e6ab21cc66383311d91ba89f4ad745672801c42"
    (head, *_) = store.snapshot()
    assert msgspec.msgpack.decode(head) == [2, 3, 1]


def test_a_batch_of_puts_is_what_it_was_before_there_were_leases():
    assert encode_batch([Put(b"a", b"1")]) == b"\x91\x93\x01\xc4\x01a\xc4\x011"


def test_a_snapshot_carries_leases_their_times_and_their_keys(log):
    lease = log.grant(5 * SECOND_US)
    log.batch(PutWithLease(b"k", b"", lease), PutWithTtl(b"t", b"", 2 * SECOND_US))
    log.wait(SECOND_US)
    log.host = log.restored()
    assert log.ask(LeaseLook(lease)).remaining_us == 4 * SECOND_US
    log.wait(SECOND_US)
    assert log.get(b"t") is None and log.get(b"k").lease == lease
    log.wait(3 * SECOND_US)
    assert log.get(b"k") is None
    assert log.grant() == 3, "names are never used twice"


@pytest.mark.parametrize("change", ["newest", "rows", "leases", "missing", "more"])
def test_a_snapshot_whose_leases_contradict_it_is_refused(log, change):
    lease = log.grant()
    log.batch(PutWithLease(b"k", b"", lease), PutWithTtl(b"t", b"", SECOND_US))
    chunks = list(log.store.snapshot())
    head = msgspec.msgpack.decode(chunks[0])
    match change:
        case "newest":
            head[3] = 1
        case "rows":
            chunks[-1] = msgspec.msgpack.encode([b"", [], []])
        case "leases":
            chunks[-2] = msgspec.msgpack.encode([b"", [], []])
        case "missing":
            chunks[1] = msgspec.msgpack.encode([b"", [], []])
        case "more":
            chunks.append(b"\x90")
    chunks[0] = msgspec.msgpack.encode(head)
    before = log.store.digest()
    with pytest.raises(ValueError, match=r"to be restored|to be loaded"):
        log.store.restore(chunks)
    assert log.store.digest() == before


def test_an_old_snapshot_without_leases_replaces_leases():
    log = LeaseLog()
    log.do(PutWithLease(b"k", b"", log.grant()))
    plain = KeyValueStore()
    plain.apply(header(1), encode_batch([Put(b"a", b"1")]))
    log.store.restore(list(plain.snapshot()))
    assert log.store.digest() == plain.digest() and log.store.lease_count == 0
    assert log.store.next_deadline_us is None


def test_no_lease_of_an_old_cluster_lives_in_a_restored_one(log):
    lease = log.grant()
    log.do(PutWithLease(b"k", b"", lease))
    backup = log.restored()
    lost = log.grant()
    log.host = backup
    log.store.begin_anew()
    assert log.get(b"k").lease == lease and log.grant() > lost
    assert log.do(LeaseKeepAlive(lost)).reason == "ended"
    assert log.restored().digest() == log.host.digest()
