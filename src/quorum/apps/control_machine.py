"""Control loops as a replicated state machine; `control` says what its commands mean."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

import msgspec

from quorum.apps.batch import BatchDecoder, Refused
from quorum.apps.control import (
    CHANNEL_WORK,
    CHANNELS_MAX,
    DECISIONS_KEPT,
    LIST_MAX,
    LOOPS_MAX,
    NAME_BYTES_MAX,
    READ_BYTES_MAX,
    WORK_MAX,
    Command,
    Decided,
    Decisions,
    Declared,
    DeclareLoop,
    Due,
    ListLoops,
    LookDecisions,
    LookLoop,
    Loops,
    LoopSpec,
    LoopView,
    Query,
    Removed,
    RemoveLoop,
    Report,
    Reported,
    Result,
    encode_decided,
)
from quorum.apps.control_ticks import Ticks, TicksState, check_spec
from quorum.apps.leaves import Leaves
from quorum.apps.state_machine import Notice, Outputs
from quorum.entry import Buffer
from quorum.errors import ConfigurationError
from quorum.header import Header

ITEM_BYTES = 64
"""What a row counts for READ_BYTES_MAX in addition to its bytes."""

_COMMANDS: BatchDecoder[Command] = BatchDecoder(Command)
_QUERIES: BatchDecoder[Query] = BatchDecoder(Query)
_ENCODE = msgspec.msgpack.Encoder().encode
_TICK = struct.Struct(">Q")
_SPEC, _TICKS, _DECIDED = b"\0s", b"\0t", b"\0d"


class _Row(msgspec.Struct, frozen=True, array_like=True):
    """Who declared a loop, at which log entry, and what it is."""

    declarer: str
    since: int
    spec: LoopSpec


_DECODE_ROW = msgspec.msgpack.Decoder(_Row)
_DECODE_TICKS = msgspec.msgpack.Decoder(TicksState)
_DECODE_DECIDED = msgspec.msgpack.Decoder(Decided)


class _Live:
    """What follows from the rows of one loop. `kept`: the ticks whose decisions are kept, ascending."""

    __slots__ = ("declarer", "kept", "since", "ticks")

    def __init__(self, declarer: str, since: int, ticks: Ticks, kept: Iterable[int] = ()) -> None:
        self.declarer, self.since = declarer, since
        self.ticks = ticks
        self.kept = deque(kept)


class ControlLoops:
    """Named loops. Every bound must be the same on every node.

    The rows are the state, in canonical form: what each loop is, where it stands, and its newest decisions.
    """

    def __init__(self, loops_max: int = LOOPS_MAX, decisions_kept: int = DECISIONS_KEPT) -> None:
        self._loops_max = loops_max
        self._kept_max = decisions_kept
        self._rows = Leaves()
        self._loops: dict[str, _Live] = {}
        self._moved: dict[str, _Live] = {}
        """Loops whose row is to be written at the end of the batch."""
        self._notices: list[Notice] = []
        self._work_left = WORK_MAX
        self._read_left = READ_BYTES_MAX

    def __len__(self) -> int:
        """The number of loops."""
        return len(self._loops)

    # The contract.

    def apply(self, header: Header, body: Buffer) -> Outputs:
        """As `apply_from`, of a caller for whom nobody vouches."""
        return self.apply_from(header, body, "")

    def apply_from(self, header: Header, body: Buffer, caller: str) -> Outputs:
        """Apply a batch of commands. Raises msgspec.DecodeError, state unchanged, if it is no msgpack array."""
        commands = _COMMANDS.decode(body)
        self._notices, self._work_left, self._read_left = [], WORK_MAX, READ_BYTES_MAX
        try:
            results = [
                command if isinstance(command, Refused) else self._execute(header, command, caller)
                for command in commands
            ]
        finally:  # once for each loop, however many reports there are
            for loop, live in self._moved.items():
                self._rows.put(loop.encode() + _TICKS, _ENCODE(live.ticks.state), header.index)
            self._moved = {}
        notices, self._notices = tuple(self._notices), []
        return Outputs(_ENCODE(results), notices=notices)

    def query(self, body: Buffer) -> bytes:
        """Answer a batch of reads. Raises msgspec.DecodeError if it is no msgpack array."""
        queries = _QUERIES.decode(body)
        self._read_left = READ_BYTES_MAX
        return _ENCODE([query if isinstance(query, Refused) else self._answer(query) for query in queries])

    def digest(self) -> bytes:
        """The root over all loops and decisions: 32 bytes."""
        return self._rows.digest()

    def snapshot(self) -> Iterator[bytes]:
        """Pin the present state; return its chunks."""
        return self._rows.view().chunks()

    def chunk_digests(self) -> Iterator[bytes]:
        """Pin the present state; give `pieces.digests_of` each chunk of `snapshot`, and b"" after slices."""
        return self._rows.view().chunk_digests()

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state by one that `snapshot` wrote. Raises ValueError, state unchanged, if it is damaged."""
        rows = self._rows.empty()
        rest = iter(chunks)
        first = next(rest, None)
        if first is not None:  # else it was written where nobody knew of loops
            rows.load(chain((first,), rest))
        loops = _read_loops(rows)
        _require(len(loops) <= self._loops_max, "there are more loops than may be")
        _require(all(len(each.kept) <= self._kept_max for each in loops.values()), "more is kept than may be")
        self._rows, self._loops = rows, loops

    # Commands.

    def _execute(self, header: Header, command: Command, caller: str) -> Result:
        if self._work_left <= 0:
            return _TOO_MUCH_WORK
        self._work_left -= 1
        match command:
            case Report(loop, tick, readings, since):
                live = self._meant(loop, since)
                if isinstance(live, Refused):
                    return live
                self._work_left -= min(len(readings), CHANNELS_MAX)
                refused = live.ticks.refusal_of(tick, readings, caller)
                if refused is not None:
                    return refused
                return self._reported(header, loop, live, tick, live.ticks.report(tick, readings))
            case Due(loop, tick, since):
                live = self._meant(loop, since)
                if isinstance(live, Refused):
                    return live
                return live.ticks.due(tick, caller) or self._reported(header, loop, live, tick, 0)
            case DeclareLoop(loop, spec):
                return self._declare(header, loop, spec, caller)
            case RemoveLoop(loop):
                return self._remove(loop, caller)

    def _meant(self, loop: str, since: int) -> _Live | Refused:
        """The loop of this name, unless another one was meant that had it."""
        live = self._loops.get(loop)
        if live is None:
            return _unknown(loop)
        if since and since != live.since:
            text = (
                f"loop {loop[:80]!r} as it was declared at log entry {since} was meant, but the one that has the "
            )
            return Refused("changed", text + f"name now is of entry {live.since}. Look at it, and begin anew.")
        return live

    def _reported(self, header: Header, loop: str, live: _Live, tick: int, taken: int) -> Reported:
        self._moved[loop] = live
        decided = live.ticks.decide(tick, header)
        if decided is None:
            return Reported(taken, live.ticks.newest, self._decided(loop, tick))
        self._work_left -= CHANNEL_WORK * len(live.ticks.spec.channels)
        body = encode_decided(decided)
        self._rows.put(_decided_key(loop, tick), body, header.index)
        live.kept.append(tick)
        if len(live.kept) > self._kept_max:
            self._rows.delete(_decided_key(loop, live.kept.popleft()))
        self._notices.append(Notice(loop.encode(), body))
        return Reported(taken, tick, decided)

    def _declare(self, header: Header, loop: str, spec: LoopSpec, caller: str) -> Declared | Refused:
        self._work_left -= CHANNEL_WORK * min(len(spec.channels), CHANNELS_MAX)
        size = len(loop.encode())
        if not 0 < size <= NAME_BYTES_MAX or "\0" in loop:
            text = f"a loop was named by {size} bytes, but names have 1 to {NAME_BYTES_MAX} bytes of UTF-8 and no "
            return Refused("name", text + "zero byte. Choose another.")
        known = self._loops.get(loop)
        if known is not None:
            if known.ticks.spec == spec:
                return Declared(True)
            text = f"loop {loop[:80]!r} was declared, but there is another one of that name. "
            return Refused("declared", text + "Choose another name, or have it removed by whoever declared it.")
        if len(self._loops) >= self._loops_max:
            return Refused("loops", f"there are {self._loops_max} loops, which is the most. Remove some first.")
        refused = check_spec(spec)
        if refused is not None:
            return refused
        try:
            ticks = Ticks(spec)
        except ConfigurationError as error:
            return Refused("loop", str(error))
        self._loops[loop] = _Live(caller, header.index, ticks)
        self._rows.put(loop.encode() + _SPEC, _ENCODE(_Row(caller, header.index, spec)), header.index)
        self._moved[loop] = self._loops[loop]
        return Declared(False)

    def _remove(self, loop: str, caller: str) -> Removed | Refused:
        live = self._loops.get(loop)
        if live is None:
            return Removed(False)
        if live.declarer not in ("", caller):
            text = f"loop {loop[:80]!r} was to be removed by {caller[:80] or 'nobody known'}, but "
            return Refused("owner", text + f"{live.declarer[:80]} declared it. Ask whoever holds that key.")
        del self._loops[loop]
        self._moved.pop(loop, None)
        self._rows.delete_range(loop.encode() + b"\0", loop.encode() + b"\1")
        return Removed(True)

    # Reads.

    def _answer(self, query: Query) -> Result:
        if self._read_left <= 0:
            return _TOO_MUCH_READ
        self._read_left -= ITEM_BYTES
        match query:
            case LookLoop(loop):
                return self._view(loop)
            case LookDecisions():
                return self._decisions(query)
            case ListLoops(start):
                names = sorted(name for name in self._loops if name >= start)
                self._read_left -= sum(ITEM_BYTES + len(name) for name in names[:LIST_MAX])
                return Loops(names[:LIST_MAX], len(names) > LIST_MAX)

    def _view(self, loop: str) -> LoopView | Refused:
        live, row = self._loops.get(loop), self._rows.get(loop.encode() + _SPEC)
        if live is None or row is None:
            return _unknown(loop)
        self._read_left -= len(row.value)
        ticks = live.ticks
        counts = ticks.newest, ticks.decided, ticks.passed, ticks.late
        return LoopView(loop, ticks.spec, live.declarer, *counts, ticks.evicted, live.since)

    def _decisions(self, query: LookDecisions) -> Decisions | Refused:
        live = self._loops.get(query.loop)
        if live is None:
            return _unknown(query.loop)
        if query.limit < 0:
            return Refused("list", f"a limit of {query.limit} decisions makes no sense. Give 0 for all, or more.")
        found: list[Decided] = []
        for tick in live.kept:
            if tick < query.first:
                continue
            if self._read_left <= 0 or (query.limit and len(found) >= query.limit):
                return Decisions(found, live.ticks.newest, True)
            row = self._rows.get(_decided_key(query.loop, tick))
            assert row is not None, "what is kept has a row"
            self._read_left -= ITEM_BYTES + len(row.value)
            found.append(_DECODE_DECIDED.decode(row.value))
        return Decisions(found, live.ticks.newest, False)

    def _decided(self, loop: str, tick: int) -> Decided | None:
        """For who comes late, or again; what one batch repeats is bounded, since a command is far smaller."""
        row = self._rows.get(_decided_key(loop, tick))
        if row is None or self._read_left <= 0:
            return None
        self._read_left -= ITEM_BYTES + len(row.value)
        return _DECODE_DECIDED.decode(row.value)


