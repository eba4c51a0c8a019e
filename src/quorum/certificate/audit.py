"""What an auditor asks: does this document hold, by the committee that I trust? Each kind has its one verifier.

A document says by its `format` what it is. Nothing here reads a file or a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from quorum.certificate import ballot_forms, block_forms, chain_forms, decision, evidence_forms, ledger_forms
from quorum.certificate.ballot import BALLOT_FORMAT, BallotCertificate
from quorum.certificate.ballot_audit import verify_ballot
from quorum.certificate.block import BlockCertificate, verify_block
from quorum.certificate.committee import Committee
from quorum.certificate.decision import DecisionCertificate, Verdict
from quorum.certificate.epochs import EpochChange, verify_epochs
from quorum.certificate.evidence import Equivocation, accused, verify_evidence
from quorum.certificate.evidence_forms import EvidenceFile
from quorum.certificate.inclusion import Inclusion, flaws_of_inclusion
from quorum.certificate.ledger_proof import LedgerProof
from quorum.entry import Buffer
from quorum.errors import ConfigurationError
from quorum.model import Configuration, NodeId
from quorum.systems.build import build
from quorum.voting.ballot.terms import Voter

DOCUMENT_BYTES_MAX: Final = max(
    ballot_forms.BALLOT_BYTES_MAX,
    block_forms.CERTIFICATE_BYTES_MAX,
    chain_forms.CHAIN_BYTES_MAX,
    decision.CERTIFICATE_BYTES_MAX,
    evidence_forms.EVIDENCE_BYTES_MAX,
    ledger_forms.LEDGER_PROOF_BYTES_MAX,
)
STRANGE_SHOWN: Final = 10
"""So many voters are named whom an auditor knows otherwise."""

Document = (
    BallotCertificate
    | BlockCertificate
    | chain_forms.ChainedCertificate
    | DecisionCertificate
    | EvidenceFile
    | LedgerProof
)


class Audit(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer. `reasons` says everything that is wrong; there is none exactly if `valid`.

    `kind`: block, decision, ballot or evidence. `signed`: every signature given was checked and is right; of a
    ballot, that they alone prove it to whoever knows the keys. `signers` are those that the document names, of a
    ballot its voters. Of a decision `index` and `term` say where, of a block `sequence` and `view`. Of a ballot
    `epoch` is its last round, `topic` its name, and `outcome` and `opinion` say how it ended.
    """

    kind: str
    valid: bool
    signed: bool
    reasons: tuple[str, ...]
    cluster: str
    epoch: int
    signers: tuple[NodeId, ...]
    view: int | None = None
    sequence: int | None = None
    request_included: bool | None = None
    term: int | None = None
    index: int | None = None
    topic: str | None = None
    accused: NodeId | None = None
    outcome: str | None = None
    opinion: str | float | tuple[float, ...] | None = None
    question: str | None = None


class _Format(msgspec.Struct):
    format: str


_READERS: Final[dict[str, Callable[[Buffer], Document]]] = {
    BALLOT_FORMAT: ballot_forms.decode_ballot,
    block_forms.FORMAT: block_forms.decode_json,
    chain_forms.FORMAT: chain_forms.decode_chain,
    decision.FORMAT: decision.decode_json,
    evidence_forms.FORMAT: evidence_forms.decode_evidence,
    ledger_forms.FORMAT: ledger_forms.decode_ledger_proof,
}
_DECODE_FORMAT = msgspec.json.Decoder(_Format)


def read_document(text: Buffer) -> Document:
    """Any of the JSON documents that can be judged. Raises ConfigurationError for what is none of them."""
    try:
        if len(text) > DOCUMENT_BYTES_MAX:
            raise ValueError(f"it has {len(text)} bytes, more than the {DOCUMENT_BYTES_MAX} allowed")
        name = _DECODE_FORMAT.decode(text).format
        if name not in _READERS:
            raise ValueError(f"its format is {name[:40]!r}")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"a certificate or evidence was to be read, but this is none: {error}. Give a JSON file whose "
            f"format is one of {', '.join(_READERS)}."
        ) from None
    return _READERS[name](text)


