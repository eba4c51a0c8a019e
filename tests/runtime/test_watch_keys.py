"""Watches of keys: every change of what is watched, in order, once, whatever happens to connections and nodes."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from quorum.apps import history as history_module
from quorum.apps import kv_store
from quorum.apps.catalogue import KV_APP
from quorum.apps.history import History
from quorum.apps.kv import (
    Compact,
    CompareAndSwap,
    Delete,
    DeleteRange,
    Item,
    Put,
    Txn,
    Written,
    decode_results,
    encode_batch,
)
from quorum.apps.kv_store import KeyValueStore
from quorum.apps.kv_watch import Event, Interest, encode_interest, end_of_key
from quorum.errors import Compacted
from quorum.runtime import key_place, messages, watch, watch_keys
from quorum.runtime.messages import Changed, Failure, Watch
from quorum.runtime.watch import WatchHub
from runtime.watched_cluster import HEADER, Line, WatchedCluster

KEYS = st.integers(0, 11).map(lambda number: b"%02d" % number)
VALUES = st.sampled_from([b"", b"1", b"2" * 30])
PUTS = st.builds(Put, KEYS, VALUES)
WRITES = (
    PUTS
    | st.builds(Delete, KEYS)
    | st.builds(DeleteRange, KEYS, st.none() | KEYS)
    | st.builds(CompareAndSwap, KEYS, st.none() | VALUES, st.none() | VALUES)
    | st.builds(lambda put, key: Txn([], [put, Delete(key + b"!"), DeleteRange(b"10", None)], []), PUTS, KEYS)
)
KINDS = st.sampled_from([(True, True), (True, True), (True, False), (False, True)])


def one(key: bytes, revision: int = 0, previous: bool = False) -> Interest:
    return Interest(key, end_of_key(key), revision, previous)


class Watched(RuleBasedStateMachine):
    """Two nodes, of which one may be behind, and a client that loses its connection, is slow, pauses, looks back.
    Every bound is small, so that messages, turns and the history end in the middle of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = [
            patch.multiple(history_module, CHANGES_MAX=24, BYTES_MAX=400, CHUNK_CHANGES=5, CHUNK_BYTES=60),
            patch.object(watch_keys, "MESSAGE_BYTES", 60),
            patch.object(watch, "TURN_CHANGES_MAX", 3),
        ]
        for each in self.patches:
            each.start()
        self.cluster = WatchedCluster(window_bytes=200)

    def teardown(self) -> None:
        try:
            self.cluster.settle()
            self.cluster.check(is_settled=True)
        finally:
            for each in self.patches:
                each.stop()

    def handle(self, draw: int) -> int | None:
        handles = sorted(self.cluster.interests)
        return handles[draw % len(handles)] if handles else None

    @rule(commands=st.lists(WRITES, min_size=1, max_size=4), pumps=st.booleans())
    def write(self, commands, pumps):
        self.cluster.write(*commands)
        if pumps:
            self.pump()

    @rule(puts=st.lists(PUTS, min_size=1, max_size=12))
    def write_puts(self, puts):
        self.cluster.write(*puts)

    @rule(back=st.integers(0, 12))
    def compact(self, back):
        self.cluster.write(Put(b"05", b"last"), Compact(max(0, self.cluster.nodes[0].store.revision - back)))

    @rule(count=st.integers(1, 5))
    def follow(self, count):
        self.cluster.follow(1, count)

    @precondition(lambda self: self.cluster.nodes[1].applied < self.cluster.nodes[0].applied)
    @rule()
    def jump(self):
        self.cluster.jump()

    @rule(key=KEYS, back=st.none() | st.integers(-3, 30), previous=st.booleans(), kinds=KINDS)
    def watch_key(self, key, back, previous, kinds):
        self.cluster.watch(Interest(key, end_of_key(key), self.revision(back), previous, *kinds))

    @rule(start=KEYS, end=st.none() | KEYS, back=st.none() | st.integers(-3, 30), kinds=KINDS)
    def watch_range(self, start, end, back, kinds):
        if end is None or end > start:
            self.cluster.watch(Interest(start, end, self.revision(back), False, *kinds))

    def revision(self, back: int | None) -> int:
        """From now on, or so far back; a revision that is still to come where that is negative."""
        return 0 if back is None else max(1, self.cluster.nodes[0].store.revision + 1 - back)

    @rule(draw=st.integers(0, 99))
    def unwatch(self, draw):
        handle = self.handle(draw)
        if handle is not None:
            self.cluster.unwatch(handle)

    @rule(draw=st.integers(0, 99))
    def pause(self, draw):
        handle = self.handle(draw)
        if handle is not None:
            self.cluster.watching.pause(handle)

    @rule(draw=st.integers(0, 99))
    def resume(self, draw):
        handle = self.handle(draw)
        if handle is not None:
            self.cluster.watching.resume(handle)

    @rule()
    def pump(self):
        for node in self.cluster.nodes:
            node.hub.pump()

    @rule(count=st.integers(1, 8))
    def take(self, count):
        self.cluster.take(count)

    @rule(which=st.integers(0, 1))
    def reconnect(self, which):
        self.cluster.connect(which)

    @rule()
    def wait(self):
        self.cluster.wait()

    @invariant()
    def what_was_told_is_right(self):
        self.cluster.check()

    def resume_all(self) -> None:
        for handle in self.cluster.interests:
            self.cluster.watching.resume(handle)


class WatchedToTheEnd(Watched):
    """Also what is paused goes on in the end."""

    def teardown(self) -> None:
        self.resume_all()
        super().teardown()


WatchedToTheEnd.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_every_watch_tells_each_change_once_and_in_order = WatchedToTheEnd.TestCase


CONTROL = settings(
    max_examples=1000,
    stateful_step_count=40,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    report_multiple_bugs=False,
)


def _asks_for_the_next_but_one(self: key_place.KeyWatch) -> bytes:
    """Planted: a watch that goes on skips a revision."""
    self.through += self.through != self.interest.revision - 1
    return _asks(self)


def _asks_for_the_last_again(self: key_place.KeyWatch) -> bytes:
    """Planted: a watch that goes on repeats a revision."""
    self.through -= self.through != self.interest.revision - 1
    return _asks(self)


def _forgets_what_was_told_in_part(self: key_place.KeyWatch) -> bytes:
    """Planted: a revision of which some was told is told again from its beginning."""
    self.partial = 0
    return _asks(self)


_asks = key_place.KeyWatch.asks


@pytest.mark.parametrize(
    "planted", [pytest.param(_asks_for_the_next_but_one, marks=pytest.mark.slow), _asks_for_the_last_again]
)
def test_the_property_catches_a_watch_that_skips_or_repeats_at_a_reconnection(planted):
    """Negative control."""
    with patch.object(key_place.KeyWatch, "asks", planted), pytest.raises(AssertionError):
        run_state_machine_as_test(WatchedToTheEnd, settings=CONTROL)


def told(cluster: WatchedCluster, handle: int) -> list[tuple[bytes, bytes | None, int]]:
    return [(event.key, event.value, event.revision) for event in cluster.told[handle]]


def test_a_watch_from_now_on_tells_what_comes_and_nothing_before():
    cluster = WatchedCluster()
    cluster.write(Put(b"a", b"1"))
    handle = cluster.watch(one(b"a"))
    cluster.write(Put(b"a", b"2"), Put(b"b", b"3"), Delete(b"a"))
    cluster.settle()
    assert told(cluster, handle) == [(b"a", b"2", 2), (b"a", None, 4)]
    assert cluster.expected[handle] == 2


def test_a_watch_from_a_revision_tells_everything_since():
    cluster = WatchedCluster()
    cluster.write(*[Put(b"a", b"%d" % number) for number in range(1, 6)])
    handle = cluster.watch(one(b"a", 3))
    cluster.settle()
    cluster.write(Put(b"a", b"6"))
    cluster.settle()
    assert told(cluster, handle) == [(b"a", b"%d" % number, number) for number in range(3, 7)]


def test_a_revision_that_is_still_to_come_is_waited_for():
    """As at a node that is behind the one before."""
    cluster = WatchedCluster()
    handle = cluster.watch(one(b"a", 4))
    cluster.write(*[Put(b"a", b"%d" % number) for number in range(1, 6)])
    cluster.settle()
    assert told(cluster, handle) == [(b"a", b"4", 4), (b"a", b"5", 5)]


def test_an_event_tells_what_was_there_before_where_that_is_asked():
    cluster = WatchedCluster()
    plain, whole = cluster.watch(one(b"a")), cluster.watch(one(b"a", previous=True))
    cluster.write(Put(b"a", b"1"))
    cluster.write(Delete(b"a"))
    cluster.settle()
    assert cluster.told[plain] == [Event(b"a", b"1", 1, 1, 1), Event(b"a", None, 2, 0, 0)]
    assert cluster.told[whole] == [
        Event(b"a", b"1", 1, 1, 1),
        Event(b"a", None, 2, 0, 0, Item(b"a", b"1", 1, 1, 1)),
    ]
    assert [event.kind for event in cluster.told[whole]] == ["put", "delete"]


