"""Replicated classes: what may be written in one, what is refused and how, and how an object behaves by itself."""

from __future__ import annotations

import asyncio
import random
import socket
import time
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from random import randint
from typing import Any, ClassVar, Final, Generic, Optional, TypeVar

import msgspec
import pytest

from quorum.apps.replicated import Replicated, command, query, state
from quorum.apps.replicated_schema import schema_of
from quorum.errors import LocalProtocolError, NotReplicable, QuorumError

T = TypeVar("T")
RATES = {"eur": 2}


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Line(msgspec.Struct):
    amount: int = 1


@dataclass
class Point:
    x: int = 0
    tags: list[str] = field(default_factory=list)


class Shop(Replicated):
    """A bit of everything."""

    CURRENCY: ClassVar[str] = "eur"
    LIMIT: Final = 100
    count: int = 0
    ratio: float = 0
    lines: list[Line] = msgspec.field(default_factory=lambda: [Line(7)])
    point: Point = field(default_factory=Point)
    colour: Colour = Colour.RED
    later: Optional[Later] = None  # noqa: UP045
    nothing: int | None
    stock: dict[str, int]

    @command
    def buy(self, what: str, n: int = 1, *, colour: Colour = Colour.BLUE) -> int:
        """Buys."""
        self.stock[what] = self.stock.get(what, 0) + n * self.rate()
        self.colour = colour
        self.count += 1
        if self.stock[what] > self.LIMIT:
            raise ValueError(f"too many {what}")
        return self.stock[what]

    def rate(self) -> int:
        return RATES[self.CURRENCY]

    @command
    def buy_twice(self, what: str) -> int:
        return self.buy.sync(what) + self.buy.sync(what)

    @command
    def touch(self, x: int, amount: int) -> None:
        self.point.x = x
        self.point.tags.append("t")
        self.lines[0].amount = amount
        self.later = Later(str(x))

    @query
    def look(self) -> tuple[int, float, list[Line], Point, Colour, Optional[Later], dict[str, int]]:  # noqa: UP045
        return self.count, self.ratio, self.lines, self.point, self.colour, self.later, self.stock

    @query
    def total(self) -> int:
        return sum(self.stock.values())

    @query
    def spend(self) -> int:
        return self.buy.sync("x")


class Later(msgspec.Struct, frozen=True):
    """Defined after its first use."""

    text: str


def test_a_class_works_alone_as_it_does_on_a_cluster():
    shop = Shop()
    assert shop.buy.sync("tea", 3) == 6
    assert asyncio.run(bought(shop)) == 8
    assert shop.buy_twice.sync("milk") == 6
    assert shop.total.sync() == 8 + 4
    assert shop.count == 4 and shop.stock == {"tea": 8, "milk": 4}
    assert (shop.colour, shop.nothing, shop.CURRENCY, shop.LIMIT) == (Colour.BLUE, None, "eur", 100)


async def bought(shop: Shop) -> int:
    waiting = shop.buy("tea", n=1, colour=Colour.RED)
    assert isinstance(waiting, Awaitable)
    return await waiting


def test_a_command_that_raises_changes_nothing():
    shop = Shop()
    shop.touch.sync(3, 9)
    before = shop.look.sync()
    with pytest.raises(ValueError, match="too many tea"):
        shop.buy.sync("tea", 1000)
    assert shop.look.sync() == before == (0, 0.0, [Line(9)], Point(3, ["t"]), Colour.RED, Later("3"), {})


def test_defaults_are_copied_for_each_object():
    one, other = Shop(), Shop()
    one.touch.sync(5, 5)
    assert other.look.sync()[2:4] == ([Line(7)], Point())


def test_values_are_kept_as_their_types_say():
    shop = Shop()
    assert type(shop.ratio) is float  # the default is written as 0

    class Odd(Replicated):
        ratio: float = 1.5
        number: int = 0

        @command
        def set_ratio(self, to: int) -> None:
            self.ratio = to

        @command
        def set_number(self, to: str) -> None:
            self.number = to

    odd = Odd()
    odd.set_ratio.sync(2)
    assert type(odd.ratio) is float and odd.ratio == 2
    with pytest.raises(TypeError, match=r"Odd\.number was to hold int, but .* Expected `int`, got `str`"):
        odd.set_number.sync("3")
    assert odd.number == 0


def test_state_cannot_be_changed_from_outside_or_by_a_query():
    shop = Shop()
    for change in (
        lambda: setattr(shop, "count", 3),
        lambda: shop.stock.update(tea=1),
        lambda: shop.lines.append(Line()),
        shop.spend.sync,
    ):
        with pytest.raises(LocalProtocolError, match=r"@command"):
            change()
    shop.lines[0].amount = 100  # a copy
    shop.point.x = 100
    assert shop.look.sync()[2:4] == ([Line(7)], Point())


