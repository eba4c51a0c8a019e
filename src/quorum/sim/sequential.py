"""The subject as its own sequential model: a history is linearizable if one copy, run alone, tells the same."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from quorum.apps.log_clock import LogClock
from quorum.apps.state_machine import StateMachine
from quorum.checkers.object_search import Interval, ObjectVerdict, check_object
from quorum.header import Header
from quorum.sim.actor import Operation
from quorum.sim.subject import NO_ENTRY, Subject
from quorum.sim.watched import WatchedWorld


class _Saved:
    """A snapshot that is read when it is needed, and then kept."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks: Iterator[bytes] | list[bytes] = chunks

    def chunks(self) -> list[bytes]:
        self._chunks = list(self._chunks)
        return self._chunks


class Sequential:
    """checkers.object_search.Model: one copy of the subject, without replicas.

    A command is applied with the header of its entry, where it has one: time and randomness are then those that
    the replicas had.
    """

    def __init__(
        self, subject: Subject, operations: Sequence[Operation], headers: Sequence[Header | None]
    ) -> None:
        self._machine: StateMachine = subject.make(LogClock())
        self._operations = operations
        self._headers = headers

    def state(self) -> Hashable:
        return self._machine.digest()

    def save(self) -> Any:
        return _Saved(self._machine.snapshot())

    def restore(self, saved: Any) -> None:
        self._machine.restore(iter(saved.chunks()))

    def take(self, operation: int) -> bool:
        asked = self._operations[operation]
        header = self._headers[operation] or NO_ENTRY
        try:
            told = self._machine.apply(header, asked.body).reply
        except Exception:
            return asked.completed is None or asked.status != 0
        return asked.completed is None or (asked.status == 0 and told == asked.reply)

    def fits(self, operation: int) -> bool:
        asked = self._operations[operation]
        try:
            told = self._machine.query(asked.body)
        except Exception:
            return asked.status != 0
        return asked.status == 0 and told == asked.reply


def judge(
    world: WatchedWorld, history: Sequence[Operation], steps_max: int, judge_stale: bool
) -> tuple[ObjectVerdict, list[Operation]]:
    """Whether what clients were told is linearizable, and the operations that were judged: all but stale reads,
    unless these are to be judged like others."""
    operations = [each for each in history if each.consistency != "stale" or judge_stale]
    places = {
        (applied.header.client, applied.header.first_sequence): index
        for index, (_, applied) in world.entries.items()
    }
    headers: list[Header | None] = []
    intervals: list[Interval] = []
    for each in operations:
        index = places.get(world.batches.get((each.client, each.request), (0, 0))) if not each.is_query else None
        headers.append(world.entries[index][1].header if index is not None else None)
        rank = float("inf") if index is None else float(index)
        intervals.append(Interval(each.invoked, each.completed, each.is_query, rank))
    return check_object(intervals, Sequential(world.subject, operations, headers), steps_max), operations
