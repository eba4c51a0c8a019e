"""A connection joins writes, bounds what waits, and ends whoever breaks the rules, without a traceback."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from quorum.errors import RemoteProtocolError
from quorum.runtime.codec import Frame, cluster_tag, encode_frame
from quorum.runtime.connection import Complaints, FrameConnection
from quorum.runtime.limits import Limits

TAG = cluster_tag("c1")


class Transport(asyncio.Transport):
    """Records what the connection does to it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.9", 4711)})
        self.writes: list[bytes] = []
        self.done: list[str] = []

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return "close" in self.done or "abort" in self.done

    def pause_reading(self) -> None:
        self.done.append("pause")

    def resume_reading(self) -> None:
        self.done.append("resume")

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")


class Owner:
    def __init__(self, refuses: bool = False) -> None:
        self.receipts: list[list[Frame]] = []
        self.ends: list[Exception | None] = []
        self.refuses = refuses

    def on_frames(self, connection: FrameConnection, frames: list[Frame]) -> None:
        self.receipts.append(frames)
        if self.refuses:
            raise RemoteProtocolError(connection.name, "sent nonsense")

    def on_closed(self, connection: FrameConnection, error: Exception | None) -> None:
        self.ends.append(error)


def opened(
    owner: Owner, limits: Limits | None = None, *, unsent_max: int = 1000, stops_reading: bool = False
) -> tuple[FrameConnection, Transport]:
    connection, transport = FrameConnection(owner, limits or Limits(), Complaints()), Transport()
    connection.connection_made(transport)
    connection.admit(owner, "n2", TAG, unsent_max, stops_reading=stops_reading)
    return connection, transport


def frame(content: bytes) -> bytes:
    return b"".join(encode_frame(TAG, 0, content))


def test_one_receipt_is_one_call():
    async def main():
        owner = Owner()
        connection, _ = opened(owner)
        connection.data_received(frame(b"a") + frame(b"b") + frame(b"c")[:5])
        connection.data_received(frame(b"c")[5:] + frame(b"d"))
        return owner.receipts

    heads = [[head for _, head, _ in frames] for frames in asyncio.run(main())]
    assert heads == [[b"a", b"b"], [b"c", b"d"]]


def test_what_is_sent_in_one_turn_leaves_in_one_write():
    async def main():
        connection, transport = opened(Owner())
        for content in (b"a", b"b", b"c"):
            connection.send(encode_frame(TAG, 0, content))
        assert transport.writes == []
        connection.flush()
        connection.flush()
        return transport.writes

    assert asyncio.run(main()) == [frame(b"a") + frame(b"b") + frame(b"c")]


def test_what_nobody_flushed_leaves_in_the_next_turn():
    async def main():
        connection, transport = opened(Owner())
        connection.send(encode_frame(TAG, 0, b"a"))
        await asyncio.sleep(0)
        return transport.writes

    assert asyncio.run(main()) == [frame(b"a")]


def test_while_the_transport_is_full_everything_waits_and_then_leaves_at_once():
    async def main():
        connection, transport = opened(Owner(), stops_reading=True)
        connection.pause_writing()
        connection.send(encode_frame(TAG, 0, b"a"))
        connection.flush()
        connection.send(encode_frame(TAG, 0, b"b"))
        assert transport.writes == []
        assert connection.bytes_unsent == len(frame(b"a") + frame(b"b"))
        connection.resume_writing()
        return transport, connection.bytes_unsent

    transport, unsent = asyncio.run(main())
    assert transport.writes == [frame(b"a") + frame(b"b")]
    assert unsent == 0
    assert transport.done == ["pause", "resume"], "a client that does not take answers asks nothing new meanwhile"


def test_a_node_goes_on_reading_from_a_node_that_does_not_read():
    """Else two nodes that wait for each other would wait for ever."""

    async def main():
        connection, transport = opened(Owner())
        connection.pause_writing()
        connection.resume_writing()
        return transport.done

    assert asyncio.run(main()) == []


