"""What clients asked and were told, and its JSON Lines file.

One line per event: `{"process", "type", "f", "key", "value", "time"}`. A process has at most one operation open:
`invoke` opens it; `ok` (it happened), `fail` (it did not) or `info` (nobody knows: it may still take effect, at
any time or never) closes it. An operation that is never closed counts as `info`. After an `info` the operation
stays open for ever, so that process may not invoke again; clients go on under a new name, as Jepsen's do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from quorum.errors import ConfigurationError

INVOKE, OK, FAIL, INFO = "invoke", "ok", "fail", "info"
TYPES: Final = frozenset((INVOKE, OK, FAIL, INFO))
KIND: Final = {
    "read": "read",
    "get": "read",
    "write": "write",
    "put": "write",
    "cas": "cas",
    "append": "append",
    "delete": "delete",
}
"""What each spelling of `f` does to a key."""
LINE_BYTES_MAX: Final = 16 * 1024 * 1024
DEPTH_MAX: Final = 32
"""How deep arrays and objects may nest in a value."""

Process = str | int
Key = str | int | None


class Operation(NamedTuple):
    """One operation, from the moment a client asked to the moment it was told.

    `value`: what was written; `(old, new)` for cas; what was read for a read that is ok, else None. `invoked` and
    `completed` are ranks in the order of events; `completed` is None where the outcome is `info`. Times are in ns.
    """

    process: Process
    f: str
    key: Key
    value: Any
    outcome: str
    invoked: int
    completed: int | None
    invoked_ns: int
    completed_ns: int | None


class _Line(msgspec.Struct):
    process: Any = msgspec.UNSET
    type: Any = msgspec.UNSET
    f: Any = msgspec.UNSET
    key: Any = msgspec.UNSET
    value: Any = None
    time: Any = msgspec.UNSET


class _Refused(Exception):
    """Why an event cannot be, and what to do. Always turned into a ConfigurationError with its place."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.why = why
        self.remedy = remedy

    def at(self, place: str) -> ConfigurationError:
        return ConfigurationError(f"{place} cannot be judged: {self.why}. {self.remedy}")


_Event = tuple[Process, str, str, Key, Any, int]
_DECODE_LINE = msgspec.json.Decoder(_Line)


