"""Importing a CSV file: windows, what is said of each row, and taking an import up again."""

from __future__ import annotations

import asyncio
import io

import pytest

from apps_log import header
from quorum.apps.batch import Refused
from quorum.apps.ledger import Receipt, decode_results, encode_batch
from quorum.apps.ledger_application import LedgerApplication, Refusal
from quorum.apps.ledger_machine import LedgerMachine
from quorum.console.csv_rows import Row, rows_of
from quorum.console.ledger_import import Importer, reading_of
from quorum.console.row_problems import ACCOUNTS_KEPT, PROBLEMS_KEPT, RowProblems
from quorum.errors import ApplicationError, ConfigurationError, OutcomeUnknown


class Notes(LedgerApplication):
    def check(self, transaction, state):
        if transaction.startswith(b"refuse"):
            raise Refusal("no", "it was sent, but it is refused. Send another.")

    def execute(self, block, transaction, state):
        if transaction.startswith(b"fail"):
            raise ValueError("\x1b[31mit fails")
        state.put(transaction, b"")
        return b""


class Ledger:
    """A client's ledger over one machine; what is queued in one turn is one batch. Breaks at batch `breaks`."""

    def __init__(self, machine: LedgerMachine, breaks: int = 0) -> None:
        self.machine, self.breaks = machine, breaks
        self.queue: list[tuple[bytes, asyncio.Future[Receipt]]] = []
        self.batches: list[int] = []
        self.signed: set[str] = set()

    @property
    def ledger(self):
        return self

    def submit_soon(self, transaction, sign):
        self.signed.add(sign)
        loop = asyncio.get_running_loop()
        if not self.queue:
            loop.call_soon(self.flush)
        self.queue.append((transaction, loop.create_future()))
        return self.queue[-1][1]

    def flush(self):
        queue, self.queue = self.queue, []
        self.batches.append(len(queue))
        if len(self.batches) == self.breaks:
            for _, future in queue:
                future.set_exception(OutcomeUnknown("the answer did not come"))
            return
        body = encode_batch([transaction for transaction, _ in queue])
        results = decode_results(self.machine.apply(header(len(self.batches)), body).reply)
        for (_, future), result in zip(queue, results, strict=True):
            if isinstance(result, Refused):
                future.set_exception(ApplicationError(result.reason, result.message))
            else:
                future.set_result(result)


def rows_for(*texts: str) -> list[Row]:
    return [Row(line, text.encode(), "" if text else "it is empty") for line, text in enumerate(texts, 2)]


def run(rows, machine=None, window=4, strict=False, breaks=0, **options):
    ledger = Ledger(machine or LedgerMachine(Notes()), breaks)
    return asyncio.run(Importer(iter(rows), window, strict, **options).run(ledger)), ledger


def test_rows_are_sent_in_windows_in_their_order():
    machine = LedgerMachine(Notes())
    imported, ledger = run(rows_for(*map(str, range(10))), machine)
    assert ledger.batches == [4, 4, 2]
    kept = [each for block in machine.chain.blocks() for each in block.transactions]
    assert kept == [b"%d" % number for number in range(10)]
    assert (imported.rows, imported.new, imported.last_line, imported.is_done) == (10, 10, 11, True)


def test_rows_are_signed_together_or_each_alone():
    assert run(rows_for("a", "b"))[1].signed == {"batch"}
    assert run(rows_for("a", "b"), sign="each")[1].signed == {"each"}


def test_what_is_in_already_is_reported_as_such_and_not_executed_again():
    machine = LedgerMachine(Notes())
    run(rows_for("a", "b"), machine)
    imported, _ = run(rows_for("a", "c", "b", "c"), machine)
    assert (imported.new, imported.known, imported.is_done) == (1, 3, True)


def test_rows_that_repeat_others_of_the_file_are_told_apart_from_those_of_before():
    machine = LedgerMachine(Notes())
    imported, _ = run(rows_for("a", "a", "b", "a", "a"), machine, window=2)
    assert (imported.new, imported.known, imported.repeated) == (2, 3, 3)
    assert "3 there before (3 of them earlier in this file)" in imported.line()
    again, _ = run(rows_for("a", "c", "c"), machine)
    assert (again.new, again.known, again.repeated) == (1, 2, 1)


def test_bad_rows_are_named_by_line_and_the_others_go_on(capsys):
    imported, _ = run(rows_for("a", "", "refuse", "fail", "b"))
    assert (imported.new, imported.malformed, imported.refused, imported.failed) == (2, 1, 1, 1)
    assert not imported.is_done
    assert [(problem.line, problem.kind) for problem in imported.problems] == [
        (3, "malformed"), (4, "no"), (5, "failed")
    ]  # fmt: skip
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in told] == ["line 3", "line 4", "line 5"]
    assert all("Correct it, and import the file again." in line for line in told)
    assert "\x1b" not in told[2]


def test_strict_stops_at_the_first_bad_row_and_nothing_behind_it_is_in():
    machine = LedgerMachine(Notes())
    imported, _ = run(rows_for("a", "b", "refuse", "c", *map(str, range(20))), machine, strict=True)
    assert imported.stopped and (imported.rows, imported.new) == (3, 2)
    assert len(machine.chain) == 2


def test_an_import_that_breaks_off_says_how_far_it_came_and_is_taken_up_again(capsys):
    machine, rows = LedgerMachine(Notes()), rows_for(*map(str, range(10)))
    with pytest.raises(OutcomeUnknown):
        run(rows, machine, breaks=2)
    assert "up to line 5. Run the import again" in capsys.readouterr().err
    imported, _ = run(rows, machine)
    assert (imported.new, imported.known) == (6, 4)


