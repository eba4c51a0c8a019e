"""`quorum ledger`: transactions in, blocks and proofs out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from quorum.apps.ledger import TRANSACTION_BYTES_MAX, Block, Blocks, Checked, Found, Receipt, Value
from quorum.certificate.committee import Committee
from quorum.certificate.ledger_audit import LedgerAudit, judge_ledger
from quorum.certificate.ledger_block import DONE, transaction_hash
from quorum.certificate.ledger_forms import encode_ledger_proof
from quorum.certificate.ledger_proof import LedgerProof
from quorum.console.command import AnswerNo, Group, command, plain, print_json, text_of, with_cluster
from quorum.console.documents import read_bounded, write_whole
from quorum.console.inquiry import run_client
from quorum.console.ledger_import import import_
from quorum.console.ledger_shown import (
    header_fields,
    proven_lines,
    receipt_fields,
    receipt_line,
    result_fields,
    result_text,
    roots_fields,
    time_text,
)
from quorum.console.value_shown import Asked, value_shown
from quorum.errors import ConfigurationError
from quorum.runtime.client import Client
from quorum.runtime.signing import BATCH, EACH

BLOCKS_SHOWN = 20
_PATH = click.Path(path_type=Path)


@click.group(cls=Group, epilog="Example: quorum ledger submit transaction.bin")
def ledger() -> None:
    """Put transactions into the cluster's ledger, and prove what is there.

    cluster.toml names its application: ledger = "MODULE:CLASS". See docs/ledger.md.
    """


@command("submit", "quorum ledger submit transaction.bin")
@click.argument("file")
@click.option("--check", "only_check", is_flag=True, help="Say whether it would be admitted; put it nowhere.")
@click.option("--sign-each", is_flag=True, help="Sign it as a request of its own, or fail where nobody signs.")
@with_cluster
def submit(
    file: str, only_check: bool, sign_each: bool, config: Path | None, timeout: float, as_json: bool
) -> None:
    """Put the transaction that FILE holds ("-": standard input) into the ledger. Its bytes are taken as they are.

    One that is there already is not executed again. Exit 1 if it failed, or with --check would not be admitted; 2
    if it was refused.
    """
    path = None if file == "-" else Path(file)
    transaction = read_bounded(
        path, TRANSACTION_BYTES_MAX, "a transaction", "Record the digest of what is larger."
    )
    sign = EACH if sign_each else BATCH
    if only_check:
        _show_check(run_client(config, timeout, lambda client: client.ledger.check(transaction)), as_json)
        return
    receipt: Receipt = run_client(config, timeout, lambda client: client.ledger.submit(transaction, sign))
    if as_json:
        print_json(receipt_fields(receipt))
    else:
        click.echo(receipt_line(receipt))
    if receipt.result.code != DONE:
        raise AnswerNo


@command("get", "quorum ledger get 2c3f...")
@click.argument("hash", metavar="HASH")
@click.option("--raw", is_flag=True, help="Write the bytes of the transaction, and nothing else.")
@with_cluster
def get(hash: str, raw: bool, config: Path | None, timeout: float, as_json: bool) -> None:
    """Show the transaction of this hash, and what became of it. Exit 1 if the ledger does not hold it."""
    name = hash_of(hash)
    found: Found = run_client(config, timeout, lambda client: client.ledger.get(name))
    if found.transaction is None or found.receipt is None:
        if as_json:
            print_json({"hash": hash, "transaction": None})
        else:
            click.echo(f"the ledger does not hold {hash}", err=True)
        raise AnswerNo
    text, encoding = text_of(found.transaction)
    receipt = found.receipt
    if as_json:
        fields = {name: value for name, value in receipt_fields(receipt).items() if name != "first"}
        print_json({**fields, "transaction": text, "transaction_encoding": encoding})
    elif raw:
        sys.stdout.buffer.write(found.transaction)
        sys.stdout.buffer.flush()
    else:
        click.echo(f"block {receipt.number} place {receipt.place}: {result_text(receipt.result)}")
        click.echo(text)


@command("prove", "quorum ledger prove 2c3f... -o proof.json")
@click.argument("hash", metavar="HASH")
@click.option("-o", "--output", type=_PATH, help="Write the proof here.  [default: standard output]")
@click.option("--certify", is_flag=True, help="Wait until a quorum has signed the state that holds it.")
@with_cluster
def prove(
    hash: str, output: Path | None, certify: bool, config: Path | None, timeout: float, as_json: bool
) -> None:
    """Write the proof that a transaction is in its block, with its result, for `quorum verify`.

    Where members may lie, a quorum of them has signed for it as soon as the state is certified, which is at every
    128th block; --certify orders empty requests until then. In crash mode nobody signs.
    """
    name = hash_of(hash)
    _give(output, as_json, *run_client(config, timeout, lambda client: _proven(client, name, "", certify)))


@command("query", "quorum ledger query stock/7")
@click.argument("path")
@click.option("--proof", type=_PATH, help="Write a proof here, and show what it proves.")
@click.option("--certify", is_flag=True, help="With --proof: as of now, signed; else of the newest signed state.")
@click.option("--hex", "as_hex", is_flag=True, help="Show the value in hexadecimal.")
@with_cluster
def query(
    path: str, proof: Path | None, certify: bool, as_hex: bool, config: Path | None, timeout: float, as_json: bool
) -> None:
    """Ask the ledger's application PATH. Exit 1 if there is nothing.

    The value is shown as the application says, where it does; else as text, or in hexadecimal if it is none. What
    would move a cursor or set a colour is escaped. A proof may be of an older state than the newest: of which one
    is said.
    """
    if proof is not None:
        if as_hex:
            raise click.UsageError("--hex was given with --proof, but a proof is a file. Leave one of them out.")
        proven, committee, newest = run_client(config, timeout, lambda client: _answer(client, path, certify))
        _give(proof, as_json, proven, committee, Asked(path, newest, config))
        return
    if certify:
        raise click.UsageError("--certify was given without --proof, but only proofs are signed. Name a file.")
    value: Value = run_client(config, timeout, lambda client: client.ledger.query(path))
    shown = value_shown(config, path, value.value or b"", as_hex)
    if as_json:
        known = {**shown.fields(), "value": None} if value.value is None else shown.fields()
        print_json({"path": path, "key": value.key.hex(), **known, "ledger": roots_fields(value.roots)})
    elif value.value is not None:
        click.echo(shown.line())
    else:
        click.echo(f"there is nothing under {path!r}", err=True)
    if value.value is None:
        raise AnswerNo


@command("blocks", "quorum ledger blocks --from 10 --limit 5")
@click.option("--from", "first", type=click.IntRange(min=0), help="The first one.  [default: of the newest]")
@click.option("--limit", type=click.IntRange(min=1, max=1000), default=BLOCKS_SHOWN, help="At most so many.")
@with_cluster
def blocks(first: int | None, limit: int, config: Path | None, timeout: float, as_json: bool) -> None:
    """List blocks, and the ledger's root."""

    async def ask(client: Client) -> Blocks:
        start = first
        if start is None:
            start = max(0, (await client.ledger.blocks(0, 1)).roots.number - limit + 1)
        return await client.ledger.blocks(start, limit)

    found: Blocks = run_client(config, timeout, ask)
    if as_json:
        listed = [header_fields(header) for header in found.headers]
        print_json({"blocks": listed, "first_kept": found.first, "ledger": roots_fields(found.roots)})
        return
    if found.headers:
        click.echo("block\ttransactions\ttime (UTC)\tdigest")
    for header in found.headers:
        click.echo(f"{header.number}\t{header.count}\t{time_text(header.time_us)}\t{header.digest().hex()}")
    kept = "" if found.first == 1 else f", kept from block {found.first} on"
    click.echo(f"{found.roots.number} blocks{kept}, root {found.roots.digest().hex()}")