def judge_block(
    certificate: BlockCertificate,
    genesis: Committee,
    changes: tuple[EpochChange, ...] = (),
    inclusion: Inclusion | None = None,
) -> Audit:
    """Judge a block's certificate by the committee that `changes` lead to from `genesis`, which is trusted."""
    committee, verdict = verify_epochs(genesis, changes)
    if verdict.valid:
        verdict = verify_block(certificate, committee)
    reasons = list(verdict.reasons)
    is_included = None
    if inclusion is not None:
        flaws = flaws_of_inclusion(inclusion, certificate.header, genesis.cluster)
        reasons += flaws
        is_included = verdict.valid and not flaws
    return Audit(
        "block",
        not reasons,
        verdict.signed,
        tuple(reasons),
        certificate.cluster,
        certificate.epoch,
        tuple(signer for signer, _ in certificate.signatures),
        certificate.view,
        certificate.header.sequence,
        is_included,
    )


def judge_evidence(file: EvidenceFile, committee: Committee) -> Audit:
    """Judge evidence by the committee whose member it accuses, or by one from which the changes in the file lead
    there. Valid: the accused lied, or gave its key away."""
    evidence = file.evidence
    led = [change for change in file.changes if change.committee.epoch > committee.epoch]
    committee, followed = verify_epochs(committee, led)
    reasons = list(followed.reasons)
    if file.cluster != committee.cluster:
        reasons.append(f"it is of cluster {file.cluster[:40]!r}, not of {committee.cluster[:40]!r}.")
    if file.epoch != committee.epoch:
        reasons.append(f"it is of epoch {file.epoch}, the committee is of epoch {committee.epoch}.")
    verdict = Verdict(False, False, tuple(reasons)) if reasons else verify_evidence(evidence, committee)
    vote = evidence.first if isinstance(evidence, Equivocation) else evidence.commit
    return Audit(
        "evidence",
        verdict.valid,
        verdict.signed,
        verdict.reasons,
        file.cluster,
        file.epoch,
        (vote.member,),
        vote.view,
        vote.sequence,
        accused=accused(evidence),
    )


def judge_decision(
    certificate: DecisionCertificate, configuration: Configuration | None = None, value: Buffer | None = None
) -> Audit:
    """Judge the certificate of a crash-mode decision, which nobody signed.

    Without a `configuration` that the caller trusts, a majority of the members that it names must have voted.
    """
    trusted = configuration
    if trusted is None:
        trusted = Configuration(certificate.epoch, certificate.members)
    verdict = decision.verify(certificate, build(trusted), configuration=configuration, value=value)
    return Audit(
        "decision",
        verdict.valid,
        verdict.signed,
        verdict.reasons,
        certificate.cluster,
        certificate.epoch,
        certificate.voters,
        term=certificate.term,
        index=certificate.index,
        topic=certificate.topic,
    )


def judge_ballot(certificate: BallotCertificate, electorate: Sequence[Voter] | None = None) -> Audit:
    """Judge the certificate of a ballot. Its terms name the electorate and the keys: whoever made up both made up
    the vote, so `electorate` is the one that the caller knows (None: it is not demanded)."""
    verdict = verify_ballot(certificate)
    outcome = certificate.outcome
    reasons = list(verdict.reasons)
    if electorate is not None:
        known = {(voter.name, voter.weight, voter.key) for voter in electorate}
        told = {(voter.name, voter.weight, voter.key) for voter in certificate.opening.terms.electorate}
        strange = sorted({name for name, _, _ in told ^ known})[:STRANGE_SHOWN]
        reasons += [f"{name[:60]!r} votes in it otherwise than you know." for name in strange]
    return Audit(
        "ballot",
        not reasons,
        verdict.signed and not reasons,
        tuple(reasons),
        certificate.cluster,
        len(certificate.rounds),
        tuple(vote.voter for vote in certificate.votes if vote.opinion is not None),
        index=outcome.index,
        topic=certificate.opening.terms.name,
        outcome=outcome.standing.state,
        opinion=outcome.standing.opinion,
        question=certificate.opening.terms.question,
    )
