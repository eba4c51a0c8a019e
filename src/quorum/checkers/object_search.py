"""Is the history of one object of any kind linearizable? The object itself, run alone, is the model.

Source: Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), section 4, for the search; Lowe, "Testing
for linearizability" (2017), for remembering configurations. A configuration is (which operations are linearized,
state). Operations that were invoked before the first return of one that is not linearized yet may come next.

A query that may come next and fits the state comes next, without alternative, because it changes nothing. An
operation of unknown outcome may come at any time from its invocation on, or never. Of several commands the one of
the lowest `rank` is tried first: a hint (the order of a log, say) on which no verdict depends. The search ends at
a budget, and then says so.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

STEPS_MAX = 200_000
TAIL = 5
"""How many of the last linearized operations a dead end names."""
_NEVER = float("inf")


class Interval(NamedTuple):
    """One operation, from its invocation to its return, both as ranks in the order of events. `completed` is None
    where nobody knows whether it happened."""

    invoked: int
    completed: int | None
    is_query: bool
    rank: float = _NEVER


class Model(Protocol):
    """The sequential object. It stands in one state at a time; operations go by their place in the history."""

    def state(self) -> Hashable:
        """Names the present state: equal names, equal states."""
        ...

    def save(self) -> Any:
        """The present state, for `restore`, any number of times."""
        ...

    def restore(self, saved: Any) -> None: ...

    def take(self, operation: int) -> bool:
        """Let a command happen. False: it gives something else than its client was told; the search then
        restores a state."""
        ...

    def fits(self, operation: int) -> bool:
        """Whether a query gives now what its client was told."""
        ...


class ObjectVerdict(NamedTuple):
    """The answer, and after how many steps. Where it is not "linearizable", where the search got furthest:
    `linearized` are the last operations of the longest prefix, `blocked` those that might come next, of which none
    fits."""

    verdict: Literal["linearizable", "not linearizable", "undecided"]
    steps: int
    linearized: tuple[int, ...] = ()
    blocked: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return self.verdict == "linearizable"


def check_object(operations: Sequence[Interval], model: Model, steps_max: int = STEPS_MAX) -> ObjectVerdict:
    """Search for a linearization. `model` stands in the first state; a query of unknown outcome says nothing, and
    is passed over."""
    return _Search(operations, model).run(steps_max)


class _Place(NamedTuple):
    """How far a search is: the first `base` completed operations are linearized, and of those behind them the bits
    of `mask`; of the unknown ones the bits of `used`."""

    base: int
    mask: int
    used: int


class _Frame(NamedTuple):
    """An operation that was linearized; `moves` could have been instead, from the state `saved` (None: there was
    no choice), at `place`."""

    operation: int
    moves: list[int] | None
    saved: Any
    place: _Place


class _Search:
    def __init__(self, operations: Sequence[Interval], model: Model) -> None:
        self._operations = operations
        self._model = model
        order = sorted(range(len(operations)), key=lambda i: operations[i].invoked)
        self._required = [i for i in order if operations[i].completed is not None]
        self._unknown = [i for i in order if operations[i].completed is None and not operations[i].is_query]
        self._bits = {i: bit for each in (self._required, self._unknown) for bit, i in enumerate(each)}
        self._place = _Place(0, 0, 0)
        self._frames: list[_Frame] = []
        self._seen: set[tuple[_Place, Hashable]] = set()
        self._steps = 0
        self._furthest: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
        self._depth = -1

    def run(self, steps_max: int) -> ObjectVerdict:
        while self._steps < steps_max:
            self._steps += 1
            window, unknown = self._window()
            if not window:
                return ObjectVerdict("linearizable", self._steps)
            forced = next((i for i in window if self._operations[i].is_query and self._model.fits(i)), None)
            if forced is not None:
                self._frames.append(_Frame(forced, None, None, self._place))
                self._place = self._after(forced)
                continue
            moves = [i for i in window if not self._operations[i].is_query] + unknown
            moves.sort(key=lambda i: self._operations[i].rank, reverse=True)  # taken from the end
            if not self._advance(moves, self._model.save()):
                self._remember(window)
                if not self._backtrack():
                    return ObjectVerdict("not linearizable", self._steps, *self._furthest)
        return ObjectVerdict("undecided", self._steps, *self._furthest)

    def _window(self) -> tuple[list[int], list[int]]:
        """What may come next: completed operations, and unknown ones."""
        operations, required = self._operations, self._required
        base, mask, used = self._place
        first_return = _NEVER
        window: list[int] = []
        for at in range(base, len(required)):
            operation = operations[required[at]]
            if operation.invoked > first_return:
                break
            if not mask >> (at - base) & 1:
                assert operation.completed is not None
                window.append(required[at])
                first_return = min(first_return, operation.completed)
        unknown = [
            i
            for bit, i in enumerate(self._unknown)
            if not used >> bit & 1 and operations[i].invoked < first_return
        ]
        return window, unknown

    def _after(self, i: int) -> _Place:
        """How far the search is once `i` is linearized."""
        base, mask, used = self._place
        if self._operations[i].completed is None:
            return _Place(base, mask, used | 1 << self._bits[i])
        mask |= 1 << (self._bits[i] - base)
        while mask & 1:
            mask >>= 1
            base += 1
        return _Place(base, mask, used)

    def _advance(self, moves: list[int], saved: Any) -> bool:
        """Take the first move that leads to a configuration not seen before. False: there is none."""
        while moves:
            i = moves.pop()
            self._steps += 1
            if self._model.take(i):
                place = self._after(i)
                known = (place, self._model.state())
                if known not in self._seen:
                    self._seen.add(known)
                    self._frames.append(_Frame(i, moves, saved, self._place))
                    self._place = place
                    return True
            self._model.restore(saved)
        return False

    def _backtrack(self) -> bool:
        """Undo moves until another can be taken instead. False: none is left."""
        while self._frames:
            _, moves, saved, self._place = self._frames.pop()
            if moves is not None:
                self._model.restore(saved)
                if self._advance(moves, saved):
                    return True
        return False

    def _remember(self, window: list[int]) -> None:
        if len(self._frames) > self._depth:
            self._depth = len(self._frames)
            self._furthest = (tuple(frame.operation for frame in self._frames[-TAIL:]), tuple(window))
