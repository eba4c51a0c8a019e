"""A closed-loop load generator: one thread, many sockets, and as little work per operation as Python allows.

The ordinary clients of the measured systems spend more CPU than the servers; a `Channel` speaks just enough of a
protocol to keep puts in flight, so that the servers are the limit.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from load import PeerFailed

Address = tuple[str, int]
RECEIVE_BYTES = 1 << 18
SILENCE_S = 0.1  # no answer for so long: the connections are shown to be alive
STALL_S = 20.0  # no answer for so long: the row is given up
CONNECT_S = 20.0
RECOVERY_S = 60.0
PROBE_S = 0.005
READ, BOTH = selectors.EVENT_READ, selectors.EVENT_READ | selectors.EVENT_WRITE


class ConnectionLost(Exception):
    """The server closed the connection, refused it, or ended the session."""


class Channel(ABC):
    """One connection with puts in flight. `ready` once puts may be submitted."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.ready = True
        self.outbox = bytearray()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):  # a refusal is met again when reading
            self.socket.connect(address)

    @abstractmethod
    def submit(self) -> int:
        """Append one more put to the outbox; return the tag under which its answer will come."""

    @abstractmethod
    def answers(self, data: bytes) -> list[tuple[int, bool]]:
        """Take received bytes; return (tag, succeeded) for each put that they answer.

        Raises ConnectionLost if the server ends the conversation.
        """

    def keep_alive(self) -> None:
        """Append what the protocol's clients send on a silent connection to the outbox: by default nothing."""
        return


