"""The host: applies committed entries to the applications of a node, each batch of a session exactly once.

It is a state machine itself. Whatever an application raises becomes the answer to its caller, so that no command
can stop a node; all else (answers, sessions, digests) is a pure function of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from operator import index as index_of
from typing import ClassVar

import msgspec

from quorum.apps.answer import EXPIRED, OK, Answer, Failure, decode_failure, failure, failure_answer
from quorum.apps.applied import NOTHING, Applied
from quorum.apps.log_clock import LogClock
from quorum.apps.pieces import rendered
from quorum.apps.session import SESSIONS_MAX, Sessions
from quorum.apps.slices import joined
from quorum.apps.state_book import StateBook
from quorum.apps.state_machine import (
    Notice,
    Outputs,
    Reply,
    StateMachine,
    Task,
    is_attributed,
    is_chunked,
    is_expiring,
    is_large,
    is_provable,
    is_renewable,
    is_sliced,
    is_vetting,
)
from quorum.apps.stream import StreamReader, write_stream
from quorum.certificate.requests import SignedRequest, requests_in
from quorum.certificate.state_head import ProvenHead, StateHead, encode_head, read_head
from quorum.entry import BLOCK, COMMAND, TICK, Buffer
from quorum.errors import ConfigurationError, IncompatibleProgram, LocalProtocolError
from quorum.header import Batch, Header

SESSIONS = 0
"""The application id of client sessions. Its batches are one of the bodies below."""
QUERY = b"query"
"""Followed by the two bytes of an application's id and a query: it is answered at this place of the log. Where one
node's word is not enough, that is how a client reads. Send it with client 0."""
OPEN = b"open"
"""Opens a session; the reply is its id (`decode_session`). Send it with client 0. The node that takes it adds
whose session it is (`opening`), so that no client can open one in another's name."""
TOUCH = b"touch"
"""Sent in a session: keeps it from becoming the least recently used. Empty reply."""
CLOSE = b"close"
"""Sent in a session: forgets it. Empty reply."""

APPLICATION_ID_MAX = 65_535
OWNER_BYTES_MAX = 255
NEVER_US = 1 << 62
_ENTROPY_STEP = 0x9E3779B97F4A7C15
_ENTROPY_MASK = (1 << 64) - 1


_ENCODE = msgspec.msgpack.Encoder()
_DECODE_SESSION = msgspec.msgpack.Decoder(int)


def decode_session(reply: Buffer) -> int:
    """The session id in the reply to OPEN. Raises msgspec.DecodeError if it is none."""
    return _DECODE_SESSION.decode(reply)


def opening(owner: str) -> bytes:
    """The body that opens a session for the client of this name ("": nobody vouches for a name)."""
    return OPEN + b" " + owner.encode() if owner else OPEN


