"""Keys and certificates in a folder: who may speak in a cluster, and under which name.

A keys folder (mode 0700) holds, private files with mode 0600:

    ca.crt, ca.key                     the cluster's own authority; `ca.key` is needed to issue, not to run
    node.NAME.crt, node.NAME.key       TLS identity of a node; its one DNS name is the node id
    node.NAME.sign                     Ed25519 signing key of a node
    client.NAME.crt, client.NAME.key   TLS identity of a client; its one DNS name is `client.NAME`
    client.NAME.sign                   Ed25519 signing key of a client
    signing-keys.json                  the nodes' Ed25519 public keys
    ca.crl                             revoked certificates, where there are any
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from quorum.errors import ConfigurationError
from quorum.model import NODE_ID_PATTERN, NodeId, check_node_id
from quorum.runtime import pki
from quorum.runtime.key_files import check_private, make_private_folder, parse, read, refuse_existing, write

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from nacl.signing import SigningKey

Kind = Literal["node", "client"]
Role = Literal["node", "data", "admin"]
"""`node` speaks as a peer; a client with `data` uses the applications, one with `admin` also operates."""

AUTHORITY_DAYS = 3650
LEAF_DAYS = 825
DAYS_MAX = 36_500
LOOPBACK_HOSTS = ("127.0.0.1", "::1")
CLIENT_PREFIX = "client."

_AUTHORITY, _AUTHORITY_KEY, _REVOKED, _PUBLIC_KEYS = "ca.crt", "ca.key", "ca.crl", "signing-keys.json"


@dataclass(frozen=True)
class TlsContexts:
    """Both ends of mutual TLS 1.3 for one identity: `server` accepts connections, `client` dials.

    Each demands a certificate of the cluster's authority from the other side. Host names are not checked: the
    network layer compares `peer_name` with the id that the other side claims.
    """

    server: ssl.SSLContext
    client: ssl.SSLContext


class Signer:
    """The Ed25519 signing key of one node. Neither repr nor str shows the key."""

    __slots__ = ("_key", "node", "public_key")

    def __init__(self, node: NodeId, key: SigningKey) -> None:
        self.node = node
        self.public_key = bytes(key.verify_key)
        self._key = key

    def __repr__(self) -> str:
        return f"Signer(node={self.node!r})"

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over `message`."""
        return self._key.sign(message).signature


# --- making identities ---------------------------------------------------------------------------------


def create_authority(folder: Path | str, *, days: int = AUTHORITY_DAYS, now: datetime | None = None) -> None:
    """Make the keys folder and, in it, the authority that signs every certificate of one cluster.

    Raises ConfigurationError when the folder holds an authority already, is open to others, or cannot be written.
    """
    folder, valid = Path(folder), _validity(days, now)
    make_private_folder(folder)
    refuse_existing(folder / _AUTHORITY, folder / _AUTHORITY_KEY)
    key = pki.new_key()
    write(folder / _AUTHORITY_KEY, pki.private_pem(key), 0o600)
    write(folder / _AUTHORITY, pki.self_signed(key, valid), 0o644)


def renew_authority(folder: Path | str, *, days: int = AUTHORITY_DAYS, now: datetime | None = None) -> None:
    """Give the authority new dates and keep its key, so that every certificate it issued stays good.

    The new `ca.crt` must reach every node and client. Raises ConfigurationError.
    """
    folder = Path(folder)
    _, key = _load_authority(folder)
    write(folder / _AUTHORITY, pki.self_signed(key, _validity(days, now)), 0o644, replace=True)


def issue(
    folder: Path | str,
    name: str,
    *,
    kind: Kind = "node",
    role: Role | None = None,
    hosts: Iterable[str] | None = None,
    days: int = LEAF_DAYS,
    now: datetime | None = None,
) -> str:
    """Make a key and a certificate; return its identity, which `load_tls` and `peer_name` use.

    A node's identity is `name`, and it gets a signing key too; a client's is `client.NAME`, with `role` "data"
    (the default) or "admin". `hosts` are IP addresses to name beside the identity, for a node those of loopback
    when none are given. The certificate holds for `days` from `now`, but not beyond its authority; negative
    `days` make one that has expired already.

    Raises ConfigurationError for a bad name, role or host, and when the identity exists already.
    """
    folder, valid = Path(folder), _validity(days, now)
    check_node_id(name)
    identity, chosen = _identity_of(name, kind, role)
    hosts = (LOOPBACK_HOSTS if kind == "node" else ()) if hosts is None else hosts
    addresses = tuple(_address(host) for host in hosts)
    authority, authority_key = _load_authority(folder)
    stem = _stem(identity)
    refuse_existing(*(folder / f"{stem}{suffix}" for suffix in (".crt", ".key", ".sign")))
    key = pki.new_key()
    write(folder / f"{stem}.key", pki.private_pem(key), 0o600)
    if kind == "node":
        _create_signing_key(folder, name)
    else:
        _create_client_key(folder, identity)
    certificate = pki.leaf(identity, chosen, addresses, valid, key.public_key(), authority, authority_key)
    write(folder / f"{stem}.crt", certificate, 0o644)
    return identity