@command("block", "quorum ledger block 7")
@click.argument("number", type=click.IntRange(min=1))
@with_cluster
def block(number: int, config: Path | None, timeout: float, as_json: bool) -> None:
    """Show a block: the hash of each of its transactions, and what became of it. Exit 1 if it is not kept."""

    async def ask(client: Client) -> Block:
        whole = await client.ledger.block(number)
        while whole.header is not None and len(whole.transactions) < whole.header.count:
            more = await client.ledger.block(number, len(whole.transactions))
            if not more.transactions:  # forgotten meanwhile
                return more
            whole = Block(whole.header, whole.transactions + more.transactions, whole.results + more.results)
        return whole

    found: Block = run_client(config, timeout, ask)
    if found.header is None:
        if as_json:
            print_json({"number": number, "block": None})
        else:
            click.echo(f"block {number} is not kept; see `quorum ledger blocks`", err=True)
        raise AnswerNo
    rows = [(transaction_hash(each).hex(), result) for each, result in zip(found.transactions, found.results)]
    if as_json:
        listed = [{"hash": name, **result_fields(result)} for name, result in rows]
        print_json({**header_fields(found.header), "transactions": listed})
        return
    for name, result in rows:
        click.echo(f"{name}\t{result_text(result)}")


for _each in (submit, get, prove, query, blocks, block, import_):
    ledger.add_command(_each)