class History:
    """Events in the order of their times; events of one time in the order they were recorded.

    Clocks of different machines do not agree to the nanosecond: record all events of a history with one clock.
    """

    def __init__(self) -> None:
        self.uses_append = False
        self._events: list[_Event] = []
        self._open: dict[Process, _Event] = {}
        self._gone: set[Process] = set()
        self._last_ns: dict[Process, int] = {}
        self._text_keys: set[Key] = set()
        self._other_keys: set[Key] = set()

    def __len__(self) -> int:
        """The number of events."""
        return len(self._events)

    def record(self, process: Process, type: str, f: str, key: Key, value: Any = None, time: int = 0) -> None:
        """Add one event; `time` in ns.

        Raises ConfigurationError, nothing added, for what no history may hold.
        """
        try:
            self._add(process, type, f, key, value, time)
        except _Refused as refused:
            raise refused.at(f"event {len(self._events) + 1} of the history") from None

    def events(self) -> Iterator[dict[str, Any]]:
        """The events as they stand in a file, in the order they were recorded."""
        names = ("process", "type", "f", "key", "value", "time")
        return (dict(zip(names, event)) for event in self._events)

    def operations(self) -> list[Operation]:
        """Every operation, in the order of invocation."""
        events = self._events
        order = sorted(range(len(events)), key=lambda at: events[at][5])  # stable: ties keep their place
        closed: dict[int, tuple[int, _Event]] = {}
        open_since: dict[Process, int] = {}
        for rank, at in enumerate(order):
            event = events[at]
            if event[1] == INVOKE:
                open_since[event[0]] = rank
            else:
                closed[open_since.pop(event[0])] = (rank, event)
        found = []
        for rank, at in enumerate(order):
            process, type, f, key, value, time = events[at]
            if type != INVOKE:
                continue
            done, end = closed.get(rank, (None, None))
            outcome = end[1] if end is not None else INFO
            if KIND[f] == "read":
                value = end[4] if end is not None and outcome == OK else None
            if end is None or outcome == INFO:
                found.append(Operation(process, f, key, value, INFO, rank, None, time, None))
            else:
                found.append(Operation(process, f, key, value, outcome, rank, done, time, end[5]))
        return found

    def _add(self, process: Any, type: Any, f: Any, key: Any, value: Any, time: Any) -> None:
        if not isinstance(type, str) or type not in TYPES:
            raise _Refused(f"its type is {_shown(type)}", "Use invoke, ok, fail or info.")
        if not isinstance(f, str) or f not in KIND:
            raise _Refused(f"its f is {_shown(f)}", f"Use one of {', '.join(KIND)}.")
        _check_name("process", process)
        if key is not None and key is not msgspec.UNSET:
            _check_name("key", key)
        if isinstance(time, bool) or not isinstance(time, int) or not -(2**63) <= time < 2**63:
            raise _Refused(f"its time is {_shown(time)}", "Give whole nanoseconds that fit in 64 bits.")
        if time < self._last_ns.get(process, time):
            raise _Refused(
                f"process {_shown(process)} goes back in time, from {self._last_ns[process]} to {time}",
                "Record all events with one monotone clock, those of a process in their order.",
            )
        if type == INVOKE:
            self._invoke((process, type, f, None if key is msgspec.UNSET else key, value, time))
        else:
            self._complete(process, type, f, key, value, time)
        self._last_ns[process] = time

    def _invoke(self, event: _Event) -> None:
        process, _, f, key, value, _ = event
        if process in self._open:
            raise _Refused(
                f"process {_shown(process)} invokes again while its {self._open[process][2]} is open",
                "Close an operation with ok, fail or info first, or give each client its own process.",
            )
        if process in self._gone:
            raise _Refused(
                f"process {_shown(process)} invokes after an info, whose operation is open for ever",
                "Let the client go on under a new process name.",
            )
        self._check_argument(f, key, value)
        self._open[process] = event
        self._events.append(event)

    def _complete(self, process: Process, type: str, f: str, key: Any, value: Any, time: int) -> None:
        opened = self._open.get(process)
        if opened is None:
            raise _Refused(f"{type} of process {_shown(process)} closes nothing", "Put its invoke before it.")
        key = opened[3] if key is msgspec.UNSET else key
        if KIND[f] != KIND[opened[2]] or key != opened[3]:
            raise _Refused(
                f"it closes {f} of key {_shown(key)}, but process {_shown(process)} invoked "
                f"{opened[2]} of key {_shown(opened[3])}",
                "Repeat f and key of the invoke.",
            )
        _check_value(value)
        asked = opened[4]
        if type == OK and KIND[f] != "read" and value is not None and json_identity(value) != json_identity(asked):
            raise _Refused(
                f"its value {_shown(value)} is not the invoked {_shown(asked)}",
                "Repeat the value of the invoke, or give null.",
            )
        del self._open[process]
        if type == INFO:
            self._gone.add(process)
        self._events.append((process, type, f, key, value, time))

    def _check_argument(self, f: str, key: Key, value: Any) -> None:
        """Refuse what `f` cannot take, and a key that holds both text to append to and something else."""
        _check_value(value)
        kind = KIND[f]
        if kind == "read":
            return
        written: tuple[Any, ...] = (value,)
        if kind == "cas":
            if not isinstance(value, list | tuple) or len(value) != 2:
                raise _Refused(f"its value is {_shown(value)}", "Give cas the value [old, new].")
            written = tuple(value)
        elif kind == "append":
            if not isinstance(value, str):
                raise _Refused(f"it appends {_shown(value)}", "Append only text.")
        elif kind == "delete" and value is not None:
            raise _Refused(f"it deletes with the value {_shown(value)}", "Give delete the value null.")
        not_text = any(one is not None and not isinstance(one, str) for one in written)
        if (not_text and key in self._text_keys) or (kind == "append" and key in self._other_keys):
            raise _Refused(
                f"key {_shown(key)} is appended to and also holds something that is no text",
                "Write only text or null to a key that is appended to.",
            )
        if kind == "append":
            self.uses_append = True
            self._text_keys.add(key)
        elif not_text:
            self._other_keys.add(key)