def renew(folder: Path | str, identity: str, *, days: int = LEAF_DAYS, now: datetime | None = None) -> None:
    """Give a certificate new dates; name, role, addresses and key stay. Takes effect when the holder restarts.

    Raises ConfigurationError when there is no such certificate, it was revoked, or ca.key is not here.
    """
    folder, valid = Path(folder), _validity(days, now)
    path = folder / f"{_stem(identity)}.crt"
    authority, authority_key = _load_authority(folder)
    old = _load_certificate(path)
    _check_owner(old, identity, authority, path)
    _check_not_revoked(folder, old, path)
    role = pki.unit(old)
    assert role is not None, "the authority issues no certificate without a role"
    hosts = pki.addresses(old)
    certificate = pki.leaf(identity, role, hosts, valid, pki.public_key(old), authority, authority_key)
    write(path, certificate, 0o644, replace=True)


def revoke(folder: Path | str, identity: str, *, now: datetime | None = None) -> None:
    """Put the present certificate of `identity` on the list of revoked ones, `ca.crl`.

    The list must reach every node, which reads it when it starts. Raises ConfigurationError.
    """
    folder = Path(folder)
    authority, key = _load_authority(folder)
    certificate = _load_certificate(folder / f"{_stem(identity)}.crt")
    pem = pki.revocation_list(_load_revoked(folder), certificate, _moment(now), authority, key)
    write(folder / _REVOKED, pem, 0o644, replace=True)


# --- using identities ----------------------------------------------------------------------------------


def load_tls(folder: Path | str, identity: str, *, now: datetime | None = None) -> TlsContexts:
    """The TLS contexts of a node (`identity` is its id) or of a client (`client.NAME`).

    Raises ConfigurationError, with the remedy, when a file is missing or damaged, the private key can be read by
    others, or a certificate is expired, not yet valid, revoked, of another authority or of another name.
    """
    folder, moment = Path(folder), _moment(now)
    stem = _stem(identity)
    certificate_path, key_path = folder / f"{stem}.crt", folder / f"{stem}.key"
    check_private(key_path)
    authority = _load_certificate(folder / _AUTHORITY)
    certificate = _load_certificate(certificate_path)
    _check_owner(certificate, identity, authority, certificate_path)
    _check_dates(authority, folder / _AUTHORITY, moment, f"renew_authority({str(folder)!r})")
    _check_dates(certificate, certificate_path, moment, f"renew({str(folder)!r}, {identity!r})")
    _check_not_revoked(folder, certificate, certificate_path)
    return TlsContexts(
        server=_context(ssl.PROTOCOL_TLS_SERVER, folder, certificate_path, key_path),
        client=_context(ssl.PROTOCOL_TLS_CLIENT, folder, certificate_path, key_path),
    )


def peer_name(certificate: Mapping[str, Any] | None) -> str | None:
    """The identity in what `ssl.SSLObject.getpeercert()` returned: a node id or `client.NAME`.

    None unless the certificate has exactly one DNS name and that is a well-formed identity.
    """
    alternatives = (certificate or {}).get("subjectAltName", ())
    names = [str(value) for kind, value in alternatives if kind == "DNS"]
    if len(names) != 1 or NODE_ID_PATTERN.fullmatch(names[0].removeprefix(CLIENT_PREFIX)) is None:
        return None
    return names[0]


def peer_role(certificate: Mapping[str, Any] | None) -> Role | None:
    """What the holder of a certificate may do, from its organisational unit.

    None unless there is exactly one unit and it fits the name: "node" a node id, "data" and "admin" a client.
    """
    name = peer_name(certificate)
    if certificate is None or name is None:
        return None
    parts = (part for group in certificate.get("subject", ()) for part in group)
    units = [value for kind, value in parts if kind == "organizationalUnitName"]
    fitting: tuple[Role, ...] = ("data", "admin") if name.startswith(CLIENT_PREFIX) else ("node",)
    return next((role for role in fitting if units == [role]), None)


