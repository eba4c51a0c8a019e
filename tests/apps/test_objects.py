"""Replicated objects as a state machine: batches, failures, versions, snapshots, hostile bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps_log import KV, header
from objects_log import OBJECTS, ObjectLog
from quorum.apps.batch import Refused
from quorum.apps.host import Host
from quorum.apps.kv_store import KeyValueStore
from quorum.apps.objects import (
    COMMAND_RESULTS_BYTES_MAX,
    DESCRIBE,
    QUERY_RESULTS_BYTES_MAX,
    Ask,
    Call,
    Done,
    Raise,
    Raised,
    decode_descriptions,
    decode_results,
    encode_batch,
    encode_query,
    encode_raise,
)
from quorum.apps.objects_machine import Objects
from quorum.apps.replicated import Replicated, command, query, state
from quorum.apps.replicated_schema import schema_of
from quorum.errors import ApplicationError, ConfigurationError, IncompatibleProgram, LocalProtocolError


class Account(Replicated):
    balance: int = 0
    log: list[str] = []

    @command
    def pay(self, amount: int, why: str = "") -> int:
        self.log.append(why)
        self.balance += amount
        if self.balance < 0:
            raise ApplicationError("Overdrawn", f"{-self.balance} short")
        return self.balance

    @command
    def stamp(self) -> tuple[int, int, int, int, int]:
        context = self.context
        return context.now_us, context.index, context.client, context.version, context.random.randrange(1 << 60)

    @command
    def leave(self) -> None:
        self.balance = 1000
        raise SystemExit(1)

    @command
    def recurse(self) -> None:
        self.balance = 1000
        self.recurse.sync()

    @command
    def fill(self, size: int) -> bytes:
        self.balance += 1
        return bytes(size)

    @command
    def lie(self) -> int:
        self.balance = 1000
        return "no number"  # type: ignore[return-value]

    @query
    def read(self) -> tuple[int, list[str]]:
        return self.balance, self.log

    @query
    def dump(self, size: int) -> bytes:
        return bytes(size)


class Names(Replicated):
    names: dict[str, int] = {}

    @command
    def add(self, name: str) -> int:
        return self.names.setdefault(name, len(self.names))

    @query
    def all(self) -> list[str]:
        return list(self.names)


def new_log() -> ObjectLog:
    return ObjectLog(account=Account, names=Names)


def busy_log() -> ObjectLog:
    log = new_log()
    for number in range(60):
        log.append(
            encode_batch(
                [
                    log.encode("account", "pay", number % 7 - 3, f"entry {number}"),
                    log.encode("names", "add", f"name {number * 37 % 41}"),
                    log.encode("account", "stamp"),
                ]
            )
        )
    return log


def test_a_batch_runs_in_order_and_a_failure_spoils_only_itself():
    log = new_log()
    calls = [
        log.encode("account", "pay", 5, "wages"),
        log.encode("account", "pay", -7, "rent"),
        log.encode("names", "add", "ann"),
        log.encode("account", "pay", -1, why="tea"),
    ]
    results = log.append(encode_batch(calls))
    assert results[1] == Raised("Overdrawn", "2 short")
    assert [log.read(c.object, c.method, r) for c, r in zip(calls, results) if isinstance(r, Done)] == [5, 0, 4]
    assert log.ask("account", "read") == (4, ["wages", "tea"])


@pytest.mark.parametrize(("method", "kind"), [("leave", "SystemExit"), ("recurse", "RecursionError"), ("lie", "")])
def test_whatever_a_method_does_its_object_is_as_before(method, kind):
    log = new_log()
    log.call("account", "pay", 3)
    before = log.machine.digest()
    result = log.call("account", method)
    assert isinstance(result, Raised) and result.kind == (kind or "TypeError")
    assert log.machine.digest() == before
    assert log.call("account", "pay", 1) == 4


def test_the_context_is_the_place_in_the_log():
    log = new_log()
    assert log.call("account", "stamp")[:4] == (3000, 3, 5, 1)
    stamp = log.encode("account", "stamp")
    first, second = (log.read("account", "stamp", each) for each in log.append(encode_batch([stamp, stamp])))
    assert first[:4] == second[:4] and first[4] != second[4]


def test_results_of_one_batch_are_bounded():
    log = new_log()
    assert log.call("account", "fill", COMMAND_RESULTS_BYTES_MAX).kind == "ResultTooLarge"
    calls = [log.encode("account", "fill", size) for size in (COMMAND_RESULTS_BYTES_MAX - 100, 200, 20)]
    results = log.append(encode_batch(calls))
    assert [type(each) for each in results] == [Done, Refused, Done]
    assert results[1].reason == "read"
    assert log.ask("account", "read")[0] == 2
    ask = Ask("account", "dump", 1, msgspec.msgpack.encode([QUERY_RESULTS_BYTES_MAX - 5]))
    one_more = Ask("account", "dump", 1, msgspec.msgpack.encode([0]))
    results = decode_results(log.machine.query(encode_query([ask, one_more])))
    assert isinstance(results[0], Done) and results[1] == Refused("read", results[1].message)


def test_what_does_not_exist_is_refused():
    log = ObjectLog(account=Account)
    assert log.call("account", "pay", 1) == 1

    def reason(call: Call | Ask) -> str:
        body = encode_batch([call]) if isinstance(call, Call) else encode_query([call])
        (result,) = log.append(body) if isinstance(call, Call) else decode_results(log.machine.query(body))
        assert isinstance(result, Refused), result
        return result.reason

    assert reason(Call("nobody", "pay", 1, b"\x91\x01")) == "absent"
    assert reason(Call("account", "steal", 1, b"\x91\x01")) == "method"
    assert reason(Call("account", "read", 1, b"\x90")) == "method"
    assert reason(Ask("account", "pay", 1, b"\x91\x01")) == "method"
    assert reason(Call("account", "pay", 9, b"\x91\x01")) == "version"
    for arguments in (b"", b"\xc1", b"\x90", b"\x91\xa1x", b"\x93\x01\xa0\x01", b"\x91" * 5000, b"\x91\x01\x01"):
        assert reason(Call("account", "pay", 1, arguments)) == "arguments"
    assert log.ask("account", "read") == (1, [""])
    absent = Objects({"account": Account})
    (result,) = decode_results(absent.query(encode_query([Ask("account", "read", 1, b"\x90")])))
    assert isinstance(result, Refused) and result.reason == "absent"


@given(st.binary(max_size=60))
def test_no_bytes_stop_the_machine(body):
    log = new_log()
    before = log.machine.digest()
    host = Host({OBJECTS: log.machine})
    host.apply(header(1, app=OBJECTS), body)
    host.query(OBJECTS, body)
    assert log.machine.digest() == before


class Nested(msgspec.Struct):
    inner: list[Nested] = []


class Deep(Replicated):
    nested: Nested = Nested()

    @command
    def put(self, nested: Nested) -> None:
        self.nested = nested


def test_how_deep_arguments_may_nest_does_not_depend_on_the_interpreter():
    log = ObjectLog(deep=Deep)
    shallow, deep = Nested(), Nested()
    for _ in range(10):
        shallow = Nested([shallow])
    for _ in range(40):
        deep = Nested([deep])
    assert log.call("deep", "put", shallow) is None
    with pytest.raises(TypeError, match="nest deeper than 64"):
        log.encode("deep", "put", deep)
    hostile = msgspec.msgpack.encode([deep])
    (result,) = log.append(encode_batch([Call("deep", "put", 1, hostile)]))
    assert isinstance(result, Refused) and "nest deeper" in result.message


def test_replayed_and_restored_machines_have_equal_digests_now_and_later():
    log = busy_log()
    replayed, restored = log.replay(), log.restored()
    assert log.machine.digest() == replayed.digest() == restored.digest()
    for index in range(1000, 1050):
        body = encode_batch([log.encode("account", "pay", index % 5 - 2), log.encode("names", "add", str(index))])
        replies = {each.apply(header(index), body).reply for each in (log.machine, replayed, restored)}
        assert len(replies) == 1
    assert log.machine.digest() == replayed.digest() == restored.digest()


def test_every_change_changes_the_digest():
    log = busy_log()
    digests = {log.machine.digest()}
    for number in range(20):
        log.call("names", "add", f"new {number}")
        digests.add(log.machine.digest())
    assert len(digests) == 21


def test_a_snapshot_is_isolated_from_what_is_applied_while_it_is_read():
    log = busy_log()
    before, chunks = log.machine.digest(), log.machine.snapshot()
    read = [next(chunks)]
    for number in range(200):
        log.call("names", "add", f"later {number}")
    restored = Objects(log.classes)
    restored.restore([*read, *chunks])
    assert restored.digest() == before


@given(st.data())
def test_damaged_snapshots_are_refused_and_change_nothing(data):
    log = new_log()
    for number in range(20):
        log.call("account", "pay", number, "x" * number)
        log.call("names", "add", str(number))
    chunks = list(log.machine.snapshot())
    at = data.draw(st.integers(0, len(chunks) - 1))
    damaged = bytearray(chunks[at])
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    machine = log.replay()
    before = machine.digest()
    try:
        machine.restore([*chunks[:at], bytes(damaged), *chunks[at + 1 :]])
    except ValueError:
        assert machine.digest() == before
    else:  # some other state, but one that can be used
        machine.apply(header(1000), encode_batch([log.encode("account", "pay", 1)]))
        machine.digest()


def test_chunks_that_are_missing_or_left_over_are_refused():
    log = busy_log()
    chunks = list(log.machine.snapshot())
    empty = Objects(log.classes)
    empty.restore([])  # as a snapshot of a release that had no objects
    assert empty.digest() == Objects(log.classes).digest()
    for wrong in (chunks[:-1], [*chunks, chunks[-1]], [chunks[0], *reversed(chunks[1:])], chunks[1:]):
        with pytest.raises(ValueError):
            Objects(log.classes).restore(wrong)


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", 3])
def test_a_name_is_short_and_printable(name):
    with pytest.raises(ConfigurationError, match="printable"):
        Objects({name: Account})


def test_nodes_tell_what_they_host():
    log = ObjectLog(account=Account)
    machine = Objects({"account": Account, "names": Names})
    for entry in log.entries:
        machine.apply(*entry)
    described = decode_descriptions(machine.query(DESCRIBE))
    assert [(each.object, each.cls, each.version, each.newest) for each in described] == [
        ("account", "Account", 1, 1),
        ("names", "Names", 0, 1),
    ]


# Versions: a rolling upgrade.


class Shelf(Replicated):
    """As it was."""

    things: list[str] = []

    @command
    def put(self, thing: str) -> int:
        self.things.append(thing)
        return len(self.things)


class NewShelf(Replicated):
    """As it is: version 1 of it is `Shelf`."""

    version = 2
    things: list[str] = []
    counts: dict[str, int] = state({}, since=2)
    limit: int = state(3, since=2)

    @command
    def put(self, thing: str) -> int:
        if self.context.version >= 2:
            if thing == "bad":
                raise ValueError("bad things are refused from version 2 on")
            self.counts[thing] = self.counts.get(thing, 0) + 1
        self.things.append(thing)
        return len(self.things)

    @command(since=2)
    def take(self) -> str:
        return self.things.pop()

    @query
    def count(self, thing: str) -> int:
        return self.counts[thing]

    def upgrade(self, from_version: int) -> None:
        assert from_version == 1 and self.context.version == 2
        for thing in self.things:
            if thing == "bad":
                raise ValueError("bad things must go first")
            self.counts[thing] = self.counts.get(thing, 0) + 1


def old_and_new() -> tuple[ObjectLog, Objects, Objects]:
    """A log in which the shelf exists in version 1, a node of the old program and one of the new."""
    log = ObjectLog(shelf=Shelf)
    log.call("shelf", "put", "a")
    log.call("shelf", "put", "a")
    return log, log.machine, log.replay(shelf=NewShelf)


def test_old_and_new_programs_agree_while_the_old_version_is_active():
    log, old, new = old_and_new()
    assert old.digest() == new.digest()
    body = encode_batch([log.encode("shelf", "put", "bad"), Call("shelf", "take", 2, b"\x90")])
    replies = {machine.apply(header(100), body).reply for machine in (old, new)}
    (reply,) = replies
    put, take = decode_results(reply)
    assert isinstance(put, Done) and isinstance(take, Refused) and take.reason == "version"
    unaware = Call("shelf", "take", 1, b"\x90")  # even from a program that is wrong about the version
    (reply,) = {machine.apply(header(101), encode_batch([unaware])).reply for machine in (old, new)}
    assert decode_results(reply)[0].reason == "method"
    assert old.digest() == new.digest()
    restored = Objects({"shelf": NewShelf})
    restored.restore(old.snapshot())
    assert restored.digest() == old.digest()


def raised_to_2() -> bytes:
    return encode_raise(Raise("shelf", 2, schema_of(NewShelf).fingerprint(2)))


def test_a_raise_upgrades_the_state_once_and_the_old_program_stops():
    log, old, new = old_and_new()
    (result,) = decode_results(new.apply(header(100), raised_to_2()).reply)
    assert result == Done(msgspec.msgpack.encode(2))
    count = schema_of(NewShelf).methods["count"]
    (found,) = decode_results(new.query(encode_query([Ask("shelf", "count", 1, count.encode(("a",), {}))])))
    assert found == Done(msgspec.msgpack.encode(2))
    after = new.digest()
    again = decode_results(new.apply(header(101), raised_to_2()).reply)
    assert again == [result] and new.digest() == after

    before = old.digest()
    with pytest.raises(IncompatibleProgram, match=r"knows Shelf from version 1 to 1.*knows version 2"):
        old.apply(header(100), raised_to_2())
    assert old.digest() == before
    with pytest.raises(ValueError, match="knows Shelf from version 1 to 1"):
        old.restore(new.snapshot())
    assert log.machine is old


def test_an_upgrade_that_fails_leaves_the_old_version():
    log, _, new = old_and_new()
    new.apply(header(100), encode_batch([log.encode("shelf", "put", "bad")]))
    before = new.digest()
    (result,) = decode_results(new.apply(header(101), raised_to_2()).reply)
    assert result == Raised("ValueError", "bad things must go first")
    assert new.digest() == before
    restored = Objects({"shelf": NewShelf})
    restored.restore(new.snapshot())
    assert restored.digest() == before
    assert isinstance(
        decode_results(new.apply(header(102), encode_batch([log.encode("shelf", "put", "b")])).reply)[0], Done
    )


def test_a_node_refuses_to_propose_what_would_stop_it():
    _, old, new = old_and_new()
    new.vet(raised_to_2())
    for machine, body, said in (
        (old, raised_to_2(), "knows Shelf from version 1 to 1"),
        (old, encode_raise(Raise("book", 1, b"")), "hosts no such object; it hosts "),
        (old, encode_raise(Raise("shelf", 1, b"other")), "has another Shelf of version 1"),
        (old, encode_raise(Raise("shelf", 999, b"other")), "from version 1 to 1"),
        (old, b"\x81", "cannot be read"),
        (old, b"\x81\xa2do\xa5r\xffise", "cannot be read"),
    ):
        with pytest.raises(LocalProtocolError, match=said):
            machine.vet(body)
    old.vet(encode_batch([Call("shelf", "put", 999, b"\xc1")]))
    old.vet(b"")


class OtherShelf(Replicated):
    things: list[str] = []

    @command
    def put(self, thing: str, where: str = "") -> int:
        return 0


class NewestShelf(NewShelf):
    version = 3
    oldest = 2


def test_a_class_that_changed_what_a_version_was_does_not_run():
    log, _, new = old_and_new()
    with pytest.raises(IncompatibleProgram, match=r"another OtherShelf of version 1: .*`since`"):
        log.replay(shelf=OtherShelf)
    with pytest.raises(IncompatibleProgram, match="knows NewestShelf from version 2 to 3"):
        log.replay(shelf=NewestShelf)
    with pytest.raises(IncompatibleProgram, match="hosts no such object"):
        log.replay(book=Shelf)
    new.apply(header(100), raised_to_2())
    newest = Objects({"shelf": NewestShelf})
    newest.restore(new.snapshot())
    assert newest.digest() == new.digest()


def test_versions_begin_at_one():
    machine = Objects({"shelf": Shelf})
    (result,) = decode_results(machine.apply(header(1), encode_raise(Raise("shelf", 0, b""))).reply)
    assert isinstance(result, Refused)


def test_the_host_stops_rather_than_diverge():
    host = Host({KV: KeyValueStore(), OBJECTS: Objects({"shelf": Shelf})})
    with pytest.raises(IncompatibleProgram):
        host.apply(header(1, app=OBJECTS), raised_to_2())


SCRIPT = """
import sys
sys.path[:0] = sys.argv[1:3]
from test_objects import Done, ObjectLog, busy_log, encode_batch
from quorum.apps.replicated import Replicated, command
from quorum.apps.replicated_schema import schema_of
from quorum.apps.replicated_types import ReplicatedDict, ReplicatedSet
class Sets(Replicated):
    groups: dict[str, set[str]] = {}
    rows: list[set[str]] = [{"a", "b", "c"}]
    pair: tuple[set[str], int] = ({"a", "b", "c"}, 1)
    maybe: set[str] | None = None
    teams: set[frozenset[str]] = set()
    frozen: frozenset[str] = frozenset()
    seen: set[str] = set()
    @command
    def put(self, names: set[str], more: frozenset[str] = frozenset(("d", "e", "f"))) -> frozenset[str]:
        self.groups["g"] = self.groups.get("g", set()) | names
        self.frozen = frozenset(names)
        self.seen = frozenset(names)
        self.seen |= {name + "!" for name in sorted(names)}
        return frozenset(names)
    @command
    def put_built_in(self, names: set[str]) -> set[str]:
        self.groups["h"] = self.maybe = set(names)
        self.rows.append(set(names))
        self.pair = (set(names), 2)
        self.teams.update({frozenset((name,)) for name in sorted(names)})
        return set(names)
log = ObjectLog(sets=Sets, dict=ReplicatedDict[str, str])
replies = []
for number in range(30):
    names = list(dict.fromkeys(f"name {number * each % 17}" for each in range(number)))
    replies += log.append(encode_batch([log.encode("sets", each, names) for each in ("put", "put_built_in")]))
    log.call("dict", "update", {f"key {number * each % 17}": "v" for each in range(number)})
assert all(type(reply) is Done for reply in replies)
print(busy_log().machine.digest().hex(), log.machine.digest().hex(), schema_of(Sets).fingerprint(1).hex(), replies)
"""


def test_digests_do_not_depend_on_the_hash_seed():
    here = Path(__file__).parent
    digests = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(here), str(here.parent)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(digests) == 1
