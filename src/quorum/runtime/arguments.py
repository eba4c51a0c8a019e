"""Commands checked where they are made: msgspec checks types when it decodes, and that is on the nodes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from quorum.errors import LocalProtocolError, WrongType

S = TypeVar("S", bound=msgspec.Struct)
Check = Callable[[object], bool]
_BUFFERS = (bytes, bytearray, memoryview)
SECONDS_MAX = 1e9
"""A longer time is no different."""


def checked(command: S) -> S:
    """The command itself. Raises WrongType if a field is not of its declared type, at any level."""
    kind = type(command)
    for name, is_right, declared in _checks(kind):
        value = getattr(command, name)
        if not is_right(value):
            article = "an" if kind.__name__[0] in "AEIOU" else "a"
            what = (
                f"{article} {kind.__name__} was to be sent with {name}={_shown(value)}, but {name} is {declared}. "
            )
            is_text = isinstance(value, str) and declared.startswith("bytes")
            raise WrongType(what + ("Encode it first: text.encode()." if is_text else "Give it as that."))
    return command


def checked_seconds(seconds: object) -> float:
    """The time that a call may take. Raises LocalProtocolError for one in which nothing can be answered, WrongType
    for what is no number."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        what = f"calls were to end within {_shown(seconds)}, but "
        raise WrongType(what + "a time is a number of seconds. Give it as int or float.")
    if not seconds > 0:
        raise LocalProtocolError(
            f"calls were to end within {seconds!r:.40} s, but that leaves no time to answer. Give a number of "
            "seconds above 0."
        )
    return float(min(seconds, SECONDS_MAX))


def _shown(value: object) -> str:
    text = ascii(value)
    return (text if len(text) <= 60 else text[:57] + "...") + f" of type {type(value).__name__}"


@cache
def _checks(kind: type[msgspec.Struct]) -> tuple[tuple[str, Check, str], ...]:
    """Name, check and declared type in words of each field."""
    hints = get_type_hints(kind)
    return tuple((name, _check(hints[name]), _in_words(hints[name])) for name in kind.__struct_fields__)


def _check(declared: Any) -> Check:
    origin = get_origin(declared)
    if origin is Literal:
        allowed = get_args(declared)
        return lambda value: value in allowed
    if origin is UnionType:
        either = tuple(map(_check, get_args(declared)))
        return lambda value: any(is_right(value) for is_right in either)
    if origin is list:
        each = _check(get_args(declared)[0])
        return lambda value: isinstance(value, list | tuple) and all(map(each, value))
    if declared is bytes:
        return lambda value: isinstance(value, _BUFFERS)
    if issubclass(declared, msgspec.Struct):
        return lambda value: isinstance(value, declared) and checked(value) is value
    return lambda value: isinstance(value, declared)


def _in_words(declared: Any) -> str:
    origin = get_origin(declared)
    if origin is Literal:
        return "one of " + ", ".join(map(str, get_args(declared)))
    if origin is UnionType:
        return " or ".join(map(_in_words, get_args(declared)))
    if origin is list:
        return f"a list of {_in_words(get_args(declared)[0])}"
    return "None" if declared is NoneType else str(declared.__name__)
