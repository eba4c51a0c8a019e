"""The blocking face of a cluster: a session of its own, on a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from quorum.errors import LocalProtocolError, OutcomeUnknown
from quorum.runtime.client import Client
from quorum.runtime.place import Place
from quorum.runtime.sync_calls import SyncCalls

THREAD_END_S = 5.0
R = TypeVar("R")


class SyncClient(SyncCalls):
    """Blocking calls for scripts; any thread may make them. Use it as `with`, or call `close` at the end."""

    def __init__(self, place: Place, timeout: float) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="quorum client", daemon=True)
        self._thread.start()
        self._closed = False

        async def open_client() -> Client:
            return place.client(timeout)

        self._client = asyncio.run_coroutine_threadsafe(open_client(), self._loop).result()
        super().__init__(self._client)

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, request: Callable[[Client], Coroutine[Any, Any, R]]) -> R:
        """Run one request on the client's thread and wait for its answer. Who stops waiting, cancels it."""
        if self._closed:
            raise LocalProtocolError("a request was made on a closed client. Open another with quorum.connect.")
        future = asyncio.run_coroutine_threadsafe(request(self._client), self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise OutcomeUnknown(
                "a request was made, but the client was closed before the answer came. It may yet be applied: "
                "read the state before you repeat it."
            ) from None
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the session and its thread. More than once is fine."""
        if self._closed:
            return
        self._closed = True
        for last in (self._client.aclose(), asyncio.sleep(0)):  # on that thread: this one may run a loop itself
            asyncio.run_coroutine_threadsafe(last, self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(THREAD_END_S)
        self._loop.close()
