"""Replicated control loops: when a tick is decided, by what, who may say what, bounds."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_log import CONTROL, HALF, KINDS, LOOP, PERIOD_US, QUICK, ControlLog, declared, owner_of, refused, spec
from quorum.apps import control
from quorum.apps.catalogue import CONTROL_APP, new_host
from quorum.apps.control import (
    AHEAD_TICKS,
    CHANNEL_WORK,
    CHANNELS_MAX,
    ITEMS_MAX,
    NAME_BYTES_MAX,
    NUMBER_MAX,
    TICK_MAX,
    WORK_MAX,
    Decided,
    Decisions,
    Declared,
    DeclareLoop,
    Due,
    ListLoops,
    LookDecisions,
    LookLoop,
    Loops,
    LoopView,
    Measured,
    Removed,
    RemoveLoop,
    Report,
    Reported,
    decode_results,
    encode_batch,
    measured,
    spec_of,
)
from quorum.apps.control_machine import ControlLoops
from quorum.apps.host import SESSIONS, decode_session, opening
from quorum.voting.control.channels import Channel, Reading
from quorum.voting.control.loop import ControlLoop
from quorum.voting.control.trust import Hysteresis

from apps_log import Log, header  # isort: skip


# When a tick is decided, and by what.


def test_a_tick_is_decided_where_enough_channels_have_reported_and_nobody_waits_for_the_last():
    log = declared()
    for at in range(3):
        assert log.report(at, 0, 20.0 + at / 10) == Reported(1, -1, None)
    last = log.report(3, 0, 20.3)
    assert isinstance(last, Reported) and last.decided is not None
    assert last.decided.reported == 4 and not last.decided.is_due and last.decided.index == 5
    assert last.decided.used == ("c1", "c2", "c3", "c4") and last.decided.left_out == {"c5": "it did not answer"}
    assert log.decided == [(LOOP, last.decided)]
    late = log.report(4, 0, 20.4)
    assert late == Reported(0, 0, last.decided), "who comes too late hears what was decided"
    assert log.ask(LookLoop(LOOP)) == LoopView(LOOP, spec(), "client.admin", 0, 1, 0, 1, (), 1)


@given(values=st.lists(st.lists(st.floats(-50, 50), min_size=4, max_size=4), min_size=1, max_size=8))
def test_what_is_decided_is_what_a_loop_in_one_process_decides_of_the_same_readings(values):
    log = declared(spec(4, 0, "3oo4 2oo2", hysteresis=QUICK, precision=True))
    channels = [Channel(name=f"c{at + 1}", half_width=HALF) for at in range(4)]
    alone = ControlLoop(channels, "3oo4 2oo2", QUICK, True)
    for tick, row in enumerate(values):
        for at, value in enumerate(row):
            log.report(at, tick, value)
        readings = [Reading(f"c{at + 1}", tick * PERIOD_US, value) for at, value in enumerate(row)]
        assert log.decided[-1][1].decision == alone.step(readings, tick * PERIOD_US)
    assert len(log.decided) == len(values)


def test_one_owner_says_that_a_tick_is_due_where_nobody_lies_and_more_than_t_channels_are_there():
    log = declared()
    log.report(0, 0, 20.0)
    log.report(1, 0, 20.1)
    answer = log.due(1, 0)
    assert isinstance(answer, Reported) and answer.decided is not None
    assert answer.decided.is_due and answer.decided.reported == 2
    assert answer.decided.refused == "2 channels are valid, and 3 are needed at least"
    log.report(0, 1, 20.0)
    log.report(1, 1, 20.1)
    log.report(2, 1, 20.2)
    log.due(0, 1)
    assert [each.value for _, each in log.decided] == [None, 20.1]


def test_a_deadline_before_the_readings_decides_once_more_than_t_channels_came_so_far():
    """One clock that is wrong ends no tick that nobody else has reached."""
    log = declared()
    assert log.due(0, 7) == Reported(0, -1, None)
    assert log.report(0, 7, 20.0) == Reported(1, -1, None), "it vouches for itself alone"
    answer = log.report(1, 7, 20.0)
    assert isinstance(answer, Reported) and answer.decided is not None and answer.decided.is_due


def test_where_owners_may_lie_one_more_of_them_must_say_that_a_tick_is_due():
    log = declared(spec(liars=1))
    log.report(0, 0, 20.0)
    log.report(1, 0, 20.1)
    log.report(2, 0, 20.2)
    for _ in range(3):
        assert log.due(4, 0) == Reported(0, -1, None), "the same owner counts once"
    answer = log.due(0, 0)
    assert isinstance(answer, Reported) and answer.decided is not None and answer.decided.value == 20.1


def test_a_deadline_counts_for_its_own_tick_alone():
    log = declared()
    log.due(4, 3)
    for at in range(3):
        log.report(at, 2, 20.0)
    assert log.decided == []
    log.due(0, 2)
    assert [each.tick for _, each in log.decided] == [2]


def test_a_later_tick_passes_over_those_before_it():
    log = declared()
    log.report(0, 0, 20.0)
    for tick in (2, 5):
        for at in range(4):
            log.report(at, tick, 20.0)
    assert [each.tick for _, each in log.decided] == [2, 5]
    assert log.report(1, 4, 20.0) == Reported(0, 5, None)
    assert log.ask(LookLoop(LOOP)) == LoopView(LOOP, spec(), "client.admin", 5, 2, 2, 1, (), 1)


def test_each_channel_counts_once_in_a_tick_by_what_was_committed_first():
    log = declared()
    log.report(0, 0, 20.0)
    assert log.report(0, 0, 99.0) == Reported(0, -1, None)
    for at in range(1, 4):
        log.report(at, 0, 20.0)
    (decided,) = [each for _, each in log.decided]
    assert decided.used == ("c1", "c2", "c3", "c4") and decided.value == 20.0


def test_a_channel_that_is_always_the_slowest_is_not_taken_for_a_wrong_one():
    log = declared(spec(hysteresis=QUICK))
    for tick in range(5):
        for at in range(5):
            log.report(at, tick, 20.0)
    assert log.ask(LookLoop(LOOP)).evicted == ()


def test_an_evicted_channel_takes_nobodys_place():
    log = declared(spec(4, 1, "3oo4 2oo3", hysteresis=QUICK))
    for tick in range(3):
        for at, value in ((3, 85.0), (0, 20.0), (1, 20.0), (2, 20.0)):
            log.report(at, tick, value)
        if tick < 2:
            log.due(0, tick)
    assert log.ask(LookLoop(LOOP)).evicted == ("c4",)
    last = log.decided[-1][1]
    assert (last.tick, last.reported, last.is_due) == (2, 4, False) and last.used == ("c1", "c2", "c3")


def test_where_more_than_t_channels_are_evicted_each_counts():
    log = declared(spec(3, 0, "2oo3", hysteresis=QUICK))
    for tick in range(3):
        for at, value in enumerate((20.0, 20.0, 85.0)):
            log.report(at, tick, value)
    assert log.ask(LookLoop(LOOP)).evicted == ("c3",)
    assert [(each.tick, each.is_due) for _, each in log.decided] == [(0, False), (1, False), (2, False)]


def test_silence_is_not_held_against_a_channel_and_wrong_values_are():
    """It may be the network's."""
    log = declared(spec(hysteresis=QUICK))
    for tick in range(3):
        for at, value in enumerate((20.0, 20.0, 85.0)):
            log.report(at, tick, value)
        log.due(0, tick)
    assert len(log.decided) == 3 and log.ask(LookLoop(LOOP)).evicted == ("c3",)


