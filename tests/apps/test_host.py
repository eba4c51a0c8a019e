"""The host: poison, position, digests, snapshots of several applications."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps_log import DECIDE, KV, Log, header
from quorum.apps.answer import FAILED, OK, decode_failure
from quorum.apps.applied import NOTHING
from quorum.apps.decide import Decide, Decisions
from quorum.apps.decide import encode_batch as encode_proposals
from quorum.apps.host import Host
from quorum.apps.kv import Delete, Get, Put, decode_results, encode_batch, encode_query
from quorum.apps.kv_store import KeyValueStore
from quorum.apps.state_machine import Notice, Outputs
from quorum.apps.stream import FRAME_PAYLOAD_BYTES
from quorum.entry import BARRIER, CONFIGURATION, TICK
from quorum.errors import ApplicationError, ConfigurationError, LocalProtocolError


class Scripted:
    """Does what it is told: raises `then` if it is an exception, else returns it."""

    def __init__(self, then=None) -> None:
        self.then = then

    def apply(self, header, body):
        if isinstance(self.then, BaseException):
            raise self.then
        return self.then

    def query(self, body):
        return self.apply(None, body)

    def digest(self):
        return b"\0" * 32

    def snapshot(self):
        return iter(())

    def restore(self, chunks):
        for _ in chunks:
            pass


def new_host() -> Host:
    return Host({KV: KeyValueStore(), DECIDE: Decisions()}, sessions_max=4, fresh=new_host)


def put(key: bytes, value: bytes = b"v") -> bytes:
    return encode_batch([Put(key, value)])


def proposal(topic: str, value: bytes = b"v") -> bytes:
    return encode_proposals([Decide(topic, value)])


def busy_log() -> Log:
    log = Log(new_host())
    client = log.open()
    for number in range(300):
        log.append(put(b"key-%03d" % (number % 100), b"%d" % number), client=client, first_sequence=number + 1)
        log.append(proposal(f"topic-{number % 50}"), app=DECIDE, client=client, first_sequence=1000 + number)
    return log


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")


def recurse(depth: int = 0) -> int:
    return recurse(depth + 1) + 1


class Recursing(Scripted):
    def apply(self, header, body):
        return recurse()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("bad"), "ValueError"),
        (KeyError("x"), "KeyError"),
        (Unprintable(), "Unprintable"),
        (ApplicationError("OutOfStock", "none left"), "OutOfStock"),
        (AssertionError(), "AssertionError"),
        (StopIteration(), "StopIteration"),
        (ValueError("\ud800 cannot be encoded"), "ValueError"),
    ],
)
def test_whatever_an_application_raises_becomes_the_answer_to_its_caller(error, kind):
    log = Log(Host({KV: KeyValueStore(), 9: Scripted(error)}))
    poisoned = log.append(b"", app=9)
    assert poisoned.status == FAILED
    assert decode_failure(poisoned.body).kind == kind
    assert log.append(put(b"a")).status == OK
    assert log.host.query(9, b"").status == FAILED
    assert log.host.applied_index == 2


def test_a_recursion_without_end_does_not_stop_the_host():
    log = Log(Host({9: Recursing()}))
    assert decode_failure(log.append(b"", app=9).body).kind == "RecursionError"
    assert log.append(b"", kind=TICK) == NOTHING


def test_a_failure_is_bounded_and_tells_no_memory_address():
    log = Log(Host({9: Scripted(ValueError(f"{object()!r} " + "x" * 10_000))}))
    failure = decode_failure(log.append(b"", app=9).body)
    assert len(failure.message) == 500
    assert failure.message.startswith("<object object at 0x> x")


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt(), SystemExit()])
def test_what_is_no_fault_of_the_command_is_not_swallowed(error):
    log = Log(Host({9: Scripted(error)}))
    with pytest.raises(type(error)):
        log.append(b"", app=9)


@pytest.mark.parametrize("outputs", [None, b"reply", Outputs("text"), Outputs(b"", replies=(5,))])
def test_an_application_that_returns_nonsense_fails_its_caller(outputs):
    log = Log(Host({9: Scripted(outputs)}))
    assert decode_failure(log.append(b"", app=9).body).kind == "TypeError"


def test_a_malformed_batch_fails_alone():
    log = Log(new_host())
    assert log.append(b"\xc1").status == FAILED
    assert log.append(b"\x92" * 5000).status == FAILED
    assert log.append(put(b"a")).status == OK


def test_an_unknown_application_fails_its_caller():
    log = Log(new_host())
    assert decode_failure(log.append(b"", app=500).body).kind == "UnknownApplication"
    assert log.host.query(500, b"").status == FAILED


@given(body=st.binary(max_size=200), app=st.integers(0, 3))
def test_no_body_stops_the_host(body, app):
    log = Log(new_host())
    log.append(body, app=app)
    log.host.query(app, body)
    assert log.append(put(b"a")).status == OK


@pytest.mark.parametrize("kind", [TICK, BARRIER, CONFIGURATION])
def test_entries_without_commands_move_position_and_log_time_only(kind):
    log = Log(new_host())
    log.append(put(b"a"))
    kv = log.host._applications[KV].digest()
    assert log.append(put(b"b"), kind=kind) == NOTHING
    assert (log.host.applied_index, log.host.time_us) == (2, 2000)
    assert log.host._applications[KV].digest() == kv


def test_an_entry_that_is_in_the_state_is_refused():
    log = Log(new_host())
    log.append(put(b"a"))
    with pytest.raises(LocalProtocolError, match="entry 1 was to be applied"):
        log.host.apply(header(1), put(b"b"))


@pytest.mark.parametrize(("apps", "sessions_max"), [([0], 1), ([70_000], 1), ([1], 0)])
def test_ids_and_bounds_out_of_range_are_refused(apps, sessions_max):
    with pytest.raises(ConfigurationError):
        Host({app: Scripted() for app in apps}, sessions_max=sessions_max)


def test_bodies_may_be_views_of_the_log():
    log = Log(new_host())
    log.append(memoryview(bytearray(put(b"a"))))
    (got,) = decode_results(log.host.query(KV, memoryview(encode_query([Get(b"a")]))).body)
    assert got.item.value == b"v"


def test_replayed_and_restored_hosts_have_equal_digests_now_and_later():
    log = busy_log()
    replayed = log.replay(new_host())
    restored = new_host()
    restored.restore(log.host.snapshot())
    assert log.host.digest() == replayed.digest() == restored.digest()
    for index in range(log.next_index, log.next_index + 200):
        body = encode_batch([Put(b"later-%d" % index, b"v"), Delete(b"key-%03d" % (index % 100))])
        answers = {
            host.apply(header(index, client=1, first_sequence=index), body).body
            for host in (log.host, replayed, restored)
        }
        assert len(answers) == 1
    assert log.host.digest() == replayed.digest() == restored.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"body": put(b"key-001", b"other")},
        {"body": proposal("new topic"), "app": DECIDE},
        {"body": b"open", "app": 0},
        {"body": b"touch", "app": 0, "client": 1},
        {"body": b"", "kind": TICK},
    ],
)
def test_every_change_changes_the_digest(change):
    log = busy_log()
    before = log.host.digest()
    log.append(**change)
    assert log.host.digest() != before


def test_a_snapshot_is_isolated_from_what_is_applied_while_it_is_read():
    log = busy_log()
    before, frames = log.host.digest(), log.host.snapshot()
    read = [next(frames)]
    for number in range(200):
        log.append(
            put(b"key-%03d" % (number % 150), b"new"), client=1, first_sequence=5000 + number, acked_below=5000
        )
        log.append(proposal(f"later-{number}"), app=DECIDE)
    restored = new_host()
    restored.restore([*read, *frames])
    assert restored.digest() == before


def test_a_digest_in_slices_is_that_of_the_moment_when_it_was_asked_for():
    log = busy_log()
    before, slices = new_host(), log.host.digests()
    before.restore(log.host.snapshot())
    seen = [next(slices)]
    for number in range(200):
        log.append(
            put(b"key-%03d" % (number % 150), b"new"), client=1, first_sequence=5000 + number, acked_below=5000
        )
        seen += islice(slices, 1)
    seen += slices
    assert [digest for digest in seen if digest] == [before.digest()] and seen[-1] == before.digest()
    assert len(seen) > 1, "it came in slices"
    assert list(log.host.digests())[-1] == log.host.digest() != before.digest()


def test_a_host_takes_over_the_state_of_a_spare_and_goes_on_from_it():
    log = busy_log()
    host = new_host()
    spare = host.spare()
    spare.restore(log.host.snapshot())
    assert host.applied_index == 0, "until then nothing has changed"
    host.adopt(spare)
    assert host.digest() == log.host.digest() and host.applied_index == log.host.applied_index
    index = log.next_index
    log.append(put(b"one", b"more"))
    host.apply(header(index), put(b"one", b"more"))
    assert list(host.digests())[-1] == log.host.digest()


def test_a_spare_has_the_state_that_was_replaced_and_frees_it_part_by_part():
    log = busy_log()
    store, spare = log.host.application(KV), new_host()
    log.host.adopt(spare)
    assert log.host.application(KV) is not store and store._leaves.leaf_count > 0
    parts = sum(1 for _ in spare.let_go())
    assert parts > 0 and store._leaves.leaf_count == 0


def test_a_host_that_nobody_can_make_again_has_no_spare():
    assert Host({1: Scripted()}).spare() is None


def test_frames_are_small_whatever_the_values():
    log = Log(new_host())
    for number in range(3):
        log.append(put(b"%d" % number, b"v" * 1_000_000))
    frames = list(log.host.snapshot())
    assert max(map(len, frames)) <= FRAME_PAYLOAD_BYTES + 16
    restored = new_host()
    restored.restore(frames)
    assert restored.digest() == log.host.digest()


def test_damaged_frames_are_refused():
    frames = list(busy_log().host.snapshot())
    flipped = bytearray(frames[2])
    flipped[-1] ^= 1
    for damaged in (
        [],
        frames[1:],
        frames[:-1],
        frames[:1] + frames[2:],
        [*frames, b"more of it"],
        [*frames[:2], bytes(flipped), *frames[3:]],
        [b"\0\0\4QHS9" + frames[0][7:], *frames[1:]],
        [b"", *frames],
    ):
        with pytest.raises(ValueError):
            new_host().restore(damaged)


def sealed_as_at_first(frames):
    """A stream of the first form, with a digest of all its bytes as seal."""
    older = [frames[0][:2] + b"\2" + frames[0][3:], *frames[1:-1]]
    return [*older, frames[-1][:3] + blake2b(b"".join(older), digest_size=32).digest()]


def test_streams_of_the_first_form_are_read_and_their_damage_is_found():
    log = busy_log()
    older = sealed_as_at_first(list(log.host.snapshot()))
    restored = new_host()
    restored.restore(older)
    assert restored.digest() == log.host.digest()
    flipped = bytearray(older[2])
    flipped[-1] ^= 1
    for damaged in ([*older[:2], bytes(flipped), *older[3:]], [*older[:1], *list(log.host.snapshot())[1:]]):
        with pytest.raises(ValueError):
            new_host().restore(damaged)


def test_a_snapshot_of_other_applications_or_bounds_is_refused():
    frames = list(busy_log().host.snapshot())
    for other in (
        Host({KV: KeyValueStore()}, sessions_max=4),
        Host({KV: KeyValueStore(), DECIDE: Decisions(), 3: Decisions()}, sessions_max=4),
        Host({KV: KeyValueStore(), DECIDE: Decisions()}, sessions_max=5),
    ):
        with pytest.raises(ValueError):
            other.restore(frames)


class Lazy:
    """Pins its state only when the first chunk is asked for, as a generator does."""

    def __init__(self):
        self._store = KeyValueStore()
        self.apply, self.digest, self.restore = self._store.apply, self._store.digest, self._store.restore

    def snapshot(self):
        yield from self._store.snapshot()


def test_a_snapshot_written_as_a_generator_is_pinned_at_once():
    log = Log(Host({KV: Lazy()}))
    log.append(put(b"a"))
    before, frames = log.host.digest(), log.host.snapshot()
    log.append(put(b"b"))
    restored = Host({KV: Lazy()})
    restored.restore(frames)
    assert restored.digest() == before


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from quorum.apps.decide import Decisions
from quorum.apps.host import Host
from quorum.apps.kv import Compare, CompareAndSwap, DeleteRange, Put, Txn, encode_batch
from quorum.apps.kv_store import KeyValueStore
from apps_log import Log
log = Log(Host({1: KeyValueStore(), 2: Decisions()}))
client = log.open()
for n in range(500):
    key = b"%03d" % (n * 37 % 211)
    commands = [Put(key, b"%d" % n), CompareAndSwap(key, b"7", None), DeleteRange(key, key + b"1")]
    txn = Txn([Compare(key, "version", ">", 1)], [Put(b"x", key), Put(b"y", key)], [])
    log.append(encode_batch([*commands, txn]), client=client, first_sequence=n, acked_below=max(0, n - 9))
    log.append(b"\\x91\\x81\\xa1a\\x01", app=1, client=client, first_sequence=10_000 + n)
print(log.host.digest().hex())
"""


def test_digests_do_not_depend_on_the_hash_seed():
    tests = str(Path(__file__).parent.parent)
    digests = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT, tests],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1 and len(digests.pop().strip()) == 64


def test_a_notice_is_of_the_application_that_gave_it_whatever_it_says():
    """Topics are told apart by application; none can speak in the name of another."""
    host = Host({KV: Scripted(Outputs(b"", notices=(Notice(b"topic", b"body", 99),)))})
    applied = host.apply(header(1, app=KV), b"")
    assert applied.notices == (Notice(b"topic", b"body", KV),)