def load_signer(folder: Path | str, node: NodeId) -> Signer:
    """The signing key of a node. Raises ConfigurationError when it is missing, damaged or readable by others."""
    check_node_id(node)
    return _signer(node, Path(folder) / f"{_stem(node)}.sign")


def _signer(owner: str, path: Path) -> Signer:
    from nacl.signing import SigningKey

    check_private(path)
    text = read(path)
    try:
        return Signer(owner, SigningKey(bytes.fromhex(text.decode("ascii"))))
    except (TypeError, ValueError):
        pass  # the reason might quote the key
    raise ConfigurationError(
        f"{path} was to be a signing key, but it is not 32 bytes in hexadecimal. Restore it from a backup."
    )


def load_client_signer(folder: Path | str, identity: str) -> Signer:
    """The signing key of a client, whose identity is `client.NAME`. Raises ConfigurationError as `load_signer`."""
    path = Path(folder) / f"{_stem(identity)}.sign"
    if not path.exists():
        raise ConfigurationError(
            f"requests were to be signed as {identity}, since members may lie, but {path} is not there. Copy it "
            "from the keys folder where the client was issued, or have a client of another name handed out there: "
            "quorum keys issue NAME --out DIR."
        )
    return _signer(identity, path)


def find_client_signer(folder: Path | str, identity: str) -> Signer | None:
    """The signing key of a client, None where the folder has none. Raises ConfigurationError as `load_signer`."""
    path = Path(folder) / f"{_stem(identity)}.sign"
    return _signer(identity, path) if path.exists() else None


def has_public_keys(folder: Path | str) -> bool:
    """Whether the list that `load_public_keys` reads is there."""
    return (Path(folder) / _PUBLIC_KEYS).exists()


def load_public_keys(folder: Path | str) -> dict[NodeId, bytes]:
    """Every node's Ed25519 public key, 32 bytes, by node id.

    Raises ConfigurationError when the list is missing or damaged, or a key in it is not a canonical point of the
    main subgroup (one signature by a small-order key fits many messages).
    """
    from nacl.bindings import crypto_core_ed25519_is_valid_point

    path = Path(folder) / _PUBLIC_KEYS
    texts = parse(path, "a list of public keys", msgspec.json.Decoder(dict[str, str]).decode)
    keys = {}
    for node, text in sorted(texts.items()):
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) != 32 or not crypto_core_ed25519_is_valid_point(key):
            raise ConfigurationError(
                f"{path} gives {node!r} a public key that is no valid Ed25519 point. Restore it from a backup."
            )
        keys[check_node_id(node)] = key
    return keys


# --- names and dates -----------------------------------------------------------------------------------


def _identity_of(name: str, kind: Kind, role: Role | None) -> tuple[str, Role]:
    if kind == "node" and role in (None, "node"):
        return name, "node"
    if kind == "client" and role in (None, "data", "admin"):
        return CLIENT_PREFIX + name, role or "data"
    raise ConfigurationError(
        f"a certificate of kind={kind!r} with role={role!r} was asked for, but nodes have no role to choose and "
        'clients have two. Use kind="node", or kind="client" with role="data" or role="admin".'
    )


def _stem(identity: str) -> str:
    """The file name, less its suffix, of an identity. Nothing unchecked gets into a path."""
    is_client = isinstance(identity, str) and identity.startswith(CLIENT_PREFIX)
    check_node_id(identity.removeprefix(CLIENT_PREFIX) if is_client else identity)
    return identity if is_client else f"node.{identity}"


