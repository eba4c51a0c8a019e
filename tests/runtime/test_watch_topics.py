"""Topics: whoever watches one hears the newest notice of it, or that some were missed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from quorum.apps.state_machine import Notice
from quorum.entry import Buffer
from quorum.runtime import messages
from quorum.runtime.messages import Failure, Noticed, Pulse, Pulsed, Watch
from quorum.runtime.watch import WatchHub

APP = 9


class Ear:
    """A client's connection, and what came through it."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, bytes]] = []
        self.unsent_bytes = 0

    def answer(self, message: object, attached: Sequence[Buffer]) -> None:
        self.heard.append((message, b"".join(attached)))

    def backlog(self) -> int:
        return self.unsent_bytes

    def take(self) -> list[tuple[object, bytes]]:
        heard, self.heard = self.heard, []
        return heard


class Hub:
    def __init__(self, watches_max: int = 100) -> None:
        self.hub = WatchHub(watches_max, window_bytes=1000)
        self.index = 0

    def watch(self, ear: Ear, request: int, topic: bytes) -> None:
        self.hub.watch(ear, Watch(request, APP), topic)

    def ring(self, *topics: bytes) -> None:
        self.index += 1
        self.hub.noticed(self.index, [Notice(topic, b"at %d" % self.index, APP) for topic in topics])

    def heard(self, ear: Ear) -> list[tuple[object, bytes]]:
        self.hub.pump()
        return ear.take()


def listening(*topics: bytes) -> tuple[Hub, Ear]:
    """A hub and a connection that watches `topics` under 1, 2, ..., and has heard of the first gap."""
    hub, ear = Hub(), Ear()
    for request, topic in enumerate(topics, 1):
        hub.watch(ear, request, topic)
    hub.heard(ear)
    return hub, ear


def test_a_watch_begins_with_a_gap() -> None:
    """What happened before is not told, so the state is to be read."""
    hub, ear = Hub(), Ear()
    hub.ring(b"bell")
    hub.watch(ear, 7, b"bell")
    assert hub.heard(ear) == [(Noticed([7], 1, True), b"")]


def test_a_topic_of_one_application_is_none_of_another() -> None:
    """Both may use the same name, and neither need know."""
    hub, ear = listening(b"bell")
    hub.hub.watch(ear, Watch(9, APP + 1), b"bell")
    hub.heard(ear)
    hub.ring(b"bell")
    assert hub.heard(ear) == [(Noticed([1], 1, False), b"at 1")]
    hub.hub.noticed(2, [Notice(b"bell", b"of the other", APP + 1)])
    assert hub.heard(ear) == [(Noticed([9], 2, False), b"of the other")]
    hub.hub.unwatch(ear, 9)
    hub.hub.noticed(3, [Notice(b"bell", b"of the other", APP + 1)])
    hub.ring(b"bell")
    assert [message.requests for message, _ in hub.heard(ear)] == [[1]]


def test_a_notice_reaches_every_watch_of_its_topic_and_no_other() -> None:
    hub, ear = listening(b"bell", b"door", b"bell")
    other = Ear()
    hub.watch(other, 1, b"bell")
    hub.heard(other)
    hub.ring(b"bell")
    hub.ring(b"window")
    assert hub.heard(ear) == [(Noticed([1, 3], 1, False), b"at 1")]
    assert hub.heard(other) == [(Noticed([1], 1, False), b"at 1")]


def test_only_the_newest_notice_of_a_topic_waits() -> None:
    hub, ear = listening(b"bell", b"door")
    for _ in range(5):
        hub.ring(b"bell")
    hub.ring(b"door", b"bell")
    assert sorted(hub.heard(ear), key=str) == [
        (Noticed([1], 6, False), b"at 6"),
        (Noticed([2], 6, False), b"at 6"),
    ]
    assert hub.heard(ear) == []


def test_a_connection_that_takes_nothing_gets_the_newest_once_it_drains() -> None:
    """It costs one notice a topic meanwhile, and holds up nobody."""
    hub, slow = listening(b"bell")
    quick = Ear()
    hub.watch(quick, 1, b"bell")
    hub.heard(quick)
    slow.unsent_bytes = 1000
    for _ in range(100):
        hub.ring(b"bell")
        assert len(hub.heard(quick)) == 1
    assert slow.heard == []
    slow.unsent_bytes = 999
    assert hub.heard(slow) == [(Noticed([1], 100, False), b"at 100")]


def test_a_jump_to_a_snapshot_is_a_gap_in_every_topic() -> None:
    hub, ear = listening(b"bell", b"door")
    hub.ring(b"bell")
    hub.hub.jumped(50)
    hub.index = 50
    hub.ring(b"bell")
    assert hub.heard(ear) == [(Noticed([1], 51, True), b""), (Noticed([2], 51, True), b"")]


def test_nothing_is_heard_after_unwatch_or_a_lost_connection() -> None:
    hub, ear = listening(b"bell", b"bell")
    hub.ring(b"bell")
    hub.hub.unwatch(ear, 1)
    hub.hub.unwatch(ear, 1)
    hub.hub.unwatch(ear, 99)
    hub.hub.unwatch(Ear(), 1)
    assert hub.heard(ear) == [(Noticed([2], 1, False), b"at 1")]
    hub.ring(b"bell")
    hub.hub.unwatch(ear, 2)
    assert hub.heard(ear) == []
    hub.watch(ear, 3, b"bell")
    hub.hub.lost(ear)
    hub.hub.lost(ear)
    hub.ring(b"bell")
    assert hub.heard(ear) == [] and len(hub.hub) == 0


def test_a_pulse_is_answered_behind_what_waits() -> None:
    hub, ear = listening(b"bell")
    hub.ring(b"bell")
    hub.hub.pulse(ear, Pulse(8))
    assert hub.heard(ear) == [(Noticed([1], 1, False), b"at 1"), (Pulsed(8, 0), b"")]
    stranger = Ear()
    hub.hub.pulse(stranger, Pulse(9))
    assert hub.heard(stranger) == [(Pulsed(9, 0), b"")]


@pytest.mark.parametrize(
    ("request_", "topic", "code"),
    [(1, b"door", messages.REFUSED), (5, bytes(4097), messages.REFUSED), (5, b"door", messages.OVERLOADED)],
    ids=["number in use", "topic too long", "too many"],
)
def test_a_watch_that_cannot_be_is_refused(request_: int, topic: bytes, code: int) -> None:
    hub, ear = Hub(watches_max=1 if code == messages.OVERLOADED else 9), Ear()
    hub.watch(ear, 1, b"bell")
    hub.heard(ear)
    hub.watch(ear, request_, topic)
    ((failure, _),) = ear.take()
    assert isinstance(failure, Failure) and (failure.request, failure.code) == (request_, code)
    assert len(hub.hub) == 1
    hub.ring(b"bell", b"door")
    assert hub.heard(ear) == [(Noticed([1], 1, False), b"at 1")]
