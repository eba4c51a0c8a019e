"""The ledger: blocks, receipts, hooks that refuse and raise, what is forgotten, and snapshots."""

from __future__ import annotations

import re
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps_log import header
from quorum.apps.batch import Refused
from quorum.apps.ledger import (
    TRANSACTION_BYTES_MAX,
    Block,
    Blocks,
    Check,
    Checked,
    Found,
    GetBlock,
    GetBlocks,
    GetTransaction,
    Look,
    Receipt,
    Value,
    decode_results,
    encode_batch,
    encode_query,
)
from quorum.apps.ledger_application import LedgerApplication, Refusal
from quorum.apps.ledger_carried import CarriedLedger
from quorum.apps.ledger_machine import LedgerMachine
from quorum.apps.pieces import digests_of
from quorum.certificate.ledger_block import DONE, FAILED, TransactionResult, transaction_hash

APP = 4
THREE_PARTS = re.compile(r".+, but .+[^.]\. [A-Z].+\.")
"""What was asked, why it cannot be, what to do."""


class Register(LedgerApplication):
    """Transactions such as b"k=v" write; the first letter says which hook misbehaves."""

    def begin(self, state):
        state.put(b"genesis", b"here")

    def check(self, transaction, state):
        if transaction.startswith(b"bad"):
            raise Refusal("bad", "a bad transaction was sent, and none is taken. Send a good one.")
        if transaction.startswith(b"CHECK"):
            raise KeyError(transaction)

    def prepare(self, transactions, state):
        if b"PREPARE" in transactions:
            return [0, 0]
        if b"STRANGE" in transactions:
            return [len(transactions)]
        return [place for place, each in enumerate(transactions) if each != b"omit"]

    def process(self, block, transactions, state):
        if b"PROCESS" in transactions:
            raise Refusal("whole", "the block was to hold PROCESS, which it must not. Leave it out.")

    def execute(self, block, transaction, state):
        key, _, value = transaction.partition(b"=")
        state.put(key or b"?", value)
        if transaction.startswith(b"fail"):
            raise ValueError(f"{{'no': {object()}}}")
        if transaction.startswith(b"deep"):
            return self.execute(block, transaction, state)
        return b"TEXT" if transaction != b"TEXT" else "text"

    def commit(self, block):
        if block.count == 13:
            raise RuntimeError("thirteen")

    def query(self, path, state):
        if path == "RAISE":
            raise Refusal("path", "no such question")
        return b"" if path == "" else path.encode()


def do(ledger, index, *transactions):
    return decode_results(ledger.apply(header(index), encode_batch(transactions)).reply)


def ask(ledger, *questions):
    return decode_results(ledger.query(encode_query(questions)))


def receipt(transaction, number, place, data=b"TEXT", code=DONE, first=True):
    return Receipt(transaction_hash(transaction), number, place, TransactionResult(code, data), first)


def test_each_batch_makes_a_block_and_blocks_name_each_other():
    ledger = LedgerMachine(Register())
    assert do(ledger, 1, b"a=1", b"b=2") == [receipt(b"a=1", 1, 0), receipt(b"b=2", 1, 1)]
    assert do(ledger, 2, b"c=3") == [receipt(b"c=3", 2, 0)]
    (blocks,) = ask(ledger, GetBlocks(1))
    assert isinstance(blocks, Blocks)
    one, two = blocks.headers
    assert (one.number, two.number, one.count, two.parent) == (1, 2, 2, one.digest())
    assert blocks.roots.head == two.digest()
    assert blocks.roots.state_root == two.state_root == ledger.state.root
    assert ask(ledger, GetBlock(1), GetBlock(3), GetBlock(1, 1)) == [
        Block(one, [b"a=1", b"b=2"], [TransactionResult(DONE, b"TEXT")] * 2),
        Block(None, [], []),
        Block(one, [b"b=2"], [TransactionResult(DONE, b"TEXT")]),
    ]


def test_a_transaction_is_named_by_its_blake2b_hash_and_found_by_it():
    ledger = LedgerMachine(Register())
    do(ledger, 1, b"a=1")
    name = blake2b(b"a=1", digest_size=32).digest()
    found, absent = ask(ledger, GetTransaction(name), GetTransaction(bytes(32)))
    assert found == Found(b"a=1", receipt(b"a=1", 1, 0, first=False))
    assert absent == Found(None, None)