def test_what_is_not_declared_cannot_be_assigned_or_deleted():
    class Loose(Replicated):
        count: int = 0

        @command
        def assign(self) -> None:
            self.kount = 1

        @command
        def delete(self) -> None:
            del self.count

    for method in (Loose().assign, Loose().delete):
        with pytest.raises(AttributeError, match=r"Loose|declared"):
            method.sync()
    with pytest.raises(AttributeError, match="no attribute 'kount'"):
        _ = Loose().kount


def test_a_field_holds_the_kind_of_container_that_it_was_declared_with():
    class Holder(Replicated):
        row: list[str] = []
        seen: set[str] = set()
        stock: dict[str, int] = {}

        @command
        def put(self, what: str) -> None:
            match what:
                case "list":
                    self.row = "abc"
                case "set":
                    self.seen = ["a"]
                case "dict":
                    self.stock = [("a", 1)]
                case "fine":
                    self.row, self.seen, self.stock = ("a",), frozenset("a"), {"a": 1}

    holder = Holder()
    for what in ("list", "set", "dict"):
        with pytest.raises(TypeError, match=f"was to hold a {what}"):
            holder.put.sync(what)
    holder.put.sync("fine")
    assert (holder.row, set(holder.seen), holder.stock) == (["a"], {"a"}, {"a": 1})


def test_calling_from_inside_needs_no_await():
    class Nested(Replicated):
        count: int = 0

        @command
        def add(self) -> None:
            self.count += 1

        @command
        def wrong(self) -> None:
            self.add()

    with pytest.raises(LocalProtocolError, match=r"self\.add\.sync"):
        Nested().wrong.sync()


def test_arguments_are_checked_where_they_are_given():
    shop = Shop()
    for arguments, said in (
        (("tea", "3"), r"Expected `int`, got `str` - at `n`\. It takes \(what: str, n: int = 1, colour: enum"),
        ((), "missing a required argument: 'what'"),
        (("tea", 1, 2), "too many positional arguments"),
        (("tea", 1 << 70), "can.t serialize ints|out of range"),
    ):
        with pytest.raises(TypeError, match=said):
            shop.buy.sync(*arguments)


def test_the_order_of_sets_does_not_matter():
    class Walker(Replicated):
        seen: set[str] = set()
        groups: dict[str, set[str]] = {}
        order: list[str] = []

        @command
        def visit(self, names: set[str]) -> list[str]:
            for name in names:
                self.seen.add(name)
            for name in self.seen | {"z"}:
                self.order.append(name)
            for name in self.groups.setdefault("g", set()):
                self.order.append(name)
            self.groups["g"] = names
            return list(self.order)

    given = [f"name-{number}" for number in range(30)]
    walker = Walker()
    spec = schema_of(Walker).methods["visit"]
    arguments = spec.decode(msgspec.msgpack.encode([given]))
    context = walker._face._local_context()
    walker._face.execute(spec, arguments, context, 10_000)
    assert walker.order == [*given, "z"]


class Timed(Replicated):
    drawn: list[int] = []

    @command
    def draw(self) -> tuple[float, int, int]:
        self.drawn.append(self.context.random.randrange(10**9))
        assert self.context.random is self.context.random
        return self.context.now, self.context.now_us, self.context.index

    @query
    def when(self) -> float:
        return self.context.now


def test_a_query_has_no_place_in_the_log():
    with pytest.raises(LocalProtocolError, match="Pass the value as an argument"):
        Timed().when.sync()


class Pair(Replicated, Generic[T]):
    items: list[T] = []
    last: T | None = None

    @command
    def put(self, item: T, more: dict[str, T]) -> T | None:
        before, self.last = self.last, item
        self.items += [item, *more.values()]
        return before


class Numbers(Pair[int]):
    @command
    def double(self) -> None:
        self.items = [2 * item for item in self.items]


def test_generic_classes_take_their_arguments():
    texts = Pair[str]()
    texts.put.sync("a", {"k": "b"})
    assert texts.items == ["a", "b"] and texts.last == "a"
    with pytest.raises(TypeError, match="Expected `str`"):
        texts.put.sync(1, {})
    numbers = Numbers()
    numbers.put.sync(3, {})
    numbers.double.sync()
    assert numbers.items == [6]
    with pytest.raises(TypeError, match="Expected `int`"):
        numbers.put.sync("a", {})
    anything = Pair()
    anything.put.sync({"a": [1]}, {})
    assert anything.items == [{"a": [1]}]
    assert schema_of(Pair[str]).text == "Pair[str]"


# What is refused.


def refused(match: str) -> Any:
    return pytest.raises(NotReplicable, match=match)