def test_no_more_than_two_windows_are_read_ahead():
    held = taken = 0

    def rows():
        nonlocal taken
        for row in rows_for(*map(str, range(100))):
            taken += 1
            yield row

    class Watching(Ledger):
        def flush(self):
            nonlocal held
            held = max(held, taken - sum(self.batches))
            super().flush()

    machine = LedgerMachine(Notes())
    imported = asyncio.run(Importer(rows(), 5, False).run(Watching(machine)))
    assert imported.new == 100 and held <= 10


def test_the_problems_that_are_kept_are_bounded():
    imported, _ = run(rows_for(*[""] * (PROBLEMS_KEPT + 5)), window=100)
    assert (len(imported.problems), imported.malformed) == (PROBLEMS_KEPT, PROBLEMS_KEPT + 5)


class Steps(Notes):
    """Rows of an account are numbered from 0, and none is executed before the one before it."""

    columns = ("account", "step", "word")

    @classmethod
    def transaction_of(cls, row):
        return f"{row['account']} {int(row['step'])} {row['word']}".encode()

    @classmethod
    def account_of(cls, row):
        return row["account"]

    def check(self, transaction, state):
        if transaction.endswith(b"bad"):
            raise Refusal("word", "a word was sent, but it is bad. Choose another word.")

    def prepare(self, transactions, state):
        chosen, last = [], {}
        for place, each in enumerate(transactions):
            account, step, _ = each.split()
            following = last.get(account, int((state.get(account) or b"-1").decode())) + 1
            if int(step) == following:
                chosen.append(place)
                last[account] = following
        return chosen

    def execute(self, block, transaction, state):
        account, step, word = transaction.split()
        state.put(account, step)
        if word == b"fail":
            raise ValueError("it fails")
        return b""


def import_text(text, capsys, application=Steps):
    """What is said of the rows of a file, and the problems that are kept."""
    reading = reading_of(application)
    importer = Importer(rows_of(io.StringIO(text), reading), 4, False)
    imported = asyncio.run(importer.run(Ledger(LedgerMachine(application()))))
    return capsys.readouterr().err.splitlines(), imported, importer.note


def test_a_row_behind_a_refused_one_of_its_account_names_that_line_and_gives_no_other_advice(capsys):
    text = "account,step,word\nada,0,a\nada,1,bad\nada,2,c\nben,0,a\nada,3,d\nben,1,b\n"
    told, imported, note = import_text(text, capsys)
    assert [(each.line, each.kind, each.behind) for each in imported.problems] == [
        (3, "word", 0), (4, "left-out", 3), (6, "left-out", 3)
    ]  # fmt: skip
    assert "it is bad. Choose another word. Correct it, and import the file again." in told[0]
    for line, number in zip(told[1:], (4, 6), strict=True):
        assert line.startswith(f"line {number}: ") and "depends on line 3 of the same account" in line
        assert "Correct line 3 first" in line and "Send it again" not in line and "Correct it" not in line
    assert note == "" and imported.new == 3


def test_a_malformed_row_holds_up_its_account_and_a_corrected_one_behind_it_does_not(capsys):
    text = "account,step,word\nada,zero,a\nada,1,b\n"
    _, imported, _ = import_text(text, capsys)
    assert [(each.kind, each.behind) for each in imported.problems] == [("malformed", 0), ("left-out", 2)]
    text = "account,step,word\nada,zero,a\nada,0,a\nada,1,bad\n"
    _, imported, _ = import_text(text, capsys)
    assert [(each.kind, each.behind) for each in imported.problems] == [("malformed", 0), ("word", 0)]


def test_a_row_that_is_refused_for_its_own_reason_behind_another_says_both(capsys):
    told, _, _ = import_text("account,step,word\nada,0,bad\nada,1,bad\n", capsys)
    assert "Correct line 2 first" in told[1] and "If this row is refused then, too: a word was sent" in told[1]


def test_where_nobody_tells_whose_a_row_is_that_it_may_depend_is_said_once(capsys):
    class Silent(Steps):
        @classmethod
        def account_of(cls, row):
            return ""

    rows = "".join(f"ada,{step},{'bad' if step == 1 else 'a'}\n" for step in range(9))
    told, imported, note = import_text("account,step,word\n" + rows, capsys, Silent)
    assert imported.refused == 8 and len(told) == 8
    assert note.startswith("rows behind one that is not in the ledger may be refused for that reason alone")
    assert all("the application left it out" in line and "Correct it" not in line for line in told[1:])


def test_a_file_with_wrong_columns_is_refused_once_and_nothing_is_sent(capsys):
    with pytest.raises(ConfigurationError, match="does not name the column 'word'"):
        import_text("account,step\nada,0\nada,1\n", capsys)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("hook", ["transaction_of", "account_of"])
def test_a_hook_that_needs_an_instance_is_refused_before_any_row_is_read(hook):
    needy = type("Needy", (Steps,), {hook: lambda self, row: b""})
    with pytest.raises(ConfigurationError, match=f"Needy.{hook}, .* Write @classmethod above it"):
        reading_of(needy)
    assert reading_of(type("Static", (Steps,), {hook: staticmethod(lambda row: b"")})) is not None


def test_what_is_held_of_accounts_is_bounded():
    problems = RowProblems()
    for number in range(ACCOUNTS_KEPT + 5):
        problems.tell(Row(number, b"", "", f"account{number}"), "word", "no")
    assert len(problems._held_up) == ACCOUNTS_KEPT
