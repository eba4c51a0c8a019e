"""A ballot's certificate as a JSON document that people can read: every field by its name, bytes in
hexadecimal."""

from __future__ import annotations

from functools import cache
from types import NoneType
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from quorum.certificate.ballot import BALLOT_FORMAT, BallotCertificate
from quorum.certificate.json_text import read_once
from quorum.entry import Buffer
from quorum.errors import ConfigurationError

BALLOT_BYTES_MAX: Final = 16 * 1024 * 1024
_JSON = msgspec.json.Encoder(order="deterministic")
_DECODE: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])
S = TypeVar("S", bound=msgspec.Struct)


def encode_ballot(certificate: BallotCertificate) -> bytes:
    """The canonical JSON form, one line: keys sorted, no spaces."""
    return _JSON.encode({"format": BALLOT_FORMAT, **shown_ballot(certificate)})


def shown_ballot(value: msgspec.Struct) -> dict[str, Any]:
    """A part of a certificate, or all, as what JSON has."""
    shown: dict[str, Any] = _shown(value)
    return shown


def decode_ballot(text: Buffer | str) -> BallotCertificate:
    """Read the JSON form, whatever its spaces and order of keys. Raises ConfigurationError if it is none."""
    try:
        if len(text) > BALLOT_BYTES_MAX:
            raise ValueError(f"it has {len(text)} bytes, more than the {BALLOT_BYTES_MAX} allowed")
        document = read_once(_DECODE, text)
        if document.pop("format", None) != BALLOT_FORMAT:
            raise ValueError(f"its format is not {BALLOT_FORMAT!r}")
        certificate = read_ballot(document, BallotCertificate)
        msgspec.msgpack.encode(certificate)  # as its voters did: no number has more than 64 bits
        return certificate
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise ConfigurationError(
            f"a ballot's certificate was to be read, but this is none: {str(error)[:200]}. Give the file that "
            "`quorum ballot certificate` wrote."
        ) from None


def read_ballot(document: object, kind: type[S]) -> S:
    """A part of a certificate from what JSON has. Raises ValueError (msgspec.ValidationError among them) for what
    is none."""
    return msgspec.convert(_placed(document, kind), kind)


def _shown(value: object) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _shown(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [_shown(each) for each in value]
    if isinstance(value, dict):
        return {name: _shown(each) for name, each in value.items()}
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _placed(value: Any, kind: Any) -> Any:
    """The same with the fields of structs in their order and bytes as bytes, for msgspec to check."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if not isinstance(value, dict):
            raise ValueError(f"a {kind.__name__} is an object")
        strange = [name for name in value if name not in kind.__struct_fields__]
        missing = [name for name in kind.__struct_fields__ if name not in value]
        if strange or missing:
            raise ValueError(
                f"a {kind.__name__} has no {strange[0][:40]!r}" if strange else f"{missing[0]} is missing"
            )
        hints = _hints(kind)
        fields = {name: _placed(value[name], hints[name]) for name in kind.__struct_fields__}
        return list(fields.values()) if kind.__struct_config__.array_like else fields
    if kind is bytes:
        if not isinstance(value, str):
            raise ValueError("bytes are hexadecimal text")
        return bytes.fromhex(value)
    if get_origin(kind) is tuple and isinstance(value, list) and get_args(kind)[1:] == (...,):
        return [_placed(each, get_args(kind)[0]) for each in value]
    options = [each for each in get_args(kind) if each is not NoneType]
    if value is not None and len(options) == 1 and get_origin(kind) not in (tuple, dict):
        return _placed(value, options[0])  # a struct, or none
    return value
