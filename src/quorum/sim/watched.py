"""A world that looks at its application after each command on each replica: answers, states, invariants."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from quorum.apps.host import Host
from quorum.apps.log_clock import LogClock
from quorum.apps.state_machine import Outputs, StateMachine, is_expiring, is_vetting
from quorum.checkers.violation import Violation
from quorum.entry import Buffer
from quorum.header import Header
from quorum.model import NodeId
from quorum.runtime.messages import Submit
from quorum.sim.subject import Claim, Subject, error_text
from quorum.sim.world import World

ALIKE = "every replica does the same"
RESTORED = "a snapshot that is restored gives the state it was taken from"
USUAL_CAUSES = (
    "Usual causes: id(), hash(), the order of a built-in set, module-level state, a value shared between calls"
)
TALE = 40
"""How many of the last events are kept for a report."""


class Applied(NamedTuple):
    """What one entry did to a replica's application: what it told, and the digest of the state it left."""

    header: Header
    body: bytes
    told: bytes
    digest: bytes


class Watched:
    """A state machine that remembers what its last entry did."""

    def __init__(self, machine: Any, clock: LogClock) -> None:
        self.machine = machine
        self.clock = clock
        self.host: Host | None = None
        self.last: Applied | None = None
        self.restored: bytes | None = None
        """The digest behind a restored snapshot, until it was looked at."""

    def apply(self, header: Header, body: Buffer) -> Outputs:
        told = b""
        try:
            outputs: Outputs = self.machine.apply(header, body)
            told = outputs.reply
        except Exception as error:
            told = b"raised " + error_text(error).encode(errors="replace")
            raise
        finally:
            self.last = Applied(header, bytes(body), told, self.machine.digest())
        return outputs

    def query(self, body: Buffer) -> bytes:
        answer: bytes = self.machine.query(body)
        return answer

    def digest(self) -> bytes:
        digest: bytes = self.machine.digest()
        return digest

    def snapshot(self) -> Iterator[bytes]:
        chunks: Iterator[bytes] = self.machine.snapshot()
        return chunks

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.machine.restore(chunks)
        self.restored = self.machine.digest()

    def vet(self, body: Buffer) -> None:
        if is_vetting(self.machine):
            self.machine.vet(body)


class WatchedExpiring(Watched):
    """The same for one in which something ends by itself."""

    @property
    def next_deadline_us(self) -> int | None:
        deadline: int | None = self.machine.next_deadline_us
        return deadline

    def expire(self) -> Outputs:
        outputs: Outputs = self.machine.expire()
        return outputs


def watched(machine: StateMachine, clock: LogClock) -> Watched:
    """The machine, watched."""
    return WatchedExpiring(machine, clock) if is_expiring(machine) else Watched(machine, clock)


class WatchedWorld(World):
    """Nodes that host one subject. `entries` has what each entry of the log did, `tale` the last events for
    people; `claims` are asked after each entry, and each replica is compared with the first that came there."""

    def __init__(self, subject: Subject, claims: dict[str, Claim], *arguments: Any) -> None:
        self.subject = subject
        self.claims = claims
        self.entries: dict[int, tuple[NodeId, Applied]] = {}
        self.batches: dict[tuple[str, int], tuple[int, int]] = {}
        """Which batch of which session a client's request is."""
        self.faults: dict[str, int] = {}
        self.tale: deque[tuple[int, str]] = deque(maxlen=TALE)
        self.incidents: list[tuple[int, str]] = []
        """Faults and elections."""
        self._watched: dict[int, Watched] = {}
        self._digests: set[bytes] = set()
        super().__init__(*arguments)

    def make_host(self) -> Host:
        clock = LogClock()
        machine = watched(self.subject.make(clock), clock)
        self._digests.add(machine.digest())
        host = machine.host = Host({self.subject.app: machine}, clock=clock)
        self._watched[id(host)] = machine  # which keeps the host, so that its id stays its own
        return host

    def machine_at(self, node: NodeId) -> Watched:
        """The application of a running node."""
        return self._watched[id(self.nodes[node].host)]

    def tell(self, what: str) -> None:
        """One more event for the report."""
        self.tale.append((self.now_us, what))

    def _happened(self, what: str) -> None:
        self.incidents.append((self.now_us, what))
        self.tell(what)

    def count(self, event: tuple[object, ...]) -> None:
        super().count(event)
        kind = event[0]
        if kind == "ask" and type(event[3]) is Submit:
            self.batches[str(event[1]), event[3].request] = (event[3].client, event[3].first_sequence)
        elif kind == "fault":
            name = str(event[1])
            self.faults[name] = self.faults.get(name, 0) + 1
            self._happened(f"fault: {name}")
        elif kind == "heal":
            self._happened("the fault ends")
        elif kind == "role" and event[2] == "leader":
            self._happened(f"{event[1]} leads term {event[3]}")

    def entry_applied(self, node: NodeId, header: Header) -> None:
        super().entry_applied(node, header)
        machine = self.machine_at(node)
        applied, machine.last = machine.last, None
        if machine.restored is not None:
            self._check_restored(node, machine)
        if applied is None or applied.header.index != header.index:
            return  # not of this application, or a retry
        first = self.entries.get(header.index)
        if first is None:
            self.entries[header.index] = (node, applied)
            self._digests.add(applied.digest)
        else:
            self._compare(node, applied, *first)
        self._ask_claims(node, machine, applied)

    def _check_restored(self, node: NodeId, machine: Watched) -> None:
        if machine.restored not in self._digests:
            raise Violation(RESTORED, f"{node} restored one and stands in a state that no replica was in", (node,))
        machine.restored = None

    def _compare(self, node: NodeId, applied: Applied, other: NodeId, known: Applied) -> None:
        if (applied.told, applied.digest) == (known.told, known.digest):
            return
        what = f"{self.subject.name}.{self.subject.describe(applied.body)} at entry {applied.header.index}"
        pair = f"on {node} than on {other}" if node != other else f"on {node} when it was applied again there"
        effect = "left another state" if applied.told == known.told else "answered otherwise"
        raise Violation(ALIKE, f"{what} {effect} {pair}. {USUAL_CAUSES}", (other, node))

    def _ask_claims(self, node: NodeId, machine: Watched, applied: Applied) -> None:
        for name, claim in self.claims.items():
            broken = why_broken(self.subject, machine.machine, claim)
            if broken is not None:
                what = self.subject.describe(applied.body)
                at = f"after {what} at entry {applied.header.index} on {node}"
                raise Violation(f"{name} holds in every state", f"{at}: {broken}", (node,))


def why_broken(subject: Subject, machine: Any, claim: Claim) -> str | None:
    """Why a claim does not hold; None if it does."""
    try:
        holds = subject.look(machine, claim)
    except Exception as error:
        return error_text(error)
    return "it is False" if holds is False else None
