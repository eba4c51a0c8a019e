"""What one member sees of the others, where members may lie: whether they are heard, vote in time and keep up."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from quorum.membership.detector import Detector
from quorum.membership.observation import Observation
from quorum.model import NodeId
from quorum.protocols.pbft.messages import Commit, Prepare, PrePrepare
from quorum.protocols.pbft.state import PbftState

TURNS_JUDGED = 16
TURNS_MIN = 4
"""With fewer turns in which something was decided nobody's votes are judged."""
VOTES = frozenset((PrePrepare, Prepare, Commit))


class MemberWatch:
    """Hears every message that comes, and is looked at turn by turn. Times in microseconds."""

    def __init__(self, state: PbftState, turn_us: int, now_us: int) -> None:
        self._state = state
        self._turn_us = turn_us
        self._due_us = now_us + turn_us
        self._detector = Detector(state.settings.status_us, late_us=turn_us)
        self._voted: dict[NodeId, int] = {}
        self._missed: dict[NodeId, deque[bool]] = {}
        self._decided = state.commit_sequence
        self._took_part: int | None = None
        """The view in which this member took part at the last turn, if it did in one."""

    def heard(self, sender: NodeId, message: object, now_us: int) -> None:
        """A message came. Votes are cumulative: one for a block is one for every block before it."""
        self._detector.heard(sender, now_us)
        if type(message) in VOTES and message.view == self._state.view:  # type: ignore[attr-defined]
            voted = min(message.sequence, self._state.ceiling)  # type: ignore[attr-defined]
            self._voted[sender] = max(voted, self._voted.get(sender, 0))

    def look(self, nodes: Iterable[NodeId], liars: Iterable[NodeId], now_us: int) -> list[Observation]:
        """What is seen of these nodes now. A turn in which something was decided judges the votes for what was
        decided in the turn before, if this member took part in the same view all the time: what it catches up with
        were others' votes, which it never hears."""
        self._detector.ran(self._due_us, now_us)
        self._due_us = now_us + self._turn_us
        watched, lied = tuple(nodes), frozenset(liars)
        self._detector.watch(watched, now_us)
        self._missed = {node: self._missed.get(node, deque(maxlen=TURNS_JUDGED)) for node in watched}
        decided, is_in_step = self._state.commit_sequence, self._is_in_step()
        if decided > self._decided:
            if is_in_step:
                for node, missed in self._missed.items():
                    missed.append(self._voted.get(node, 0) < self._decided)
            self._decided = decided
        return [self._observation(node, node in lied, now_us) for node in watched]

    def _is_in_step(self) -> bool:
        """Whether this member takes part in a view, and did in the same one a turn ago."""
        before, self._took_part = self._took_part, self._state.view if self._state.active else None
        return before is not None and before == self._took_part

    def _observation(self, node: NodeId, lied: bool, now_us: int) -> Observation:
        status, missed = self._state.statuses.get(node), self._missed[node]
        lag = 0 if status is None else max(0, self._state.commit_sequence - status.committed)
        share = sum(missed) / len(missed) if len(missed) >= TURNS_MIN else 0.0
        return Observation(node, self._detector.phi(node, now_us), lag, 0, share, lied)
