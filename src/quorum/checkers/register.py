"""The operations on one key, made ready for the search: small integers, and no operation that cannot matter.

Everything here keeps the verdict as it is. `fail` did not happen, and an `info` read restrains nothing: both
go. An `info` write is *optional*: it takes effect or not. It matters only if somebody sees its value:

* its value is seen and nobody else writes it: then it took effect, before the first who saw it returned;
* its value is never seen: then leaving it out of a linearization leaves that legal;
* else it matters only until the last who may see it has returned, its `deadline`; after that it may be left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quorum.checkers.history import KIND, Operation, json_identity

NONE = -1
INITIAL = 0
"""The state of a key that was never written, or deleted."""
ILLEGAL = -1


class Register:
    """One key: a state, and operations 0..n-1 in the order of invocation, as parallel lists.

    A state is a number. Operation `i` may happen in state `needs[i]` only (NONE: in any) and leaves state
    `gives[i]` (NONE: the same), or joins the text `adds[i]` to the state. Its call stands at `calls[i]` in the
    order of events and its return at `returns[i]`, (rank, tie): an optional operation's return is its deadline.
    `twins[i]` is the operation just before it that is optional and does the same, until the same deadline.

    A key that is only read and appended to (`longest` is then its longest read) has lengths for states, because
    every state is a beginning of the longest read, or is `beyond` it, where nobody reads.
    """

    def __init__(self, operations: Sequence[Operation], missing_is_empty: bool) -> None:
        self.operations = [
            op for op in operations if op.outcome == "ok" or (op.outcome == "info" and KIND[op.f] != "read")
        ]
        self._numbers: dict[Any, int] = {json_identity(None): INITIAL}
        if missing_is_empty:
            self._numbers[json_identity("")] = INITIAL
        self._texts: dict[int, str] = {INITIAL: ""}
        self._joined: dict[tuple[int, str], int] = {}
        kinds = {KIND[op.f] for op in self.operations}
        self.appends = "append" in kinds
        self.longest: str | None = None
        self.beyond = NONE
        if self.appends and kinds <= {"append", "read"}:
            reads = (op.value for op in self.operations if KIND[op.f] == "read" and isinstance(op.value, str))
            self.longest = max(reads, key=len, default="")
            self.beyond = len(self.longest) + 1
        self.needs: list[int] = []
        self.gives: list[int] = []
        self.adds: list[str | None] = []
        for op in self.operations:
            self._encode(op)
        self.calls = [op.invoked for op in self.operations]
        self.optional = [op.completed is None for op in self.operations]
        self.returns = [(NONE if op.completed is None else op.completed, 1) for op in self.operations]
        self.twins = [NONE] * len(self.operations)
        if self.appends:
            self._bound_appends()
        else:
            self._bound_writes()
        self._drop_unseen()
        self._find_twins()

    def after(self, state: int, i: int) -> int:
        """The state that operation `i` leaves in `state`, or ILLEGAL if it cannot happen there."""
        need = self.needs[i]
        if need not in (NONE, state):
            return ILLEGAL
        text = self.adds[i]
        if text is not None:
            return self._join(state, text)
        give = self.gives[i]
        return state if give == NONE else give

    def writers(self) -> dict[int, list[int]]:
        """Which operations may leave each state. Not meaningful where a key is appended to."""
        found: dict[int, list[int]] = {}
        for i, give in enumerate(self.gives):
            if give != NONE:
                found.setdefault(give, []).append(i)
        return found

    def readers(self) -> dict[int, list[int]]:
        """Which operations, optional ones left out, can happen in each state only."""
        found: dict[int, list[int]] = {}
        for i, need in enumerate(self.needs):
            if need != NONE and not self.optional[i]:
                found.setdefault(need, []).append(i)
        return found

    def _encode(self, op: Operation) -> None:
        kind = KIND[op.f]
        need, give, add = NONE, NONE, None
        if kind == "read":
            need = self._number(op.value)
        elif kind == "write":
            give = self._number(op.value)
        elif kind == "delete":
            give = INITIAL
        elif kind == "append":
            add = op.value
        else:
            old, new = op.value
            need, give = self._number(old), self._number(new)
            give = NONE if give == need else give  # it changes nothing: a read
        self.needs.append(need)
        self.gives.append(give)
        self.adds.append(add)

    def _number(self, value: Any) -> int:
        if self.longest is not None:
            text = "" if value is None else value
            if isinstance(text, str) and self.longest.startswith(text):
                return len(text)
            return self.beyond + 1  # no state is: nobody can have read this beside the longest
        number = self._numbers.setdefault(json_identity(value), len(self._numbers))
        if isinstance(value, str):
            self._texts.setdefault(number, value)
        return number

    def _join(self, state: int, text: str) -> int:
        if self.longest is None:
            joined = self._joined.get((state, text))
            if joined is None:
                joined = self._joined[state, text] = self._number(self._texts[state] + text)
            return joined
        if state == self.beyond:
            return state
        if self.longest.startswith(text, state):
            return state + len(text)
        return self.beyond if text.startswith(self.longest[state:]) else ILLEGAL

    def _bound_writes(self) -> None:
        """Find who must have happened, and until when the others matter. No key with appends."""
        writers, readers = self.writers(), self.readers()
        seen = list(readers)
        while seen:
            value = seen.pop()
            wrote = writers.get(value, ())
            if len(wrote) != 1 or value == INITIAL:
                continue
            (i,) = wrote
            first = min(self.returns[reader][0] for reader in readers[value])
            if self.optional[i]:
                self.optional[i] = False
                self.returns[i] = (first, 0)
                if self.needs[i] != NONE:
                    readers.setdefault(self.needs[i], []).append(i)
                    seen.append(self.needs[i])
            else:
                self.returns[i] = min(self.returns[i], (first, 0))
        self._set_deadlines(writers, readers)

    def _set_deadlines(self, writers: dict[int, list[int]], readers: dict[int, list[int]]) -> None:
        """An optional write matters until the last who needs its value: through optional cas, at any remove."""
        last = {value: max(self.returns[reader][0] for reader in who) for value, who in readers.items()}
        settled: set[int] = set()
        for value in sorted(last, key=lambda value: (-last[value], value)):
            chain = [value]
            while chain:
                seen = chain.pop()
                if seen in settled:
                    continue
                settled.add(seen)
                for i in writers.get(seen, ()):
                    if self.optional[i]:
                        self.returns[i] = (last[value], 2)
                        if self.needs[i] != NONE:
                            chain.append(self.needs[i])

    def _bound_appends(self) -> None:
        """Until when optional operations matter on a key with appends: until the last who looks has returned.

        Where the key is only read and appended to, every read begins with every earlier one: an append whose text
        stands in no read came after all reads, or not at all.
        """
        looks = [i for i, need in enumerate(self.needs) if need != NONE and not self.optional[i]]
        last = max((self.returns[i][0] for i in looks), default=NONE)
        until: dict[str, int] = {}
        for i, optional in enumerate(self.optional):
            if not optional:
                continue
            text = self.adds[i]
            if self.longest is None or text is None:
                self.returns[i] = (last, 2)
            elif text in until or text in self.longest:
                until.setdefault(text, self._last_look(text, looks))
                self.returns[i] = (until[text], 2)

    def _last_look(self, text: str, looks: Sequence[int]) -> int:
        """When the last read that holds `text` returned, or NONE."""
        values = ((self.returns[i][0], self.operations[i].value) for i in looks)
        return max((rank for rank, value in values if isinstance(value, str) and text in value), default=NONE)

    def _drop_unseen(self) -> None:
        """Leave out what matters to nobody: optional, and its deadline is before its call."""
        kept = [
            i for i, optional in enumerate(self.optional) if not optional or self.returns[i][0] > self.calls[i]
        ]
        if len(kept) == len(self.optional):
            return
        self.operations = [self.operations[i] for i in kept]
        self.needs = [self.needs[i] for i in kept]
        self.gives = [self.gives[i] for i in kept]
        self.adds = [self.adds[i] for i in kept]
        self.calls = [self.calls[i] for i in kept]
        self.returns = [self.returns[i] for i in kept]
        self.optional = [self.optional[i] for i in kept]
        self.twins = [NONE] * len(kept)

    def _find_twins(self) -> None:
        newest: dict[tuple[int, int, str | None, int], int] = {}
        for i, optional in enumerate(self.optional):
            if optional:
                same = (self.needs[i], self.gives[i], self.adds[i], self.returns[i][0])
                self.twins[i] = newest.get(same, NONE)
                newest[same] = i
