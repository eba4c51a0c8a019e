"""What a replica remembers of its log, against a plain list of entries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from quorum.protocols.log import ReplicaLog


class LogMachine(RuleBasedStateMachine):
    """The model is every entry ever kept, as (term, size), and how many of the first are compacted away."""

    def __init__(self) -> None:
        super().__init__()
        self.log = ReplicaLog()
        self.offset = 0
        self.base_term = 0
        self.entries: list[tuple[int, int]] = []

    @property
    def last(self) -> int:
        return self.offset + len(self.entries)

    def last_term(self) -> int:
        return self.entries[-1][0] if self.entries else self.base_term

    @rule(step=st.integers(0, 3), size=st.integers(1, 100))
    def append(self, step: int, size: int) -> None:
        term = self.last_term() + step
        self.entries.append((term, size))
        assert self.log.append(term, size) == self.last

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        keep = data.draw(st.integers(0, len(self.entries)))
        self.log.truncate(self.offset + keep + 1)
        del self.entries[keep:]

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        drop = data.draw(st.integers(0, len(self.entries)))
        self.log.compact(self.offset + drop)
        if drop:
            self.base_term = self.entries[drop - 1][0]
        self.offset += drop
        del self.entries[:drop]

    @rule(ahead=st.integers(0, 5), term=st.integers(0, 9))
    def reset(self, ahead: int, term: int) -> None:
        index = self.last + ahead
        self.log.reset(index, term)
        self.offset, self.base_term, self.entries = index, term, []

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), bytes_max=st.integers(1, 300), entries_max=st.integers(1, 5))
    def extent(self, data: st.DataObject, bytes_max: int, entries_max: int) -> None:
        place = data.draw(st.integers(0, len(self.entries) - 1))
        chosen = [self.entries[place]]
        for entry in self.entries[place + 1 :]:
            if len(chosen) == entries_max or sum(size for _, size in chosen) + entry[1] > bytes_max:
                break
            chosen.append(entry)
        first = self.offset + place + 1
        assert self.log.extent(first, bytes_max, entries_max) == (
            first + len(chosen) - 1,
            sum(size for _, size in chosen),
        )

    @rule(term=st.integers(0, 20), above=st.integers(-12, 3))
    def last_not_after(self, term: int, above: int) -> None:
        """The base stands in where nothing above it may agree."""
        index = max(self.offset, self.last + above)
        found = self.log.last_not_after(index, term)
        agreeing = [
            self.offset + place + 1
            for place, (at, _) in enumerate(self.entries[: index - self.offset])
            if at <= term
        ]
        assert found == max(agreeing, default=self.offset)

    @rule(data=st.data())
    def size(self, data: st.DataObject) -> None:
        first = data.draw(st.integers(self.offset + 1, self.last + 1))
        last = data.draw(st.integers(first - 1, self.last))
        inside = self.entries[first - self.offset - 1 : last - self.offset]
        assert self.log.size(first, last) == sum(size for _, size in inside)

    @invariant()
    def ends_agree(self) -> None:
        assert (self.log.base_index, self.log.base_term) == (self.offset, self.base_term)
        assert (self.log.last_index, self.log.last_term) == (self.last, self.last_term())

    @invariant()
    def terms_agree(self) -> None:
        held = [self.log.term(index) for index in range(self.offset - 1, self.last + 2)]
        assert held == [None, self.base_term, *(term for term, _ in self.entries), None]


TestReplicaLogIsAListOfEntries = LogMachine.TestCase


@given(count=st.integers(1, 20), more=st.integers(0, 20))
def test_a_log_holds_no_entry_beyond_its_end(count: int, more: int) -> None:
    log = ReplicaLog()
    for _ in range(count):
        log.append(1, 10)
    assert log.term(count + 1 + more) is None
    assert log.term(0) == 0