@given(
    lie=st.floats(-1e6, 1e6), errors=st.lists(st.floats(-HALF, HALF), min_size=4, max_size=4), at=st.integers(0, 4)
)
def test_the_interval_holds_the_truth_whatever_one_of_five_says(lie, errors, at):
    log = declared()
    values = [20.0 + error for error in errors]
    values.insert(at, lie)
    order = [at, *(each for each in range(5) if each != at)]  # the liar is the first
    for place in order:
        log.report(place, 0, values[place])
    (decided,) = [each for _, each in log.decided]
    assert decided.low <= 20.0 <= decided.high


def test_one_liar_more_than_the_bound_pushes_the_truth_out():
    log = declared(spec(3, 0, "2oo3"))
    for at, value in enumerate((20.0, 85.0, 85.0)):
        log.report(at, 0, value)
    (decided,) = [each for _, each in log.decided]
    assert not decided.low <= 20.0 <= decided.high


# Age: measured at the time of the tick, which no clock of a node moves.


@pytest.mark.parametrize(("late_us", "why"), [(-3_001, "it is 3001 us old"), (3_001, "it is from the future")])
def test_the_age_of_a_reading_is_measured_at_the_time_of_its_tick(late_us, why):
    channels = [Channel(name=f"c{at + 1}", half_width=HALF, age_us=3_000) for at in range(3)]
    log = declared(spec(channels=channels, faults=0, degradation="2oo3 2oo2", start_us=1_000_000))
    begins_us = 1_000_000 + 40 * PERIOD_US
    log.report(0, 40, 20.0, begins_us)
    log.report(1, 40, 20.0, begins_us + 3_000)
    log.report(2, 40, 20.0, begins_us + late_us)
    (decided,) = [each for _, each in log.decided]
    assert decided.left_out == {"c3": why} and decided.stage == "2oo2"


