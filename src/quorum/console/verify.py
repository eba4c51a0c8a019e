"""`quorum verify`: does a certificate or evidence hold? Files and keys alone are needed, no network."""

from __future__ import annotations

from pathlib import Path

import click

from quorum.certificate.audit import (
    DOCUMENT_BYTES_MAX,
    Audit,
    Document,
    judge_ballot,
    judge_block,
    judge_decision,
    judge_evidence,
    read_document,
)
from quorum.certificate.ballot import BallotCertificate
from quorum.certificate.block import BlockCertificate
from quorum.certificate.block_forms import decode_binary, is_binary
from quorum.certificate.chain_forms import ChainedCertificate
from quorum.certificate.committee import Committee
from quorum.certificate.decision import DecisionCertificate
from quorum.certificate.evidence_forms import EvidenceFile
from quorum.certificate.genesis import FILE_NAME, GENESIS_BYTES_MAX
from quorum.certificate.inclusion import INCLUSION_BYTES_MAX, decode_inclusion
from quorum.certificate.ledger_audit import LedgerAudit, judge_ledger
from quorum.certificate.ledger_block import HASH_BYTES
from quorum.certificate.ledger_proof import LedgerProof, ValueProof
from quorum.console.ballot_read import electorate_in
from quorum.console.ballot_shown import opinion_text
from quorum.console.command import AnswerNo, bytes_of, command, plain, print_json
from quorum.console.documents import read_bounded
from quorum.console.genesis_read import genesis_in
from quorum.console.ledger_shown import lines_of
from quorum.console.signers import signers_text
from quorum.errors import ConfigurationError

_PATH = click.Path(path_type=Path)


@command("verify", "quorum verify certificate.json --genesis genesis.json")
@click.argument("file", metavar="CERT.json", type=_PATH)
@click.option(
    "--genesis", type=_PATH, help=f"The committee to trust.  [default: the {FILE_NAME} beside CERT.json]"
)
@click.option("--root", help="For a ledger's proof: the ledger's root that you trust, in hexadecimal.")
@click.option("--key", help="For a ledger's proof of a value: the key that it must be about, in hexadecimal.")
@click.option("--request", type=_PATH, help="A request with its path: is it in the block?")
@click.option("--config", type=_PATH, help="For a crash-mode decision: the cluster.toml with its quorums.")
@click.option("--electorate", type=_PATH, help="For a ballot: the voters and keys that you know, as JSON.")
@click.option("--value", help="For a crash-mode decision: the value that it should be about.")
def verify(
    file: Path,
    genesis: Path | None,
    root: str | None,
    key: str | None,
    request: Path | None,
    config: Path | None,
    electorate: Path | None,
    value: str | None,
    as_json: bool,
) -> None:
    """Say whether a certificate, or evidence against a member, holds. Nothing but these files is used.

    CERT.json is a block's certificate, in JSON or binary form, or with the changes of epoch since the genesis; a
    ledger's proof of a transaction or a value; the certificate of a crash-mode decision, or of a ballot, whose
    electorate and keys you should know: give them with --electorate; or evidence. Of a value the key is proven,
    not which question it answers: demand the key with --key. Exit 0 if it holds; 1 if not, with every reason; 2 if
    it could not be judged.
    """
    audit = audit_of(file, genesis, request, config, value, root, key, electorate)
    if as_json:
        print_json(audit)
    elif isinstance(audit, LedgerAudit):
        for line in lines_of(audit):
            click.echo(plain(line))
    else:
        _show(audit)
    if not audit.valid:
        raise AnswerNo


def audit_of(
    file: Path,
    genesis: Path | None = None,
    request: Path | None = None,
    config: Path | None = None,
    value: str | None = None,
    root: str | None = None,
    key: str | None = None,
    electorate: Path | None = None,
) -> Audit | LedgerAudit:
    """Read the files and judge. Raises ConfigurationError for what cannot be read, or for an option too many."""
    data = read_bounded(file, DOCUMENT_BYTES_MAX, "a certificate or evidence")
    document: Document
    if is_binary(data):
        document = decode_binary(data, _committee(file, genesis))
    else:
        document = read_document(data)
    options = {
        "--genesis": genesis,
        "--request": request,
        "--config": config,
        "--value": value,
        "--electorate": electorate,
    }
    _check_options(file, document, {**options, "--root": root, "--key": key})
    match document:
        case BallotCertificate():
            return judge_ballot(document, None if electorate is None else electorate_in(electorate))
        case DecisionCertificate():
            return _judge_decision(document, config, value)
        case LedgerProof():
            return _judge_ledger(document, file, genesis, root, key)
        case EvidenceFile():
            return judge_evidence(document, _committee(file, genesis))
    return _judge_block(document, _committee(file, genesis), request)


_BLOCK = "a block's certificate", ("--genesis", "--request")
_KINDS: dict[type, tuple[str, tuple[str, ...]]] = {
    BallotCertificate: ("a ballot's certificate", ("--electorate",)),
    BlockCertificate: _BLOCK,
    ChainedCertificate: _BLOCK,
    DecisionCertificate: ("the certificate of a crash-mode decision", ("--config", "--value")),
    EvidenceFile: ("evidence", ("--genesis",)),
    LedgerProof: ("a ledger's proof", ("--genesis", "--root", "--key")),
}
"""What each document is called, and the options by which it is judged."""


