"""Evidence in a data folder: kept, bounded, and there again in the next life."""

from __future__ import annotations

from pathlib import Path

from certificate.committees import committee_of, key_of
from quorum.certificate.audit import judge_evidence
from quorum.certificate.evidence import Equivocation, SignedVote
from quorum.certificate.evidence_forms import decode_evidence
from quorum.certificate.vote import VoteKind
from quorum.runtime.evidence_book import KEPT_MAX, EvidenceBook, said

COMMITTEE = committee_of(4)


def lie(sequence: int, member: str = "n2") -> Equivocation:
    def vote(digest: bytes) -> SignedVote:
        statement = COMMITTEE.domain.statement(VoteKind.PREPARE, 1, sequence, digest)
        return SignedVote(member, VoteKind.PREPARE, 1, sequence, digest, key_of(member).sign(statement).signature)

    return Equivocation(vote(b"\x01" * 32), vote(b"\x02" * 32))


def test_what_is_kept_convinces_and_is_found_again(tmp_path: Path):
    book = EvidenceBook(tmp_path, lambda evidence: COMMITTEE)
    book.add(lie(5))
    (file,) = (tmp_path / "evidence").iterdir()
    assert file.name == "n2-1.json"
    assert judge_evidence(decode_evidence(file.read_bytes()), COMMITTEE).valid
    assert EvidenceBook(tmp_path, lambda evidence: COMMITTEE).accused == {"n2": 1}
    assert said(lie(5)) == "two PREPARE votes for block 5 of view 1"


def test_a_liar_does_not_fill_the_disk(tmp_path: Path):
    book = EvidenceBook(tmp_path, lambda evidence: COMMITTEE)
    for sequence in range(1, 3 * KEPT_MAX):
        book.add(lie(sequence))
    book.add(lie(1, "n3"))
    assert book.accused == {"n2": KEPT_MAX, "n3": 1}
    assert len(list((tmp_path / "evidence").iterdir())) == KEPT_MAX + 1


def test_a_disk_that_refuses_costs_the_evidence_and_not_the_node(tmp_path: Path):
    (tmp_path / "evidence").write_text("in the way")
    book = EvidenceBook(tmp_path, lambda evidence: COMMITTEE)
    book.add(lie(5))
    assert book.accused == {}


def test_who_lied_is_logged_with_the_file_and_the_command_that_verifies_it(tmp_path: Path, caplog):
    genesis = tmp_path / "genesis.json"
    book = EvidenceBook(tmp_path, lambda evidence: COMMITTEE, genesis)
    book.add(lie(5))
    path = tmp_path / "evidence" / "n2-1.json"
    (record,) = caplog.records
    assert record.getMessage().endswith(
        f"The proof is {path}; verify it: quorum verify {path} --genesis {genesis}"
    )
    book.add(lie(6))
    assert book.files == {"n2": str(path)}
    assert EvidenceBook(tmp_path, lambda evidence: COMMITTEE).files == {"n2": str(path)}