class Loop:
    """Moves bytes between channels and their servers."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._interest: dict[Channel, int] = {}

    def add(self, channel: Channel) -> None:
        self._selector.register(channel.socket, BOTH, channel)
        self._interest[channel] = BOTH

    def remove(self, channel: Channel) -> None:
        self._selector.unregister(channel.socket)
        del self._interest[channel]
        channel.socket.close()

    def close(self) -> None:
        """Close every channel."""
        for channel in list(self._interest):
            self.remove(channel)
        self._selector.close()

    def flush(self, channel: Channel) -> None:
        """Send what the socket takes; ask to be woken for the rest. An error is left for the next read to meet."""
        if channel.outbox:
            with contextlib.suppress(OSError):
                del channel.outbox[: channel.socket.send(channel.outbox)]
        wanted = BOTH if channel.outbox else READ
        if self._interest[channel] != wanted:
            self._selector.modify(channel.socket, wanted, channel)
            self._interest[channel] = wanted

    def turn(self, timeout_s: float) -> tuple[list[tuple[Channel, list[tuple[int, bool]]]], list[Channel]]:
        """Wait for the sockets once; return the answers of each channel, and the channels that were lost."""
        answered, lost = [], []
        for key, mask in self._selector.select(timeout_s):
            channel: Channel = key.data
            try:
                if mask & selectors.EVENT_READ:
                    data = channel.socket.recv(RECEIVE_BYTES)
                    if not data:
                        raise ConnectionLost("closed by the server")
                    answered.append((channel, channel.answers(data)))
            except BlockingIOError:
                pass
            except (ConnectionLost, OSError):
                lost.append(channel)
                continue
            self.flush(channel)
        return answered, lost


class ClosedLoop:
    """Keeps `outstanding` puts in flight over `channels`: each answer makes room for the next put."""

    def __init__(self, channels: Sequence[Channel], outstanding: int) -> None:
        self._loop = Loop()
        self._channels = channels
        self._outstanding = outstanding
        self._sent_at: dict[tuple[Channel, int], float] = {}
        self.latencies_s: list[float] = []
        self.acknowledged = 0
        self.failed = 0
        for channel in channels:
            self._loop.add(channel)

    def open(self) -> None:
        """Wait until every channel is ready, then submit the first puts."""
        deadline = time.perf_counter() + CONNECT_S
        while not all(channel.ready for channel in self._channels):
            _, lost = self._loop.turn(0.1)
            if lost or time.perf_counter() > deadline:
                raise PeerFailed("A connection for the load was asked for and not given. Start the run again.")
        now = time.perf_counter()
        for number in range(self._outstanding):
            self._submit(self._channels[number % len(self._channels)], now)
        for channel in self._channels:
            self._loop.flush(channel)

    def run(self, seconds: float, *, refill: bool = True) -> float:
        """Go on for `seconds`, or (without `refill`) until all is answered; return the seconds it took.

        Raises PeerFailed if a connection is lost, or no answer comes for 20 s.
        """
        self.latencies_s, self.acknowledged, self.failed = [], 0, 0
        started = answered_at = heard_at = now = time.perf_counter()
        while now - started < seconds and self._sent_at:
            answered, lost = self._loop.turn(0.05)
            now = time.perf_counter()
            if lost:
                raise PeerFailed(f"{lost[0].address} was under load and closed a connection. Start the run again.")
            for channel, answers in answered:
                self._take(channel, answers, now, refill)
                answered_at = heard_at = now
                self._loop.flush(channel)
            if now - heard_at > SILENCE_S:
                heard_at = now
                self._keep_alive()
            if now - answered_at > STALL_S:
                raise PeerFailed(
                    f"Puts were in flight and none was answered for {STALL_S:.0f} s. Use a calmer disk."
                )
        return now - started

    def close(self) -> None:
        self._loop.close()

    def _take(self, channel: Channel, answers: list[tuple[int, bool]], now: float, refill: bool) -> None:
        for tag, succeeded in answers:
            sent_at = self._sent_at.pop((channel, tag))
            if succeeded:
                self.acknowledged += 1
                self.latencies_s.append(now - sent_at)
            else:
                self.failed += 1
            if refill:
                self._submit(channel, now)

    def _keep_alive(self) -> None:
        for channel in self._channels:
            channel.keep_alive()
            self._loop.flush(channel)

    def _submit(self, channel: Channel, now: float) -> None:
        self._sent_at[channel, channel.submit()] = now


def recovery_s(
    crash: Callable[[], None], connect: Callable[[Address], Channel], survivors: Sequence[Address]
) -> float:
    """Return the seconds from `crash()` to the first successful put through one of the survivors.

    The connections to the survivors are open and tried before the crash. From then on each survivor gets
    another put every 5 ms, without waiting for the ones before, over a new connection where it closed the old one.
    Raises PeerFailed if no put succeeds before the crash (20 s), or none after it (60 s).
    """
    loop = Loop()
    channels = {address: connect(address) for address in survivors}
    try:
        for channel in channels.values():
            loop.add(channel)
        _wait_for_one_put_each(loop, list(channels.values()))
        crash()
        started = time.perf_counter()
        probe_at = started + PROBE_S
        while (now := time.perf_counter()) < started + RECOVERY_S:
            if now >= probe_at:
                probe_at = now + PROBE_S
                _probe(loop, channels, connect, survivors)
            answered, lost = loop.turn(max(0.0, probe_at - time.perf_counter()))
            if any(succeeded for _, answers in answered for _, succeeded in answers):
                return time.perf_counter() - started
            for channel in lost:
                loop.remove(channel)
                del channels[channel.address]
        raise PeerFailed(
            f"The leader was killed and no put succeeded within {RECOVERY_S:.0f} s. Read the members' logs."
        )
    finally:
        loop.close()


def _probe(
    loop: Loop,
    channels: dict[Address, Channel],
    connect: Callable[[Address], Channel],
    survivors: Sequence[Address],
) -> None:
    """Submit one put to each survivor that is connected, and connect again to the others."""
    for address in survivors:
        if address not in channels:
            channels[address] = connect(address)
            loop.add(channels[address])
        elif channels[address].ready:
            channels[address].submit()
            loop.flush(channels[address])


def _wait_for_one_put_each(loop: Loop, channels: list[Channel]) -> None:
    deadline = time.perf_counter() + CONNECT_S
    waiting, asked = set(channels), set()
    while waiting and time.perf_counter() < deadline:
        for channel in channels:
            if channel.ready and channel not in asked:
                asked.add(channel)
                channel.submit()
                loop.flush(channel)
        answered, lost = loop.turn(SILENCE_S)
        waiting -= {channel for channel, answers in answered if any(succeeded for _, succeeded in answers)}
        if not answered and not lost:
            for channel in sorted(waiting & asked, key=lambda channel: channel.address):
                channel.keep_alive()
                loop.flush(channel)
        if lost:
            break
    if waiting:
        raise PeerFailed(
            "A put through each survivor was to succeed before the crash, and did not. Start it again."
        )
