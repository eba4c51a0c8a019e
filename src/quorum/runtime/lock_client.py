"""Locks and elections for asyncio programs (apps.lock says what they are)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from quorum.apps.catalogue import LOCK_APP
from quorum.apps.lock import (
    Acquire,
    Busy,
    Change,
    Granted,
    Holder,
    LockView,
    Look,
    Proclaim,
    Proclaimed,
    Queued,
    TryAcquire,
    decode_change,
)
from quorum.errors import (
    ApplicationError,
    LocalProtocolError,
    LockBusy,
    LockLost,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    QuorumError,
    RequestRefused,
)
from quorum.runtime.arguments import checked
from quorum.runtime.kept import RETRY_S, Reliance
from quorum.runtime.lock_session import Asker, LockSession, lost_error
from quorum.runtime.subscription import Noticed

LOOK_S = 0.25
"""So often a lock is looked at where no member tells of a change."""


class Lock:
    """A named lock, held by one in the whole cluster, granted in the order of asking.

    `async with client.lock("name", ttl=10) as lock:` waits for the lock, keeps it while the body runs, and gives
    it up at the end. `lock.token` is the fencing token: hand it to whatever the lock guards, which must refuse
    tokens below the largest that it has seen.

    The session of the lock is kept alive in the background. When it may have ended, because the cluster could not
    be reached or this process stood still, the body is cancelled and LockLost is raised. That happens before the
    cluster gives the lock to another, as far as this process runs and clocks keep time; a process that stands
    still cannot know, which is why the token matters. A body that does not await is not interrupted: let it ask
    `is_held`, or call `check`.

    Each Lock has a session of its own, so that two of one name exclude each other even in one program. It may be
    used again after it was given up, and is not reentrant.
    """

    def __init__(self, client: Asker, name: str, ttl: float, wait: float | None, value: bytes) -> None:
        checked(Acquire(name, 0, value))
        if wait is not None and not (isinstance(wait, int | float) and wait >= 0):
            raise LocalProtocolError(
                f"a lock was to be waited for with wait={wait!r:.40}, but that is no time. Give seconds, 0 for "
                "none, or None for as long as it takes."
            )
        self.name = name
        self._client = client
        self._ttl = ttl
        self._wait = wait
        self._value = value
        self._session = LockSession(client, ttl)
        self._token = 0
        self._is_used = False
        self._reliance: Reliance | None = None

    # Holding.

    @property
    def token(self) -> int:
        """The fencing token of this grant; it strictly grows from grant to grant, over all locks of a cluster.
        Raises LocalProtocolError before the lock was acquired."""
        if self._token == 0:
            raise LocalProtocolError(
                f"the token of {self.name!r} was asked for, but it is not held. Acquire it first."
            )
        return self._token

    @property
    def is_held(self) -> bool:
        """Whether the lock is still held for sure."""
        return self._token > 0 and self._session.remaining > 0

    @property
    def is_waiting(self) -> bool:
        """Whether it is being acquired."""
        return self._is_used and self._token == 0

    @property
    def remaining(self) -> float:
        """Seconds for which it is held for sure, were it not kept alive; 0 once it may be lost."""
        return self._session.remaining if self._token > 0 else 0.0

    @property
    def session_id(self) -> int:
        """The session's name in the cluster; 0 while there is none."""
        return self._session.id

    @property
    def lost(self) -> asyncio.Event:
        """Set when the lock may have been lost."""
        return self._session.lost

    async def look(self) -> LockView:
        """The lock as it stands in the cluster, whoever holds it, read linearizably."""
        return await _look(self._client, self.name, self._session.id)

    def check(self) -> None:
        """Raise LockLost unless the lock is held for sure."""
        if self._token == 0 and not self.lost.is_set():
            raise LockLost(
                f"{self.name!r} was to be held, but it is not: it was not asked for, or has been given up. "
                "Acquire it, or campaign, first."
            )
        if self._token == 0:
            raise lost_error()
        self._session.check()

    # Taking and giving up.

    async def acquire(self) -> int:
        """Wait for the lock; return its token. Without `async with` nothing interrupts who loses it: see `lost`.

        Who waits and loses the place in the queue, since no node answers, asks for another one until it is there.

        Raises LockBusy when the time to wait is over, LockLost if the cluster answers too slowly for `ttl`, and
        what Client says; then the queue is left. Raises LocalProtocolError if this Lock is in use.
        """
        if self._is_used:
            raise LocalProtocolError(
                f"{self.name!r} was to be acquired, but this Lock is in use. Release it first, or make another."
            )
        self._is_used = True
        try:
            loop = asyncio.get_running_loop()
            end_s = None if self._wait is None else loop.time() + self._wait
            has_waited = False
            while self._token == 0:
                self._session.close_soon()
                self._session = LockSession(self._client, self._ttl)
                try:
                    await self._session.open()
                    self._token = await self._queue(end_s)
                except (NotLeader, Overloaded, OutcomeUnknown):
                    if not has_waited or (end_s is not None and loop.time() >= end_s):
                        raise
                    await asyncio.sleep(RETRY_S)
                has_waited = True
            self._session.check()
        except BaseException:
            await self._session.close()  # or the place in the queue would be kept until its time is over
            self._token, self._is_used = 0, False
            raise
        return self._token

    async def release(self) -> None:
        """Give the lock up. A cluster that cannot be reached takes it back when its time is over. Nothing happens
        if it is not held."""
        if self._token > 0:
            self._token, self._is_used = 0, False
            await self._session.close()

    async def __aenter__(self) -> Lock:
        await self.acquire()
        self._reliance = Reliance(self._session)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._reliance is not None, "it was entered"
        is_lost = self._reliance.end(kind)
        await self.release()
        if is_lost:
            raise lost_error() from error

    # Waiting.

    async def _queue(self, end_s: float | None) -> int:
        """The token; 0 if the session ended in the queue, so that the place in it is lost."""
        session = self._session
        try:
            if self._wait == 0:
                tried = await self._client.ask("lock", TryAcquire(self.name, session.id, self._value), object)
                if isinstance(tried, Busy):
                    raise self._busy(tried.holder, tried.token)
                assert isinstance(tried, Granted)
                return tried.token
            asked = await self._client.ask("lock", Acquire(self.name, session.id, self._value), object)
        except ApplicationError as error:
            if error.kind == "ended":
                return 0
            raise
        if isinstance(asked, Granted):
            return asked.token
        assert isinstance(asked, Queued)
        return await self._wait_in_queue(end_s, asked)

    async def _wait_in_queue(self, end_s: float | None, asked: Queued) -> int:
        loop = asyncio.get_running_loop()
        granted = loop.create_task(self._granted())
        lost = loop.create_task(self._session.lost.wait())
        left_s = None if end_s is None else max(0.0, end_s - loop.time())
        try:
            done, _ = await asyncio.wait((granted, lost), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            granted.cancel()
            lost.cancel()
        if granted in done:
            return granted.result()
        if lost in done:
            return 0
        raise self._busy(asked.holder, asked.token)

    async def _granted(self) -> int:
        """Look whenever the lock changes hands, until this session holds it; 0 if it has lost its place."""
        while True:
            try:
                async with self._client.watch_topic(LOCK_APP, self.name.encode()) as watch:
                    async for noticed in watch:
                        change = _change(noticed)
                        holder = None if change is None else change.holder
                        if holder is not None and holder.session != self._session.id:
                            continue
                        view = await _look(self._client.background, self.name, self._session.id)
                        if view.place == 0 and view.holder is not None:
                            return view.holder.token
                        if view.place is None:
                            return 0
            except LocalProtocolError:
                raise
            except RequestRefused:
                return await self._granted_in_time()
            except QuorumError:
                await asyncio.sleep(RETRY_S)

    async def _granted_in_time(self) -> int:
        """As `_granted` where members may lie: one alone is not believed, so all are asked, now and then."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                view = await _look(self._client.background, self.name, self._session.id)
            except (NotLeader, Overloaded, OutcomeUnknown):
                continue
            if view.place == 0 and view.holder is not None:
                return view.holder.token
            if view.place is None:
                return 0

    def _busy(self, holder: int, token: int) -> LockBusy:
        return LockBusy(
            f"the lock {self.name!r} was asked for, but session {holder} holds it by token {token}, and the time "
            f"to wait for it, {self._wait} s, is over. Retry, or wait longer."
        )


async def _look(client: Asker, name: str, session: int) -> LockView:
    return await client.ask("lock read", Look(name, session), LockView)


def _change(noticed: Noticed) -> Change | None:
    """What a notice tells; None: the state must be read."""
    if noticed.body is None:
        return None
    try:
        return decode_change(noticed.body)
    except msgspec.DecodeError:
        return None


class Election:
    """Elects one leader at a time, by a lock with a value. Any number of programs may campaign and observe.

    `token` fences what the leader does, as that of a Lock. A leader whose session may have ended stops leading by
    itself: `lost` is set, `check` raises LockLost; and the body of `async with election.lead(value)` is cancelled.
    """

    def __init__(self, client: Asker, name: str, ttl: float) -> None:
        self.name = name
        self._client = client
        self._ttl = ttl
        self._lock = Lock(client, name, ttl, None, b"")

    if not TYPE_CHECKING:  # type checkers know already that it does not fit

        async def __aenter__(self):
            raise TypeError(
                f"the election {self.name!r} was used with `async with`, but that does not say what the leader "
                "shows. Write `async with election.lead(value)`."
            )

        async def __aexit__(self, *_):
            pass

    @property
    def token(self) -> int:
        """The fencing token of this leadership. Raises LocalProtocolError while it does not lead."""
        return self._lock.token

    @property
    def is_leading(self) -> bool:
        """Whether this program still leads for sure."""
        return self._lock.is_held

    @property
    def lost(self) -> asyncio.Event:
        """Set when leadership may have been lost."""
        return self._lock.lost

    def check(self) -> None:
        """Raise LockLost unless this program leads for sure."""
        self._lock.check()

    def lead(self, value: bytes, wait: float | None = None) -> Lock:
        """To be used as `async with`: campaign, lead while the body runs, resign. Raises as Lock does, and
        LocalProtocolError where this Election leads or campaigns already."""
        if self._lock.is_held:
            raise LocalProtocolError(f"{self.name!r} was campaigned for by its leader. Resign first, or proclaim.")
        if self._lock.is_waiting:
            raise LocalProtocolError(
                f"{self.name!r} was to be campaigned for twice by one Election, which could resign one only. "
                "Wait for the first, or make another Election."
            )
        self._lock = Lock(self._client, self.name, self._ttl, wait, value)
        return self._lock

    async def campaign(self, value: bytes, wait: float | None = None) -> int:
        """Wait to be the leader, proclaiming `value`; return the token. Raises as Lock.acquire does."""
        if not self._lock.is_held:
            await self._lock.release()
        return await self.lead(value, wait).acquire()

    async def proclaim(self, value: bytes) -> None:
        """As the leader, change the value that everybody sees. Raises LockLost unless this program leads."""
        self._lock.check()
        command = checked(Proclaim(self.name, self._lock.session_id, value))
        try:
            await self._client.ask("lock", command, Proclaimed)
        except ApplicationError as error:
            if error.kind in ("ended", "holder"):
                raise lost_error() from error
            raise

    async def resign(self) -> None:
        """Lead no more; the next in the queue does. Nothing happens if this program does not lead."""
        await self._lock.release()

    async def leader(self) -> Holder | None:
        """Who leads, read linearizably: session, token and value; None if nobody does."""
        return (await self._lock.look()).holder

    async def observe(self) -> AsyncGenerator[Holder | None, None]:
        """The leader as it is now, and again after each change of leader or value. Changes that follow each other
        faster than they are taken, or while the connection is lost, show only the newest. Once it has begun it
        goes on however long no node answers."""
        last: Holder | None = None
        is_first = True
        async with self._client.watch_topic(LOCK_APP, self.name.encode()) as watch:
            async for noticed in watch:
                change = _change(noticed)
                try:
                    holder = await self._holder() if change is None else change.holder
                except (NotLeader, Overloaded):
                    if is_first:
                        raise
                    holder = await self._holder_at_last()
                if is_first or holder != last:
                    is_first, last = False, holder
                    yield holder

    async def _holder_at_last(self) -> Holder | None:
        """As `_holder`, once a leader answers."""
        while True:
            await asyncio.sleep(RETRY_S)
            try:
                return await self._holder()
            except (NotLeader, Overloaded):
                pass

    async def _holder(self) -> Holder | None:
        """As `leader`, where no call waits."""
        return (await _look(self._client.background, self.name, self._lock.session_id)).holder