def test_whoever_takes_too_little_is_dropped():
    async def main():
        connection, transport = opened(Owner(), unsent_max=100)
        connection.pause_writing()
        for _ in range(20):
            connection.send(encode_frame(TAG, 0, b"0123456789"))
        return connection, transport

    connection, transport = asyncio.run(main())
    assert transport.done == ["abort"]
    assert connection.complaints.counts == {"n2": 1}
    assert connection.bytes_unsent == 0


def test_closing_hands_over_what_waits_and_then_nothing():
    async def main():
        owner = Owner()
        connection, transport = opened(owner)
        connection.pause_writing()
        connection.send(encode_frame(TAG, 0, b"a"))
        connection.close()
        connection.send(encode_frame(TAG, 0, b"b"))
        connection.data_received(frame(b"c"))
        connection.connection_lost(None)
        connection.close()
        connection.flush()
        await connection.wait_closed()
        return owner, transport

    owner, transport = asyncio.run(main())
    assert transport.writes == [frame(b"a")]
    assert transport.done == ["close"]
    assert (owner.receipts, owner.ends) == ([], [None])


def test_a_broken_frame_and_a_refusing_owner_end_the_connection():
    async def main():
        results = []
        for refuses, data in ((False, bytes(50)), (True, frame(b"a"))):
            connection, transport = opened(Owner(refuses))
            connection.data_received(data)
            connection.data_received(frame(b"later"))
            results.append((transport.done, connection.complaints.counts, len(connection.owner.receipts)))
        return results

    assert asyncio.run(main()) == [(["abort"], {"n2": 1}, 0), (["abort"], {"n2": 1}, 1)]


def test_before_it_is_admitted_only_a_small_frame_is_read():
    async def main():
        connection, transport = FrameConnection(Owner(), Limits(), Complaints()), Transport()
        connection.connection_made(transport)
        connection.data_received((5000).to_bytes(4, "little"))
        return transport.done, connection.complaints.counts

    assert asyncio.run(main()) == (["abort"], {"10.0.0.9": 1})


def test_a_frame_that_does_not_end_ends_the_connection():
    """A byte now and then does not help, while whole frames do."""

    async def main():
        connection, transport = opened(Owner(), Limits(frame_timeout_us=50_000))
        whole = frame(b"a" * 500)
        connection.data_received(whole + whole[:20])
        fed = 20
        async with asyncio.timeout(10):
            while not transport.done:
                await asyncio.sleep(0.005)
                connection.data_received(whole[fed : fed + 1])
                fed += 1
        return transport.done, connection.complaints.counts

    assert asyncio.run(main()) == (["abort"], {"n2": 1})


def test_frames_that_overlap_in_receipts_never_look_slow():
    async def main():
        connection, transport = opened(Owner(), Limits(frame_timeout_us=60_000_000))
        half = len(frame(b"ab")) // 2
        connection.data_received(frame(b"ab")[:half])
        began = connection._frame_started_s
        await asyncio.sleep(0.002)
        connection.data_received(frame(b"ab")[half:] + frame(b"cd")[:half])
        later = connection._frame_started_s
        connection.connection_lost(None)
        return began, later, transport.done

    began, later, done = asyncio.run(main())
    assert later > began
    assert done == []


def test_complaints_are_one_line_a_second_about_each(caplog):
    now = [0.0]
    complaints = Complaints(lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for step in range(100):
            now[0] = step * 0.1
            complaints.add("n2", f"did thing {step}")
            complaints.add("n3", "did it again")
    assert complaints.total == 200
    assert complaints.counts == {"n2": 100, "n3": 100}
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if line.startswith("n2")]) == 10
    assert [line for line in lines if line.startswith("n3")] == ["n3: did it again"]
    assert lines[-1].endswith("(9 more went unlogged)")


def test_complaints_about_many_names_do_not_pile_up():
    complaints = Complaints(lambda: 0.0)
    logging.disable()
    try:
        for number in range(5000):
            complaints.add(f"host-{number}", "did something")
    finally:
        logging.disable(logging.NOTSET)
    assert complaints.total == 5000
    assert len(complaints.counts) == len(complaints._logged) == Complaints.NAMES_MAX
