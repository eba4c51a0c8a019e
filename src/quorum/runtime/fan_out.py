"""A client's requests to every member of a committee that may lie: signed, and answered when T+1 members agree.

To the session it is one connection. No single member's word is taken for anything: a read is ordered like a write,
and answered at its place of the log. Where the committee changes, the requests follow it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b

from quorum.apps.host import SESSIONS, query_body
from quorum.certificate.committee import Committee
from quorum.certificate.keys import CheckSignature, is_signed
from quorum.certificate.requests import sign_request
from quorum.certificate.vote import SigningDomain
from quorum.header import Batch
from quorum.model import NodeId
from quorum.runtime import messages
from quorum.runtime.committees import Committees
from quorum.runtime.messages import (
    EpochsReply,
    EpochsRequest,
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
Send = Callable[[NodeId, SubmitSigned | EpochsRequest, bytes], None]
Answer = Callable[[NodeMessage, bytes], None]


class _Open:
    """One request, the epoch whose committee it was sent to first, and who answered it how."""

    __slots__ = ("data", "epoch", "told")

    def __init__(self, data: bytes, epoch: int) -> None:
        self.data = data
        self.epoch = epoch
        self.told: dict[NodeId, tuple[int, int, bytes]] = {}


class FanOut:
    """Sends each request to all members of the newest committee that are connected, and again to one that comes
    back, or is a member from now on.

    `trusted` is a committee of the cluster, of any epoch; requests are signed for its epoch 0. `nonce` is drawn at
    random for each life of a client: requests outside of a session are told apart by it. `send` reaches one node;
    `answer` hears what T+1 said; `changed` that another committee acts.

    I1  an answer is passed on only if T+1 members of one committee gave exactly the same: of the newest known, or
        of one that was the newest since the request was sent.
    """

    def __init__(
        self,
        trusted: Committee,
        public_key: bytes,
        sign: Callable[[bytes], bytes],
        nonce: int,
        send: Send,
        answer: Answer,
        changed: Callable[[], None] = lambda: None,
        check: CheckSignature = is_signed,
    ) -> None:
        self._domain = SigningDomain(trusted.cluster, 0)
        self._public_key = public_key
        self._sign = sign
        self._nonce = nonce >> 1
        self._send = send
        self._answer = answer
        self._changed = changed
        self.committees = Committees(trusted, lambda node, question: send(node, question, b""), check)
        self._connected: set[NodeId] = set()
        self._reached: tuple[NodeId, ...] = ()
        self._open: dict[int, _Open] = {}
        self._oldest: _Open | None = None

    @property
    def reached(self) -> int:
        """How many members are connected."""
        return len(self._reached)

    @property
    def is_usable(self) -> bool:
        """Whether enough members are connected for an answer to come, and have said that no later committee is."""
        return self.reaches_enough and self.committees.is_settled

    @property
    def reaches_enough(self) -> bool:
        """Whether T+1 members of the newest committee are connected."""
        return len(self._reached) > self.committees.newest.faults

    def connected(self, node: NodeId) -> None:
        """A node is there (again): if it is a member, it hears of everything unanswered."""
        self._connected.add(node)
        self._reach()
        self.committees.connected(node)

    def lost(self, node: NodeId) -> None:
        """The connection to a node ended."""
        self._connected.discard(node)
        self._reach()
        self.committees.lost(node)

    def tick(self) -> None:
        """A second passed: where a request waits for so long, others may be members by now."""
        oldest = next(iter(self._open.values()), None)
        self.committees.tick(oldest is not None and oldest is self._oldest)
        self._oldest = oldest

    def _reach(self, before: tuple[NodeId, ...] | None = None) -> None:
        """Who is a member and connected; those who were not `before` hear of everything unanswered."""
        before = self._reached if before is None else before
        members = self.committees.newest.keys
        self._reached = tuple(sorted(node for node in self._connected if node in members))
        for member in self._reached:
            if member not in before:
                for request, each in self._open.items():
                    self._send(member, SubmitSigned(request), each.data)

    def transmit(self, message: object, body: bytes) -> None:
        """A request of the session."""
        match message:
            case Submit(request, app, client, first, acked_below, count):
                first = first if client else self._nonce + request
                batch = Batch(app, client, first, acked_below, count, body)
            case Query(request, app):  # also one that may be stale: a newer answer is as good
                batch = Batch(SESSIONS, 0, self._nonce + request, 0, 1, query_body(app, body))
            case _:
                request = getattr(message, "request", 0)
                self._answer(Failure(request, messages.REFUSED, _why_not(message)), b"")
                return
        data = sign_request(self._domain, batch, self._public_key, self._sign)
        known = self._open.get(request)
        if known is None or known.data != data:
            self._open[request] = _Open(data, self.committees.newest.epoch)
        for member in self._reached:
            self._send(member, SubmitSigned(request), data)

    def received(self, member: NodeId, message: NodeMessage, body: bytes) -> None:
        """What one node says: counted once for each request, the newest where it says several things."""
        if isinstance(message, EpochsReply):
            if self.committees.received(member, message):
                self._reach(before=())  # all of them: what some said already may be enough now
                self._changed()
            return
        open_ = self._open.get(message.request) if isinstance(message, Result | Failure) else None
        if open_ is None:
            return
        if isinstance(message, Result):
            said = (0, message.status, _brief(body))
        elif isinstance(message, Failure):
            said = (message.code, 0, _brief(repr((message.text, message.leader)).encode()))
        open_.told[member] = said
        if self.committees.vouch({node for node, each in open_.told.items() if each == said}, open_.epoch):
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
    what = _ASKED.get(type(message), type(message).__name__)
    return (
        f"{what} was asked of a committee as a whole, but each member answers that for itself, and no T+1 of them "
        "give the same. Ask members one by one."
    )
