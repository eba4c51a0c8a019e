"""The contract of an application on a ledger: what it is asked about each transaction, and the state that it
writes.

The hooks have the names of CometBFT's ABCI 2.0 (check, prepare, process, finalize, commit, query). All of them
run on every replica when the log's entry is applied, in this order, and must be functions of what they are given:
there is no clock, no file, no randomness but the block's. `docs/ledger.md` says where that differs from ABCI, and
why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import msgspec

from quorum.apps.answer import failure_of
from quorum.apps.call_depth import at_full_depth
from quorum.apps.ledger_map import AuthenticatedMap
from quorum.certificate.ledger_block import DONE, FAILED, LedgerHeader, TransactionResult
from quorum.errors import ApplicationError

KEY_BYTES_MAX = 512
VALUE_BYTES_MAX = 64 * 1024
DATA_BYTES_MAX = 4 * 1024
"""What an application may say to one transaction."""
REASON_CHARS_MAX = 40


class Refusal(Exception):
    """Raised by an application that will not have something: `reason` is one word for programs, `message` says it
    to people, in three parts."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = str(reason)[:REASON_CHARS_MAX]


class BlockContext(msgspec.Struct, frozen=True, gc=False):
    """What an application may know of the block that is being made: its number, and its time, which never goes
    back from block to block (microseconds since 1970). `entropy` has 64 bits that nobody knows beforehand but
    whoever orders the block, who may choose them where members lie."""

    number: int
    time_us: int
    entropy: int


class Reading(Protocol):
    """The application's state as it can be read."""

    def get(self, key: bytes) -> bytes | None:
        """What is under `key`, or None."""
        ...


