"""A client's connections to every member of a committee that may lie, which to its session are one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from quorum.certificate.committee import Committee
from quorum.errors import ConfigurationError, QuorumError
from quorum.model import NodeId
from quorum.runtime.committees import Addresses
from quorum.runtime.connection import tls_reason
from quorum.runtime.dialler import Dialler, Received
from quorum.runtime.fan_out import NONCE_BITS, FanOut
from quorum.runtime.keyring import Signer, TlsContexts
from quorum.runtime.messages import EpochsReply, EpochsRequest, NodeMessage, SubmitSigned

EVERYBODY = "everybody"
"""The one endpoint that the session of such a client knows."""
REDIAL_S = 0.2
REDIAL_OTHERS_S = 2.0
"""How soon a node is called again that is no member."""
FIRST_S = 3.0
"""How long the first T+1 members may take."""
TICK_S = 1.0


class CommitteeDialler(Dialler):
    """As Dialler for a session, but what it sends goes to all members, signed, and what it hears is what T+1 of
    them say. Nodes that cannot be reached are called again.

    `given` says where nodes are; who answers at the addresses `unnamed` is learned there. With TLS, members are
    also called where nodes tell them to be, unless it does not `discover`.
    """

    signs: ClassVar[bool] = True

    def __init__(
        self,
        trusted: Committee,
        given: Mapping[NodeId, str],
        signer: Signer,
        tls: TlsContexts | None,
        unnamed: Sequence[str] = (),
        discover: bool = True,
    ) -> None:
        super().__init__(trusted.cluster, tls)
        self._addresses = Addresses(given.items(), follows=tls is not None and discover)
        self._unnamed = tuple(unnamed)
        self._diallers: dict[NodeId, Dialler] = {}
        self._calls: dict[NodeId, asyncio.Task[None]] = {}
        self._others: list[asyncio.Task[None]] = []
        self._refusals: dict[NodeId, str] = {}
        nonce = secrets.randbits(NONCE_BITS)
        self._fan_out = FanOut(
            trusted, signer.public_key, signer.sign, nonce, self._send_to, self._agree, self._call_members
        )
        self._agreed: list[tuple[NodeMessage, bytes]] = []
        self._on_messages: Callable[[Received], None] = lambda _: None
        self._on_closed: Callable[[], None] = lambda: None
        self._enough = asyncio.Event()
        self._is_closed = False

    @property
    def newest(self) -> Committee:
        """The newest committee that is known."""
        return self._fan_out.committees.newest

    async def open(
        self,
        endpoint: str,
        on_messages: Callable[[Received], None],
        on_closed: Callable[[], None],
        node: NodeId = "",
    ) -> None:
        """Call every node; return once T+1 of the newest committee are there, and know no later one. Raises
        QuorumError, saying who is not, after a while."""
        self._on_messages, self._on_closed = on_messages, on_closed
        if not self._others:
            self._others = [self._task(self._keep_ticking())]
            self._others += [self._task(self._keep_asking_who(address)) for address in self._unnamed]
            self._call_members()
        try:
            async with asyncio.timeout(FIRST_S):
                await self._enough.wait()
        except TimeoutError:
            why = "; ".join(
                f"{node}: {reason}" for node, reason in sorted(self._refusals.items()) if self._matters(node)
            )
            needed, members = self.newest.faults + 1, len(self.newest.members)
            raise ConfigurationError(
                f"a committee was called of which {needed} of {members} members must answer, but "
                f"{self._fan_out.reached} do ({why or 'not all say of which epoch they are'}). Look whether they "
                "run, and whether the cluster.toml or URL that is used here names nodes that do."
            ) from None

    def _task(self, act: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(act)

    def _matters(self, node: NodeId) -> bool:
        return node in self.newest.keys or node in self._unnamed

    def _call_members(self) -> None:
        """Whoever is a member now, or was named from the start."""
        members = frozenset(self.newest.keys)
        self._addresses.keep(members)
        for node in sorted(members | self._addresses.given.keys()):
            if node not in self._calls and not self._is_closed:
                self._diallers[node] = Dialler(self._cluster, self._tls)
                self._calls[node] = self._task(self._keep_calling(node))

    async def _keep_calling(self, node: NodeId) -> None:
        """Connect, and again whenever the connection ends, for as long as the node may matter."""
        turn = 0
        while node in self.newest.keys or node in self._addresses.given:
            addresses = self._addresses.of(node)
            if addresses:
                await self._call(node, addresses[turn % len(addresses)])
                turn += 1
            else:
                self._refusals[node] = "no address of it is known"
            await asyncio.sleep(REDIAL_S if node in self.newest.keys else REDIAL_OTHERS_S)
        await self._diallers.pop(node).aclose()
        self._refusals.pop(node, None)
        del self._calls[node]

    async def _call(self, node: NodeId, address: str) -> None:
        """One connection, from its beginning to its end."""
        ended = asyncio.Event()
        dialler = self._diallers[node]
        try:
            await dialler.open(
                address, lambda received: self._hear(node, received), ended.set, node if self._tls else ""
            )
        except (OSError, QuorumError) as error:
            self._refusals[node] = _reason(error)
            return
        self._refusals.pop(node, None)
        self._fan_out.connected(node)
        self.flush()
        self._look()
        await ended.wait()
        self._fan_out.lost(node)
        if not self._fan_out.reaches_enough and self._enough.is_set():
            self._enough.clear()
            self._on_closed()

    async def _keep_asking_who(self, address: str) -> None:
        """Call an address until somebody answers; who it is, is called there from then on."""
        dialler = Dialler(self._cluster, self._tls)
        while not self._is_closed:
            try:
                await dialler.open(address, lambda _: None, lambda: None)
            except (OSError, QuorumError) as error:
                self._refusals[address] = _reason(error)
                await asyncio.sleep(REDIAL_S)
                continue
            self._refusals.pop(address, None)
            self._addresses.given.setdefault(dialler.node, address)
            await dialler.aclose()
            self._call_members()
            return

    async def _keep_ticking(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._fan_out.tick()
            self.flush()

    def _look(self) -> None:
        if self._fan_out.is_usable:
            self._enough.set()

    def _send_to(self, node: NodeId, message: SubmitSigned | EpochsRequest, body: bytes) -> None:
        self._diallers[node].send(message, body)

    def _hear(self, node: NodeId, received: Received) -> None:
        asks = False
        for message, body in received:
            self._fan_out.received(node, message, body)
            if isinstance(message, EpochsReply):
                asks = True
                self._addresses.learn(node, message.addresses, self.newest.keys.keys())
        if asks:  # it may have led to further questions, or been what was waited for
            self.flush()
            self._look()
        agreed, self._agreed = self._agreed, []
        if agreed:
            self._on_messages(agreed)

    def _agree(self, message: NodeMessage, body: bytes) -> None:
        self._agreed.append((message, body))

    def send(self, message: object, body: bytes) -> None:
        self._fan_out.transmit(message, body)

    def flush(self) -> None:
        for dialler in self._diallers.values():
            dialler.flush()
        if self._agreed:  # refused here, without a word from any member
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        agreed, self._agreed = self._agreed, []
        if agreed and not self._is_closed:
            self._on_messages(agreed)

    def close(self) -> None:
        """The session wants another connection, but there is none: these go on, and `open` tells when T+1 are
        there."""

    async def aclose(self) -> None:
        self._is_closed = True
        tasks = [*self._others, *self._calls.values()]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        for dialler in self._diallers.values():
            await dialler.aclose()


def _reason(error: OSError | QuorumError) -> str:
    return str(error) if isinstance(error, QuorumError) else tls_reason(error)
