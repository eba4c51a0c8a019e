"""Who waits at this node for which signed request; every member answers, and the client counts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from quorum.apps.answer import Answer
from quorum.apps.applied import Applied
from quorum.certificate.requests import SignedRequest, decode_request, request_statement
from quorum.certificate.vote import SigningDomain
from quorum.protocols.effects import Signed
from quorum.runtime import messages
from quorum.runtime.driver import Driver
from quorum.runtime.messages import Failure, Result
from quorum.runtime.watch_reader import Client

TOO_MANY = (
    "a request was sent, but too many wait at this node already. Nothing was changed: send it again in a while."
)
RECENT_MAX = 16_384
RECENT_BYTES_MAX = 16 * 1024 * 1024
WAITING_MAX = 100_000
CLIENT_SHARE = 8
"""Of those one client may take this part: what it sends need not be signed, and is never answered then."""
CLIENTS_MAX = 8
"""So many connections may wait for one request, of which any one may be its client's."""


class SignedRequests:
    """Requests on their way, and the answers to those of late: a member may apply a request before it comes here.

    I1  what waits is bounded by `WAITING_MAX` requests, what is kept by its number and its bytes.
    I2  whoever else asks, a client that waits for a request is not pushed out by one other client.
    """

    def __init__(self) -> None:
        self._waiting: dict[bytes, list[tuple[Client, int]]] = {}
        self._shares: dict[object, int] = {}
        """For how many requests each client waits."""
        self._recent: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        self._recent_bytes = 0

    def submit(self, client: Client, request: int, data: bytes, driver: Driver, domain: SigningDomain) -> None:
        """A client's signed request: answered at once if it was applied of late, or its session keeps the answer;
        else ordered. `domain` is that of requests."""
        try:
            signed = decode_request(data)
        except ValueError as error:
            client.answer(
                Failure(request, messages.REFUSED, f"{error}. Sign it as a request of this cluster."), ()
            )
            return
        known = self._recent.get(signed.name)
        if known is not None:
            status, body = known
            client.answer(Result(request, status), (body,))
            return
        kept = driver.application.kept_answer(signed)
        if kept is not None:
            _answer_again(client, request, signed, kept, driver, domain)
            return
        if not self._wait(signed.name, client, request):
            client.answer(Failure(request, messages.OVERLOADED, TOO_MANY), ())
            return
        driver.submit(data)

    def decided(self, requests: Sequence[tuple[bytes, Applied]]) -> None:
        """These were applied: answer who waits, and keep the answers for a while."""
        for name, applied in requests:
            self._keep(name, applied.status, applied.body)
            waiting = self._waiting.pop(name, ())
            for client, request in waiting:
                self._count(client, -1)
                client.answer(Result(request, applied.status), (applied.body,))

    def lost(self, client: Client) -> None:
        """A connection ended: nobody waits there."""
        for name in [
            name for name, waiting in self._waiting.items() if any(each is client for each, _ in waiting)
        ]:
            left = [(each, request) for each, request in self._waiting[name] if each is not client]
            for _ in range(len(self._waiting[name]) - len(left)):
                self._count(client, -1)
            if left:
                self._waiting[name] = left
            else:
                del self._waiting[name]

    def _wait(self, name: bytes, client: Client, request: int) -> bool:
        """Let a client wait; in place of its other connections, if it has a name. False if too much waits."""
        waiting = self._waiting.get(name, [])
        if (client, request) in waiting:
            return True
        ours = [pair for pair in waiting if client.identity and pair[0].identity == client.identity]
        is_new = name not in self._waiting and len(self._waiting) >= WAITING_MAX
        if is_new or (not ours and self._shares.get(_payer(client), 0) >= WAITING_MAX // CLIENT_SHARE):
            return False
        left = [pair for pair in waiting if pair not in ours]
        dropped = ours + left[: max(0, len(left) + 1 - CLIENTS_MAX)]
        for each, _ in dropped:
            self._count(each, -1)
        self._waiting[name] = [*left[-CLIENTS_MAX + 1 :], (client, request)]
        self._count(client, 1)
        return True

    def _count(self, client: Client, change: int) -> None:
        payer = _payer(client)
        share = self._shares.get(payer, 0) + change
        if share:
            self._shares[payer] = share
        else:
            self._shares.pop(payer, None)

    def _keep(self, name: bytes, status: int, body: bytes) -> None:
        self._recent[name] = status, body
        self._recent_bytes += len(body)
        while len(self._recent) > RECENT_MAX or self._recent_bytes > RECENT_BYTES_MAX:
            _, (_, dropped) = self._recent.popitem(last=False)
            self._recent_bytes -= len(dropped)


def _payer(client: Client) -> object:
    """Who has a share: a client by its name, or a connection where nothing proves one."""
    return client.identity or client


def _answer_again(
    client: Client, request: int, signed: SignedRequest, kept: Answer, driver: Driver, domain: SigningDomain
) -> None:
    """What a session keeps is for the holder of its key alone: others could ask by its number."""

    def checked(is_right: bool) -> None:
        if is_right:
            client.answer(Result(request, kept.status), (kept.body,))
            return
        text = "a request was sent with a signature that is not of the key in it. Sign it with that key."
        client.answer(Failure(request, messages.REFUSED, text), ())

    statement = request_statement(domain, signed.batch, signed.digest)
    driver.check(Signed(signed.public_key, statement, signed.signature), checked)
