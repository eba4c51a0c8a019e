"""Client sessions: they make a command that is sent again apply exactly once.

A session is opened through the log and named by the index of the entry that opened it. It belongs to whoever
opened it: `owner` is the name under which that client was known to the node it asked. It keeps the answer to each
batch until the client acknowledges it, so that a retry is answered and not applied. Source: Ongaro,
"Consensus: Bridging Theory and Practice" (2014), section 6.3.

What is kept is bounded, by log order alone, so that every replica forgets the same at the same entry:

- more than `sessions_max` sessions, or ANSWER_BYTES_MAX in all: the least recently used session is closed;
- more than SESSION_BYTES_MAX in one session: its oldest answers are forgotten, though not that their batches
  were applied (a retry hears FORGOTTEN);
- more than SESSION_ANSWERS_MAX unacknowledged answers in one session: that session is closed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from hashlib import blake2b

import msgspec

from quorum.apps.answer import DROPPED_ANSWER, EXPIRED_ANSWER, FORGOTTEN_ANSWER, STATUSES, Answer
from quorum.apps.pieces import digests_of
from quorum.apps.session_record import SessionRecord
from quorum.header import Header

SESSIONS_MAX = 10_000
SESSION_ANSWERS_MAX = 4096
SESSION_BYTES_MAX = 4 * 1024 * 1024
ANSWER_BYTES_MAX = 256 * 1024 * 1024
ANSWER_OVERHEAD_BYTES = 64
"""What an answer counts in addition to its body."""

CHUNK_BYTES = 64 * 1024


_ENCODE = msgspec.msgpack.Encoder()
_DECODE = msgspec.msgpack.Decoder(list[SessionRecord])


class Session:
    """One client: `used` is the index of its newest entry, every batch below `acked` has been answered.

    `order` has the keys of `answers` in their order, behind `gone` that are no more: to ask a dict for its first
    key takes a look at each that was removed before it.
    """

    __slots__ = ("acked", "answers", "client", "digest", "era", "gone", "order", "owner", "size", "used")

    def __init__(
        self, client: int, used: int, acked: int, answers: dict[int, Answer], size: int, era: int, owner: str
    ) -> None:
        self.client = client
        self.used = used
        self.acked = acked
        self.answers = answers
        self.order = list(answers)
        self.gone = 0
        self.size = size
        self.era = era
        self.owner = owner
        self.digest: bytes | None = None

    def record(self) -> bytes:
        """The canonical bytes."""
        answers = [(first, answer.status, answer.body) for first, answer in self.answers.items()]
        return _ENCODE.encode(SessionRecord(self.client, self.used, self.acked, answers, self.owner))


class Sessions:
    """All client sessions, least recently used first."""

    def __init__(self, sessions_max: int = SESSIONS_MAX) -> None:
        self.sessions_max = sessions_max
        self._sessions: OrderedDict[int, Session] = OrderedDict()
        self._era = 0
        self._size = 0
        self._runs: dict[int, _Run] = {}

    def __len__(self) -> int:
        """The number of open sessions."""
        return len(self._sessions)

    def __contains__(self, client: int) -> bool:
        return client in self._sessions

    @property
    def answer_bytes(self) -> int:
        """What all kept answers count together."""
        return self._size

    def owner(self, client: int) -> str | None:
        """Who opened a session; None if it is not known (any more)."""
        session = self._sessions.get(client)
        return None if session is None else session.owner

    def kept(self, client: int, first_sequence: int) -> Answer | None:
        """The answer to a batch that was applied; None if it was not, or if the session is unknown."""
        session = self._sessions.get(client)
        if session is None:
            return None
        return DROPPED_ANSWER if first_sequence < session.acked else session.answers.get(first_sequence)

    def open(self, index: int, owner: str = "") -> int:
        """Open the session of the entry at `index` for `owner`, and return its name, `index`."""
        assert index not in self._sessions, "an index opens one session"
        if len(self._sessions) >= self.sessions_max:
            self._evict_oldest()
        self._sessions[index] = Session(index, index, 0, {}, 0, self._era, owner)
        return index

    def close(self, client: int) -> None:
        """Forget a session; nothing happens if it is unknown."""
        session = self._sessions.pop(client, None)
        if session is not None:
            self._size -= session.size

    def begin(self, header: Header) -> Answer | None:
        """The answer to a batch that must not be applied, or None: apply it, then call `finish`.

        Marks the session as used and drops the answers that the header acknowledges.
        """
        session = self._own(header.client)
        if session is None:
            return EXPIRED_ANSWER
        self._sessions.move_to_end(header.client)
        session.used = header.index
        if header.acked_below > session.acked:
            self._acknowledge(session, header.acked_below)
        if header.first_sequence < session.acked:
            return DROPPED_ANSWER
        return session.answers.get(header.first_sequence)

    def finish(self, header: Header, answer: Answer) -> None:
        """Keep the answer to a batch that `begin` let through."""
        session = self._sessions.get(header.client)
        if session is not None:
            self._keep(
                session if session.era == self._era else self._owned(session), header.first_sequence, answer
            )

    def amend(self, client: int, first_sequence: int, answer: Answer) -> None:
        """A later answer replaces the one kept for that batch; nothing happens if none is kept any more."""
        session = self._own(client) if client in self._sessions else None
        if session is not None and first_sequence in session.answers:
            self._keep(session, first_sequence, answer)

    def digest(self) -> bytes:
        """The root over all sessions in the order of their use: 32 bytes. Costs the sessions used since."""
        root = blake2b(digest_size=32)
        for session in self._sessions.values():
            digest = session.digest
            if digest is None:
                digest = session.digest = blake2b(session.record(), digest_size=32).digest()
            root.update(digest)
        return root.digest()

    def snapshot(self) -> Iterator[bytes]:
        """Pin the present sessions, one pointer each; return their chunks. A pinned one is copied when used."""
        self._era += 1
        return _chunks(tuple(self._sessions.values()))

    def chunk_digests(self) -> Iterator[bytes]:
        """Pin the present sessions; give `pieces.digests_of` each chunk of `snapshot`, and b"" after each that had
        to be made. Those who are idle stand first, in the same order: their chunks are not made again."""
        self._era += 1
        return self._digests_of(tuple(self._sessions.values()))

    def _digests_of(self, sessions: tuple[Session, ...]) -> Iterator[bytes]:
        runs: dict[int, _Run] = {}
        at = 0
        while at < len(sessions):
            run = self._runs.get(sessions[at].client)
            if run is None or not run.is_at(sessions, at):
                run = _Run(sessions, at)
                yield b""
            runs[sessions[at].client] = run
            yield run.digests
            at += len(run.sessions)
        self._runs = runs

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace all sessions. Raises ValueError, nothing changed, if the chunks are damaged."""
        sessions: OrderedDict[int, Session] = OrderedDict()
        newest = -1
        for chunk in chunks:
            for record in _read_records(chunk):
                if record.used <= newest or record.client in sessions or len(sessions) >= self.sessions_max:
                    raise ValueError(f"client session {record.client} stands twice or at a wrong place. {_REMEDY}")
                newest = record.used
                answers = {first: Answer(status, body) for first, status, body in record.answers}
                size = sum(map(_cost, answers.values()))
                sessions[record.client] = Session(
                    record.client, record.used, record.acked, answers, size, self._era, record.owner
                )
        self._sessions = sessions
        self._size = sum(session.size for session in sessions.values())

    def _own(self, client: int) -> Session | None:
        """The session, free to be written to: copied first if a snapshot may still be reading it."""
        session = self._sessions.get(client)
        if session is None:
            return None
        if session.era != self._era:
            session = self._owned(session)
        session.digest = None
        return session

    def _owned(self, session: Session) -> Session:
        """A copy that takes the place of a session which a snapshot may still be reading."""
        kept, client = session.answers.copy(), session.client
        copy = Session(client, session.used, session.acked, kept, session.size, self._era, session.owner)
        self._sessions[client] = copy
        return copy

    def _acknowledge(self, session: Session, acked_below: int) -> None:
        """Drop acknowledged answers from the oldest on. One that was applied out of order may stay a little."""
        session.acked = acked_below
        answers, order = session.answers, session.order
        gone, count, freed = session.gone, len(order), 0
        while gone < count and order[gone] < acked_below:
            freed += _cost(answers.pop(order[gone]))
            gone += 1
        if 2 * gone >= count:
            del order[:gone]
            gone = 0
        session.gone = gone
        self._count(session, -freed)

    def _keep(self, session: Session, first_sequence: int, answer: Answer) -> None:
        answers = session.answers
        old = answers.get(first_sequence)
        answers[first_sequence] = answer
        session.digest = None
        change = len(answer.body) + ANSWER_OVERHEAD_BYTES
        if old is None:
            session.order.append(first_sequence)
        else:
            change -= _cost(old)
        session.size += change
        self._size += change
        if session.size > SESSION_BYTES_MAX:
            self._forget_oldest(session)
        if len(answers) > SESSION_ANSWERS_MAX:
            self.close(session.client)
        while self._size > ANSWER_BYTES_MAX:
            self._evict_oldest()

    def _forget_oldest(self, session: Session) -> None:
        """Forget answers, oldest first, down to half the bound: each pass is paid for by what came in since."""
        for first_sequence, answer in session.answers.items():
            if session.size <= SESSION_BYTES_MAX // 2:
                break
            if answer.body:
                session.answers[first_sequence] = FORGOTTEN_ANSWER
                self._count(session, -len(answer.body))

    def _evict_oldest(self) -> None:
        _, session = self._sessions.popitem(last=False)
        self._size -= session.size

    def _count(self, session: Session, change: int) -> None:
        session.size += change
        self._size += change


