"""The one verifier of a ledger's proofs."""

from __future__ import annotations

import struct

import msgspec

from quorum.certificate.block import verify_block
from quorum.certificate.committee import Committee
from quorum.certificate.epochs import verify_epochs
from quorum.certificate.ledger_block import transaction_hash
from quorum.certificate.ledger_proof import LedgerProof, ValueProof, flaws_of_ledger_proof
from quorum.model import NodeId

LEDGER_APP_ID = 4
"""The id under which every node hosts its ledger: a proof about any other application is none of a ledger."""


class LedgerAudit(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer. `reasons` says everything that is wrong; there is none exactly if `valid`.

    `signed`: a quorum of the committee signed for it. Where nobody did, `valid` means that it holds in the ledger
    of this `root`, which the caller trusts. `ledger_number`: how many blocks that ledger had. Of a transaction,
    `transaction` is its hash, `number` and `place` say where it stands, `code` and `data` what became of it; of a
    value `key` and `value` say what it is; `key_demanded`: the caller named that key. `question` is what the maker
    of the proof says that the key answers, and `question_proven` always false. Bytes are hexadecimal; `value` is
    None where there is nothing.
    """

    kind: str
    valid: bool
    signed: bool
    reasons: tuple[str, ...]
    root: str
    ledger_number: int
    subject: str
    cluster: str | None = None
    sequence: int | None = None
    signers: tuple[NodeId, ...] = ()
    transaction: str | None = None
    number: int | None = None
    place: int | None = None
    time_us: int | None = None
    code: int | None = None
    data: str | None = None
    question: str | None = None
    question_proven: bool | None = None
    key_demanded: bool | None = None
    key: str | None = None
    value: str | None = None


def judge_ledger(
    proof: LedgerProof,
    genesis: Committee | None = None,
    root: bytes | None = None,
    key: bytes | None = None,
) -> LedgerAudit:
    """Judge a proof by the committee that its changes of epoch lead to from `genesis`, or by the ledger's `root`,
    whichever the caller trusts; by both where both are given. By neither nothing holds. With `key` it must be
    about the value of that key: which key answers a question is the application's affair, and proven nowhere."""
    reasons = flaws_of_ledger_proof(proof)
    own = root_of(proof)
    is_signed = False
    if genesis is not None:
        if proof.anchor is None:
            reasons.append("nobody signed it.")
        else:
            committee, verdict = verify_epochs(genesis, proof.anchor.changes)
            if verdict.valid:
                verdict = verify_block(proof.anchor.certificate, committee)
            reasons += verdict.reasons
            is_signed = verdict.valid
            if proof.anchor.app != LEDGER_APP_ID:
                reasons.append(f"it is about application {proof.anchor.app}, which is no ledger.")
    if root is not None and root != own:
        reasons.append(f"it is about the ledger of root {own.hex()}.")
    if key is not None and (not isinstance(proof.subject, ValueProof) or proof.subject.key != key):
        reasons.append("it is not about that key.")
    if genesis is None and root is None:
        reasons.append("no committee and no root was given to judge it by.")
    audit = _audit(proof, own, not reasons, is_signed and not reasons, tuple(reasons))
    return audit if key is None else msgspec.structs.replace(audit, key_demanded=True)


def verify_query(proof: LedgerProof, key: bytes, genesis: Committee) -> bytes | None:
    """The value that a signed state has under `key`; None: it has nothing there. Raises ValueError, with every
    reason, for a proof that does not hold, or is about something else."""
    reasons = judge_ledger(proof, genesis, key=key).reasons
    if reasons:
        raise ValueError(f"the value of {key[:40]!r} was to be proven, but: {' '.join(reasons)} Ask another node.")
    assert isinstance(proof.subject, ValueProof), "or there was a reason"
    return proof.subject.value


def root_of(proof: LedgerProof) -> bytes:
    """The root of the ledger that a proof is about; none where its numbers are out of range."""
    try:
        return proof.roots.digest()
    except (struct.error, ValueError, OverflowError):
        return b""


def _audit(proof: LedgerProof, root: bytes, valid: bool, signed: bool, reasons: tuple[str, ...]) -> LedgerAudit:
    anchor, subject = proof.anchor, proof.subject
    audit = LedgerAudit(
        kind="ledger",
        valid=valid,
        signed=signed,
        reasons=reasons,
        root=root.hex(),
        ledger_number=proof.roots.number,
        subject="value" if isinstance(subject, ValueProof) else "transaction",
    )
    if anchor is not None:
        certificate = anchor.certificate
        audit = msgspec.structs.replace(
            audit,
            cluster=certificate.cluster,
            sequence=certificate.header.sequence,
            signers=tuple(signer for signer, _ in certificate.signatures),
        )
    if isinstance(subject, ValueProof):
        value = None if subject.value is None else subject.value.hex()
        asked = {"question": subject.question, "question_proven": False, "key_demanded": False}
        return msgspec.structs.replace(audit, key=subject.key.hex(), value=value, **asked)
    return msgspec.structs.replace(
        audit,
        transaction=transaction_hash(subject.transaction).hex(),
        number=subject.header.number,
        place=subject.place,
        time_us=subject.header.time_us,
        code=subject.result.code,
        data=subject.result.data.hex(),
    )
