"""What people and programs read of a ledger's results."""

from __future__ import annotations

import pytest

from quorum.certificate.ledger_block import DONE, FAILED, TransactionResult
from quorum.console.ledger_shown import result_fields, result_text, time_text


@pytest.mark.parametrize(
    ("code", "data", "text", "reason"),
    [
        (DONE, b"", "done", ""),
        (DONE, b"taken: by ada", "done, taken: by ada", ""),
        (FAILED, b"", "failed", ""),
        (FAILED, b"taken: a key is there. Choose another.", "failed: a key is there. Choose another.", "taken"),
        (FAILED, b"left-out: it waits: really.", "failed: it waits: really.", "left-out"),
        (FAILED, b"ValueError: it fails", "failed: ValueError: it fails", ""),
        (FAILED, b"a key is there: choose another", "failed: a key is there: choose another", ""),
        (FAILED, b"no colon", "failed: no colon", ""),
        (FAILED, b"\xff", "failed: ff", ""),
    ],
)
def test_a_word_for_programs_is_told_to_programs_alone(code, data, text, reason):
    """What is recorded stays as it is: it is part of the block."""
    result = TransactionResult(code, data)
    assert result_text(result) == text
    fields = result_fields(result)
    assert fields.get("reason", "") == reason and ("reason" in fields) is (code == FAILED)
    assert fields["data"] == (data.decode() if data != b"\xff" else "ff")


def test_a_block_s_time_is_shown_as_people_read_it():
    assert time_text(1_700_000_000_123_456) == "2023-11-14 22:13:20.123"
    assert time_text(2**62) == f"{2**62} us"
