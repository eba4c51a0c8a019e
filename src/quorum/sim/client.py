"""A simulated client: the production session over simulated connections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from quorum.apps.kv_watch import Event
from quorum.entry import Buffer
from quorum.errors import QuorumError
from quorum.runtime.session import Session
from quorum.runtime.session_settings import SessionSettings

if TYPE_CHECKING:
    from quorum.sim.node import SimNode
    from quorum.sim.world import World

CONNECT_US = 400
CLOSE_US = 600
MESSAGE_BYTES = 32
"""What the head of a message counts, about."""


class Connection:
    """One connection of a client to one life of a node; both directions keep their order."""

    def __init__(self, client: SimClient, node: SimNode) -> None:
        self.client = client
        self.identity = client.name
        self.node = node
        self.life = node.life
        self.open = True
        self._free_at = 0
        self._travelling = 0

    def answer(self, message: object, attached: Sequence[Buffer]) -> None:
        """From the node to the client (runtime.gateway.Client)."""
        if self.open:
            body = b"".join(attached)
            self._travelling += len(body) + MESSAGE_BYTES
            self.client.world.schedule(self._delay(), self._reach, message, body)

    def backlog(self) -> int:
        """How much travels to the client (runtime.watch_reader.Client)."""
        return self._travelling

    def close(self) -> None:
        """The client wants no more of this connection; the node notices a little later."""
        self.open = False
        self.client.world.schedule(CLOSE_US, self._end)

    def ask(self, message: object, body: bytes) -> None:
        """From the client to the node."""
        if self.open:
            self.client.world.schedule(self._delay(), self._arrive, message, body)

    def _reach(self, message: object, body: bytes) -> None:
        self._travelling -= len(body) + MESSAGE_BYTES
        self.client.hear(self, message, body)
        if self.open and self.node.life == self.life:
            self.node.drained()

    def _end(self) -> None:
        if self.node.is_up and self.node.life == self.life:
            self.node.client_lost(self)

    def _arrive(self, message: object, body: bytes) -> None:
        node = self.node
        if not self.open:
            return
        if not node.is_up or node.life != self.life:
            self.client.lose(self)
            return
        self.client.world.count(("ask", self.client.name, node.node, message))
        node.request(self, message, (body,))

    def _delay(self) -> int:
        world = self.client.world
        arrival = max(world.now_us + 100 + int(self.client.random.random() * 500), self._free_at)
        self._free_at = arrival
        return arrival - world.now_us


class SimClient:
    """A process that issues operations; `on_answer(handle, status, body, error)` hears of each."""

    def __init__(
        self, world: World, name: str, on_answer: Callable[..., None], settings: SessionSettings | None = None
    ) -> None:
        self.world = world
        self.name = name
        self.random = world.random(f"client/{name}")
        self._on_answer = on_answer
        self._connection: Connection | None = None
        self._attempt = 0
        self._alarm = 0
        self.session = Session(sorted(world.nodes), self, settings)

    def start(self) -> None:
        names = sorted(self.world.nodes)
        self.session.start(self.world.now_us, names[self.random.randrange(len(names))])

    # What the session wants (runtime.session.Wire).

    def connect(self, endpoint: str, delay_us: int) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._attempt += 1
        self.world.schedule(delay_us + CONNECT_US, self._connected, endpoint, self._attempt)

    def _connected(self, endpoint: str, attempt: int) -> None:
        if attempt != self._attempt:
            return
        node = self.world.nodes[endpoint]
        if node.is_up:
            self._connection = Connection(self, node)
            self.session.connected(self.world.now_us)
        else:
            self.session.disconnected(self.world.now_us)

    def transmit(self, message: object, body: bytes) -> None:
        assert self._connection is not None, "the session transmits only while it is connected"
        self._connection.ask(message, body)

    def wake(self, delay_us: int) -> None:
        self._alarm += 1
        self.world.schedule(delay_us, self._tick, self._alarm)

    def _tick(self, alarm: int) -> None:
        if alarm == self._alarm:
            self.session.tick(self.world.now_us)

    def finished(self, handle: int, status: int, body: bytes) -> None:
        self._on_answer(handle, status, body, None)

    def failed(self, handle: int, error: QuorumError) -> None:
        self._on_answer(handle, 0, b"", error)

    def noticed(self, handle: int, index: int, body: bytes | None) -> None:
        """Nothing: a client that watches topics says what it does then."""

    def begun(self, handle: int, revision: int) -> None:
        """Nothing, as `noticed`."""

    def changed(self, handle: int, event: Event) -> None:
        """Nothing: a client that watches keys says what it does then."""

    def watch_failed(self, handle: int, error: QuorumError) -> None:
        """Nothing, as `noticed`."""

    # What its connections bring.

    def hear(self, connection: Connection, message: object, body: bytes) -> None:
        if connection is self._connection:
            self.world.count(("hear", self.name, connection.node.node, message))
            self.session.received(self.world.now_us, message, body)  # type: ignore[arg-type]

    def lose(self, connection: Connection) -> None:
        if connection is self._connection:
            self._connection.open = False
            self._connection = None
            self.session.disconnected(self.world.now_us)
