"""Commands with a deadline of their own that wait for a connection. What was not sent did not happen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from quorum.errors import Overloaded, QuorumError
from quorum.runtime.batches import WAITING_MAX

Send = Callable[[], asyncio.Future[Any]]


class Unsent:
    """They are kept back while no node is connected: given to the session, they would go out at the next
    connection, even where their deadline is over by then and nobody wants them any more.

    I1  whoever is in `_waiting` was not sent, and is sent by nobody else.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[asyncio.Future[Any], Send] = {}

    def hold(self, send: Send) -> asyncio.Future[Any]:
        """Call `send` once a node is connected; the result of what it gives. Raises Overloaded where too many
        wait."""
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded(
                f"a command was to be sent, but {WAITING_MAX} wait for a node to be connected, and more are not "
                "kept. Await some first."
            )
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[future] = send
        return future

    def withdraw(self, future: asyncio.Future[Any]) -> bool:
        """Never send it. False if it was sent, or never waited here."""
        return self._waiting.pop(future, None) is not None

    def release(self) -> None:
        """A node is connected: send all, in the order in which they came."""
        waiting, self._waiting = self._waiting, {}
        for future, send in waiting.items():
            if future.done():
                continue
            try:
                send().add_done_callback(_handing_to(future))
            except QuorumError as error:
                future.set_exception(error)

    def cancel(self) -> None:
        """Cancel them: the client is closed."""
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            future.cancel()


def _handing_to(future: asyncio.Future[Any]) -> Callable[[asyncio.Future[Any]], None]:
    """Hands to `future` what becomes of another, unless nobody waits for it any more."""

    def hand(answered: asyncio.Future[Any]) -> None:
        if answered.cancelled():
            future.cancel()
            return
        error = answered.exception()
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(answered.result())

    return hand
