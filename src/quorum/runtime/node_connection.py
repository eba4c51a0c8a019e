"""Requests to one node, not to the cluster: status, certificates, backups, changes of members, drills."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from quorum.apps import kv, ledger, objects
from quorum.apps.answer import Answer, reply_of
from quorum.apps.catalogue import KV_APP, OBJECTS_APP
from quorum.certificate.epochs import EpochChange
from quorum.errors import AlreadySo, NotLeader, OutcomeUnknown, Overloaded, QuorumError, RequestRefused
from quorum.membership.reconfiguration import Change, encode_change
from quorum.model import Configuration, decode_configuration
from quorum.runtime import messages
from quorum.runtime.dialler import Dialler
from quorum.runtime.messages import (
    ApproveRequest,
    BackupChunkRequest,
    BackupRequest,
    CertificateRequest,
    ChangeRequest,
    EpochsReply,
    EpochsRequest,
    Failure,
    LinkFaultRequest,
    NodeMessage,
    ProofRequest,
    Query,
    Result,
    StatusReply,
    StatusRequest,
    TransferRequest,
)
from quorum.runtime.watching import OF_WATCHES

ANSWER_S = 10.0
"""How long what a node can answer at once is waited for."""
WORK_S = 600.0
"""How long what takes work is waited for: a change of members, a transfer, a snapshot."""
WAITING_MAX = 1_000


class NodeConnection:
    """Requests to one node, not to the cluster, one connection long.

    Each has a time after which it is given up: Overloaded, or OutcomeUnknown for what may yet happen, which is
    what a lost connection means then, too. What the node will not do is RequestRefused.
    """

    def __init__(self, endpoint: str, dialler: Dialler) -> None:
        self._endpoint = endpoint
        self._dialler = dialler
        self._next = 1
        self._is_lost = False
        self._waiting: dict[int, asyncio.Future[tuple[NodeMessage, bytes]]] = {}

    async def __aenter__(self) -> NodeConnection:
        await self._dialler.open(self._endpoint, self._on_messages, self._on_closed)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._dialler.aclose()

    async def status(self) -> bytes:
        """The node's runtime.node.NodeStatus as JSON."""
        reply, _ = await self._ask(StatusRequest(self._take()))
        assert isinstance(reply, StatusReply)
        return reply.status

    async def certificate(self, topic: str) -> bytes:
        """The leader's certificate.DecisionCertificate for the decision on `topic`, as JSON."""
        return (await self._ask(CertificateRequest(self._take(), topic)))[1]

    async def prove(self, wanted: ledger.GetTransaction | ledger.Look) -> bytes:
        """What this node can prove of its ledger (certificate.ledger_forms), unverified."""
        return (await self._ask(ProofRequest(self._take()), ledger.encode_query([wanted])))[1]

    async def read_stale(self, key: bytes) -> kv.Item | None:
        """The item under `key` in what this very node has applied: old, if the node is behind or cut off."""
        reply, body = await self._ask(Query(self._take(), KV_APP, True), kv.encode_query([kv.Get(key)]))
        assert isinstance(reply, Result)
        got = kv.decode_results(reply_of(Answer(reply.status, body)))[0]
        if not isinstance(got, kv.Got):
            raise QuorumError(f"{key!r} was to be read at one node, but it answered {got}. Check the key.")
        return got.item

    async def backup(self) -> bytes:
        """Let the node make a snapshot of all that was acknowledged: a backup_offer.BackupOffer, encoded."""
        return (await self._ask(BackupRequest(self._take()), within_s=WORK_S))[1]

    async def backup_chunk(self, index: int, offset: int) -> bytes:
        """Bytes of the snapshot at `index` from `offset` on; none when the node does not keep it any more."""
        return (await self._ask(BackupChunkRequest(self._take(), index, offset)))[1]

    async def describe_objects(self) -> list[objects.Description]:
        """What this very node hosts, and the versions that its program knows. Raises ApplicationError on a
        witness, which hosts nothing."""
        reply, body = await self._ask(Query(self._take(), OBJECTS_APP, True), objects.DESCRIBE)
        assert isinstance(reply, Result)
        return objects.decode_descriptions(reply_of(Answer(reply.status, body)))

    async def set_link_faults(self, blocked_in: Sequence[str], blocked_out: Sequence[str]) -> None:
        """Drop frames from and to these nodes; only a node started with --allow-faults does so."""
        message = LinkFaultRequest(self._take(), tuple(blocked_in), tuple(blocked_out))
        await self._ask(message, changes=True)

    async def change(self, change: Change, timeout: float = WORK_S) -> None:
        """Change the members, through this node, which must lead; returns once the change is decided. Raises
        AlreadySo where nothing has to change."""
        await self._ask(ChangeRequest(self._take()), encode_change(change), timeout, changes=True)

    async def preview(self, change: Change) -> Configuration:
        """The configuration that this change would lead to, as this node, which must lead, would take it up now;
        nothing is changed. Raises RequestRefused where it would not, AlreadySo where nothing had to change."""
        _, body = await self._ask(ChangeRequest(self._take(), dry=True), encode_change(change))
        return decode_configuration(body)

    async def approve(self, committee: bytes) -> None:
        """Let this node, whose committee may lie, approve of the next one (certificate.genesis); returns once that
        is durable there."""
        await self._ask(ApproveRequest(self._take()), committee, changes=True)

    async def epochs(self, epoch: int) -> tuple[EpochChange, ...]:
        """How the committees went on after this epoch, as far as one message holds it; unverified."""
        reply, _ = await self._ask(EpochsRequest(self._take(), epoch))
        assert isinstance(reply, EpochsReply)
        return reply.changes

    async def transfer(self, target: str | None = None, timeout: float = WORK_S) -> None:
        """Let this node, which must lead, hand leadership over; returns once it leads no more."""
        await self._ask(TransferRequest(self._take(), target), within_s=timeout, changes=True)

    def _take(self) -> int:
        self._next += 1
        return self._next

    async def _ask(
        self, message: Any, attached: bytes = b"", within_s: float = ANSWER_S, changes: bool = False
    ) -> tuple[NodeMessage, bytes]:
        """The answer. `changes`: without one the request may yet be carried out."""
        if self._is_lost:
            raise _lost(False)
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded(
                f"{self._endpoint} was asked, but {WAITING_MAX} requests wait for its answers. Await some of them."
            )
        future: asyncio.Future[tuple[NodeMessage, bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[message.request] = future
        self._dialler.send(message, attached)
        self._dialler.flush()
        try:
            done, _ = await asyncio.wait((future,), timeout=within_s)
        finally:
            self._waiting.pop(message.request, None)
        if not done:
            raise _silent(self._endpoint, within_s, changes)
        if future.cancelled():
            raise _lost(changes)
        reply, body = future.result()
        if isinstance(reply, Failure):
            match reply.code:
                case messages.OUTCOME_UNKNOWN:
                    raise OutcomeUnknown(reply.text)
                case messages.OVERLOADED:
                    raise Overloaded(reply.text)
                case messages.NOT_LEADER:
                    raise NotLeader(reply.leader)
                case messages.ALREADY_SO:
                    raise AlreadySo(reply.text)
            raise RequestRefused(reply.text)
        assert isinstance(reply, Result | StatusReply | EpochsReply)
        return reply, body

    def _on_messages(self, received: Sequence[tuple[NodeMessage, bytes]]) -> None:
        for message, body in received:
            if isinstance(message, OF_WATCHES):
                continue  # nothing is watched here
            future = self._waiting.pop(message.request, None)
            if future is not None and not future.done():
                future.set_result((message, body))

    def _on_closed(self) -> None:
        self._is_lost = True
        for future in self._waiting.values():
            future.cancel()


def _lost(changes: bool) -> QuorumError:
    what = "a node was asked, but it closed the connection."
    if changes:
        return OutcomeUnknown(f"{what} What was asked may yet be done: look at the members before you ask again.")
    return QuorumError(f"{what} Look whether it runs, then ask again.")


def _silent(endpoint: str, within_s: float, changes: bool) -> QuorumError:
    what = f"{endpoint} was asked, but did not answer within {within_s:g} s."
    if changes:
        return OutcomeUnknown(f"{what} What was asked may yet be done: look at the members before you ask again.")
    return Overloaded(f"{what} Look whether it is overloaded, then ask again.")
