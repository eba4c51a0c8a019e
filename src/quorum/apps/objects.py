"""Replicated objects as their clients see them: calls, questions, results and their encoding.

An object is named, and belongs to a class that every node knows under that name (`objects_machine`). A batch is a
msgpack array of `Call`, its reply the array of their results. A query is an array of `Ask`, answered alike, or
DESCRIBE, answered with an array of `Description`. Bringing an object into existence, or into a newer version, is a
batch of its own: `Raise`, a msgpack map, so that a node can tell it at a glance.

Every call names the version that its method needs, as far as the caller's program knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from quorum.apps.batch import Refused
from quorum.entry import Buffer
from quorum.errors import ApplicationError

NAME_CHARACTERS_MAX = 200
COMMAND_RESULTS_BYTES_MAX = 1024 * 1024
"""All results of a batch of commands together have at most so many bytes: they are kept for retries."""
QUERY_RESULTS_BYTES_MAX = 8 * 1024 * 1024
"""And so many those of a query. What has no room beside others is refused as `read`, and did nothing."""
DESCRIBE = b"\xc0"
"""The query for what a node hosts."""


class Call(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """Run a command of an object. `since` is the version that brought the method; `arguments` are encoded by its
    annotations. Result: Done, Raised or Refused."""

    object: str
    method: str
    since: int
    arguments: bytes


class Ask(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """Run a query of an object. Result: Done, Raised or Refused."""

    object: str
    method: str
    since: int
    arguments: bytes


class Raise(msgspec.Struct, frozen=True, gc=False, tag="raise", tag_field="do", forbid_unknown_fields=True):
    """Bring an object into existence in `version`, or raise it to that. Result: Raised (the class's `upgrade`
    failed), Refused, or Done with the version in which the object is now.

    `fingerprint` is that of the class in that version. A node that does not know the version, or knows another
    class by it, stops: it could not go on like the others.
    """

    object: str
    version: int
    fingerprint: bytes


class Done(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """`result` is encoded by the method's return annotation."""

    result: bytes


class Raised(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
    """The method raised, and the object is as it was: the type of the exception and its message, both bounded."""

    kind: str
    message: str


Result: TypeAlias = Done | Raised | Refused


class Description(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a node knows of an object: the name of its class, the version it is at (0: it does not exist yet), and
    the versions that this node's program can run, from `oldest` on, by their fingerprints."""

    object: str
    cls: str
    version: int
    oldest: int
    fingerprints: list[bytes]

    @property
    def newest(self) -> int:
        """The newest version that this node's program can run."""
        return self.oldest + len(self.fingerprints) - 1

    def fingerprint_of(self, version: int) -> bytes:
        """The fingerprint of a version; empty for one that this node's program does not know."""
        place = version - self.oldest
        return self.fingerprints[place] if 0 <= place < len(self.fingerprints) else b""


_ENCODE = msgspec.msgpack.Encoder()
_DECODE_RESULTS: msgspec.msgpack.Decoder[list[Result]] = msgspec.msgpack.Decoder(list[Result])
_DECODE_DESCRIPTIONS = msgspec.msgpack.Decoder(list[Description])


_BUILT_IN: tuple[type[Exception], ...] = (
    ArithmeticError, AssertionError, AttributeError, IndexError, KeyError, LookupError, NotImplementedError,
    OverflowError, RuntimeError, TypeError, ValueError, ZeroDivisionError,
)  # fmt: skip


class _Told(ApplicationError):
    """Shows itself as an ApplicationError, whatever else it is."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


_ERRORS = {error.__name__: type(error.__name__, (_Told, error), {}) for error in _BUILT_IN}


def error_of(raised: Raised) -> ApplicationError:
    """What a method raised, for its caller; where that was a built-in exception, it is one, too."""
    error: ApplicationError = _ERRORS.get(raised.kind, ApplicationError)(raised.kind, raised.message)
    return error


def encode_batch(calls: Sequence[Call]) -> bytes:
    """The body of a batch of calls."""
    return _ENCODE.encode(calls)


def encode_query(questions: Sequence[Ask]) -> bytes:
    """The body of a query."""
    return _ENCODE.encode(questions)


def encode_raise(order: Raise) -> bytes:
    """The body of a batch that raises the version of one object."""
    return _ENCODE.encode(order)


def decode_results(body: Buffer) -> list[Result]:
    """The results in the reply to a batch or a query, in order. Raises msgspec.DecodeError if it is none."""
    return _DECODE_RESULTS.decode(body)


def decode_descriptions(body: Buffer) -> list[Description]:
    """What a node answers to DESCRIBE. Raises msgspec.DecodeError if it is none."""
    return _DECODE_DESCRIPTIONS.decode(body)
