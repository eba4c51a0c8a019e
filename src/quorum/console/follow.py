"""`quorum follow`: a light client that remembers what it believes, and goes on from there. No network is used."""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from quorum.certificate.audit import DOCUMENT_BYTES_MAX, read_document
from quorum.certificate.block_forms import decode_binary, is_binary
from quorum.certificate.committee import Committee
from quorum.certificate.conflict import blame
from quorum.certificate.evidence import Evidence, accused
from quorum.certificate.evidence_forms import encode_evidence
from quorum.certificate.following import follow as follow_document
from quorum.certificate.genesis import FILE_NAME, GENESIS_BYTES_MAX
from quorum.certificate.light_client import Followed, Refused
from quorum.certificate.light_forms import LIGHT_BYTES_MAX, decode_light, encode_light
from quorum.certificate.trust import DAY_US, Trusted, TrustRules
from quorum.certificate.witnesses import Comparison, Document, compare
from quorum.console.command import AnswerNo, command, plain, print_json
from quorum.console.documents import read_bounded, write_whole
from quorum.console.genesis_read import genesis_in
from quorum.errors import ConfigurationError
from quorum.model import NodeId

LIGHT_NAME = "light.json"
DAYS_MAX = 36_500.0
_PATH = click.Path(path_type=Path)


class Told(msgspec.Struct, frozen=True):
    """What one witness adds. `accused`: who signed both of two blocks, one of which is a lie."""

    file: str
    agrees: bool
    parted: bool
    accused: tuple[NodeId, ...]
    reasons: tuple[str, ...]


class Answer(msgspec.Struct, frozen=True):
    """What is believed after the command; `reasons` why the document is not, and `missing` the first and the last
    epoch of which something is needed."""

    followed: bool
    cluster: str
    epoch: int
    sequence: int | None
    view: int | None
    digest: str | None
    epochs: tuple[int, ...]
    reasons: tuple[str, ...]
    missing: tuple[int, int] | None
    witnesses: tuple[Told, ...]


@command("follow", "quorum follow cert.json --genesis genesis.json --light light.json --witness other.json")
@click.argument("file", metavar="CERT.json", type=_PATH)
@click.option("--genesis", type=_PATH, help=f"Where to begin.  [default: the {FILE_NAME} beside CERT.json]")
@click.option("--light", type=_PATH, help=f"What is believed.  [default: the {LIGHT_NAME} beside CERT.json]")
@click.option("--witness", type=_PATH, multiple=True, help="The same from another source, to compare.")
@click.option("--evidence", type=_PATH, help="Write evidence against whoever lied into this folder.")
@click.option("--period", type=float, default=14.0, help="Days for which a block may be trusted.")
def follow(
    file: Path,
    genesis: Path | None,
    light: Path | None,
    witness: tuple[Path, ...],
    evidence: Path | None,
    period: float,
    as_json: bool,
) -> None:
    """Follow a Byzantine cluster from certificate to certificate, as a light client.

    Begins with the committee in the light file, or else with the genesis, and ends at the block of CERT.json.
    Changes of epoch may be missing there where T+1 members of a committee that is believed signed for a later one.
    Exit 0 if the block is believed, and the light file says so now; 1 if not, or if a witness shows that somebody
    lies; 2 if it could not be judged.
    """
    if not 0 < period <= DAYS_MAX:
        raise ConfigurationError(
            f"--period {period:g} was given, but a block is trusted for a time above 0, and at most {DAYS_MAX:g} "
            "days. Change it."
        )
    light = file.parent / LIGHT_NAME if light is None else light
    trusted = trust_of(file, genesis, light)
    rules = TrustRules(period_us=int(period * DAY_US))
    now_us = time.time_ns() // 1_000
    document = _document(file, trusted.committee)
    outcome = follow_document(trusted, document, now_us, rules)
    told = []
    if isinstance(outcome, Followed):
        for path in witness:
            other = _document(path, trusted.committee)
            comparison = compare(trusted, outcome, document, other, now_us, rules)
            told.append(_told(path, comparison, evidence))
    answer = _answer(trusted, outcome, tuple(told))
    if isinstance(outcome, Followed) and answer.followed:
        write_whole(light, encode_light(outcome.trusted), "the memory of a light client")
    if as_json:
        print_json(answer)
    else:
        _show(answer, light)
    if not answer.followed:
        raise AnswerNo


