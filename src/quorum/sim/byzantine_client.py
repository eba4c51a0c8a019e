"""A simulated client of a committee that may lie: the production session and fan-out on simulated connections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from quorum.entry import Buffer
from quorum.model import NodeId
from quorum.protocols.effects import Signed
from quorum.runtime.fan_out import NONCE_BITS, FanOut
from quorum.runtime.messages import EpochsRequest, NodeMessage, SubmitSigned
from quorum.runtime.session import Session
from quorum.runtime.session_settings import SessionSettings
from quorum.sim.client import CONNECT_US, Connection, SimClient

if TYPE_CHECKING:
    from quorum.sim.byzantine_world import ByzantineWorld
    from quorum.sim.node import SimNode

RECONNECT_US = 200_000
TICK_US = 1_000_000
FOLLOWED = "client follows another committee"
EVERYBODY = "everybody"
"""The one endpoint that the session knows."""


class LyingConnection(Connection):
    """A connection to a member that lies to its clients, too."""

    def answer(self, message: object, attached: Sequence[Buffer]) -> None:
        liar = self.client.world.liars[self.node.node]  # type: ignore[attr-defined]
        for said, body in liar.tells(message, tuple(attached)):
            super().answer(said, body)


class ByzantineSimClient(SimClient):
    """As SimClient, with one connection to each node; it trusts the first committee, and follows the changes."""

    def __init__(
        self,
        world: ByzantineWorld,
        name: str,
        on_answer: Callable[..., None],
        settings: SessionSettings | None = None,
    ) -> None:
        super().__init__(world, name, on_answer, settings)
        self.session = Session((EVERYBODY,), self, settings)
        key = world.client_key(name)
        self.fan_out = FanOut(
            world.committee,
            key.public,
            key.sign,
            self.random.getrandbits(NONCE_BITS),
            self._send,
            self._on_agreed,
            self._on_followed,
            lambda *signed: world.verifier.is_right(Signed(*signed)),
        )
        self._connections: dict[NodeId, Connection] = {}
        self._told = False

    def start(self) -> None:
        self.session.start(self.world.now_us)
        for node in self.world.nodes.values():
            self._dial(node)
        self.world.schedule(TICK_US, self._tick_epochs)

    def _tick_epochs(self) -> None:
        self.fan_out.tick()
        self._look()
        self.world.schedule(TICK_US, self._tick_epochs)

    def _on_followed(self) -> None:
        self.world.sometimes.reached(FOLLOWED)

    def connect(self, endpoint: str, delay_us: int) -> None:
        """The session wants another connection, but there are no others: what is open goes out again."""
        self._told = False
        self.world.schedule(delay_us + CONNECT_US, self._look)

    def _look(self) -> None:
        if self.fan_out.is_usable and not self._told:
            self._told = True
            self.session.connected(self.world.now_us)

    def _dial(self, node: SimNode) -> None:
        self.world.schedule(CONNECT_US, self._dialled, node)

    def _dialled(self, node: SimNode) -> None:
        if not node.is_up:
            self.world.schedule(RECONNECT_US, self._dial, node)
            return
        kind = LyingConnection if node.node in self.world.liars else Connection  # type: ignore[attr-defined]
        self._connections[node.node] = kind(self, node)
        self.fan_out.connected(node.node)
        self._look()

    def _send(self, member: NodeId, message: SubmitSigned | EpochsRequest, body: bytes) -> None:
        self._connections[member].ask(message, body)

    def transmit(self, message: object, body: bytes) -> None:
        self.fan_out.transmit(message, body)

    def _on_agreed(self, message: NodeMessage, body: bytes) -> None:
        self.session.received(self.world.now_us, message, body)

    def hear(self, connection: Connection, message: object, body: bytes) -> None:
        name = connection.node.node
        if self._connections.get(name) is connection:
            self.world.count(("hear", self.name, name, message))
            self.fan_out.received(name, message, body)  # type: ignore[arg-type]
            self._look()

    def lose(self, connection: Connection) -> None:
        name = connection.node.node
        if self._connections.get(name) is connection:
            connection.open = False
            del self._connections[name]
            self.fan_out.lost(name)
            self.world.schedule(RECONNECT_US, self._dial, connection.node)