class LedgerState:
    """The application's state while a block is made: reads see what was written before, writes are kept aside.

    `attempt` gives a state of the same kind for one transaction, `keep` takes over what was written there.
    """

    __slots__ = ("_changes", "_under")

    def __init__(self, under: AuthenticatedMap | LedgerState) -> None:
        self._under = under
        self._changes: dict[bytes, bytes | None] = {}

    @property
    def changes(self) -> Mapping[bytes, bytes | None]:
        """What was written here; None: removed."""
        return self._changes

    def get(self, key: bytes) -> bytes | None:
        """What is under `key`, or None."""
        return self._changes[key] if key in self._changes else self._under.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Write `value` under `key`. Raises ValueError for a size out of bounds, TypeError for anything but
        bytes."""
        if type(key) is not bytes or type(value) is not bytes:
            raise TypeError("a ledger's state was to be written, but its keys and values are bytes. Encode them.")
        if not 0 < len(key) <= KEY_BYTES_MAX or len(value) > VALUE_BYTES_MAX:
            raise ValueError(
                f"{len(value)} bytes were to be written under a key of {len(key)}, but keys have 1 to "
                f"{KEY_BYTES_MAX} and values at most {VALUE_BYTES_MAX}. Cut them."
            )
        self._changes[key] = value

    def delete(self, key: bytes) -> None:
        """Remove `key`, if it is there."""
        self._changes[key] = None

    def attempt(self) -> LedgerState:
        """A state over this one, whose writes may be dropped."""
        return LedgerState(self)

    def keep(self, attempt: LedgerState) -> None:
        """Take over what was written in an attempt."""
        self._changes.update(attempt._changes)


class LedgerApplication:
    """An application that takes any transaction and keeps no state: a journal. Replace the hooks that you need;
    most applications need `check` and `execute` alone. `columns` names those that a CSV file of transactions must
    have (none: any will do).

    Whatever lasts is in the state: the ledger keeps it, proves it, and puts it into snapshots, so an application
    writes none itself. Any hook may raise: the same happens on every replica, and none of them stops.
    """

    columns: ClassVar[Sequence[str]] = ()

    def begin(self, state: LedgerState) -> None:
        """Write what the state holds before block 1: the same on every replica."""

    def check(self, transaction: bytes, state: Reading) -> None:
        """Admission, before anything else: may this be in a block at all? Raises Refusal for what may not; it is
        not recorded, and its sender hears why. Clients may also ask it beforehand."""

    def prepare(self, transactions: Sequence[bytes], state: Reading) -> Sequence[int]:
        """The order in which admitted transactions stand in the block, by their places; what is left out is
        refused to its sender. The same as they came, unless replaced."""
        return range(len(transactions))

    def process(self, block: BlockContext, transactions: Sequence[bytes], state: Reading) -> None:
        """Judge the block as a whole. Raises Refusal for one that must not be: then there is none, and every
        transaction of the batch is refused."""

    def finalize(
        self, block: BlockContext, transactions: Sequence[bytes], state: LedgerState
    ) -> Sequence[TransactionResult]:
        """Execute the block: one result for each transaction, in order. As it stands here, `execute` is called for
        each; one that raises has the result FAILED, and what it wrote is dropped."""
        return [self._attempted(block, transaction, state) for transaction in transactions]

    def execute(self, block: BlockContext, transaction: bytes, state: LedgerState) -> bytes:
        """Do what one transaction says; what is returned is its result's data. Raises Refusal, or anything."""
        return b""

    def commit(self, block: LedgerHeader) -> None:
        """The last word before the block becomes the state: an exception undoes it."""

    def query(self, path: str, state: Reading) -> bytes:
        """The key of the state that answers the question `path`; the ledger gives its value, and proves it. Raises
        Refusal for a question that it does not know."""
        return path.encode()

    @classmethod
    def transaction_of(cls, row: Mapping[str, str]) -> bytes:
        """The transaction that a row of a CSV file stands for; runs where the file is. Raises ValueError for a row
        that stands for none. As it stands here: a JSON object of its columns, sorted by name."""
        return msgspec.json.encode(dict(sorted(row.items())))

    @classmethod
    def account_of(cls, row: Mapping[str, str]) -> str:
        """Whose a row of a CSV file is, where the rows of one account depend on those before them; runs where the
        file is, also for a row that stands for no transaction. As it stands here "": rows do not depend on each
        other, or nobody knows. Used for what is said to people alone."""
        return ""

    @classmethod
    def shown(cls, path: str, value: bytes) -> str:
        """How people read the value that answers the question `path`; runs where the question is asked. As it
        stands here "": as text, or hexadecimal where it is none."""
        return ""

    def _attempted(self, block: BlockContext, transaction: bytes, state: LedgerState) -> TransactionResult:
        def run() -> tuple[LedgerState, TransactionResult]:
            attempt = state.attempt()
            return attempt, checked_result(TransactionResult(DONE, self.execute(block, transaction, attempt)))

        try:
            attempt, result = at_full_depth(run)
        except MemoryError:
            raise
        except Exception as error:
            reason, message = said_of(error)
            return TransactionResult(FAILED, f"{reason}: {message}".encode()[:DATA_BYTES_MAX])
        state.keep(attempt)
        return result


def said_of(error: Exception) -> tuple[str, str]:
    """What a sender hears of an exception that an application raised: the same on every replica."""
    said = failure_of(error)
    if isinstance(error, Refusal):
        said = failure_of(ApplicationError(error.reason, said.message))
    return said.kind, said.message


def checked_result(result: object) -> TransactionResult:
    """The result itself. Raises TypeError or ValueError for what cannot be one."""
    if not isinstance(result, TransactionResult) or result.code not in (DONE, FAILED):
        raise TypeError(
            "a transaction was executed, but the application gave no TransactionResult of code DONE or FAILED for "
            "it. Correct its finalize."
        )
    if type(result.data) is not bytes:
        raise TypeError(
            "a transaction was executed, but the application gave a result whose data are no bytes. Encode them "
            "in its execute or finalize."
        )
    if len(result.data) > DATA_BYTES_MAX:
        raise ValueError(
            f"a transaction was executed, but the application gave a result of {len(result.data)} bytes, and "
            f"{DATA_BYTES_MAX} are the most. Shorten it, or put what is longer into the state."
        )
    return result
