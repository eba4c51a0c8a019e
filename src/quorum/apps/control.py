"""Control loops as their clients see them: commands, queries, results and their encoding.

A loop has a name, channels, and decides once in each tick (voting.control.loop says how). Its nodes send readings
for a tick; the readings that the log has committed when enough channels have reported are the set by which every
replica decides, so that all decide the same. Nobody waits for all: of N channels, N-T are enough, evicted ones not
counted as long as they are T at most. Where fewer report, the owners of channels say that the tick is `Due`, and
it is decided by the set committed until then.

A reading counts only from the owner of its channel: the name that TLS verified (client.NAME), where members may
lie the public key in hexadecimal digits, with owner "" anybody. Each channel counts once in a tick, by the reading
that was committed first.

A tick is a number; its time is start_us + tick * period_us, by the clocks of those who send readings. That time,
and no clock, is what the age of readings is measured at. Ticks are decided in ascending order. One that is decided
passes over the undecided ones before it, which no decision is made for any more.

A batch is a msgpack array of commands, its reply the array of their results, one for each, in order. A command
that cannot be done gets `Refused` as its result and changes nothing; the others of its batch stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from quorum.apps.batch import Refused
from quorum.entry import Buffer
from quorum.errors import ConfigurationError
from quorum.voting.control.channels import Channel, Interval, Kind, Reading
from quorum.voting.control.loop import Decision
from quorum.voting.control.trust import Hysteresis

NAME_BYTES_MAX = 128
"""Of the name of a loop, a channel, an owner or a class, in UTF-8."""
LOOPS_MAX = 128
CHANNELS_MAX = 32
"""Of one loop."""
ITEMS_MAX = 32
"""Axes of a vector, factors of a projection, classes of a channel."""
NUMBER_MAX = 1e100
"""No larger number is a reading or a bound: squares and sums of such stay finite."""
TICK_MAX = (1 << 62) - 1
"""Also the most of any other whole number here, such as a time in microseconds."""
AHEAD_TICKS = 8
"""So many ticks of one channel wait to be decided; one more takes the place of the earliest."""
DECISIONS_KEPT = 128
"""Of each loop, the newest."""
WORK_MAX = 16_384
"""What one batch may cost: 1 for each command and each reading, and CHANNEL_WORK for each channel of a loop that
is declared or decided."""
CHANNEL_WORK = 4
CLASS_BYTES_MAX = 16_384
"""Of the names of all classes of one loop, in UTF-8: they come with readings, and readings wait in the state."""
LIST_MAX = 1_000
READ_BYTES_MAX = 4 * 1024 * 1024
"""All reads in one batch or query together give at most so many bytes, about."""

Value: TypeAlias = float | list[float] | dict[str, float]
"""A number; low and high, or the axes of a vector; or a probability for each class."""


class ChannelSpec(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """A channel (voting.control.channels.Channel says what its fields mean), and who alone may report it."""

    name: str
    owner: str = ""
    kind: Kind = "scalar"
    half_width: float | None = None
    projection: list[float] = []
    classes: dict[str, tuple[float, float]] = {}
    level: float = 0.9
    low: float | None = None
    high: float | None = None
    age_us: int = 0
    rate: float = 0.0
    stuck_ticks: int = 0


class LoopSpec(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """What a loop is. `faults`: T, so many channels may be wrong or silent and nobody waits for them. `liars`: so
    many owners may lie, or have clocks that are wrong; one more must say that a tick is due. `deadline_us`: how
    long after its beginning a tick is due. `hysteresis`: out, back, back_max and forgive of
    voting.control.trust.Hysteresis."""

    channels: list[ChannelSpec]
    degradation: str
    faults: int
    period_us: int
    deadline_us: int
    liars: int = 0
    start_us: int = 0
    precision: bool = False
    hysteresis: tuple[int, int, int, int] = (3, 10, 1_000, 1_000)


class Measured(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """What a channel measured at `at_us`, by the clock of the loop."""

    channel: str
    at_us: int
    value: Value


class _Command(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """Base of what a client may send."""


class DeclareLoop(_Command, frozen=True, gc=False, array_like=True, tag=1, forbid_unknown_fields=True):
    """Let there be a loop of this name. Declaring the same again changes nothing. Result: Declared; Refused where
    another one has the name."""

    loop: str
    spec: LoopSpec


class RemoveLoop(_Command, frozen=True, gc=False, array_like=True, tag=2, forbid_unknown_fields=True):
    """Forget the loop and its decisions. Only whoever declared it may. Result: Removed."""

    loop: str


class Report(_Command, frozen=True, gc=False, array_like=True, tag=3, forbid_unknown_fields=True):
    """Readings of the sender's own channels for a tick. `since`: which loop of that name is meant, by
    LoopView.since; another one refuses them (0: whichever there is). Result: Reported."""

    loop: str
    tick: int
    readings: list[Measured]
    since: int = 0


class Due(_Command, frozen=True, gc=False, array_like=True, tag=4, forbid_unknown_fields=True):
    """The deadline of the tick has passed, by the clock of the sender, who owns a channel. `since`: as in Report.
    Result: Reported."""

    loop: str
    tick: int
    since: int = 0


class LookLoop(_Command, frozen=True, gc=False, array_like=True, tag=5, forbid_unknown_fields=True):
    """Read one loop. Result: LoopView."""

    loop: str


class LookDecisions(_Command, frozen=True, gc=False, array_like=True, tag=6, forbid_unknown_fields=True):
    """Read the decisions that are kept from tick `first` on, ascending, at most `limit` (0: all). Result:
    Decisions."""

    loop: str
    first: int = 0
    limit: int = 0


class ListLoops(_Command, frozen=True, gc=False, array_like=True, tag=7, forbid_unknown_fields=True):
    """Read the names of the loops from `start` on, in the order of their bytes. Result: Loops."""

    start: str = ""


Command: TypeAlias = DeclareLoop | RemoveLoop | Report | Due
Query: TypeAlias = LookLoop | LookDecisions | ListLoops


class Decided(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """The decision of a tick, at the log entry `index`, when log time was `time_us`. `reported`: how many channels
    had, of whom N-T are enough; `is_due`: it was decided at its deadline, with fewer. The rest is as in
    voting.control.loop.Decision, of which `decision` makes one."""

    tick: int
    index: int
    time_us: int
    reported: int
    is_due: bool
    value: float | None
    low: float | None
    high: float | None
    used: tuple[str, ...]
    left_out: dict[str, str]
    stage: str
    degraded: bool
    refused: str = ""

    def __bool__(self) -> bool:
        return self.value is not None

    @property
    def decision(self) -> Decision:
        """What a loop in one process would have given."""
        head = self.tick, self.value, self.low, self.high
        return Decision(*head, self.used, self.left_out, self.stage, self.degraded, self.refused)


class Declared(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
    """There is such a loop; `existed`: there was before."""

    existed: bool


class Removed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=3):
    """Whether there was such a loop."""

    existed: bool


class Reported(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=4):
    """How many readings were taken, and the newest tick that is decided (-1: none). Readings of a tick that is
    decided, and of a channel that reported it before, are not taken. `decided`: the decision of that tick, if it
    has been made and is still kept, and all that one batch repeats has READ_BYTES_MAX at most."""

    taken: int
    newest: int
    decided: Decided | None


class LoopView(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=5):
    """A loop as it stands. Of the ticks from the first decided one to the newest (-1: none) `decided` were, and
    `passed` were not. `late`: readings that came after their tick was decided. `evicted`: channels that decide
    nothing now. `declarer`: who declared it; `since`: at which log entry, which tells it from an earlier or later
    loop of the same name."""

    loop: str
    spec: LoopSpec
    declarer: str
    newest: int
    decided: int
    passed: int
    late: int
    evicted: tuple[str, ...]
    since: int = 0


class Decisions(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=6):
    """Decisions, ascending, and the newest tick that is decided (-1: none). With `more`, go on behind the last."""

    decisions: list[Decided]
    newest: int
    more: bool


class Loops(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=7):
    """Names of loops. With `more`, go on with `ListLoops(names[-1] + "\\0")`."""

    names: list[str]
    more: bool


Result: TypeAlias = Declared | Removed | Reported | LoopView | Decisions | Loops | Refused

_ENCODE = msgspec.msgpack.Encoder()
_DECODE_RESULTS: msgspec.msgpack.Decoder[list[Result]] = msgspec.msgpack.Decoder(list[Result])
_DECODE_DECIDED = msgspec.msgpack.Decoder(Decided)


def spec_of(
    channels: Iterable[Channel],
    degradation: str,
    *,
    faults: int,
    period_us: int,
    deadline_us: int,
    owners: Mapping[str, str] | None = None,
    liars: int = 0,
    start_us: int = 0,
    precision: bool = False,
    hysteresis: Hysteresis | None = None,
) -> LoopSpec:
    """The loop of these channels; `owners` says by channel who alone may report it ("": anybody). Raises
    ConfigurationError for an owner of a channel that the loop does not have: the one meant would be anybody's."""
    channels, owners, trust = list(channels), owners or {}, hysteresis or Hysteresis()
    stray = sorted(owners.keys() - {each.name for each in channels})
    if stray:
        raise ConfigurationError(
            f"a control loop was to be declared with an owner of channel {stray[0][:40]!r}, but it has none of "
            "that name, so that anybody could report the one that is meant. Name owners by the names of channels."
        )
    specs = [
        ChannelSpec(
            each.name,
            owners.get(each.name, ""),
            each.kind,
            each.half_width,
            list(each.projection),
            dict(each.classes),
            each.level,
            each.low,
            each.high,
            each.age_us,
            each.rate,
            each.stuck_ticks,
        )
        for each in channels
    ]
    counts = (trust.out, trust.back, trust.back_max, trust.forgive)
    times = (period_us, deadline_us, liars, start_us)
    return LoopSpec(specs, degradation, faults, *times, precision, counts)


