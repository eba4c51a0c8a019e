"""Is a history linearizable? Each key is judged alone.

Source: Herlihy and Wing, "Linearizability: A Correctness Condition for Concurrent Objects" (1990), theorem 1
(locality): a history is linearizable exactly if it is for each object. `search` and `zones` name the sources of
the search.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from quorum.checkers.history import History, Key, Operation
from quorum.checkers.register import Register
from quorum.checkers.search import DeadEnd, Search
from quorum.checkers.zones import find_conflict
from quorum.errors import ConfigurationError

STEPS_MAX = 2_000_000
"""Configurations examined by default: tens of seconds and a few hundred megabytes at most."""
_QUICK_STEPS = 10_000


class Verdict(msgspec.Struct, frozen=True):
    """The answer about a history of `operations` operations, failed and unknown ones included.

    `failing_key`: the key without a linearization; for "undecided" the first one left open. `window`, for "not
    linearizable": the operations to look at, each with its `role`. Either "conflict": these alone cannot all have
    happened; or "linearized": the end of the longest prefix with a linearization, in that order, "stuck": the
    operation that must come next and cannot, and "open": those that might have come before it.
    """

    verdict: Literal["linearizable", "not linearizable", "undecided"]
    operations: int
    failing_key: Key = None
    window: tuple[dict[str, Any], ...] | None = None

    def __bool__(self) -> bool:
        return self.verdict == "linearizable"


def check_linearizable(history: History, steps_max: int = STEPS_MAX) -> Verdict:
    """Judge a history of reads, writes, cas, appends and deletes; `steps_max` bounds the configurations examined.

    Every key first gets a small share, so that one hard key does not hide a plain violation on another; then a
    quick refutation is tried (`zones`); then hard keys share what is left. Raises ConfigurationError for a
    budget below 1.
    """
    if isinstance(steps_max, bool) or not isinstance(steps_max, int) or steps_max < 1:
        raise ConfigurationError(
            f"steps_max={steps_max!r} was asked for, but it counts configurations. Give a whole number, 1 or more."
        )
    operations = history.operations()
    by_key: dict[Key, list[Operation]] = {}
    for op in operations:
        by_key.setdefault(op.key, []).append(op)
    hard: list[tuple[Key, Search]] = []
    steps_left = steps_max
    for key, of_key in by_key.items():
        search = Search(Register(of_key, history.uses_append))
        quick = min(steps_left, _QUICK_STEPS + 4 * len(of_key))
        search.run(quick)
        steps_left -= search.steps
        if search.linearizable is False:
            return _refuted(operations, key, _around(search.register, search.dead_end))
        if search.linearizable is None:
            conflict = () if search.register.appends else find_conflict(search.register)
            if conflict:
                return _refuted(operations, key, _conflicting(search.register, conflict))
            hard.append((key, search))
    undecided: list[Key] = []
    for key, search in hard:
        before = search.steps
        search.run(before + steps_left)
        steps_left -= search.steps - before
        if search.linearizable is False:
            return _refuted(operations, key, _around(search.register, search.dead_end))
        if search.linearizable is None:
            undecided.append(key)
    if undecided:
        return Verdict("undecided", len(operations), undecided[0])
    return Verdict("linearizable", len(operations))


def _refuted(operations: list[Operation], key: Key, window: tuple[dict[str, Any], ...]) -> Verdict:
    return Verdict("not linearizable", len(operations), key, window)


def _around(register: Register, end: DeadEnd) -> tuple[dict[str, Any], ...]:
    operations = register.operations
    stuck = [op for op in operations if op.completed == end.deadline]
    opened = [op for op in (operations[i] for i in end.blocked) if op not in stuck]
    return (
        *_described("linearized", (operations[i] for i in end.linearized)),
        *_described("stuck", stuck),
        *_described("open", opened),
    )


def _conflicting(register: Register, conflict: Iterable[int]) -> tuple[dict[str, Any], ...]:
    return _described("conflict", (register.operations[i] for i in conflict))


def _described(role: str, operations: Iterable[Operation]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "role": role,
            "process": op.process,
            "f": op.f,
            "key": op.key,
            "value": list(op.value) if isinstance(op.value, tuple) else op.value,
            "outcome": op.outcome,
            "invoke": op.invoked_ns,
            "complete": op.completed_ns,
        }
        for op in operations
    )
