"""ZooKeeper: three servers with synced transaction logs, setData through pipelined sessions.

The client encodes the few records of ZooKeeper's jute protocol that it needs by hand (zookeeper.jute in the
ZooKeeper sources): ConnectRequest, create, setData and their replies.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from load import BadRequest, PeerFailed, Report, check_request
from peers.cluster import NAMES, Cluster, measure
from peers.pipeline import SILENCE_S, Address, Channel, ConnectionLost
from peers.processes import Processes, free_ports, measurable

JARS = Path("/usr/share/java")
JAR = JARS / "zookeeper.jar"  # its manifest names the jars it needs
LOGGER = JARS / "slf4j-simple.jar"
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
HEAP_MB = 512
KEYS = 1000
CALL_S = 5.0
PREPARE_S = 20.0
SESSION_MS = 30_000
CREATE, SET_DATA, PING = 1, 5, 11
PING_XID = -2
PING_HEAD = struct.pack(">i", PING_XID)
ANY_VERSION = -1
ALL_PERMISSIONS = 31
REPLY = struct.Struct(">iqi")  # xid, zxid, error


def available() -> str | None:
    """Return None if ZooKeeper can be measured here, else the reason why not."""
    if shutil.which("java") is None:
        return "no `java` on the PATH"
    if not JAR.exists():
        return f"no {JAR} (Debian package zookeeper)"
    return measurable()


def run(outstanding: Sequence[int], seconds: float, value_bytes: int, failovers: int) -> Report:
    """Measure setData of a 12 B path and `value_bytes` with each count in flight, then `failovers` leader crashes.

    Four seconds of load are discarded first, so that the byte code is compiled.
    Raises BadRequest for arguments that make no sense, PeerFailed if ZooKeeper does not serve.
    """
    check_request(outstanding, seconds, value_bytes, failovers)
    if reason := available():
        raise BadRequest(f"ZooKeeper was to be measured: {reason}. Install it, or leave it out.")
    settings = (
        f"{version()}, 3 servers, {HEAP_MB} MB heap, forceSync on, 4 s warm-up discarded, "
        f"ping after 0.1 s of silence, setData of 12 + {value_bytes} B sent to the leader; "
        "after a crash a new session is opened first"
    )
    with Processes() as processes:
        return measure(ZooKeeperCluster(processes, value_bytes), outstanding, seconds, failovers, settings)


def version() -> str:
    """Return the name of the jar with its version, e.g. "zookeeper-3.8.0"."""
    return next((jar.stem for jar in sorted(JARS.glob("zookeeper-[0-9]*.jar"))), "zookeeper")


class ZooKeeperCluster(Cluster):
    """Servers with the package's tickTime, initLimit and syncLimit."""

    system, operation, durable, warm_up_s = "ZooKeeper", "set", "fsync on a majority", 4.0

    def __init__(self, processes: Processes, value_bytes: int) -> None:
        super().__init__(processes, value_bytes)
        ports = free_ports(3 * len(NAMES))
        self._client_port = dict(zip(NAMES, ports[0:3]))
        self._servers = "".join(
            f"server.{number}=127.0.0.1:{ports[2 + number]}:{ports[5 + number]}\n" for number in (1, 2, 3)
        )
        self._numbers = itertools.count()

    def start_member(self, name: str) -> None:
        folder = self.processes.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "myid").write_text(str(NAMES.index(name) + 1))
        (folder / "zoo.cfg").write_text(
            f"tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={folder}\nclientPort={self._client_port[name]}\n"
            f"clientPortAddress=127.0.0.1\nadmin.enableServer=false\n{self._servers}"
        )
        command = ["java", f"-Xmx{HEAP_MB}m", "-XX:-UsePerfData", f"-Djava.io.tmpdir={folder}"]
        command += ["-Dzookeeper.forceSync=yes", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        command += ["-cp", f"{JAR}:{LOGGER}", MAIN, str(folder / "zoo.cfg")]
        self.processes.start(name, command)

    def address(self, name: str) -> Address:
        return ("127.0.0.1", self._client_port[name])

    def role(self, name: str) -> str | None:
        role = self._server_says(name, "Mode")
        return role if role in ("leader", "follower") else None

    def position(self, name: str) -> int:
        """The zxid last applied: it grows by one with each transaction under the same leader."""
        zxid = self._server_says(name, "Zxid")
        if zxid is None:
            raise PeerFailed(f"{name} was asked for its zxid and did not answer. Start the run again.")
        return int(zxid, 16)

    def connect(self, address: Address) -> Channel:
        return ZooKeeperChannel(address, self._numbers, self.value_bytes)

    def prepare(self, leader: str) -> None:
        """Create the znodes that setData overwrites.

        Raises PeerFailed if the leader does not answer within 20 s.
        """
        deadline = time.perf_counter() + PREPARE_S
        created = 0
        try:
            with socket.create_connection(self.address(leader), timeout=CALL_S) as connection:
                requests = [framed(create_request(number + 1, path_of(number))) for number in range(KEYS)]
                connection.sendall(framed(connect_request()) + b"".join(requests))
                connection.settimeout(SILENCE_S)
                inbox = bytearray()
                while created <= KEYS and time.perf_counter() < deadline:
                    try:
                        data = connection.recv(1 << 16)
                    except TimeoutError:
                        connection.sendall(ping())
                        continue
                    if not data:
                        break
                    inbox += data
                    created += sum(
                        body[:4] != PING_HEAD for body in take_frames(inbox)
                    )  # the session's grant is one
        except OSError as error:
            raise PeerFailed(f"{KEYS} znodes were to be created: {error}. Start the run again.") from error
        if created <= KEYS:
            raise PeerFailed(f"{KEYS} znodes were to be created, {created} answers came. Start the run again.")

    def _server_says(self, name: str, wanted: str) -> str | None:
        """One line of what the four-letter command `srvr` answers."""
        try:
            with socket.create_connection(self.address(name), timeout=CALL_S) as connection:
                connection.sendall(b"srvr")
                text = b""
                while data := connection.recv(1 << 16):
                    text += data
        except OSError:
            return None
        lines = (line.partition(": ") for line in text.decode(errors="replace").splitlines())
        return next((value for key, _, value in lines if key == wanted), None)


class ZooKeeperChannel(Channel):
    """One session: puts are pipelined, the tag is the xid. Ready once the server has granted the session."""

    def __init__(self, address: Address, numbers: Iterator[int], value_bytes: int) -> None:
        super().__init__(address)
        self.ready = False
        self.outbox += framed(connect_request())
        self._numbers = numbers
        self._padding = os.urandom(value_bytes)
        self._xid = 0
        self._inbox = bytearray()

    def submit(self) -> int:
        number = next(self._numbers)
        value = number.to_bytes(8, "big")[-len(self._padding) :] + self._padding[8:]
        self._xid += 1
        self.outbox += framed(set_request(self._xid, path_of(number % KEYS), value))
        return self._xid

    def answers(self, data: bytes) -> list[tuple[int, bool]]:
        self._inbox += data
        done = []
        for body in take_frames(self._inbox):
            if not self.ready:
                self._take_session(body)
                continue
            xid, _, error = REPLY.unpack_from(body)
            if xid > 0:  # below are notices and pings
                done.append((xid, error == 0))
        return done

    def keep_alive(self) -> None:
        """Ping, as sessions do; it also wakes a leader that sleeps over committed writes (seen with 3.8.0)."""
        self.outbox += ping()

    def _take_session(self, body: bytes) -> None:
        _, timeout_ms = struct.unpack_from(">ii", body)
        if timeout_ms <= 0:
            raise ConnectionLost("the session was refused")
        self.ready = True


def framed(body: bytes) -> bytes:
    """Prefix a record with its length."""
    return len(body).to_bytes(4, "big") + body


def take_frames(inbox: bytearray) -> list[bytes]:
    """Remove the complete records from `inbox` and return them without their length."""
    found, start, end = [], 0, len(inbox)
    while end - start >= 4:
        after = start + 4 + int.from_bytes(inbox[start : start + 4], "big")
        if after > end:
            break
        found.append(bytes(inbox[start + 4 : after]))
        start = after
    del inbox[:start]
    return found


def path_of(number: int) -> bytes:
    """A path of 12 bytes."""
    return b"/bench-%05d" % number


def connect_request() -> bytes:
    """ConnectRequest: protocol version, last zxid seen, timeout, session, password, read-only."""
    return struct.pack(">iqiqi16s?", 0, 0, SESSION_MS, 0, 16, bytes(16), False)


def ping() -> bytes:
    """A framed ping: a request header without a record."""
    return framed(struct.pack(">ii", PING_XID, PING))


def create_request(xid: int, path: bytes) -> bytes:
    """CreateRequest: path, empty data, one ACL that lets the world do everything, flags 0 (persistent)."""
    acl = struct.pack(">ii", 1, ALL_PERMISSIONS) + _buffer(b"world") + _buffer(b"anyone")
    return struct.pack(">ii", xid, CREATE) + _buffer(path) + _buffer(b"") + acl + struct.pack(">i", 0)


def set_request(xid: int, path: bytes, value: bytes) -> bytes:
    """SetDataRequest: path, data, any version."""
    return struct.pack(">ii", xid, SET_DATA) + _buffer(path) + _buffer(value) + struct.pack(">i", ANY_VERSION)


def _buffer(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
