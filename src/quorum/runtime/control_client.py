"""Control loops for asyncio programs: declare one, send readings, hear what was decided."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from quorum.apps.catalogue import CONTROL_APP
from quorum.apps.control import (
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
    Removed,
    RemoveLoop,
    Report,
    Reported,
    decode_decided,
    measured,
    spec_of,
)
from quorum.errors import ApplicationError, LocalProtocolError, NotLeader, Overloaded, WrongType
from quorum.runtime.kept import RETRY_S
from quorum.runtime.subscription import Noticed, TopicWatch
from quorum.voting.control.channels import Channel, Reading
from quorum.voting.control.trust import Hysteresis

LOOK_S_MIN = 0.005
"""Where no member alone is believed, decisions are looked for so often, or twice in each period."""
R = TypeVar("R")
C = TypeVar("C", DeclareLoop, RemoveLoop, Report, Due, LookLoop, LookDecisions, ListLoops)
_ENCODE = msgspec.msgpack.Encoder().encode


class Asker(Protocol):
    """What control loops need of a client (runtime.client.Client)."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def signs(self) -> bool: ...

    @property
    def background(self) -> Asker: ...

    def ask(self, queue: str, item: Any, expected: type[R]) -> asyncio.Future[R]: ...

    def watch_topic(self, app: int, topic: bytes) -> TopicWatch: ...

    def within(self, seconds: float) -> Asker: ...


class ControlClient:
    """The control loops of a cluster (apps.control has the semantics). Times are seconds.

    Every call raises ApplicationError for what the cluster refuses, WrongType for an argument of a wrong type, and
    what Client says. Channels and readings are those of voting.control.channels. With `is_at_node` it reads what
    the one node shows that the client is connected to.
    """

    def __init__(self, client: Asker, is_at_node: bool = False) -> None:
        self._client = client
        self._is_at_node = is_at_node
        self._reads = "control stale" if is_at_node else "control read"

    @property
    def signs(self) -> bool:
        """Whether members may lie, so that no member alone is believed."""
        return self._client.signs

    def within(self, seconds: float) -> ControlClient:
        """The same for calls that end within so many `seconds`, as Client.within."""
        return ControlClient(self._client.within(seconds), self._is_at_node)

    # Loops.

    async def declare(
        self,
        loop: str,
        channels: Iterable[Channel],
        degradation: str,
        *,
        faults: int,
        period: float,
        deadline: float,
        owners: Mapping[str, str] | None = None,
        liars: int | None = None,
        start: float = 0.0,
        precision: bool = False,
        hysteresis: Hysteresis | None = None,
    ) -> Declared:
        """Let there be a loop of these channels; the same again changes nothing.

        `faults`: T, so many channels may be wrong or silent and nobody waits for them. Tick t begins t times the
        `period` after `start`, in seconds since the beginning of 1970, and is due `deadline` later. `owners` says
        by channel who alone may report it: the name in the client's certificate, as client.NAME; where members may
        lie its public key in hexadecimal digits. `liars`: so many owners may lie; one more must say that a tick is
        due (not given: `faults` where members may lie, else none). Raises ApplicationError for a loop that cannot
        be, and where another one has the name; ConfigurationError for an owner of a channel that there is not.
        """
        spec = spec_of(
            _all_of(Channel, channels, "channels"),
            degradation,
            faults=faults,
            period_us=_us(period, "a period"),
            deadline_us=_us(deadline, "a deadline"),
            owners=owners,
            liars=(faults if self.signs else 0) if liars is None else liars,
            start_us=_us(start, "a start"),
            precision=precision,
            hysteresis=hysteresis,
        )
        return await self._client.ask("control", _checked(DeclareLoop(loop, spec)), Declared)

    async def remove(self, loop: str) -> bool:
        """Forget a loop and its decisions; only whoever declared it may. Returns whether there was one."""
        return (await self._client.ask("control", _checked(RemoveLoop(loop)), Removed)).existed

    async def look(self, loop: str) -> LoopView:
        """A loop as it stands: what it is, how many ticks were decided, whom it has evicted."""
        return await self._client.ask(self._reads, _checked(LookLoop(loop)), LoopView)

    async def loops(self) -> list[str]:
        """The names of all loops, in order."""
        names: list[str] = []
        while True:
            start = names[-1] + "\0" if names else ""
            page = await self._client.ask(self._reads, ListLoops(start), Loops)
            names += page.names
            if not page.more:
                return names

    # Ticks.

    async def report(self, loop: str, tick: int, readings: Iterable[Reading], since: int = 0) -> Reported:
        """Send readings of one's own channels for a tick. Who comes after the tick was decided hears how. With
        `since`, of `look`, none of it counts for another loop that has the name by now (ApplicationError)."""
        return await self.report_soon(loop, tick, readings, since)

    def report_soon(
        self, loop: str, tick: int, readings: Iterable[Reading], since: int = 0
    ) -> asyncio.Future[Reported]:
        """As `report`, without a coroutine for each."""
        command = Report(loop, tick, [measured(each) for each in _all_of(Reading, readings, "readings")], since)
        return self._client.ask("control", _checked(command), Reported)

    async def due(self, loop: str, tick: int, since: int = 0) -> Reported:
        """Say that the deadline of a tick has passed here; only who owns a channel may; `since` as in `report`."""
        return await self._client.ask("control", _checked(Due(loop, tick, since)), Reported)

    async def decision(self, loop: str, tick: int) -> Decided | None:
        """The decision of a tick; None where there is none (as yet), or it is not kept any more."""
        found = await self.decided_since(loop, tick, 1)
        return next((each for each in found.decisions if each.tick == tick), None)

    async def decided_since(self, loop: str, first: int, limit: int = 0) -> Decisions:
        """The decisions that are kept from tick `first` on, at most `limit` (0: all that fit into one answer)."""
        return await self._client.ask(self._reads, _checked(LookDecisions(loop, first, limit)), Decisions)

    async def decisions(self, loop: str, first: int | None = None) -> AsyncGenerator[Decided, None]:
        """Each decision from tick `first` on (None: those that come from now on), ascending, as soon as it is
        known here. One that was not taken up before DECISIONS_KEPT others is left out. Once it has begun it goes
        on however long no node answers. Raises ApplicationError where the loop is removed, or another one has the
        name and begins with earlier ticks.

        A member tells of each decision when it has applied it. Where members may lie, no member alone is believed:
        decisions are looked for then, twice in each period.
        """
        _checked(LookDecisions(loop, first or 0))
        behind = (await self.look(loop)).newest + 1 if first is None else first
        known: Decided | None = None
        if self.signs:
            pause = max(LOOK_S_MIN, (await self.look(loop)).spec.period_us / 2e6)
            while True:
                for decided in await self._missed(loop, behind, known):
                    behind, known = decided.tick + 1, decided
                    yield decided
                await asyncio.sleep(pause)
        async with self._client.watch_topic(CONTROL_APP, loop.encode()) as watch:
            async for noticed in watch:
                told = _decided(noticed)
                if told is not None and told.tick < behind:
                    if known is not None and told.index > known.index:
                        raise _replaced(loop)
                    continue
                is_next = told is not None and told.tick == behind
                for decided in [told] if told is not None and is_next else await self._missed(loop, behind, known):
                    behind, known = decided.tick + 1, decided
                    yield decided

    async def _missed(self, loop: str, first: int, known: Decided | None) -> list[Decided]:
        """What was decided from tick `first` on, once a leader answers. `known`: the newest one that was told."""
        found: list[Decided] = []
        while True:
            try:
                ask = LookDecisions(loop, found[-1].tick + 1 if found else first)
                page = await self._client.background.ask(self._reads, ask, Decisions)
            except (NotLeader, Overloaded):
                await asyncio.sleep(RETRY_S)
                continue
            except ApplicationError as error:
                if error.kind == "unknown" and self._is_at_node:
                    return found  # the node has not applied as yet that it was declared
                raise
            if known is not None and page.newest < known.tick and not self._is_at_node:
                raise _replaced(loop)
            found += page.decisions
            if not page.more:
                return found


