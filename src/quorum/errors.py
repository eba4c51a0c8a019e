"""The error tree. Every message has three parts: what was asked, why it cannot be, what to do."""

from __future__ import annotations


class QuorumError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigurationError(QuorumError, ValueError):
    """The operator asked for something that cannot work; nothing was started."""


class AlreadySo(ConfigurationError):
    """A change was asked for that changes nothing: everything is as it should become. Nothing happened."""


class LocalProtocolError(QuorumError):
    """The calling code broke a contract of the library."""


class RemoteProtocolError(QuorumError):
    """A peer broke the protocol: evidence against it, no reason to stop."""

    def __init__(self, sender: str, what: str) -> None:
        super().__init__(f"{sender}: {what}")
        self.sender = sender
        self.what = what


class StorageError(QuorumError):
    """The disk refused: the node stops, because what it promised may not be there."""

    exit_code = 4


class StorageCorrupt(StorageError):
    """Durable data is damaged in a place that a crash cannot explain; never guessed at. `path` and `offset` say
    where, as far as it is one place."""

    exit_code = 3

    def __init__(self, message: str, path: str | None = None, offset: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.offset = offset


class StorageFullError(StorageError):
    """No space is left; nothing was acknowledged."""


class NoQuorum(QuorumError):
    """Too few nodes are reachable to decide. `missing` names who would have to return."""

    def __init__(self, message: str, missing: tuple[object, ...] = ()) -> None:
        super().__init__(message)
        self.missing = missing


class NoStrategy(QuorumError):
    """No strategy of a quorum system keeps to what was asked. `binding` names the limits that stand in the way:
    "load", "network", "latency" or "f"; `side` is "reads" or "writes" where it is one of them."""

    def __init__(self, message: str, binding: tuple[str, ...] = (), side: str | None = None) -> None:
        super().__init__(message)
        self.binding = binding
        self.side = side


class NodeFailed(QuorumError):
    """The node that was asked has crashed."""


class Definite(QuorumError):
    """Nothing happened, and nothing of it will: the request may be made again."""


class Indefinite(QuorumError):
    """It may have happened, or may yet: look before the request is made again."""


class RequestRefused(Definite):
    """Definite: nothing happened. The node will not do what was asked, and will not the next time."""


class NotLeader(Definite):
    """Definite: nothing happened. Retry at `leader`, where that is known. `refusals` say which nodes could not be
    reached, and why."""

    def __init__(self, leader: str | None = None, refusals: str = "") -> None:
        if leader:
            text = f"the request needs the leader; this node follows {leader}. Send it there."
        elif refusals:
            text = f"the request needs the leader, but none was reached in time ({refusals}). Mend that, or retry."
        else:
            text = "the request needs the leader, and this node knows of none yet. Retry shortly."
        super().__init__(text)
        self.leader = leader
        self.refusals = refusals


class Overloaded(Definite):
    """Definite: nothing happened. Too much is waiting already; retry after a pause."""


class NoSpace(Overloaded):
    """Definite: nothing happened. The disk of the node is full; it goes on once there is space again."""


class OutcomeUnknown(Indefinite):
    """Indefinite: it may yet happen. Retry only with the same request id."""


class SessionExpired(Indefinite):
    """The cluster no longer knows this client session, so a retry could be applied twice."""


class LockBusy(Definite):
    """Somebody else held the lock until the time to wait for it was over."""


class LockLost(QuorumError):
    """A lock may not be held any more: its session was not kept alive in time, or the cluster ended it. What was
    done meanwhile may have met what the next holder did, unless its resource looks at tokens."""


class LeaseLost(QuorumError):
    """A lease of keys may have ended: it was not kept alive in time, or the cluster ended it. Its keys are removed
    then."""


class Compacted(QuorumError):
    """A watch was to tell changes from revision `asked` on, but the oldest that are kept are of `first`."""

    def __init__(self, asked: int, first: int) -> None:
        super().__init__(
            f"changes from revision {asked} on were to be watched, but those before revision {first} are not kept "
            "any more. Read the keys, then watch from the revision behind that of the answer."
        )
        self.asked = asked
        self.first = first


class ApplicationError(QuorumError):
    """The replicated application raised; the command is in the log and changed what it changed."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class WrongType(LocalProtocolError, TypeError):
    """An argument is not of the type that the call takes; nothing was sent."""


class NotReplicable(LocalProtocolError, TypeError):
    """A class cannot be replicated as it is written: its replicas would not stay equal."""


class IncompatibleProgram(QuorumError):
    """The log holds what this node's program cannot apply as the others do: it stops rather than diverge."""