def test_a_transaction_that_comes_again_is_not_executed_again():
    ledger = LedgerMachine(Register())
    assert do(ledger, 1, b"a=1", b"a=1") == [receipt(b"a=1", 1, 0), receipt(b"a=1", 1, 0, first=False)]
    root = ledger.digest()
    assert do(ledger, 2, b"a=1") == [receipt(b"a=1", 1, 0, first=False)]
    assert ledger.digest() == root


def test_what_is_not_admitted_is_in_no_block():
    ledger = LedgerMachine(Register())
    refused, stands, raised = do(ledger, 1, b"bad", b"a=1", b"CHECK")
    assert (refused.reason, raised.reason) == ("bad", "KeyError")
    assert stands == receipt(b"a=1", 1, 0)
    large = do(ledger, 2, bytes(TRANSACTION_BYTES_MAX + 1))
    assert large[0].reason == "size"
    assert ledger.chain.number == 1


def test_a_transaction_that_fails_is_in_its_block_and_changes_nothing():
    ledger = LedgerMachine(Register())
    failed, done = do(ledger, 1, b"fail=1", b"a=1")
    assert (failed.number, failed.result.code, done.result.code) == (1, FAILED, DONE)
    assert failed.result.data == b"ValueError: {'no': <object object at 0x>}"
    assert ledger.state.get(b"fail") is None
    (text,) = do(ledger, 2, b"TEXT")
    assert text.result.code == FAILED and text.result.data.startswith(b"TypeError")
    (deep,) = do(ledger, 3, b"deep")
    assert deep.result == TransactionResult(
        FAILED, b"RecursionError: the command recursed too deeply. Send a flatter one."
    )


@pytest.mark.parametrize(
    ("spoiler", "reason"),
    [(b"PREPARE", "ValueError"), (b"STRANGE", "ValueError"), (b"PROCESS", "whole")],
)
def test_a_hook_that_refuses_or_misbehaves_undoes_the_whole_block(spoiler, reason):
    ledger = LedgerMachine(Register())
    do(ledger, 1, b"z=0")
    root = ledger.digest()
    answers = do(ledger, 2, b"a=1", spoiler)
    assert [each.reason for each in answers] == [reason, reason]
    assert ledger.digest() == root
    assert do(ledger, 3, b"a=1") == [receipt(b"a=1", 2, 0)]


def test_commit_has_the_last_word():
    ledger = LedgerMachine(Register())
    root = ledger.digest()
    answers = do(ledger, 1, *(b"%d=1" % number for number in range(13)))
    assert {each.reason for each in answers} == {"RuntimeError"}
    assert ledger.digest() == root


def test_what_prepare_leaves_out_is_refused_to_its_sender():
    ledger = LedgerMachine(Register())
    left, stands = do(ledger, 1, b"omit", b"a=1")
    assert left.reason == "left-out" and stands == receipt(b"a=1", 1, 0)
    assert [each.reason for each in do(ledger, 2, b"omit")] == ["left-out"]
    assert ledger.chain.number == 1


def test_a_batch_with_more_than_a_block_may_hold_is_refused_whole():
    ledger = LedgerMachine(Register())
    answers = do(ledger, 1, *(b"%d=1" % number for number in range(1025)))
    assert {each.reason for each in answers} == {"batch"} and len(answers) == 1025
    assert ledger.chain.number == 0


def test_what_cannot_be_shown_is_told_all_the_same():
    class Odd(LedgerApplication):
        def check(self, transaction, state):
            raise Refusal("\ud800", "\udfff")

    assert do(LedgerMachine(Odd()), 1, b"a") == [Refused("?", "?")]


def test_a_question_on_which_the_application_fails_gets_an_answer_that_says_what_to_do():
    class Fails(Register):
        def query(self, path, state):
            raise ValueError("no such page")

    (refused,) = ask(LedgerMachine(Fails()), Look("page/7"))
    assert refused.reason == "ValueError"
    assert refused.message == (
        "'page/7' was asked, but the application's query fails on it: no such page. Ask another, or correct the "
        "application."
    )


class Gives(LedgerApplication):
    """Gives what it is told to as the results of a block, and as a key."""

    def __init__(self, results=(), key=b""):
        self.results, self.key = results, key

    def finalize(self, block, transactions, state):
        return self.results

    def query(self, path, state):
        return self.key


