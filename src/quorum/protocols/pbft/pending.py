"""Requests that wait to be decided: bounded, in arrival order, fair among clients, and watched for censorship.

A primary that leaves out a request while later ones are decided is unfair, and is replaced. Source: Clement et
al., "Making Byzantine Fault Tolerant Systems Tolerate Byzantine Faults" (2009), section 4.3. Here time says
which one is later, as members do not hear of requests in one order: by half of the view's timeout, which no two
orders differ by unless the network is so slow that another primary is wanted anyhow.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from quorum.certificate.requests import SignedRequest
from quorum.model import NodeId
from quorum.protocols.pbft.decided import Decided
from quorum.protocols.pbft.settings import Settings

CLIENT_SHARE = 4
"""One client's requests take this part of the space at most."""
MEMBER_SHARE = 8
"""What one member forwards takes this part of it at most."""
COST_BYTES = 256
"""What a request costs beside its bytes."""


class Waiting:
    """One request, and since when it waits here."""

    __slots__ = ("by", "came_us", "data", "forwarded_us", "proposed", "request", "since_us", "told_all")

    def __init__(self, request: SignedRequest, data: bytes, since_us: int, by: NodeId = "") -> None:
        self.by = by
        self.request = request
        self.data = data
        self.came_us = self.since_us = since_us
        self.proposed = self.told_all = False
        self.forwarded_us = 0
        """When it was last passed on to the primary of this view; 0: not yet."""


class Pending:
    """Verified requests, by name. A node that is not primary keeps them, too: it watches that they are decided.

    I1  a request stands here once, until a decided block holds it.
    I2  what waits takes `pending_bytes_max` at most, what one client lets wait a quarter of it, and what one
        member forwards an eighth: whoever lies makes clients as it likes.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.decided = Decided()
        self._waiting: dict[bytes, Waiting] = {}
        self._bytes = 0
        self._bytes_of: dict[bytes | NodeId, int] = {}
        self._latest_us = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, name: bytes) -> bool:
        return name in self._waiting

    def is_verified(self, request: SignedRequest) -> bool:
        """Whether exactly this request, signature included, was verified when it came here."""
        waiting = self._waiting.get(request.name)
        return waiting is not None and waiting.request.signature == request.signature

    def has_room(self, request: SignedRequest, size: int, by: NodeId = "") -> bool:
        """Whether the request may wait here, too. `by`: the member that forwards it."""
        cost, most = size + COST_BYTES, self._settings.pending_bytes_max
        if by and self._bytes_of.get(by, 0) + cost > most // MEMBER_SHARE:
            return False
        own = self._bytes_of.get(request.public_key, 0) + cost
        return self._bytes + cost <= most and own <= most // CLIENT_SHARE

    def add(self, request: SignedRequest, data: bytes, now_us: int, by: NodeId = "") -> bool:
        """Let a verified request wait. False if it waits already, or there is no room."""
        if request.name in self._waiting or not self.has_room(request, len(data), by):
            return False
        waiting = self._waiting[request.name] = Waiting(request, data, now_us, by)
        self._count(waiting, len(data) + COST_BYTES)
        return True

    def done(self, names: Iterable[bytes]) -> list[Waiting]:
        """A decided block holds these requests. Returns those of them that waited here."""
        ended = []
        names = tuple(names)
        self.decided.add(names)
        for name in names:
            waiting = self._waiting.pop(name, None)
            if waiting is not None:
                self._latest_us = max(self._latest_us, waiting.since_us)
                self._count(waiting, -(len(waiting.data) + COST_BYTES))
                ended.append(waiting)
        return ended

    def forget_until(self, time_us: int) -> None:
        """A state was fetched that knows what was decided until then, and not which requests that were: what came
        here earlier may be among them. Who is not answered asks again."""
        for name in [name for name, waiting in self._waiting.items() if waiting.came_us <= time_us]:
            waiting = self._waiting.pop(name)
            self._count(waiting, -(len(waiting.data) + COST_BYTES))

    def to_propose(self) -> list[Waiting]:
        """The next block's requests, oldest first: all that fit and are in no block of this view yet."""
        chosen: list[Waiting] = []
        size = 0
        for waiting in self._waiting.values():
            if waiting.proposed:
                continue
            size += len(waiting.data)
            if chosen and size > self._settings.block_bytes_max:
                break
            chosen.append(waiting)
            if len(chosen) >= self._settings.block_requests_max:
                break
        return chosen

    def propose_again(self, held: Iterable[bytes]) -> None:
        """A view begins: what is in no block of it (they hold the requests `held`) must be proposed anew."""
        kept = frozenset(held)
        for name, waiting in self._waiting.items():
            waiting.proposed = name in kept
            waiting.told_all = False
            waiting.forwarded_us = 0

    def proposed(self, names: Iterable[bytes]) -> None:
        """A block of this view holds these."""
        for name in names:
            waiting = self._waiting.get(name)
            if waiting is not None:
                waiting.proposed = True

    def renew(self, now_us: int) -> None:
        """The next primary begins with a clean slate: everything waits since now."""
        for waiting in self._waiting.values():
            waiting.since_us = now_us

    def late(self, now_us: int, after_us: int, again_us: int) -> list[Waiting]:
        """Requests that no block holds although they have waited for `after_us`, and that were not forwarded for
        `again_us`: what was may be lost."""
        found = []
        for waiting in self._waiting.values():
            if now_us - waiting.since_us < after_us:
                break
            if not waiting.proposed and now_us - waiting.forwarded_us >= again_us:
                found.append(waiting)
        return found

    def unheard(self, now_us: int, after_us: int, most: int) -> list[Waiting]:
        """Of the oldest `most` requests those that no block holds after `after_us`, and that not all were told."""
        oldest = islice(self._waiting.values(), most)
        return [
            waiting
            for waiting in oldest
            if not (waiting.proposed or waiting.told_all) and now_us - waiting.since_us >= after_us
        ]

    def is_censored(self, now_us: int, after_us: int) -> bool:
        """Whether the oldest request has waited for `after_us`, is in no block, and another that came here half of
        that time later was decided."""
        oldest = next(iter(self._waiting.values()), None)
        if oldest is None or oldest.proposed or now_us - oldest.since_us < after_us:
            return False
        return self._latest_us >= oldest.since_us + after_us // 2

    def _count(self, waiting: Waiting, change: int) -> None:
        self._bytes += change
        payers: list[bytes | NodeId] = [waiting.request.public_key]
        if waiting.by:
            payers.append(waiting.by)
        for payer in payers:
            held = self._bytes_of.get(payer, 0) + change
            if held:
                self._bytes_of[payer] = held
            else:
                self._bytes_of.pop(payer, None)