# Who may say what.


def test_a_channel_is_reported_by_its_owner_alone():
    log = declared()
    stolen = Report(LOOP, 0, [Measured("c1", 0, 20.0), Measured("c2", 0, 20.0)])
    before = log.machine.digest()
    for caller in (owner_of(0), owner_of(4), "client.admin", ""):
        assert refused(log.do(stolen, caller), "owner")
    assert log.machine.digest() == before, "also what was its own was not taken"


def test_a_channel_without_an_owner_is_reported_by_anybody():
    log = declared(spec(3, 1, "2oo3 2oo2", owners={}))
    for name in ("c1", "c2"):
        log.do(Report(LOOP, 0, [Measured(name, 0, 20.0)]))
    assert [each.value for _, each in log.decided] == [20.0]
    for name in ("c1", "c3"):
        log.do(Report(LOOP, 1, [Measured(name, 0, 20.0)]), "client.somebody")
    assert len(log.decided) == 2


def test_only_owners_say_that_a_tick_is_due():
    log = declared()
    assert refused(log.do(Due(LOOP, 0), "client.admin"), "owner")
    assert refused(log.do(Due(LOOP, 0), ""), "owner")
    nobodys = declared(spec(3, 1, "2oo3 2oo2", owners={}))
    assert nobodys.do(Due(LOOP, 0), "client.admin") == Reported(0, -1, None)


def test_a_loop_is_removed_by_whoever_declared_it():
    log = declared()
    assert refused(log.do(RemoveLoop(LOOP), "client.n1"), "owner")
    assert log.do(RemoveLoop(LOOP), "client.admin") == Removed(True)
    assert log.do(RemoveLoop(LOOP), "client.admin") == Removed(False)
    assert log.machine.digest() == ControlLoops().digest(), "nothing is left"
    assert log.declare() == Declared(False)


