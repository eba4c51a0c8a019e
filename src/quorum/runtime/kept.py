"""What ends in the cluster unless it is kept alive: sessions of locks, leases of keys. It is kept alive in the
background, and considers itself lost before the cluster ends it."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from quorum.errors import ApplicationError, ConfigurationError, LocalProtocolError, QuorumError
from quorum.runtime.clock import steady_us

TRUSTED = 0.9
"""The part of its time for which it is trusted to live, counted from when the request was sent that last prolonged
it. The cluster counts the whole of it, and from later on: from when it ordered that request. The rest covers
clocks of which one runs up to a ninth faster than the other."""
KEPT_ALIVE = 0.3
"""The part of its time after which it is prolonged."""
RETRY_S = 0.05
CLOSE_S = 2.0
"""Giving up is waited for so long, also by who is cancelled."""
TTL_S_MIN, TTL_S_MAX = 0.1, 366 * 24 * 3600.0
R = TypeVar("R")


class Keeper(Protocol):
    """What it needs of a client (runtime.client.Client)."""

    def ask(self, queue: str, item: Any, expected: type[R]) -> asyncio.Future[R]: ...

    @property
    def held(self) -> set[Kept]:
        """Those that are open in it: what it gives up when it is closed."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds that one of its calls may take."""
        ...

    @property
    def background(self) -> Keeper:
        """What asks where no call waits, and so without the deadline that a call may have (runtime.within)."""
        ...


def check_ttl(ttl: object, what: str) -> int:
    """A time in microseconds. Raises ConfigurationError for one that nothing may have."""
    if not isinstance(ttl, int | float) or not TTL_S_MIN <= ttl <= TTL_S_MAX:
        raise ConfigurationError(
            f"{what} was asked for with ttl={ttl!r:.40}, but it lasts {TTL_S_MIN} to {TTL_S_MAX:.0f} seconds "
            "unless it is kept alive. Give a number between them."
        )
    return int(ttl * 1e6)


class Kept:
    """One of them; `what` names its kind. `lost` is set, once and for all, when it may have ended without its
    wish.

    Raises ConfigurationError for a time that none may have.
    """

    def __init__(self, client: Keeper, ttl: float, what: str) -> None:
        self._ttl_us = check_ttl(ttl, what)
        self._keeper = client
        self._trusted_until_us = 0
        self._keeping: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._on_lost: Callable[[], None] | None = None
        self.id = 0
        self.lost = asyncio.Event()

    # What its kind says.

    @abstractmethod
    async def _begin(self) -> int:
        """Ask for a new one; its name."""

    @abstractmethod
    async def _prolong(self) -> None:
        """Ask to be prolonged. Raises ApplicationError where it has ended."""

    @abstractmethod
    def _end(self) -> asyncio.Future[Any]:
        """Ask to be ended."""

    @abstractmethod
    def lost_error(self) -> QuorumError:
        """What is raised where it is lost."""

    # What all have in common.

    @property
    def remaining(self) -> float:
        """Seconds for which it is sure to live, were it not kept alive; 0 once it may have ended."""
        return 0.0 if self.lost.is_set() else max(0, self._trusted_until_us - steady_us()) / 1e6

    def check(self) -> None:
        """Raise the error of its kind if it may have ended. The clock is asked, so that it is found out even where
        the event loop could not run."""
        if self.remaining == 0:
            self._lose()
            raise self.lost_error()

    def when_lost(self, act: Callable[[], None] | None) -> None:
        """Call `act` on the loop when it is lost; at most one such wish."""
        self._on_lost = act

    async def open(self) -> None:
        """Begin, and prolong it in the background from now on. Raises what Client says."""
        asked_us = steady_us()
        self.id = await self._begin()
        self._keeper.held.add(self)
        self._prolonged(asked_us)
        self._keeping = asyncio.get_running_loop().create_task(self._keep_alive())

    async def close(self) -> None:
        """End it. A cluster that cannot be reached does so when its time is over."""
        is_lost = self.remaining == 0
        closing = self.close_soon()
        if closing is not None and not is_lost:
            await asyncio.wait((closing,), timeout=min(CLOSE_S, self._keeper.timeout))

    def give_up(self) -> asyncio.Future[Any] | None:
        """As `close_soon`, for one that somebody may still rely on: it is lost first."""
        self._lose()
        return self.close_soon()

    def close_soon(self) -> asyncio.Future[Any] | None:
        """As `close`, without waiting for an answer."""
        self._stop()
        if self.id == 0:
            return None
        self._keeper.held.discard(self)
        try:
            future = self._end()
        except LocalProtocolError:
            return None  # the client is closed
        finally:
            self.id = self._trusted_until_us = 0
        future.add_done_callback(_forget)
        return future

    async def _keep_alive(self) -> None:
        while not self.lost.is_set():
            await asyncio.sleep(self._ttl_us / 1e6 * KEPT_ALIVE)
            while not await self._is_settled():
                await asyncio.sleep(RETRY_S)

    async def _is_settled(self) -> bool:
        """Ask to be prolonged. False where it is not known whether that was done."""
        asked_us = steady_us()
        try:
            await self._prolong()
        except (ApplicationError, LocalProtocolError):
            self._lose()  # the cluster has ended it, or this client is closed
            return True
        except QuorumError:
            return False  # nobody knows; the alarm decides
        self._prolonged(asked_us)
        return True

    def _prolonged(self, asked_us: int) -> None:
        if self.lost.is_set():
            return
        self._trusted_until_us = max(self._trusted_until_us, asked_us + int(self._ttl_us * TRUSTED))
        if self._alarm is None:
            self._set_alarm()

    def _set_alarm(self) -> None:
        self._alarm = asyncio.get_running_loop().call_later(self.remaining, self._ring)

    def _ring(self) -> None:
        """The time was over, unless it has been prolonged since."""
        if self.remaining > 0:
            self._set_alarm()
        else:
            self._lose()

    def _lose(self) -> None:
        if not self.lost.is_set():
            self._stop()
            self.lost.set()
            if self._on_lost is not None:
                self._on_lost()

    def _stop(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._keeping is not None and self._keeping is not asyncio.current_task():
            self._keeping.cancel()


class Reliance:
    """The body of an `async with` relies on something that is kept alive: it is cancelled when that is lost."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._body = asyncio.current_task()
        self._cancelled_before = 0 if self._body is None else self._body.cancelling()
        self._is_interrupted = False
        kept.when_lost(self._interrupt)

    def end(self, kind: type[BaseException] | None) -> bool:
        """The body has ended, by an exception of `kind` or none. Whether to raise that what it relied on is
        lost."""
        self._kept.when_lost(None)
        is_lost = self._kept.remaining == 0
        if self._is_interrupted and self._body is not None:
            is_ours = self._body.uncancel() <= self._cancelled_before
            if kind is asyncio.CancelledError and not is_ours:
                return False  # somebody else cancels, too: that goes on
        return is_lost and (kind is None or kind is asyncio.CancelledError)

    def _interrupt(self) -> None:
        if self._body is not None and self._body is not asyncio.current_task():
            self._is_interrupted = True
            self._body.cancel()


def _forget(future: asyncio.Future[Any]) -> None:
    """Whatever came of ending it: its time will be over."""
    if not future.cancelled():
        future.exception()
