"""Watches of a session: they go on at the next connection, and a node out of touch is left."""

from __future__ import annotations

from quorum.apps.kv_watch import Interest
from quorum.errors import QuorumError
from quorum.runtime import messages
from quorum.runtime.messages import Failure, Noticed, Pulse, Pulsed, Submit, Unwatch, Watch
from quorum.runtime.watching import PULSE_US, RETRY_US, SOON_US
from runtime.test_session import Owner

APP = 9


class Watcher(Owner):
    def watch(self, topic: bytes) -> int:
        return self.session.watch_topic(self.now_us, APP, topic)

    def watches(self) -> dict[bytes, int]:
        """The watches asked for since: request numbers by topic."""
        return {body: m.request for m, body in self.take() if isinstance(m, Watch) and m.app == APP}

    def pulse(self) -> int:
        """Wait until the session asks for a sign of life; return the number of that request."""
        self.wait(PULSE_US)
        (pulse,) = [m for m, _ in self.take() if isinstance(m, Pulse)]
        return pulse.request


def begun() -> Watcher:
    watcher = Watcher()
    watcher.begin()
    return watcher


def test_a_watch_is_asked_for_at_once_and_told_to_its_owner() -> None:
    watcher = begun()
    bell, door = watcher.watch(b"bell"), watcher.watch(b"door")
    asked = watcher.watches()
    watcher.hear(Noticed([asked[b"bell"]], 4, True))
    watcher.hear(Noticed([asked[b"door"], asked[b"bell"]], 5, False), b"rings")
    assert watcher.notices == [(bell, 4, None), (door, 5, b"rings"), (bell, 5, b"rings")]


def test_every_watch_goes_on_at_the_next_connection() -> None:
    """Under new numbers: what an old connection still brought would be taken for new otherwise."""
    watcher = begun()
    bell, _ = watcher.watch(b"bell"), watcher.watch(b"door")
    before = watcher.watches()
    watcher.reconnect()
    after = watcher.watches()
    assert set(after) == {b"bell", b"door"} and not set(after.values()) & set(before.values())
    watcher.hear(Noticed([before[b"bell"]], 4, False), b"old")
    watcher.hear(Noticed([after[b"bell"]], 9, True))
    assert watcher.notices == [(bell, 9, None)]


def test_a_watch_begun_without_a_connection_is_asked_for_before_the_batches_that_wait() -> None:
    """So that it hears of what they do."""
    watcher = begun()
    watcher.session.disconnected(0)
    watcher.take()
    watcher.submit(b"batch")
    watcher.watch(b"bell")
    assert watcher.take() == []
    watcher.connected()
    assert [type(message) for message, _ in watcher.take()] == [Watch, Submit]


def test_a_node_that_is_watched_no_more_is_not_asked_for_signs_of_life() -> None:
    """Also where the last watch ends while one is under way."""
    watcher = begun()
    bell = watcher.watch(b"bell")
    watcher.hear(Pulsed(watcher.pulse(), 0))
    pulse = watcher.pulse()
    watcher.session.unwatch(watcher.now_us, bell)
    watcher.hear(Pulsed(pulse, 0))
    watcher.take()
    watcher.wait(3 * PULSE_US)
    assert watcher.take() == []
    watcher.watch(b"door")
    assert watcher.pulse() > pulse


def test_after_unwatch_nothing_is_heard() -> None:
    watcher = begun()
    bell, door = watcher.watch(b"bell"), watcher.watch(b"door")
    asked = watcher.watches()
    watcher.session.unwatch(0, bell)
    watcher.session.unwatch(0, bell)
    assert watcher.take() == [(Unwatch(asked[b"bell"]), b"")]
    watcher.hear(Noticed(list(asked.values()), 4, False), b"rings")
    assert watcher.notices == [(door, 4, b"rings")]
    watcher.reconnect()
    assert set(watcher.watches()) == {b"door"}


def test_a_refused_watch_ends_with_the_reason() -> None:
    watcher = begun()
    bell = watcher.watch(b"bell")
    watcher.hear(Failure(watcher.watches()[b"bell"], messages.REFUSED, "no such bell"))
    assert isinstance(watcher.errors[bell], QuorumError) and str(watcher.errors[bell]) == "no such bell"
    watcher.reconnect()
    assert watcher.watches() == {}


def test_a_watch_that_finds_no_room_is_asked_for_again() -> None:
    watcher = begun()
    watcher.watch(b"bell")
    watcher.hear(Failure(watcher.watches()[b"bell"], messages.OVERLOADED, "full"))
    watcher.wait(RETRY_US - 1)
    assert watcher.watches() == {}
    watcher.wait(1)
    assert set(watcher.watches()) == {b"bell"} and watcher.errors == {}


