"""Locks: holders, queues, tokens, sessions that end, elections, bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lock_log import LOCK, SECOND_US, LockLog, lock_host
from quorum.apps import lock_service
from quorum.apps.answer import FAILED
from quorum.apps.batch import Refused
from quorum.apps.leases import TTL_US_MIN
from quorum.apps.lock import (
    CLOSED_NAMES_MAX,
    LIST_LOCKS_MAX,
    NAME_BYTES_MAX,
    SESSION_NAMES_MAX,
    VALUE_BYTES_MAX,
    Acquire,
    Alive,
    Busy,
    Closed,
    CloseSession,
    Granted,
    Holder,
    KeepAlive,
    ListLocks,
    Locks,
    LockView,
    Look,
    LookSession,
    Opened,
    OpenSession,
    Proclaim,
    Proclaimed,
    Queued,
    Release,
    Released,
    SessionView,
    TryAcquire,
    decode_results,
    encode_batch,
    encode_query,
)
from quorum.apps.lock_service import ServiceHead

TTL_US = 10 * SECOND_US


def three() -> tuple[LockLog, int, int, int]:
    log = LockLog()
    return log, log.open(), log.open(), log.open()


# Holders and queues.


def test_the_first_who_asks_holds_the_lock_and_its_token_is_the_index_of_that_entry():
    log, a, _, _ = three()
    assert log.do(Acquire("x", a)) == Granted(log.index)
    assert log.ask(Look("x")) == LockView("x", Holder(a, log.index, b""), 0)


def test_those_who_come_later_wait_in_the_order_they_came():
    log, a, b, c = three()
    token = log.do(Acquire("x", a)).token
    assert log.do(Acquire("x", b)) == Queued(1, a, token)
    assert log.do(Acquire("x", c)) == Queued(2, a, token)
    assert log.do(Release("x", a)) == Released(True, False)
    assert log.ask(Look("x", b)) == LockView("x", Holder(b, log.index, b""), 1, place=0)
    assert log.ask(Look("x", c)).place == 1
    assert log.do(Release("x", b)).held
    assert log.ask(Look("x", c)).place == 0
    assert log.do(Release("x", c)).held
    assert log.ask(Look("x", c)) == LockView("x", None, 0)
    assert len(log.service) == 0


def test_asking_again_gives_the_same_token_or_the_present_place():
    log, a, b, c = three()
    granted = log.do(Acquire("x", a, b"first"))
    for session in (b, c):
        log.do(Acquire("x", session))
    assert log.do(Acquire("x", a, b"second")) == log.do(TryAcquire("x", a)) == granted
    assert log.ask(Look("x")).holder.value == b"first"
    assert log.do(Acquire("x", c)).place == 2
    log.do(Release("x", b))
    assert log.do(Acquire("x", c)).place == 1


def test_a_try_does_not_wait():
    log, a, b, _ = three()
    token = log.do(TryAcquire("x", a)).token
    assert log.do(TryAcquire("x", b)) == Busy(a, token)
    assert log.ask(Look("x", b)) == LockView("x", Holder(a, token, b""), 0, place=None)


def test_who_waits_may_leave_the_queue():
    log, a, b, c = three()
    for session in (a, b, c):
        log.do(Acquire("x", session))
    assert log.do(Release("x", b)) == Released(False, True)
    assert log.do(Release("x", b)) == Released(False, False)
    log.do(Release("x", a))
    assert log.ask(Look("x", c)).place == 0


def test_a_release_by_token_ends_that_grant_alone():
    log, a, _, _ = three()
    first = log.do(Acquire("x", a)).token
    log.do(Release("x", a))
    second = log.do(Acquire("x", a)).token
    assert log.do(Release("x", a, first)) == Released(False, False)
    assert log.ask(Look("x", a)).place == 0
    assert log.do(Release("x", a, second)) == Released(True, False)


def test_a_release_by_token_does_not_leave_a_queue():
    log, a, b, _ = three()
    token = log.do(Acquire("x", a)).token
    log.do(Acquire("x", b))
    assert log.do(Release("x", b, token)) == Released(False, False)
    assert log.ask(Look("x", b)).place == 1


def test_nobody_releases_what_another_holds():
    log, a, b, _ = three()
    token = log.do(Acquire("x", a)).token
    for given_token in (0, token):
        assert log.do(Release("x", b, given_token)) == Released(False, False)
    assert log.ask(Look("x", a)).place == 0


# Tokens.


def test_tokens_grow_even_where_one_entry_grants_the_same_lock_twice():
    log, a, b, c = three()
    results = log.batch(
        Acquire("x", a), Acquire("x", b), Acquire("x", c), Release("x", a), Release("x", b), Acquire("y", a)
    )
    tokens = [holder.token for name, holder in log.changes if name == "x"]
    assert tokens == [log.index, log.index + 1, log.index + 2]
    assert results[-1] == Granted(log.index + 3)
    log.wait(5 * SECOND_US)
    assert log.do(Acquire("z", a)) == Granted(log.index), "and they are the index again as soon as it is larger"


# Sessions.


def test_a_holder_whose_time_is_over_loses_the_lock_to_the_next_in_the_queue():
    log = LockLog()
    a, b, c = log.open(TTL_US), log.open(10 * TTL_US), log.open(10 * TTL_US)
    first = log.do(Acquire("x", a)).token
    for session in (b, c):
        log.do(Acquire("x", session, b"%d" % session))
    log.wait(TTL_US)
    holder = log.ask(Look("x", c)).holder
    assert holder == Holder(b, log.index, b"%d" % b) and holder.token > first
    assert log.ask(Look("x", c)).place == 1
    assert isinstance(log.do(Acquire("x", a)), Refused)
    assert log.changes[-1] == ("x", holder)


def test_who_waits_and_does_not_keep_its_session_leaves_the_queue():
    log = LockLog()
    a, b, c = log.open(10 * TTL_US), log.open(TTL_US), log.open(10 * TTL_US)
    for session in (a, b, c):
        log.do(Acquire("x", session))
    log.wait(TTL_US)
    log.do(Release("x", a))
    assert log.ask(Look("x", c)).place == 0


def test_a_session_that_is_kept_alive_keeps_its_locks():
    log, a, _, _ = three()
    token = log.do(Acquire("x", a)).token
    for _ in range(5):
        log.wait(TTL_US - 1)
        assert log.do(KeepAlive(a)) == Alive(TTL_US)
    assert log.ask(Look("x")).holder == Holder(a, token, b"")


def test_a_session_that_ended_is_told_so():
    log, a, _, _ = three()
    log.wait(TTL_US)
    for command in (KeepAlive(a), Acquire("x", a), TryAcquire("x", a), Proclaim("x", a, b"")):
        assert log.do(command).reason == "ended"
    assert log.ask(LookSession(a)).reason == "ended"
    assert log.do(Release("x", a)) == Released(False, False)
    assert log.do(CloseSession(a)) == Closed(False)


def test_a_closed_session_gives_up_everything_at_once():
    log, a, b, _ = three()
    for name in ("x", "y"):
        log.do(Acquire(name, a))
        log.do(Acquire(name, b))
    log.do(Acquire("z", b))
    log.do(Acquire("z", a))
    assert log.do(CloseSession(a)) == Closed(True)
    assert [log.ask(Look(name, b)).place for name in ("x", "y", "z")] == [0, 0, 0]
    assert log.ask(Look("z")).waiting == 0
    assert log.ask(LookSession(b)) == SessionView(b, TTL_US, TTL_US, 3)


def test_names_of_sessions_are_never_used_twice():
    log = LockLog()
    first = log.open()
    log.do(CloseSession(first))
    restored = log.restored()
    log.host = restored
    assert log.open() > first


def test_a_time_that_no_lease_may_have_is_refused():
    log = LockLog()
    assert log.do(OpenSession(TTL_US_MIN - 1)).reason == "ttl"
    assert log.open() == 1


def test_sessions_of_one_entry_end_in_a_bounded_number_of_names():
    log = LockLog()
    sessions = [log.open(SECOND_US) for _ in range(CLOSED_NAMES_MAX // SESSION_NAMES_MAX + 3)]
    for session in sessions:
        log.batch(*(Acquire(f"{session}/{number}", session) for number in range(SESSION_NAMES_MAX)))
    log.wait(SECOND_US)
    left = log.service.session_count
    assert 0 < left < len(sessions)
    log.wait(1)
    assert log.service.session_count == len(log.service) == 0


def test_closing_many_sessions_in_one_batch_is_bounded_too():
    log = LockLog()
    sessions = [log.open() for _ in range(CLOSED_NAMES_MAX // SESSION_NAMES_MAX + 3)]
    for session in sessions:
        log.batch(*(Acquire(f"{session}/{number}", session) for number in range(SESSION_NAMES_MAX)))
    results = log.batch(*map(CloseSession, sessions))
    refused = [result for result in results if isinstance(result, Refused)]
    assert refused and {result.reason for result in refused} == {"sessions"}
    assert log.service.session_count == len(refused)


# Elections.


def test_a_leader_proclaims_and_everybody_sees_it():
    log, a, b, _ = three()
    token = log.do(Acquire("x", a, b"one")).token
    log.do(Acquire("x", b, b"two"))
    assert log.do(Proclaim("x", a, b"more")) == Proclaimed(token)
    assert log.do(Proclaim("x", b, b"no")).reason == "holder"
    assert log.do(Proclaim("nobody", b, b"no")).reason == "holder"
    assert log.ask(Look("x")).holder == Holder(a, token, b"more")
    log.do(Release("x", a))
    assert log.ask(Look("x")).holder.value == b"two"


def test_every_change_of_holder_or_value_gives_a_notice():
    log, a, b, _ = three()
    first = log.do(Acquire("x", a, b"1")).token
    log.do(Acquire("x", b, b"2"))
    log.do(Proclaim("x", a, b"3"))
    log.do(Release("x", a))
    second = log.index
    log.do(CloseSession(b))
    assert log.changes == [
        ("x", Holder(a, first, b"1")),
        ("x", Holder(a, first, b"3")),
        ("x", Holder(b, second, b"2")),
        ("x", None),
    ]


# Reads.


def test_locks_are_listed_in_the_order_of_their_names_and_page_by_page():
    log, a, _, _ = three()
    names = [f"n{number:03}" for number in range(50)]
    log.batch(*(Acquire(name, a) for name in reversed(names)))
    page = log.ask(ListLocks("n010", 20))
    assert isinstance(page, Locks) and page.more
    assert [view.name for view in page.locks] == names[10:30]
    rest = log.ask(ListLocks(page.locks[-1].name + "\0"))
    assert [view.name for view in rest.locks] == names[30:] and not rest.more


def test_reads_in_one_batch_are_bounded():
    log = LockLog(locks_max=3000)
    for _ in range(3):
        session = log.open()
        for part in range(0, SESSION_NAMES_MAX, 100):
            log.batch(*(TryAcquire(f"{session}/{part + n}", session, b"v" * VALUE_BYTES_MAX) for n in range(100)))
    page = log.ask(ListLocks(limit=5000))
    assert page.more and len(page.locks) <= LIST_LOCKS_MAX
    results = decode_results(log.host.query(LOCK, encode_query([ListLocks()] * 4)).body)
    assert [getattr(result, "reason", "") for result in results] == ["", "", "read", "read"]
    assert results[1].more and len(results[1].locks) < 100
    assert log.ask(ListLocks(limit=-1)).reason == "list"


# Bad input.


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("", b"", "name"),
        ("a\0b", b"", "name"),
        ("é" * (NAME_BYTES_MAX // 2 + 1), b"", "name"),
        ("x", b"v" * (VALUE_BYTES_MAX + 1), "value"),
    ],
)
def test_names_and_values_out_of_bounds_are_refused(name, value, reason):
    log, a, _, _ = three()
    before = log.service.digest()
    for command in (Acquire(name, a, value), TryAcquire(name, a, value), Proclaim(name, a, value)):
        assert log.do(command).reason == reason
    assert log.service.digest() == before
    log.do(Release(name, a))
    log.ask(Look(name))


def test_full_tables_are_refused(monkeypatch):
    monkeypatch.setattr(lock_service, "WAITERS_MAX", 1)
    monkeypatch.setattr(lock_service, "SESSION_NAMES_MAX", 2)
    log = LockLog(locks_max=3, sessions_max=4)
    a, b, c, d = (log.open() for _ in range(4))
    assert log.do(OpenSession(TTL_US)).reason == "leases"
    log.batch(Acquire("x", a), Acquire("y", a), Acquire("x", b), Acquire("z", c))
    assert log.do(Acquire("z", a)).reason == "session"
    assert log.do(Acquire("x", c)).reason == "queue"
    assert log.do(Acquire("w", d)).reason == "locks"
    assert log.do(Acquire("x", b)).place == 1, "who waits already is answered"


@given(body=st.binary(max_size=100))
def test_no_bytes_stop_the_service(body):
    log = LockLog()
    session = log.open()
    log.append(body)
    log.host.query(LOCK, body)
    assert log.do(Acquire("x", session)) == Granted(log.index)


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x91" * 2000, encode_batch([1 << 63]), encode_query([Look("x")])]
)
def test_what_is_no_command_fails_alone(body):
    log, a, _, _ = three()
    applied = log.append(body)
    if applied.status != FAILED:
        assert {type(result) for result in decode_results(applied.body)} == {Refused}
    assert log.do(Acquire("x", a)) == Granted(log.index)


# Snapshots.


def busy() -> LockLog:
    log = LockLog()
    sessions = [log.open((1 + number % 7) * SECOND_US) for number in range(20)]
    for number in range(300):
        session = sessions[number * 7 % 20]
        log.do(Acquire(f"lock-{number % 13}", session, b"%d" % number))
        if number % 3 == 0:
            log.do(Release(f"lock-{number % 11}", sessions[number % 20]))
        if number % 10 == 0:
            log.do(KeepAlive(sessions[number % 5]))
        log.now_us += 5_000
    assert len(log.service) > 3 and any(lock.tickets for lock in log.service._locks.values())
    return log


def test_replayed_and_restored_services_are_alike_now_and_later():
    log = busy()
    replayed, restored = log.replayed(), log.restored()
    assert log.host.digest() == replayed.digest() == restored.digest()
    before = len(log.entries)
    log.wait(8 * SECOND_US)
    log.open()
    for entry in log.entries[before:]:
        assert replayed.apply(*entry) == restored.apply(*entry)
    assert log.host.digest() == replayed.digest() == restored.digest()
    assert len(log.service) == 0


def test_a_snapshot_is_isolated_from_what_is_applied_while_it_is_read():
    log = busy()
    before, frames = log.host.digest(), log.host.snapshot()
    read = [next(frames)]
    log.wait(8 * SECOND_US)
    restored = lock_host()
    restored.restore([*read, *frames])
    assert restored.digest() == before != log.host.digest()


def test_every_change_changes_the_digest():
    log, a, b, _ = three()
    seen = {log.service.digest()}
    for command in (
        Acquire("x", a),
        Acquire("x", b),
        Proclaim("x", a, b"v"),
        Release("x", a),
        CloseSession(b),
        OpenSession(TTL_US),
        Acquire("x", a),
    ):
        log.do(command)
        assert log.service.digest() not in seen
        seen.add(log.service.digest())
    log.now_us += 1
    assert isinstance(log.do(KeepAlive(a)), Alive) and log.service.digest() not in seen


def chunks_of(log: LockLog) -> list[bytes]:
    return list(log.service.snapshot())


def damaged(what: str) -> list[bytes]:
    """The chunks of a service that contradicts itself."""
    log = LockLog()
    a, b = log.open(), log.open()
    log.batch(Acquire("x", a), Acquire("x", b), Acquire("y", b))
    service = log.service
    match what:
        case "holder without session":
            service._leases.revoke(a)
        case "waiter without session":
            service._leases.revoke(b)
        case "waiter without holder":
            service._holders.delete(b"x")
        case "session twice":
            service._waiters.put(b"x\0" + b"\0" * 7 + b"\x01", a.to_bytes(8, "big"), 0)
        case "short holder":
            service._holders.put(b"x", b"short", 0)
        case "short waiter":
            service._waiters.put(b"x\0" + b"\0" * 8, b"short", 0)
        case "short waiter key":
            service._waiters.put(b"x", b"\0" * 8, 0)
        case "newer token":
            service._token = 0
        case "newer ticket":
            service._ticket = 0
        case "newer session":
            service._session = 1
        case "no text":
            service._holders.put(b"\xff", service._holders.get(b"x").value, 0)
        case "no head":
            return chunks_of(log)[1:]
        case "nothing":
            return []
        case "other format":
            return [encode_batch(ServiceHead(9, 0, 0, 0, 1, 1, 1)), *chunks_of(log)[1:]]
    return chunks_of(log)


@pytest.mark.parametrize(
    "what",
    [
        "holder without session",
        "waiter without session",
        "waiter without holder",
        "session twice",
        "short holder",
        "short waiter",
        "short waiter key",
        "newer token",
        "newer ticket",
        "newer session",
        "no text",
        "no head",
        "nothing",
        "other format",
    ],
)
def test_a_damaged_snapshot_is_refused_and_changes_nothing(what):
    log = busy()
    before = log.service.digest()
    with pytest.raises(ValueError, match="restored"):
        log.service.restore(damaged(what))
    assert log.service.digest() == before


def test_an_undamaged_one_is_not():
    log = busy()
    log.service.restore(damaged(""))
    assert log.ask(Look("x")).waiting == 1


def test_the_answer_to_opening_is_the_session():
    assert LockLog().do(OpenSession(TTL_US)) == Opened(1, TTL_US)
