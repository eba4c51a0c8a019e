"""What a client hears of its batch: a status byte and, behind it, the application's reply.

An answer is a pure function of the log, so that the answers of several replicas can be compared byte for byte.
"""

from __future__ import annotations

import re

import msgspec

from quorum.apps.set_order import in_order
from quorum.entry import Buffer
from quorum.errors import ApplicationError, LocalProtocolError, OutcomeUnknown, SessionExpired

OK = 0
"""Applied (now, or earlier if this is a retry); the body is the application's reply."""
FAILED = 1
"""The application raised, or does not exist; the body is a `Failure`. A retry gets the same answer."""
DUPLICATE_DROPPED = 2
"""Nothing was applied now: the client had acknowledged the answer to this batch before. Empty body."""
EXPIRED = 3
"""Nothing was applied: the session is not known (any more). Empty body."""
FORGOTTEN = 4
"""Applied earlier, exactly once, but its answer is no longer kept. Empty body."""
STATUSES = frozenset((OK, FAILED, DUPLICATE_DROPPED, EXPIRED, FORGOTTEN))

KIND_CHARS_MAX = 100
MESSAGE_CHARS_MAX = 500
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")


class Answer(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A status and a body, as the constants above describe them."""

    status: int
    body: bytes


class Failure(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The body of a FAILED answer: the type of the exception and its message, both bounded."""

    kind: str
    message: str


EXPIRED_ANSWER = Answer(EXPIRED, b"")
DROPPED_ANSWER = Answer(DUPLICATE_DROPPED, b"")
FORGOTTEN_ANSWER = Answer(FORGOTTEN, b"")

_PREFIX = tuple(bytes((status,)) for status in range(len(STATUSES)))
_ENCODE = msgspec.msgpack.Encoder()
_DECODE_FAILURE = msgspec.msgpack.Decoder(Failure)


def encode_answer(status: int, body: bytes) -> bytes:
    """The bytes of an answer on the wire."""
    return _PREFIX[status] + body


def decode_answer(data: Buffer) -> Answer:
    """Read an answer from the wire. Raises ValueError if it is none."""
    if len(data) == 0 or data[0] not in STATUSES:
        raise ValueError(f"an answer was to be read, but {bytes(data[:8])!r} has no known status. Ask again.")
    return Answer(data[0], bytes(data[1:]))


def reply_of(answer: Answer) -> bytes:
    """The application's reply in an answer, for a client.

    Raises ApplicationError (FAILED), SessionExpired (EXPIRED), OutcomeUnknown (FORGOTTEN) or LocalProtocolError
    (DUPLICATE_DROPPED: this client retried what it had acknowledged).
    """
    if answer.status == OK:
        return answer.body
    if answer.status == FAILED:
        failure = decode_failure(answer.body)
        raise ApplicationError(failure.kind, failure.message)
    if answer.status == EXPIRED:
        raise SessionExpired(
            "a batch was sent in a client session, but the cluster does not know that session any more and "
            "applied nothing now. Open a new session; earlier tries of this batch may have been applied."
        )
    if answer.status == FORGOTTEN:
        raise OutcomeUnknown(
            "a batch was sent again; it was applied once, earlier, but its answer is no longer kept. Read the "
            "state to learn its outcome, and acknowledge answers sooner."
        )
    raise LocalProtocolError(
        "a batch was sent again, but this client had acknowledged its answer. Retry only what was not answered."
    )


def failure_of(error: BaseException) -> Failure:
    """What the caller hears of an exception that an application raised: KIND_CHARS_MAX and MESSAGE_CHARS_MAX
    characters of it at most.

    Memory addresses are cut out, sets are put in order, and the depth of a recursion is not told: they differ
    between nodes.
    """
    if isinstance(error, ApplicationError):
        return _bounded(error.kind, error.message)
    if isinstance(error, RecursionError):
        return _bounded("RecursionError", "the command recursed too deeply. Send a flatter one.")
    try:
        if any(isinstance(argument, set | frozenset) for argument in error.args):
            error.args = tuple(map(_shown_in_order, error.args))
        message = str(error)
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException:
        message = "its message cannot be shown"
    return _bounded(type(error).__name__, _ADDRESS.sub("0x", message))


def failure_answer(error: Exception) -> Answer:
    """The FAILED answer for an exception that an application raised."""
    return Answer(FAILED, _ENCODE.encode(failure_of(error)))


def failure(kind: str, message: str) -> Answer:
    """A FAILED answer, cut to KIND_CHARS_MAX and MESSAGE_CHARS_MAX characters."""
    return Answer(FAILED, _ENCODE.encode(_bounded(kind, message)))


class _Text(str):
    """Shows itself as it is, also where its `repr` is asked for, as by KeyError."""

    __slots__ = ()
    __repr__ = str.__str__


def _shown_in_order(argument: object) -> object:
    """A set as text that is the same in every process."""
    if not isinstance(argument, set | frozenset):
        return argument
    members = ", ".join(map(repr, in_order(argument)))
    shown = f"{{{members}}}" if members else ""
    return _Text(shown if shown and type(argument) is set else f"{type(argument).__name__}({shown})")


def _bounded(kind: str, message: str) -> Failure:
    return Failure(_printable(kind[:KIND_CHARS_MAX]), _printable(message[:MESSAGE_CHARS_MAX]))


def decode_failure(body: Buffer) -> Failure:
    """Read the body of a FAILED answer. Raises ValueError if it is none."""
    try:
        return _DECODE_FAILURE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"a failure was to be read, but its bytes are damaged: {error}. Ask again.") from None


def _printable(text: str) -> str:
    """Text that can be encoded: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
