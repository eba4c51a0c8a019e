"""What programs ask of a cluster, whatever carries their requests: a client, or its view with a deadline."""

from __future__ import annotations

from typing import Protocol, TypeVar

from quorum.apps.decide import Decide, Decision
from quorum.runtime import ballot_client, control_client, lock_session, object_client
from quorum.runtime.arguments import checked
from quorum.runtime.ballot_client import BallotClient
from quorum.runtime.control_client import ControlClient
from quorum.runtime.key_client import Store
from quorum.runtime.ledger_client import LedgerClient
from quorum.runtime.ledger_proofs import ProofSource
from quorum.runtime.lock_client import Election, Lock
from quorum.runtime.object_client import handle_of

T = TypeVar("T")


class Carrier(lock_session.Asker, Store, object_client.Asker, ballot_client.Asker, control_client.Asker, Protocol):
    """What carries them."""

    @property
    def background(self) -> Carrier: ...

    @property
    def signs(self) -> bool: ...

    @property
    def proof_source(self) -> ProofSource | None: ...


class Calls:
    """The calls that a client and its views share; KeyValueClient has those of the key-value store."""

    async def decide(self: Carrier, topic: str, value: bytes) -> Decision:
        """Propose `value` on `topic`; return the decision, which is the first value that was committed."""
        return await self.ask("decide", checked(Decide(topic, value)), Decision)

    async def decision(self: Carrier, topic: str) -> Decision | None:
        """What was decided on `topic`, read linearizably; None if nothing was."""
        checked(Decide(topic, b""))
        found = await self.ask("decided", topic, object)
        assert found is None or isinstance(found, Decision)
        return found

    @property
    def ballot(self: Carrier) -> BallotClient:
        """Ballots: see runtime.ballot_client.BallotClient."""
        return BallotClient(self)

    @property
    def ledger(self: Carrier) -> LedgerClient:
        """The ledger: see runtime.ledger_client.LedgerClient."""
        return LedgerClient(self, self.proof_source)

    @property
    def control(self: Carrier) -> ControlClient:
        """Control loops: see runtime.control_client.ControlClient."""
        return ControlClient(self)

    def lock(self: Carrier, name: str, ttl: float = 10.0, wait: float | None = None, value: bytes = b"") -> Lock:
        """A lock, to be used as `async with`: see runtime.lock_client.Lock. `wait` bounds the seconds in its queue
        (None: no bound, 0: do not queue); then LockBusy is raised."""
        return Lock(self, name, ttl, wait, value)

    def election(self: Carrier, name: str, ttl: float = 10.0) -> Election:
        """An election: see runtime.lock_client.Election."""
        return Election(self, name, ttl)

    def object(self: Carrier, name: str, kind: type[T]) -> T:
        """A handle of the replicated object `name`, which is of class `kind`: await its commands and queries.

        Raises NotReplicable for a class that is none.
        """
        return handle_of(self, name, kind)
