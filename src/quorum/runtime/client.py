"""The asyncio client: operations that wait together travel together, and each is applied once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

from quorum.apps.kv_watch import Event, Interest
from quorum.errors import (
    LocalProtocolError,
    NotLeader,
    QuorumError,
)
from quorum.runtime.arguments import checked_seconds
from quorum.runtime.batches import Batches
from quorum.runtime.calls import Calls
from quorum.runtime.connection import tls_reason
from quorum.runtime.dialler import Dialler
from quorum.runtime.directory import Directory, anywhere, loopback_only, nowhere
from quorum.runtime.kept import CLOSE_S, Kept
from quorum.runtime.key_client import KeyValueClient
from quorum.runtime.key_subscription import KeyWatch
from quorum.runtime.keyring import Signer
from quorum.runtime.ledger_proofs import ProofSource
from quorum.runtime.messages import NodeMessage, Pulsed, Result
from quorum.runtime.session import Session
from quorum.runtime.session_window import FOREVER_US
from quorum.runtime.subscription import TopicWatch
from quorum.runtime.unsent import Unsent
from quorum.runtime.within import Within


class Client(Calls):
    """One session with a cluster. Use it as `async with`; its methods may be awaited concurrently.

    A lost connection, a deposed leader and a restart are retried under the same request id until `timeout`
    seconds have passed; then OutcomeUnknown (a command that may yet happen) or NotLeader (it will not) is raised.

    With `discover` the nodes tell who the members are, and those are dialled, each at the address that it
    advertises and, with TLS, under its own name; in plain text only addresses of this machine are followed.
    Without, only `endpoints` are dialled: for proxies.

    With `sign_each` every command is a request of its own; what waits together shares none.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        dialler: Dialler,
        timeout: float = 10.0,
        discover: bool = True,
        sign_each: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._dialler = dialler
        self.timeout = math.inf if timeout <= 0 else timeout
        """Seconds after which it gives up a request."""
        self._timeout_us = FOREVER_US if timeout <= 0 else int(timeout * 1e6)
        follows = anywhere if dialler.is_authenticated else loopback_only
        directory = Directory(endpoints, discover, follows if discover else nowhere)
        self._session = Session(endpoints, self, directory=directory)
        self._alarm: asyncio.TimerHandle | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._is_ending = self._closed = False
        self._refusals: dict[str, str] = {}
        """Nodes that could not be reached when they were called last, and why."""
        self._topics: dict[int, TopicWatch] = {}
        self._key_watches: dict[int, KeyWatch] = {}
        self._is_served = False  # by the node that is connected
        self.identity = ""
        """As whom the cluster knows it; "" where nobody vouches for a name."""
        self.signer: Signer | None = None
        """Its own signing key, where it has one."""
        self.proof_source: ProofSource | None = None
        """Where single nodes are asked for proofs."""
        self.held: set[Kept] = set()
        """Sessions of locks that are open."""
        self._batches = Batches(
            self._loop, self._session, dialler.flush, self._timeout_us, self._with_refusals, sign_each
        )
        self.ask = self._batches.ask
        self.ask_alone = self._batches.ask_alone
        self.is_query = self._batches.is_query
        self.unsent = Unsent(self._loop)
        self.finished, self.failed = self._batches.finished, self._batches.failed
        self.kv = KeyValueClient(self)
        self._session.start(self._now_us())

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the session and the connection; requests that still wait are cancelled, watches end.

        Locks and elections that are still held are lost at once, and given up: others need not wait until their
        time is over. That is waited for, but no longer than CLOSE_S, and not where no node is connected.
        """
        await self._give_up_locks()
        if not self._closed:
            self._session.close(self._now_us())
            self._dialler.flush()  # it leaves before the connection ends; whether it arrives is not waited for
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        if self._attempt is not None:
            self._attempt.cancel()
        for topic in list(self._topics.values()):
            await topic.aclose()
        for watch in list(self._key_watches.values()):
            await watch.aclose()
        self._batches.cancel()
        self.unsent.cancel()
        await self._dialler.aclose()

    async def _give_up_locks(self) -> None:
        closing = [future for session in tuple(self.held) if (future := session.give_up()) is not None]
        self._is_ending = True
        self._batches.end()  # nothing new is begun, such as another place in a queue
        if closing and self._session.is_connected:
            await asyncio.wait(closing, timeout=CLOSE_S)

    @property
    def signs(self) -> bool:
        """Whether its requests are signed with its own key: where members may lie."""
        return self._dialler.signs

    @property
    def cluster(self) -> str:
        """The id of the cluster; "" until a node has told it."""
        return self._dialler.cluster

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where nodes are looked for, the present members first."""
        return self._session.directory.endpoints

    @property
    def unanswered(self) -> int:
        """How many batches wait for an answer."""
        return self._batches.unanswered

    @property
    def is_served(self) -> bool:
        """Whether a node is at hand that has answered in touch with a leader; one that no longer is, is left."""
        return self._is_served and self._session.is_connected

    def within(self, seconds: float) -> Within:
        """The same client for calls that end within so many `seconds`: see runtime.within.Within. Raises
        LocalProtocolError for what is no time."""
        return Within(self, checked_seconds(seconds))

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop it belongs to."""
        return self._loop

    # What carries requests, with `ask` and `ask_alone` (runtime.calls.Carrier).

    @property
    def background(self) -> Client:
        """What asks in the background: itself, since no call has a deadline of its own."""
        return self

    def for_one_call(self) -> Client:
        """As Within.for_one_call."""
        return self

    async def wait_for(self, first: asyncio.Future[None]) -> None:
        """As Within.wait_for."""
        await asyncio.shield(first)

    @property
    def awaits_connection(self) -> bool:
        """Whether no node is connected, and one is looked for."""
        return not self._session.is_connected and not self._is_ending

    def unreached(self) -> QuorumError:
        """That no leader was reached in time, and why."""
        return self._with_refusals(NotLeader())

    def watch_topic(self, app: int, topic: bytes) -> TopicWatch:
        """Hear of `topic` of an application whenever its `Outputs.notices` name it: only the newest notice, and
        first of all that the state is to be read. Goes on across connections until it is closed."""
        if self._is_ending:
            raise LocalProtocolError("a watch was begun on a closed client. Open another with quorum.connect.")

        def close() -> None:
            del self._topics[handle]
            if not self._closed:
                self._session.unwatch(self._now_us(), handle)
                self._dialler.flush()

        handle = self._session.watch_topic(self._now_us(), app, topic)
        watch = self._topics[handle] = TopicWatch(close)
        self._dialler.flush()
        return watch

    def watch_keys(self, interest: Interest, seconds: float = math.inf) -> KeyWatch:
        """Hear of every change of keys; `KeyValueClient.watch` says how. It must begin within so many seconds, or
        in the time of the client where that is shorter."""
        if self._is_ending:
            raise LocalProtocolError("a watch was begun on a closed client. Open another with quorum.connect.")

        def close() -> None:
            del self._key_watches[handle]
            if not self._closed:
                self._session.unwatch(self._now_us(), handle)
                self._batches.flush_soon()

        def pause(is_paused: bool) -> None:
            self._session.pause_watch(handle, is_paused)
            self._batches.flush_soon()

        def reach(revision: int, tell: Callable[[], None]) -> None:
            self._session.reach_watch(self._now_us(), handle, revision, tell)
            self._batches.flush_soon()

        handle = self._session.watch_keys(self._now_us(), interest)
        seconds = min(seconds, self.timeout)
        timeout_s = seconds if seconds < math.inf else None
        watch = self._key_watches[handle] = KeyWatch(close, pause, reach, self.unreached, timeout_s)
        self._batches.flush_soon()
        return watch

    # What the session wants (runtime.session.Wire).

    def connect(self, endpoint: str, delay_us: int) -> None:
        self._is_served = False
        if self._attempt is not None:
            self._attempt.cancel()
        self._dialler.close()
        if not self._closed:
            self._attempt = self._loop.create_task(self._dial(endpoint, delay_us))

    async def _dial(self, endpoint: str, delay_us: int) -> None:
        if delay_us:
            await asyncio.sleep(delay_us / 1e6)
        try:
            node = self._session.directory.node_at(endpoint)
            await self._dialler.open(endpoint, self._on_messages, self._on_closed, node)
        except (OSError, QuorumError) as error:
            reason = str(error) if isinstance(error, QuorumError) else tls_reason(error)
            self._refusals[endpoint] = reason.removeprefix(endpoint).strip(" .:")
            self._attempt = None
            self._session.disconnected(self._now_us())
            return
        self._attempt = None
        self._refusals.pop(endpoint, None)
        self._session.connected(self._now_us())
        self.unsent.release()
        self._dialler.flush()

    def _on_messages(self, received: Sequence[tuple[NodeMessage, bytes]]) -> None:
        if self._closed:
            return
        now_us = self._now_us()
        if not self._is_served:
            self._is_served = any(isinstance(message, Result | Pulsed) for message, _ in received)
        for message, body in received:
            self._session.received(now_us, message, body)
        self._dialler.flush()

    def _on_closed(self) -> None:
        if not self._closed:
            self._session.disconnected(self._now_us())

    def transmit(self, message: object, body: bytes) -> None:
        self._dialler.send(message, body)

    def wake(self, delay_us: int) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_later(delay_us / 1e6, self._tick)

    def _tick(self) -> None:
        if not self._closed:
            self._session.tick(self._now_us())
            self._dialler.flush()

    def noticed(self, handle: int, index: int, body: bytes | None) -> None:
        self._topics[handle].put(index, body)

    def begun(self, handle: int, revision: int) -> None:
        self._key_watches[handle].begun(revision)

    def changed(self, handle: int, event: Event) -> None:
        self._key_watches[handle].put(event)

    def watch_failed(self, handle: int, error: QuorumError) -> None:
        if handle in self._topics:
            self._topics.pop(handle).finish(error)
        else:
            self._key_watches.pop(handle).finish(error)

    def _with_refusals(self, error: QuorumError) -> QuorumError:
        if isinstance(error, NotLeader) and error.leader is None and self._refusals:
            told = sorted((self._named(endpoint), why) for endpoint, why in self._refusals.items())
            return NotLeader(refusals="; ".join(f"{node}: {why}" for node, why in told))
        return error

    def _named(self, endpoint: str) -> str:
        """A node that is missing, by its name, as far as the cluster told it."""
        node = self._session.directory.node_at(endpoint)
        return f"{node} at {endpoint}" if node else endpoint

    def _now_us(self) -> int:
        return int(self._loop.time() * 1e6)
