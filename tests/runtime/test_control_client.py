"""Control loops as programs use them: declaring, reporting, hearing of decisions, taking part."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

import msgspec
import pytest

from quorum.apps.control import DECISIONS_KEPT, Command, Declared, Due, Report
from quorum.errors import ApplicationError, ConfigurationError, LocalProtocolError, WrongType
from quorum.runtime.clock import SystemClock
from quorum.runtime.control_agent import ControlAgent
from quorum.runtime.control_client import ControlClient
from quorum.runtime.sync_client import SyncClient
from quorum.voting.control.channels import Channel, Reading
from runtime.lock_node import LockNode

LOOP = "boiler"
PERIOD_S = 0.02
CHANNELS = [Channel(name=name, half_width=0.5) for name in ("a", "b", "c")]
now_us = SystemClock().now_us


def run(act):
    """What `act(node, one client, another)` gives."""

    async def main():
        node = LockNode()
        async with node.client() as one, node.client() as other, asyncio.timeout(30):
            return await act(node, one, other)

    return asyncio.run(main())


async def declare(control: ControlClient, faults: int = 1, **other) -> Declared:
    times = {"period": PERIOD_S, "deadline": PERIOD_S / 2, **other}
    return await control.declare(LOOP, CHANNELS, "2oo3 2oo2", faults=faults, **times)


async def report(control: ControlClient, tick: int, *names: str, value: float = 20.0):
    for name in names:
        reported = await control.report(LOOP, tick, [Reading(name, 0, value)])
    return reported


# Calls.


def test_a_loop_is_declared_looked_at_listed_and_removed():
    async def act(node, one, other):
        assert await declare(one.control) == Declared(False)
        assert await declare(other.control) == Declared(True)
        view = await other.control.look(LOOP)
        assert (view.newest, view.spec.faults, view.spec.liars, view.spec.period_us) == (-1, 1, 0, 20_000)
        await one.control.declare("other", CHANNELS, "2oo3 2oo2", faults=1, period=1, deadline=1)
        assert await one.control.loops() == [LOOP, "other"]
        assert await one.control.remove(LOOP) and not await one.control.remove(LOOP)
        assert await one.control.loops() == ["other"]

    run(act)


def test_a_decision_is_told_to_who_completes_it_and_read_by_others():
    async def act(node, one, other):
        await declare(one.control)
        assert (await report(one.control, 7, "a")).decided is None
        assert await other.control.decision(LOOP, 7) is None
        decided = (await report(one.control, 7, "b", value=20.4)).decided
        assert decided is not None and decided.decision.value == 20.2
        assert await other.control.decision(LOOP, 7) == decided
        assert (await report(other.control, 7, "c")).decided == decided
        assert await other.control.decision(LOOP, 6) is None

    run(act)


def test_a_deadline_decides_with_what_was_committed_before():
    async def act(node, one, other):
        await declare(one.control, faults=0, liars=0)
        await report(one.control, 0, "a")
        decided = (await other.control.due(LOOP, 0)).decided
        assert decided is not None and decided.is_due and decided.reported == 1
        assert decided.refused and decided.decision.refused == decided.refused

    run(act)


def test_what_the_cluster_refuses_is_raised():
    async def act(node, one, other):
        with pytest.raises(ApplicationError, match="none of that name"):
            await one.control.look(LOOP)
        with pytest.raises(ApplicationError, match="T is below N"):
            await declare(one.control, faults=3)
        await one.control.declare(LOOP, CHANNELS, "2oo3", faults=0, period=1, deadline=1, owners={"a": "client.x"})
        with pytest.raises(ApplicationError, match=r"client\.x owns it"):
            await report(one.control, 0, "a")
        with pytest.raises(ApplicationError, match="not finite"):
            await report(one.control, 0, "b", value=float("nan"))

    run(act)


@pytest.mark.parametrize(
    "ask",
    [
        lambda control: control.report(LOOP, "1", []),
        lambda control: control.report(LOOP, 1 << 70, []),
        lambda control: control.report(LOOP, 1, [Reading("a", 0, "hot")]),
        lambda control: control.report(LOOP, 1, [("a", 0, 20.0)]),
        lambda control: control.report(LOOP, 1, Reading("a", 0, 20.0)),
        lambda control: anext(control.decisions("\ud800", 0)),
        lambda control: control.declare(LOOP, ["a", "b"], "2oo2", faults=0, period=1, deadline=1),
        lambda control: control.report(LOOP, 1, [Reading("a", 0.5, 1.0)]),
        lambda control: control.look(5),
        lambda control: control.due(None, 1),
        lambda control: control.decision(LOOP, 1.5),
        lambda control: control.declare(LOOP, CHANNELS, "2oo3", faults="1", period=1, deadline=1),
        lambda control: control.declare(LOOP, CHANNELS, "2oo3", faults=1, period="1", deadline=1),
        lambda control: control.declare(LOOP, CHANNELS, "2oo3", faults=1, period=True, deadline=1),
    ],
)
def test_arguments_of_a_wrong_type_are_told_where_they_are_given(ask):
    async def act(node, one, other):
        with pytest.raises(WrongType):
            await ask(one.control)
        assert node.commands == 0

    run(act)


def test_a_time_that_is_none_is_refused():
    async def act(node, one, other):
        with pytest.raises(ConfigurationError, match="anybody could report"):
            await declare(one.control, owners={"aa": "client.n1"})
        with pytest.raises(LocalProtocolError, match="no time"):
            await declare(one.control, period=float("inf"))
        with pytest.raises(ApplicationError, match="a deadline lies within its period"):
            await declare(one.control, deadline=1)

    run(act)


# Hearing of decisions.


def test_decisions_are_heard_of_one_after_the_other_and_none_is_missed():
    async def act(node, one, other):
        await declare(one.control)
        await report(one.control, 0, "a", "b")
        heard = []
        async with aclosing(other.control.decisions(LOOP)) as decisions:
            waiting = asyncio.create_task(anext(decisions))
            await asyncio.sleep(0.01)
            for tick in range(1, 4):
                await report(one.control, tick, "a", "b")
            heard.append((await waiting).tick)
            for tick in (4, 6, 7):  # without being taken in between: only the newest notice is kept
                await report(one.control, tick, "a", "b")
            for _ in range(5):
                heard.append((await anext(decisions)).tick)
        assert heard == [1, 2, 3, 4, 6, 7]

    run(act)


def test_decisions_from_an_earlier_tick_on_are_told_as_far_as_they_are_kept():
    async def act(node, one, other):
        await declare(one.control)
        for tick in range(DECISIONS_KEPT + 5):
            await report(one.control, tick, "a", "b")
        async with aclosing(other.control.decisions(LOOP, 2)) as decisions:
            heard = [(await anext(decisions)).tick for _ in range(DECISIONS_KEPT)]
        assert heard == list(range(5, DECISIONS_KEPT + 5))

    run(act)


# Taking part.


def agent(client, *names: str, value: float = 20.0, acted: list | None = None, **other) -> ControlAgent:
    """One that reads these channels, always the same, and notes what it acts on."""

    def read(tick):
        return [Reading(name, now_us(), value) for name in names]

    return ControlAgent(
        client.control, LOOP, read, lambda each: None if acted is None else acted.append(each), **other
    )


def test_agents_act_on_the_same_decisions_in_order():
    async def act(node, one, other):
        await declare(one.control, period=PERIOD_S, deadline=PERIOD_S)
        first, second = [], []
        agents = [agent(one, "a", acted=first), agent(other, "b", "c", value=20.2, acted=second)]
        await asyncio.gather(*(each.run(ticks=5) for each in agents))
        ticks = [each.tick for each in first]
        assert ticks == sorted(set(ticks)) and ticks
        by_tick = {each.tick: each for each in second}
        assert all(by_tick.get(each.tick, each) == each for each in first)
        assert all(each.decision.value == pytest.approx(20.1, abs=0.2) for each in first if each)
        counted = agents[0].punctuality()
        assert counted.ticks >= len(ticks) and counted.p50_us <= counted.p99_us

    run(act)


def test_an_agent_says_that_a_tick_is_due_where_others_are_silent():
    async def act(node, one, other):
        acted = []
        await one.control.declare(
            "solo", CHANNELS[:2], "1oo2 1oo1", faults=0, period=PERIOD_S, deadline=PERIOD_S / 4
        )
        solo = ControlAgent(one.control, "solo", lambda tick: [Reading("a", 0, 20.0)], acted.append)
        await solo.run(ticks=2)
        assert acted and all(each.is_due for each in acted)
        assert solo.punctuality().missed >= 2, "more where this process stood still"

    run(act)


def test_an_agent_without_channels_hears_and_says_nothing():
    async def act(node, one, other):
        await declare(one.control, deadline=PERIOD_S / 4)
        acted = []
        listener = agent(other, acted=acted, speaks=False)
        speaker = agent(one, "a", "b", "c", speaks=False)
        commands = []
        node_apply = node.apply
        node.apply = lambda kind, submit, body: commands.append(bytes(body)) or node_apply(kind, submit, body)
        running = [asyncio.create_task(each.run()) for each in (listener, speaker)]
        while len(acted) < 2:
            await asyncio.sleep(0.01)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        assert commands
        sent = [each for body in commands for each in msgspec.msgpack.decode(body, type=list[Command])]
        assert any(isinstance(each, Report) for each in sent) and not any(isinstance(each, Due) for each in sent)

    run(act)


def test_an_agent_goes_on_while_no_node_answers():
    async def act(node, one, other):
        await declare(one.control, period=PERIOD_S, deadline=PERIOD_S)
        acted = []
        taking_part = agent(one, "a", "b", acted=acted)
        running = asyncio.create_task(taking_part.run())
        while not acted:
            await asyncio.sleep(0.01)
        node.is_silent = True
        missed = taking_part.punctuality().missed
        while taking_part.punctuality().missed < missed + 3:
            await asyncio.sleep(0.01)
        node.is_silent = False
        newest = acted[-1].tick
        while acted[-1].tick < newest + 3:
            await asyncio.sleep(0.01)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        ticks = [each.tick for each in acted]
        assert ticks == sorted(set(ticks)), "never an older decision after a newer one"

    run(act)


@pytest.mark.parametrize("is_awaited", [False, True])
def test_what_reading_raises_ends_the_agent(is_awaited):
    async def act(node, one, other):
        await declare(one.control)

        def read(tick):
            raise OSError("the probe is broken")

        async def read_later(tick):
            raise OSError("the probe is broken")

        broken = ControlAgent(one.control, LOOP, read_later if is_awaited else read, lambda each: None)
        with pytest.raises(OSError, match="probe"):
            await broken.run(ticks=1)

    run(act)


def test_a_refused_report_ends_the_agent():
    async def act(node, one, other):
        await declare(one.control)
        stranger = agent(one, "z")
        with pytest.raises(ApplicationError, match="has none of that name"):
            await stranger.run(ticks=3)

    run(act)


def test_a_reading_that_is_no_number_is_silence_and_other_channels_count():
    async def act(node, one, other):
        await declare(one.control, deadline=PERIOD_S)
        acted = []

        def read(tick):
            return [Reading("a", 0, float("nan")), Reading("b", 0, 20.0), Reading("c", 0, 20.2)]

        broken = ControlAgent(one.control, LOOP, read, acted.append)
        await broken.run(ticks=3)
        assert acted and all(each.used == ("b", "c") for each in acted)
        assert broken.left_out == 3

    run(act)


def test_a_read_that_never_answers_keeps_no_agent_and_heaps_nothing_up(monkeypatch):
    async def act(node, one, other):
        await declare(one.control, deadline=PERIOD_S)
        monkeypatch.setattr("quorum.runtime.control_agent.PATIENCE_S_MIN", 0.05)
        cancelled = []

        async def read(tick):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(tick)
                raise

        stuck = ControlAgent(one.control, LOOP, read, lambda each: None)
        await stuck.run(ticks=3)
        await asyncio.sleep(0)
        assert stuck.unread == 3 == len(cancelled)
        assert stuck.punctuality().missed >= 3

    run(act)


def test_a_clock_that_is_set_leads_to_the_present_tick():
    """Ahead by an hour at first: nothing is decided then, and soon after it is right."""

    async def act(node, one, other):
        await declare(one.control, faults=1, deadline=PERIOD_S)
        ahead_us = [3_600_000_000]
        acted = []
        asked = []

        def read(tick):
            asked.append(tick)
            return [Reading("a", 0, 20.0)]

        wrong = ControlAgent(one.control, LOOP, read, acted.append, clock=lambda: now_us() + ahead_us[0])
        running = [asyncio.create_task(each.run()) for each in (wrong, agent(other, "b"))]
        while len(asked) < 3:
            await asyncio.sleep(0.01)
        assert not acted, "one clock that is wrong ends no tick"
        ahead_us[0] = 0
        while len(acted) < 3:
            await asyncio.sleep(0.01)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        assert asked[-1] < asked[0] and acted[0].tick < asked[0]

    run(act)


def test_an_agent_of_an_earlier_loop_has_no_part_in_a_later_one_of_the_name():
    async def act(node, one, other):
        await declare(one.control)
        left = agent(one, "a", "b")
        running = asyncio.create_task(left.run())
        while left.punctuality().ticks < 2:
            await asyncio.sleep(0.01)
        await asyncio.gather(other.control.remove(LOOP), declare(other.control, period=5 * PERIOD_S))
        with pytest.raises(ApplicationError, match="begin anew"):
            await running
        assert (await other.control.look(LOOP)).newest == -1

    run(act)


def test_decisions_of_a_later_loop_of_the_name_are_not_passed_off_as_those_of_the_earlier():
    """They would be left out as old ones, without a word."""

    async def act(node, one, other):
        await declare(one.control)
        async with aclosing(one.control.decisions(LOOP, 7)) as told:
            await report(other.control, 7, "a", "b")
            assert (await anext(told)).tick == 7
            await other.control.remove(LOOP)
            await declare(other.control)
            await report(other.control, 0, "a", "b")
            with pytest.raises(ApplicationError, match="begin anew"):
                await anext(told)

    run(act)


def test_code_without_an_event_loop_has_the_same():
    class Place:
        def client(self, timeout):
            return LockNode().client()

    with SyncClient(Place(), 10) as client:
        control = client.control
        assert control.declare(LOOP, CHANNELS, "2oo3 2oo2", faults=1, period=1, deadline=1) == Declared(False)
        assert control.loops() == [LOOP] and control.look(LOOP).newest == -1
        control.report(LOOP, 0, [Reading("a", 0, 20.0)])
        decided = control.report(LOOP, 0, [Reading("b", 0, 20.0)]).decided
        assert control.decision(LOOP, 0) == decided == control.decided_since(LOOP, 0).decisions[0]
        assert client.within(5).control.due(LOOP, 0).decided == decided
        assert control.remove(LOOP)
