"""What ends by itself: the host calls `expire` at the entry that moves lease time to the deadline. The logs of
`apps_log` let 1,000 us pass with every entry."""

from __future__ import annotations

import pytest

from alarms import APP, Alarms
from apps_log import Log
from quorum.apps.answer import OK
from quorum.apps.applied import NOTHING
from quorum.apps.decide import Decisions
from quorum.apps.host import Host
from quorum.apps.log_clock import LogClock
from quorum.apps.state_machine import Notice, Outputs, Task, is_expiring
from quorum.entry import BARRIER, TICK

TTL_US = 100_000


def host_of(*ids: int) -> tuple[Host, list[Alarms]]:
    clock = LogClock()
    alarms = [Alarms(clock, TTL_US) for _ in ids]
    return Host(dict(zip(ids, alarms)), clock=clock), alarms


def let_time_pass(log: Log, entries: int) -> list:
    return [log.append(b"", kind=TICK) for _ in range(entries)]


def test_the_contract_is_recognised():
    assert is_expiring(Alarms(LogClock(), TTL_US))
    assert not is_expiring(Decisions())


def test_what_is_due_ends_at_the_first_entry_that_reaches_it_and_goes_out_with_it():
    host, (alarms,) = host_of(APP)
    log = Log(host)
    assert host.expires_in_us is None
    log.append(b"5", app=APP)
    assert host.expires_in_us == TTL_US
    assert let_time_pass(log, 99) == [NOTHING] * 99
    assert host.expires_in_us == 1000
    (applied,) = let_time_pass(log, 1)
    assert applied.notices == (Notice(b"over", b"5", APP),) and applied.tasks == (Task("ring", b""),)
    assert alarms.ended[-1] == 5 and host.expires_in_us is None


def test_it_ends_before_the_command_of_that_entry():
    host, (alarms,) = host_of(APP)
    log = Log(host)
    log.append(b"5", app=APP)
    let_time_pass(log, 99)
    applied = log.append(b"", app=APP)
    assert alarms.ended[-2:] == [5, -log.next_index + 1]
    assert (applied.status, applied.body) == (OK, b"set")
    assert [notice.topic for notice in applied.notices] == [b"over", b"set"]


def test_a_retried_batch_carries_what_expired_at_its_entry():
    host, _ = host_of(APP)
    log = Log(host)
    client = log.open()
    log.append(b"5", app=APP, client=client, first_sequence=1)
    let_time_pass(log, 99)
    again = log.append(b"5", app=APP, client=client, first_sequence=1)
    assert again.body == b"over"
    assert again.notices == (Notice(b"over", b"5", APP),)


def test_the_first_entry_of_a_new_leader_lets_nothing_expire():
    host, (alarms,) = host_of(APP)
    log = Log(host)
    log.append(b"5", app=APP)
    let_time_pass(log, 99)
    assert log.append(b"", kind=BARRIER) == NOTHING
    let_time_pass(log, 1)
    assert alarms.ended[-1] == 5


@pytest.mark.parametrize("fault", [ValueError("broken"), AssertionError(), RecursionError()])
def test_an_exception_stops_neither_the_host_nor_the_other_applications(fault):
    host, (first, second) = host_of(APP, APP + 1)
    log = Log(host)
    log.append(b"5", app=APP)
    log.append(b"6", app=APP + 1)
    first.fault = fault
    let_time_pass(log, 120)
    assert second.ended[-1] == 6
    assert host.expiry_failure.kind == type(fault).__name__
    assert log.append(b"7", app=APP).status == OK
    assert host.expires_in_us == 0
    first.fault = None
    let_time_pass(log, 1)
    assert first.ended[-1] == 5 and host.expiry_failure is None


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        Outputs(b"", replies=(5,)),
        Outputs(b"", notices=[]),
        Outputs(b"", notices=(5,)),
        Outputs(b"", tasks=None),
    ],
)
def test_outputs_that_are_none_count_as_a_failure(nonsense):
    host, (alarms,) = host_of(APP)
    log = Log(host)
    log.append(b"5", app=APP)
    alarms.expire = lambda: nonsense
    assert let_time_pass(log, 101)[-1] == NOTHING
    assert host.expiry_failure.kind == "TypeError"


def test_a_deadline_that_cannot_be_told_stops_nothing():
    class Confused(Alarms):
        @property
        def next_deadline_us(self):
            raise LookupError

    clock = LogClock()
    log = Log(Host({APP: Confused(clock, TTL_US)}, clock=clock))
    log.append(b"5", app=APP)
    assert log.host.expires_in_us is None and let_time_pass(log, 101)[-1] == NOTHING


def test_want_of_memory_is_not_swallowed():
    host, (alarms,) = host_of(APP)
    log = Log(host)
    log.append(b"5", app=APP)
    alarms.fault = MemoryError()
    with pytest.raises(MemoryError):
        let_time_pass(log, 101)


def test_replayed_and_restored_hosts_expire_at_the_same_entry():
    host, _ = host_of(APP)
    log = Log(host)
    log.append(b"5", app=APP)
    let_time_pass(log, 60)
    log.append(b"6", app=APP)
    restored, (alarms,) = host_of(APP)
    restored.restore(list(host.snapshot()))
    assert restored.expires_in_us == host.expires_in_us == 39_000
    for _ in range(200):
        entry = (log.append(b"", kind=TICK), log.entries[-1])
        alarms.askers = host._applications[APP].askers
        assert restored.apply(*entry[1]) == entry[0]
        assert restored.digest() == host.digest()
    assert log.replay(host_of(APP)[0]).digest() == host.digest()
    assert alarms.ended[-2:] == [5, 6]


def test_lease_time_is_part_of_the_digest():
    with_barrier, without = Log(host_of(APP)[0]), Log(host_of(APP)[0])
    with_barrier.append(b"", kind=BARRIER)
    without.append(b"", kind=TICK)
    assert with_barrier.host.digest() != without.host.digest()