def _replaced(loop: str) -> ApplicationError:
    text = f"decisions of loop {loop[:80]!r} were to be told, but it was removed, and declared again since. "
    return ApplicationError("changed", text + "Look at it, and begin anew.")


def _decided(noticed: Noticed) -> Decided | None:
    """The decision in a notice; None where notices may have been missed."""
    return None if noticed.body is None else decode_decided(noticed.body)


def _all_of(kind: type[R], given: Iterable[R], what: str) -> list[R]:
    """The same as a list. Raises WrongType if something else is among them."""
    found = list(given) if isinstance(given, Iterable) else [given]
    wrong = next((each for each in found if not isinstance(each, kind)), None)
    if wrong is not None or not isinstance(given, Iterable):
        raise WrongType(
            f"{what} were to be sent, but {wrong or given!r:.80} was given. Give a list of {kind.__name__}."
        )
    return found


def _us(seconds: object, what: str) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise WrongType(
            f"{what} of {seconds!r:.40} was given, but it is a number of seconds. Give one such as 0.01."
        )
    if not abs(seconds) < 1e12:
        raise LocalProtocolError(f"{what} of {seconds!r:.40} s was given, but that is no time. Give another.")
    return round(seconds * 1e6)


def _checked(command: C) -> C:
    """The command itself. Raises WrongType if the nodes could not read it."""
    kind = type(command)
    try:
        msgspec.msgpack.decode(_ENCODE(command), type=kind)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise WrongType(
            f"a {kind.__name__} was to be sent, but {str(error)[:200]}. Give names as text, ticks and times in "
            "microseconds as int, and values as numbers, tuples of them, or numbers by class."
        ) from None
    return command
