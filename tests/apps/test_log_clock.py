"""Lease time: gaps of log time, without those that no leader vouches for."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from apps_log import header
from quorum.apps.log_clock import GAP_US_MAX, TICK_US_MAX, LogClock
from quorum.entry import BARRIER, COMMAND, CONFIGURATION, TICK
from quorum.header import Header

SECOND_US = 1_000_000


def entry(time_us: int, kind: int = COMMAND) -> Header:
    return msgspec.structs.replace(header(1, kind=kind), time_us=time_us)


def test_lease_time_adds_up_the_gaps_between_entries():
    clock = LogClock()
    clock.advance(entry(1_700_000_000 * SECOND_US, BARRIER))
    assert clock.advance(entry(1_700_000_001 * SECOND_US)) == SECOND_US
    assert clock.advance(entry(1_700_000_001 * SECOND_US + 5, TICK)) == SECOND_US + 5


def test_it_stands_still_while_nobody_leads():
    clock = LogClock()
    clock.advance(entry(0, CONFIGURATION))
    clock.advance(entry(10 * SECOND_US, BARRIER))
    before = clock.advance(entry(11 * SECOND_US))
    assert clock.advance(entry(3600 * SECOND_US, BARRIER)) == before
    assert clock.advance(entry(3601 * SECOND_US)) == before + SECOND_US


def test_a_leader_whose_clock_jumps_costs_one_bounded_gap():
    clock = LogClock()
    clock.advance(entry(10 * SECOND_US, BARRIER))
    assert clock.advance(entry(86_400 * SECOND_US)) == GAP_US_MAX
    assert clock.advance(entry(86_401 * SECOND_US)) == GAP_US_MAX + SECOND_US


def test_the_ticks_of_an_idle_cluster_all_count():
    assert TICK_US_MAX < GAP_US_MAX


@given(entries=st.lists(st.tuples(st.integers(0, 10 * SECOND_US), st.sampled_from([COMMAND, TICK, BARRIER]))))
def test_it_never_goes_back_and_never_outruns_log_time(entries):
    clock = LogClock()
    first, highest = None, 0
    for time_us, kind in entries:
        before = clock.now_us
        clock.advance(entry(time_us, kind))
        first = min(first, time_us) if first is not None else time_us
        highest = max(highest, time_us)
        assert before <= clock.now_us <= highest
        assert clock.log_time_us == highest
