"""What people read of a ledger: transactions, receipts, proofs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from quorum.apps.ledger import Receipt
from quorum.certificate.ledger_audit import LedgerAudit
from quorum.certificate.ledger_block import DONE, LedgerHeader, LedgerRoots, TransactionResult
from quorum.console.command import is_code, text_of
from quorum.console.signers import signers_text

SHOWN_MAX = 200


def time_text(time_us: int) -> str:
    """A block's time in UTC, to the millisecond; microseconds where no calendar has it."""
    try:
        return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    except (OverflowError, OSError, ValueError):
        return f"{time_us} us"


def receipt_line(receipt: Receipt) -> str:
    """A receipt in one line."""
    when = "now" if receipt.first else "before"
    said = result_text(receipt.result)
    return f"{receipt.hash.hex()} block {receipt.number} place {receipt.place}, put there {when}: {said}"


def result_text(result: TransactionResult) -> str:
    """What became of a transaction."""
    text = _said(result.data)
    if result.code == DONE:
        return f"done, {text}" if text else "done"
    message = _apart(text)[1]
    return f"failed: {message}" if message else "failed"


def receipt_fields(receipt: Receipt) -> dict[str, Any]:
    """A receipt for programs."""
    return {
        "hash": receipt.hash.hex(),
        "block": receipt.number,
        "place": receipt.place,
        "first": receipt.first,
        **result_fields(receipt.result),
    }


def result_fields(result: TransactionResult) -> dict[str, Any]:
    """A result for programs; of one that failed `reason` is the word by which it begins, where it does."""
    data, encoding = text_of(result.data)
    fields = {"done": result.code == DONE, "data": data, "encoding": encoding}
    if result.code != DONE:
        fields["reason"] = _apart(data)[0] if encoding == "text" else ""
    return fields


def _apart(text: str) -> tuple[str, str]:
    """Of "taken: a key was ...", as a failed result says it, the word for programs and the text for people."""
    code, colon, message = text.partition(": ")
    return (code, message) if colon and is_code(code) else ("", text)


def header_fields(header: LedgerHeader) -> dict[str, Any]:
    """A block for programs."""
    return {
        "number": header.number,
        "time_us": header.time_us,
        "count": header.count,
        "digest": header.digest().hex(),
        "parent": header.parent.hex(),
        "transactions_root": header.transactions_root.hex(),
        "results_root": header.results_root.hex(),
        "state_root": header.state_root.hex(),
    }


def roots_fields(roots: LedgerRoots) -> dict[str, Any]:
    """A whole ledger for programs."""
    return {
        "root": roots.digest().hex(),
        "number": roots.number,
        "head": roots.head.hex(),
        "state_root": roots.state_root.hex(),
        "blocks_root": roots.blocks_root.hex(),
    }


def lines_of(audit: LedgerAudit) -> list[str]:
    """What a proof says, and whether it holds."""
    verdict = "valid" if audit.valid else "not valid"
    if audit.subject == "transaction":
        what = f"transaction {audit.transaction} in block {audit.number}, place {audit.place}, of"
    else:
        what = f"{value_text(audit)}, in"
    lines = [f"{verdict}: {what} the ledger with {audit.ledger_number} blocks"]
    if audit.valid:
        lines += proven_lines(audit)
    return lines + [f"  {reason}" for reason in audit.reasons]


def proven_lines(audit: LedgerAudit) -> list[str]:
    """What became of a transaction, or what is claimed of a value; and who signed."""
    if audit.subject == "transaction":
        result = TransactionResult(audit.code or DONE, bytes.fromhex(audit.data or ""))
        return [result_text(result), _who_signed(audit)]
    claim = f"claimed, not proven: that this key answers {(audit.question or '')[:SHOWN_MAX]!r}"
    return ["this is the key demanded" if audit.key_demanded else claim, _who_signed(audit)]


def value_text(audit: LedgerAudit) -> str:
    """What is under a key of the state. The key is hexadecimal, as `quorum verify --key` takes it."""
    if audit.value is None:
        return f"key {audit.key} holds nothing"
    return f"key {audit.key} holds {_said(bytes.fromhex(audit.value)) or 'an empty value'}"


def _who_signed(audit: LedgerAudit) -> str:
    if not audit.signed:
        signatures = "signatures were not looked at" if audit.signers else "nobody signed it"
        return f"{signatures}; it holds in the ledger of root {audit.root}"
    return f"signed by {signers_text(audit.signers)}, with block {audit.sequence} of cluster {audit.cluster}"


def _said(data: bytes) -> str:
    return text_of(data)[0][:SHOWN_MAX]
