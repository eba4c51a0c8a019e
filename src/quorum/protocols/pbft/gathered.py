"""The approvals of next committees that a member holds."""

from __future__ import annotations

from typing import NamedTuple

from quorum.certificate.approval import Change
from quorum.certificate.committee import Committee
from quorum.model import NodeId


class Box(NamedTuple):
    """The verified approvals of one committee, by member."""

    committee: Committee
    approvals: dict[NodeId, bytes]


class Gathered:
    """Of one epoch, and forgotten with it."""

    __slots__ = ("boxes", "ready", "ready_since_us", "ticks")

    def __init__(self) -> None:
        self.boxes: dict[bytes, Box] = {}
        """By the membership hash of the committee."""
        self.ready: Change | None = None
        """A quorum approves of it: it is to be ordered."""
        self.ready_since_us = 0
        """Since when this view's primary could have done so."""
        self.ticks = 0

    def approved_by(self, member: NodeId) -> list[Committee]:
        """What a member approves of."""
        return [box.committee for box in self.boxes.values() if member in box.approvals]

    def box_of(self, committee: Committee) -> Box:
        """Where its approvals are kept, from now on."""
        return self.boxes.setdefault(committee.membership_hash, Box(committee, {}))
