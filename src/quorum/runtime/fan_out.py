"""A client's requests to every member of a committee that may lie: signed, and answered when T+1 members agree.

To the session it is one connection. No single member's word is taken for anything: a read is ordered like a write,
and answered at its place of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b

from quorum.apps.host import SESSIONS, query_body
from quorum.certificate.requests import sign_request
from quorum.certificate.vote import SigningDomain
from quorum.header import Batch
from quorum.model import NodeId
from quorum.runtime import messages
from quorum.runtime.messages import (
    Failure,
    NodeMessage,
    Pulse,
    Query,
    Result,
    Submit,
    SubmitSigned,
    Unwatch,
    Watch,
)

NONCE_BITS = 62
BRIEF_BYTES = 31
"""Of a longer answer the digest is kept, which no shorter one can be taken for."""
Send = Callable[[NodeId, SubmitSigned, bytes], None]
Answer = Callable[[NodeMessage, bytes], None]


class _Open:
    """One request, and who answered it how."""

    __slots__ = ("data", "told")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.told: dict[NodeId, tuple[int, int, bytes]] = {}


class FanOut:
    """Sends each request to all members that are connected, and again to one that comes back.

    `domain` is of the cluster's epoch 0. `nonce` is drawn at random for each life of a client: requests outside of
    a session are told apart by it. `send` reaches one member; `answer` hears what T+1 said.

    I1  an answer is passed on only if `faults` + 1 members gave exactly the same.
    """

    def __init__(
        self,
        members: Iterable[NodeId],
        faults: int,
        domain: SigningDomain,
        public_key: bytes,
        sign: Callable[[bytes], bytes],
        nonce: int,
        send: Send,
        answer: Answer,
    ) -> None:
        self.members = tuple(sorted(members))
        self._faults = faults
        self._domain = domain
        self._public_key = public_key
        self._sign = sign
        self._nonce = nonce >> 1
        self._send = send
        self._answer = answer
        self._connected: set[NodeId] = set()
        self._open: dict[int, _Open] = {}

    @property
    def reached(self) -> int:
        """How many members are connected."""
        return len(self._connected)

    @property
    def is_usable(self) -> bool:
        """Whether enough members are connected for an answer to come."""
        return len(self._connected) > self._faults

    def connected(self, member: NodeId) -> None:
        """A member is there (again): it hears of everything unanswered."""
        self._connected.add(member)
        for request, each in self._open.items():
            self._send(member, SubmitSigned(request), each.data)

    def lost(self, member: NodeId) -> None:
        """The connection to a member ended."""
        self._connected.discard(member)

    def transmit(self, message: object, body: bytes) -> None:
        """A request of the session."""
        match message:
            case Submit(request, app, client, first, acked_below, count):
                first = first if client else self._nonce + request
                batch = Batch(app, client, first, acked_below, count, body)
            case Query(request, app, stale=False):
                batch = Batch(SESSIONS, 0, self._nonce + request, 0, 1, query_body(app, body))
            case _:
                request = getattr(message, "request", 0)
                self._answer(Failure(request, messages.REFUSED, _why_not(message)), b"")
                return
        data = sign_request(self._domain, batch, self._public_key, self._sign)
        known = self._open.get(request)
        if known is None or known.data != data:
            self._open[request] = _Open(data)
        for member in self.members:
            if member in self._connected:
                self._send(member, SubmitSigned(request), data)

    def received(self, member: NodeId, message: NodeMessage, body: bytes) -> None:
        """What one member says: counted once for each request, the newest where it says several things."""
        open_ = self._open.get(message.request) if isinstance(message, Result | Failure) else None
        if open_ is None:
            return
        if isinstance(message, Result):
            said = (0, message.status, _brief(body))
        elif isinstance(message, Failure):
            said = (message.code, 0, _brief(repr((message.text, message.leader)).encode()))
        open_.told[member] = said
        if sum(each == said for each in open_.told.values()) > self._faults:
            del self._open[message.request]  # type: ignore[union-attr]
            self._answer(message, body)

    def forget(self, requests: Iterable[int]) -> None:
        """Nobody waits for these any more."""
        for request in requests:
            self._open.pop(request, None)


def _brief(body: bytes) -> bytes:
    """What stands for an answer until others have given it, too: a liar's may be as long as it likes."""
    return blake2b(body, digest_size=32).digest() if len(body) > BRIEF_BYTES else b"=" + body


_ASKED: dict[type[object], str] = {
    messages.StatusRequest: "a status",
    messages.CertificateRequest: "the certificate of a decision",
    messages.ApproveRequest: "an approval of a next committee",
    messages.ProofRequest: "a proof from the ledger",
    messages.MembersRequest: "a list of the members",
}


def _why_not(message: object) -> str:
    """What was asked that cannot be sent to all members at once, why not, and what to do."""
    if isinstance(message, Watch | Unwatch | Pulse):
        return (
            "a watch was asked of a cluster whose members may lie, but what one of them alone tells is not "
            "believed, and no T+1 tell the same at one time. Read it again, now and then."
        )
    if isinstance(message, Query):
        return (
            "a stale read was asked of a cluster whose members may lie, but what one of them alone tells is not "
            "believed. Read without it: every read is ordered, and T+1 members answer."
        )
    what = _ASKED.get(type(message), type(message).__name__)
    return (
        f"{what} was asked of a committee as a whole, but each member answers that for itself, and no T+1 of them "
        "give the same. Ask members one by one."
    )