def hash_of(text: str) -> bytes:
    """The hash that an argument gives. Raises ConfigurationError."""
    try:
        name = bytes.fromhex(text)
    except ValueError:
        name = b""
    if len(name) != 32:
        raise ConfigurationError(
            f"{text[:70]!r} was given as the hash of a transaction, but one has 64 digits 0-9 a-f. Take it from "
            "`quorum ledger submit`, or from `b2sum -l 256` over the transaction."
        )
    return name


Proven = tuple[LedgerProof, Committee | None]


async def _proven(client: Client, name: bytes, path: str, certify: bool) -> Proven:
    source = client.proof_source
    proof = client.ledger.prove(name, certify) if name else client.ledger.prove_query(path, certify)
    return await proof, None if source is None else source.committee()


async def _answer(client: Client, path: str, certify: bool) -> tuple[LedgerProof, Committee | None, int]:
    proof, committee = await _proven(client, b"", path, certify)
    return proof, committee, (await client.ledger.blocks(0, 1)).roots.number


def _give(
    output: Path | None,
    as_json: bool,
    proof: LedgerProof,
    committee: Committee | None,
    asked: Asked | None = None,
) -> None:
    """Write a proof, and say what it proves; standard output gets one of them."""
    document = encode_ledger_proof(proof) + b"\n"
    audit = judge_ledger(proof, committee if proof.anchor is not None else None, proof.roots.digest())
    if output is None:
        sys.stdout.buffer.write(document)
        sys.stdout.buffer.flush()
        return
    write_whole(output, document, "the proof")
    if as_json:
        print_json({"proof": str(output), "signed": audit.signed, "root": audit.root, **_subject(audit, asked)})
        return
    said = proven_lines(audit) if asked is None else asked.lines(audit)
    for line in said:
        click.echo(plain(line))
    if committee is not None and not audit.signed:
        click.echo("no state that holds it is certified yet: ask again later, or with --certify", err=True)


def _subject(audit: LedgerAudit, asked: Asked | None) -> dict[str, Any]:
    if asked is not None:
        return asked.fields(audit)
    return {"hash": audit.transaction, "block": audit.number, "place": audit.place, "done": audit.code == DONE}


def _show_check(checked: Checked, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "hash": checked.hash.hex(),
                "admitted": not checked.reason,
                "reason": checked.reason,
                "message": checked.message,
                "block": checked.number,
            }
        )
    elif checked.number:
        click.echo(f"{checked.hash.hex()} is in block {checked.number} already")
    else:
        click.echo(f"{checked.hash.hex()} {checked.message or 'would be admitted'}")
    if checked.reason:
        raise AnswerNo
