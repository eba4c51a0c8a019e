"""What a node tells of itself, made fit to be shown: where members may lie, it may tell anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from quorum.console.command import plain
from quorum.model import NodeId
from quorum.runtime.status import NodeStatus, decode_status

NUMBER_MAX: Final = 2**63 - 1
_LAST_US: Final = 253_402_300_799_000_000
"""The last second of the year 9999, which is the last that a calendar here has."""


def status_told(node: NodeId, data: bytes) -> NodeStatus:
    """The status that `node` told, without anything in its texts that a terminal would obey. Raises
    msgspec.DecodeError for what is none, is of another node, or has numbers that nothing counts to."""
    status = decode_status(data)
    if status.node != node:
        raise msgspec.DecodeError(f"answers as {plain(status.node, 80)!r}")
    return msgspec.convert(_sound(msgspec.to_builtins(status)), NodeStatus)


def _sound(value: Any) -> Any:
    match value:
        case str():
            return value if value.isprintable() else plain(value, len(value))
        case bool() | None | float():
            return value
        case int():
            if abs(value) > NUMBER_MAX:
                raise msgspec.DecodeError("answers with a number that nothing counts to")
            return value
        case dict():
            return {_sound(key): _sound(each) for key, each in value.items()}
        case _:
            return [_sound(each) for each in value]


def moment(time_us: int) -> datetime:
    """A time that somebody tells, in microseconds since 1970, as near as a calendar has it."""
    return datetime.fromtimestamp(min(max(time_us, 0), _LAST_US) / 1e6, UTC)


def most(told: Iterable[str]) -> str:
    """What is told most often, the first of several; "" where nobody tells."""
    return next((text for text, _ in Counter(told).most_common(1)), "")
