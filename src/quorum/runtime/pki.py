"""The X.509 a cluster needs: its own authority, one certificate for each identity, the list of revoked ones.

Values in, values out; runtime/keyring.py keeps them in files. The package `cryptography` is imported only when
something here is called, since reading it takes longer than starting a node.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

CLOCK_SKEW = timedelta(hours=1)
"""A certificate holds from this long before it was made, for machines whose clocks are behind."""
REVOCATION_DAYS = 36_500

Validity = tuple[datetime, datetime]
"""First and last moment, in UTC and whole seconds."""


def new_key() -> EllipticCurvePrivateKey:
    """A fresh P-256 private key."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: EllipticCurvePrivateKey) -> bytes:
    """The key as unencrypted PKCS 8, for a file that only its owner reads."""
    from cryptography.hazmat.primitives import serialization

    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def parse_private_key(pem: bytes) -> EllipticCurvePrivateKey:
    """Read what `private_pem` wrote. Raises ValueError, which quotes nothing of it, for anything else."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    try:
        key = serialization.load_pem_private_key(pem, password=None)
        if isinstance(key, EllipticCurvePrivateKey):
            return key
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    raise ValueError("not an elliptic-curve private key")


def parse_certificate(pem: bytes) -> x509.Certificate:
    """Read a certificate whose parts we shall look at. Raises ValueError."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    refusals = (TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension)
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        public_key(certificate)
        _ = (certificate.subject, certificate.extensions)
        return certificate
    except (*refusals, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def public_key(certificate: x509.Certificate) -> EllipticCurvePublicKey:
    """The key a certificate speaks for. Raises ValueError unless it is on an elliptic curve, as ours are."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    key = certificate.public_key()
    if not isinstance(key, EllipticCurvePublicKey):
        raise ValueError("not an elliptic-curve public key")
    return key


def parse_revoked(pem: bytes) -> list[x509.RevokedCertificate]:
    """Read a list of revoked certificates. Raises ValueError."""
    from cryptography import x509

    return list(x509.load_pem_x509_crl(pem))


def dns_names(certificate: x509.Certificate) -> list[str]:
    """The DNS names a certificate was issued for; an identity of ours has exactly one."""
    from cryptography import x509

    return list(_alternative_names(certificate).get_values_for_type(x509.DNSName))


def addresses(certificate: x509.Certificate) -> list[IPv4Address | IPv6Address]:
    """The IP addresses a certificate was issued for."""
    from cryptography import x509

    found = _alternative_names(certificate).get_values_for_type(x509.IPAddress)
    return [address for address in found if isinstance(address, IPv4Address | IPv6Address)]


def unit(certificate: x509.Certificate) -> str | None:
    """The organisational unit, where there is exactly one: the role of its holder."""
    from cryptography import x509

    found = certificate.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATIONAL_UNIT_NAME)
    return str(found[0].value) if len(found) == 1 else None


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether the authority named and signed this certificate. Dates are not looked at."""
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def self_signed(key: EllipticCurvePrivateKey, valid: Validity) -> bytes:
    """The authority's own certificate, as PEM: it signs leaves and revocation lists, and nothing below them."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    name = _name("quorum authority")
    public = key.public_key()
    builder = x509.CertificateBuilder(name, name, public, x509.random_serial_number(), *valid)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def leaf(
    identity: str,
    role: str,
    hosts: Sequence[IPv4Address | IPv6Address],
    valid: Validity,
    key: EllipticCurvePublicKey,
    authority: x509.Certificate,
    authority_key: EllipticCurvePrivateKey,
) -> bytes:
    """A certificate for `identity`, its one DNS name, as PEM; it never outlives its authority.

    The role "node" may accept and dial; any other role may only dial, so that it cannot pose as a server.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID

    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if role == "node":
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
    end = min(valid[1], authority.not_valid_after_utc)
    start = min(valid[0], end - CLOCK_SKEW)
    names = [x509.DNSName(identity), *map(x509.IPAddress, hosts)]
    subject, serial = _name(identity, role), x509.random_serial_number()
    builder = x509.CertificateBuilder(authority.subject, subject, key, serial, start, end)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    builder = builder.add_extension(_authority_key_identifier(authority), critical=False)
    return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def revocation_list(
    earlier: Sequence[x509.RevokedCertificate],
    certificate: x509.Certificate,
    moment: datetime,
    authority: x509.Certificate,
    authority_key: EllipticCurvePrivateKey,
) -> bytes:
    """The list of revoked certificates, as PEM: the earlier ones, and `certificate` from `moment` on."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    newest = x509.RevokedCertificateBuilder(certificate.serial_number, moment).build()
    until = moment + timedelta(days=REVOCATION_DAYS)
    builder = x509.CertificateRevocationListBuilder(authority.subject, moment, until)
    for revoked in (*earlier, newest):
        builder = builder.add_revoked_certificate(revoked)
    builder = builder.add_extension(x509.CRLNumber(len(earlier) + 1), critical=False)
    builder = builder.add_extension(_authority_key_identifier(authority), critical=False)
    return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    from cryptography import x509

    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


def _name(common_name: str, organisational_unit: str | None = None) -> x509.Name:
    from cryptography import x509

    attributes = [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "quorum")]
    if organisational_unit is not None:
        attributes.append(x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, organisational_unit))
    # A common name holds 64 characters, a client's identity may have 70; only the DNS name is ever read.
    return x509.Name([*attributes, x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name[:64])])


def _authority_key_identifier(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    from cryptography import x509

    return x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key(authority))


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