def test_a_method_runs_at_one_place_in_the_log():
    with refused("asynchronous"):

        class Waits(Replicated):
            @command
            async def wait(self) -> None: ...

    with refused("generator"):

        class Yields(Replicated):
            @query
            def each(self) -> list[int]:
                yield 1

    with refused("no function"):
        command(property(lambda self: 1))


def test_everything_is_annotated():
    with refused("takes `n` without an annotation"):

        class Bare(Replicated):
            @command
            def add(self, n) -> None: ...

    with refused("does not say what it returns"):

        class Silent(Replicated):
            @command
            def add(self, n: int): ...

    with refused("any number of arguments"):

        class Variadic(Replicated):
            @command
            def add(self, *n: int) -> None: ...

    with refused("no parameter"):

        class Static(Replicated):
            @command
            def add() -> None: ...

    with refused("items has no annotation"):

        class Shared(Replicated):
            items = []


def test_state_has_types_that_can_be_encoded_and_defaults_that_fit():
    with refused(r"Socketed\.wire was declared to hold socket"):

        class Socketed(Replicated):
            wire: socket.socket | None = None

    with refused(r"Listed\.wires"):

        class Listed(Replicated):
            wires: list[object] = []

    with refused("has no default"):

        class Empty(Replicated):
            count: int

    with refused("begins as 'x'"):

        class Wrong(Replicated):
            count: int = "x"

    with refused("has the default 'x'"):

        class WrongArgument(Replicated):
            @command
            def add(self, n: int = "x") -> None: ...

    with refused("n of Waits.add was declared to hold Event"):

        class Waits(Replicated):
            @command
            def add(self, n: asyncio.Event) -> None: ...

    with refused("cannot be encoded"):

        class Nonsense(Replicated):
            count: list[3] = 0


class Walls(Replicated):
    @command
    def paint(self) -> None: ...


def test_names_mean_what_they_say():
    with refused("begin with an underscore"):

        class Private(Replicated):
            _count: int = 0

    with refused("that name has a meaning"):

        class Contextual(Replicated):
            context: int = 0

    with refused("Rename it"):

        class Clash(Walls):
            paint: int = 0

    with refused("defines __init__"):

        class Constructed(Replicated):
            def __init__(self) -> None: ...

    with refused("__slots__"):

        class Slotted(Replicated):
            __slots__ = ()

    with refused("takes `consistency`"):

        class Consistent(Replicated):
            @query
            def get(self, consistency: str) -> None: ...

    with refused("no replicated class"):
        schema_of(int)
    with refused("name 'Missing' is not defined"):

        class Dangling(Replicated):
            count: Missing = 0  # noqa: F821

        Dangling()


def roll() -> int:
    return randint(1, 6)


def stamp() -> float:
    return time.time()


def deep() -> float:
    return stamp()


class Helper(Replicated):
    """What is forbidden in a command is free in a query."""

    @query
    def now(self) -> float:
        return time.time()


def test_clocks_randomness_and_io_are_refused_with_a_remedy():
    def define(body: Any, allow: Any = ()) -> type:
        body.__annotations__ = {"return": "None"}
        return type("Bad", (Replicated,), {"act": command(allow=allow)(body), "__module__": __name__})

    def draws(self):
        random.random()

    def draws_by_name(self):
        randint(1, 2)

    def reads_the_clock(self):
        time.time()

    def imports_the_clock(self):
        import time as clock

        clock.time()

    def imports_by_name(self):
        from time import monotonic

        monotonic()

    def reads_the_date(self):
        datetime.now()

    def makes_an_id(self):
        uuid.uuid4()

    def opens(self):
        return open("/etc/passwd").read()

    def connects(self):
        socket.create_connection(("localhost", 1))

    def hashes(self):
        hash("a")

    def asks_for_an_address(self):
        id(self)

    def nested(self):
        return [random.random() for _ in range(3)]

    def through_a_function(self):
        roll()

    def through_two_functions(self):
        deep()

    def sets_a_global(self):
        global RATES
        RATES = {}

    def evaluates(self):
        eval("1")  # noqa: S307

    for body, said in (
        (draws, r"uses random, .* self\.context\.random"),
        (draws_by_name, r"uses randint, .* self\.context\.random"),
        (reads_the_clock, r"uses time, .* self\.context\.now"),
        (imports_the_clock, r"uses time, .* self\.context\.now"),
        (imports_by_name, r"uses time, .* self\.context\.now"),
        (reads_the_date, r"uses datetime, .* self\.context\.now"),
        (makes_an_id, r"uses uuid, .* self\.context\.random"),
        (opens, "uses open, .* before the command"),
        (connects, "uses socket, .* before the command"),
        (hashes, "uses hash, .* differs from process to process"),
        (asks_for_an_address, "uses id, .* memory address"),
        (nested, "uses random"),
        (through_a_function, "through roll, uses randint"),
        (through_two_functions, "through stamp, uses time"),
        (sets_a_global, "uses global RATES"),
        (evaluates, "uses eval"),
    ):
        with refused(said):
            define(body)
    assert define(reads_the_clock, allow={"time"})
    assert define(draws, allow="random")

    def harmless(self):
        return datetime(2000, 1, 1) + timedelta(1), uuid.UUID(int=3), sorted({3, 1}), RATES

    assert define(harmless)


