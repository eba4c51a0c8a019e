"""The giving end of a certified state: its pieces, each with what proves that they belong to it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from functools import partial

from quorum.apps.pieces import Tree
from quorum.apps.stream import payload_of, pieces_in
from quorum.certificate.state_pieces import GROUP, entries_of
from quorum.model import NodeId
from quorum.runtime.messages import PieceRequest, Pieces
from quorum.runtime.ports import Clock, Snapshots, Transport
from quorum.runtime.turns import TURN_US

MESSAGE_BYTES = 256 * 1024
"""About so much of a state is in one message, but a whole piece at least."""
KNOWN_MAX = 2
"""As many snapshots are kept."""
WAITING_MAX = 64
GIVEN_BYTES_MAX = 64 * 1024 * 1024
"""So much of states is given to one member in a turn (TURN_US): what is read, checked and sent on the loop."""
ANSWER_BYTES_MIN = 64 * 1024
"""An answer counts for so much at least, so that there are few that say little."""


class Survey:
    """What one reading of a snapshot file tells: the tree over its pieces, and where each is.

    Raises ValueError for a file that is no snapshot of a host.
    """

    def __init__(self, frames: Iterator[tuple[int, bytes]]) -> None:
        self._offsets, self._frames, self._sizes = array("Q"), array("L"), array("Q")
        entries = []
        for app, kind, digest, offset, count, size in pieces_in(frames):
            entries.append((app, kind, digest))
            self._offsets.append(offset)
            self._frames.append(count)
            self._sizes.append(size)
        self.tree = Tree(entries_of(entries))

    def some(self, number: int) -> Iterator[tuple[int, int]]:
        """Where the pieces from this number on are that go in one message: (offset, how many frames)."""
        size = 0
        for place in range(number, min(self.tree.count, (number // GROUP + 1) * GROUP)):
            size += self._sizes[place]
            if size > MESSAGE_BYTES and place > number:
                return
            yield self._offsets[place], self._frames[place]


class _Shares:
    """How much was given to each member in this turn."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_us = 0
        self._given: dict[NodeId, int] = {}

    def has_left(self, to: NodeId) -> bool:
        now_us = self._clock.now_us()
        if now_us - self._since_us >= TURN_US:
            self._since_us = now_us
            self._given.clear()
        return self._given.get(to, 0) < GIVEN_BYTES_MAX

    def charge(self, to: NodeId, size: int) -> None:
        self._given[to] = self._given.get(to, 0) + max(size, ANSWER_BYTES_MIN)


class PieceSource:
    """Answers other members. A snapshot is read once, aside, when somebody first asks for it.

    I1  at most one request of a member waits. One of a member that had its share of this turn is dropped, as if
        the network had lost it: whoever is honest asks again.
    """

    def __init__(self, snapshots: Snapshots, transport: Transport, clock: Clock) -> None:
        self._snapshots, self._transport = snapshots, transport
        self._shares = _Shares(clock)
        self._known: dict[int, Survey | None] = {}
        self._is_reading = False
        self._waiting: dict[NodeId, PieceRequest] = {}

    def serve(self, sender: NodeId, request: PieceRequest) -> None:
        """Give pieces, at once or when the snapshot has been read; or say that the state is not here."""
        index = request.index
        if not self._shares.has_left(sender):
            return
        if index in self._known:
            self._answer(sender, request, self._known[index])
            return
        if len(self._waiting) < WAITING_MAX or sender in self._waiting:
            self._waiting[sender] = request
        self._read_next()

    def refuse(self, sender: NodeId, request: PieceRequest) -> None:
        """Say that the state is not here."""
        if not self._shares.has_left(sender):
            return
        self._shares.charge(sender, 0)
        gone = Pieces(request.index, request.root, request.number, (), None)
        self._transport.send(sender, gone, ())

    def _answer(self, sender: NodeId, request: PieceRequest, survey: Survey | None) -> None:
        number = request.number
        if survey is None or survey.tree.root != request.root or not 0 <= number <= survey.tree.count:
            self.refuse(sender, request)
            return
        pieces = []
        for offset, count in survey.some(number):
            frames = self._snapshots.read_frames(request.index, offset, count)
            if frames is None:  # the file is gone, or damaged
                del self._known[request.index]
                self.refuse(sender, request)
                return
            pieces.append(payload_of(frames))
        proof = survey.tree.prove(min(number, survey.tree.count - 1))
        answer = Pieces(request.index, request.root, number, tuple(map(len, pieces)), proof)
        self._shares.charge(sender, sum(answer.sizes))
        self._transport.send(sender, answer, pieces)

    def _read_next(self) -> None:
        """One snapshot is read at a time, for all who wait for it."""
        while self._waiting and not self._is_reading:
            request = next(iter(self._waiting.values()))
            self._is_reading = True
            found: list[Survey] = []
            take = partial(_survey, found)
            self._snapshots.survey(request.index, take, partial(self._on_read, request.index, found))

    def _on_read(self, index: int, found: list[Survey], error: BaseException | None) -> None:
        self._is_reading = False
        survey = found[0] if error is None and found else None
        if survey is not None:
            self._known[index] = survey
            for old in sorted(self._known)[:-KNOWN_MAX]:
                del self._known[old]
        served = [(sender, request) for sender, request in self._waiting.items() if request.index == index]
        for sender, request in served:
            del self._waiting[sender]
            self._answer(sender, request, survey)
        self._read_next()


def _survey(found: list[Survey], frames: Iterator[tuple[int, bytes]]) -> None:
    found.append(Survey(frames))