def trust_of(file: Path, genesis: Path | None, light: Path) -> Trusted:
    """What is believed before `file` is looked at. Raises ConfigurationError where nobody says so."""
    known = None
    if light.exists():
        known = decode_light(read_bounded(light, LIGHT_BYTES_MAX, "the memory of a light client"))
    beside = file.parent / FILE_NAME
    if genesis is None and known is not None:
        return known
    if genesis is None and not beside.exists():
        raise ConfigurationError(
            f"{file} was to be followed, but there is neither {light} nor {beside} to say whom to believe at "
            "first. Name the committee that you trust: --genesis FILE."
        )
    path = beside if genesis is None else genesis
    first = genesis_in(path, read_bounded(path, GENESIS_BYTES_MAX, "a genesis file"))
    if known is None:
        return Trusted(first)
    if known.committee.cluster != first.cluster:
        raise ConfigurationError(
            f"{path} is the genesis of cluster {first.cluster[:40]}, but {light} is about "
            f"{known.committee.cluster[:40]}. Keep a light file for each cluster: --light FILE."
        )
    return known


def _document(path: Path, committee: Committee) -> Document:
    data = read_bounded(path, DOCUMENT_BYTES_MAX, "a block's certificate")
    document = decode_binary(data, committee) if is_binary(data) else read_document(data)
    if not isinstance(document, Document):
        raise ConfigurationError(
            f"{path} was to be followed, but it is no block's certificate, alone or with changes of epoch. For a "
            "crash-mode decision and for evidence there is `quorum verify`."
        )
    return document


def _told(path: Path, comparison: Comparison, folder: Path | None) -> Told:
    pieces: tuple[Evidence, ...] = ()
    if comparison.conflict is not None and comparison.committee is not None:
        pieces = blame(comparison.conflict, comparison.committee)
        if folder is not None:
            _write_evidence(folder, pieces, comparison.committee)
    named = tuple(map(accused, pieces))
    return Told(str(path), comparison.agrees, comparison.parted, named, comparison.reasons)


def _write_evidence(folder: Path, pieces: tuple[Evidence, ...], committee: Committee) -> None:
    """One file for each member that lied."""
    for piece in pieces:
        path = folder / f"epoch-{committee.epoch}-{accused(piece)}.json"
        write_whole(path, encode_evidence(piece, committee), "evidence", "Name another folder.", with_folder=True)


def _answer(trusted: Trusted, outcome: Followed | Refused, told: tuple[Told, ...]) -> Answer:
    is_followed = isinstance(outcome, Followed) and not any(each.parted for each in told)
    believed = outcome.trusted if isinstance(outcome, Followed) and is_followed else trusted
    certificate = believed.certificate
    header = None if certificate is None else certificate.header
    passed = {block.committee.epoch for block in outcome.passed} if isinstance(outcome, Followed) else set()
    return Answer(
        is_followed,
        believed.committee.cluster,
        believed.committee.epoch,
        None if header is None else header.sequence,
        None if certificate is None else certificate.view,
        None if header is None else header.digest().hex(),
        tuple(sorted(passed)),
        outcome.reasons if isinstance(outcome, Refused) else (),
        outcome.missing if isinstance(outcome, Refused) else None,
        told,
    )


def _show(answer: Answer, light: Path) -> None:
    if answer.followed:
        where = f"of cluster {answer.cluster}, epoch {answer.epoch}"
        click.echo(plain(f"followed: block {answer.sequence}, decided in view {answer.view}, {where}"))
        click.echo(plain(f"by blocks of epochs {', '.join(map(str, answer.epochs))}; kept in {light}"))
    else:
        known = "its committee" if answer.sequence is None else f"block {answer.sequence}"
        click.echo(plain(f"not followed: {known} of epoch {answer.epoch} is believed as before"))
    for reason in answer.reasons:
        click.echo(f"  {plain(reason)}")
    if answer.missing is not None:
        first, last = answer.missing
        which = f"change that leads to epoch {first}" if first == last else f"changes to epochs {first} to {last}"
        click.echo(f"  give the {which}; fewer do where members stay")
    for told in answer.witnesses:
        if told.agrees:
            says = "agrees"
        elif told.accused:
            says = f"has another block, and these signed both: {', '.join(told.accused)}"
        else:
            says = ("shows that one of the two is a lie" if told.parted else "says nothing") + "".join(
                f"; {reason}" for reason in told.reasons
            )
        click.echo(plain(f"witness {told.file} {says}"))
