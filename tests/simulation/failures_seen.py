"""Real failures in bad weather: the detector and the adaptive policy, turn by turn, beside what truly happened.

The observer of `heartbeats` leads; it and its peers are the members. What it proposes is committed by the next
turn. It fails never itself: that is what elections are for.
"""

from __future__ import annotations

from typing import NamedTuple

from quorum.membership.adaptation import Adaptation, Proposal
from quorum.membership.detector import Detector
from quorum.membership.observation import Limits, Observation
from quorum.membership.policy import adaptive
from quorum.membership.reconfiguration import Reseat, apply_change
from quorum.model import Configuration, NodeId

from .heartbeats import NEVER, TURN_US, Heartbeats

LEADER = "leader"
S = 1_000_000


class Found(NamedTuple):
    """What one observer made of it."""

    failures: int
    """Those that lasted for so long that they had to be found."""
    found_us: tuple[int, ...]
    """How long after each of these the node was judged unfit."""
    missed: int
    false: int
    """Who was judged unfit and had not been down at any time of the hold before."""
    fewest: int
    """The smallest committee."""
    changes: int
    returned: int
    """How often somebody was voted in again."""


class Observer:
    """One observer and its members, for as many turns as were drawn."""

    def __init__(self, beats: Heartbeats, cluster: int, limits: Limits | None = None, floor: int = 3) -> None:
        self._beats, self._cluster = beats, cluster
        self._limits = limits or Limits()
        first = cluster * beats.peers
        self._pairs = {f"p{number}": first + number for number in range(beats.peers)}
        self._at = {peer: int(beats.begins[pair]) for peer, pair in self._pairs.items()}
        names = tuple(sorted([LEADER, *self._pairs]))
        self._configuration = Configuration(1, names)
        self._detector = Detector(TURN_US)
        self._detector.watch(self._pairs, 0)
        self._adaptation = Adaptation(adaptive, len(names), (len(names) - 1) // 2, floor, self._limits)
        self._unfit: dict[NodeId, list[list[int]]] = {peer: [] for peer in self._pairs}
        self._fewest, self._changes, self._returned = len(names), 0, 0

    def run(self) -> Found:
        for turn in range(self._beats.turns):
            late = int(self._beats.late[turn, self._cluster])
            if late >= 0:
                self._turn(turn * TURN_US, late)
        return self._found()

    def _turn(self, now_us: int, late: int) -> None:
        detector = self._detector
        for peer in self._pairs:
            while (arrival := int(self._beats.arrivals[self._at[peer]])) <= now_us:
                detector.heard(peer, now_us if late else arrival)
                self._at[peer] += 1
        detector.ran(now_us - late * TURN_US, now_us)
        observed = [Observation(LEADER), *(Observation(peer, phi) for peer, phi in detector.all(now_us).items())]
        was_fit = self._adaptation.health.fit
        proposal = self._adaptation.step(self._configuration, LEADER, observed, now_us)
        fit = self._adaptation.health.fit
        for peer in set(was_fit) - set(fit):
            self._unfit[peer].append([now_us, NEVER])
        for peer in set(fit) - set(was_fit):
            if self._unfit.get(peer):
                self._unfit[peer][-1][1] = now_us
        if proposal is not None:
            self._commit(proposal, now_us)

    def _commit(self, proposal: Proposal, now_us: int) -> None:
        self._configuration = apply_change(self._configuration, Reseat(proposal.seats), now_us)
        self._fewest = min(self._fewest, len(self._configuration.voters))
        self._changes += 1
        self._returned += len(proposal.promote)

    def _found(self) -> Found:
        """Each failure that lasted twice the hold, and half a minute more, had to be found while it lasted."""
        times: list[int] = []
        false = missed = count = 0
        long_us = 2 * self._limits.hold_us + 30 * S
        for peer, pair in self._pairs.items():
            spans = [(start * TURN_US, end * TURN_US) for start, end in self._beats.down[pair]]
            unfit = self._unfit[peer]
            false += sum(not _meets(spans, at_us - self._limits.hold_us, at_us) for at_us, _ in unfit)
            for start, end in spans:
                if end - start < long_us or any(from_us <= start < to_us for from_us, to_us in unfit):
                    continue  # too short to be found for sure, or out already
                found = [from_us - start for from_us, _ in unfit if start <= from_us <= end]
                count += 1
                missed += not found
                times += found[:1]
        return Found(count, tuple(times), missed, false, self._fewest, self._changes, self._returned)


def _meets(spans: list[tuple[int, int]], from_us: int, to_us: int) -> bool:
    return any(start <= to_us and from_us <= end for start, end in spans)
