"""What a decision proves: who could vote, who did, on what. And the one verifier.

In crash mode a certificate is unsigned: the leader writes it down on request, from what its voters stored, and it
convinces whoever trusts the leader. In Byzantine mode every voter signs `statement`, and the certificate convinces
anybody who knows the configuration and the keys.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Annotated, Final, Literal, Protocol

import msgspec

from quorum.certificate.json_text import read_once
from quorum.entry import Buffer
from quorum.errors import ConfigurationError
from quorum.model import Configuration, FaultModel, NodeId

FORMAT: Final = "quorum-decision-1"
VALUE_DIGEST_BYTES = 32
CERTIFICATE_BYTES_MAX = 4 * 1024 * 1024
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class DecisionCertificate(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One decision: in `cluster`, by `voters` out of the electors `members` of `epoch`, at `index` of `term`.

    `members` and `voters` are sorted and name each node once; `tally` is the number of voters. `value_digest` is
    `digest_of(value)`; the value itself stays outside. `signatures` are (voter, signature over `statement`).
    """

    cluster: str
    epoch: Count
    members: tuple[NodeId, ...]
    voters: tuple[NodeId, ...]
    tally: Count
    index: Count
    term: Count
    topic: str
    value_digest: bytes
    model: FaultModel = "crash"
    signatures: tuple[tuple[NodeId, bytes], ...] = ()


class Verdict(msgspec.Struct, frozen=True):
    """The verifier's answer. `reasons` says everything that is wrong; there is none exactly if `valid`.

    `signed`: every voter's signature was checked and is right.
    """

    valid: bool
    signed: bool
    reasons: tuple[str, ...]


class WriteQuorums(Protocol):
    """What the verifier asks of a quorum system (`systems.build` makes one)."""

    def is_write_quorum(self, nodes: frozenset[NodeId]) -> bool:
        """Whether `nodes` contain a write quorum."""
        ...


