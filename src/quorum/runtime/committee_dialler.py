"""A client's connections to every member of a committee that may lie, which to its session are one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import ClassVar

from quorum.certificate.vote import SigningDomain
from quorum.errors import ConfigurationError, QuorumError
from quorum.model import NodeId
from quorum.runtime.connection import tls_reason
from quorum.runtime.dialler import Dialler, Received
from quorum.runtime.fan_out import NONCE_BITS, FanOut
from quorum.runtime.keyring import Signer, TlsContexts
from quorum.runtime.messages import NodeMessage, SubmitSigned

EVERYBODY = "everybody"
"""The one endpoint that the session of such a client knows."""
REDIAL_S = 0.2
FIRST_S = 3.0
"""How long the first T+1 members may take."""


class CommitteeDialler(Dialler):
    """As Dialler for a session, but what it sends goes to all members, signed, and what it hears is what T+1 of
    them say. Members that cannot be reached are called again."""

    signs: ClassVar[bool] = True

    def __init__(
        self, cluster: str, members: Mapping[NodeId, str], faults: int, signer: Signer, tls: TlsContexts | None
    ) -> None:
        super().__init__(cluster, tls)
        self._members = dict(members)
        self._faults = faults
        self._signer = signer
        self._diallers = {node: Dialler(cluster, tls) for node in self._members}
        self._calls: dict[NodeId, asyncio.Task[None]] = {}
        self._refusals: dict[NodeId, str] = {}
        self._fan_out: FanOut | None = None
        self._agreed: list[tuple[NodeMessage, bytes]] = []
        self._on_messages: Callable[[Received], None] = lambda _: None
        self._on_closed: Callable[[], None] = lambda: None
        self._enough = asyncio.Event()
        self._is_closed = False

    async def open(
        self,
        endpoint: str,
        on_messages: Callable[[Received], None],
        on_closed: Callable[[], None],
        node: NodeId = "",
    ) -> None:
        """Call every member; return once T+1 of them are there. Raises QuorumError, saying who is not, after a
        while."""
        self._on_messages, self._on_closed = on_messages, on_closed
        if self._fan_out is None:
            domain = SigningDomain(self._cluster, 0)
            public_key, nonce = self._signer.public_key, secrets.randbits(NONCE_BITS)
            sign, send, agreed = self._signer.sign, self._send_to, self._agree
            self._fan_out = FanOut(self._members, self._faults, domain, public_key, sign, nonce, send, agreed)
        for member in self._members:
            if member not in self._calls:
                self._calls[member] = asyncio.get_running_loop().create_task(self._keep_calling(member))
        try:
            async with asyncio.timeout(FIRST_S):
                await self._enough.wait()
        except TimeoutError:
            why = "; ".join(f"{member}: {reason}" for member, reason in sorted(self._refusals.items()))
            raise ConfigurationError(
                f"a committee was called of which {self._faults + 1} of {len(self._members)} members must answer, "
                f"but {self._fan_out.reached} do ({why}). Look whether they run."
            ) from None

    async def _keep_calling(self, member: NodeId) -> None:
        """Connect, and again whenever the connection ends."""
        fan_out = self._fan_out
        assert fan_out is not None, "calls are made after the first `open`"
        dialler = self._diallers[member]
        while True:
            ended = asyncio.Event()
            try:
                await dialler.open(
                    self._members[member],
                    lambda received: self._hear(member, received),
                    ended.set,
                    member if self._tls is not None else "",
                )
            except (OSError, QuorumError) as error:
                self._refusals[member] = str(error) if isinstance(error, QuorumError) else tls_reason(error)
            else:
                self._refusals.pop(member, None)
                fan_out.connected(member)
                dialler.flush()
                if fan_out.is_usable:
                    self._enough.set()
                await ended.wait()
                fan_out.lost(member)
                if not fan_out.is_usable and self._enough.is_set():
                    self._enough.clear()
                    self._on_closed()
            await asyncio.sleep(REDIAL_S)

    def _send_to(self, member: NodeId, message: SubmitSigned, body: bytes) -> None:
        self._diallers[member].send(message, body)

    def _hear(self, member: NodeId, received: Received) -> None:
        assert self._fan_out is not None, "answers come after the first `open`"
        for message, body in received:
            self._fan_out.received(member, message, body)
        agreed, self._agreed = self._agreed, []
        if agreed:
            self._on_messages(agreed)

    def _agree(self, message: NodeMessage, body: bytes) -> None:
        self._agreed.append((message, body))

    def send(self, message: object, body: bytes) -> None:
        if self._fan_out is not None:
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
        for call in self._calls.values():
            call.cancel()
        for call in self._calls.values():
            with suppress(asyncio.CancelledError):
                await call
        for dialler in self._diallers.values():
            await dialler.aclose()
