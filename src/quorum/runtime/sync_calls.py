"""The calls of a client, and of its views with a deadline, for code without an event loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from quorum.apps.decide import Decision
from quorum.runtime.subscription import TopicWatch
from quorum.runtime.sync_ballot import SyncBallotClient
from quorum.runtime.sync_control import SyncControlClient
from quorum.runtime.sync_kv import SyncKeyValueClient
from quorum.runtime.sync_ledger import SyncLedgerClient
from quorum.runtime.sync_lock import SyncElection, SyncLock
from quorum.runtime.sync_topic import SyncTopicWatch
from quorum.runtime.within import Within

if TYPE_CHECKING:
    from quorum.runtime.client import Client

R = TypeVar("R")
T = TypeVar("T")


class SyncCalls(ABC):
    """Those of `asked`, blocking."""

    def __init__(self, asked: Client | Within) -> None:
        self._asked = asked
        self.kv = SyncKeyValueClient(self)
        self.control = SyncControlClient(self)
        self.ledger = SyncLedgerClient(self)
        self.ballot = SyncBallotClient(self)

    @abstractmethod
    def call(self, request: Callable[[Any], Coroutine[Any, Any, R]]) -> R:
        """Run one request on the client's thread and wait for its answer."""

    def within(self, seconds: float) -> SyncWithin:
        """The same client for calls that end within so many `seconds`: see runtime.within.Within. Raises
        LocalProtocolError for what is no time."""
        return SyncWithin(self, self._asked.within(seconds))

    def object(self, name: str, kind: type[T]) -> T:
        """A handle of the replicated object `name`: call its commands and queries by `.sync`, from any thread."""
        return self._asked.object(name, kind)

    def lock(self, name: str, ttl: float = 10.0, wait: float | None = None, value: bytes = b"") -> SyncLock:
        """A lock, to be used as `with`: see runtime.sync_lock.SyncLock."""
        return SyncLock(self, self._asked.lock(name, ttl, wait, value))

    def election(self, name: str, ttl: float = 10.0) -> SyncElection:
        """An election: see runtime.sync_lock.SyncElection."""
        return SyncElection(self, self._asked.election(name, ttl))

    def watch_topic(self, app: int, topic: bytes) -> SyncTopicWatch:
        """As runtime.client.Client.watch_topic, as an iterator; each step blocks until there is a notice."""

        async def begin(_: Any) -> TopicWatch:
            return self._asked.watch_topic(app, topic)

        return SyncTopicWatch(self, self.call(begin))

    def decide(self, topic: str, value: bytes) -> Decision:
        """As Connection.decide."""
        return self.call(lambda _: self._asked.decide(topic, value))

    def decision(self, topic: str) -> Decision | None:
        """As Connection.decision."""
        return self.call(lambda _: self._asked.decision(topic))


class SyncWithin(SyncCalls):
    """A view of a blocking client whose calls end within some seconds: see runtime.within.Within."""

    def __init__(self, owner: SyncCalls, asked: Within) -> None:
        super().__init__(asked)
        self._owner = owner
        self._view = asked

    def call(self, request: Callable[[Within], Coroutine[Any, Any, R]]) -> R:
        return self._owner.call(lambda _: request(self._view))
