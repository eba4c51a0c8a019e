"""How applications read a batch: a msgpack array of commands, in which one bad command spoils only itself.

What a batch does must be the same on every replica, and how deep a decoder may recurse is not: it depends on the
interpreter and on who calls. So nothing here recurses into what a client sent. Command types forbid unknown
fields, which bounds the decoder's depth by the type; a batch with something else in it is cut apart by a loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from quorum.entry import Buffer

Command = TypeVar("Command")
MESSAGE_CHARS_MAX = 500
COMMANDS_MAX = 16_384
"""In one batch or query, so that no small message makes much work for every node at once."""
PARTS_MAX = 262_144
"""A batch with a malformed command is cut apart if it has at most so many msgpack values, nested ones counted."""


class Refused(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=0):
    """Instead of a result: this one command changed nothing. The others of its batch stand.

    `reason` is one word for programs (`malformed`, `key`, `value`, ...), `message` says it to people.
    """

    reason: str
    message: str


class BatchDecoder(Generic[Command]):
    """Reads the batches of one application. `command` is its command type, or the union of them; structs among
    them forbid unknown fields, at every level."""

    def __init__(self, command: Any) -> None:
        bounded = Annotated[list[command], msgspec.Meta(max_length=COMMANDS_MAX)]
        self._many: msgspec.msgpack.Decoder[list[Command]] = msgspec.msgpack.Decoder(bounded)
        self._one: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(command)

    def decode(self, body: Buffer) -> list[Command] | list[Command | Refused]:
        """The commands in order; a well-formed element that is no command becomes its `Refused` result.

        Raises msgspec.DecodeError where the bytes are not one msgpack array, which cannot be trusted at all, and
        for an array of more than COMMANDS_MAX commands or PARTS_MAX values.
        """
        try:
            return self._many.decode(body)
        except (msgspec.ValidationError, UnicodeDecodeError):
            return [self._read(element) for element in tuple(_elements(memoryview(body)))]

    def _read(self, element: memoryview) -> Command | Refused:
        try:
            return self._one.decode(element)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            what = f"a command cannot be read: {error}. Send it as this application's encoder writes it."
            return Refused("malformed", what[:MESSAGE_CHARS_MAX])


# Heads 0xc0 to 0xdf: bytes of the length field, bytes in addition to that length, values nested for each unit of
# it. Source: the msgpack specification, "Formats".
_HEADS: dict[int, tuple[int, int, int]] = {
    **dict.fromkeys((0xC0, 0xC2, 0xC3), (0, 0, 0)),  # nil, false, true
    **{0xC4 + power: (1 << power, 0, 0) for power in range(3)},  # bytes
    **{0xC7 + power: (1 << power, 1, 0) for power in range(3)},  # extensions, with their type
    **{0xCA: (0, 4, 0), 0xCB: (0, 8, 0)},  # floats
    **{0xCC + power: (0, 1 << power, 0) for power in range(4)},  # unsigned integers
    **{0xD0 + power: (0, 1 << power, 0) for power in range(4)},  # signed integers
    **{0xD4 + power: (0, 1 + (1 << power), 0) for power in range(5)},  # extensions of fixed size, with their type
    **{0xD9 + power: (1 << power, 0, 0) for power in range(3)},  # text
    **{0xDC: (2, 0, 1), 0xDD: (4, 0, 1)},  # arrays
    **{0xDE: (2, 0, 2), 0xDF: (4, 0, 2)},  # maps
}


def _elements(data: memoryview) -> Iterator[memoryview]:
    """The elements of the array that `data` is, as their bytes. Raises msgspec.DecodeError as `decode` says."""
    at, size, count = _head(data, 0)
    if not (0x90 <= data[0] < 0xA0 or data[0] in (0xDC, 0xDD)) or size:
        raise msgspec.DecodeError("a batch is an array of commands, and this is something else")
    if count > COMMANDS_MAX:
        raise msgspec.DecodeError(f"a batch has at most {COMMANDS_MAX} commands, and this one has {count}")
    parts = 0
    for _ in range(count):
        start, missing = at, 1
        while missing:
            at, size, nested = _head(data, at)
            at += size
            missing += nested - 1
            parts += 1
            if parts > PARTS_MAX:
                raise msgspec.DecodeError(
                    f"a batch with a malformed command has at most {PARTS_MAX} values, and this one has more"
                )
        if at > len(data):
            raise msgspec.DecodeError("the batch breaks off")
        yield data[start:at]
    if at != len(data):
        raise msgspec.DecodeError(f"{len(data) - at} bytes follow the batch")


def check_nesting(data: Buffer, depth_max: int) -> None:
    """Raise msgspec.DecodeError where values in `data` nest deeper than `depth_max`, before a decoder recurses."""
    view = memoryview(data)
    at = 0
    missing = [1]
    while missing:
        if missing[-1] == 0:
            missing.pop()
            continue
        missing[-1] -= 1
        at, size, nested = _head(view, at)
        at += size
        if nested:
            missing.append(nested)
            if len(missing) > depth_max:
                raise msgspec.DecodeError(f"values nest deeper than {depth_max}")


def _head(data: memoryview, at: int) -> tuple[int, int, int]:
    """Of the value at `at`: where its head ends, how many bytes of its own follow, how many values are nested."""
    if at >= len(data):
        raise msgspec.DecodeError("the batch breaks off")
    head = data[at]
    at += 1
    if head < 0x80 or head >= 0xE0:  # small integers
        return at, 0, 0
    if head < 0x90:
        return at, 0, 2 * (head & 0x0F)
    if head < 0xA0:
        return at, 0, head & 0x0F
    if head < 0xC0:  # short text
        return at, head & 0x1F, 0
    if head not in _HEADS:
        raise msgspec.DecodeError(f"no value begins with the byte {head:#x}")
    length_bytes, more, nested = _HEADS[head]
    length = int.from_bytes(data[at : at + length_bytes], "big")
    at += length_bytes
    return (at, 0, nested * length) if nested else (at, length + more, 0)
