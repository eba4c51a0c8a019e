"""One TCP or TLS connection that carries frames: cut on receipt, joined into one write per turn of the loop."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, ClassVar, Protocol, cast

from quorum.entry import Buffer
from quorum.errors import RemoteProtocolError
from quorum.runtime.codec import Frame, FrameParser
from quorum.runtime.keyring import peer_name
from quorum.runtime.limits import Limits

_LOG = logging.getLogger("quorum.network")
Address = tuple[str, int]
"""Host and port."""

UNKNOWN = "?"
LINGER_S = 1.0
"""How long a connection that we close may take to hand over what is still unsent."""


class Complaints:
    """Counts what others did wrong, and logs it: a line a second about each, the same text once a minute.

    Nothing that was received is logged, only what kind of thing it was. `total` counts everything, `counts` by
    name, for the newest names only. `clock` gives seconds.
    """

    NAMES_MAX: ClassVar[int] = 1024
    LINE_S: ClassVar[float] = 1.0
    REPEAT_S: ClassVar[float] = 60.0

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.total = 0
        self.counts: dict[str, int] = {}
        self._clock = clock
        self._logged: dict[str, tuple[float, str, int]] = {}

    def add(self, who: str, what: str) -> None:
        """Count one complaint about `who`, and log it unless enough was said about them just now."""
        self.total += 1
        count = self.counts.pop(who, 0) + 1
        self.counts[who] = count
        now = self._clock()
        logged_at, text, counted = self._logged.get(who, (-self.REPEAT_S, "", 0))
        if now - logged_at >= (self.REPEAT_S if what == text else self.LINE_S):
            unsaid = count - counted - 1
            _LOG.warning("%s: %s%s", who, what, f" ({unsaid} more went unlogged)" if unsaid else "")
            self._logged[who] = (now, what, count)
        if len(self.counts) > self.NAMES_MAX:
            oldest = next(iter(self.counts))
            del self.counts[oldest]
            self._logged.pop(oldest, None)


class ConnectionOwner(Protocol):
    """Who is told about a connection. Raising RemoteProtocolError in `on_frames` closes it."""

    def on_frames(self, connection: FrameConnection, frames: list[Frame]) -> None:
        """All frames that one receipt completed, at least one."""
        ...

    def on_closed(self, connection: FrameConnection, error: Exception | None) -> None:
        """Called once, whoever closed it; `error` is None after an orderly end."""
        ...


class FrameConnection:
    """Frames over one transport.

    `send` only appends; what was appended in one turn of the event loop leaves in one write, at `flush` or at the
    latest in the next turn. `name` is who to blame, an address until the other side has proved more. `on_drained`
    is called whenever a connection that was full takes more.
    """

    def __init__(self, owner: ConnectionOwner, limits: Limits, complaints: Complaints) -> None:
        self.owner = owner
        self.limits = limits
        self.complaints = complaints
        self.name = UNKNOWN
        self.certificate: Mapping[str, Any] | None = None
        self.is_encrypted = False
        self.is_closing = False
        self.on_drained: Callable[[], None] | None = None
        self._parser = FrameParser(limits.hello_bytes_max, UNKNOWN)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._unsent: list[Buffer] = []
        self._unsent_bytes = 0
        self._unsent_max = limits.client_bytes_unsent_max
        self._is_blocked = False
        self._stops_reading = False
        self._flush_is_due = False
        self._frame_started_s = 0.0
        self._frame_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._closed = asyncio.Event()

    # What the owner may ask.

    @property
    def peer_identity(self) -> str | None:
        """The one DNS name in the certificate of the other side, verified by TLS; None without TLS."""
        return peer_name(self.certificate)

    @property
    def cluster_tag(self) -> int:
        """Of which cluster the frames are that come here; codec.NO_CLUSTER until one said so."""
        return self._parser.tag

    @property
    def bytes_unsent(self) -> int:
        """What was sent here and has not been handed to the kernel."""
        in_transport = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._unsent_bytes + in_transport

    def admit(self, owner: ConnectionOwner, name: str, tag: int, unsent_max: int, *, stops_reading: bool) -> None:
        """The other side is known: lift the bounds of the hello, and report to `owner` from the next receipt on.
        A frame of another cluster than the one with this `tag` ends the connection from now on.

        With `stops_reading` nothing is read while the other side does not take what is written, so that its
        requests wait with it; two nodes must not do so to each other.
        """
        self.owner, self._unsent_max, self._stops_reading = owner, unsent_max, stops_reading
        self._rename(name)
        self._parser.tag = tag
        self._parser.bytes_max = self.limits.frame_bytes_max

    def send(self, buffers: Sequence[Buffer], *, caller_flushes: bool = False) -> None:
        """Append to what leaves at the next flush: the caller's, if it says so, else one in the next loop turn.
        On a closed connection nothing happens."""
        if self.is_closing or self._transport is None:
            return
        for buffer in buffers:
            self._unsent_bytes += len(buffer)
        self._unsent += buffers
        if not self._flush_is_due and not caller_flushes:
            self._flush_is_due = True
            self._loop.call_soon(self._flush_due)
        if self._unsent_bytes > self._unsent_max:
            self._fail(f"took too little of what was sent to it: more than {self._unsent_max} bytes wait")

    def flush(self) -> None:
        """Write what was appended, in one piece. While the transport is full, it waits here."""
        transport = self._transport
        if not self._unsent or self._is_blocked or transport is None or transport.is_closing():
            return
        data = b"".join(self._unsent)
        self._unsent, self._unsent_bytes = [], 0
        transport.write(data)

    def close(self) -> None:
        """Hand over what is unsent, for at most LINGER_S, and end the connection."""
        if self.is_closing or self._transport is None:
            self.is_closing = True
            return
        self._is_blocked = False
        self.flush()
        self.is_closing = True
        self._transport.close()
        self._linger_timer = self._loop.call_later(LINGER_S, self.abort)

    def abort(self) -> None:
        """End the connection now; what is unsent is lost."""
        self.is_closing = True
        self._unsent, self._unsent_bytes = [], 0
        if self._transport is not None:
            self._transport.abort()

    @property
    def has_ended(self) -> bool:
        """Whether the connection has ended and its owner was told."""
        return self._closed.is_set()

    async def wait_closed(self) -> None:
        """Return once the connection has ended and its owner was told."""
        await self._closed.wait()

    # What the event loop says. It takes whatever has these methods; a compiled class cannot inherit from its own.

    @property
    def protocol(self) -> Any:
        """This connection, for an event loop that wants an asyncio.Protocol."""
        return self

    def eof_received(self) -> None:
        """The other side sends no more: the loop closes the connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.is_closing:
            self._transport.abort()
            return
        self.certificate = transport.get_extra_info("peercert")
        self.is_encrypted = transport.get_extra_info("ssl_object") is not None
        _set_socket_options(transport.get_extra_info("socket"), self.limits.silence_timeout_us)
        self._rename(_host_of(transport))

    def data_received(self, data: bytes) -> None:
        if self.is_closing:
            return
        was_started = self._parser.bytes_started
        try:
            frames = self._parser.feed(data)
            if frames:
                self.owner.on_frames(self, frames)
        except RemoteProtocolError as error:
            self._fail(error.what)
            return
        if self._parser.bytes_started:
            if frames or not was_started:
                self._frame_started_s = self._loop.time()
            if self._frame_timer is None:
                self._frame_timer = self._loop.call_later(self.limits.frame_timeout_us / 1e6, self._check_frame)

    def pause_writing(self) -> None:
        self._is_blocked = True
        if self._stops_reading and not self.is_closing and self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_blocked = False
        self.flush()
        if self._stops_reading and not self._is_blocked and not self.is_closing and self._transport is not None:
            self._transport.resume_reading()
        if self.on_drained is not None and not self._is_blocked and not self.is_closing:
            self.on_drained()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closing = True
        self._unsent, self._unsent_bytes = [], 0
        for timer in (self._frame_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        self._frame_timer = self._linger_timer = None
        self._closed.set()
        self.owner.on_closed(self, exc)

    # The rest.

    def _flush_due(self) -> None:
        self._flush_is_due = False
        self.flush()

    def _check_frame(self) -> None:
        """One timer a connection, not one a frame: it looks whether the frame it finds has become too old."""
        self._frame_timer = None
        if self.is_closing or not self._parser.bytes_started:
            return
        timeout_s = self.limits.frame_timeout_us / 1e6
        left_s = self._frame_started_s + timeout_s - self._loop.time()
        if left_s > 0:
            self._frame_timer = self._loop.call_later(left_s, self._check_frame)
        else:
            self._fail(f"began a frame and did not end it within {timeout_s:g} s")

    def _fail(self, what: str) -> None:
        self.complaints.add(self.name, f"{what.removesuffix('.')}. The connection was closed.")
        self.abort()

    def _rename(self, name: str) -> None:
        self.name = self._parser.sender = name


def _host_of(transport: asyncio.BaseTransport) -> str:
    """The address of the other side without its port, so that complaints about one host are counted together."""
    address = transport.get_extra_info("peername")
    return str(address[0]) if isinstance(address, tuple) and address else UNKNOWN


def _set_socket_options(connected: socket.socket | None, silence_timeout_us: int) -> None:
    """Send small writes at once, and notice within about `silence_timeout_us` that the other host is gone.

    Without the time-outs TCP retries for many minutes, at ever longer intervals, after a partition has healed.
    """
    if connected is None or connected.family not in (socket.AF_INET, socket.AF_INET6):
        return
    seconds = max(1, silence_timeout_us // 2_000_000)
    options = [
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", seconds),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", max(1, seconds // 3)),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", silence_timeout_us // 1000),
    ]
    for level, option, value in options:
        number = getattr(socket, option, None)
        if number is not None:
            try:
                connected.setsockopt(level, number, value)
            except OSError:  # the other side has gone already, or the platform knows the name only
                return


def tls_reason(error: BaseException) -> str:
    """A few words on why a TLS handshake or a connection failed; never anything that was received."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return system_reason(error) if isinstance(error, OSError) else type(error).__name__


def system_reason(error: OSError) -> str:
    """What the system says of an error, without the addresses that asyncio adds."""
    if error.errno and not isinstance(error, socket.gaierror):  # those have numbers of their own
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__
