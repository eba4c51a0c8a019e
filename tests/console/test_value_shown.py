"""A value of the ledger's state, as `quorum ledger query` shows it."""

from __future__ import annotations

import pytest

from quorum.apps.transfers import Transfers
from quorum.certificate.ledger_audit import LedgerAudit
from quorum.console.command import text_of
from quorum.console.value_shown import Asked, value_shown

ACCOUNT = (45).to_bytes(8) + (1).to_bytes(8)
REGISTER = """
from quorum.apps.ledger_application import LedgerApplication


class Register(LedgerApplication):
    @classmethod
    def shown(cls, path, value):
        if path == "broken":
            raise ValueError("no")
        return 5 if path == "odd" else f"\\x1b[2J{path} is {value.decode()}" if path == "bell" else ""
"""


@pytest.fixture
def config(run, tmp_path):
    """A cluster.toml that names the class above."""
    folder = tmp_path / "c"
    assert run("init", "--folder", folder, "--nodes", 1).exit_code == 0
    file = folder / "cluster.toml"
    file.write_text('ledger = "shown_register:Register"\n' + file.read_text())
    (folder / "shown_register.py").write_text(REGISTER)
    return file


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (b"", "", "text"),
        ("zwölf\n\tMöwen".encode(), "zwölf\n\tMöwen", "text"),
        (b"\x1b[2J", "\x1b[2J", "text"),
        (ACCOUNT, ACCOUNT.hex(), "hex"),
        (b"\x7f", "7f", "hex"),
        (b"\xff", "ff", "hex"),
    ],
)
def test_only_what_is_text_is_shown_as_text(data, text, encoding):
    assert text_of(data) == (text, encoding)


def test_an_application_says_how_people_read_a_value(config):
    shown = value_shown(config, "bell", b"ada")
    assert shown.line() == "\\x1b[2Jbell is ada", "it moves no cursor"
    assert shown.fields() == {"value": "ada", "encoding": "text", "shown": "\x1b[2Jbell is ada"}
    assert value_shown(config, "bell", b"ada", as_hex=True).line() == b"ada".hex()
    for path in ("other", "odd", "broken"):
        assert value_shown(config, path, b"ada").fields() == {"value": "ada", "encoding": "text"}


def test_without_the_class_a_value_is_shown_as_it_is(config, tmp_path):
    (config.parent / "none.toml").write_text("")
    for file in (config.parent / "none.toml", tmp_path / "nowhere.toml"):
        assert value_shown(file, "bell", b"ada").line() == "ada"


def test_an_account_of_transfers_is_read_as_balance_and_nonce():
    assert Transfers.shown("balance/00", ACCOUNT) == "balance 45, nonce 1"


@pytest.mark.parametrize(("newest", "says"), [(9, "as of ledger block 7 of 9: what came"), (7, "block 7 of 7")])
def test_a_proof_says_of_which_state_it_is_and_has_the_value_as_a_query_has_it(newest, says, config):
    audit = LedgerAudit(
        "ledger", True, True, (), "aa", 7, "value", question="bell", key="00", value=b"ada".hex(), signers=("n1",)
    )
    asked = Asked("bell", newest, config)
    fields = asked.fields(audit)
    assert (fields["value"], fields["encoding"], fields["number"], fields["newest"]) == ("ada", "text", 7, newest)
    *_, age = asked.lines(audit)
    assert says in age and ("--certify" in age) is (newest > 7)
    empty = LedgerAudit("ledger", True, False, (), "aa", 7, "value", question="no", key="00", value=None)
    assert asked.fields(empty)["value"] is None
