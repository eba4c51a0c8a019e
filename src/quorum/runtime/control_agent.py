"""What takes part in a control loop: it reads its channels each period, sends them, and acts on decisions."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable

from quorum.apps.control import AHEAD_TICKS, Decided, LoopSpec, measured
from quorum.apps.control_ticks import is_bounded
from quorum.errors import NotLeader, OutcomeUnknown, Overloaded, SessionExpired
from quorum.runtime.clock import SystemClock
from quorum.runtime.control_client import LOOK_S_MIN, ControlClient
from quorum.voting.control.channels import Reading
from quorum.voting.control.collector import KEPT, Punctuality

CLOCK_LOOK_S = 0.5
"""So often an agent that waits for its next tick looks whether its clock was set."""
PATIENCE_S_MIN = 0.5
"""A request is given up after AHEAD_TICKS periods, and not before so many seconds."""
Read = Callable[[int], Iterable[Reading] | Awaitable[Iterable[Reading]]]
Act = Callable[[Decided], None]
_UNREACHED = (NotLeader, Overloaded, OutcomeUnknown, SessionExpired)


class ControlAgent:
    """One participant of a loop that was declared. `run` it.

    `read(tick)` gives the readings of its own channels at the beginning of each tick, none where it has none;
    awaited where it is a coroutine. `act(decided)` is called with each decision as soon as it is known here, in
    ascending order of ticks, never with an older one after a newer: an actuator goes by it. It must not block.
    Where no decision is known by the deadline of a tick the agent says that the tick is due, if it `speaks`: that
    is for owners of channels. `clock` gives the loop's time in microseconds, as the other agents have it. `heard`
    is where it hears of decisions: for an agent beside its own node Connection.control_at of that node. Where
    members may lie and it has none, it looks for each decision until T+1 members have said the same.

    Cluster and nodes that cannot be reached do not end an agent: it goes on with the present tick, and counts what
    it missed. Nor does a reading that is no number to send, such as NaN, or `read` where it answers too late: the
    channel is silent in that tick. A clock that is set leads to the tick that is the present one by then. An
    exception of `read` or `act` ends the agent, and so does a loop of other terms that takes the name.
    """

    def __init__(
        self,
        control: ControlClient,
        loop: str,
        read: Read,
        act: Act,
        speaks: bool = True,
        clock: Callable[[], int] | None = None,
        heard: ControlClient | None = None,
    ) -> None:
        self._control = control
        self._heard = heard or control
        self._is_told = not self._heard.signs  # else it has to look
        self._name = loop
        self._read, self._act = read, act
        self._speaks = speaks
        self._now_us = clock or SystemClock().now_us
        self._newest = -1
        self._waiting: dict[int, tuple[int, asyncio.Future[bool]]] = {}
        self._took: deque[int] = deque(maxlen=KEPT)
        self._ticks = self._missed = self._late = 0
        self.unreached = 0
        """Requests that the cluster did not answer in time."""
        self.unread = 0
        """Ticks that `read` had no answer for until long after their deadline; it is cancelled then."""
        self.left_out = 0
        """Own readings that were no numbers to send: not finite, or too large."""

    def punctuality(self) -> Punctuality:
        """Of the ticks that it took part in. `missed`: no decision was known here by the deadline.
        `late_readings`: own reports that came after the decision, as those of T channels may. p50, p99: from the
        beginning of a tick until its decision was known here. Jitter: how far apart two were beyond or below the
        period."""
        took = sorted(self._took) or [0]
        apart = [abs(after - before) for before, after in zip(self._took, list(self._took)[1:], strict=False)]
        counts = self._ticks, self._missed, self._late
        return Punctuality(*counts, took[len(took) // 2], took[len(took) * 99 // 100], max(apart, default=0))

    async def run(self, ticks: int | None = None) -> None:
        """Take part in so many ticks (None: until it is cancelled), beginning with the next one. Raises
        ApplicationError where the cluster refuses what it sends, such as a channel of another owner."""
        view = await self._control.look(self._name)
        self._newest = max(self._newest, view.newest)
        self._patience_s = max(PATIENCE_S_MIN, AHEAD_TICKS * view.spec.period_us / 1e6)
        self._asked = self._control.within(self._patience_s)
        self._since = view.since
        try:
            async with asyncio.TaskGroup() as group:
                await self._begin_each(view.spec, ticks, group, group.create_task(self._follow()))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _begin_each(
        self, spec: LoopSpec, ticks: int | None, group: asyncio.TaskGroup, following: asyncio.Task[None]
    ) -> None:
        """Begin each tick at its time; return when the last one has ended."""
        taking: set[asyncio.Task[None]] = set()
        tick = max(0, self._present(spec) + 1)
        end = None if ticks is None else tick + ticks
        while end is None or tick < end:
            while (missing_us := spec.start_us + tick * spec.period_us - self._now_us()) > 0:
                await asyncio.sleep(min(missing_us / 1e6, CLOCK_LOOK_S))
                back = tick - max(0, self._present(spec) + 1)
                if back > 1:  # the clock was set back
                    tick, end = tick - back, None if end is None else end - back
            task = group.create_task(self._take_part(spec, tick))
            taking.add(task)
            task.add_done_callback(taking.discard)
            following_tick = max(tick + 1, self._present(spec))
            self._missed += following_tick - tick - 1  # this process stood still
            tick = following_tick
        if taking:
            await asyncio.wait(taking)
        following.cancel()

    def _present(self, spec: LoopSpec) -> int:
        """The tick that began last."""
        return (self._now_us() - spec.start_us) // spec.period_us

    async def _follow(self) -> None:
        """Hear of decisions, where a member is believed that tells of them."""
        if self._is_told:
            async for decided in self._heard.decisions(self._name, self._newest + 1):
                self._known(decided)

    async def _take_part(self, spec: LoopSpec, tick: int) -> None:
        began_us = spec.start_us + tick * spec.period_us
        known: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[tick] = began_us, known
        self._ticks += 1
        speaking = asyncio.create_task(self._speak(tick, known))
        try:
            await _wait(known, (began_us + spec.deadline_us - self._now_us()) / 1e6, speaking)
            self._missed += not (known.done() and known.result())
            if not known.done():
                if self._speaks:
                    await self._say_due(tick)
                await _wait(known, self._patience_s, speaking)
                self._settle(tick, False)
            await asyncio.wait((speaking,), timeout=self._patience_s)
            if speaking.done():
                speaking.result()
            else:
                self.unread += 1
        finally:
            self._waiting.pop(tick, None)
            speaking.cancel()

    async def _speak(self, tick: int, known: asyncio.Future[bool]) -> None:
        """Send the readings. Where nobody tells of decisions, look for this one until it is known."""
        found = self._read(tick)
        given = list(await found if isawaitable(found) else found)
        readings = [each for each in given if _is_sent(each)]
        self.left_out += len(given) - len(readings)
        if readings:
            try:
                reported = await self._asked.report(self._name, tick, readings, self._since)
            except _UNREACHED:
                self.unreached += 1
            else:
                self._late += reported.taken == 0
                self._learn(tick, reported.newest, reported.decided)
        while not self._is_told and not known.done():
            try:
                page = await self._asked.decided_since(self._name, tick, 1)
            except _UNREACHED:
                self.unreached += 1
            else:
                first = next(iter(page.decisions), None)
                self._learn(tick, page.newest, first if first is not None and first.tick == tick else None)
            if not known.done():
                await asyncio.sleep(LOOK_S_MIN)

    async def _say_due(self, tick: int) -> None:
        try:
            reported = await self._asked.due(self._name, tick, self._since)
        except _UNREACHED:
            self.unreached += 1
        else:
            self._learn(tick, reported.newest, reported.decided)

    def _learn(self, tick: int, newest: int, decided: Decided | None) -> None:
        if decided is not None:
            self._known(decided)
        elif newest >= tick:
            self._settle(tick, False)  # it was passed over

    def _known(self, decided: Decided) -> None:
        """Act on a decision, once; those before it come too late."""
        if decided.tick <= self._newest:
            return
        self._newest = decided.tick
        self._act(decided)
        for tick in [each for each in self._waiting if each <= decided.tick]:
            self._settle(tick, tick == decided.tick)

    def _settle(self, tick: int, is_decided: bool) -> None:
        """Nobody needs to wait for this tick any more."""
        began_us, known = self._waiting.get(tick, (0, None))
        if known is None or known.done():
            return
        known.set_result(is_decided)
        if is_decided:
            self._took.append(self._now_us() - began_us)


def _is_sent(reading: Reading) -> bool:
    """Whether the cluster would take its numbers. What is none at all is a mistake, and is told as one."""
    try:
        return is_bounded(measured(reading).value)
    except (TypeError, AttributeError, OverflowError):
        return True


async def _wait(known: asyncio.Future[bool], seconds: float, speaking: asyncio.Task[None]) -> None:
    """Until it is known, or so many seconds are over. Raises what `speaking` raised."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + seconds
    while not known.done() and loop.time() < end_s:
        waited = (known,) if speaking.done() else (known, speaking)
        await asyncio.wait(waited, timeout=end_s - loop.time(), return_when=asyncio.FIRST_COMPLETED)
        if speaking.done():
            speaking.result()