_TOO_MUCH_WORK = Refused(
    "batch", f"one batch was to do more than {WORK_MAX} units of work. Send the rest in another batch."
)

_TOO_MUCH_READ = Refused(
    "read", f"more than {READ_BYTES_MAX} bytes were read in one batch. Read the rest in another batch."
)


def _unknown(loop: str) -> Refused:
    return Refused("unknown", f"loop {loop[:80]!r} was named, but there is none of that name. Declare it first.")


def _decided_key(loop: str, tick: int) -> bytes:
    """Names hold no zero byte, so that the rows of a loop stand together, its decisions in the order of ticks."""
    return loop.encode() + _DECIDED + _TICK.pack(tick)


def _read_loops(rows: Leaves) -> dict[str, _Live]:
    """What follows from the rows. Raises ValueError where they are damaged, or contradict each other."""
    loops: dict[str, _Live] = {}
    kept: dict[str, list[int]] = {}
    specs: dict[str, _Row] = {}
    states: dict[str, TicksState] = {}
    try:
        for key, row in rows.scan(b"", None):
            name, _, rest = key.partition(b"\0")
            loop, kind = name.decode(), b"\0" + rest[:1]
            if kind == _SPEC:
                specs[loop] = _DECODE_ROW.decode(row.value)
            elif kind == _TICKS:
                states[loop] = _DECODE_TICKS.decode(row.value)
            else:
                decided = _DECODE_DECIDED.decode(row.value)
                _require(key == _decided_key(loop, decided.tick), "a decision stands under another tick")
                _require(_ENCODE(decided) == row.value, "a decision is not in canonical form")
                kept.setdefault(loop, []).append(decided.tick)
        _require(specs.keys() == states.keys() >= kept.keys(), "a loop is not whole")
        for loop, spec in specs.items():
            _require(check_spec(spec.spec) is None, "a loop cannot be")
            state = states[loop]
            loops[loop] = _Live(spec.declarer, spec.since, Ticks(spec.spec, state), kept.get(loop, ()))
            _require(_ENCODE(loops[loop].ticks.state) == _ENCODE(state), "what waits is not in canonical form")
            _require(max(kept.get(loop, ()), default=-1) <= state.newest, "a decision is newer than the newest")
    except (msgspec.DecodeError, UnicodeDecodeError, struct.error, ConfigurationError) as error:
        raise ValueError(f"control loops were to be restored, but {error}. Fetch another snapshot.") from None
    return loops


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(f"control loops were to be restored, but {otherwise}. Fetch another snapshot.")
