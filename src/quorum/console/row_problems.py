"""What is said of the rows of an import that are not done: for people on stderr, and kept for programs.

A row may be refused for no fault of its own, as the one before it of the same account is not in the ledger. What
it should become is then no advice, so that row is named instead.
"""

from __future__ import annotations

import click
import msgspec

from quorum.apps.ledger import LEFT_OUT
from quorum.console.command import plain
from quorum.console.csv_rows import Row

PROBLEMS_KEPT = 1_000
ACCOUNTS_KEPT = 10_000
MALFORMED, FAILED = "malformed", "failed"
WHY_CHARS_MAX = 4_096


class Problem(msgspec.Struct, frozen=True):
    """What keeps a row from being done, for programs. `behind`: the line of a row of the same account that is not
    in the ledger, on which this one may depend (0: none is known)."""

    line: int
    kind: str
    message: str
    behind: int = 0


class RowProblems:
    """Tells of each row that is not done, once.

    I1  no more than ACCOUNTS_KEPT accounts and PROBLEMS_KEPT problems are held; what is beyond is told, not held.
    """

    def __init__(self) -> None:
        self.kept: list[Problem] = []
        self._held_up: dict[str, int] = {}
        self._some_refused = self._may_depend = False

    @property
    def note(self) -> str:
        """What to know of all of them together; "" for nothing. Where the application tells whose a row is, each
        such row says it itself."""
        return _MAY_DEPEND if self._may_depend else ""

    def done(self, row: Row) -> None:
        """The row is in the ledger: what came before it does not hold up its account any more."""
        if row.account:
            self._held_up.pop(row.account, None)

    def tell(self, row: Row, kind: str, why: str) -> None:
        """A row is malformed (`kind` MALFORMED), was executed and failed (FAILED), or was refused for the reason
        `kind`."""
        is_refused = kind not in (MALFORMED, FAILED)
        behind = self._held_up.get(row.account, 0) if is_refused and row.account else 0
        if len(self.kept) < PROBLEMS_KEPT:
            self.kept.append(Problem(row.line, kind, why, behind))
        click.echo(f"line {row.line}: {_said(kind, plain(why, WHY_CHARS_MAX).rstrip('.'), behind)}", err=True)
        self._may_depend = self._may_depend or (is_refused and self._some_refused and not row.account)
        self._some_refused = self._some_refused or kind != FAILED
        if kind != FAILED and row.account and len(self._held_up) < ACCOUNTS_KEPT:
            self._held_up.setdefault(row.account, row.line)


_MAY_DEPEND = (
    "rows behind one that is not in the ledger may be refused for that reason alone: correct the first one named "
    "above, import the file again, and look which remain"
)


def _said(kind: str, why: str, behind: int) -> str:
    if behind and kind == LEFT_OUT:
        return (
            f"the row was to be executed, but it depends on line {behind} of the same account, which is not in "
            f"the ledger. Correct line {behind} first, and import the file again; this row may stay as it is."
        )
    if behind:
        return (
            f"the row was to be executed, but line {behind} of the same account is not in the ledger. Correct "
            f"line {behind} first, and import the file again. If this row is refused then, too: {why}."
        )
    if kind == LEFT_OUT:
        return (
            "the row was to be executed, but the application left it out: what it has to follow, such as the "
            "transaction of its account before it, is not in the ledger. Import that first, then the file again."
        )
    return f"the row was to be executed, but: {why}. Correct it, and import the file again."