def channel_of(spec: ChannelSpec) -> Channel:
    """The channel as the loop wants it."""
    classes: dict[str, Interval] = {name: spec.classes[name] for name in sorted(spec.classes)}
    return Channel(
        name=spec.name,
        kind=spec.kind,
        half_width=spec.half_width,
        projection=tuple(spec.projection),
        classes=classes,
        level=spec.level,
        low=spec.low,
        high=spec.high,
        age_us=spec.age_us,
        rate=spec.rate,
        stuck_ticks=spec.stuck_ticks,
    )


def hysteresis_of(spec: LoopSpec) -> Hysteresis:
    """The counts of trust as the loop wants them."""
    return Hysteresis(*spec.hysteresis)


def measured(reading: Reading) -> Measured:
    """A reading as it is sent."""
    value = reading.value
    if isinstance(value, Mapping):
        return Measured(reading.channel, reading.at_us, dict(value))
    return Measured(reading.channel, reading.at_us, list(value) if isinstance(value, tuple) else value)


def reading_of(name: str, at_us: int, value: Value) -> Reading:
    """A reading as the loop wants it: classes in the order of their names."""
    if isinstance(value, dict):
        return Reading(name, at_us, {each: value[each] for each in sorted(value)})
    return Reading(name, at_us, tuple(value) if isinstance(value, list) else value)


def encode_batch(commands: Sequence[Command]) -> bytes:
    """The body of a batch of commands."""
    return _ENCODE.encode(commands)


def encode_query(queries: Sequence[Query]) -> bytes:
    """The body of a batch of reads."""
    return _ENCODE.encode(queries)


def decode_results(body: Buffer) -> list[Result]:
    """The results in the reply to a batch or a query, in order. Raises msgspec.DecodeError if it is none."""
    return _DECODE_RESULTS.decode(body)


def encode_decided(decided: Decided) -> bytes:
    """The body of the notice of a decision; its topic is the loop's name in UTF-8."""
    return _ENCODE.encode(decided)


def decode_decided(body: Buffer) -> Decided:
    """The decision in the body of a notice. Raises msgspec.DecodeError if it is none."""
    return _DECODE_DECIDED.decode(body)
