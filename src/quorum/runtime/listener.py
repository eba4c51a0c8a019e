"""One listening port: accepted connections prove who they are within a deadline and a bounded number of places."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from quorum.errors import ConfigurationError
from quorum.runtime.connection import Address, Complaints, FrameConnection, tls_reason
from quorum.runtime.limits import Limits

BACKLOG = 512
ACCEPTS_PER_TURN = 64
"""So that a flood of connections leaves the loop time for those that stand."""
REST_S = 1.0
"""How long nothing is accepted after the system had no room for one more connection."""


class Arrival:
    """An accepted connection that has not said who it is: TLS first, where there is TLS, then a hello."""

    def __init__(self, listener: Listener, accepted: socket.socket, host: str) -> None:
        self._listener = listener
        self._accepted = accepted
        self.host = host
        self.connection: FrameConnection | None = None
        self.timer: asyncio.TimerHandle | None = None

    def settle(self) -> None:
        """It said who it is, or is gone: the deadline is over and its place free. More than once is fine."""
        self._listener.settled(self)

    def abort(self) -> None:
        """Let go of it. The socket ends, and whoever has it by now, TLS or the connection, closes it for that."""
        self.settle()
        if self.connection is not None:
            self.connection.abort()
        try:
            self._accepted.shutdown(socket.SHUT_RDWR)
        except OSError:  # it has ended already
            pass


class Listener:
    """Accepts at `address`, and gives what arrives to the connections that `open_connection` makes.

    Whoever owns such a connection calls `arrival.settle()` when a hello came, or the connection ends.
    """

    def __init__(
        self,
        address: Address,
        tls: ssl.SSLContext | None,
        open_connection: Callable[[Arrival], FrameConnection],
        limits: Limits,
        complaints: Complaints,
    ) -> None:
        self._address = address
        self._tls = tls
        self._open_connection = open_connection
        self._limits = limits
        self._complaints = complaints
        self._sockets: list[socket.socket] = []
        self._waiting: dict[Arrival, None] = {}  # the oldest first
        self._opening: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many connections have not said yet who they are."""
        return len(self._waiting)

    @property
    def address(self) -> Address:
        """Where it listens; the port is the real one where 0 was asked for."""
        host, port = self._address
        return (host, self._sockets[0].getsockname()[1]) if self._sockets else (host, port)

    async def start(self) -> None:
        """Listen. Raises ConfigurationError when the address cannot be had."""
        host, port = self._address
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, place in dict.fromkeys(found):
                self._sockets.append(_listening_socket(family, place))
        except (OSError, OverflowError, UnicodeError) as error:
            self._close_sockets()
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ConfigurationError(
                f"{host}:{port} was to be listened on, but the system refuses ({reason.lower()}). "
                "End the process that has it (another node?), or change `listen` in cluster.toml."
            ) from None
        for listening in self._sockets:
            loop.add_reader(listening, self._accept, listening)

    async def close(self) -> None:
        """Accept nothing more, and let go of whoever has not said who they are."""
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.remove_reader(listening)
        self._close_sockets()
        for arrival in list(self._waiting):
            arrival.abort()
        await asyncio.gather(*self._opening)

    def settled(self, arrival: Arrival) -> None:
        """The arrival needs no place and no deadline any more."""
        self._waiting.pop(arrival, None)
        if arrival.timer is not None:
            arrival.timer.cancel()
            arrival.timer = None

    def _close_sockets(self) -> None:
        for listening in self._sockets:
            listening.close()
        self._sockets = []

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                accepted, place = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no file descriptor or memory left: those who stand go on
                self._complaints.add("listener", f"cannot accept a connection ({tls_reason(error)})")
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                loop.call_later(REST_S, self._accept_again, listening)
                return
            self._take(accepted, str(place[0]))

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _take(self, accepted: socket.socket, host: str) -> None:
        if len(self._waiting) >= self._limits.waiting_max:
            oldest = next(iter(self._waiting))
            self._complaints.add(oldest.host, "was pushed out: too many connections wait without a hello")
            oldest.abort()
        loop = asyncio.get_running_loop()
        accepted.setblocking(False)
        arrival = Arrival(self, accepted, host)
        self._waiting[arrival] = None
        arrival.timer = loop.call_later(self._limits.hello_timeout_us / 1e6, self._expire, arrival)
        arrival.connection = self._open_connection(arrival)
        opening = loop.create_task(self._open(arrival, arrival.connection, accepted))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    def _expire(self, arrival: Arrival) -> None:
        seconds = self._limits.hello_timeout_us / 1e6
        self._complaints.add(arrival.host, f"connected and sent no hello within {seconds:g} s")
        arrival.abort()

    async def _open(self, arrival: Arrival, connection: FrameConnection, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._tls is None:
                await loop.connect_accepted_socket(lambda: connection.protocol, accepted)
            else:
                await loop.connect_accepted_socket(
                    lambda: connection.protocol, accepted, ssl=self._tls, ssl_shutdown_timeout=1.0
                )
        except OSError as error:  # ssl.SSLError is one
            if arrival in self._waiting:  # else it was let go, with the reason
                self._complaints.add(arrival.host, f"the TLS handshake failed ({tls_reason(error)})")
            arrival.settle()


def _listening_socket(family: int, place: tuple[object, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(place)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening
