"""etcd: three members with default flags (write-ahead log synced before every acknowledgement), puts over gRPC.

The client is as much HTTP/2 (RFC 9113) and gRPC as a put needs: fixed header bytes, many streams per socket, and
the messages of etcd's `rpc.proto` encoded by hand. A unary call that succeeded is one that sent a message back, so
the compressed response headers are never decoded.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import struct
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence

from load import BadRequest, PeerFailed, Report, check_request
from peers.cluster import NAMES, Cluster, measure
from peers.pipeline import Address, Channel, ConnectionLost
from peers.processes import Processes, free_ports, measurable

KEYS = 1000
CALL_S = 2.0
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
FRAME = struct.Struct(">HBBBL")  # length (24 bits), type, flags, stream
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW_BYTES = 65_535  # what either side may send before the other grants more
WINDOW_BYTES_MAX = (1 << 31) - 1


def available() -> str | None:
    """Return None if etcd can be measured here, else the reason why not."""
    if shutil.which("etcd") is None:
        return "no `etcd` on the PATH (Debian package etcd-server)"
    return measurable()


def run(outstanding: Sequence[int], seconds: float, value_bytes: int, failovers: int) -> Report:
    """Measure puts of a 12 B key and `value_bytes` with each count in flight, then `failovers` leader crashes.

    Raises BadRequest for arguments that make no sense, PeerFailed if etcd does not serve.
    """
    check_request(outstanding, seconds, value_bytes, failovers)
    if reason := available():
        raise BadRequest(f"etcd was to be measured: {reason}. Install it, or leave it out.")
    settings = f"{version()}, 3 members, default flags, puts of 12 + {value_bytes} B sent to the leader"
    with Processes() as processes:
        return measure(EtcdCluster(processes, value_bytes), outstanding, seconds, failovers, settings)


def version() -> str:
    """Return the first line of `etcd --version`; raises PeerFailed if it cannot be run."""
    try:
        said = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        raise PeerFailed(f"etcd was asked for its version: {error}. Install it again.") from error
    return said.stdout.partition("\n")[0]


class EtcdCluster(Cluster):
    """Members with default flags but for names, folders and loopback ports."""

    system, operation, durable = "etcd", "put", "fsync on a majority"

    def __init__(self, processes: Processes, value_bytes: int) -> None:
        super().__init__(processes, value_bytes)
        ports = free_ports(2 * len(NAMES))
        self._client_port = dict(zip(NAMES, ports))
        self._peer_port = dict(zip(NAMES, ports[len(NAMES) :]))
        self._numbers = itertools.count()

    def start_member(self, name: str) -> None:
        client_url, peer_url = (
            f"http://127.0.0.1:{ports[name]}" for ports in (self._client_port, self._peer_port)
        )
        command = ["etcd", "--name", name, "--data-dir", str(self.processes.folder / f"{name}.etcd")]
        command += ["--listen-client-urls", client_url, "--advertise-client-urls", client_url]
        command += ["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url]
        command += ["--initial-cluster", ",".join(f"{n}=http://127.0.0.1:{p}" for n, p in self._peer_port.items())]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ETCD_")}
        self.processes.start(name, command, env=environment)

    def address(self, name: str) -> Address:
        return ("127.0.0.1", self._client_port[name])

    def role(self, name: str) -> str | None:
        try:
            status = message_fields(call(self.address(name), "/etcdserverpb.Maintenance/Status", b""))
        except (OSError, ConnectionLost):
            return None
        member = integer(message_fields(field_bytes(status, 1)), 2)
        leader = integer(status, 4)
        if leader == 0:
            return None
        return "leader" if leader == member else "follower"

    def position(self, name: str) -> int:
        """The revision of the store, by a linearizable Range: it grows by one with each put."""
        try:
            answer = call(self.address(name), "/etcdserverpb.KV/Range", range_request(key_of(0)))
        except (OSError, ConnectionLost) as error:
            raise PeerFailed(f"{name} was asked for its revision: {error}. Start the run again.") from error
        return integer(message_fields(field_bytes(message_fields(answer), 1)), 3)

    def prepare(self, leader: str) -> None:
        """Nothing: a put creates its key."""

    def connect(self, address: Address) -> Channel:
        return EtcdChannel(address, self._numbers, self.value_bytes)


class EtcdChannel(Channel):
    """One HTTP/2 connection: each put is a stream, its tag the stream number."""

    def __init__(self, address: Address, numbers: Iterator[int], value_bytes: int) -> None:
        super().__init__(address)
        self.outbox += opening()
        self._numbers = numbers
        self._padding = os.urandom(value_bytes)
        self._head = headers("/etcdserverpb.KV/Put")
        self._next_stream = 1
        self._window_bytes = WINDOW_BYTES
        self._waiting: deque[tuple[int, bytes]] = deque()  # puts that the server's window has no room for yet
        self._inbox = bytearray()
        self._answered: set[int] = set()

    def submit(self) -> int:
        number = next(self._numbers)
        value = number.to_bytes(8, "big")[-len(self._padding) :] + self._padding[8:]
        stream = self._next_stream
        self._next_stream += 2
        self._waiting.append((stream, grpc_message(put_request(key_of(number % KEYS), value))))
        self._send_waiting()
        return stream

    def answers(self, data: bytes) -> list[tuple[int, bool]]:
        self._inbox += data
        done = []
        for kind, flags, stream, payload in take_frames(self._inbox):
            if kind == DATA:
                if payload:
                    self._answered.add(stream)
            elif kind == HEADERS:
                if flags & END_STREAM:
                    done.append((stream, stream in self._answered))
                    self._answered.discard(stream)
            elif kind == RST_STREAM:
                done.append((stream, False))
            elif kind == WINDOW_UPDATE:
                if stream == 0:
                    self._window_bytes += int.from_bytes(payload, "big")
            elif kind == GOAWAY:
                raise ConnectionLost("the server says it is going away")
            else:
                self.outbox += acknowledgement(kind, flags, payload)
        self._send_waiting()
        return done

    def _send_waiting(self) -> None:
        while self._waiting and len(self._waiting[0][1]) <= self._window_bytes:
            stream, body = self._waiting.popleft()
            self._window_bytes -= len(body)
            self.outbox += frame(HEADERS, END_HEADERS, stream, self._head) + frame(DATA, END_STREAM, stream, body)


def call(address: Address, path: str, request: bytes) -> bytes:
    """Make one unary call on a connection of its own; return the answer's message.

    Raises OSError or ConnectionLost if there is none within 2 s per receive.
    """
    with socket.create_connection(address, timeout=CALL_S) as connection:
        first = frame(HEADERS, END_HEADERS, 1, headers(path)) + frame(DATA, END_STREAM, 1, grpc_message(request))
        connection.sendall(opening() + first)
        inbox, body = bytearray(), b""
        while data := connection.recv(1 << 16):
            inbox += data
            for kind, flags, _, payload in take_frames(inbox):
                if kind == DATA:
                    body += payload
                elif kind == HEADERS and flags & END_STREAM:
                    if not body:
                        raise ConnectionLost(f"{path} was refused")
                    return body[5:]
                else:
                    connection.sendall(acknowledgement(kind, flags, payload))
    raise ConnectionLost(f"{path} was not answered")


def opening() -> bytes:
    """What a client sends first: the preface, empty settings, and a receive window large enough for any run."""
    grant = (WINDOW_BYTES_MAX - WINDOW_BYTES).to_bytes(4, "big")
    return PREFACE + frame(SETTINGS, 0, 0, b"") + frame(WINDOW_UPDATE, 0, 0, grant)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame (RFC 9113, section 4.1)."""
    size = len(payload)
    return FRAME.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def take_frames(inbox: bytearray) -> list[tuple[int, int, int, bytes]]:
    """Remove the complete frames from `inbox`; return their (type, flags, stream, payload)."""
    found, start, end = [], 0, len(inbox)
    while end - start >= FRAME.size:
        high, low, kind, flags, stream = FRAME.unpack_from(inbox, start)
        after = start + FRAME.size + (high << 8 | low)
        if after > end:
            break
        found.append((kind, flags, stream, bytes(inbox[start + FRAME.size : after])))
        start = after
    del inbox[:start]
    return found


