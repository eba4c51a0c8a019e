"""The search for a linearization of one key.

Source: Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), section 4, for the search; Lowe,
"Testing for linearizability" (2017), for remembering configurations and for the doubly linked list of calls and
returns, from which a linearized operation is lifted and into which it is put back.

A configuration is (which operations are linearized, state). Operations in the list before the first return are
those that may come next. Three rules save work and keep the verdict: a read that may come next and fits the
state comes next, with no alternative, because it changes nothing; an optional operation is left out for good at
its deadline (see `register`); before it, it is tried only if somebody who may come next needs its result.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from quorum.checkers.register import ILLEGAL, NONE, Register
from quorum.checkers.zones import zones_of

TAIL = 5
"""How many of the last linearized operations a dead end remembers."""
WALK = 1_000
"""How far back it looks for the operation that left the state."""


class DeadEnd(NamedTuple):
    """Where the search got furthest: indexes of operations.

    `linearized` are the last of the longest linearized prefix, the one that left the state among them;
    `blocked` are those that may come next, of which none fits; `deadline` is the rank of the return that cannot
    be passed.
    """

    linearized: tuple[int, ...]
    blocked: tuple[int, ...]
    deadline: int


# The operation taken; the moves left (None: there was no choice); state, base, mask and optional mask before it.
_Frame = tuple[int, list[int] | None, int, int, int, int]


class Search:
    """A search that can stop at a budget and go on. `linearizable` is None until it is known.

    `steps` counts configurations. The linearized operations are kept as `base`, how many of the first required
    ones are all linearized, `mask`, a bit for each required one from there on, and `used`, a bit for each
    optional one.
    """

    def __init__(self, register: Register) -> None:
        self.register = register
        self.linearizable: bool | None = None
        self.steps = 0
        self.dead_end = DeadEnd((), (), NONE)
        self._furthest = (NONE, NONE)
        self._state = self._base = self._mask = self._used = 0
        self._frames: list[_Frame] = []
        self._seen: set[int] = set()
        self._reads_left = sum(
            1 for need, give in zip(register.needs, register.gives) if need != NONE and give == NONE
        )
        self._number_bits()
        self._link_entries()
        self._rank_moves()

    def run(self, steps_max: int) -> bool | None:
        """Go on until the verdict is known or `steps` has reached `steps_max`; return `linearizable`."""
        while self.linearizable is None and self.steps < steps_max:
            self.steps += 1
            if not self._next[0]:
                self.linearizable = True
                break
            forced, moves, first_return = self._candidates()
            if forced != NONE:
                self._take(forced, None, self._state)
            elif not self._advance(moves):
                self._remember_dead_end(first_return)
                if not self._backtrack():
                    self.linearizable = False
        if self.linearizable is not None:
            self._seen.clear()
        return self.linearizable

    def _number_bits(self) -> None:
        self._bits: list[int] = []
        required = optional = 0
        for is_optional in self.register.optional:
            self._bits.append(optional if is_optional else required)
            optional += is_optional
            required += not is_optional
        self._optional_bits = optional

    def _link_entries(self) -> None:
        """Entry 0 is the head of the ring; 1 to 2n are calls and returns in order."""
        register = self.register
        count = len(register.operations)
        entries = [((rank, 1), i, False) for i, rank in enumerate(register.calls)]
        entries += [(returned, i, True) for i, returned in enumerate(register.returns)]
        entries.sort()
        self._owner = [NONE] + [i for _, i, _ in entries]
        self._returning = [False] + [returning for _, _, returning in entries]
        self._call_entry = [0] * count
        self._return_entry = [0] * count
        for at, (_, i, returning) in enumerate(entries, 1):
            (self._return_entry if returning else self._call_entry)[i] = at
        size = len(entries) + 1
        self._next = [(at + 1) % size for at in range(size)]
        self._previous = [(at - 1) % size for at in range(size)]

    def _rank_moves(self) -> None:
        """Which write to try first: by the left end of its value's zone, where that is known.

        Where every value is written once and there is no cas, this order never has to be taken back.
        """
        register = self.register
        self._rank = [returned for returned, _ in register.returns]
        if not register.appends:
            for zone in zones_of(register).values():
                if zone.writer != NONE:
                    self._rank[zone.writer] = min(zone.finish, zone.start)

    def _candidates(self) -> tuple[int, list[int], int]:
        """What may come next: (the one that must, or NONE; those to choose from; the first return's entry)."""
        register, state = self.register, self._state
        owner, following, returning = self._owner, self._next, self._returning
        needs, gives, adds, optional = register.needs, register.gives, register.adds, register.optional
        moves: list[int] = []
        maybe: list[int] = []
        wanted: list[int] = []
        entry = following[0]
        while not returning[entry]:
            i = owner[entry]
            entry = following[entry]
            need = needs[i]
            if need not in (NONE, state):
                wanted.append(need)
                continue
            if need != NONE and gives[i] == NONE:
                return i, moves, entry
            (maybe if optional[i] else moves).append(i)
        last = owner[entry]
        if optional[last]:
            return last, moves, entry
        if len(moves) > 1:
            moves.sort(key=self._rank.__getitem__, reverse=True)  # taken from the end
        if maybe:
            useful = [i for i in maybe if adds[i] is not None or register.appends or gives[i] in wanted]
            moves[:0] = [i for i in useful if self._is_first_twin(i)]
        return NONE, moves, entry

    def _is_first_twin(self, i: int) -> bool:
        """Of optional operations that do the same, the earliest goes first: exchanging them changes nothing."""
        twin = self.register.twins[i]
        return twin == NONE or bool(self._used >> self._bits[twin] & 1)

    def _advance(self, moves: list[int]) -> bool:
        """Take the first move that leads to a configuration not seen before. False: there is none."""
        register, bits, optional = self.register, self._bits, self._optional_bits
        while moves:
            i = moves.pop()
            state = register.after(self._state, i)
            if state == ILLEGAL or (state == register.beyond and self._reads_left):
                continue
            mask, used = self._mask, self._used
            if register.optional[i]:
                if state == self._state:
                    continue  # it changes nothing here
                used |= 1 << bits[i]
            else:
                mask |= 1 << (bits[i] - self._base)
            key = ((mask << 64 | self._base) << optional | used) << 40 | state
            if key in self._seen:
                continue
            self._seen.add(key)
            self._take(i, moves, state)
            return True
        return False

    def _take(self, i: int, moves: list[int] | None, state: int) -> None:
        """Linearize operation `i`, or leave it out if it is optional and its deadline has come."""
        self._frames.append((i, moves, self._state, self._base, self._mask, self._used))
        self._state = state
        if self.register.optional[i]:
            self._used |= 1 << self._bits[i]
        else:
            self._reads_left -= moves is None
            mask = self._mask | 1 << (self._bits[i] - self._base)
            if mask & 1:
                whole = (~mask & (mask + 1)).bit_length() - 1
                mask >>= whole
                self._base += whole
            self._mask = mask
        following, previous = self._next, self._previous
        for entry in (self._call_entry[i], self._return_entry[i]):
            before, after = previous[entry], following[entry]
            following[before] = after
            previous[after] = before

    def _backtrack(self) -> bool:
        """Undo moves until another can be taken instead. False: none is left."""
        following, previous = self._next, self._previous
        while self._frames:
            i, moves, self._state, self._base, self._mask, self._used = self._frames.pop()
            for entry in (self._return_entry[i], self._call_entry[i]):
                following[previous[entry]] = entry
                previous[following[entry]] = entry
            if moves is None:
                self._reads_left += not self.register.optional[i]
            elif self._advance(moves):
                return True
        return False

    def _remember_dead_end(self, first_return: int) -> None:
        reached = (first_return, len(self._frames))
        if reached <= self._furthest:
            return
        self._furthest = reached
        linearized: list[int] = []
        changed = False
        after = self._state
        for i, moves, before, *_ in islice(reversed(self._frames), WALK):
            dropped = moves is None and self.register.optional[i]
            if after != before or (len(linearized) < TAIL and not dropped):
                linearized.append(i)
            changed = changed or after != before
            if changed and len(linearized) >= TAIL:
                break
            after = before
        blocked = []
        entry = self._next[0]
        while not self._returning[entry]:
            blocked.append(self._owner[entry])
            entry = self._next[entry]
        deadline = self.register.returns[self._owner[entry]][0]
        self.dead_end = DeadEnd(tuple(reversed(linearized)), tuple(blocked), deadline)