def test_a_node_that_is_watched_is_asked_for_a_sign_of_life_now_and_then() -> None:
    watcher = begun()
    watcher.watch(b"bell")
    for _ in range(3):
        watcher.hear(Pulsed(watcher.pulse(), 0))
    watcher.session.unwatch(watcher.now_us, 2)
    assert watcher.connects == [("a:1", 0)]


def test_a_silent_node_that_is_watched_is_left() -> None:
    """It may be gone, with nothing to tell that from having nothing to say."""
    watcher = begun()
    watcher.watch(b"bell")
    watcher.pulse()
    watcher.wait(1_000_000)
    assert [endpoint for endpoint, _ in watcher.connects] == ["a:1", "b:1"]
    watcher.connected()
    assert set(watcher.watches()) == {b"bell"}


def test_a_node_out_of_touch_with_its_leader_is_left_after_a_while() -> None:
    """Cut off from the others it would let its watchers wait for ever."""
    watcher = begun()
    watcher.watch(b"bell")
    watcher.hear(Failure(watcher.pulse(), messages.NOT_LEADER))
    assert len(watcher.connects) == 1
    for _ in range(10):
        watcher.wait(RETRY_US)
        for message, _ in watcher.take():
            if isinstance(message, Pulse):
                watcher.hear(Failure(message.request, messages.NOT_LEADER))
    assert [endpoint for endpoint, _ in watcher.connects] == ["a:1", "b:1"]


def test_without_watches_nobody_is_asked_for_a_sign_of_life() -> None:
    watcher = begun()
    handle = watcher.watch(b"bell")
    watcher.session.unwatch(0, handle)
    watcher.take()
    watcher.wait(10 * PULSE_US)
    assert watcher.take() == []


# How far a watch has come.


class Reaching(Watcher):
    """Watches keys, and waits until everything up to revision 7 was told."""

    def __init__(self) -> None:
        super().__init__()
        self.begin()
        self.reached: list[int] = []
        self.handle = self.session.watch_keys(self.now_us, Interest(b"a", b"b", 5))
        self.reach(7)

    def reach(self, revision: int) -> None:
        self.session.reach_watch(self.now_us, self.handle, revision, lambda: self.reached.append(revision))

    def asked(self) -> int:
        """The request by which the node was just asked how far it is."""
        (pulse,) = [message for message, _ in self.take() if isinstance(message, Pulse)]
        return pulse.request


def test_who_waits_for_a_revision_asks_at_once_and_again_until_the_node_is_there() -> None:
    watcher = Reaching()
    watcher.wait(0)
    watcher.hear(Pulsed(watcher.asked(), 6))
    assert watcher.reached == []
    watcher.wait(SOON_US)
    watcher.hear(Pulsed(watcher.asked(), 7))
    assert watcher.reached == [7]
    watcher.wait(PULSE_US - 1)
    assert watcher.take() == [], "and then as seldom as before"


def test_an_answer_to_what_was_asked_before_the_watch_says_nothing_of_it() -> None:
    watcher = Reaching()
    watcher.wait(0)
    early = watcher.asked()
    watcher.session.pause_watch(watcher.handle, True)
    watcher.session.pause_watch(watcher.handle, False)
    watcher.hear(Pulsed(early, 9))
    assert watcher.reached == []
    watcher.wait(SOON_US)
    watcher.hear(Pulsed(watcher.asked(), 9))
    assert watcher.reached == [7]


def test_a_watch_that_is_paused_reaches_nothing() -> None:
    watcher = Reaching()
    watcher.session.pause_watch(watcher.handle, True)
    watcher.wait(0)
    watcher.hear(Pulsed(watcher.asked(), 9))
    assert watcher.reached == []


def test_who_waits_for_a_revision_goes_on_at_the_next_connection() -> None:
    watcher = Reaching()
    watcher.wait(0)
    watcher.asked()
    watcher.reconnect()
    watcher.wait(SOON_US)
    watcher.hear(Pulsed(watcher.asked(), 8))
    assert watcher.reached == [7]


def test_who_ends_a_watch_waits_for_nothing_any_more() -> None:
    watcher = Reaching()
    watcher.session.unwatch(watcher.now_us, watcher.handle)
    watcher.take()
    watcher.wait(10 * PULSE_US)
    assert watcher.take() == [] and watcher.reached == []
