"""Complaints of one epoch: who complains of whom, and who is complained of by enough to be considered.

Up to T members lie, so T complaints may all be lies; among T+1 is one by an honest member. A complaint ages by
the blocks that were decided since, not by anybody's clock: whoever still complains says it again.

I1  a member counts once against another, however often it speaks; its newest word counts.
I2  only members of the epoch count, and only in that epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from quorum.certificate.complaint import Complaint
from quorum.model import NodeId

AGE_BLOCKS_MAX = 1_000
"""A complaint counts while it is no further from the newest decided block than this."""


class ComplaintBook:
    """Takes complaints whose signatures were verified."""

    def __init__(self, epoch: int, members: Iterable[NodeId], faults: int) -> None:
        self.epoch = epoch
        self.faults = faults
        self._members = frozenset(members)
        self._words: dict[NodeId, dict[NodeId, Complaint]] = {}
        """By the accused, and by who says it: T liars may say as many words as there are pairs of members."""

    def is_news(self, complaint: Complaint) -> bool:
        """Whether it is of this epoch, by a member about a member, and newer than what that member said before."""
        if complaint.epoch != self.epoch or not {complaint.by, complaint.accused} <= self._members:
            return False  # I2
        known = self.word(complaint.by, complaint.accused)
        return complaint.by != complaint.accused and (known is None or known.number < complaint.number)

    def take(self, complaint: Complaint) -> None:
        """Keep a verified word, in place of the one before (I1)."""
        if self.is_news(complaint):
            self._words.setdefault(complaint.accused, {})[complaint.by] = complaint

    def word(self, by: NodeId, accused: NodeId) -> Complaint | None:
        """The newest word of a member about another."""
        return self._words.get(accused, {}).get(by)

    def of(self, accused: NodeId, height: int) -> tuple[Complaint, ...]:
        """Who complains of a member, where block `height` is the newest decided; by name, each once."""
        return tuple(sorted(self._standing(accused, height), key=lambda each: each.by))

    def _standing(self, accused: NodeId, height: int) -> Iterator[Complaint]:
        for word in self._words.get(accused, {}).values():
            if word.stands and abs(height - word.height) <= AGE_BLOCKS_MAX:
                yield word

    def considered(self, height: int) -> tuple[NodeId, ...]:
        """Of whom T+1 members complain, an honest one among them; those first of whom more than 2T do, then by
        name. Of who is gone all N-T honest members complain, which is more than 2T whatever liars say to whom. So
        they cannot make some members want another one out first, and no quorum want the same."""
        said = {node: tuple(self._standing(node, height)) for node in self._words}
        enough = [node for node, words in said.items() if self.is_enough(words)]
        return tuple(sorted(enough, key=lambda node: (len(said[node]) <= 2 * self.faults, node)))

    def is_enough(self, complaints: Iterable[Complaint]) -> bool:
        """Whether these are by T+1 members."""
        return len({each.by for each in complaints if each.stands}) > self.faults

    def complained_of(self, height: int) -> dict[NodeId, tuple[NodeId, ...]]:
        """Everybody who is complained of, and by whom, by name."""
        found = {node: tuple(each.by for each in self.of(node, height)) for node in sorted(self._words)}
        return {node: by for node, by in found.items() if by}
