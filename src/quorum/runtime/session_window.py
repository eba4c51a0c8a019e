"""The requests of a client's session that are not answered yet, and how far they run ahead."""

from __future__ import annotations

from quorum.apps.session import SESSION_ANSWERS_MAX
from quorum.runtime.messages import Query, Submit
from quorum.runtime.session_settings import SessionSettings
from quorum.runtime.session_wire import Wire

FOREVER_US = 1 << 62
AHEAD_MAX = SESSION_ANSWERS_MAX // 2
"""A batch waits while it is so many behind the oldest unanswered one: the cluster keeps the answers in between,
and closes a session with too many."""


class Pending:
    """A request until it is answered. `sent`: it is on its way. `resend_us`: it is not sent again before then.
    `doubtful`: it was sent and may have been applied; `doubted` is that from before it was sent the last time."""

    __slots__ = ("body", "deadline_us", "doubted", "doubtful", "message", "resend_us", "sent")

    def __init__(self, message: Submit | Query, body: bytes, deadline_us: int) -> None:
        self.message = message
        self.body = body
        self.deadline_us = deadline_us
        self.sent = False
        self.doubted = self.doubtful = False
        self.resend_us = FOREVER_US


class Window:
    """Requests by their number, in the order in which they were made. `client` is the session's name in the
    cluster, 0 while it has none; then reads alone may be sent.

    I1  an unanswered batch is only ever sent again under its own sequence number.
    I2  `_sent` requests are on their way, with `_sent_bytes`.
    """

    def __init__(self, wire: Wire, settings: SessionSettings) -> None:
        self._wire = wire
        self._settings = settings
        self.pending: dict[int, Pending] = {}
        self.client = 0
        self._next_sequence = 1
        self._sent = 0
        self._sent_bytes = 0
        self.is_full = False
        """Whether what waits must wait for an answer to something else."""

    def take_sequence(self) -> int:
        """The sequence number of one more batch."""
        sequence = self._next_sequence
        self._next_sequence += 1
        return sequence

    @property
    def acked_below(self) -> int:
        """Every batch below this is answered: the cluster may forget its reply."""
        for pending in self.pending.values():
            if type(pending.message) is Submit:
                return pending.message.first_sequence
        return self._next_sequence

    @property
    def has_batches(self) -> bool:
        """Whether something waits for which the cluster must have a session."""
        return any(type(pending.message) is Submit for pending in self.pending.values())

    @property
    def awaits_answer(self) -> bool:
        """Whether something is on its way."""
        return any(pending.sent for pending in self.pending.values())

    def may_send(self, pending: Pending) -> bool:
        return self.client != 0 or type(pending.message) is Query

    def send(self, pending: Pending) -> None:
        """Send a request that may be sent, unless it must wait behind others."""
        if not self.is_full:
            acked_below = self.acked_below
            self.is_full = not self._has_room(pending, acked_below)
            if not self.is_full:
                self._transmit(pending, acked_below)

    def send_waiting(self) -> None:
        """Send what waits, in order, as far as there is room."""
        self.is_full = False
        acked_below = self.acked_below
        for pending in self.pending.values():
            if not pending.sent and pending.resend_us == FOREVER_US and self.may_send(pending):
                if not self._has_room(pending, acked_below):
                    self.is_full = True
                    break
                self._transmit(pending, acked_below)

    def take_back_all(self) -> None:
        """The connection is given up: nothing is on its way any more."""
        for pending in self.pending.values():
            self._take_back(pending)

    def take_back_due(self, now_us: int) -> None:
        """What was to wait until `now_us` may be sent again."""
        for pending in self.pending.values():
            if pending.resend_us <= now_us:
                self._take_back(pending)
                pending.resend_us = FOREVER_US

    def forget(self, request: int, pending: Pending) -> None:
        """It is answered, or given up."""
        self._take_back(pending)
        del self.pending[request]

    def _take_back(self, pending: Pending) -> None:
        if pending.sent:
            pending.sent = False
            self._sent -= 1
            self._sent_bytes -= len(pending.body)

    def _has_room(self, pending: Pending, acked_below: int) -> bool:
        message = pending.message
        if type(message) is Submit and message.first_sequence >= acked_below + AHEAD_MAX:
            return False
        return self._sent == 0 or (
            self._sent < self._settings.batches_sent_max
            and self._sent_bytes + len(pending.body) <= self._settings.bytes_sent_max
        )

    def _transmit(self, pending: Pending, acked_below: int) -> None:
        message = pending.message
        if type(message) is Submit:
            message = Submit(
                message.request, message.app, self.client, message.first_sequence, acked_below, message.count
            )
            pending.doubted, pending.doubtful = pending.doubtful, True
        pending.sent = True
        self._sent += 1
        self._sent_bytes += len(pending.body)
        self._wire.transmit(message, pending.body)