def test_puts_or_deletes_alone_can_be_watched():
    cluster = WatchedCluster()
    puts = cluster.watch(Interest(b"a", b"c", 0, False, True, False))
    deletes = cluster.watch(Interest(b"a", b"c", 0, False, False, True))
    cluster.write(Put(b"a", b"1"), Put(b"b", b"2"), DeleteRange(b"", None))
    cluster.settle()
    assert told(cluster, puts) == [(b"a", b"1", 1), (b"b", b"2", 2)]
    assert told(cluster, deletes) == [(b"a", None, 3), (b"b", None, 3)]


def test_a_compaction_does_not_touch_who_keeps_up():
    """Not even where it comes in the batch of what it forgets."""
    cluster = WatchedCluster()
    handle = cluster.watch(one(b"a"))
    cluster.write(Put(b"a", b"1"))
    cluster.write(Put(b"a", b"2"), Compact(2), Put(b"a", b"3"), Compact(3))
    cluster.settle()
    assert [event.revision for event in cluster.told[handle]] == [1, 2, 3]


def test_a_history_that_overflows_at_once_does_not_touch_who_keeps_up():
    with patch.multiple(history_module, CHANGES_MAX=24, CHUNK_CHANGES=5):
        cluster = WatchedCluster(window_bytes=1 << 20)
        handle = cluster.watch(Interest(b"", None))
        cluster.write(*[Put(b"%04d" % number, b"") for number in range(500)])
        cluster.settle()
        assert [event.revision for event in cluster.told[handle]] == list(range(1, 501))


def test_a_revision_that_is_not_kept_is_refused_with_the_first_that_is():
    cluster = WatchedCluster()
    cluster.write(*[Put(b"a", b"%d" % number) for number in range(1, 6)])
    cluster.write(Compact(3))
    late, right = cluster.watch(one(b"a", 3)), cluster.watch(one(b"a", 4))
    cluster.settle()
    error = cluster.errors[late]
    assert isinstance(error, Compacted) and (error.asked, error.first) == (3, 4)
    assert "revision 3" in str(error) and "before revision 4" in str(error)
    assert [event.revision for event in cluster.told[right]] == [4, 5]
    assert len(cluster.nodes[0].hub) == 1


def test_so_many_changes_at_once_that_none_is_kept_are_a_compaction():
    """Those are told by a watch that begins behind them."""
    with patch.multiple(history_module, CHANGES_MAX=3), patch.object(kv_store, "CHANGES_MAX", 3):
        cluster = WatchedCluster()
        cluster.write(*[Put(b"%d" % number, b"") for number in range(5)])
        handle, future = cluster.watch(one(b"1")), cluster.watch(one(b"1", 7))
        cluster.take(9)
        cluster.nodes[0].store.apply(HEADER, encode_batch([DeleteRange(b"", None)]))
        cluster.nodes[0].hub.pump()
        cluster.take(9)
        error = cluster.errors[handle]
        assert isinstance(error, Compacted) and (error.asked, error.first) == (6, 7)
        cluster.nodes[0].store.apply(HEADER, encode_batch([Put(b"1", b"x")]))
        cluster.nodes[0].hub.pump()
        cluster.take(9)
        assert told(cluster, future) == [(b"1", b"x", 7)]


def test_a_connection_that_is_full_costs_no_memory_and_misses_nothing():
    cluster = WatchedCluster(window_bytes=2000)
    handle = cluster.watch(Interest(b"", None))
    for number in range(2000):
        cluster.write(Put(b"key%d" % (number % 7), b"%d" % number))
        cluster.nodes[0].hub.pump()
        assert cluster.line.backlog() < 4000
    cluster.settle()
    assert [event.revision for event in cluster.told[handle]] == list(range(1, 2001))


def test_one_that_was_too_slow_for_the_history_is_told_so_and_others_go_on():
    with patch.multiple(history_module, CHANGES_MAX=24, CHUNK_CHANGES=5):
        cluster = WatchedCluster(window_bytes=200)
        quick = Line()
        cluster.nodes[0].hub.watch(quick, Watch(1, KV_APP), encode_interest(Interest(b"", None)))
        handle = cluster.watch(Interest(b"", None))
        for number in range(500):
            cluster.write(Put(b"key", b"%d" % number))
            cluster.nodes[0].hub.pump()
            quick.waiting.clear()
        cluster.settle()
        error, seen = cluster.errors[handle], cluster.told[handle]
        assert isinstance(error, Compacted) and error.asked == seen[-1].revision + 1 < error.first
        assert len(cluster.nodes[0].hub) == 1