class Host:
    """Applications by their id (1 to 65535), and the sessions of their clients.

    `sessions_max` and the set of applications must be the same on every node of a cluster: they decide what
    commands do. `clock` is the one that the applications were given, if any of them is `Expiring`. `fresh` makes
    an empty host of the same kind.
    Raises ConfigurationError for an id or a bound out of range.
    """

    def __init__(
        self,
        applications: Mapping[int, StateMachine],
        sessions_max: int = SESSIONS_MAX,
        clock: LogClock | None = None,
        fresh: Callable[[], Host] | None = None,
    ) -> None:
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
        self._expiring = {app: each for app, each in self._applications.items() if is_expiring(each)}
        self._vetting = {app: each for app, each in self._applications.items() if is_vetting(each)}
        self._attributed = {app: each for app, each in self._applications.items() if is_attributed(each)}
        self._sessions = Sessions(sessions_max)
        self._fresh = fresh
        self._book = StateBook()
        self._clock = clock or LogClock()
        self._wake_us = NEVER_US
        self._expiry_failure: Failure | None = None
        self._block = 0

    keeps_state: ClassVar[bool] = True

    @property
    def applied_index(self) -> int:
        """The index of the newest entry in the state; where blocks are applied, how many requests are."""
        return self._clock.index

    @property
    def time_us(self) -> int:
        """Log time of the newest entry in the state."""
        return self._clock.log_time_us

    @property
    def expires_in_us(self) -> int | None:
        """How much lease time after the newest entry something expires by itself, 0 if it is due; None: nothing
        will."""
        if self._wake_us == NEVER_US:
            return None
        self._wake_us = self._next_deadline_us()
        return None if self._wake_us == NEVER_US else max(0, self._wake_us - self._clock.now_us)

    @property
    def expiry_failure(self) -> Failure | None:
        """Why what was due could not be expired at the newest entry that tried; None if it could. Not part of the
        state."""
        return self._expiry_failure

    @property
    def session_count(self) -> int:
        """How many client sessions are open."""
        return len(self._sessions)

    def application(self, app: int) -> StateMachine | None:
        """The application of this id."""
        return self._applications.get(app)

    def session_owner(self, client: int) -> str | None:
        """Who opened the session `client`; None if it is not in this state."""
        return self._sessions.owner(client)

    def kept_answer(self, request: SignedRequest) -> Answer | None:
        """What a signed request would be answered now without being applied: it was before, in its session. None:
        only applying it tells."""
        batch = request.batch
        if batch.app == SESSIONS or self._sessions.owner(batch.client) != request.public_key.hex():
            return None
        return self._sessions.kept(batch.client, batch.first_sequence)

    def apply(self, header: Header, body: Buffer) -> Applied:
        """Apply one committed entry. Entries come in log order; never raises for what a client sent.

        Raises LocalProtocolError for an entry at or below `applied_index`, and IncompatibleProgram for one that an
        application of this program cannot apply as the others do: the node must stop.
        """
        if header.kind == BLOCK:
            return self._apply_block(header, body)
        if header.index <= self._clock.index:
            raise _applied_already(header.index, self._clock.index)
        return self._apply_one(header, body)

    def vet(self, app: int, body: Buffer) -> str | None:
        """Why a batch must not be proposed; None if it may. Only what this node itself would propose is judged."""
        application = self._vetting.get(app)
        if application is None:
            return None
        try:
            application.vet(body)
        except LocalProtocolError as error:
            return str(error)
        return None

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
        """The root over position, log time, lease time, sessions and every application: 32 bytes. Where blocks are
        applied, it is the root over the pieces of `snapshot` (apps.pieces)."""
        if self._block:
            return next(filter(None, self._digests_of_pieces()))
        root = blake2b(self._head(), digest_size=32)
        root.update(self._sessions.digest())
        for app, application in self._applications.items():
            root.update(app.to_bytes(2, "little"))
            root.update(application.digest())
        return root.digest()

    def digests(self) -> Iterator[bytes]:
        """Pin the present state; return its `digest` in slices: b"" after each, then the digest."""
        if self._block:
            return self._digests_of_pieces()
        parts: list[tuple[bytes, Iterator[bytes]]] = [(b"", iter((self._sessions.digest(),)))]
        for app, application in self._applications.items():
            sliced = application.digests() if is_sliced(application) else iter((application.digest(),))
            parts.append((app.to_bytes(2, "little"), sliced))
        return joined(blake2b(self._head(), digest_size=32), parts)

    def head_of(self, root: bytes) -> ProvenHead | None:
        """The head of a state of blocks whose digest was computed lately, for proofs."""
        return self._book.head(root)

    def _digests_of_pieces(self) -> Iterator[bytes]:
        parts: list[tuple[int, Iterator[bytes]]] = [(SESSIONS, self._sessions.chunk_digests())]
        for app, application in self._applications.items():
            if is_chunked(application):
                parts.append((app, application.chunk_digests()))
            else:
                parts.append((app, rendered(_begun(application.snapshot()))))
        return self._book.noted(self._head(), parts)

    def spare(self) -> Host | None:
        """An empty host like this one, to be restored while this one goes on; None if nobody can make one."""
        return None if self._fresh is None else self._fresh()

    def adopt(self, spare: Host) -> None:
        """Take over the state of `spare`, which has the one from before then, to be let go."""
        before = self._applications
        self._applications, self._sessions, self._clock = spare._applications, spare._sessions, spare._clock
        self._expiring, self._vetting, self._attributed = spare._expiring, spare._vetting, spare._attributed
        self._wake_us, self._expiry_failure = spare._wake_us, spare._expiry_failure
        self._block, self._book = spare._block, spare._book
        spare._applications = before

    def let_go(self) -> Iterator[object]:
        """Free the state part by part, one for each step. The host must not be used any more."""
        applications, self._applications = self._applications, {}
        self._expiring, self._vetting, self._attributed = {}, {}, {}
        for application in applications.values():
            if is_large(application):
                yield from application.let_go()

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

        Raises ValueError if the frames are damaged, have other roots of applications in their head than in their
        chunks, or come from a host with other applications or another `sessions_max`. The host must not be used
        after that, until a restore succeeds.
        """
        stream = StreamReader(chunks)
        head = self._read_head(stream.head())
        self._block = head.block
        self._clock.restore(head.lease_time_us, head.log_time_us, head.index)
        self._sessions.restore(stream.chunks(SESSIONS))
        present: list[int] = []
        for app, application in self._applications.items():
            if stream.holds(app):
                present.append(app)
            remaining = stream.chunks(app)
            application.restore(remaining)
            if next(remaining, None) is not None:
                raise ValueError(
                    f"application {app} was restored, but it left chunks unread. Fetch another snapshot."
                )
        stream.end()
        self._check_roots(head, present)
        self._wake_us = self._next_deadline_us()

    def begin_anew(self, index: int) -> None:
        """The state goes on in another cluster, whose log begins after `index`: no client has a session there."""
        self._sessions = Sessions(self._sessions.sessions_max)
        for application in self._applications.values():
            if is_renewable(application):
                application.begin_anew()
        self._clock.restore(self._clock.now_us, self._clock.log_time_us, index)

    def _apply_one(self, header: Header, body: Buffer, signer: str = "") -> Applied:
        if self._clock.advance(header) >= self._wake_us:
            return _joined(self._expire(), self._apply(header, body, signer))
        return self._apply(header, body, signer)

    # Blocks: each request is an entry of its own to applications, with an index that counts requests.

    def _apply_block(self, header: Header, body: Buffer) -> Applied:
        if header.index <= self._block:
            raise _applied_already(header.index, self._block)
        self._block = header.index
        requests: list[tuple[bytes, Applied]] = []
        notices: list[Notice] = []
        tasks: list[Task] = []
        for request in requests_in(body):
            applied = self._apply_request(header, request)
            requests.append((request.name, applied))
            notices += applied.notices
            tasks += applied.tasks
        if not requests:  # it moves log time
            applied = self._apply_one(_within(header, TICK, self._clock.index, NO_BATCH), b"")
            notices += applied.notices
            tasks += applied.tasks
        return Applied(OK, b"", (), tuple(notices), tuple(tasks), tuple(requests))

    def _apply_request(self, block: Header, request: SignedRequest) -> Applied:
        """Its signature was verified before the block was decided. A session belongs to the key that opened it."""
        batch, owner = request.batch, request.public_key.hex()
        header = _within(block, COMMAND, self._clock.index + 1, batch)
        if batch.app == SESSIONS:
            if batch.body.startswith(QUERY):
                self._clock.advance(header)
                return self._answer_query(batch.body)
            if batch.body.startswith(OPEN):
                return self._apply_one(header, opening(owner))
        known = self._sessions.owner(batch.client) if batch.client else None
        if known is not None and known != owner:
            self._clock.advance(header)
            text = f"session {batch.client} was named, but another key opened it. Open your own."
            refused = failure("NotTheOwner", text)
            return Applied(refused.status, refused.body)
        return self._apply_one(header, batch.body, owner)

    def _answer_query(self, body: bytes) -> Applied:
        at = len(QUERY)
        answer = self.query(int.from_bytes(body[at : at + 2], "little"), body[at + 2 :])
        return Applied(answer.status, answer.body)

    def _apply(self, header: Header, body: Buffer, signer: str) -> Applied:
        if header.kind != COMMAND:
            return NOTHING
        if header.app == SESSIONS:
            return self._apply_to_sessions(header, bytes(body))
        if header.client == 0:
            applied = self._run(header, body, signer)
        else:
            known = self._sessions.begin(header)
            if known is not None:
                return Applied(known.status, known.body)
            applied = self._run(header, body, signer)
            self._sessions.finish(header, Answer(applied.status, applied.body))
        if applied.replies:
            self._amend(applied.replies)
        expiring = self._expiring.get(header.app)
        if expiring is not None:
            try:  # mostly nothing will end, which costs one look
                is_waiting = expiring.next_deadline_us is not None
            except Exception:
                is_waiting = True
            if is_waiting:
                self._wake_us = min(self._wake_us, self._deadline_us(header.app))
        return applied

    def _amend(self, replies: Iterable[Reply]) -> None:
        for reply in replies:
            self._sessions.amend(reply.client, reply.sequence, Answer(OK, reply.body))

    # What expires. `_wake_us` is at most the earliest deadline, so that an entry at which nothing is due costs one
    # comparison.

    def _expire(self) -> Outputs:
        """Let every application end what is due, in the order of their ids. An exception of one keeps its outputs
        back and stops neither the node nor the others; it is the same on every replica."""
        replies: list[Reply] = []
        notices: list[Notice] = []
        tasks: list[Task] = []
        self._expiry_failure = None
        for app, application in self._expiring.items():
            if self._deadline_us(app) > self._clock.now_us:
                continue
            try:
                outputs = application.expire()
                _check_outputs(outputs)
            except MemoryError:
                raise
            except Exception as error:
                self._expiry_failure = decode_failure(failure_answer(error).body)
            else:
                replies += outputs.replies
                notices += _stamped(app, outputs.notices)
                tasks += outputs.tasks
        self._amend(replies)
        self._wake_us = self._next_deadline_us()
        return Outputs(b"", tuple(replies), tuple(notices), tuple(tasks))

    def _next_deadline_us(self) -> int:
        return min(map(self._deadline_us, self._expiring), default=NEVER_US)

    def _deadline_us(self, app: int) -> int:
        """When something in an application ends; NEVER_US if it has no such time, or cannot tell it."""
        try:
            deadline_us = self._expiring[app].next_deadline_us
            return NEVER_US if deadline_us is None else min(index_of(deadline_us), NEVER_US)
        except MemoryError:
            raise
        except Exception:
            return NEVER_US

    def _run(self, header: Header, body: Buffer, signer: str) -> Applied:
        application = self._applications.get(header.app)
        if application is None:
            unknown = _unknown_application(header.app)
            return Applied(unknown.status, unknown.body)
        try:
            attributed = self._attributed.get(header.app)
            if attributed is None:
                outputs = application.apply(header, body)
            else:
                caller = signer or (self._sessions.owner(header.client) if header.client else "")
                outputs = attributed.apply_from(header, body, caller or "")
            if (
                type(outputs) is Outputs
                and type(outputs.reply) is bytes
                and outputs.replies == ()
                and outputs.notices == ()
                and outputs.tasks == ()
            ):
                return Applied(OK, outputs.reply)  # mostly there is nothing else
            _check_outputs(outputs)
        except (MemoryError, IncompatibleProgram):
            raise
        except Exception as error:
            failed = failure_answer(error)
            return Applied(failed.status, failed.body)
        notices = _stamped(header.app, outputs.notices) if outputs.notices else ()
        return Applied(OK, outputs.reply, outputs.replies, notices, outputs.tasks)

    def _apply_to_sessions(self, header: Header, body: bytes) -> Applied:
        if body == OPEN or (body.startswith(OPEN + b" ") and len(body) <= len(OPEN) + 1 + OWNER_BYTES_MAX):
            owner = body[len(OPEN) + 1 :].decode(errors="replace")
            return Applied(OK, _ENCODE.encode(self._sessions.open(header.index, owner)))
        if body == TOUCH:
            self._sessions.begin(header)
            return NOTHING if header.client in self._sessions else Applied(EXPIRED, b"")
        if body == CLOSE:
            self._sessions.close(header.client)
            return NOTHING
        unknown = failure("UnknownCommand", f"{body[:16]!r} was sent to the sessions. Send open, touch or close.")
        return Applied(unknown.status, unknown.body)

    def _head(self) -> bytes:
        clock = self._clock
        roots: list[tuple[int, bytes]] = []
        if self._block:  # elsewhere nobody signs a state, and its format is that of every release
            for app, application in self._applications.items():
                root = application.proof_root() if is_provable(application) else None
                if root is not None:
                    roots.append((app, root))
        times = (clock.log_time_us, clock.now_us)
        return encode_head(StateHead(clock.index, self._block, *times, self._sessions.sessions_max, tuple(roots)))

    def _read_head(self, data: bytes) -> StateHead:
        head = read_head(data)
        if head is None:
            raise ValueError("a snapshot was to be restored, but its format is not known here. Use its version.")
        if head.sessions_max != self._sessions.sessions_max:
            raise ValueError(
                f"a snapshot made with sessions_max={head.sessions_max} was to be restored where it is "
                f"{self._sessions.sessions_max}, which would let replicas diverge. Use one value on every node."
            )
        return head

    def _check_roots(self, head: StateHead, present: Iterable[int]) -> None:
        """Raise ValueError if the head has other roots of applications than these, which were in the snapshot."""
        roots: dict[int, bytes | None] = {}
        for app in present:
            application = self._applications[app]
            if head.block and is_provable(application):
                roots[app] = application.proof_root()
        if dict(head.roots) != roots:
            raise ValueError(
                "a snapshot was to be restored, but its head has other roots of applications than those that are "
                "in it. Fetch another snapshot."
            )


NO_BATCH = Batch(0, 0, 0, 0, 0, b"")


def query_body(app: int, query: bytes) -> bytes:
    """The body of a batch for SESSIONS that asks an application at its place in the log."""
    return QUERY + app.to_bytes(2, "little") + query


def _within(block: Header, kind: int, index: int, batch: Batch) -> Header:
    """What an application may know of one request of a block. Entropy differs from request to request."""
    entropy = (block.entropy + index * _ENTROPY_STEP) & _ENTROPY_MASK
    return Header(
        index,
        block.term,
        kind,
        batch.app,
        block.epoch,
        block.time_us,
        entropy,
        batch.client,
        batch.first_sequence,
        batch.acked_below,
        batch.count,
        block.digest,
    )


def _applied_already(index: int, newest: int) -> LocalProtocolError:
    return LocalProtocolError(
        f"entry {index} was to be applied, but entry {newest} is in the state. Apply committed entries in order, "
        "from the one behind the snapshot."
    )


def _joined(expired: Outputs, applied: Applied) -> Applied:
    """What expired at an entry goes out before what the entry itself did."""
    return Applied(
        applied.status,
        applied.body,
        expired.replies + applied.replies,
        expired.notices + applied.notices,
        expired.tasks + applied.tasks,
    )


def _unknown_application(app: int) -> Answer:
    return failure("UnknownApplication", f"application {app} was asked, but this cluster runs none of that id.")


def _check_outputs(outputs: object) -> None:
    """Raise TypeError for outputs that the host could not keep; applications are other people's code."""
    if (
        not isinstance(outputs, Outputs)
        or not isinstance(outputs.reply, bytes)
        or not (isinstance(outputs.replies, tuple) and all(map(_is_reply, outputs.replies)))
        or not (isinstance(outputs.notices, tuple) and all(map(_is_notice, outputs.notices)))
        or not isinstance(outputs.tasks, tuple)
    ):
        raise TypeError(
            "the application returned something else than Outputs with a reply of bytes and tuples of replies, "
            "notices and tasks. Correct it."
        )


def _stamped(app: int, notices: tuple[Notice, ...]) -> tuple[Notice, ...]:
    """The notices of an application, as its own, whatever it put there."""
    return tuple([Notice(notice.topic, notice.body, app) for notice in notices])


def _is_reply(reply: object) -> bool:
    return isinstance(reply, Reply) and isinstance(reply.body, bytes)


def _is_notice(notice: object) -> bool:
    return isinstance(notice, Notice) and isinstance(notice.topic, bytes) and isinstance(notice.body, bytes)


def _begun(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same chunks, the first of them made now."""
    first = next(chunks, None)
    return iter(()) if first is None else _and_then(first, chunks)


def _and_then(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from chunks