@pytest.mark.parametrize(
    ("application", "transactions", "words"),
    [
        (Register(), [b"PREPARE", b"a"], "chose a transaction twice"),
        (Register(), [b"STRANGE"], "chose transactions that are not there"),
        (Register(), [b"omit"], "left it out of the block"),
        (Register(), [b"omit", b"a=1"], "left it out of the block"),
        (Register(), [b"x" * (TRANSACTION_BYTES_MAX + 1)], "Record the digest"),
        (Register(), [b"%d=1" % number for number in range(1025)], "more than the 1024"),
        (Gives(["done"]), [b"a"], "no TransactionResult"),
        (Gives([TransactionResult(9, b"")]), [b"a"], "no TransactionResult"),
        (Gives([TransactionResult(DONE, "text")]), [b"a"], "are no bytes"),
        (Gives([TransactionResult(DONE, bytes(4097))]), [b"a"], "a result of 4097 bytes, and 4096"),
        (Gives([TransactionResult(DONE, b"")] * 2), [b"a"], "gave 2 results for 1 transactions"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_the_ledger_itself_refuses_is_told_in_three_parts(application, transactions, words):
    """And the same on every replica: a second one gives the same bytes."""
    ledger, other = LedgerMachine(application), LedgerMachine(application)
    body = encode_batch(transactions)
    reply = ledger.apply(header(1), body).reply
    refused = decode_results(reply)[0]
    assert isinstance(refused, Refused) and words in refused.message
    assert THREE_PARTS.fullmatch(refused.message), refused.message
    assert reply == other.apply(header(1), body).reply


def test_questions_that_the_ledger_refuses_are_told_in_three_parts(monkeypatch):
    for key in ("text", bytes(513)):
        (refused,) = ask(LedgerMachine(Gives(key=key)), Look("page/7"))
        assert refused.reason == "key" and THREE_PARTS.fullmatch(refused.message), refused.message
    ledger = LedgerMachine(Register())
    (long,) = ask(ledger, Look("x" * 600))
    monkeypatch.setattr("quorum.apps.ledger_reads.READ_BYTES_MAX", 1)
    _, late = ask(ledger, Look("a"), Look("b"))
    for refused, reason in ((long, "path"), (late, "read")):
        assert refused.reason == reason and THREE_PARTS.fullmatch(refused.message), refused.message


def test_a_malformed_element_spoils_only_itself():
    import msgspec

    ledger = LedgerMachine(Register())
    number, stands = decode_results(ledger.apply(header(1), msgspec.msgpack.encode([5, b"a=1"])).reply)
    assert number.reason == "malformed" and stands == receipt(b"a=1", 1, 0)
    assert ask(ledger, "x")[0].reason == "malformed"


def test_checking_changes_nothing_and_says_what_submitting_would():
    ledger = LedgerMachine(Register())
    do(ledger, 1, b"a=1")
    root = ledger.digest()
    good, bad, there = ask(ledger, Check(b"b=2"), Check(b"bad"), Check(b"a=1"))
    assert good == Checked(transaction_hash(b"b=2"), "", "", 0)
    assert (bad.reason, bad.number) == ("bad", 0)
    assert there.number == 1
    assert ledger.digest() == root


def test_a_question_is_answered_from_the_state_and_one_that_is_none_is_refused():
    ledger = LedgerMachine(Register())
    do(ledger, 1, b"a=1")
    value, absent, begun, refused, long = ask(
        ledger, Look("a"), Look("b"), Look("genesis"), Look("RAISE"), Look("x" * 600)
    )
    assert value == Value(b"a", b"1", ledger.roots)
    assert (absent.value, begun.value) == (None, b"here")
    assert (refused.reason, long.reason) == ("path", "path")


def test_the_oldest_blocks_are_forgotten_and_the_newest_never():
    ledger = LedgerMachine(Register(), transactions_max=3)
    for number in range(1, 6):
        do(ledger, number, b"%d=1" % number)
    (blocks,) = ask(ledger, GetBlocks(0))
    assert (blocks.first, [each.number for each in blocks.headers]) == (3, [3, 4, 5])
    assert ask(ledger, GetTransaction(transaction_hash(b"1=1"))) == [Found(None, None)]
    do(ledger, 6, *(b"more %d" % number for number in range(9)))
    assert (ledger.chain.first, ledger.chain.number, len(ledger.chain)) == (6, 6, 9)
    small = LedgerMachine(Register(), bytes_max=10)
    do(small, 1, b"a=1")
    do(small, 2, b"b=1")
    assert (small.chain.first, small.chain.number) == (2, 2)


TRANSACTIONS = st.lists(
    st.lists(
        st.sampled_from([b"a=1", b"a=2", b"b=1", b"bad", b"fail", b"omit", b"PROCESS", b"=x", b"c="]), max_size=5
    ),
    max_size=8,
)


@given(batches=TRANSACTIONS, cut=st.integers(0, 8))
def test_replicas_agree_also_when_one_of_them_was_restored(batches, cut):
    one, other = LedgerMachine(Register(), transactions_max=6), LedgerMachine(Register(), transactions_max=6)
    for index, batch in enumerate(batches, 1):
        assert do(one, index, *batch) == do(other, index, *batch)
        if index == cut:
            restored = LedgerMachine(Register(), transactions_max=6)
            restored.restore(one.snapshot())
            one = restored
        assert one.digest() == other.digest() == one.roots.digest()
        assert told(one.chunk_digests()) == [digests_of(chunk) for chunk in other.snapshot()]
    assert list(one.snapshot()) == list(other.snapshot())


def told(slices):
    return [digests for digests in slices if digests]


def test_the_digests_of_a_pinned_ledger_are_not_changed_by_what_comes_later():
    ledger = LedgerMachine(Register(), transactions_max=40)
    for number in range(1, 60):
        do(ledger, number, b"%d=1" % number)
    expected = [digests_of(chunk) for chunk in ledger.snapshot()]
    slices = ledger.chunk_digests()
    assert [next(slices) for _ in range(3)] == expected[:3]
    for number in range(60, 120):
        do(ledger, number, b"%d=1" % number)
    later = told(ledger.chunk_digests())
    assert expected[3:] == told(slices)
    assert later == told(ledger.chunk_digests()) == [digests_of(chunk) for chunk in ledger.snapshot()]


def test_to_compute_digests_is_cut_into_slices_also_where_they_are_known():
    ledger = LedgerMachine(Register())
    for number in range(1, 2_500):
        do(ledger, number, b"%d=1" % number)
    for _ in range(2):
        assert list(ledger.chunk_digests()).count(b"") >= 2


def test_a_snapshot_stays_as_it_was_and_a_damaged_one_changes_nothing():
    ledger = LedgerMachine(Register())
    do(ledger, 1, *(b"%d=1" % number for number in range(1000)))
    do(ledger, 2, *(b"%d=2%0200d" % (number, 0) for number in range(1000)))
    pinned, root = ledger.snapshot(), ledger.digest()
    do(ledger, 3, b"a=1")
    chunks = list(pinned)
    assert len(chunks) > 3
    restored = LedgerMachine(Register())
    restored.restore(chunks)
    assert restored.digest() == root
    for damaged in (chunks[1:], chunks[:-1], [*chunks, chunks[-1]], [chunks[0], *chunks[2:]], [b"x", *chunks]):
        with pytest.raises(ValueError, match="Fetch another"):
            restored.restore(damaged)
        assert restored.digest() == root
    altered = chunks[-1].replace(b"999=2", b"999=3")
    with pytest.raises(ValueError, match="altered"):
        restored.restore([*chunks[:-1], altered])


def test_a_ledger_is_carried_where_its_application_is_not():
    ledger = LedgerMachine(Register())
    do(ledger, 1, b"a=1")
    carried, empty = CarriedLedger(), CarriedLedger()
    carried.restore(ledger.snapshot())
    restored = LedgerMachine(Register())
    restored.restore(carried.snapshot())
    assert restored.digest() == ledger.digest()
    empty.restore(())
    assert list(empty.snapshot()) == []
    with pytest.raises(ValueError, match="Fetch another"):
        carried.restore([b"x"])


def test_a_version_is_there_as_long_as_it_is_among_the_newest():
    ledger = LedgerMachine(Register())
    do(ledger, 1, b"a=1")
    root = ledger.digest()
    do(ledger, 2, b"a=2")
    assert ledger.version(root).state.get(b"a") == b"1"
    for index in range(3, 140):
        do(ledger, index, b"n=%d" % index)
        ledger.digest()
    assert ledger.version(root) is None


def test_a_refused_answer_is_no_receipt():
    assert isinstance(do(LedgerMachine(Register()), 1, b"bad")[0], Refused)
