"""The example application: tokens move, and none comes or goes."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from apps_log import header
from quorum.apps.ledger import Look, Receipt, decode_results, encode_batch, encode_query
from quorum.apps.ledger_machine import LedgerMachine
from quorum.apps.transfers import COLUMNS, TRANSFER_BYTES, Transfers, account, account_in, signed_transfer
from quorum.certificate.ledger_block import DONE

KEYS = [SigningKey(blake2b(bytes([number]), digest_size=32).digest()) for number in range(4)]
NAMES = [bytes(key.verify_key) for key in KEYS]


class Coins(Transfers):
    genesis = {NAMES[0].hex(): 100, NAMES[1].hex(): 20}
    name = "coins"


def transfer(sender, receiver, amount, nonce, by=None, ledger="coins"):
    key = KEYS[sender if by is None else by]
    return signed_transfer(
        NAMES[sender], NAMES[receiver], amount, nonce, lambda message: key.sign(message).signature, ledger
    )


def do(ledger, index, *transactions):
    return decode_results(ledger.apply(header(index), encode_batch(transactions)).reply)


def reasons(answers):
    return [
        ("" if each.result.code == DONE else each.result.data.decode().partition(":")[0])
        if isinstance(each, Receipt)
        else each.reason
        for each in answers
    ]


def balances(ledger):
    return [account(ledger.state, name)[0] for name in NAMES]


def test_tokens_move_as_their_holders_sign():
    ledger = LedgerMachine(Coins())
    assert balances(ledger) == [100, 20, 0, 0]
    answers = do(ledger, 1, transfer(0, 2, 30, 0), transfer(0, 3, 5, 1), transfer(2, 1, 10, 0))
    assert reasons(answers) == ["", "", ""]
    assert balances(ledger) == [65, 30, 20, 5]
    (value,) = decode_results(ledger.query(encode_query([Look("balance/" + NAMES[0].hex())])))
    assert account_in(value.value) == (65, 2)


def test_a_question_about_what_is_no_account_is_refused_and_says_what_to_ask():
    ledger = LedgerMachine(Coins())
    for path in ("balance/abc", "balance", "stock/7"):
        (refused,) = decode_results(ledger.query(encode_query([Look(path)])))
        assert refused.reason == "path" and f"'{path}' was asked, but" in refused.message
        assert "Ask balance/KEY" in refused.message or "Ask that" in refused.message


def test_what_the_holder_did_not_sign_is_not_admitted():
    ledger = LedgerMachine(Coins())
    honest = transfer(0, 2, 30, 0)
    altered = honest[:71] + bytes([honest[71] ^ 1]) + honest[72:]
    answers = do(
        ledger,
        1,
        transfer(0, 2, 30, 0, by=2),
        transfer(0, 2, 30, 0, ledger="another"),
        altered,
        honest[:-1],
        transfer(0, 0, 5, 0),
        transfer(0, 1, 0, 0),
    )
    assert reasons(answers) == ["signature", "signature", "signature", "malformed", "amount", "amount"]
    assert ledger.chain.number == 0


def test_a_transfer_is_executed_once_and_in_its_turn():
    ledger = LedgerMachine(Coins())
    first = transfer(0, 2, 30, 0)
    assert reasons(do(ledger, 1, first, transfer(0, 2, 1, 2))) == ["", "left-out"]
    assert reasons(do(ledger, 2, transfer(0, 3, 30, 0))) == ["nonce"]
    (again,) = do(ledger, 3, first)
    assert not again.first
    assert reasons(do(ledger, 4, transfer(0, 2, 1, 2), transfer(0, 3, 2, 1))) == ["", ""]
    assert balances(ledger) == [67, 20, 31, 2]


def test_a_transfer_of_more_than_there_is_fails_and_uses_up_its_nonce():
    ledger = LedgerMachine(Coins())
    too_much = transfer(0, 1, 1000, 0)
    assert reasons(do(ledger, 1, too_much)) == ["funds"]
    assert reasons(do(ledger, 2, too_much)) == ["funds"]
    assert reasons(do(ledger, 3, transfer(0, 1, 10, 1))) == [""]
    assert balances(ledger) == [90, 30, 0, 0]


MOVES = st.lists(
    st.lists(
        st.builds(
            transfer,
            st.integers(0, 3),
            st.integers(0, 3),
            st.sampled_from([0, 1, 7, 20, 101, 2**63 - 1, 2**63]),
            st.integers(0, 3),
            st.none() | st.integers(0, 3),
        ),
        max_size=6,
    ),
    max_size=8,
)


@settings(deadline=None)
@given(batches=MOVES)
def test_no_token_comes_or_goes_and_replicas_agree_whatever_is_sent(batches):
    one, other = LedgerMachine(Coins()), LedgerMachine(Coins())
    for index, batch in enumerate(batches, 1):
        assert do(one, index, *batch) == do(other, index, *batch)
        assert sum(balances(one)) == 120
        assert min(balances(one)) >= 0
        assert one.digest() == other.digest()


def test_a_row_of_a_file_is_a_transfer_or_says_what_is_wrong_with_it():
    signed = transfer(0, 2, 30, 0)
    row = dict(
        zip(COLUMNS, (NAMES[0].hex(), NAMES[2].hex(), "30", "0", signed[TRANSFER_BYTES - 64 :].hex()), strict=True)
    )
    assert Coins.transaction_of(row) == signed and Coins.columns == COLUMNS
    assert Coins.account_of({**row, "sender": row["sender"].upper()}) == NAMES[0].hex()
    for column, wrong in (
        ("sender", "ab"),
        ("receiver", "x" * 64),
        ("amount", "-1"),
        ("amount", "1e3"),
        ("amount", "9" * 19),
        ("nonce", "٣"),
        ("signature", "00"),
        ("amount", ""),
    ):
        with pytest.raises(ValueError, match=column):
            Coins.transaction_of({**row, column: wrong})


@pytest.mark.parametrize("genesis", [{"ab": 1}, {NAMES[0].hex(): -1}, {name.hex(): 2**62 for name in NAMES}])
def test_a_genesis_that_cannot_be_is_refused(genesis):
    class Bad(Transfers):
        pass

    Bad.genesis = genesis
    with pytest.raises(ValueError):
        LedgerMachine(Bad())


def test_who_is_left_out_is_not_told_that_sending_it_again_is_enough():
    """Of two transfers with one nonce the other one is executed: this one never is."""
    from quorum.apps.ledger_machine import _LEFT_OUT

    assert "another has its place, such as its nonce" in _LEFT_OUT.message
    assert "Send it again" not in _LEFT_OUT.message
