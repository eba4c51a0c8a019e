"""A CSV file as a stream of transactions."""

from __future__ import annotations

import io

import pytest

from quorum.console.csv_rows import LINE_CHARACTERS_MAX, Reading, Row, rows_of
from quorum.errors import ConfigurationError


def number(row):
    return b"%d" % int(row["n"])


def read(text: str, to_transaction=number) -> list[Row]:
    return list(rows_of(io.StringIO(text, newline=""), Reading(to_transaction)))


def test_rows_become_transactions_with_their_lines():
    assert read("n\n1\n\n2\r\n3\n") == [Row(2, b"1"), Row(4, b"2"), Row(5, b"3")]


def test_a_row_that_is_none_is_named_and_the_others_go_on():
    rows = read('n\n1\nx\n"2"\n3,4\n"a"b\n5\n')
    assert [(row.line, row.transaction) for row in rows] == [
        (2, b"1"), (3, b""), (4, b"2"), (5, b""), (6, b""), (7, b"5")
    ]  # fmt: skip
    assert "invalid literal" in rows[1].problem
    assert "2 fields for 1 columns" in rows[3].problem
    assert "cannot be read as CSV" in rows[4].problem


def test_a_field_of_several_lines_has_the_line_where_it_begins():
    rows = read('n,note\n1,"a\nb"\n2,c\n', lambda row: f"{row['n']} {row['note']}".encode())
    assert rows == [Row(2, b"1 a\nb"), Row(4, b"2 c")]


def test_a_line_without_end_is_not_held_and_spoils_itself_alone():
    class Endless(io.StringIO):
        """Counts what is held of it at a time."""

        largest = 0

        def readline(self, size=-1, /):
            assert size > 0, "a line is read in bounded pieces"
            return super().readline(size)

    source = Endless("n\n1\n" + "9" * (3 * LINE_CHARACTERS_MAX) + "\n2\n", newline="")
    rows = list(rows_of(source, Reading(number)))
    assert [(row.line, row.transaction) for row in rows] == [(2, b"1"), (3, b""), (4, b"2")]
    assert "characters" in rows[1].problem


def test_bytes_that_are_no_text_spoil_their_row_alone():
    source = io.TextIOWrapper(
        io.BytesIO(b"n\n\xff\n2\n"), encoding="utf-8-sig", errors="surrogateescape", newline=""
    )
    rows = list(rows_of(source, Reading(lambda row: row["n"].encode())))
    assert [(row.line, row.transaction) for row in rows] == [(2, b""), (3, b"2")]
    assert "save the file as UTF-8" in rows[0].problem
    source = io.TextIOWrapper(io.BytesIO(b"\xfc\n1\n"), encoding="utf-8-sig", errors="surrogateescape", newline="")
    with pytest.raises(ConfigurationError, match="first line has bytes that are no UTF-8"):
        list(rows_of(source, Reading(number)))


@pytest.mark.parametrize("text", ["", "\n1\n", "a,a\n1,2\n", '"a\n'])
def test_a_file_that_names_no_columns_is_refused(text):
    with pytest.raises(ConfigurationError, match="name its columns"):
        read(text)


def test_an_application_that_makes_no_bytes_is_named():
    assert "no bytes" in read("n\n1\n", lambda row: row["n"])[0].problem


def test_a_file_without_the_columns_that_are_needed_is_refused_once_naming_them():
    reading = Reading(number, needed=("n", "from", "to"))
    with pytest.raises(ConfigurationError, match="does not name the columns 'from', 'to', which") as refused:
        rows_of(io.StringIO("toward,n\n1,2\n3,4\n"), reading)  # at once, before a cluster is asked for
    assert "it names 'to" in str(refused.value)
    assert list(rows_of(io.StringIO("more,to,from,n\n1,2,3,4\n"), reading)) == [Row(2, b"4")]


def test_a_column_that_the_application_looks_for_in_vain_refuses_the_file():
    with pytest.raises(ConfigurationError, match="the column 'n', which"):
        read("m\n1\n2\n")


@pytest.mark.parametrize("error", [KeyError("n"), TypeError("no number"), ZeroDivisionError()])
def test_what_an_application_raises_spoils_its_row_alone(error):
    def broken(row):
        if row["n"] == "0":
            raise error
        return row["n"].encode()

    rows = read("n\n0\n1\n", broken)
    assert f"transaction_of raised {type(error).__name__}" in rows[0].problem
    assert rows[1] == Row(3, b"1")


def test_whose_a_row_is_is_told_also_where_it_stands_for_no_transaction():
    reading = Reading(number, account_of=lambda row: row["of"])
    rows = list(rows_of(io.StringIO("n,of\n1,ada\nx,ben\n"), reading))
    assert [(row.account, bool(row.problem)) for row in rows] == [("ada", False), ("ben", True)]
    unknown = Reading(number, account_of=lambda row: row["nobody"])
    assert list(rows_of(io.StringIO("n\n1\n"), unknown)) == [Row(2, b"1")]