def test_the_host_tells_whose_session_a_report_comes_in():
    log = Log(new_host())
    ann = decode_session(log.append(opening(owner_of(0)), app=SESSIONS).body)
    bob = decode_session(log.append(opening(owner_of(1)), app=SESSIONS).body)

    def send(client: int, sequence: int, command: control.Command) -> object:
        body = encode_batch([command])
        (result,) = decode_results(log.append(body, app=CONTROL_APP, client=client, first_sequence=sequence).body)
        return result

    assert CONTROL_APP == CONTROL
    assert send(ann, 1, DeclareLoop(LOOP, spec())) == Declared(False)
    report = Report(LOOP, 0, [Measured("c1", 0, 20.0)])
    assert refused(send(bob, 1, report), "owner")
    assert send(ann, 2, report) == Reported(1, -1, None)


# Declaring.


def test_declaring_the_same_again_changes_nothing_and_another_one_is_refused():
    log = declared()
    before = log.machine.digest()
    assert log.do(DeclareLoop(LOOP, spec()), "client.other") == Declared(True)
    assert refused(log.do(DeclareLoop(LOOP, spec(4)), "client.admin"), "declared")
    assert log.machine.digest() == before


def test_channels_without_a_half_width_are_refused_with_the_remedy_and_one_of_0_is_taken():
    log = ControlLog()
    found = log.declare(spec(channels=[Channel(name="c1"), Channel(name="c2")], faults=0, degradation="2oo2"))
    assert "Give each the half_width" in found.message
    exact = [Channel(name=name, half_width=0.0) for name in ("c1", "c2")]
    assert log.declare(spec(channels=exact, faults=0, degradation="2oo2")) == Declared(False)
    assert log.restored().digest() == log.machine.digest()


def many(count: int) -> list[Channel]:
    return [Channel(name=f"c{at}", half_width=HALF) for at in range(count)]


WIDE_CLASSES = [
    Channel(
        name=f"c{at}", kind="classes", classes={f"{at:02}".ljust(128, "x"): (0.0, 1.0) for at in range(ITEMS_MAX)}
    )
    for at in range(5)
]


@pytest.mark.parametrize(
    "wanted",
    [
        spec(0),
        spec(channels=many(CHANNELS_MAX + 1)),
        spec(channels=[Channel(name="c1", half_width=1), Channel(name="c1")], faults=0, degradation="1oo2"),
        spec(channels=[Channel(name="c1"), Channel(name="c2")], faults=0, degradation="2oo2"),
        spec(channels=[Channel(name="x" * (NAME_BYTES_MAX + 1))], faults=0, degradation="1oo1"),
        spec(channels=[Channel(name="", half_width=1)], faults=0, degradation="1oo1"),
        spec(channels=[Channel(name="c1", half_width=float("nan"))], faults=0, degradation="1oo1"),
        spec(channels=[Channel(name="c1", half_width=2 * NUMBER_MAX)], faults=0, degradation="1oo1"),
        spec(channels=[Channel(name="c1", high=float("inf"))], faults=0, degradation="1oo1"),
        spec(channels=[Channel(name="c1", kind="vector")], faults=0, degradation="1oo1"),
        spec(channels=WIDE_CLASSES, degradation="3oo5"),
        spec(degradation="6oo5"),
        spec(degradation="3oo5"),
        spec(degradation="3oo" + "5" * 200),
        spec(faults=5),
        spec(faults=-1),
        spec(liars=2),
        spec(liars=1, owners={f"c{at + 1}": owner_of(at) for at in range(4)}),
        spec(liars=1, owners={f"c{at + 1}": owner_of(at % 2) for at in range(5)}),
        spec(5, 2, liars=1, owners={f"c{at + 1}": owner_of(max(0, at - 2)) for at in range(5)}),
        spec(deadline_us=PERIOD_US + 1),
        spec(deadline_us=0),
        spec(start_us=TICK_MAX + 1),
        spec(hysteresis=Hysteresis(out=0)),
    ],
)
def test_a_loop_that_cannot_be_is_refused_and_leaves_nothing(wanted):
    log = ControlLog()
    assert refused(log.declare(wanted), "loop")
    assert log.machine.digest() == ControlLoops().digest() and len(log.machine) == 0


