"""Who is fit to vote: suspicions that last, and returns that last. A flapping node waits longer each time.

What must outlive a leader stands in the configuration, as seats (model.Seat): whoever leads next begins with it.

I1  a node is never unfit for less than `hold_us` of being badly seen, unless it is proven to lie, or held back.
I2  the wait before a return doubles with each return that did not last, and never exceeds `stable_max_us`.
"""

from __future__ import annotations

from collections.abc import Iterable

from quorum.membership.observation import Limits, Observation
from quorum.model import NodeId, Seat

UNREACHABLE = "unreachable"
BEHIND = "behind"
LATE = "late"
LIED = "lied"
HELD = "held by an operator"
NEW = "new"
SPARE = "spare"
"""The reason of a seat whose holder is well, and has no vote only because the committee is as large as it should
be."""
_FOR_GOOD = frozenset((LIED, HELD))
"""These take effect at once, and time does not end them."""


class Health:
    """What is remembered of one node. `seat` is what the configuration records of it, if it does."""

    __slots__ = ("bad_since_us", "flaps", "good_since_us", "is_fit", "reason", "returned_us", "seat", "since_us")

    def __init__(self, now_us: int, votes: bool, seat: Seat | None = None) -> None:
        self.seat = seat
        self.is_fit = votes or (seat is not None and seat.reason == SPARE)
        self.reason = "" if self.is_fit else (seat.reason if seat is not None else "") or NEW
        known_us = 0 if seat is None else seat.since_us
        self.since_us = min(now_us, known_us) if known_us else now_us
        self.bad_since_us: int | None = None
        self.good_since_us: int | None = None
        self.returned_us: int | None = None
        self.flaps = 0 if seat is None else seat.flaps
        if seat is not None and votes and not seat.reason and known_us:
            self.returned_us = self.since_us

    @property
    def state(self) -> str:
        """In a word or two: well, badly seen, returning, or what is wrong."""
        if self.is_fit:
            return "well" if self.bad_since_us is None else "badly seen"
        return self.reason if self.good_since_us is None or self.reason in _FOR_GOOD else "returning"

    def wait_us(self, limits: Limits) -> int:
        """How long the node must be well before it returns."""
        return min(limits.stable_max_us, limits.stable_us << min(self.flaps, 20))

    def see(self, trouble: str, now_us: int, limits: Limits) -> None:
        """The node was seen: `trouble` says what is wrong with it; empty: nothing."""
        if self.is_fit:
            self._see_fit(trouble, now_us, limits)
        elif trouble:
            self.good_since_us = None
            self.reason = trouble
        elif self.reason not in _FOR_GOOD:
            if self.good_since_us is None:
                self.good_since_us = now_us
            if now_us - self.good_since_us >= self.wait_us(limits):
                self._become(True, "", now_us)
                self.returned_us = now_us

    def fall_short(self, now_us: int) -> None:
        """The node was to vote, and did not catch up: it is out, as one whose return did not last."""
        self.flaps += 1
        self.returned_us = None
        self._become(False, BEHIND, now_us)

    def _see_fit(self, trouble: str, now_us: int, limits: Limits) -> None:
        if self.returned_us is not None and now_us - self.returned_us >= limits.forgive_us:
            self.returned_us, self.flaps = None, 0
        if not trouble:
            self.bad_since_us = None
            return
        if self.bad_since_us is None:
            self.bad_since_us = now_us
        if trouble in _FOR_GOOD or now_us - self.bad_since_us >= limits.hold_us:
            self.flaps += self.returned_us is not None
            self.returned_us = None
            self._become(False, trouble, now_us)

    def _become(self, is_fit: bool, reason: str, now_us: int) -> None:
        self.is_fit, self.reason, self.since_us = is_fit, reason, now_us
        self.bad_since_us = self.good_since_us = None


class HealthBook:
    """The health of every member."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._known: dict[NodeId, Health] = {}

    def see(
        self,
        observations: Iterable[Observation],
        voters: Iterable[NodeId],
        now_us: int,
        seats: Iterable[Seat] = (),
    ) -> None:
        """Take in what was observed. Whoever is seen for the first time is fit if it votes already; a standby has
        to show first that it is well. So is everybody whose seat was changed, by a policy or an operator. Who is
        not observed any more is forgotten."""
        voting, known, recorded = frozenset(voters), self._known, {seat.node: seat for seat in seats}
        self._known = {}
        for seen in sorted(observations, key=lambda each: each.node):
            health, seat = known.get(seen.node), recorded.get(seen.node)
            if health is None or health.seat != seat:
                health = Health(now_us, seen.node in voting, seat)
            health.see(self._trouble(seen), now_us, self.limits)
            self._known[seen.node] = health

    def fall_short(self, nodes: Iterable[NodeId], now_us: int) -> None:
        """These were taken for fit, and do not catch up."""
        for node in nodes:
            health = self._known.get(node)
            if health is not None and health.is_fit:
                health.fall_short(now_us)

    def of(self, node: NodeId) -> Health | None:
        """What is known of a node; None: nothing."""
        return self._known.get(node)

    def items(self) -> Iterable[tuple[NodeId, Health]]:
        """Every member and its health, by name."""
        return self._known.items()

    @property
    def fit(self) -> tuple[NodeId, ...]:
        """Who may vote, by name."""
        return tuple(node for node, health in self._known.items() if health.is_fit)

    def explain(self, node: NodeId, now_us: int, votes: bool = True) -> str:
        """Why a node is in or out, since when, and what would change that. `votes`: whether it has a seat now."""
        health = self._known.get(node)
        if health is None:
            return f"{node} is not observed: it is no member, or this node does not lead."
        since = f"for {_seconds(now_us - health.since_us)}"
        if health.is_fit and health.bad_since_us is not None:
            left_us = self.limits.hold_us - (now_us - health.bad_since_us)
            return f"{node} is fit to vote {since}, but is badly seen, and will be out in {_seconds(left_us)}."
        if health.is_fit and not votes:
            return (
                f"{node} is well {since}, and has no vote: the committee is as large as the policy wants it. "
                "It votes once one of the voters is out."
            )
        if health.is_fit:
            return f"{node} is fit to vote {since}."
        if health.reason == LIED:
            return f"{node} is out {since}: it is proven to lie. Only another key brings it back."
        if health.reason == HELD:
            return (
                f"{node} is out {since}: an operator took its vote. Only `quorum promote {node}` brings it back."
            )
        wait = _seconds(health.wait_us(self.limits))
        if health.good_since_us is None:
            return f"{node} is out {since}: {health.reason}. It may return after {wait} of being well."
        left_us = health.wait_us(self.limits) - (now_us - health.good_since_us)
        return f"{node} is out {since}, is well again, and may return in {_seconds(left_us)}."

    def _trouble(self, seen: Observation) -> str:
        limits = self.limits
        if seen.lied:
            return LIED
        if seen.held:
            return HELD
        if seen.phi >= limits.suspect_phi:
            return UNREACHABLE
        if seen.lag_entries > limits.lag_entries_max:
            return BEHIND
        return LATE if seen.missed > limits.missed_max else ""


def _seconds(time_us: int) -> str:
    return f"{time_us / 1_000_000:.0f} s"
