"""Signature checks of a node: each distinct one is made once, and many at a time leave the loop."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from quorum.certificate.keys import is_signed
from quorum.protocols.effects import Signed

KNOWN_MAX = 65_536
IN_PLACE_MAX = 8
"""So many are checked on the loop: handing them to a thread and back costs about as much."""
THREADS = 2

Done = Callable[[tuple[bool, ...]], None]


class CachingVerifier:
    """runtime.ports.Verifier on an event loop. The library lets go of the interpreter while it checks, so that a
    batch in a thread keeps another core busy, and this loop free.

    `woken` is called after results that come later; the owner sets it.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Signed, bool] = OrderedDict()
        self._pool: ThreadPoolExecutor | None = None
        self.woken: Callable[[], None] = lambda: None
        self.checked = 0
        """How many signatures were really checked."""

    def verify(self, items: Sequence[Signed], done: Done) -> None:
        """Call `done` with a result for each: at once where all are known or few, else later on this loop."""
        known = self._known
        unknown = [item for item in items if item not in known]
        if len(unknown) <= IN_PLACE_MAX:
            self._learn(unknown, _check(unknown))
            done(tuple([self._result(item) for item in items]))
            return
        loop = asyncio.get_running_loop()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, "quorum signatures")

        def finish(results: list[bool]) -> None:
            self._learn(unknown, results)
            done(tuple([self._result(item) for item in items]))
            self.woken()

        future = self._pool.submit(_check, unknown)
        future.add_done_callback(lambda each: loop.call_soon_threadsafe(finish, each.result()))

    def close(self) -> None:
        """Check nothing more."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _learn(self, items: Sequence[Signed], results: Sequence[bool]) -> None:
        self.checked += len(items)
        known = self._known
        for item, result in zip(items, results, strict=True):
            known[item] = result
        while len(known) > KNOWN_MAX:
            known.popitem(last=False)

    def _result(self, item: Signed) -> bool:
        found = self._known.get(item)
        return is_signed(item.public_key, item.message, item.signature) if found is None else found


def _check(items: Sequence[Signed]) -> list[bool]:
    return [is_signed(item.public_key, item.message, item.signature) for item in items]
