"""Echoed frames a second between two processes on loopback, through the product's own connections.

Run: python bench/loopback.py [--seconds 3]. One process listens and answers every frame, the other keeps a window
of frames of 100 bytes under way on one connection. An upper bound for one connection, not for a cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from time import perf_counter

import uvloop

from quorum.runtime.codec import Frame, encode_frame
from quorum.runtime.connection import FrameConnection
from quorum.runtime.handshake import PROTOCOL_VERSION, Hello, Welcome
from quorum.runtime.keyring import create_authority, issue, load_tls
from quorum.runtime.network import ClientConnection, Network, dial

HEAD, CONTENT = b"h" * 20, b"x" * 100
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Echo:
    """Answers clients with what they sent."""

    def on_client_frames(self, client: ClientConnection, frames: list[Frame]) -> None:
        for channel, head, attachment in frames:
            client.send(channel, head, (attachment,))
        client.connection.flush()

    def on_client_lost(self, client: ClientConnection) -> None: ...

    def on_peer_frames(self, node: str, frames: list[Frame]) -> None: ...

    def on_peer_up(self, node: str) -> None: ...

    def on_peer_lost(self, node: str) -> None: ...


class Load:
    """Keeps `window` frames under way; notes when each receipt came, and how long single round trips took."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.echoed = 0
        self.sent_at = 0.0
        self.trips: list[float] = []

    def __call__(self, connection: FrameConnection, welcome: Welcome) -> Load:
        return self

    def start(self, connection: FrameConnection) -> None:
        self.sent_at = perf_counter()
        self.send(connection, self.window)

    def send(self, connection: FrameConnection, count: int) -> None:
        for _ in range(count):
            connection.send(encode_frame(connection.cluster_tag, 0, HEAD, (CONTENT,)))
        connection.flush()

    def on_frames(self, connection: FrameConnection, frames: list[Frame]) -> None:
        self.echoed += len(frames)
        if self.window == 1:
            now = perf_counter()
            self.trips.append(now - self.sent_at)
            self.sent_at = now
        self.send(connection, len(frames))

    def on_closed(self, connection: FrameConnection, error: Exception | None) -> None: ...


def serve(loop: str, keys: str | None, pipe: Connection) -> None:
    """The listening process: says its port, and ends when told."""

    async def main() -> None:
        tls = load_tls(keys, "n1") if keys else None
        network = Network("n1", "bench", 1, ("127.0.0.1", 0), {}, tls, Echo())
        await network.start()
        pipe.send(network.address)
        await asyncio.to_thread(pipe.recv)
        await network.close()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


def measure(loop: str, keys: str | None, window: int, seconds: float) -> tuple[float, float]:
    """(frames a second, median round trip in microseconds or 0) of one window."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(loop, keys, theirs))
    server.start()
    address = ours.recv()

    async def main() -> tuple[float, float]:
        load = Load(window)
        tls = load_tls(keys, "client.bench") if keys else None
        connection = await dial(address, tls, Hello(PROTOCOL_VERSION, "bench", "client", "bench", "n1"), load)
        load.start(connection)
        await asyncio.sleep(seconds / 4)
        load.trips.clear()
        before, began = load.echoed, perf_counter()
        await asyncio.sleep(seconds)
        rate = (load.echoed - before) / (perf_counter() - began)
        connection.abort()
        trips = sorted(load.trips)
        return rate, trips[len(trips) // 2] * 1e6 if trips else 0.0

    try:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            return runner.run(main())
    finally:
        ours.send("end")
        server.join(10)


def run(seconds: float) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as keys:
        create_authority(keys)
        issue(keys, "n1")
        issue(keys, "bench", kind="client")
        print(f"{'loop':8} {'wire':6} {'window':>6} {'frames/s':>10} {'p50 us':>7}")
        for loop in LOOPS:
            for wire, folder in (("plain", None), ("mTLS", keys)):
                for window in (1, 64, 1024):
                    rate, median_us = measure(loop, folder, window, seconds)
                    shown = f"{median_us:7.0f}" if median_us else " " * 7
                    print(f"{loop:8} {wire:6} {window:6} {rate:10,.0f} {shown}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each figure is measured")
    run(parser.parse_args().seconds)
