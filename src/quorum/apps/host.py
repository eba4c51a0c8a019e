"""The host: applies committed entries to the applications of a node, each batch of a session exactly once.

It is a state machine itself. Whatever an application raises becomes the answer to its caller, so that no command
can stop a node; all else (answers, sessions, digests) is a pure function of the log.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b

import msgspec

from quorum.apps.answer import EXPIRED, OK, Answer, failure, failure_answer
from quorum.apps.session import SESSIONS_MAX, Sessions
from quorum.apps.state_machine import Notice, Outputs, Reply, StateMachine, Task
from quorum.apps.stream import StreamReader, write_stream
from quorum.entry import COMMAND, Buffer, Header
from quorum.errors import ConfigurationError, LocalProtocolError

SESSIONS = 0
"""The application id of client sessions. Its batches are one of the three bodies below."""
OPEN = b"open"
"""Opens a session; the reply is its id (`decode_session`). Send it with client 0."""
TOUCH = b"touch"
"""Sent in a session: keeps it from becoming the least recently used. Empty reply."""
CLOSE = b"close"
"""Sent in a session: forgets it. Empty reply."""

APPLICATION_ID_MAX = 65_535
_HEAD = struct.Struct("<4sQqI")
_FORMAT = b"QHS1"


class Applied(msgspec.Struct, frozen=True, gc=False):
    """What applying one entry gives: the answer to its caller, and what goes to others.

    `status` and `body` are an `answer.Answer`; `replies` answer earlier batches (status OK), in the same session
    or another. Only a batch that was really applied has replies, notices or tasks.
    """

    status: int
    body: bytes
    replies: tuple[Reply, ...] = ()
    notices: tuple[Notice, ...] = ()
    tasks: tuple[Task, ...] = ()


NOTHING = Applied(OK, b"")

_ENCODE = msgspec.msgpack.Encoder()
_DECODE_SESSION = msgspec.msgpack.Decoder(int)


def decode_session(reply: Buffer) -> int:
    """The session id in the reply to OPEN. Raises msgspec.DecodeError if it is none."""
    return _DECODE_SESSION.decode(reply)


class Host:
    """Applications by their id (1 to 65535), and the sessions of their clients.

    `sessions_max` and the set of applications must be the same on every node of a cluster: they decide what
    commands do. Raises ConfigurationError for an id or a bound out of range.
    """

    def __init__(self, applications: Mapping[int, StateMachine], sessions_max: int = SESSIONS_MAX) -> None:
        for app in sorted(applications):
            if not SESSIONS < app <= APPLICATION_ID_MAX:
                raise ConfigurationError(
                    f"application id {app} was given, but 0 is the client sessions' and ids have two bytes. "
                    f"Use 1 to {APPLICATION_ID_MAX}."
                )
        if sessions_max < 1:
            raise ConfigurationError(
                f"sessions_max={sessions_max} was given, but exactly-once needs a session. Use 1 or more."
            )
        self._applications = {app: applications[app] for app in sorted(applications)}
        self._sessions = Sessions(sessions_max)
        self._applied_index = 0
        self._time_us = 0

    @property
    def applied_index(self) -> int:
        """The index of the newest entry in the state."""
        return self._applied_index

    @property
    def time_us(self) -> int:
        """Log time of the newest entry in the state."""
        return self._time_us

    @property
    def session_count(self) -> int:
        """How many client sessions are open."""
        return len(self._sessions)

    def apply(self, header: Header, body: Buffer) -> Applied:
        """Apply one committed entry. Entries come in log order; never raises for what a client sent.

        Raises LocalProtocolError for an entry at or below `applied_index`.
        """
        if header.index <= self._applied_index:
            raise LocalProtocolError(
                f"entry {header.index} was to be applied, but entry {self._applied_index} is in the state. "
                "Apply committed entries in order, from the one behind the snapshot."
            )
        self._applied_index = header.index
        self._time_us = max(self._time_us, header.time_us)
        if header.kind != COMMAND:
            return NOTHING
        if header.app == SESSIONS:
            return self._apply_to_sessions(header, bytes(body))
        if header.client == 0:
            applied = self._run(header, body)
        else:
            known = self._sessions.begin(header)
            if known is not None:
                return Applied(known.status, known.body)
            applied = self._run(header, body)
            self._sessions.finish(header, Answer(applied.status, applied.body))
        for reply in applied.replies:
            self._sessions.amend(reply.client, reply.sequence, Answer(OK, reply.body))
        return applied

    def query(self, app: int, body: Buffer) -> Answer:
        """Answer reads from the present state; an exception of the application becomes a FAILED answer."""
        application = self._applications.get(app)
        if application is None:
            return _unknown_application(app)
        try:
            return Answer(OK, application.query(body))
        except MemoryError:
            raise
        except Exception as error:
            return failure_answer(error)

    def digest(self) -> bytes:
        """The root over position, log time, sessions and every application: 32 bytes."""
        root = blake2b(self._head(), digest_size=32)
        root.update(self._sessions.digest())
        for app, application in self._applications.items():
            root.update(app.to_bytes(2, "little"))
            root.update(application.digest())
        return root.digest()

    def snapshot(self) -> Iterator[bytes]:
        """Pin the present state; return its frames (at most about 64 KiB each), to be read while entries go on
        being applied.

        Applications are asked for their first chunk at once, so that one whose `snapshot` is a generator that
        pins its state before its first `yield` is pinned here, too.
        """
        parts: list[tuple[int, Iterator[bytes]]] = [(SESSIONS, self._sessions.snapshot())]
        for app, application in self._applications.items():
            parts.append((app, _begun(application.snapshot())))
        return write_stream(self._head(), parts)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state by one that `snapshot` wrote.

        Raises ValueError if the frames are damaged, or come from a host with other applications or another
        `sessions_max`. The host must not be used after that, until a restore succeeds.
        """
        stream = StreamReader(chunks)
        index, time_us = self._read_head(stream.head())
        self._sessions.restore(stream.chunks(SESSIONS))
        for app, application in self._applications.items():
            remaining = stream.chunks(app)
            application.restore(remaining)
            if next(remaining, None) is not None:
                raise ValueError(
                    f"application {app} was restored, but it left chunks unread. Fetch another snapshot."
                )
        stream.end()
        self._applied_index, self._time_us = index, time_us

    def _run(self, header: Header, body: Buffer) -> Applied:
        application = self._applications.get(header.app)
        if application is None:
            unknown = _unknown_application(header.app)
            return Applied(unknown.status, unknown.body)
        try:
            outputs = application.apply(header, body)
            _check_outputs(outputs)
        except MemoryError:
            raise
        except Exception as error:
            failed = failure_answer(error)
            return Applied(failed.status, failed.body)
        return Applied(OK, outputs.reply, outputs.replies, outputs.notices, outputs.tasks)

    def _apply_to_sessions(self, header: Header, body: bytes) -> Applied:
        if body == OPEN:
            return Applied(OK, _ENCODE.encode(self._sessions.open(header.index)))
        if body == TOUCH:
            self._sessions.begin(header)
            return NOTHING if header.client in self._sessions else Applied(EXPIRED, b"")
        if body == CLOSE:
            self._sessions.close(header.client)
            return NOTHING
        unknown = failure("UnknownCommand", f"{body[:16]!r} was sent to the sessions. Send open, touch or close.")
        return Applied(unknown.status, unknown.body)

    def _head(self) -> bytes:
        return _HEAD.pack(_FORMAT, self._applied_index, self._time_us, self._sessions.sessions_max)

    def _read_head(self, head: bytes) -> tuple[int, int]:
        if len(head) != _HEAD.size or head[:4] != _FORMAT:
            raise ValueError("a snapshot was to be restored, but its format is not known here. Use its version.")
        _, index, time_us, sessions_max = _HEAD.unpack(head)
        if sessions_max != self._sessions.sessions_max:
            raise ValueError(
                f"a snapshot made with sessions_max={sessions_max} was to be restored where it is "
                f"{self._sessions.sessions_max}, which would let replicas diverge. Use one value on every node."
            )
        return index, time_us


def _unknown_application(app: int) -> Answer:
    return failure("UnknownApplication", f"application {app} was asked, but this cluster runs none of that id.")


def _check_outputs(outputs: object) -> None:
    """Raise TypeError for outputs that the host could not keep; applications are other people's code."""
    if (
        not isinstance(outputs, Outputs)
        or not isinstance(outputs.reply, bytes)
        or not all(_is_reply(reply) for reply in outputs.replies)
    ):
        raise TypeError(
            "the application returned something else than Outputs with replies of bytes. Correct its apply."
        )


def _is_reply(reply: object) -> bool:
    return isinstance(reply, Reply) and isinstance(reply.body, bytes)


def _begun(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same chunks, the first of them made now."""
    first = next(chunks, None)
    return iter(()) if first is None else _and_then(first, chunks)


def _and_then(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from chunks