_REMEDY = "Fetch another snapshot."


def _cost(answer: Answer) -> int:
    return len(answer.body) + ANSWER_OVERHEAD_BYTES


class _Run:
    """Sessions whose records are one chunk, as they were when they were pinned: whoever is used gets a copy."""

    __slots__ = ("digests", "is_full", "sessions")

    def __init__(self, sessions: tuple[Session, ...], first: int) -> None:
        count, chunk, self.is_full = _chunk(sessions, first)
        self.sessions = sessions[first : first + count]
        self.digests = digests_of(chunk)

    def is_at(self, sessions: tuple[Session, ...], first: int) -> bool:
        """Whether these very sessions are the chunk that begins there."""
        behind = first + len(self.sessions)
        return (self.is_full or behind == len(sessions)) and sessions[first:behind] == self.sessions


def _chunk(sessions: tuple[Session, ...], first: int) -> tuple[int, bytes, bool]:
    """The chunk that begins with this session: of how many it is, its bytes, and whether no more would fit."""
    records: list[msgspec.Raw] = []
    size, at = 0, first
    while at < len(sessions) and size < CHUNK_BYTES:
        record = sessions[at].record()
        records.append(msgspec.Raw(record))
        size += len(record)
        at += 1
    return at - first, _ENCODE.encode(records), size >= CHUNK_BYTES


def _chunks(sessions: tuple[Session, ...]) -> Iterator[bytes]:
    at = 0
    while at < len(sessions):
        count, chunk, _ = _chunk(sessions, at)
        yield chunk
        at += count


def _read_records(chunk: bytes) -> list[SessionRecord]:
    try:
        records = _DECODE.decode(chunk)
    except msgspec.DecodeError as error:
        raise ValueError(
            f"client sessions were to be restored, but the bytes are damaged: {error}. {_REMEDY}"
        ) from None
    for record in records:
        if any(status not in STATUSES for _, status, _ in record.answers):
            raise ValueError(f"client session {record.client} holds an answer of unknown status. {_REMEDY}")
    return records
