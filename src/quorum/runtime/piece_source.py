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
from quorum.runtime.ports import Snapshots, Transport

MESSAGE_BYTES = 256 * 1024
"""About so much of a state is in one message, but a whole piece at least."""
KNOWN_MAX = 2
"""As many snapshots are kept."""
WAITING_MAX = 64


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


class PieceSource:
    """Answers other members. A snapshot is read once, aside, when somebody first asks for it."""

    def __init__(self, snapshots: Snapshots, transport: Transport) -> None:
        self._snapshots, self._transport = snapshots, transport
        self._known: dict[int, Survey | None] = {}
        self._is_reading = False
        self._waiting: dict[NodeId, PieceRequest] = {}

    def serve(self, sender: NodeId, request: PieceRequest) -> None:
        """Give pieces, at once or when the snapshot has been read; or say that the state is not here."""
        index = request.index
        if index in self._known:
            self._answer(sender, request, self._known[index])
            return
        if len(self._waiting) < WAITING_MAX or sender in self._waiting:
            self._waiting[sender] = request
        self._read_next()

    def refuse(self, sender: NodeId, request: PieceRequest) -> None:
        """Say that the state is not here."""
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