def read_history(source: str | Path | Iterable[str | bytes]) -> History:
    """Read a history from the file at a path, or from lines. Blank lines are passed over.

    Raises ConfigurationError, naming the line, for anything that is not a history of at least one event.
    """
    if not isinstance(source, str | Path):
        return _read_lines(source, "the history")
    name = f"history {_shown(str(source))}"
    try:
        with open(source, "rb") as file:
            return _read_lines(iter(lambda: file.readline(LINE_BYTES_MAX + 1), b""), name)
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigurationError(
            f"{name} was asked for, but it cannot be read: {why}. Give the path of a JSON Lines file."
        ) from None


def write_history(history: History, path: str | Path) -> None:
    """Write the file that `read_history` reads. Raises OSError."""
    encoder = msgspec.json.Encoder()
    with open(path, "wb") as file:
        for event in history.events():
            file.write(encoder.encode(event) + b"\n")


def _read_lines(lines: Iterable[str | bytes], name: str) -> History:
    history = History()
    for number, line in enumerate(lines, 1):
        try:
            event = _decode(line)
            if event is not None:
                history._add(event.process, event.type, event.f, event.key, event.value, event.time)
        except _Refused as refused:
            raise refused.at(f"line {number} of {name}") from None
    if not history:
        raise ConfigurationError(f"{name} was to be judged, but it holds no event. Record at least one operation.")
    return history


def _decode(line: str | bytes) -> _Line | None:
    """One line as it stands, fields unchecked; None for a blank one."""
    if len(line) > LINE_BYTES_MAX:
        raise _Refused(f"it is longer than {LINE_BYTES_MAX} bytes", "Put one event on each line.")
    remedy = 'Write one JSON object per line: {"process", "type", "f", "key", "value", "time"}.'
    try:
        data = line.encode() if isinstance(line, str) else line
        if not data.strip():
            return None
        event = _DECODE_LINE.decode(data)
    except UnicodeError:
        raise _Refused("it is not UTF-8 text", remedy) from None
    except RecursionError:
        raise _Refused("its JSON nests too deep", remedy) from None
    except msgspec.DecodeError as error:
        raise _Refused(f"it is no event in JSON ({error})", remedy) from None
    for field in ("process", "type", "f", "time"):
        if getattr(event, field) is msgspec.UNSET:
            raise _Refused(f'it has no "{field}"', remedy)
    return event


def _shown(value: Any) -> str:
    """A value in a message: escaped, so that it cannot forge a log line, and short."""
    if isinstance(value, list | tuple | dict):
        return f"a JSON {'object' if isinstance(value, dict) else 'array'} of {len(value)}"
    if isinstance(value, int) and abs(value) >= 2**64:
        return "a number of more than 64 bits"
    text = "null" if value is None else ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _check_name(what: str, name: Any) -> None:
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise _Refused(f"its {what} is {_shown(name)}", f"Name a {what} by text or a whole number.")
    _check_value(name)


def _check_value(value: Any, depth: int = 0) -> None:
    """Refuse what cannot be written to a file and read back as it was."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise _Refused("its text holds half a surrogate pair", "Write valid Unicode.") from None
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise _Refused("its number does not fit in 64 bits", "Write larger numbers as text.")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _Refused(f"its number is {value}", "Write only finite numbers.")
    elif isinstance(value, list | tuple | dict):
        if depth >= DEPTH_MAX:
            raise _Refused(f"its value nests deeper than {DEPTH_MAX}", "Write deep structures as text.")
        if isinstance(value, dict):
            for name in value:
                if not isinstance(name, str):
                    raise _Refused("an object in its value has a key that is no text", "Use text.")
                _check_value(name)
        for part in value.values() if isinstance(value, dict) else value:
            _check_value(part, depth + 1)
    else:
        raise _Refused(f"its value is a {type(value).__name__}", "Write JSON values only.")


def json_identity(value: Any) -> Any:
    """A hashable name of a JSON value, equal exactly for equal JSON: true differs from 1, and 1.0 is 1."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, list | tuple):
        return ("array", *(json_identity(part) for part in value))
    if isinstance(value, dict):
        return ("object", *((name, json_identity(value[name])) for name in sorted(value)))
    return value
