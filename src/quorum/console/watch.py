"""A standing look at every node: who leads, in which term, how far, who takes part, and who votes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from quorum.console.inquiry import Silence, answering, leader_of
from quorum.console.need import may_lie
from quorum.console.told import status_told
from quorum.console.votes_told import Votes, moved, votes_of
from quorum.errors import QuorumError, RequestRefused
from quorum.runtime.place import Place
from quorum.runtime.status import NodeStatus

PERIOD_S = 0.15
PATIENCE_S = 1.0
NOT_ASKED = "not asked yet"
NOBODY_YET = Votes(0, (), None)


class Event(msgspec.Struct, frozen=True):
    """Something that happened, and how the cluster stood then. `participants` hear the leader; `at_s` from the
    start. `votes`: the committee that was seen last; `heard`: the participants, or where nobody leads those who
    answer."""

    at_s: float
    leader: str | None
    term: int
    commit_index: int
    participants: tuple[str, ...]
    text: str
    may_lie: bool = False
    votes: Votes = NOBODY_YET
    heard: tuple[str, ...] = ()


class Watch:
    """Asks every node again and again; tells `on_event` of every new leadership, every change of those who vote,
    and what `tell` is told."""

    def __init__(self, place: Place, on_event: Callable[[Event], None]) -> None:
        self._place = place
        self._on_event = on_event
        self._began_s = time.monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self.answers: dict[str, NodeStatus | Silence] = {
            node: Silence(node, NOT_ASKED) for node in place.endpoints
        }
        self.events: list[Event] = []
        self.leaderships: list[tuple[int, str]] = []
        """(term, leader), in the order they were seen."""
        self.votes = NOBODY_YET
        """The newest committee that a leader was seen with."""

    def start(self) -> None:
        """Begin, on the running loop."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._follow(node)) for node in self._place.endpoints]

    async def stop(self) -> None:
        """End it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def tell(self, text: str) -> None:
        """Something happened."""
        leader = self.leader
        commit = max((status.commit_index for status in answering(self.answers)), default=0)
        event = Event(
            at_s=time.monotonic() - self._began_s,
            leader=leader.node if leader else None,
            term=max((status.term for status in answering(self.answers)), default=0),
            commit_index=commit,
            participants=self.participants,
            text=text,
            may_lie=may_lie(self.answers),
            votes=self.votes,
            heard=self._heard,
        )
        self.events.append(event)
        self._on_event(event)

    def forget(self, node: str, reason: str) -> None:
        """What a node said last does not hold any more."""
        self.answers[node] = Silence(node, reason)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    @property
    def leader(self) -> NodeStatus | None:
        """Who leads: of several that say so, the one of the highest term."""
        return leader_of(self.answers)

    @property
    def participants(self) -> tuple[str, ...]:
        """The leader and whom it hears; without a leader, nobody."""
        leader = self.leader
        if leader is None:
            return ()
        heard = set(leader.connected) - set(leader.blocked)
        heard = {node for node in heard if isinstance(self.answers.get(node), NodeStatus)}
        return tuple(sorted(heard | {leader.node}))

    @property
    def _heard(self) -> tuple[str, ...]:
        """Whom the leader hears, whether or not they were asked here yet; without a leader, who answers."""
        leader = self.leader
        if leader is None:
            return tuple(status.node for status in answering(self.answers))
        linked = {leader.node, *leader.connected} - set(leader.blocked)
        return tuple(sorted(linked - {node for node, answer in self.answers.items() if self._is_down(answer)}))

    @staticmethod
    def _is_down(answer: NodeStatus | Silence) -> bool:
        return isinstance(answer, Silence) and answer.reason != NOT_ASKED

    async def until(self, holds: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `holds`, which is asked after every answer; False after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _follow(self, node: str) -> None:
        """Keep one connection to a node, as long as it lasts, and then the next."""
        while True:
            try:
                async with asyncio.timeout(PATIENCE_S) as patience, self._place.node(node) as connection:
                    while True:
                        self.take(node, status_told(node, await connection.status()))
                        await asyncio.sleep(PERIOD_S)
                        patience.reschedule(asyncio.get_running_loop().time() + PATIENCE_S)
            except TimeoutError:
                self.take(node, Silence(node, "does not answer"))
            except (OSError, QuorumError, msgspec.DecodeError, UnicodeDecodeError) as error:
                self.take(node, Silence(node, str(error), isinstance(error, RequestRefused)))
            await asyncio.sleep(PERIOD_S)

    def take(self, node: str, answer: NodeStatus | Silence) -> None:
        """What a node says now, or that it says nothing."""
        self.answers[node] = answer
        self._changed.set()
        if isinstance(answer, NodeStatus) and answer.leads:
            self._see_votes(answer)
            leadership = (answer.term, node)
            if leadership not in self.leaderships:
                self.leaderships.append(leadership)
                is_primary = answer.model == "byzantine"
                self.tell(f"{node} {'orders in view' if is_primary else 'leads in term'} {answer.term}")

    def _see_votes(self, leader: NodeStatus) -> None:
        """A committee counts as seen once no change to it is under way; an older one than was seen is past."""
        before = self.votes
        if leader.outgoing or leader.epoch <= before.epoch:
            return
        self.votes = votes_of(leader)
        text = moved(before, leader) if before.epoch else ""
        if text:
            self.tell(text)
