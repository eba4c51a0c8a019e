"""How applications read a batch: a msgpack array of commands, in which one bad command spoils only itself."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from quorum.entry import Buffer

Command = TypeVar("Command")
MESSAGE_CHARS_MAX = 500


class Refused(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=0):
    """Instead of a result: this one command changed nothing. The others of its batch stand.

    `reason` is one word for programs (`malformed`, `key`, `value`, ...), `message` says it to people.
    """

    reason: str
    message: str


class BatchDecoder(Generic[Command]):
    """Reads the batches of one application. `command` is its command type, or the union of them."""

    def __init__(self, command: Any) -> None:
        self._many: msgspec.msgpack.Decoder[list[Command]] = msgspec.msgpack.Decoder(list[command])
        self._one: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(command)
        self._cut = msgspec.msgpack.Decoder(list[msgspec.Raw])

    def decode(self, body: Buffer) -> list[Command] | list[Command | Refused]:
        """The commands in order; a well-formed element that is no command becomes its `Refused` result.

        Raises msgspec.DecodeError where the bytes are not one msgpack array: nothing in them can be trusted then.
        """
        try:
            return self._many.decode(body)
        except msgspec.ValidationError:
            return [self._read(element) for element in self._cut.decode(body)]

    def _read(self, element: msgspec.Raw) -> Command | Refused:
        try:
            return self._one.decode(element)
        except msgspec.DecodeError as error:
            what = f"a command cannot be read: {error}. Send it as this application's encoder writes it."
            return Refused("malformed", what[:MESSAGE_CHARS_MAX])