@pytest.mark.parametrize("name", ["", "a\0b", "é" * (NAME_BYTES_MAX // 2 + 1)])
def test_a_loop_needs_a_name_that_can_be_one(name):
    assert refused(ControlLog().declare(loop=name), "name")


def test_the_number_of_loops_is_bounded_and_they_are_listed_in_order():
    log = ControlLog(loops_max=3)
    for name in ("c", "a", "b"):
        log.declare(loop=name)
    assert refused(log.declare(loop="d"), "loops")
    assert log.ask(ListLoops()) == Loops(["a", "b", "c"], False)
    assert log.ask(ListLoops("a\0")) == Loops(["b", "c"], False)


# Bounds of what is reported.


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -2 * NUMBER_MAX, [1.0] * (ITEMS_MAX + 1), [float("nan")], {"a": float("inf")}],
)
def test_numbers_that_are_none_are_refused_and_change_nothing(value):
    log = declared()
    before = log.machine.digest()
    assert refused(log.report(0, 0, value), "value")
    assert log.machine.digest() == before


def test_unknown_loops_channels_and_ticks_are_refused():
    log = declared()
    assert refused(log.report(0, 0, 1.0, loop="other"), "unknown")
    assert refused(log.due(0, 0, loop="other"), "unknown")
    assert refused(log.ask(LookLoop("other")), "unknown")
    assert refused(log.ask(LookDecisions("other")), "unknown")
    assert refused(log.ask(LookDecisions(LOOP, 0, -1)), "list")
    assert refused(log.report(5, 0, 1.0), "channel")
    assert refused(log.report(0, -1, 1.0), "tick")
    assert refused(log.report(0, TICK_MAX + 1, 1.0, 0), "tick")
    assert refused(log.due(0, -1), "tick")
    assert refused(log.do(Report(LOOP, 0, []), owner_of(0)), "readings")
    assert refused(log.report(0, 0, 1.0, TICK_MAX + 1), "value")


def test_ticks_far_ahead_of_a_channel_take_little_room_and_keep_nobody_out():
    log = declared()
    for tick in range(1_000, 1_000 + 3 * AHEAD_TICKS):
        log.report(4, tick, 20.0)
        log.due(4, tick)
    size = sum(map(len, log.machine.snapshot()))
    for tick in range(2_000, 2_000 + 3 * AHEAD_TICKS):
        log.report(4, tick, 20.0)
        log.due(4, tick)
    assert sum(map(len, log.machine.snapshot())) <= size
    assert log.report(4, 0, 20.0) == Reported(1, -1, None), "nor itself, once its clock is right again"
    for at in range(3):
        log.report(at, 0, 20.0)
    assert [each.tick for _, each in log.decided] == [0]


def test_after_a_pause_the_present_tick_takes_the_place_of_those_that_nobody_reaches_any_more():
    log = declared()
    for tick in range(AHEAD_TICKS):
        log.report(0, tick, 20.0)
        log.report(1, 100 + tick, 20.0)
    for at in range(4):
        log.report(at, 500, 20.0)
    assert [each.tick for _, each in log.decided] == [500]


def test_only_the_newest_decisions_are_kept():
    log = declared(spec(1, 0, "1oo1"), decisions_kept=4)
    for tick in range(10):
        log.report(0, 2 * tick, float(tick))
    kept = log.ask(LookDecisions(LOOP))
    assert isinstance(kept, Decisions) and [each.tick for each in kept.decisions] == [12, 14, 16, 18]
    assert (kept.newest, kept.more) == (18, False)
    some = log.ask(LookDecisions(LOOP, 13, 2))
    assert [each.tick for each in some.decisions] == [14, 16] and some.more
    assert log.report(0, 4, 1.0) == Reported(0, 18, None)


def test_one_batch_decides_a_bounded_number_of_ticks():
    log = declared(spec(1, 0, "1oo1"))
    fit = -(-WORK_MAX // (2 + CHANNEL_WORK))
    reports = [Report(LOOP, tick, [Measured("c1", 0, 1.0)]) for tick in range(fit + 2)]
    results = log.batch(owner_of(0), *reports, reports[0])
    assert all(isinstance(each, Reported) and each.decided for each in results[:fit])
    assert all(refused(each, "batch") for each in results[fit:])
    assert log.report(0, fit, 1.0) == Reported(1, fit, log.decided[-1][1]), "another batch does the rest"


def test_what_is_no_command_spoils_only_itself():
    log = declared()
    body = msgspec.msgpack.encode([[3, LOOP, 0, [["c1", 0, "much"]]], [3, LOOP, 0, [["c1", 0, 20]]], "x"])
    outputs = log.machine.apply_from(header(9, app=CONTROL), body, owner_of(0))
    malformed, taken, other = decode_results(outputs.reply)
    assert refused(malformed, "malformed") and refused(other, "malformed")
    assert taken == Reported(1, -1, None), "a whole number is a number"
    with pytest.raises(msgspec.DecodeError):
        log.machine.apply(header(10, app=CONTROL), b"\xc1")


@given(
    values=st.lists(
        st.one_of(st.floats(-NUMBER_MAX, NUMBER_MAX), st.lists(st.floats(-NUMBER_MAX, NUMBER_MAX), max_size=3)),
        min_size=3,
        max_size=3,
    ),
    precision=st.booleans(),
)
def test_no_reading_that_is_let_in_stops_a_decision(values, precision):
    kinds = [
        Channel(name="c1", kind="interval"),
        Channel(name="c2", kind="interval"),
        Channel(name="c3", rate=1e99),
    ]
    log = declared(spec(channels=kinds, faults=0, degradation="2oo3 1oo1", precision=precision))
    for tick in range(2):
        for at, value in enumerate(values):
            log.report(at, tick, value, at_us=tick)
    assert len(log.decided) == 2
    assert log.restored().digest() == log.machine.digest()


# Encoding.


@pytest.mark.parametrize("value", [20.0, (18.0, 21.0), {"warm": 0.9, "hot": 0.1}])
def test_readings_come_back_as_they_were_sent(value):
    (report,) = msgspec.msgpack.decode(
        encode_batch([Report(LOOP, 1, [measured(Reading("c1", 5, value))])]), type=list[Report]
    )
    (each,) = report.readings
    assert control.reading_of(each.channel, each.at_us, each.value) == Reading("c1", 5, value)


def test_a_declared_loop_is_made_of_channels_and_their_owners():
    channels = [KINDS[0], KINDS[3]]
    made = spec_of(channels, "2oo2", faults=0, period_us=10, deadline_us=5, owners={"c4": "client.a"})
    assert [each.owner for each in made.channels] == ["", "client.a"]
    assert [control.channel_of(each) for each in made.channels] == channels
    assert control.hysteresis_of(made) == Hysteresis()
    assert bool(Decided(1, 1, 1, 1, False, 2.0, 1.0, 3.0, (), {}, "1oo1", False))


def test_a_batch_that_declares_reports_and_removes_leaves_what_it_says():
    log = ControlLog()
    report = Report(LOOP, 0, [Measured("c1", 0, 20.0)])
    lone = spec(1, 0, "1oo1")
    results = log.batch(owner_of(0), DeclareLoop(LOOP, lone), report, RemoveLoop(LOOP), report)
    assert results[:1] == [Declared(False)] and results[2] == Removed(True) and refused(results[3], "unknown")
    assert log.machine.digest() == ControlLoops().digest()
    log.batch(owner_of(0), DeclareLoop(LOOP, lone), report, RemoveLoop(LOOP), DeclareLoop(LOOP, lone))
    assert log.ask(LookLoop(LOOP)).newest == -1
    assert log.restored().digest() == log.replayed().digest() == log.machine.digest()
