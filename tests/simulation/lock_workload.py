"""Clients that queue for a few locks, hold them, are slow or forget to keep them, and write to a guarded store.

Each worker believes that it holds a lock until nine tenths of its time have passed since it sent the last request
that prolonged it. The store refuses a write whose token is below the largest that it has seen.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

from quorum.apps import kv, lock
from quorum.apps.answer import OK
from quorum.apps.catalogue import KV_APP, LOCK_APP
from quorum.errors import QuorumError
from quorum.sim.client import SimClient
from quorum.sim.world import World

SECOND_US = 1_000_000
TTL_US = 3 * SECOND_US
LOCKS = ("red", "green")
TIMEOUT_US = 5 * SECOND_US
POLL_US = 200_000


class Step(NamedTuple):
    """What a worker does next: ask application `app`, or (0) sleep for `us`."""

    app: int
    item: Any = None
    us: int = 0


class Belief(NamedTuple):
    """A worker took itself for the holder from `since_us` until `until_us`."""

    lock: str
    worker: str
    token: int
    since_us: int
    until_us: int


class Write(NamedTuple):
    """An accepted write: `revision` tells its place among all."""

    lock: str
    revision: int
    token: int
    worker: str


Script = Generator[Step, Any, None]


class LockWorker:
    """One client, which does one thing at a time. Answers that never come are None."""

    def __init__(self, world: World, name: str, stop_us: int) -> None:
        self.world = world
        self.name = name
        self.stop_us = stop_us
        self.random = world.random(f"lock worker/{name}")
        self.client = SimClient(world, name, self._on_answer)
        self.beliefs: list[Belief] = []
        self.writes: list[Write] = []
        self.fenced = 0
        self.tokens: list[tuple[str, int]] = []
        self.is_done = False
        self._valid_us = 0
        self._script = self.script()

    def start(self) -> None:
        self.client.start()
        self._advance(None)

    # The world's side.

    def _advance(self, answer: Any) -> None:
        try:
            step = self._script.send(answer)
        except StopIteration:
            self.is_done = True
            return
        session, now_us = self.client.session, self.world.now_us
        if step.app == 0:
            self.world.schedule(step.us, self._advance, None)
        elif isinstance(step.item, lock.Query):
            session.query(now_us, step.app, lock.encode_query([step.item]), False, TIMEOUT_US)
        else:
            encode = lock.encode_batch if step.app == LOCK_APP else kv.encode_batch
            session.submit(now_us, step.app, 1, encode([step.item]), TIMEOUT_US)
        self._app = step.app

    def _on_answer(self, handle: int, status: int, body: bytes, error: QuorumError | None) -> None:
        answer = None
        if error is None and status == OK:
            decode = lock.decode_results if self._app == LOCK_APP else kv.decode_results
            (answer,) = decode(body)
        self._advance(answer)

    # What it does.

    def script(self) -> Script:
        """Take one lock after the other until the time is over."""
        yield from self.sleep(self.random.randrange(SECOND_US))
        while self.world.now_us < self.stop_us:
            name = self.random.choice(LOCKS)
            session = yield from self.open()
            if session is None:
                continue
            token = yield from self.acquire(name, session)
            if token is not None:
                yield from self.hold(name, session, token)
            yield Step(LOCK_APP, lock.CloseSession(session))

    def sleep(self, us: int) -> Script:
        yield Step(0, us=us)

    def prolong(self, request: Any) -> Generator[Step, Any, Any]:
        """Ask for something that prolongs the session, counted from before it is sent."""
        asked_us = self.world.now_us
        answer = yield Step(LOCK_APP, request)
        if isinstance(answer, lock.Opened | lock.Alive):
            self._valid_us = asked_us + TTL_US * 9 // 10
        return answer

    def open(self) -> Generator[Step, Any, int | None]:
        opened = yield from self.prolong(lock.OpenSession(TTL_US))
        return opened.session if isinstance(opened, lock.Opened) else None

    def acquire(self, name: str, session: int) -> Generator[Step, Any, int | None]:
        """The token, or None if the session ended while it waited."""
        while True:
            answer = yield Step(LOCK_APP, lock.Acquire(name, session, self.name.encode()))
            if isinstance(answer, lock.Granted):
                self.tokens.append((name, answer.token))
                return answer.token
            if isinstance(answer, lock.Refused):
                return None
            yield from self.sleep(self.random.randrange(POLL_US) + 1)
            yield from self.prolong(lock.KeepAlive(session))

    def hold(self, name: str, session: int, token: int) -> Script:
        """Write a few times, mostly while it believes to hold the lock, sometimes much later."""
        since_us = self.world.now_us
        for _ in range(self.random.randrange(1, 6)):
            is_forgetful = self.random.random() < 0.2
            yield from self.sleep(self.random.randrange(2 * TTL_US if is_forgetful else TTL_US // 4))
            if not is_forgetful and self.world.now_us < self._valid_us:
                yield from self.prolong(lock.KeepAlive(session))
            self.believe(name, token, since_us)
            yield from self.write(name, token)
        self.believe(name, token, since_us)

    def believe(self, name: str, token: int, since_us: int) -> None:
        until_us = min(self.world.now_us, self._valid_us)
        if until_us > since_us:
            self.beliefs.append(Belief(name, self.name, token, since_us, until_us))

    def write(self, name: str, token: int) -> Script:
        """Write to the store of this lock; it accepts only a token that is at least the largest it has seen."""
        key, guard = name.encode(), (name + "/token").encode()
        number = token.to_bytes(8, "big")
        holds = [kv.Compare(guard, "value", "<", (token + 1).to_bytes(8, "big"))]
        put = [kv.Put(guard, number), kv.Put(key, self.name.encode())]
        done = yield Step(KV_APP, kv.Txn(holds, put, []))
        if isinstance(done, kv.Committed) and done.succeeded:
            self.writes.append(Write(name, done.revision, token, self.name))
        elif isinstance(done, kv.Committed):
            self.fenced += 1


class Setup(LockWorker):
    """Makes the guards of the stores."""

    def script(self) -> Script:
        for name in LOCKS:
            made = None
            while made is None:
                guard = (name + "/token").encode()
                absent = [kv.Compare(guard, "version", "=", 0)]
                made = yield Step(KV_APP, kv.Txn(absent, [kv.Put(guard, bytes(8))], []))
