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

NAME_CHARACTERS_MAX = 200
RESULT_BYTES_MAX = 8 * 1024 * 1024
"""One result may have so many bytes, and so may all results of a batch or query together, but for the last."""
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
    """What a node knows of an object: the name of its class, the version it is at (0: it does not exist yet), the
    oldest and the newest that this node's program can run, the fingerprint of the newest."""

    object: str
    cls: str
    version: int
    oldest: int
    newest: int
    fingerprint: bytes


_ENCODE = msgspec.msgpack.Encoder()
_DECODE_RESULTS: msgspec.msgpack.Decoder[list[Result]] = msgspec.msgpack.Decoder(list[Result])
_DECODE_DESCRIPTIONS = msgspec.msgpack.Decoder(list[Description])


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
