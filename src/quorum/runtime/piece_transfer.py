"""The fetching end of a certified state: piece after piece, each checked against the certified root when it comes.

A piece that its proof does not prove is dropped, its sender named and left out for a while, and the same piece
asked of another member. Whatever was proven stays, also through a restart, and whoever offers the same state can
give the rest.

Source: Castro and Liskov, "Practical Byzantine Fault Tolerance and Proactive Recovery" (2002), section 5.3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quorum.apps.stream import PieceFrames
from quorum.certificate.state_pieces import proven, read_proof
from quorum.entry import Buffer
from quorum.model import NodeId
from quorum.protocols.events import SnapshotMark
from quorum.runtime.messages import PieceRequest, Pieces
from quorum.runtime.ports import Clock, Snapshots, Transport
from quorum.runtime.turns import TURN_US, Turns

ASK_AGAIN_US = 500_000
"""A request that is not answered after so long was lost, perhaps."""
REST_US = 1_000_000
"""After an attempt has ended for this node's own sake none begins for so long: its disk may be full."""

ALONE_US = 30_000_000
ALONE_BYTES_MIN = 1024 * 1024
"""A state that one member alone offers is left for a newer one of another, if it took so long, and less than so
many bytes came in each turn: else whoever has an old state could give it piece by piece, for ever."""


