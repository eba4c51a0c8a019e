"""What the tests of the network share: certificates good and bad, and both ends of a session."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from quorum.errors import RemoteProtocolError
from quorum.runtime.codec import Frame, cluster_tag
from quorum.runtime.connection import FrameConnection
from quorum.runtime.dial import dial
from quorum.runtime.handshake import PROTOCOL_VERSION, Hello, Welcome
from quorum.runtime.keyring import TlsContexts
from quorum.runtime.limits import Limits
from quorum.runtime.network import ClientConnection, Network

CLUSTER = "c1"
TAG = cluster_tag(CLUSTER)
LIMITS = Limits(hello_timeout_us=5_000_000)


class Authority:
    """Issues certificates as files, good ones and bad ones."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.path = folder / f"{name}.crt"
        self.path.write_bytes(
            self._sign(self._name, self._key.public_key(), 30, x509.BasicConstraints(True, None))
        )

    def issue(self, identity: str, *, days: int = 30, unit: str = "node") -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)])
        names = x509.SubjectAlternativeName([x509.DNSName(identity)])
        certificate, private = self._folder / f"{identity}{days}.crt", self._folder / f"{identity}{days}.key"
        certificate.write_bytes(self._sign(subject, key.public_key(), days, names))
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        return certificate, private

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int, *more: x509.ExtensionType
    ) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=60)).not_valid_after(now + timedelta(days=days))
        for extension in more:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Keys:
    """TLS contexts by identity, of one authority and of a foreign one."""

    def __init__(self, folder: Path) -> None:
        self.ours, self.foreign = Authority(folder, "ours"), Authority(folder, "foreign")

    def contexts(self, identity: str, *, issuer: Authority | None = None, days: int = 30, unit: str = "node"):
        pair = (issuer or self.ours).issue(identity, days=days, unit=unit)
        made = []
        for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
            context = ssl.SSLContext(protocol)
            context.check_hostname, context.verify_mode = False, ssl.CERT_REQUIRED
            context.load_verify_locations(self.ours.path)
            context.load_cert_chain(*pair)
            made.append(context)
        return TlsContexts(*made)

    def anonymous(self) -> TlsContexts:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.ours.path)
        return TlsContexts(context, context)


class Handler:
    """Remembers everything, and answers a client with what it sent."""

    def __init__(self) -> None:
        self.heads: list[tuple[str, bytes, bytes]] = []
        self.news: list[str] = []
        self.clients: list[ClientConnection] = []
        self.changed = asyncio.Event()

    def on_peer_frames(self, node: str, frames: list[Frame]) -> None:
        for _, head, attachment in frames:
            self.heads.append((node, head, bytes(attachment)))
            if head == b"nonsense":
                raise RemoteProtocolError(node, "sent nonsense")
        self.changed.set()

    def on_peer_up(self, node: str) -> None:
        self._note(f"up {node}")

    def on_peer_lost(self, node: str) -> None:
        self._note(f"lost {node}")

    def on_client_frames(self, client: ClientConnection, frames: list[Frame]) -> None:
        self.clients.append(client)
        for channel, head, attachment in frames:
            client.send(channel, head, (attachment,))

    def on_client_lost(self, client: ClientConnection) -> None:
        self._note(f"lost {client.name}")

    def _note(self, what: str) -> None:
        self.news.append(what)
        self.changed.set()

    async def until(self, holds: Callable[[Handler], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds(self):
                self.changed.clear()
                await self.changed.wait()


class Caller:
    """The calling end of a session: what came, and whether it ended."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.ended = asyncio.Event()
        self.changed = asyncio.Event()

    def __call__(self, connection: FrameConnection, welcome: Welcome) -> Caller:
        self.welcome = welcome
        return self

    def on_frames(self, connection: FrameConnection, frames: list[Frame]) -> None:
        self.heads += [head for _, head, _ in frames]
        self.changed.set()

    def on_closed(self, connection: FrameConnection, error: Exception | None) -> None:
        self.ended.set()


def run(main: Callable[[], Awaitable[None]], loop_factory=asyncio.new_event_loop) -> None:
    """Run `main`; whatever the event loop would have printed as a traceback fails the test."""
    problems: list[object] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with asyncio.timeout(30):
            await main()
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(watched())
    assert problems == []


def free_addresses(count: int) -> list[tuple[str, int]]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    addresses = [("127.0.0.1", one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def network(node: str, addresses: dict[str, tuple[str, int]], handler: Handler, tls=None, **more) -> Network:
    more = {"incarnation": 1, "limits": LIMITS} | more
    return Network(node, CLUSTER, listen=addresses[node], peers=addresses, tls=tls, handler=handler, **more)


async def started(node: str, tls=None, peers=("n1", "n2", "n3"), **more) -> tuple[Network, Handler]:
    """One node whose peers are not there."""
    addresses = dict(zip((node, *peers), free_addresses(1 + len(peers)), strict=True))
    handler = Handler()
    made = network(node, addresses, handler, tls, **more)
    await made.start()
    return made, handler


def hello(
    node: str, to: str = "n9", role="peer", cluster: str = CLUSTER, version: int = PROTOCOL_VERSION, life: int = 1
) -> Hello:
    return Hello(version, cluster, role, node, to, life)


async def still_serves(node: Network, tls=None, name: str = "n1") -> None:
    """A proper peer gets in, whatever went before."""
    connection = await dial(node.address, tls, hello(name, node.node), Caller())
    connection.close()
    await connection.wait_closed()