def acknowledgement(kind: int, flags: int, payload: bytes) -> bytes:
    """The frame that answers the server's SETTINGS or PING; nothing for any other frame."""
    if kind == SETTINGS and not flags & ACK:
        return frame(SETTINGS, ACK, 0, b"")
    if kind == PING and not flags & ACK:
        return frame(PING, ACK, 0, payload)
    return b""


def headers(path: str) -> bytes:
    """The request header block of a gRPC call: literal fields without indexing (RFC 7541, section 6.2.2)."""
    return b"".join(
        (
            b"\x83\x86",  # :method POST, :scheme http, whole entries of the static table
            b"\x04" + _literal(path),  # :path
            b"\x01" + _literal("127.0.0.1"),  # :authority
            b"\x0f\x10" + _literal("application/grpc"),  # content-type
            b"\x00" + _literal("te") + _literal("trailers"),
        )
    )


def _literal(text: str) -> bytes:
    assert len(text) < 127, "longer literals need a longer length prefix"
    return bytes((len(text),)) + text.encode()


def grpc_message(body: bytes) -> bytes:
    """Prefix a message with gRPC's flag (not compressed) and length."""
    return b"\0" + len(body).to_bytes(4, "big") + body


def key_of(number: int) -> bytes:
    """A key of 12 bytes."""
    return b"bench-%06d" % number


def put_request(key: bytes, value: bytes) -> bytes:
    """etcdserverpb.PutRequest: key = 1, value = 2."""
    return b"\x0a" + varint(len(key)) + key + b"\x12" + varint(len(value)) + value


def range_request(key: bytes) -> bytes:
    """etcdserverpb.RangeRequest: key = 1, linearizable by default."""
    return b"\x0a" + varint(len(key)) + key


def varint(number: int) -> bytes:
    """Protocol Buffers base-128 integer."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def message_fields(message: bytes) -> dict[int, int | bytes]:
    """Return the integer and the length-delimited fields of a Protocol Buffers message, by number.

    Raises ConnectionLost for another wire type or a message cut short: not what the server promised.
    """
    fields: dict[int, int | bytes] = {}
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        number, at = _read_varint(message, at)
        if tag & 7 == 0:
            fields[tag >> 3] = number
        elif tag & 7 == 2:
            fields[tag >> 3] = message[at : at + number]
            at += number
        else:
            raise ConnectionLost("an answer has a field of an unknown kind")
    return fields


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(message):
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
    raise ConnectionLost("an answer ends in the middle of a number")


def integer(fields: dict[int, int | bytes], number: int) -> int:
    """An integer field, 0 if absent."""
    value = fields.get(number, 0)
    return value if isinstance(value, int) else 0


def field_bytes(fields: dict[int, int | bytes], number: int) -> bytes:
    """A length-delimited field, empty if absent."""
    value = fields.get(number, b"")
    return value if isinstance(value, bytes) else b""
