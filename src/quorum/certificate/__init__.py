"""What was decided, proved: certificates, the one verifier of each kind, and what they are made of."""

from quorum.certificate.decision import (
    CERTIFICATE_BYTES_MAX,
    FORMAT,
    VALUE_DIGEST_BYTES,
    CheckSignature,
    DecisionCertificate,
    Verdict,
    decode_binary,
    decode_json,
    digest_of,
    encode_binary,
    encode_json,
    statement,
    verify,
)

__all__ = [
    "CERTIFICATE_BYTES_MAX",
    "FORMAT",
    "VALUE_DIGEST_BYTES",
    "CheckSignature",
    "DecisionCertificate",
    "Verdict",
    "decode_binary",
    "decode_json",
    "digest_of",
    "encode_binary",
    "encode_json",
    "statement",
    "verify",
]