CheckSignature = Callable[[NodeId, bytes, bytes], bool]
"""(voter, statement, signature) -> whether that voter made that signature over that statement."""


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON form: bytes are lower-case hexadecimal text."""

    format: Literal["quorum-decision-1"]
    cluster: str
    epoch: Count
    members: tuple[NodeId, ...]
    voters: tuple[NodeId, ...]
    tally: Count
    index: Count
    term: Count
    topic: str
    value_digest: str
    model: FaultModel
    signatures: tuple[tuple[NodeId, str], ...]


_JSON = msgspec.json.Encoder(order="deterministic")
_BINARY = msgspec.msgpack.Encoder()
_DECODE_JSON = msgspec.json.Decoder(_Document)
_DECODE_BINARY = msgspec.msgpack.Decoder(tuple[str, DecisionCertificate])


def digest_of(value: Buffer) -> bytes:
    """The digest that stands for a value: 32 bytes of blake2b."""
    return blake2b(value, digest_size=VALUE_DIGEST_BYTES).digest()


def statement(certificate: DecisionCertificate) -> bytes:
    """The bytes that each voter signs: all that was decided and by whose vote it could be, but no vote.

    They begin with the format's name, so that they cannot be taken for anything else a node signs.
    """
    return _BINARY.encode(
        (
            FORMAT,
            certificate.cluster,
            certificate.epoch,
            certificate.members,
            certificate.index,
            certificate.term,
            certificate.topic,
            certificate.value_digest,
        )
    )


def encode_json(certificate: DecisionCertificate) -> bytes:
    """The canonical JSON form, one line: keys sorted, no spaces."""
    return _JSON.encode(
        _Document(
            FORMAT,
            certificate.cluster,
            certificate.epoch,
            certificate.members,
            certificate.voters,
            certificate.tally,
            certificate.index,
            certificate.term,
            certificate.topic,
            certificate.value_digest.hex(),
            certificate.model,
            tuple((voter, signature.hex()) for voter, signature in certificate.signatures),
        )
    )


def decode_json(text: Buffer | str) -> DecisionCertificate:
    """Read the JSON form, whatever its spaces and order of keys. Raises ConfigurationError if it is none."""
    _check_size(len(text))
    try:
        document = read_once(_DECODE_JSON, text)
        digest = bytes.fromhex(document.value_digest)
        signatures = tuple((voter, bytes.fromhex(signature)) for voter, signature in document.signatures)
    except (msgspec.DecodeError, ValueError) as error:
        raise _unreadable(error) from None
    return DecisionCertificate(
        document.cluster,
        document.epoch,
        document.members,
        document.voters,
        document.tally,
        document.index,
        document.term,
        document.topic,
        digest,
        document.model,
        signatures,
    )


def encode_binary(certificate: DecisionCertificate) -> bytes:
    """The canonical binary form."""
    return _BINARY.encode((FORMAT, certificate))


def decode_binary(data: Buffer) -> DecisionCertificate:
    """Read the binary form. Raises ConfigurationError if it is none."""
    _check_size(len(data))
    try:
        name, certificate = _DECODE_BINARY.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable(error) from None
    if name != FORMAT:
        raise _unreadable(ValueError(f"its format is {name[:40]!r}, not {FORMAT!r}"))
    return certificate


def verify(
    certificate: DecisionCertificate,
    system: WriteQuorums,
    check_signature: CheckSignature | None = None,
    *,
    configuration: Configuration | None = None,
    value: Buffer | None = None,
) -> Verdict:
    """Judge a certificate against the quorum system of its epoch, as the caller trusts it.

    `configuration` is what the caller knows of that epoch: epoch and electors must be the certificate's. `value`
    is what the caller believes was decided. Given `check_signature`, or a certificate of Byzantine mode, every
    voter's signature is demanded; a Byzantine one without `check_signature` is never valid.
    """
    reasons = _flaws_of_form(certificate)
    if configuration is not None:
        reasons += _differences(certificate, configuration)
    if value is not None and digest_of(value) != certificate.value_digest:
        reasons.append("the certificate is about another value than the one given.")
    if not reasons and not system.is_write_quorum(frozenset(certificate.voters)):
        reasons.append(f"the {len(certificate.voters)} voters hold no write quorum of epoch {certificate.epoch}.")
    signed = False
    if check_signature is not None:
        flaws = _flaws_of_signatures(certificate, check_signature)
        signed = not flaws
        reasons += flaws
    elif certificate.model == "byzantine":
        reasons.append("a certificate of Byzantine mode counts only with its signatures checked; give the keys.")
    return Verdict(not reasons, signed, tuple(reasons))


def _flaws_of_form(certificate: DecisionCertificate) -> list[str]:
    flaws = []
    for what, nodes in (("members", certificate.members), ("voters", certificate.voters)):
        if list(nodes) != sorted(set(nodes)):
            flaws.append(f"the {what} are not sorted, or one is named twice.")
    if not certificate.voters:
        flaws.append("nobody voted.")
    strangers = sorted(set(certificate.voters) - set(certificate.members))
    if strangers:
        flaws.append(f"{', '.join(strangers[:5])} voted without being a member.")
    if certificate.tally != len(certificate.voters):
        flaws.append(f"the tally is {certificate.tally}, but {len(certificate.voters)} voters are named.")
    if min(certificate.epoch, certificate.term) < 0 or certificate.index < 1:
        flaws.append("epoch, term or index lies outside every log.")
    if len(certificate.value_digest) != VALUE_DIGEST_BYTES:
        flaws.append(f"the value's digest has {len(certificate.value_digest)} bytes, not {VALUE_DIGEST_BYTES}.")
    return flaws


def _differences(certificate: DecisionCertificate, configuration: Configuration) -> list[str]:
    differences = []
    if certificate.epoch != configuration.epoch:
        differences.append(f"it is of epoch {certificate.epoch}, the configuration of {configuration.epoch}.")
    if certificate.members != configuration.electors:
        differences.append(f"its members are not the electors of epoch {configuration.epoch}.")
    return differences


def _flaws_of_signatures(certificate: DecisionCertificate, check_signature: CheckSignature) -> list[str]:
    signatures = dict(certificate.signatures)
    if len(signatures) != len(certificate.signatures) or set(signatures) != set(certificate.voters):
        return ["there is not exactly one signature for each voter."]
    signed = statement(certificate)
    return [
        f"the signature of {voter} is wrong."
        for voter in certificate.voters
        if not check_signature(voter, signed, signatures[voter])
    ]


def _check_size(size: int) -> None:
    if size > CERTIFICATE_BYTES_MAX:
        raise _unreadable(ValueError(f"it has {size} bytes, more than the {CERTIFICATE_BYTES_MAX} allowed"))


def _unreadable(why: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"a decision certificate was to be read, but this is none: {why}. Give the file as it was written."
    )
