"""A deadline for single calls: a view of a client whose calls end within some seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from quorum.apps.kv_watch import Interest
from quorum.errors import OutcomeUnknown, Overloaded, QuorumError
from quorum.runtime.arguments import checked_seconds
from quorum.runtime.calls import Calls
from quorum.runtime.kept import Kept
from quorum.runtime.key_client import KeyValueClient
from quorum.runtime.key_subscription import KeyWatch
from quorum.runtime.keyring import Signer
from quorum.runtime.ledger_proofs import ProofSource
from quorum.runtime.subscription import TopicWatch

if TYPE_CHECKING:
    from quorum.runtime.client import Client

R = TypeVar("R")


class Within(Calls):
    """The calls of a client, each with so many `seconds`; `Client.within` makes it. It uses the client's session
    and connection, costs nothing to make, and needs no end.

    A call that is not answered in time raises: a command OutcomeUnknown, since it was sent and is not taken back;
    a read Overloaded; either of them NotLeader where no node was connected, and then the command was never sent.
    The client's own timeout bounds a call as well.

    The requests of a lock, an election or a lease have that time each, and so has each page of a scan; what keeps
    a lock or lease in the background has the client's. A watch must begin in that time, and then goes on.
    """

    def __init__(self, client: Client, seconds: float, end_s: float | None = None) -> None:
        self._client = client
        self._end_s = end_s
        """When it is over, on the clock of the loop; None: so many seconds after a request was made."""
        self.seconds = seconds

    @cached_property
    def kv(self) -> KeyValueClient:
        """The key-value store."""
        return KeyValueClient(self)

    def within(self, seconds: float) -> Within:
        """The same with less time; it never has more. Raises LocalProtocolError for what is no time."""
        return Within(self._client, min(self.seconds, checked_seconds(seconds)), self._end_s)

    def watch_topic(self, app: int, topic: bytes) -> TopicWatch:
        """As Client.watch_topic: nothing there waits for an answer."""
        return self._client.watch_topic(app, topic)

    # What carries requests (runtime.calls.Carrier).

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop it belongs to."""
        return self._client.loop

    @property
    def signs(self) -> bool:
        """Whether requests are signed with the client's own key."""
        return self._client.signs

    @property
    def held(self) -> set[Kept]:
        """What is open in the client."""
        return self._client.held

    @property
    def timeout(self) -> float:
        """Seconds that a request may take."""
        return min(self.seconds, self._client.timeout)

    @property
    def identity(self) -> str:
        """As whom the cluster knows the client."""
        return self._client.identity

    @property
    def signer(self) -> Signer | None:
        """The client's own signing key."""
        return self._client.signer

    @property
    def cluster(self) -> str:
        """The cluster's id."""
        return self._client.cluster

    @property
    def proof_source(self) -> ProofSource | None:
        """Where single nodes are asked for proofs."""
        return self._client.proof_source

    @property
    def background(self) -> Client:
        """What asks in the background, where no call waits."""
        return self._client

    def for_one_call(self) -> Within:
        """The same for one call of several requests, which begins now: they share its time."""
        return Within(self._client, self.seconds, self.loop.time() + self._left_s())

    def watch_keys(self, interest: Interest) -> KeyWatch:
        """As Client.watch_keys; it must begin in time."""
        return self._client.watch_keys(interest, self._left_s())

    def ask(self, queue: str, item: Any, expected: type[R]) -> asyncio.Future[R]:
        """Queue one command or read, as the client does."""
        client = self._client
        return self._bounded(client.is_query(queue), lambda: client.ask(queue, item, expected))

    def ask_alone(
        self, app: int, body: bytes, decode: Callable[[bytes], Sequence[Any]], is_query: bool
    ) -> asyncio.Future[Sequence[Any]]:
        """Send one command or read in a batch of its own, as the client does."""
        return self._bounded(is_query, lambda: self._client.ask_alone(app, body, decode, is_query))

    async def wait_for(self, first: asyncio.Future[None]) -> None:
        """Wait for what must be done before a command or query is sent."""
        try:
            async with asyncio.timeout(self._left_s()):
                await asyncio.shield(first)
        except TimeoutError:
            raise self._nothing_happened() from None

    # Time.

    def _left_s(self) -> float:
        return self.seconds if self._end_s is None else max(0.0, self._end_s - self.loop.time())

    def _bounded(self, is_read: bool, send: Callable[[], asyncio.Future[R]]) -> asyncio.Future[R]:
        """What `send` gives, with its time. The request itself goes on: nobody hears its answer then."""
        client, left_s = self._client, self._left_s()
        if left_s == 0:
            raise self._nothing_happened()
        if left_s >= client.timeout:
            return send()  # the client gives up before
        unsent = client.unsent
        future = send() if is_read or not client.awaits_connection else unsent.hold(send)

        def end() -> None:
            if future.done():
                return
            if is_read or unsent.withdraw(future):
                future.set_exception(self._nothing_happened())
            else:
                future.set_exception(self._may_yet_happen())

        def settle(_: object) -> None:
            alarm.cancel()
            unsent.withdraw(future)  # or a command that was cancelled would be sent

        alarm = client.loop.call_later(left_s, end)
        future.add_done_callback(settle)
        return future

    def _nothing_happened(self) -> QuorumError:
        if self._client.awaits_connection:
            return self._client.unreached()
        return Overloaded(
            f"an answer was asked for within {self.seconds:g} s, but none came by then. Nothing was changed: "
            "retry, or allow more time."
        )

    def _may_yet_happen(self) -> QuorumError:
        return OutcomeUnknown(
            f"a command was to be answered within {self.seconds:g} s, but no answer came by then. It is not taken "
            "back and may yet be applied: read the state before you repeat it, or allow more time."
        )