class PieceTransfer:
    """Fetches one certified state at a time.

    `arrived` is called with its mark, completed, once all of it is in place. `blamed` hears who gave something
    wrong, and what. `failed` hears what this node's disk refused beside a call; what it refuses in one is raised.

    I1  nothing is stored, and no application reads anything, that is not proven by the root in the mark.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        transport: Transport,
        clock: Clock,
        arrived: Callable[[SnapshotMark], None],
        blamed: Callable[[NodeId, str], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._snapshots, self._transport, self._clock = snapshots, transport, clock
        self._arrived, self._blamed, self._failed = arrived, blamed, failed
        self._turns = Turns()
        self._mark: SnapshotMark | None = None
        self._frames = PieceFrames()
        self._is_waiting = False  # for this node's disk
        self._began_us = self._progressed_us = 0
        self._bytes = 0
        self._asked_us = 0
        self._rests_until_us = 0

    @property
    def source(self) -> NodeId | None:
        """Who is being asked."""
        return self._turns.now

    def begin(self, source: NodeId, mark: SnapshotMark) -> None:
        """`source` offers a state. What is under way is finished first, as long as somebody gives it."""
        now_us = self._clock.now_us()
        if self._turns.is_banned(source, now_us) or self._is_waiting or now_us < self._rests_until_us:
            return
        if mark == self._mark:
            self._turns.offered(source, now_us)
            self._look_at_request(mark, now_us)
        elif self._mark is None or self.source is None or self._may_leave(self._mark, mark, now_us):
            self._turns.forget_offers()
            self._turns.offered(source, now_us)
            self._start(mark, now_us)

    def _may_leave(self, present: SnapshotMark, other: SnapshotMark, now_us: int) -> bool:
        """Whether the state under way is left for another one: nobody gives it, or one alone hardly."""
        if now_us >= self._progressed_us + 2 * TURN_US:
            return True
        took_us = now_us - self._began_us
        is_slow = took_us >= ALONE_US and self._bytes * TURN_US < ALONE_BYTES_MIN * took_us
        return other.index > present.index and is_slow and self._turns.count(now_us) <= 1

    def abandon(self) -> None:
        """Stop fetching; what is here stays for the next attempt."""
        if self._mark is not None:
            self._rests_until_us = self._clock.now_us() + REST_US
        self._mark = None
        self._is_waiting = False
        self._turns.forget_offers()

    def lost(self, node: NodeId) -> None:
        """The connection to `node` has ended."""
        if self._mark is not None:
            self._leave(node)

    def take(self, sender: NodeId, message: Pieces, attached: Sequence[Buffer]) -> None:
        """Store pieces that are proven, whoever gives them, and ask for the next. Raises StorageFullError or
        StorageError if this disk refuses."""
        mark, now_us = self._mark, self._clock.now_us()
        if mark is None or (message.index, message.root) != (mark.index, mark.state_root) or self._is_waiting:
            return
        if self._turns.is_banned(sender, now_us) or message.number < self._frames.count:
            return  # also an answer that came twice, or late
        if message.proof is None or message.number > self._frames.count:
            self._leave(sender)  # nobody asked for that piece, in this life at least
            return
        entries = read_proof(mark.state_root, message.number, message.proof)
        pieces = _cut(message.sizes, attached)
        if entries is None or pieces is None or bool(entries) != bool(pieces):
            self._blame(sender, mark, "without a proof")
            return
        good = proven(entries, pieces)
        frames: list[bytes] = []
        for (app, kind, _), piece in zip(entries[:good], pieces, strict=False):
            frames += self._frames.add(app, kind, piece)
            self._bytes += len(piece)
        if frames:
            self._progressed_us = now_us
            self._snapshots.append(mark, frames)
        is_whole = self._frames.count == message.proof.count
        if is_whole:
            self._complete(mark)
        if good < len(pieces):
            self._blame(sender, mark, "that is not what the certified root says")
        elif not is_whole:
            self._ask(mark, now_us)

    # One state.

    def _start(self, mark: SnapshotMark, now_us: int) -> None:
        self._mark, self._frames, self._is_waiting = mark, PieceFrames(), True
        self._began_us = self._progressed_us = now_us
        self._bytes = 0
        frames = self._frames

        def resumed(error: BaseException | None) -> None:
            if self._mark is not mark:
                return
            self._is_waiting = False
            if error is not None:
                self.abandon()
                self._failed(error)
            else:
                self._began_us = self._progressed_us = self._clock.now_us()
                self._ask(mark, self._progressed_us)

        self._snapshots.resume(mark, frames.resume, resumed)

    def _complete(self, mark: SnapshotMark) -> None:
        self._is_waiting = True
        self._snapshots.append(mark, [self._frames.end()])

        def completed(whole: SnapshotMark | None, error: BaseException | None) -> None:
            self.abandon()
            if whole is not None:
                self._arrived(whole)
            elif error is not None:
                self._failed(error)

        self._snapshots.complete(mark, completed)

    # Members.

    def _look_at_request(self, mark: SnapshotMark, now_us: int) -> None:
        """Somebody offers what is under way: ask for what was not answered, of the next one if a turn is over."""
        if self.source is None or now_us >= self._asked_us + ASK_AGAIN_US:
            self._ask(mark, now_us)

    def _ask(self, mark: SnapshotMark, now_us: int) -> None:
        source = self._turns.next(now_us)
        if source is not None:
            self._asked_us = now_us
            self._transport.send(source, PieceRequest(mark.index, mark.state_root, self._frames.count), ())

    def _blame(self, sender: NodeId, mark: SnapshotMark, what: str) -> None:
        self._blamed(sender, f"gave piece {self._frames.count} of the state of block {mark.index} {what}")
        self._turns.ban(sender, self._clock.now_us())
        self._leave(sender)

    def _leave(self, node: NodeId) -> None:
        """Nothing more comes from `node`: ask the next, if it was its turn."""
        was_its_turn = self._turns.now in (node, None)
        self._turns.lost(node)
        if was_its_turn and self._mark is not None and not self._is_waiting:
            self._ask(self._mark, self._clock.now_us())


def _cut(sizes: Sequence[int], attached: Sequence[Buffer]) -> list[memoryview] | None:
    """The pieces of these sizes in what is attached; None if they are not exactly that."""
    data = attached[0] if len(attached) == 1 else b"".join(attached)
    if any(size < 0 for size in sizes) or sum(sizes) != len(data):
        return None
    view, pieces, at = memoryview(data), [], 0
    for size in sizes:
        pieces.append(view[at : at + size])
        at += size
    return pieces
