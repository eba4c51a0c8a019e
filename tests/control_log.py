"""A log for tests of replicated control loops: commands of named callers, each an entry."""

from __future__ import annotations

from typing import Any

from apps_log import header
from quorum.apps.batch import Refused
from quorum.apps.control import (
    Command,
    Decided,
    Declared,
    DeclareLoop,
    Due,
    LoopSpec,
    Measured,
    Query,
    Report,
    Result,
    decode_decided,
    decode_results,
    encode_batch,
    encode_query,
    spec_of,
)
from quorum.apps.control_machine import ControlLoops
from quorum.voting.control.channels import Channel
from quorum.voting.control.trust import Hysteresis

LOOP = "boiler"
HALF = 0.5
PERIOD_US = 10_000
CONTROL = 6
KINDS = [
    Channel(name="c1", half_width=HALF, rate=100.0, stuck_ticks=3, low=-100.0, high=100.0),
    Channel(name="c2", kind="interval", age_us=5_000),
    Channel(name="c3", kind="vector", projection=(1.0, 0.5), half_width=HALF),
    Channel(name="c4", kind="classes", classes={"cold": (-100.0, 15.0), "warm": (15.0, 30.0)}),
    Channel(name="c5", half_width=1.0),
]
"""Channels of each kind."""


def owner_of(at: int) -> str:
    """Who owns the channel of this number."""
    return f"client.n{at + 1}"


def spec(count: int = 5, faults: int = 1, degradation: str = "3oo5 3oo4 2oo3", **other: Any) -> LoopSpec:
    """A loop of channels c1, c2, ..., of which each has an owner of its own."""
    channels = other.pop("channels", None) or [Channel(name=f"c{at + 1}", half_width=HALF) for at in range(count)]
    owners = other.pop("owners", {each.name: owner_of(at) for at, each in enumerate(channels)})
    times = {"period_us": PERIOD_US, "deadline_us": PERIOD_US // 2}
    return spec_of(channels, degradation, faults=faults, owners=owners, **{**times, **other})


QUICK = Hysteresis(out=2, back=3)
KINDS = [
    Channel(name="c1", half_width=HALF, rate=100.0, stuck_ticks=3, low=-100.0, high=100.0),
    Channel(name="c2", kind="interval", age_us=5_000),
    Channel(name="c3", kind="vector", projection=(1.0, 0.5), half_width=HALF),
    Channel(name="c4", kind="classes", classes={"cold": (-100.0, 15.0), "warm": (15.0, 30.0)}),
    Channel(name="c5", half_width=1.0),
]
"""One channel of each kind, and one more."""


class ControlLog:
    """Entries of one machine. `decided` are the decisions that were noticed so far."""

    def __init__(self, **bounds: int) -> None:
        self.bounds = bounds
        self.machine = ControlLoops(**bounds)
        self.entries: list[tuple[Any, bytes, str]] = []
        self.decided: list[tuple[str, Decided]] = []

    def batch(self, caller: str, *commands: Command) -> list[Result]:
        """One entry with these commands; their results."""
        entry = (header(len(self.entries) + 1, app=CONTROL), encode_batch(commands), caller)
        self.entries.append(entry)
        outputs = self.machine.apply_from(*entry)
        self.decided += [(notice.topic.decode(), decode_decided(notice.body)) for notice in outputs.notices]
        return decode_results(outputs.reply)

    def do(self, command: Command, caller: str = "") -> Result:
        (result,) = self.batch(caller, command)
        return result

    def ask(self, query: Query) -> Result:
        (result,) = decode_results(self.machine.query(encode_query([query])))
        return result

    def declare(self, wanted: LoopSpec | None = None, loop: str = LOOP) -> Result:
        return self.do(DeclareLoop(loop, wanted or spec()), "client.admin")

    def report(self, at: int, tick: int, value: Any, at_us: int | None = None, loop: str = LOOP) -> Result:
        """The owner of channel `at` (from 0 on) reports it."""
        at_us = tick * PERIOD_US if at_us is None else at_us
        return self.do(Report(loop, tick, [Measured(f"c{at + 1}", at_us, value)]), owner_of(at))

    def due(self, at: int, tick: int, loop: str = LOOP) -> Result:
        """The owner of channel `at` says that the tick is due."""
        return self.do(Due(loop, tick), owner_of(at))

    def replayed(self) -> ControlLoops:
        """Another machine that applied the whole log."""
        machine = ControlLoops(**self.bounds)
        for entry in self.entries:
            machine.apply_from(*entry)
        return machine

    def restored(self) -> ControlLoops:
        """Another machine that stands at a snapshot of this one."""
        machine = ControlLoops(**self.bounds)
        machine.restore(list(self.machine.snapshot()))
        return machine


def declared(wanted: LoopSpec | None = None, **bounds: int) -> ControlLog:
    """A log in which the loop is declared."""
    log = ControlLog(**bounds)
    assert log.declare(wanted) == Declared(False)
    return log


def refused(result: object, reason: str) -> bool:
    """Whether a command was refused for this reason."""
    return isinstance(result, Refused) and result.reason == reason
