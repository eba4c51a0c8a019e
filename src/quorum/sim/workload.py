"""Clients that read, write, swap and delete a few keys at random, and write down what they were told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from quorum.apps import kv
from quorum.apps.answer import FORGOTTEN, OK
from quorum.apps.catalogue import KV_APP
from quorum.checkers.history import History
from quorum.errors import QuorumError
from quorum.runtime.session_settings import SessionSettings

if TYPE_CHECKING:
    from quorum.sim.world import World

KEYS = ("x", "y", "z")
TIMEOUT_US = 5_000_000


class Worker:
    """One client with `in_flight` operations open at once. Each of them is a process of its own in the history,
    and after an unknown outcome it goes on under a new name."""

    def __init__(
        self,
        world: World,
        name: str,
        history: History,
        pause_us: int,
        stop_us: int,
        stale: bool,
        settings: SessionSettings | None = None,
        in_flight: int = 1,
    ) -> None:
        self.world = world
        self.name = name
        self.history = history
        self.pause_us = pause_us
        self.stop_us = stop_us
        self.stale = stale
        self.random = world.random(f"worker/{name}")
        self.client = world.make_client(name, self._on_answer, settings)
        self.answered = 0
        self.unknown = 0
        self._lives = [0] * in_flight
        self._writes = 0
        self._open: dict[int, tuple[int, str, str, object]] = {}
        self._seen: dict[str, str | None] = {}

    def start(self) -> None:
        self.client.start()
        for place in range(len(self._lives)):
            self.world.schedule(self.random.randrange(self.pause_us) + 1, self._next, place)

    def _process(self, place: int) -> str:
        return f"{self.name}.{place}.{self._lives[place]}"

    def _next(self, place: int) -> None:
        """Ask the next operation: half reads; the rest writes, swaps from a value seen, and deletes."""
        if self.world.now_us >= self.stop_us:
            return
        key = KEYS[self.random.randrange(len(KEYS))]
        dice = self.random.random()
        if dice < 0.5:
            self._ask(place, "read", key, None, kv.Get(key.encode()))
            return
        self._writes += 1
        value = f"{self.name}-{self._writes}"
        if dice < 0.75:
            self._ask(place, "write", key, value, kv.Put(key.encode(), value.encode()))
        elif dice < 0.95:
            old = self._seen.get(key)
            expected = None if old is None else old.encode()
            swap = kv.CompareAndSwap(key.encode(), expected, value.encode())
            self._ask(place, "cas", key, [old, value], swap)
        else:
            self._ask(place, "delete", key, None, kv.Delete(key.encode()))

    def _ask(self, place: int, f: str, key: str, value: object, command: kv.Command) -> None:
        self.history.record(self._process(place), "invoke", f, key, value, self.world.now_us * 1000)
        session, now = self.client.session, self.world.now_us
        if isinstance(command, kv.Get):
            handle = session.query(now, KV_APP, kv.encode_query([command]), self.stale, TIMEOUT_US)
        else:
            handle = session.submit(now, KV_APP, 1, kv.encode_batch([command]), TIMEOUT_US)
        self._open[handle] = (place, f, key, value)

    def _on_answer(self, handle: int, status: int, body: bytes, error: QuorumError | None) -> None:
        place, f, key, value = self._open.pop(handle)
        kind, value = self._judge(f, key, value, status, body, error)
        self.history.record(self._process(place), kind, f, key, value, self.world.now_us * 1000)
        if kind == "info":
            self._lives[place] += 1
            self.unknown += 1
        else:
            self.answered += 1
        self.world.schedule(self.random.randrange(2 * self.pause_us) + 1, self._next, place)

    def _judge(
        self, f: str, key: str, value: object, status: int, body: bytes, error: QuorumError | None
    ) -> tuple[str, object]:
        """What the answer says: (type, value) of the history's closing event."""
        if error is not None or status == FORGOTTEN:
            return ("fail" if f == "read" else "info"), value
        if status != OK:
            self.world.violation(f"{self.name} was answered with status {status} to {f} {key}")
        try:
            result = kv.decode_results(body)[0]
        except (msgspec.MsgspecError, IndexError):
            self.world.violation(f"{self.name} was answered bytes that are no result to {f} {key}")
            raise
        match result:
            case kv.Got(item=item):
                read = None if item is None else item.value.decode()
                self._seen[key] = read
                return "ok", read
            case kv.Swapped(succeeded=succeeded):
                return ("ok" if succeeded else "fail"), value
            case kv.Written() | kv.Deleted():
                return "ok", value
        self.world.violation(f"{self.name} was answered {result} to {f} {key}")
        raise AssertionError("a violation is raised")