def test_plain_methods_that_a_command_calls_are_checked_too():
    with refused(r"through .*Indirect\.roll, uses random"):

        class Indirect(Replicated):
            @command
            def act(self) -> int:
                return self.roll()

            def roll(self) -> int:
                return random.randrange(6)

    with refused("upgrade uses time"):

        class Upgrading(Replicated):
            def upgrade(self, from_version: int) -> None:
                time.time()


def test_walking_over_a_built_in_set_is_refused():
    with refused(r"walks over the set `set\(names\)`.*sorted\(set\(names\)\)"):

        class Looping(Replicated):
            @command
            def visit(self, names: list[str]) -> None:
                for name in set(names):
                    print(name)

    with refused(r"walks over the set `found"):

        class Named(Replicated):
            @command
            def visit(self, names: list[str]) -> list[str]:
                found = {name for name in names}  # noqa: C416
                return [name for name in found | {"x"} if name] or list(found)

    with refused(r"walks over the set `set\(names\)`"):

        class Choosing(Replicated):
            @command
            def longest(self, names: list[str]) -> str:
                return max(set(names), key=len)

    with refused(r"walks over the set `set\(names\)`"):

        class Unpacking(Replicated):
            @command
            def two(self, names: list[str]) -> str:
                first, second = set(names)
                return first + second

    class Fine(Replicated):
        @command
        def visit(self, names: list[str]) -> list[str]:
            found = set(names)
            rest = {name for name in found if name}
            return sorted(found) if "a" in rest and len(found) > 1 else [min(found)]

    assert Fine().visit.sync(["b", "a"]) == ["a", "b"]


def test_making_text_of_a_built_in_set_is_refused():
    """It would stand in the state, or in what a caller is told and what is kept for retries."""
    with refused(r"makes text of the set `missing`.*sorted\(missing\)"):

        class Complaining(Replicated):
            known: list[str] = []

            @command
            def check(self, names: list[str]) -> None:
                missing = set(names) - set(self.known)
                if missing:
                    raise ValueError(f"not known: {missing}")

    with refused(r"makes text of the set `set\(names\)`"):

        class Describing(Replicated):
            text: str = ""

            @command
            def describe(self, names: list[str]) -> None:
                self.text = "%s, %d" % (set(names), len(names))  # noqa: UP031

    with refused(r"makes text of the set `frozenset\(names\)`"):

        class Formatting(Replicated):
            @command
            def describe(self, names: list[str]) -> str:
                return "{} {}".format("names", frozenset(names))

    with refused(r"makes text of the set `set\(names\)`"):

        class Raising(Replicated):
            @command
            def check(self, names: list[str]) -> None:
                assert not names, str({"names": set(names)})

    with refused(r"makes text of the set `names`"):

        class Frozen(Replicated):
            @command
            def check(self, names: frozenset[str]) -> str:
                return repr(names)

    class Fine(Replicated):
        @command
        def check(self, names: list[str]) -> str:
            found = set(names)
            return f"{sorted(found)}, {len(found)}, {', '.join(sorted(found))}, {max(found)}"

    assert Fine().check.sync(["b", "a"]) == "['a', 'b'], 2, a, b, b"


def test_every_error_is_one_of_ours_and_a_type_error():
    assert issubclass(NotReplicable, QuorumError) and issubclass(NotReplicable, TypeError)


# Versions.


class Growing(Replicated):
    version = 3
    value: int = 0
    limit: int = state(10, since=2)
    notes: list[str] = state(["first"], since=3)

    @command(since=2)
    def double(self) -> int:
        self.value *= 2
        return self.value


def test_fields_and_commands_belong_to_versions():
    schema = schema_of(Growing)
    assert [each.name for each in schema.fields_at(1)] == ["value"]
    assert [each.name for each in schema.fields_at(2)] == ["value", "limit"]
    assert len({schema.fingerprint(version) for version in (1, 2, 3)}) == 3
    assert Growing().notes == ["first"]

    with refused("is there since version 2, but the class is at version 1"):

        class Forgot(Replicated):
            @command(since=2)
            def double(self) -> None: ...

    with refused("versions are counted"):

        class Fraction(Replicated):
            version = 1.5
