"""Replicated control loops under attack: what one caller may take of work and room, and who is outvoted."""

from __future__ import annotations

import msgspec
import pytest

from control_log import CONTROL, KINDS, LOOP, PERIOD_US, ControlLog, declared, owner_of, refused, spec
from quorum.apps.control import (
    AHEAD_TICKS,
    CHANNEL_WORK,
    CHANNELS_MAX,
    ITEMS_MAX,
    NAME_BYTES_MAX,
    READ_BYTES_MAX,
    TICK_MAX,
    WORK_MAX,
    Declared,
    DeclareLoop,
    Due,
    ListLoops,
    LookLoop,
    Loops,
    Measured,
    Removed,
    RemoveLoop,
    Report,
    Reported,
    decode_results,
    encode_batch,
    encode_query,
)
from quorum.voting.control.channels import Channel

from apps_log import header  # isort: skip


def test_one_batch_declares_and_compares_a_bounded_number_of_channels():
    log = ControlLog()
    wide = spec(CHANNELS_MAX, 0, f"17oo{CHANNELS_MAX}")
    fit = -(-WORK_MAX // (1 + CHANNEL_WORK * CHANNELS_MAX))
    results = log.batch("client.admin", *[DeclareLoop(LOOP, wide)] * (fit + 1))
    assert results[:fit] == [Declared(False), *[Declared(True)] * (fit - 1)] and refused(results[fit], "batch")
    no_loop = spec(CHANNELS_MAX, degradation="1oo99")
    results = log.batch("client.admin", *[DeclareLoop("other", no_loop)] * (fit + 1))
    assert all(refused(each, "loop") for each in results[:fit]) and refused(results[fit], "batch")


def test_a_batch_of_small_commands_gets_no_large_reply():
    """A late command of 12 bytes is answered by the decision, which may have a thousand times as many."""
    log = ControlLog()
    channels = [Channel(name=f"{at:03}".ljust(NAME_BYTES_MAX, "x"), half_width=1.0) for at in range(CHANNELS_MAX)]
    names = {each.name: owner_of(0) for each in channels}
    log.declare(spec(channels=channels, owners=names, faults=0, degradation=f"1oo{CHANNELS_MAX}"))
    log.due(0, 1)
    entry = header(9, app=CONTROL), encode_batch([Due(LOOP, 1)] * 10_000), owner_of(0)
    reply = log.machine.apply_from(*entry).reply
    assert len(reply) < 2 * READ_BYTES_MAX
    first, *_, last = decode_results(reply)
    assert first == Reported(0, 1, log.decided[0][1]) and last == Reported(0, 1, None)
    assert log.due(0, 1) == first, "another batch begins anew"


def test_a_batch_of_lists_gets_no_large_reply():
    log = ControlLog()
    for at in range(100):
        log.declare(spec(1, 0, "1oo1"), loop=f"{at:03}")
    results = decode_results(log.machine.query(encode_query([ListLoops()] * 4_000)))
    assert isinstance(results[0], Loops) and len(results[0].names) == 100
    assert refused(results[-1], "read")


def test_readings_that_name_what_their_channel_has_not_take_no_room_while_they_wait():
    log = declared(spec(channels=KINDS))
    size = sum(map(len, log.machine.snapshot()))
    junk = {f"{at:02}".ljust(NAME_BYTES_MAX, "j"): 1.0 for at in range(ITEMS_MAX)}
    for at in (0, 1, 3):
        for tick in range(AHEAD_TICKS):
            assert log.report(at, tick, junk) == Reported(1, -1, None)
    assert sum(map(len, log.machine.snapshot())) < size + 3 * AHEAD_TICKS * 30
    last = log.report(2, 0, junk)
    assert isinstance(last, Reported) and last.decided is not None
    assert last.decided.left_out == {
        "c1": "it is no finite number",
        "c2": "it is no list of numbers",
        "c3": "it is no list of numbers",
        "c4": "it names no classes of the channel",
        "c5": "it did not answer",
    }


def test_ticks_that_wait_give_way_in_the_order_they_came_also_after_a_restore():
    log = declared()
    for tick in [9, 8, 7, *range(100, 100 + AHEAD_TICKS - 3)]:
        log.report(4, tick, 20.0)
    replayed, restored = log.replayed(), log.restored()
    begins = len(log.entries)
    for at, tick in [(4, 1), (4, 2), (0, 9), (1, 9), (2, 9), (0, 7), (1, 7), (2, 7)]:
        log.report(at, tick, 20.0)
    assert [each.tick for _, each in log.decided] == [7], "9 gave way, and 7 waits still"
    for entry in log.entries[begins:]:
        replayed.apply_from(*entry)
        restored.apply_from(*entry)
    assert replayed.digest() == restored.digest() == log.machine.digest()


def test_so_many_liars_as_are_declared_end_no_tick_and_one_more_ends_any():
    """Ticks far ahead, too, after which those of the others come too late."""
    for liars in (2, 3):
        log = declared(spec(7, 2, "5oo7 4oo6 3oo5", liars=2))
        for tick in (0, 5, TICK_MAX):
            for at in range(liars):
                log.report(at, tick, 85.0, at_us=0)
                log.due(at, tick)
        assert [each.tick for _, each in log.decided] == ([] if liars == 2 else [0, 5, TICK_MAX])


def test_an_owner_with_two_channels_is_as_many_wrong_ones():
    """Or one liar would push the interval from the truth, although T=1 is declared."""
    owners = {f"c{at + 1}": owner_of(max(0, at - 1)) for at in range(5)}
    log = ControlLog()
    result = log.declare(spec(liars=1, owners=owners))
    assert refused(result, "loop") and "own more than T=1 channels" in result.message
    wide = spec(7, 2, "5oo7 4oo6 3oo5", liars=1, owners=owners | {"c6": owner_of(5), "c7": owner_of(6)})
    assert log.declare(wide) == Declared(False)


def test_what_was_sent_to_an_earlier_loop_of_the_name_does_not_count_for_a_later_one():
    log = declared(spec(3, 0, "2oo3"))
    log.report(0, 0, 20.0)
    before = log.ask(LookLoop(LOOP)).since
    assert log.do(RemoveLoop(LOOP), "client.admin") == Removed(True)
    assert log.declare(spec(3, 0, "2oo3", period_us=2 * PERIOD_US)) == Declared(False)
    since = log.ask(LookLoop(LOOP)).since
    assert since > before > 0
    report = Report(LOOP, 0, [Measured("c1", 0, 85.0)], before)
    assert refused(log.do(report, owner_of(0)), "changed")
    assert refused(log.do(Due(LOOP, 0, before), owner_of(0)), "changed")
    assert log.do(msgspec.structs.replace(report, since=since), owner_of(0)) == Reported(1, -1, None)
    log.report(1, 0, 20.0)
    assert log.decided == [], "nor does what waited before it was removed"
    assert decode_results(log.restored().query(encode_query([LookLoop(LOOP)]))) == [log.ask(LookLoop(LOOP))]


@pytest.mark.parametrize(
    ("count", "faults", "degradation"), [(5, 1, "3oo5 4oo4"), (3, 1, "2oo3 2oo2"), (5, 2, "3oo5 3oo4 2oo3")]
)
def test_stages_that_outvote_no_liar_are_refused_where_owners_may_lie(count, faults, degradation):
    """A tick is decided by N-T channels, and all T that are wrong may be among them."""
    log = ControlLog()
    result = log.declare(spec(count, faults, degradation, liars=faults))
    assert refused(result, "loop") and "outvotes" in result.message
    assert log.declare(spec(count, faults, degradation)) == Declared(False), "silence alone is tolerated"
