"""A client's session with a cluster, without I/O: it finds the leader, and retries with the same request id.

Every batch keeps its sequence number until it is answered, whatever happens to connections and leaders, so that
the cluster applies it once (Ongaro 2014, section 6.3). Reads are repeated freely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quorum.apps.answer import EXPIRED, OK
from quorum.apps.host import CLOSE, OPEN, SESSIONS, decode_session
from quorum.apps.kv_watch import Interest
from quorum.errors import (
    LocalProtocolError,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    QuorumError,
    RemoteProtocolError,
    RequestRefused,
    SessionExpired,
)
from quorum.runtime import messages
from quorum.runtime.directory import Directory
from quorum.runtime.messages import (
    Failure,
    MembersReply,
    MembersRequest,
    NodeMessage,
    Pulsed,
    Query,
    Result,
    StatusReply,
    Submit,
)
from quorum.runtime.session_settings import SessionSettings
from quorum.runtime.session_window import FOREVER_US, Pending, Window
from quorum.runtime.session_wire import Wire
from quorum.runtime.watching import OF_WATCHES, Watching

_UNANSWERED = (
    "the cluster was asked, but did not answer in time, and nothing was changed. Look whether enough of its nodes "
    "run, and retry."
)


class Session:
    """Requests in, answers out, exactly once. The cluster learns of the session with its first batch, not before:
    who only reads leaves nothing there. What is not answered yet is in the `window`.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        wire: Wire,
        settings: SessionSettings | None = None,
        directory: Directory | None = None,
    ) -> None:
        if not endpoints:
            raise LocalProtocolError("a session was opened without endpoints. Name at least one node.")
        self.directory = Directory(endpoints) if directory is None else directory
        self._wire = wire
        self._settings = settings or SessionSettings()
        self._failures = 0
        self._connected = False
        self.endpoint = ""
        self._lost_endpoint = ""
        self.window = Window(wire, self._settings)
        self._opening = 0
        self._next_request = 1
        self._heard_us = 0
        self.now_us = 0
        self._redirects = 0
        self._leaderless_us = FOREVER_US
        self._open_us = FOREVER_US
        self._due_us = FOREVER_US
        self._members_asked = 0
        self._members_us = FOREVER_US
        self._watching = Watching(wire, self._request)

    # From the owner.

    def start(self, now_us: int, endpoint: str | None = None) -> None:
        self.now_us = now_us
        self._connect(endpoint or self.directory.first, 0)

    def submit(self, now_us: int, app: int, count: int, body: bytes, timeout_us: int = FOREVER_US) -> int:
        """Order a batch of `count` commands; the answer comes to `Wire.finished` under the returned handle."""
        self.now_us = now_us
        request = self._request()
        message = Submit(request, app, 0, self.window.take_sequence(), 0, count)
        self._add(request, Pending(message, body, now_us + timeout_us))
        return request

    def query(
        self,
        now_us: int,
        app: int,
        body: bytes,
        stale: bool = False,
        timeout_us: int = FOREVER_US,
        here: bool = False,
    ) -> int:
        """Ask a batch of reads, linearizable unless `stale`; with `here` of the node at hand, whatever its
        role."""
        self.now_us = now_us
        request = self._request()
        self._add(request, Pending(Query(request, app, stale, here), body, now_us + timeout_us))
        return request

    def watch_topic(self, now_us: int, app: int, topic: bytes) -> int:
        """Watch a topic of an application until `unwatch`: `Wire.noticed` tells what happens to it, under the
        returned handle."""
        self.now_us = now_us
        handle = self._watching.watch_topic(now_us, app, topic)
        self._schedule()
        return handle

    def watch_keys(self, now_us: int, interest: Interest) -> int:
        """Watch keys until `unwatch`: `Wire.changed` tells what happens to them, under the returned handle."""
        self.now_us = now_us
        handle = self._watching.watch_keys(now_us, interest)
        if self._watching.due_us < self._due_us:
            self._schedule()
        return handle

    def pause_watch(self, handle: int, is_paused: bool) -> None:
        """Hear nothing of a watch of keys, or go on with it; nothing is missed."""
        (self._watching.pause if is_paused else self._watching.resume)(handle)

    def reach_watch(self, now_us: int, handle: int, revision: int, tell: Callable[[], None]) -> None:
        """Call `tell` once a watch of keys was told everything up to `revision`."""
        self.now_us = now_us
        self._watching.reach(now_us, handle, revision, tell)
        self._schedule()

    def unwatch(self, now_us: int, handle: int) -> None:
        """End a watch; nothing more is heard of it."""
        self.now_us = now_us
        self._watching.unwatch(handle)

    def connected(self, now_us: int) -> None:
        """The connection asked for is open: everything unanswered goes out again, in order."""
        self.now_us = now_us
        self._connected = True
        if self.endpoint == self._lost_endpoint:
            self._lost_endpoint = ""
        self._heard_us = now_us
        window = self.window
        if window.client == 0 and window.has_batches:
            self._open_session()
        window.take_back_due(FOREVER_US)
        if self.directory.discovers:
            self._ask_members()
        self._watching.connected(now_us)  # first: what is ordered after a watch began is seen by it
        self._send_waiting()
        self._schedule()

    def disconnected(self, now_us: int) -> None:
        """The connection closed, or could not be opened: try the next node."""
        self.now_us = now_us
        self._connected = False
        self._lost_endpoint = self.endpoint
        self._rotate()

    def received(self, now_us: int, message: NodeMessage, body: bytes) -> None:
        """An answer. One that nobody waits for any more is ignored."""
        self.now_us = now_us
        self._heard_us = now_us
        if isinstance(message, OF_WATCHES):
            self._watching.received(now_us, message, body)
            if isinstance(message, Pulsed):
                self._failures = self._redirects = 0
                self._leaderless_us = FOREVER_US
                self._schedule()
            return
        if message.request == self._opening and self._opening:
            self._on_opened(message, body)
            return
        pending = self.window.pending.get(message.request)
        if pending is None:
            if isinstance(message, Failure):
                self._on_watch_failure(message)
            elif isinstance(message, MembersReply):
                self._on_members(message)
            return
        match message:
            case Result(status=status):
                self._failures = self._redirects = 0
                self._leaderless_us = FOREVER_US
                self._on_result(message.request, pending, status, body)
            case StatusReply():
                what = "answered a request with a status that was not asked for. Run compatible versions."
                raise RemoteProtocolError(self.endpoint, what)
            case Failure():
                self._on_failure(message.request, pending, message)

    def tick(self, now_us: int) -> None:
        """Time went on: send again what is due, give up what is past its deadline, leave a silent node."""
        self.now_us = now_us
        window = self.window
        for request, pending in [item for item in window.pending.items() if item[1].deadline_us <= now_us]:
            window.forget(request, pending)
            self._wire.failed(request, self._timeout_error(pending))
        waiting = self._is_owed or window.awaits_answer
        if self._connected and waiting and now_us - self._heard_us >= self._settings.silence_us:
            self._connected = False
            self._rotate()
        elif self._connected:
            if self._open_us <= now_us:
                self._open_session()
            if self._members_us <= now_us:
                self._ask_members()
            window.take_back_due(now_us)
            window.send_waiting()
            self._watching.tick(now_us)
        self._schedule()

    def close(self, now_us: int) -> None:
        """Give the session back, so that the cluster need not keep it; nobody waits for the answer."""
        self.now_us = now_us
        window = self.window
        if self._connected and window.client:
            request, acked_below = self._request(), window.acked_below
            submit = Submit(request, SESSIONS, window.client, window.take_sequence(), acked_below, 1)
            self._wire.transmit(submit, CLOSE)
            window.client = 0

    @property
    def is_connected(self) -> bool:
        """Whether a node is at hand."""
        return self._connected

    @property
    def unanswered(self) -> int:
        return len(self.window.pending)

    # Sending.

    def _add(self, request: int, pending: Pending) -> None:
        window = self.window
        if not window.pending:
            self._heard_us = self.now_us
        window.pending[request] = pending
        if len(window.pending) == 1 or pending.deadline_us < self._due_us:
            self._schedule()
        if not self._connected:
            return
        if window.may_send(pending):
            window.send(pending)
        elif not self._opening and self._open_us == FOREVER_US:
            self._open_session()

    def _send_waiting(self) -> None:
        if self._connected:
            self.window.send_waiting()

    # Answers.

    def _on_result(self, request: int, pending: Pending, status: int, body: bytes) -> None:
        if status == EXPIRED:
            self._expire()
            return
        self.window.forget(request, pending)
        self._wire.finished(request, status, body)
        if self.window.is_full:
            self._send_waiting()

    def _on_failure(self, request: int, pending: Pending, failure: Failure) -> None:
        if failure.code == messages.NOT_LEADER:
            if pending.sent:
                self._on_not_leader(pending, failure.leader)
        elif failure.code in (messages.OVERLOADED, messages.OUTCOME_UNKNOWN):
            if failure.code == messages.OVERLOADED:
                pending.doubtful = pending.doubted  # nothing happened, that time
            self._failures += 1
            pending.resend_us = self.now_us + self._pause()
            self._schedule()
        else:
            self.window.forget(request, pending)
            self._wire.failed(request, self._refusal(pending, failure.text))
            if self.window.is_full:
                self._send_waiting()

    def _refusal(self, pending: Pending, text: str) -> QuorumError:
        """A node will not do it; but another, to which it was sent before, may have."""
        if pending.doubted:
            return OutcomeUnknown(
                f"{text} It was sent before that, and may have been applied: read the state first."
            )
        return RequestRefused(text)

    def _on_watch_failure(self, failure: Failure) -> None:
        if failure.request == self._members_asked:
            self._members_asked = 0  # asked anew in due course
        elif self._watching.failed(self.now_us, failure):
            if failure.code == messages.NOT_LEADER:
                self._redirect(failure.leader)  # a witness, which has nothing to tell
            else:
                self._schedule()
        elif self._watching.is_pulse(failure.request):
            self._watching.pulse_failed(self.now_us)
            self._failures += 1
            if self._may_wait(failure.leader):
                self._schedule()
            else:
                self._redirect(failure.leader)

    def _open_session(self) -> None:
        self._open_us = FOREVER_US
        self._opening = self._request()
        self._wire.transmit(Submit(self._opening, SESSIONS, 0, 0, 0, 1), OPEN)

    def _on_opened(self, message: NodeMessage, body: bytes) -> None:
        self._opening = 0
        if type(message) is Result and message.status == OK:
            self.window.client = decode_session(body)
            self._send_waiting()
        elif type(message) is Failure and message.code == messages.NOT_LEADER and self._may_wait(message.leader):
            self._open_us = self.now_us + self._settings.retry_us
            self._schedule()
        elif type(message) is Failure and message.code == messages.NOT_LEADER:
            self._redirect(message.leader)
        elif type(message) is Failure and message.code == messages.REFUSED:
            self._refuse_batches(message.text)
        else:
            self._connected = False
            self._rotate()

    def _refuse_batches(self, text: str) -> None:
        """No session is opened for this client: nothing that needs one will be done."""
        for request, pending in list(self.window.pending.items()):
            if type(pending.message) is Submit:
                self.window.forget(request, pending)
                self._wire.failed(request, self._refusal(pending, text))

    def _expire(self) -> None:
        """The cluster forgot this session: what was sent may have been applied, and is not sent again."""
        self.window.client = 0
        for request, pending in list(self.window.pending.items()):
            if pending.doubtful:
                self.window.forget(request, pending)
                self._wire.failed(
                    request,
                    SessionExpired(
                        "the batch was sent in a session that the cluster has forgotten since; it may have been "
                        "applied. Read the state before repeating it."
                    ),
                )
        if self.window.has_batches:
            self._open_session()

    def _timeout_error(self, pending: Pending) -> QuorumError:
        if pending.doubtful:
            return OutcomeUnknown(
                "the request was sent, but no answer came in time; it may yet be applied. Retry it only with the "
                "same request id, or read the state first."
            )
        if type(pending.message) is Query:
            return NotLeader() if not self._connected else Overloaded(_UNANSWERED)
        return NotLeader()

    # Connections.

    @property
    def _is_owed(self) -> bool:
        """Whether the node owes an answer to what nobody but this session asked."""
        return bool(self._opening or self._members_asked or self._watching.awaits_answer)

    def _ask_members(self) -> None:
        if not self.window.pending and not self._is_owed:
            self._heard_us = self.now_us  # nothing was due from it until now
        self._members_us = self.now_us + self._settings.members_us
        self._members_asked = self._request()
        self._wire.transmit(MembersRequest(self._members_asked), b"")

    def _on_members(self, reply: MembersReply) -> None:
        """The node answered, or tells of a change. One that was evicted is left: it will hear of nothing more."""
        self._members_asked = 0
        if self.directory.learn(reply):
            self._leave()
            self._rotate()
        self._schedule()

    def _leave(self) -> None:
        """This connection is given up; what was sent on it goes out again at the next."""
        self._connected = False
        self.window.take_back_all()

    def _on_not_leader(self, pending: Pending, leader: str | None) -> None:
        if self._may_wait(leader):
            pending.resend_us = self.now_us + self._settings.retry_us
            self._schedule()
        else:
            self._redirect(leader)

    def _may_wait(self, leader: str | None) -> bool:
        """Whether to stay: this node knows no leader, or one that cannot be reached any more; an election takes
        less time than looking around."""
        if leader is not None and leader != self._lost_endpoint:
            return False
        if self._leaderless_us == FOREVER_US:
            self._leaderless_us = self.now_us
        return self.now_us - self._leaderless_us < self._settings.leaderless_us

    def _redirect(self, leader: str | None) -> None:
        self._leave()
        self._leaderless_us = FOREVER_US
        self._redirects += 1
        is_elsewhere = leader is not None and leader != self.endpoint
        if leader is not None and is_elsewhere and self._redirects < 8 and self.directory.may_follow(leader):
            self._connect(leader, 0)
        else:
            self._redirects = 0
            self._failures = max(self._failures, len(self.directory))  # nothing is gained by haste
            self._rotate()

    def _rotate(self) -> None:
        """Try the next node, after a pause once every node was tried."""
        self._failures += 1
        endpoint = self.directory.next(self._failures)
        self._connect(endpoint, self._pause() if self._failures >= len(self.directory) else 0)

    def _connect(self, endpoint: str, delay_us: int) -> None:
        self.endpoint = endpoint
        self.directory.take_up(endpoint)
        self._opening = self._members_asked = 0
        self._members_us = FOREVER_US
        self._watching.disconnected()
        self._wire.connect(endpoint, delay_us)

    def _pause(self) -> int:
        return min(self._settings.retry_max_us, self._settings.retry_us << min(self._failures, 10))

    def _schedule(self) -> None:
        """Wake at the next deadline, retry or silence."""
        due = self._open_us if self._connected else FOREVER_US
        for pending in self.window.pending.values():
            due = min(due, pending.deadline_us, pending.resend_us)
        if self._connected:
            due = min(due, self._watching.due_us, self._members_us)
            if self.window.pending or self._is_owed:
                due = min(due, self._heard_us + self._settings.silence_us)
        self._due_us = due
        if due < FOREVER_US:
            self._wire.wake(max(1_000, due - self.now_us))

    def _request(self) -> int:
        request = self._next_request
        self._next_request += 1
        return request
