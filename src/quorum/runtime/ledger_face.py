"""What a node tells of its ledger to whoever verifies it: proofs, each with the newest signatures that it leads
to."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from quorum.apps.batch import BatchDecoder, Refused
from quorum.apps.catalogue import LEDGER_APP
from quorum.apps.host import Host
from quorum.apps.ledger import GetTransaction, Look
from quorum.apps.ledger_machine import LedgerMachine, Version
from quorum.apps.ledger_prover import present, prove_transaction, prove_value
from quorum.apps.witness import Witness
from quorum.certificate.block import BlockCertificate
from quorum.certificate.epochs import EpochChange, leading_to
from quorum.certificate.ledger_forms import LEDGER_PROOF_BYTES_MAX, encode_ledger_proof
from quorum.certificate.ledger_proof import Anchor, LedgerProof
from quorum.entry import Buffer
from quorum.errors import LocalProtocolError, QuorumError

_SUBJECTS: BatchDecoder[GetTransaction | Look] = BatchDecoder(GetTransaction | Look)


def prove_here(
    host: Host | Witness, certificate: object, body: Buffer, changes: Sequence[EpochChange] = ()
) -> bytes:
    """The proof, as JSON, of what the one question in `body` is about: in the ledger of the state that
    `certificate` names, where that is known here and holds it, else in the present one, without signatures.

    `changes` are those of epoch that are known here; where they make a proof too long, it has no signatures.
    Raises QuorumError, also where there is no ledger or no such transaction.
    """
    ledger = host.application(LEDGER_APP) if isinstance(host, Host) else None
    if not isinstance(ledger, LedgerMachine) or not isinstance(host, Host):
        raise LocalProtocolError(
            "a ledger was asked for a proof, but this node runs none. Begin a new cluster whose cluster.toml "
            'names its application: ledger = "MODULE:CLASS".'
        )
    subject = _subject(body)
    anchor, version = _anchored(host, ledger, certificate, changes)
    proof = None if version is None else _proof(ledger, subject, version)
    if proof is not None:
        document = encode_ledger_proof(LedgerProof(proof.roots, proof.subject, anchor))
        if len(document) <= LEDGER_PROOF_BYTES_MAX:
            return document
    proof = _proof(ledger, subject, present(ledger))
    assert proof is not None, "what a ledger holds is in the present one"
    return encode_ledger_proof(proof)


def _anchored(
    host: Host, ledger: LedgerMachine, certificate: object, changes: Sequence[EpochChange]
) -> tuple[Anchor | None, Version | None]:
    """What leads from a version of the ledger to the signatures, and that version."""
    if not isinstance(certificate, BlockCertificate):
        return None, None
    head = host.head_of(certificate.header.state_root)
    root = None if head is None else head.root_of(LEDGER_APP)
    version = None if root is None else ledger.version(root)
    if head is None or version is None:
        return None, None
    return Anchor(LEDGER_APP, head, certificate, leading_to(changes, certificate.epoch)), version


def _proof(ledger: LedgerMachine, subject: GetTransaction | Look, version: Version) -> LedgerProof | None:
    if isinstance(subject, GetTransaction):
        return prove_transaction(ledger, subject.hash, version)
    return prove_value(ledger, subject.path, version)


def _subject(body: Buffer) -> GetTransaction | Look:
    try:
        (subject,) = _SUBJECTS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        subject = Refused("malformed", "")
    if isinstance(subject, Refused):
        raise QuorumError("a proof was asked for, but of nothing that is known. Ask for one transaction or value.")
    return subject
