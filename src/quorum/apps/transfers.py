"""Tokens that accounts transfer to each other: the example application of a ledger, to be used as it is.

An account is an Ed25519 public key; who holds its private key may spend what it has. A transfer is signed over all
of it, and has a nonce: the number of transfers of its account before it. So none is executed twice, nobody can
change or make up one, and no token comes or goes after the genesis.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final

from quorum.apps.ledger_application import BlockContext, LedgerApplication, LedgerState, Reading, Refusal
from quorum.certificate.keys import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, is_signed
from quorum.certificate.ledger_block import DONE, FAILED, TransactionResult

AMOUNT_MAX: Final = 2**63 - 1
COLUMNS: Final = ("sender", "receiver", "amount", "nonce", "signature")
"""Of a CSV file of signed transfers: keys and signature in hexadecimal."""

_DOMAIN = b"quorum transfer 1\x00"
_TRANSFER = struct.Struct(">32s32sQQ")
_ACCOUNT = struct.Struct(">QQ")
TRANSFER_BYTES: Final = _TRANSFER.size + SIGNATURE_BYTES


def signed_transfer(
    sender: bytes, receiver: bytes, amount: int, nonce: int, sign: Callable[[bytes], bytes], ledger: str = ""
) -> bytes:
    """The transaction by which `sender` gives `amount` to `receiver`. `ledger` is the name of the one it is for,
    which its application has, too (`Transfers.name`): on another one it is worth nothing."""
    packed = _TRANSFER.pack(sender, receiver, amount, nonce)
    return packed + sign(statement(packed, ledger))


def statement(packed: bytes, ledger: str) -> bytes:
    """The bytes that a sender signs."""
    name = ledger.encode()
    return _DOMAIN + struct.pack(">H", len(name)) + name + packed


class Transfers(LedgerApplication):
    """Say in a subclass what accounts begin with, and name the ledger: `genesis` has balances by public keys, in
    hexadecimal."""

    genesis: ClassVar[Mapping[str, int]] = {}
    name: ClassVar[str] = ""
    columns: ClassVar[Sequence[str]] = COLUMNS

    def begin(self, state: LedgerState) -> None:
        """The genesis balances. Raises ValueError for what is no key or no amount."""
        for key, amount in sorted(self.genesis.items()):
            _write(state, _key_in(key, "genesis"), _number_in(str(amount), "amount"), 0)
        if sum(self.genesis.values()) > AMOUNT_MAX:
            raise ValueError(
                f"the genesis has more than {AMOUNT_MAX} tokens, which no account could hold. Use fewer."
            )

    def check(self, transaction: bytes, state: Reading) -> None:
        """Well formed, signed by its sender, and not of the past. A later nonce is admitted: those before it may
        stand in the same block."""
        sender, receiver, amount, nonce = _taken_apart(transaction)
        if not 0 < amount <= AMOUNT_MAX or sender == receiver:
            raise Refusal(
                "amount",
                f"{amount} tokens were to go from an account to {'itself' if sender == receiver else 'another'}, "
                f"but a transfer moves 1 to {AMOUNT_MAX} to another account. Correct it.",
            )
        if not is_signed(
            sender, statement(transaction[: _TRANSFER.size], self.name), transaction[_TRANSFER.size :]
        ):
            raise Refusal(
                "signature",
                f"a transfer was to be made from {sender.hex()[:16]}, but the holder of that key did not sign it "
                f"for ledger {self.name!r}. Sign it with that key.",
            )
        known = account(state, sender)[1]
        if nonce < known:
            raise _wrong_nonce(nonce, known)

    def prepare(self, transactions: Sequence[bytes], state: Reading) -> Sequence[int]:
        """Each sender's transfers by their nonces, in the places where its transfers stood. Those behind a gap are
        left out, and can be sent again when it is filled; in a block they would fail for good."""
        of_sender: dict[bytes, list[int]] = {}
        for place, transaction in enumerate(transactions):
            of_sender.setdefault(transaction[:PUBLIC_KEY_BYTES], []).append(place)
        order: dict[int, int] = {}
        for sender, places in of_sender.items():
            nonce = account(state, sender)[1]
            by_nonce = sorted(places, key=lambda place: _taken_apart(transactions[place])[3])
            slots = iter(places)
            for place in by_nonce:
                if _taken_apart(transactions[place])[3] == nonce:
                    order[next(slots)] = place
                    nonce += 1
        return [order[slot] for slot in sorted(order)]

    def finalize(
        self, block: BlockContext, transactions: Sequence[bytes], state: LedgerState
    ) -> Sequence[TransactionResult]:
        """Move the tokens. A transfer of more than its sender has fails, and its nonce is used up all the same:
        the same bytes are never executed again, so its sender signs another one."""
        return [self._moved(transaction, state) for transaction in transactions]

    def _moved(self, transaction: bytes, state: LedgerState) -> TransactionResult:
        sender, receiver, amount, nonce = _taken_apart(transaction)
        balance, known = account(state, sender)
        assert nonce == known, "`prepare` leaves out what is not next"
        if balance < amount:
            _write(state, sender, balance, nonce + 1)
            said = f"funds: {amount} tokens were to be given, but {sender.hex()[:16]} has {balance}. Give fewer."
            return TransactionResult(FAILED, said.encode())
        _write(state, sender, balance - amount, nonce + 1)
        had, theirs = account(state, receiver)
        _write(state, receiver, had + amount, theirs)
        return TransactionResult(DONE)

    def query(self, path: str, state: Reading) -> bytes:
        """`balance/KEY` is answered by an account: two numbers of 8 bytes, big-endian, the balance and the
        nonce."""
        what, _, key = path.partition("/")
        if what != "balance":
            raise Refusal("path", f"{path[:60]!r} was asked, but only balance/KEY is known. Ask that.")
        try:
            return _key_in(key, "its KEY")
        except ValueError as error:
            raise Refusal(
                "path",
                f"{path[:60]!r} was asked, but {error}. Ask balance/KEY with the public key of an account, in "
                "hexadecimal.",
            ) from None

    @classmethod
    def transaction_of(cls, row: Mapping[str, str]) -> bytes:
        """A row with the columns `COLUMNS`. Raises ValueError, naming the column, for one that is no transfer."""
        missing = [column for column in COLUMNS if not row.get(column)]
        if missing:
            raise ValueError(f"it has nothing in column {', '.join(missing)}")
        packed = _TRANSFER.pack(
            _key_in(row["sender"], "sender"),
            _key_in(row["receiver"], "receiver"),
            _number_in(row["amount"], "amount"),
            _number_in(row["nonce"], "nonce"),
        )
        try:
            signature = bytes.fromhex(row["signature"])
        except ValueError:
            signature = b""
        if len(signature) != SIGNATURE_BYTES:
            raise ValueError(f"signature is not {SIGNATURE_BYTES} bytes in hexadecimal")
        return packed + signature

    @classmethod
    def account_of(cls, row: Mapping[str, str]) -> str:
        """The sender: its transfers are executed in the order of their nonces, and none behind one that lacks."""
        return row["sender"].lower()

    @classmethod
    def shown(cls, path: str, value: bytes) -> str:
        """Balance and nonce of the account."""
        return "balance {}, nonce {}".format(*account_in(value))


def account(state: Reading, key: bytes) -> tuple[int, int]:
    """Balance and nonce of an account; one that is not there has nothing."""
    stored = state.get(key)
    return (0, 0) if stored is None else account_in(stored)


def account_in(value: bytes) -> tuple[int, int]:
    """Balance and nonce in the value of an account, as a query gives it. Raises ValueError for another value."""
    if len(value) != _ACCOUNT.size:
        raise ValueError(f"{len(value)} bytes are no account, which has {_ACCOUNT.size}")
    balance, nonce = _ACCOUNT.unpack(value)
    return balance, nonce


def _write(state: LedgerState, key: bytes, balance: int, nonce: int) -> None:
    state.put(key, _ACCOUNT.pack(balance, nonce))


def _taken_apart(transaction: bytes) -> tuple[bytes, bytes, int, int]:
    if len(transaction) != TRANSFER_BYTES:
        raise Refusal(
            "malformed",
            f"{len(transaction)} bytes were sent as a transfer, but it has {TRANSFER_BYTES}. Make it with "
            "signed_transfer.",
        )
    sender, receiver, amount, nonce = _TRANSFER.unpack_from(transaction)
    return sender, receiver, amount, nonce


def _wrong_nonce(nonce: int, known: int) -> Refusal:
    return Refusal(
        "nonce",
        f"a transfer has nonce {nonce}, but its account made {known} before it. Sign it with nonce {known}.",
    )


def _key_in(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != PUBLIC_KEY_BYTES:
        raise ValueError(f"{where}: {text[:70]!r} is no public key of {PUBLIC_KEY_BYTES} bytes in hexadecimal")
    return key


def _number_in(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > AMOUNT_MAX:
        raise ValueError(f"{where}: {text[:30]!r} is no whole number from 0 to {AMOUNT_MAX}")
    return int(text)
