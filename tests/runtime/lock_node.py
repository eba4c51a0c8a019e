"""A node of its own making for clients of locks and keys: it applies at once, at a log time that tests choose."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from quorum.apps.answer import OK
from quorum.apps.catalogue import LOCK_APP, new_host
from quorum.apps.lock import Look, decode_results, encode_query
from quorum.apps.log_clock import TICK_US_MAX
from quorum.entry import COMMAND, TICK
from quorum.header import Header
from quorum.runtime.client import Client
from quorum.runtime.messages import Pulse, Query, Result, Submit, Unwatch, Watch
from quorum.runtime.watch import hub_of


class LockNode:
    """While it `is_silent` it takes nothing and answers nothing."""

    def __init__(self) -> None:
        self.host = new_host()
        self.hub = hub_of(self.host)
        self.now_us = 0
        self.is_silent = False
        self.commands = 0

    def client(self, timeout: float = 10.0) -> Client:
        """A client that is connected to this node."""
        return Client(["n1:1"], Line(self), timeout, discover=False)  # type: ignore[arg-type]

    def receive(self, line: Line, message: object, body: bytes) -> None:
        if self.is_silent:
            return
        match message:
            case Query():
                answer = self.host.query(message.app, body)
                line.answer(Result(message.request, answer.status), (answer.body,))
            case Submit():
                self.commands += 1
                result = self.apply(COMMAND, message, body)
                line.answer(Result(message.request, result.status), (result.body,))
            case Watch():
                self.hub.watch(line, message, body)
            case Unwatch():
                self.hub.unwatch(line, message.request)
            case Pulse():
                self.hub.pulse(line, message)
        self.tell(message)

    def tell(self, message: object) -> None:
        """Watchers hear what there is, after `message`."""
        self.hub.pump()

    def apply(self, kind: int, submit: Submit, body: bytes):
        index = self.host.applied_index + 1
        head = Header(
            index,
            1,
            kind,
            submit.app,
            1,
            self.now_us,
            0,
            submit.client,
            submit.first_sequence,
            submit.acked_below,
            submit.count,
            b"",
        )
        result = self.host.apply(head, body)
        self.hub.noticed(index, result.notices)
        return result

    def pass_time(self, us: int) -> None:
        """Log time goes on."""
        while us > 0:
            self.now_us += min(us, TICK_US_MAX)
            us -= TICK_US_MAX
            self.apply(TICK, Submit(0, 0, 0, 0, 0, 0), b"")
        self.hub.pump()

    def look(self, name: str):
        """The lock as it stands."""
        answer = self.host.query(LOCK_APP, encode_query([Look(name)]))
        assert answer.status == OK
        return decode_results(answer.body)[0]


class Line:
    """A dialler, and the connection it makes."""

    is_authenticated = False
    signs = False

    def __init__(self, node: LockNode) -> None:
        self._node = node
        self._waiting: list[tuple[object, bytes]] = []

    async def open(self, endpoint, on_messages, on_closed, node="") -> None:
        self._on_messages = on_messages

    def send(self, message: object, body: bytes) -> None:
        self._waiting.append((message, body))

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for message, body in waiting:
            self._node.receive(self, message, body)

    def answer(self, message: object, attached: Sequence[bytes]) -> None:
        asyncio.get_running_loop().call_soon(self._on_messages, [(message, b"".join(attached))])

    def backlog(self) -> int:
        return 0

    def close(self) -> None: ...

    async def aclose(self) -> None: ...
