"""The ready-made types against their built-in models."""

from __future__ import annotations

import heapq
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from objects_log import ObjectLog
from quorum.apps.objects import Raised
from quorum.apps.replicated_types import (
    ReplicatedCounter,
    ReplicatedDict,
    ReplicatedList,
    ReplicatedPriorityQueue,
    ReplicatedQueue,
    ReplicatedSet,
)

KEYS = st.sampled_from("abcdef")
NUMBERS = st.integers(-2, 9)


class AgainstBuiltIns(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.log = ObjectLog(
            counter=ReplicatedCounter,
            dict=ReplicatedDict[str, int],
            set=ReplicatedSet[str],
            list=ReplicatedList[int],
            queue=ReplicatedQueue[str],
            heap=ReplicatedPriorityQueue[int, str],
        )
        self.counter, self.dict, self.set, self.list = 0, {}, {}, []
        self.queue, self.heap, self.number = deque(), [], 0

    def agree(self, name, method, expected, *args):
        """The call gives what the model gives, or raises what it raises."""
        kind, value = "", None
        try:
            value = expected()
        except Exception as error:
            kind = type(error).__name__
        found = self.log.call(name, method, *args)
        assert found == value if not kind else isinstance(found, Raised) and found.kind == kind

    @rule(n=NUMBERS)
    def count(self, n):
        self.counter += n
        self.agree("counter", "add", lambda: self.counter, n)

    @rule(n=NUMBERS)
    def set_counter(self, n):
        before, self.counter = self.counter, n
        self.agree("counter", "set", lambda: before, n)

    @rule(key=KEYS, value=NUMBERS)
    def dict_set(self, key, value):
        self.dict[key] = value
        assert self.log.call("dict", "set", key, value) is None

    @rule(key=KEYS, value=NUMBERS)
    def dict_setdefault(self, key, value):
        self.agree("dict", "setdefault", lambda: self.dict.setdefault(key, value), key, value)

    @rule(entries=st.dictionaries(KEYS, NUMBERS))
    def dict_update(self, entries):
        self.dict.update(entries)
        self.log.call("dict", "update", entries)

    @rule(key=KEYS, expected=st.none() | NUMBERS, value=st.none() | NUMBERS)
    def dict_compare_and_set(self, key, expected, value):
        holds = self.dict.get(key) == expected
        if holds and value is not None:
            self.dict[key] = value
        elif holds:
            self.dict.pop(key, None)
        self.agree("dict", "compare_and_set", lambda: holds, key, expected, value)

    @rule(key=KEYS)
    def dict_pop(self, key):
        self.agree("dict", "pop", lambda: self.dict.pop(key), key)

    @rule(key=KEYS)
    def dict_discard(self, key):
        self.agree("dict", "discard", lambda: self.dict.pop(key, None) is not None, key)

    @rule(member=KEYS)
    def set_add(self, member):
        is_new = member not in self.set
        self.set[member] = None
        self.agree("set", "add", lambda: is_new, member)

    @rule(members=st.lists(KEYS))
    def set_update(self, members):
        before = len(self.set)
        self.set.update(dict.fromkeys(members))
        self.agree("set", "update", lambda: len(self.set) - before, members)

    @rule(member=KEYS)
    def set_discard(self, member):
        self.agree("set", "discard", lambda: self.set.pop(member, 0) is None, member)

    @rule(element=NUMBERS)
    def list_append(self, element):
        self.list.append(element)
        self.agree("list", "append", lambda: len(self.list) - 1, element)

    @rule(elements=st.lists(NUMBERS))
    def list_extend(self, elements):
        self.list.extend(elements)
        self.agree("list", "extend", lambda: len(self.list), elements)

    @rule(index=NUMBERS, element=NUMBERS)
    def list_insert(self, index, element):
        self.agree("list", "insert", lambda: self.list.insert(index, element), index, element)

    @rule(index=NUMBERS, element=NUMBERS)
    def list_set(self, index, element):
        self.agree("list", "set", lambda: self.list.__setitem__(index, element), index, element)

    @rule(index=NUMBERS)
    def list_pop(self, index):
        self.agree("list", "pop", lambda: self.list.pop(index), index)

    @rule(element=NUMBERS)
    def list_remove(self, element):
        self.agree("list", "remove", lambda: self.list.remove(element), element)

    @rule(name=st.sampled_from(["dict", "set", "list"]))
    def clear(self, name):
        model = getattr(self, name)
        count = len(model)
        model.clear()
        self.agree(name, "clear", lambda: count)

    @rule(item=KEYS)
    def queue_put(self, item):
        self.queue.append(item)
        self.agree("queue", "put", lambda: True, item)

    @rule()
    def queue_take(self):
        self.agree("queue", "take", lambda: self.queue.popleft() if self.queue else None)

    @rule(limit=st.integers(-1, 5))
    def queue_take_many(self, limit):
        items = [self.queue.popleft() for _ in range(min(max(limit, 0), len(self.queue)))]
        self.agree("queue", "take_many", lambda: items, limit)

    @rule(priority=NUMBERS, item=KEYS)
    def heap_put(self, priority, item):
        heapq.heappush(self.heap, (priority, self.number, item))
        self.number += 1
        self.agree("heap", "put", lambda: True, priority, item)

    @rule()
    def heap_take(self):
        self.agree("heap", "take", lambda: heapq.heappop(self.heap)[2] if self.heap else None)

    @rule()
    def go_on_from_a_snapshot(self):
        restored = self.log.restored()
        assert restored.digest() == self.log.machine.digest()
        self.log.machine = restored

    @invariant()
    def they_hold_the_same(self):
        ask = self.log.ask
        assert ask("counter", "get") == self.counter
        assert list(ask("dict", "items").items()) == list(self.dict.items())
        assert ask("dict", "keys", 1, 2) == list(self.dict)[1:3]
        assert ask("dict", "get", "a") == self.dict.get("a") and ask("dict", "get", "a", 77) == self.dict.get(
            "a", 77
        )
        assert ask("dict", "contains", "a") == ("a" in self.dict)
        assert ask("set", "items") == list(self.set) and ask("set", "contains", "a") == ("a" in self.set)
        assert ask("list", "items") == self.list and ask("list", "items", 1, 2) == self.list[1:3]
        assert ask("queue", "peek") == (self.queue[0] if self.queue else None)
        assert ask("heap", "peek") == (self.heap[0][2] if self.heap else None)
        for name, model in (("dict", self.dict), ("set", self.set), ("list", self.list), ("queue", self.queue)):
            assert ask(name, "size") == len(model)
        assert ask("heap", "size") == len(self.heap)

    def teardown(self):
        if hasattr(self, "log"):
            assert self.log.replay().digest() == self.log.machine.digest()


AgainstBuiltIns.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
test_ready_made_types_agree_with_built_in_ones = AgainstBuiltIns.TestCase


def test_lists_answer_by_index_and_by_value():
    letters = ReplicatedList[str]()
    letters.extend.sync(["a", "b", "a"])
    assert letters.get.sync(-1) == "a" and letters.index.sync("b") == 1
    with pytest.raises(IndexError):
        letters.get.sync(3)
    with pytest.raises(ValueError):
        letters.index.sync("z")


class Short(ReplicatedQueue[str]):
    maxsize = 2


class Few(ReplicatedPriorityQueue[float, str]):
    maxsize = 2


def test_queues_may_be_bounded():
    queue, heap = Short(), Few()
    assert [queue.put.sync(each) for each in "abc"] == [True, True, False]
    assert queue.take.sync() == "a" and queue.put.sync("d")
    assert [heap.put.sync(each, "x") for each in (3, 1, 2)] == [True, True, False]


def test_priorities_can_be_ordered():
    heap = Few()
    with pytest.raises(ValueError, match="no place among others"):
        heap.put.sync(float("nan"), "x")
    mixed = ReplicatedPriorityQueue[int | str, str]()
    mixed.put.sync(1, "a")
    with pytest.raises(TypeError):
        mixed.put.sync("b", "b")
    assert mixed.size.sync() == 1


def test_large_collections_cost_what_is_touched():
    """Counted in cells written, not in time."""
    log = ObjectLog(dict=ReplicatedDict[int, int], list=ReplicatedList[int], queue=ReplicatedQueue[int])
    log.call("dict", "update", {number: number for number in range(20_000)})
    log.call("list", "extend", list(range(20_000)))
    for method, arguments in (("set", (17, 0)), ("discard", (12_000,)), ("set", (99_999, 1))):
        assert cells_written(log, "dict", method, arguments) <= 1
    for method, arguments in (
        ("append", (1,)),
        ("pop", ()),
        ("set", (9_000, 1)),
        ("insert", (9_000, 1)),
        ("pop", (0,)),
    ):
        assert cells_written(log, "list", method, arguments) <= 3
    for number in range(100):
        log.call("queue", "put", number)
    assert cells_written(log, "queue", "put", (1,)) == 2
    assert cells_written(log, "queue", "take", ()) == 1


def cells_written(log, name, method, arguments):
    cells = log.machine._objects[name].cells
    before = cells.revision
    assert not isinstance(log.call(name, method, *arguments), Raised)
    return cells.revision - before
