"""Containers in the state of an object against plain ones: through failures, snapshots, restores and replays."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from objects_log import ObjectLog
from quorum.apps import object_list
from quorum.apps.leaves import Leaves
from quorum.apps.objects import Raised
from quorum.apps.replicated import Replicated, command, query

KEYS = st.sampled_from("abcdefgh")
NUMBERS = st.integers(0, 5)
EDITS = ("append", "set", "insert", "delete")
PLACES = st.integers(-4, 40)


class Note(msgspec.Struct):
    """Changed in place."""

    text: str = ""
    lines: list[int] = []


class Fixed(msgspec.Struct, frozen=True):
    number: int


class Operation(msgspec.Struct):
    """What to do with which field."""

    field: str
    name: str
    key: str = ""
    number: int = 0
    stop: int = 0
    numbers: list[int] = []


class Contents(msgspec.Struct):
    numbers: dict[str, int] = {}
    lists: dict[str, list[int]] = {}
    fixed: dict[str, Fixed] = {}
    row: list[int] = []
    rows: list[list[int]] = []
    notes: list[Note] = []
    seen: set[str] = set()
    note: Note = msgspec.field(default_factory=Note)
    maybe: list[int] | None = None
    text: str = ""


def operate(on: Any, do: Operation) -> None:  # the same code works on the object and on the model
    field = getattr(on, do.field)
    match do.field, do.name:
        case "numbers", "set":
            field[do.key] = do.number
        case "numbers", "move to the end":
            field[do.key] = field.pop(do.key)
        case "numbers", "replace":
            on.numbers = {do.key: do.number, "z": 9, **field}
        case "fixed", "set":
            field[do.key] = Fixed(do.number)
        case "lists", "set":
            field[do.key] = list(do.numbers)
        case "lists", "grow":
            field.setdefault(do.key, []).append(do.number)
        case "lists", "share":
            shared = list(do.numbers)
            field[do.key], field["z"] = shared, shared
        case "lists", "grow all":
            for each in field.values():
                each.append(do.number)
        case "lists", "take from the rows":
            field[do.key] = list(on.rows[do.number])
        case "numbers" | "lists" | "fixed", "delete":
            del field[do.key]
        case "numbers" | "lists" | "fixed", "pop newest":
            field.popitem()
        case "row", "append":
            field.append(do.number)
        case "row", "set":
            field[do.number] = do.stop
        case "row", "insert":
            field.insert(do.number, do.stop)
        case "row" | "rows", "delete":
            del field[do.number]
        case "row", "slice":
            field[do.number : do.stop] = do.numbers
        case "row", "delete slice":
            del field[do.number : do.stop : 2]
        case "row", "set slice":
            field[do.number : do.stop : 2] = [7] * len(field[do.number : do.stop : 2])
        case "row", "extend":
            field += do.numbers
        case "row", "sort":
            field.sort(reverse=bool(do.number))
        case "row", "remove":
            field.remove(do.number)
        case "row", "replace":
            on.row = field * 2 if len(field) < 40 else field[:5]
        case "rows", "append":
            field.append(list(do.numbers))
        case "rows", "grow":
            field[do.number].append(do.stop)
        case "rows", "insert and grow":
            field.insert(do.number, [1])
            field[do.number].append(do.stop)
        case "rows", "reverse":
            field.reverse()
        case "rows", "grow all":
            for each in field:
                each.append(do.number)
        case "notes", "append":
            field.append(Note(do.key, list(do.numbers)))
        case "notes", "change":
            field[do.number].text += do.key
            field[do.number].lines.append(do.stop)
        case "seen", "add":
            field.add(do.key)
        case "seen", "discard":
            field.discard(do.key)
        case "seen", "join":
            on.seen |= {do.key}
        case "note", "change":
            on.note.text = do.key
            on.note.lines.extend(do.numbers)
        case "note", "replace":
            on.note = Note(do.key)
        case "maybe", "set":
            on.maybe = list(do.numbers)
        case "maybe", "grow":
            on.maybe.append(do.number)
        case "text", "set":
            on.text = do.key
        case _, "clear":
            field.clear()
        case _, "nothing":
            pass
        case _:
            raise AssertionError(f"no operation {do.name} of {do.field}")


def operate_all(on: Any, operations: list[Operation]) -> None:
    """Do what can be done; a last operation that cannot be done fails all."""
    for number, each in enumerate(operations, 1):
        try:
            operate(on, each)
        except (LookupError, ValueError, AttributeError):
            if number == len(operations):
                raise


def operations_of(
    field: str, *names: str, numbers: st.SearchStrategy[int] = NUMBERS
) -> st.SearchStrategy[Operation]:
    return st.builds(
        Operation, st.just(field), st.sampled_from(names), KEYS, numbers, numbers, st.lists(NUMBERS, max_size=12)
    )


DICTS = st.one_of(
    operations_of("numbers", "set", "set", "set", "delete", "pop newest", "move to the end", "replace"),
    operations_of("lists", "set", "grow", "share", "grow all", "delete", "take from the rows", "pop newest"),
    operations_of("fixed", "set", "set", "delete"),
)
ROW = operations_of(
    "row",
    *EDITS,
    "slice",
    "delete slice",
    "set slice",
    "extend",
    "extend",
    "sort",
    "remove",
    "replace",
    numbers=PLACES,
)
ROWS = operations_of(
    "rows",
    "append",
    "append",
    "append",
    "insert and grow",
    "grow",
    "delete",
    "reverse",
    "grow all",
    numbers=PLACES,
)
OTHERS = st.one_of(
    operations_of("notes", "append", "append", "change"),
    operations_of("seen", "add", "add", "discard", "join"),
    operations_of("note", "change", "replace"),
    operations_of("maybe", "set", "grow"),
    operations_of("text", "set"),
)
CLEAR = st.builds(
    Operation, st.sampled_from(["numbers", "lists", "fixed", "row", "rows", "notes", "seen"]), st.just("clear")
)
OPERATIONS = st.one_of(*(st.lists(each, max_size=10) for each in (DICTS, ROW, ROWS, DICTS | ROW | ROWS | OTHERS)))


class Box(Replicated):
    numbers: dict[str, int] = {}
    lists: dict[str, list[int]] = {}
    fixed: dict[str, Fixed] = {}
    row: list[int] = []
    rows: list[list[int]] = []
    notes: list[Note] = []
    seen: set[str] = set()
    note: Note = Note()
    maybe: list[int] | None = None
    text: str = ""

    @command
    def do(self, operations: list[Operation], fail: bool) -> None:
        operate_all(self, operations)
        if fail:
            raise RuntimeError("as asked")

    @query
    def contents(self) -> Contents:
        return Contents(
            dict(self.numbers),
            {key: list(value) for key, value in self.lists.items()},
            dict(self.fixed),
            list(self.row),
            [list(each) for each in self.rows],
            list(self.notes),
            set(self.seen),
            self.note,
            self.maybe,
            self.text,
        )

    @query
    def spoil(self) -> None:
        """Changes copies of what is in the state; nothing may come of it."""
        for each in self.lists.values():
            each.append(99)
        for row in self.rows:
            row.append(99)
        for note in self.notes:
            note.text = "spoiled"
        self.note.lines.append(99)


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    """Blocks of a few elements, so that a short list has many."""
    patch = pytest.MonkeyPatch()
    patch.setattr(object_list, "BLOCK_ELEMENTS_MAX", 5)
    patch.setattr(object_list, "CUT_ELEMENTS", 4)
    patch.setattr(object_list, "FEW_ELEMENTS", 2)
    patch.setattr(object_list, "BLOCK_BYTES_MAX", 24)
    patch.setattr(object_list, "CUT_BYTES", 16)
    yield
    patch.undo()


class AgainstPlainContainers(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.log = ObjectLog(box=Box)
        self.model = Contents()

    def run_on_model(self, operations: list[Operation]) -> str | None:
        """The name of the exception that the operations raise on a copy of the model; else they are kept."""
        copy = msgspec.msgpack.decode(msgspec.msgpack.encode(self.model), type=Contents)
        copy.numbers = dict(self.model.numbers)
        try:
            operate_all(copy, operations)
        except Exception as error:
            return type(error).__name__
        self.model = msgspec.msgpack.decode(msgspec.msgpack.encode(copy), type=Contents)
        return None

    @rule(operations=OPERATIONS | st.lists(CLEAR, min_size=1, max_size=1))
    def do(self, operations):
        before = self.log.machine.digest()
        kind = self.run_on_model(operations)
        result = self.log.call("box", "do", operations, False)
        if kind is None:
            assert result is None
        else:
            assert isinstance(result, Raised) and result.kind == kind
            assert self.log.machine.digest() == before

    @rule(operations=OPERATIONS)
    def fail_at_the_end(self, operations):
        before = self.log.machine.digest()
        result = self.log.call("box", "do", operations, True)
        assert isinstance(result, Raised)
        assert self.log.machine.digest() == before

    @rule()
    def ask_what_spoils(self):
        before = self.log.machine.digest()
        assert self.log.ask("box", "spoil") is None
        assert self.log.machine.digest() == before

    @rule()
    def go_on_from_a_snapshot(self):
        restored = self.log.restored()
        assert restored.digest() == self.log.machine.digest()
        self.log.machine = restored

    @precondition(lambda self: len(self.log.entries) < 30)
    @rule()
    def a_replay_has_the_same_digest(self):
        assert self.log.replay().digest() == self.log.machine.digest()

    @invariant()
    def contents_agree(self):
        found = self.log.ask("box", "contents")
        assert found == self.model
        assert list(found.numbers) == list(self.model.numbers), "a dict keeps its order"
        assert list(found.lists) == list(self.model.lists)

    def teardown(self):
        if hasattr(self, "log"):
            assert self.log.replay().digest() == self.log.machine.digest()


AgainstPlainContainers.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
test_objects_agree_with_plain_containers = AgainstPlainContainers.TestCase


@pytest.mark.slow
def test_objects_agree_with_plain_containers_in_many_more_runs():
    run_state_machine_as_test(
        AgainstPlainContainers, settings=settings(max_examples=120, stateful_step_count=30, deadline=None)
    )


def test_leaves_are_what_the_cells_are_kept_in():
    """The cost of a digest and a snapshot is that of the leaves, which has tests of its own."""
    log = ObjectLog(box=Box)
    assert isinstance(log.machine._objects["box"].cells.leaves, Leaves)


class Rows(Replicated):
    row: list[bytes] = []
    others: list[list[int]] = []

    @command
    def extend(self, count: int) -> None:
        self.row.extend([b"x"] * count)

    @command
    def cut(self, start: int, stop: int) -> None:
        del self.row[start:stop]

    @command
    def swell(self) -> None:
        self.row[-1] = bytes(3000)
        self.others.append(["no number"])  # type: ignore[list-item]


def test_what_fails_only_when_it_is_encoded_leaves_no_trace(monkeypatch):
    """Nor in the sizes of blocks, which decide whether two of them are joined."""
    for name, value in (("BLOCK_ELEMENTS_MAX", 64), ("CUT_ELEMENTS", 48), ("FEW_ELEMENTS", 12)):
        monkeypatch.setattr(object_list, name, value)
    monkeypatch.setattr(object_list, "BLOCK_BYTES_MAX", 4096)
    monkeypatch.setattr(object_list, "CUT_BYTES", 3000)
    log = ObjectLog(rows=Rows)
    log.call("rows", "extend", 65)
    log.call("rows", "cut", 57, 65)
    assert isinstance(log.call("rows", "swell"), Raised)
    restored = log.restored()
    log.call("rows", "cut", 0, 10)
    restored.apply(*log.entries[-1])
    assert restored.digest() == log.machine.digest()
    assert [block.count for block in log.machine._objects["rows"].instance.row._blocks] == [47]


class Alike(Replicated):
    """Keys that are equal and are encoded differently."""

    floats: dict[float, int] = {}
    anything: dict[Any, list[int]] = {}
    members: set[int | float | bool] = set()

    @command
    def edit(self, edits: list[tuple[str, Any]], fails: bool) -> None:
        for name, key in edits:
            match name:
                case "set":
                    self.anything[key] = [1]
                    self.floats[float(key)] = 1
                    self.members.add(key)
                case "grow":
                    self.anything[key].append(2)
                    self.floats[float(key)] += 1
                case "delete":
                    del self.anything[key], self.floats[float(key)]
                    self.members.discard(key)
        if fails:
            raise ValueError("on purpose")

    @query
    def show(self) -> tuple[dict[float, int], list[Any], list[Any]]:
        return dict(self.floats), list(self.anything.items()), list(self.members)


@given(
    batches=st.lists(
        st.tuples(
            st.lists(
                st.tuples(
                    st.sampled_from(("set", "grow", "delete")),
                    st.sampled_from((0, 0.0, -0.0, False, 1, 1.0, True)),
                ),
                max_size=4,
            ),
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_keys_that_are_equal_are_one_entry_however_they_are_encoded(batches):
    log = ObjectLog(alike=Alike)
    for edits, fails in batches:
        before = log.ask("alike", "show")
        if isinstance(log.call("alike", "edit", edits, fails), Raised):
            assert repr(log.ask("alike", "show")) == repr(before)
        twin = log.restored()
        assert twin.digest() == log.machine.digest()
        shown = log.ask("alike", "show")
        log.machine = twin
        assert repr(log.ask("alike", "show")) == repr(shown)
        assert len(shown[0]) == len(shown[1]) == len(shown[2]) <= 2


def test_a_key_of_another_type_is_refused_also_where_it_is_equal():
    class Numbers(Replicated):
        of: dict[int, list[int]] = {}

        @command
        def set(self) -> None:
            self.of[1] = []

        @command
        def delete(self) -> None:
            del self.of[True]

        @command
        def grow(self) -> None:
            self.of[True].append(1)

    log = ObjectLog(numbers=Numbers)
    assert log.call("numbers", "set") is None
    for method in ("delete", "grow"):
        assert log.call("numbers", method).kind == "TypeError"
    assert log.restored().digest() == log.machine.digest()


Key = int | float | str | bool | tuple[float, int]
KEPT = (0, 1, 2, 0.0, -0.0, 1.0, True, "a", (0.0, 1), (-0.0, 1))
NOT_KEPT = (1 << 70, -(1 << 70), "\udcff", math.nan, (math.nan,), 1j)
"""Keys that a dict takes and no cell can: they have no bytes, or no value read from bytes is equal to them."""


class Keyed(Replicated):
    """Its keys are made in its commands, so that they are what no caller could send."""

    anything: dict[Key, int] = {}
    lists: dict[Key, list[int]] = {}
    whole: dict[int, int] = {}
    texts: set[str] = set()
    floats: dict[float, int] = {}

    @command
    def edit(self, edits: list[tuple[str, int]], fails: bool) -> None:
        edit_keys(self.anything, self.lists, edits)
        if fails:
            raise RuntimeError("as asked")

    @command
    def put_what_cannot_be_kept(self, where: str, place: int) -> None:
        key = NOT_KEPT[place]
        self.anything[0] = 9
        self.lists.setdefault(0, []).append(9)
        self.lists.pop(1, None)
        match where:
            case "anything" | "lists":
                getattr(self, where)[key] = 9 if where == "anything" else [9]
            case "whole":
                self.whole[3] = 3
                self.whole[key] = 3  # type: ignore[index]
            case "texts":
                self.texts |= {"b"}
                self.texts.add(key)  # type: ignore[arg-type]
            case "floats":
                self.floats[3.0] = 3
                self.floats[key] = 3  # type: ignore[index]

    @query
    def show(
        self,
    ) -> tuple[list[tuple[Key, int]], list[tuple[Key, list[int]]], dict[int, int], list[str], dict[float, int]]:
        anything, lists = list(self.anything.items()), list(self.lists.items())
        return anything, lists, dict(self.whole), list(self.texts), dict(self.floats)


def edit_keys(anything: Any, lists: Any, edits: list[tuple[str, int]]) -> None:  # on the object and on the model
    for name, place in edits:
        key = KEPT[place]
        match name:
            case "set":
                anything[key] = place
                lists[key] = [place]
            case "delete":
                del anything[key], lists[key]
            case "grow":
                lists[key].append(place)
            case "move":
                anything[key] = anything.pop(key)
                lists[key] = lists.pop(key)


EDITS_OF_KEYS = st.lists(
    st.tuples(st.sampled_from(("set", "set", "delete", "grow", "move")), st.integers(0, len(KEPT) - 1)), max_size=6
)


@given(
    steps=st.lists(
        st.tuples(EDITS_OF_KEYS, st.booleans())
        | st.tuples(
            st.sampled_from(("anything", "lists", "whole", "texts", "floats")),
            st.integers(0, len(NOT_KEPT) - 1),
        ),
        max_size=8,
    )
)
def test_a_dict_of_any_keys_is_what_a_plain_one_is_on_a_replica_that_reloads_too(steps):
    log = ObjectLog(keyed=Keyed)
    twin = log.restored()
    anything: dict[Any, int] = {}
    lists: dict[Any, list[int]] = {}
    for first, second in steps:
        if isinstance(first, str):
            assert isinstance(log.call("keyed", "put_what_cannot_be_kept", first, second), Raised)
        else:
            others, other_lists = dict(anything), {key: list(value) for key, value in lists.items()}
            try:
                edit_keys(others, other_lists, first)
                does_fail = second
            except KeyError:
                does_fail = True
            if not does_fail:
                anything, lists = others, other_lists
            assert isinstance(log.call("keyed", "edit", first, second), Raised) == does_fail
        twin.apply(*log.entries[-1])
        assert twin.digest() == log.machine.digest()
        twin = log.restored()
        shown = log.ask("keyed", "show")
        assert shown == (list(anything.items()), list(lists.items()), {}, [], {})
        log.machine, twin = twin, log.machine
        assert repr(log.ask("keyed", "show")) == repr(shown)


def test_a_key_that_is_not_equal_to_itself_is_refused():
    class Seen(Replicated):
        of: set[float] = set()

        @command
        def add(self, key: float) -> None:
            self.of.add(key)

    log = ObjectLog(seen=Seen)
    refused = log.call("seen", "add", math.nan)
    assert refused.kind == "ValueError" and "Use another key" in refused.message
    assert log.call("seen", "add", math.inf) is None


class Measured(Replicated):
    """Numbers that are looked for among others."""

    newest: float = 0.0
    row: list[float] = []
    by_name: dict[str, float] = {}

    @command
    def keep(self) -> None:
        self.newest = math.nan
        self.row.append(math.nan)
        self.row.append(self.row[0])
        self.by_name["a"] = math.nan

    @command
    def found(self) -> list[bool]:
        sought, known = math.nan, (self.newest, *self.by_name.values(), self.row[-1])
        return [sought in known, sought in self.row, self.row.index(self.row[1]) == 0, known[2] in known[:2]]


def test_a_nan_is_found_by_identity_on_a_running_replica_as_on_one_that_reloaded():
    log = ObjectLog(object=Measured)
    log.call("object", "keep")
    reloaded = log.restored()
    assert log.call("object", "found") == [False] * 4
    reloaded.apply(*log.entries[-1])
    assert reloaded.digest() == log.machine.digest()
