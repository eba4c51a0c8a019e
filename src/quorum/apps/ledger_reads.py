"""What a ledger answers to questions: none of them changes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorum.apps.batch import MESSAGE_CHARS_MAX, BatchDecoder, Refused
from quorum.apps.ledger import (
    LIST_BLOCKS_MAX,
    PATH_BYTES_MAX,
    READ_BYTES_MAX,
    Answer,
    Block,
    Blocks,
    Check,
    Checked,
    Found,
    GetBlock,
    GetBlocks,
    GetTransaction,
    Look,
    Question,
    Value,
    encode_answers,
)
from quorum.apps.ledger_application import KEY_BYTES_MAX, LedgerState, Refusal, said_of
from quorum.certificate.ledger_block import TransactionResult, transaction_hash
from quorum.entry import Buffer

if TYPE_CHECKING:
    from quorum.apps.ledger_machine import LedgerMachine

BLOCK_BYTES = 256
_QUESTIONS: BatchDecoder[Question] = BatchDecoder(Question)
_NO_ROOM = Refused(
    "read", "a question was asked together with others, but there was no room left for its answer. Ask it alone."
)


def answers_of(ledger: LedgerMachine, body: Buffer) -> bytes:
    """The answers to a batch of questions; those that do not fit any more are refused ("read")."""
    answers: list[Answer] = []
    room = READ_BYTES_MAX
    for question in _QUESTIONS.decode(body):
        if room <= 0 and answers:
            answers.append(_NO_ROOM)
            continue
        answer = question if isinstance(question, Refused) else _answered(ledger, question, room)
        room -= len(encode_answers([answer]))
        answers.append(answer)
    return encode_answers(answers)


def key_of(ledger: LedgerMachine, path: str) -> bytes | Refused:
    """The key of the application's state that answers the question `path`."""
    if len(path.encode("utf-8", "replace")) > PATH_BYTES_MAX:
        return Refused("path", f"a question was asked, but it has more than {PATH_BYTES_MAX} bytes. Shorten it.")
    try:
        key = ledger.application.query(path, LedgerState(ledger.state))
    except MemoryError:
        raise
    except Refusal as error:
        return Refused(*said_of(error))
    except Exception as error:
        kind, said = said_of(error)
        told = (
            f"{path[:60]!r} was asked, but the application's query fails on it: {said[: MESSAGE_CHARS_MAX // 2]}. "
        )
        return Refused(kind, f"{told}Ask another, or correct the application.")
    if type(key) is not bytes or len(key) > KEY_BYTES_MAX:
        told = f"{path[:60]!r} was asked, but the application's query answers with no key of its state. "
        return Refused(
            "key", f"{told}Ask another, or correct the application: a key is bytes, {KEY_BYTES_MAX} at most."
        )
    return key


def _answered(ledger: LedgerMachine, question: Question, room: int) -> Answer:
    match question:
        case Check(transaction):
            refusal, name = ledger.refusal(transaction), transaction_hash(transaction)
            number, _ = ledger.chain.place(name) or (0, 0)
            said = ("", "") if refusal is None or number else (refusal.reason, refusal.message)
            return Checked(name, *said, number)
        case GetTransaction(name):
            return _found(ledger, name)
        case GetBlocks(first, limit):
            return _blocks(ledger, first, limit)
        case GetBlock(number, first):
            return _block(ledger, number, first, room)
        case Look(path):
            key = key_of(ledger, path)
            return key if isinstance(key, Refused) else Value(key, ledger.state.get(key), ledger.roots)


def _found(ledger: LedgerMachine, name: bytes) -> Found:
    receipt = ledger.receipt(name)
    if receipt is None:
        return Found(None, None)
    block = ledger.chain.block(receipt.number)
    assert block is not None, "a receipt is of a kept block"
    return Found(block.transactions[receipt.place], receipt)


def _blocks(ledger: LedgerMachine, first: int, limit: int) -> Blocks:
    chain = ledger.chain
    count = min(limit, LIST_BLOCKS_MAX) if limit > 0 else LIST_BLOCKS_MAX
    start = max(first, chain.first)
    kept = (chain.block(number) for number in range(start, min(chain.number, start + count - 1) + 1))
    return Blocks([block.header for block in kept if block is not None], chain.first, ledger.roots)


def _block(ledger: LedgerMachine, number: int, first: int, room: int) -> Block:
    block = ledger.chain.block(number)
    if block is None:
        return Block(None, [], [])
    transactions: list[bytes] = []
    results: list[TransactionResult] = []
    for transaction, result in list(zip(block.transactions, block.results, strict=True))[max(first, 0) :]:
        room -= len(transaction) + len(result.data) + BLOCK_BYTES
        if room < 0 and transactions:
            break
        transactions.append(transaction)
        results.append(result)
    return Block(block.header, transactions, results)
