"""Proofs of a ledger from nodes that are believed nothing: the newest one that holds."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from quorum.apps.ledger import GetTransaction, Look
from quorum.certificate.committee import Committee
from quorum.certificate.ledger_audit import judge_ledger, root_of
from quorum.certificate.ledger_block import transaction_hash
from quorum.certificate.ledger_forms import decode_ledger_proof
from quorum.certificate.ledger_proof import LedgerProof, TransactionProof
from quorum.errors import ConfigurationError, QuorumError
from quorum.model import NodeId

PROOF_S = 5.0
"""How long one node is waited for."""


Given = tuple[NodeId, bytes | QuorumError]


class ProofSource(Protocol):
    """Where single nodes can be asked (runtime.place.Place)."""

    def committee(self) -> Committee | None:
        """The members whose signatures count; None where nobody signs. Raises ConfigurationError."""
        ...

    def proofs(self, wanted: GetTransaction | Look, timeout_s: float) -> AsyncGenerator[Given, None]:
        """What each node gives within `timeout_s` seconds, as it comes, with the name of who was asked."""
        ...


class Wanted:
    """What is to be proven: a transaction by its hash, or a question that the application answers by `key`, as the
    cluster said; and of a ledger with at least `number` blocks, if that can be had."""

    def __init__(self, subject: GetTransaction | Look, key: bytes = b"", number: int = 0) -> None:
        self.subject = subject
        self.number = number
        self._key = key

    def is_met_by(self, proof: LedgerProof) -> bool:
        """Whether a proof is about it. Which key answers a question is no node's word alone."""
        found = proof.subject
        if isinstance(found, TransactionProof):
            return isinstance(self.subject, GetTransaction) and (
                transaction_hash(found.transaction) == self.subject.hash
            )
        return isinstance(self.subject, Look) and (found.question, found.key) == (self.subject.path, self._key)

    def suits(self, proof: LedgerProof) -> bool:
        """Whether a proof is of a ledger that is new enough."""
        return proof.roots.number >= self.number


async def best_proof(source: ProofSource, committee: Committee | None, wanted: Wanted) -> LedgerProof:
    """Of the proofs that hold, one with signatures before one without, and the newest.

    Where members may lie, N-T of the committee prove it first: a liar cannot pass off an old state for the newest
    one then, since T+1 of them are honest. Where fewer do, of a cluster with more faults than T, it is the newest
    that was given. Raises QuorumError where none holds.
    """
    best: LedgerProof | None = None
    problem = QuorumError("a proof was asked for, but no node is known. Check the addresses.")
    heard: set[NodeId] = set()  # who failed told nothing of what is newest, nor did who has no vote
    enough = 1 if committee is None else len(committee.members) - committee.faults
    async with aclosing(source.proofs(wanted.subject, PROOF_S)) as answers:
        async for node, answer in answers:
            judged = answer if isinstance(answer, QuorumError) else _judged(answer, committee, wanted)
            if isinstance(judged, QuorumError):
                problem = judged
                continue
            if committee is None or node in committee.nodes:
                heard.add(node)
            if best is None or _rank(judged) > _rank(best):
                best = judged
            if len(heard) < enough:
                continue
            if wanted.suits(best) and (committee is None or best.anchor is not None):
                return best
    if best is None:
        raise problem
    return best


def _rank(proof: LedgerProof) -> tuple[bool, int]:
    return proof.anchor is not None, proof.roots.number


def _judged(document: bytes, committee: Committee | None, wanted: Wanted) -> LedgerProof | QuorumError:
    try:
        proof = decode_ledger_proof(document)
    except ConfigurationError as error:
        return QuorumError(str(error))
    if proof.anchor is not None and committee is not None:
        reasons = judge_ledger(proof, committee).reasons
    else:
        reasons = judge_ledger(proof, root=root_of(proof)).reasons
    if not reasons and wanted.is_met_by(proof):
        return proof
    why = " ".join(reasons) or "it is about something else."
    return QuorumError(f"a proof was asked for, but what a node gave does not hold: {why} Ask again.")
