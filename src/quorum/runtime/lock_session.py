"""A session of locks, kept alive in the background, that considers itself lost before the cluster does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from quorum.apps.lock import Alive, CloseSession, KeepAlive, Opened, OpenSession
from quorum.errors import ApplicationError, ConfigurationError, LocalProtocolError, LockLost, QuorumError
from quorum.runtime.clock import steady_us
from quorum.runtime.subscription import TopicWatch

TRUSTED = 0.9
"""The part of its time for which a session trusts that it lives, counted from when it sent the request that last
prolonged it. The cluster counts the whole of it, and from later on: from when it ordered that request. The rest
covers clocks of which one runs up to a ninth faster than the other."""
KEPT_ALIVE = 0.3
"""The part of its time after which a session is prolonged."""
RETRY_S = 0.05
CLOSE_S = 2.0
"""Giving up is waited for so long, also by who is cancelled."""
TTL_S_MIN, TTL_S_MAX = 0.1, 366 * 24 * 3600.0
R = TypeVar("R")


class Asker(Protocol):
    """What locks need of a client (runtime.client.Client)."""

    def ask(self, queue: str, item: Any, expected: type[R]) -> asyncio.Future[R]: ...

    def watch_topic(self, app: int, topic: bytes) -> TopicWatch: ...

    @property
    def held(self) -> set[LockSession]:
        """The sessions that are open in it: those it gives up when it is closed."""
        ...


class LockSession:
    """One session. `lost` is set, once and for all, when it may have ended without its wish.

    Raises ConfigurationError for a time that no session may have.
    """

    def __init__(self, client: Asker, ttl: float) -> None:
        if not isinstance(ttl, int | float) or not TTL_S_MIN <= ttl <= TTL_S_MAX:
            raise ConfigurationError(
                f"a lock was asked for with ttl={ttl!r:.40}, but a session lasts {TTL_S_MIN} to {TTL_S_MAX:.0f} "
                "seconds unless it is kept alive. Give a number between them."
            )
        self._client = client
        self._ttl_us = int(ttl * 1e6)
        self._trusted_until_us = 0
        self._keeping: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._on_lost: Callable[[], None] | None = None
        self.id = 0
        self.lost = asyncio.Event()

    @property
    def remaining(self) -> float:
        """Seconds for which the session is sure to live; 0 once it may have ended."""
        return 0.0 if self.lost.is_set() else max(0, self._trusted_until_us - steady_us()) / 1e6

    def check(self) -> None:
        """Raise LockLost if the session may have ended. The clock is asked, so that it is found out even where the
        event loop could not run."""
        if self.remaining == 0:
            self._lose()
            raise lost_error()

    def when_lost(self, act: Callable[[], None] | None) -> None:
        """Call `act` on the loop when the session is lost; at most one such wish."""
        self._on_lost = act

    async def open(self) -> None:
        """Begin, and prolong it in the background from now on. Raises what Client says."""
        asked_us = steady_us()
        opened = await self._client.ask("lock", OpenSession(self._ttl_us), Opened)
        self.id = opened.session
        self._client.held.add(self)
        self._prolonged(asked_us)
        self._keeping = asyncio.get_running_loop().create_task(self._keep_alive())

    async def close(self) -> None:
        """End it and give up what it holds. A cluster that cannot be reached does so when its time is over."""
        is_lost = self.remaining == 0
        closing = self.close_soon()
        if closing is not None and not is_lost:
            await asyncio.wait((closing,), timeout=CLOSE_S)

    def give_up(self) -> asyncio.Future[Any] | None:
        """As `close_soon`, for a session that somebody may still rely on: it is lost first."""
        self._lose()
        return self.close_soon()

    def close_soon(self) -> asyncio.Future[Any] | None:
        """As `close`, without waiting for an answer."""
        self._stop()
        if self.id == 0:
            return None
        closing: Any = CloseSession(self.id)
        self.id = 0
        self._client.held.discard(self)
        try:
            future = self._client.ask("lock", closing, object)
        except LocalProtocolError:
            return None  # the client is closed
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
            await self._client.ask("lock", KeepAlive(self.id), Alive)
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


def lost_error() -> LockLost:
    """What the holder of a lost lock hears."""
    return LockLost(
        "a lock was held, but its session was not kept alive in time, so that another may hold the lock now. Stop "
        "what it guards; see what was done since, and acquire it again."
    )


def _forget(future: asyncio.Future[Any]) -> None:
    """Whatever came of closing a session: its time will be over."""
    if not future.cancelled():
        future.exception()