def _check_options(file: Path, document: Document, given: dict[str, object]) -> None:
    name, allowed = _KINDS[type(document)]
    for option, value in given.items():
        if value is not None and option not in allowed:
            raise ConfigurationError(
                f"{option} was given with {file}, but that is {name}, which is judged without it. Leave it out, "
                "or name another file."
            )


def _judge_block(
    document: BlockCertificate | ChainedCertificate, committee: Committee, request: Path | None
) -> Audit:
    inclusion = None
    if request is not None:
        inclusion = decode_inclusion(read_bounded(request, INCLUSION_BYTES_MAX, "a request with its path"))
    if isinstance(document, ChainedCertificate):
        return judge_block(document.certificate, committee, document.changes, inclusion)
    return judge_block(document, committee, inclusion=inclusion)


def _judge_ledger(
    proof: LedgerProof, file: Path, genesis: Path | None, root: str | None, key: str | None
) -> LedgerAudit:
    """By the committee where somebody signed, and by the root where one is given."""
    trusted = None if root is None else bytes_of(root, as_hex=True, option="--root")
    if trusted is not None and len(trusted) != HASH_BYTES:
        raise ConfigurationError(
            f"--root {str(root)[:70]!r} was given, but a ledger's root has {2 * HASH_BYTES} digits 0-9 a-f. Take "
            "it from `quorum ledger blocks`, asked at the time."
        )
    demanded = None if key is None else bytes_of(key, as_hex=True, option="--key")
    if demanded is not None and not isinstance(proof.subject, ValueProof):
        raise ConfigurationError(
            f"--key was given with {file}, but that is the proof of a transaction, which has no key. Leave it "
            "out, or name another file."
        )
    if proof.anchor is not None and (root is None or genesis is not None):
        return judge_ledger(proof, _committee(file, genesis), trusted, key=demanded)
    if trusted is None:
        raise ConfigurationError(
            f"{file} was to be judged, but nobody signed it: it holds for whoever knows the ledger's root from "
            "elsewhere. Give the one that you trust, --root HEX, or get a signed proof from a cluster whose "
            "members sign."
        )
    return judge_ledger(proof, None, trusted, key=demanded)


def _judge_decision(certificate: DecisionCertificate, config: Path | None, value: str | None) -> Audit:
    configuration = None
    if config is not None:
        from quorum.runtime.config import load_cluster

        configuration = load_cluster(config).configuration()
        if certificate.epoch != configuration.epoch:
            raise ConfigurationError(
                f"{config} was given for a decision of epoch {certificate.epoch}, but that file is about epoch "
                f"{configuration.epoch} alone. Leave it out: then a majority of the named members counts."
            )
    given = None if value is None else value.encode("utf-8", "surrogateescape")
    return judge_decision(certificate, configuration, given)


def _committee(file: Path, genesis: Path | None) -> Committee:
    path = file.parent / FILE_NAME if genesis is None else genesis
    if genesis is None and not path.exists():
        raise ConfigurationError(
            f"{file} was to be judged, but there is no {FILE_NAME} beside it that says who may sign. Name the "
            "committee that you trust: --genesis FILE."
        )
    return genesis_in(path, read_bounded(path, GENESIS_BYTES_MAX, "a genesis file"))


def _show(audit: Audit) -> None:
    """What people read. Names come from the file, which may be hostile: they move no cursor and set no colour."""
    click.echo(plain(_headline(audit)))
    if audit.kind == "evidence":
        signed = f"two votes of {audit.accused}"
    elif audit.kind == "ballot":
        signed = f"counted: votes of {signers_text(audit.signers) if audit.signers else 'nobody'}; " + (
            "their signatures prove it to whoever knows their keys"
            if audit.signed
            else "it holds for who trusts the node that gave it"
        )
    else:
        signed = signers_text(audit.signers)
        signed = f"signed by {signed}" if audit.kind == "block" else f"stored by {signed}; nobody signed it"
    if audit.valid:
        click.echo(plain(signed))
        if audit.request_included:
            click.echo("the request is in the block")
    for reason in audit.reasons:
        click.echo(f"  {plain(reason)}")


def _headline(audit: Audit) -> str:
    where = f"of cluster {audit.cluster}, epoch {audit.epoch}"
    if audit.kind == "decision":
        what = f"the decision on {audit.topic!r} at index {audit.index} of term {audit.term}, {where}"
    elif audit.kind == "ballot":
        said = f"{audit.outcome}: {opinion_text(audit.opinion)}" if audit.outcome == "won" else "lost"
        what = f"{said}, by ballot {audit.topic!r} ({audit.question!r}) of cluster {audit.cluster}"
    elif audit.kind == "evidence":
        what = f"evidence against {audit.accused} at block {audit.sequence} of view {audit.view}, {where}"
    else:
        what = f"block {audit.sequence}, decided in view {audit.view}, {where}"
    return f"{'valid' if audit.valid else 'not valid'}: {what}"