def _address(host: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(host)
    except ValueError:
        raise ConfigurationError(
            f"{host!r} was given as a host of a certificate, but its one DNS name is the identity, so that no "
            "certificate can pass for another node. Give IP addresses only, or no host."
        ) from None


def _moment(now: datetime | None) -> datetime:
    return (now or datetime.now(UTC)).replace(microsecond=0)


def _validity(days: int, now: datetime | None) -> tuple[datetime, datetime]:
    if isinstance(days, bool) or not isinstance(days, int) or abs(days) > DAYS_MAX:
        raise ConfigurationError(
            f"a certificate of {days!r} days was asked for, but days are a whole number, at most {DAYS_MAX}. "
            f"Give a number such as {LEAF_DAYS}."
        )
    start = _moment(now)
    end = start + timedelta(days=days)
    return min(start, end) - pki.CLOCK_SKEW, end


def _check_dates(certificate: x509.Certificate, path: Path, moment: datetime, renewal: str) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    remedy = f"renew it where ca.key is with quorum.runtime.keyring.{renewal} and copy it here"
    if moment > end:
        raise ConfigurationError(
            f"{path} was to be used, but it expired on {end:%Y-%m-%d %H:%M} UTC. "
            f"If this machine's clock is right, {remedy}."
        )
    if moment < start:
        raise ConfigurationError(
            f"{path} was to be used, but it is not valid before {start:%Y-%m-%d %H:%M} UTC, and this machine's "
            f"clock says {moment:%Y-%m-%d %H:%M}. Set the clock, or {remedy}."
        )


def _check_owner(certificate: x509.Certificate, identity: str, authority: x509.Certificate, path: Path) -> None:
    names = pki.dns_names(certificate)
    if names != [identity]:
        raise ConfigurationError(
            f"{path} was to identify {identity}, but it names {', '.join(map(repr, names)) or 'nobody'}. "
            f"Put the certificate that was issued for {identity} there."
        )
    if not pki.is_issued_by(certificate, authority):
        raise ConfigurationError(
            f"{path} was to be a certificate of this cluster, but the authority in {_AUTHORITY} did not sign it. "
            f"Use a {_AUTHORITY} and a certificate of one cluster."
        )


def _check_not_revoked(folder: Path, certificate: x509.Certificate, path: Path) -> None:
    if any(revoked.serial_number == certificate.serial_number for revoked in _load_revoked(folder)):
        raise ConfigurationError(
            f"{path} was to be used, but the cluster's authority revoked it. "
            "Move its files away and issue a new certificate with a new key."
        )


# --- files ---------------------------------------------------------------------------------------------


def _context(protocol: ssl._SSLMethod, folder: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # no resumption: each connection shows its certificate anew
    try:
        context.load_verify_locations(cafile=folder / _AUTHORITY)
        if (folder / _REVOKED).exists():
            context.load_verify_locations(cafile=folder / _REVOKED)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except OSError as error:  # ssl.SSLError is one
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        raise ConfigurationError(
            f"{certificate} and {key} were to be a certificate and its private key, but TLS refuses them "
            f"({reason}). Put back the pair that was issued together."
        ) from None
    return context


def _load_authority(folder: Path) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    path = folder / _AUTHORITY_KEY
    check_private(path)
    certificate = _load_certificate(folder / _AUTHORITY)
    key = parse(path, "the private key of an authority", pki.parse_private_key)
    if key.public_key() != certificate.public_key():
        raise ConfigurationError(
            f"{path} was to be the private key of {folder / _AUTHORITY}, but they are no pair. "
            "Restore both from one backup."
        )
    return certificate, key


def _load_certificate(path: Path) -> x509.Certificate:
    return parse(path, "a certificate", pki.parse_certificate)


def revoked_serials(folder: Path) -> frozenset[int]:
    """The serial numbers of revoked certificates. Raises ConfigurationError if the list is damaged."""
    return frozenset(revoked.serial_number for revoked in _load_revoked(folder))


def _load_revoked(folder: Path) -> list[x509.RevokedCertificate]:
    path = folder / _REVOKED
    return parse(path, "a list of revoked certificates", pki.parse_revoked) if path.exists() else []


def _create_client_key(folder: Path, identity: str) -> None:
    """Where members may lie, clients sign their requests: nobody else can make one in their name."""
    from nacl.signing import SigningKey

    write(folder / f"{_stem(identity)}.sign", bytes(SigningKey.generate()).hex().encode() + b"\n", 0o600)


def _create_signing_key(folder: Path, node: NodeId) -> None:
    from nacl.signing import SigningKey

    known = load_public_keys(folder) if (folder / _PUBLIC_KEYS).exists() else {}
    key = SigningKey.generate()
    known[node] = bytes(key.verify_key)
    listing = {name: known[name].hex() for name in sorted(known)}
    write(folder / f"{_stem(node)}.sign", bytes(key).hex().encode() + b"\n", 0o600)
    write(folder / _PUBLIC_KEYS, msgspec.json.format(msgspec.json.encode(listing)) + b"\n", 0o644, replace=True)