def in_the_middle_of_a_revision() -> tuple[WatchedCluster, int]:
    """A watch that was told three of twelve changes at one revision, when its connection was lost."""
    cluster = WatchedCluster(window_bytes=1 << 20)
    cluster.write(*[Put(b"%02d" % number, b"") for number in range(12)])
    handle = cluster.watch(Interest(b"", None))
    cluster.write(DeleteRange(b"", None))
    with patch.object(watch_keys, "MESSAGE_BYTES", 40):
        cluster.nodes[0].hub.pump()
    while len(cluster.told[handle]) < 3:
        cluster.take(1)
    assert len(cluster.told[handle]) < 12
    cluster.connect(1)
    cluster.settle()
    return cluster, handle


def test_a_revision_cut_in_the_middle_goes_on_there():
    cluster, handle = in_the_middle_of_a_revision()
    assert told(cluster, handle) == [(b"%02d" % number, None, 13) for number in range(12)]


def test_a_watch_that_forgets_what_it_was_told_in_part_would_repeat_it():
    """Negative control of the one before."""
    with patch.object(key_place.KeyWatch, "asks", _forgets_what_was_told_in_part):
        cluster, handle = in_the_middle_of_a_revision()
    assert len(cluster.told[handle]) > 12


def test_a_node_is_asked_where_a_quiet_watch_is_so_that_it_need_not_go_back():
    cluster = WatchedCluster()
    quiet = cluster.watch(one(b"quiet"))
    cluster.take(9)
    cluster.write(*[Put(b"busy", b"%d" % number) for number in range(9)])
    cluster.wait()
    cluster.settle()
    cluster.write(Compact(9))
    cluster.connect(1)
    cluster.settle()
    cluster.write(Put(b"quiet", b"at last"))
    cluster.settle()
    assert told(cluster, quiet) == [(b"quiet", b"at last", 10)]


def test_watches_of_one_key_share_what_is_sent():
    hub, line = WatchHub(store=KeyValueStore()), Line()
    store = hub._keys._store
    for request in range(1, 101):
        hub.watch(line, Watch(request, KV_APP), encode_interest(one(b"a")))
    hub.pump()
    line.waiting.clear()
    store.apply(HEADER, encode_batch([Put(b"a", b"1")]))
    hub.pump()
    ((message, body),) = line.waiting
    assert isinstance(message, Changed) and message.through == 1
    assert key_place.decode_changes(body) == [(list(range(1, 101)), Event(b"a", b"1", 1, 1, 1))]


def test_nothing_is_read_while_nobody_watches():
    hub, line = WatchHub(store=KeyValueStore()), Line()
    store = hub._keys._store
    hub.watch(line, Watch(1, KV_APP), encode_interest(one(b"a")))
    hub.unwatch(line, 1)
    with patch.object(History, "since", side_effect=AssertionError("it was read")):
        for _ in range(300):
            store.apply(HEADER, encode_batch([Put(b"a", b"1")]))
            hub.pump()
    hub.watch(line, Watch(2, KV_APP), encode_interest(one(b"a")))
    hub.lost(line)
    assert len(hub) == 0


@pytest.mark.parametrize(
    ("interest", "reason"),
    [
        (Interest(b"b", b"a"), "end is not behind its start"),
        (Interest(b"", b"\0"), "empty key"),
        (Interest(b"k" * 5000, None), "4096"),
        (Interest(b"a", None, 0, False, False, False), "neither puts nor deletes"),
        (Interest(b"a", None, -1), "revision -1"),
    ],
)
def test_a_watch_that_makes_no_sense_is_refused(interest, reason):
    hub, line = WatchHub(store=KeyValueStore()), Line()
    hub.watch(line, Watch(1, KV_APP), encode_interest(interest))
    ((failure, _),) = line.waiting
    assert isinstance(failure, Failure) and failure.code == messages.REFUSED and reason in failure.text
    assert len(hub) == 0


def test_keys_that_cannot_be_read_or_have_no_store_are_refused():
    for hub, body in ((WatchHub(store=KeyValueStore()), b"nonsense"), (WatchHub(), encode_interest(one(b"a")))):
        line = Line()
        hub.watch(line, Watch(1, KV_APP), body)
        ((failure, _),) = line.waiting
        assert isinstance(failure, Failure) and failure.code == messages.REFUSED


def test_an_error_while_old_changes_are_read_stops_the_node_and_answers_no_command():
    """It would be another answer than on other replicas."""
    hub, line = WatchHub(store=KeyValueStore()), Line()
    store = hub._keys._store
    hub.watch(line, Watch(1, KV_APP), encode_interest(one(b"a")))
    with patch.object(Line, "answer", side_effect=ZeroDivisionError):
        outputs = store.apply(HEADER, encode_batch([Put(b"a", b"1")]))
        store.apply(HEADER, encode_batch([Compact(1)]))
    assert decode_results(outputs.reply) == [Written(1)]
    with pytest.raises(ZeroDivisionError):
        hub.pump()
