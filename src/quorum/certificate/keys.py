"""Ed25519: the one verifier of a cluster, and which public keys it takes.

Libraries disagree about odd signatures: small-order keys, non-canonical encodings. Nodes that used different ones
could be split by a liar, so every node and every auditor verifies with libsodium, and a key is looked at before it
is admitted. Source: Chalkias, Garillot and Nikolaenko, "Taming the Many EdDSAs" (2020), sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from quorum.certificate.speccheck import CASES
from quorum.errors import ConfigurationError

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
CheckSignature = Callable[[bytes, bytes, bytes], bool]
"""Whether the holder of a public key signed a message so: key, message, signature."""

GROUP_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
"""Order of the group that honest keys lie in. Source: RFC 8032, section 5.1."""

# The third example of RFC 8032, section 7.1.
_EXAMPLE_KEY = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
_EXAMPLE_MESSAGE = bytes.fromhex("af82")
_EXAMPLE_SIGNATURE = bytes.fromhex(
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
)


def is_signed(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` over `message` is by the holder of `public_key`. Never raises for odd bytes."""
    from nacl.bindings import crypto_sign_open
    from nacl.exceptions import CryptoError

    if len(public_key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except CryptoError:
        return False
    return True


def check_public_key(owner: str, public_key: bytes) -> None:
    """Raise ConfigurationError unless the key is the canonical encoding of a point of the group's large order."""
    from nacl.bindings import crypto_core_ed25519_is_valid_point

    if len(public_key) != PUBLIC_KEY_BYTES:
        raise ConfigurationError(
            f"a public key of {len(public_key)} bytes was given for {owner}, but an Ed25519 key has "
            f"{PUBLIC_KEY_BYTES}. Give the key that `quorum init` wrote."
        )
    if not crypto_core_ed25519_is_valid_point(public_key):
        raise ConfigurationError(
            f"the public key {public_key.hex()} was given for {owner}, but it is no point of large order in "
            "canonical form: others could sign in its name. Make a new key."
        )


def check_library() -> None:
    """Raise ConfigurationError unless the installed library accepts and refuses what every node must: an example
    of RFC 8032, what was changed in it, and the published cases in which libraries differ (`speccheck`).

    To be called once when a node starts: a replica with another library would be split from the others.
    """
    order = GROUP_ORDER + int.from_bytes(_EXAMPLE_SIGNATURE[32:], "little")
    malleable = _EXAMPLE_SIGNATURE[:32] + order.to_bytes(32, "little")
    identity = bytes([1]) + bytes(31)
    verdicts = (
        is_signed(_EXAMPLE_KEY, _EXAMPLE_MESSAGE, _EXAMPLE_SIGNATURE),
        not is_signed(_EXAMPLE_KEY, _EXAMPLE_MESSAGE + b"\x00", _EXAMPLE_SIGNATURE),
        not is_signed(_EXAMPLE_KEY, _EXAMPLE_MESSAGE, malleable),
        not is_signed(identity, _EXAMPLE_MESSAGE, identity + bytes(32)),
    )
    published = (is_signed(case.public_key, case.message, case.signature) == case.accepted for case in CASES)
    if not all(verdicts) or not all(published):
        raise ConfigurationError(
            "the signature library was asked for known verdicts, but it gave others, so this node could be split "
            "from its cluster. Install PyNaCl with the libsodium that it ships."
        )
