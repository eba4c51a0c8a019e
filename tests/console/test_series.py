"""`quorum fuse --input`: files of ticks become files of decisions; who was trusted is told and drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from quorum.console.cli import main

CSV = """when,a,b,c,d
0,20.0,20.1,20.2,20.1
1,20.0,,20.2,20.1
2,20.0,20.1,85.0,20.1
3,,,,
4,20.0,20.1,86.0,20.1
5,20.0,20.1,20.2,20.1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sensors.csv"
    path.write_text(CSV)
    return path


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["fuse", *map(str, arguments)])


def fused(file: Path, *arguments: Any) -> dict[str, list[Any]]:
    output = file.with_name("fused.csv")
    done = run("--input", file, "--time", "when", "--output", output, *arguments)
    assert done.exit_code == 0, done.output
    return pyarrow.csv.read_csv(output).to_pydict()


def test_each_row_is_decided_and_those_that_are_not_say_why(file: Path):
    rows = fused(file, "--algorithm", "median", "--set", "t=1")
    assert rows["when"] == [0, 1, 2, 3, 4, 5]
    assert rows["output"] == pytest.approx([20.1, 20.1, 20.1, None, 20.1, 20.1], nan_ok=True)
    assert rows["trusted"] == ["a b c d", "a c d", "a b d", "", "a b d", "a b c d"]
    assert rows["refused"] == ["", "", "", "no channel has a value", "", ""]


def test_rules_that_join_intervals_take_one_half_width_or_columns_of_them(file: Path):
    rows = fused(file, "--algorithm", "brooks_iyengar", "--set", "t=1", "--half-width", "0.2")
    assert rows["low"][0] < 20.1 < rows["high"][0]
    assert rows["trusted"][2] == "a b d"
    wide = file.with_name("wide.csv")
    wide.write_text("a,a_w,b,b_w,c,c_w,d,d_w\n20,0.2,20.1,0.2,85,0.2,20.1,0.2\n20,0.2,,,20.2,0.2,20.1,0.2\n")
    done = run("--input", wide, "--algorithm", "chrony_select", "--width-suffix", "_w", "--json")
    assert json.loads(done.stdout)["decided"] == 2, done.output


def test_the_report_counts_and_says_for_how_long_a_channel_was_not_trusted(file: Path):
    report = json.loads(run("--input", file, "--time", "when", "--algorithm", "median", "--json").stdout)
    assert (report["ticks"], report["decided"]) == (6, 5)
    assert report["refused"] == {"no channel has a value": 1}
    channels = {each["name"]: each for each in report["channels"]}
    assert channels["b"] == {"name": "b", "values": 4, "trusted": 4, "longest": None}
    assert channels["c"]["longest"] == [2, 4], "the tick that nobody decided ends no run"
    text = run("--input", file, "--time", "when", "--algorithm", "median").stdout
    assert "median: 5 of 6 ticks decided" in text
    assert "c: trusted in 60.0% of its 5 values; longest not from tick 2 to 4" in text


def test_parquet_is_read_and_written_alike(file: Path):
    parquet, output = file.with_suffix(".parquet"), file.with_name("fused.parquet")
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(file), parquet)
    done = run("--input", parquet, "--time", "when", "--algorithm", "median", "--output", output)
    assert done.exit_code == 0, done.output
    found = pyarrow.parquet.read_table(output).to_pydict()
    assert [str(each) for each in found["trusted"]] == fused(file, "--algorithm", "median")["trusted"]


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_a_picture_is_drawn(file: Path, suffix: str):
    picture = file.with_name(f"out{suffix}")
    arguments = ("--input", file, "--algorithm", "marzullo", "--half-width", "0.3", "--channels", "a,b,c,d")
    done = run(*arguments, "--plot", picture, "--json")
    assert json.loads(done.stdout)["drawn"] == str(picture), done.output
    assert picture.stat().st_size > 5_000


def test_a_series_of_which_nothing_is_decided_is_an_answer_of_no(file: Path):
    done = run("--input", file, "--channels", "a,b", "--algorithm", "median", "--set", "t=1", "--json")
    assert done.exit_code == 1 and json.loads(done.stdout)["decided"] == 0


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        (CSV, (), "no rule for series"),
        (CSV, ("--algorithm", "krum"), "no rule for series"),
        (CSV, ("--algorithm", "median", "--set", "t"), "KEY=VALUE"),
        (CSV, ("--algorithm", "median", "--set", "x=1"), "KEY=VALUE"),
        (CSV, ("--algorithm", "median", "--set", "t=1", "--set", "t=2"), "each once"),
        (CSV, ("--algorithm", "median", "--set", "t=nan"), "whole number"),
        (CSV, ("--algorithm", "median", "--channels", "a,x"), "no column 'x'"),
        (CSV, ("--algorithm", "median", "--channels", "a,a"), "one is twice"),
        (CSV, ("--algorithm", "median", "--time", "x"), "no column 'x'"),
        (CSV, ("--algorithm", "marzullo"), "no half-width"),
        (CSV, ("--algorithm", "marzullo", "--width-suffix", "_w"), "no column 'when_w'"),
        (CSV, ("--algorithm", "marzullo", "--width-suffix", ""), "empty suffix"),
        (CSV, ("--algorithm", "marzullo", "--half-width", "1", "--width-suffix", "_w"), "one of the two"),
        (CSV, ("--algorithm", "median", "--plot", "x.gif"), "kind of picture"),
        ("a,a\n1,2\n", ("--algorithm", "median"), "two columns named 'a'"),
        ("a,b\n", ("--algorithm", "median"), "no rows"),
        ("a,b\n1,on\n", ("--algorithm", "median"), "'b' holds no numbers"),
        ("a,b\n1,inf\n", ("--algorithm", "median"), "infinite"),
        ("a,b\n1,2,3\n", ("--algorithm", "median"), "failed"),
        ("", ("--algorithm", "median"), "failed"),
    ],
)
def test_what_cannot_be_decided_is_refused_with_a_remedy(
    tmp_path: Path, text: str, arguments: tuple[str, ...], said: str
):
    path = tmp_path / "given.csv"
    path.write_text(text)
    done = run("--input", path, *arguments)
    assert done.exit_code == 2 and said in done.stderr, done.output
    assert "Traceback" not in done.stderr


def test_files_that_are_not_there_or_no_such_files_are_refused(tmp_path: Path):
    for name in ("no.csv", "no.parquet"):
        done = run("--input", tmp_path / name, "--algorithm", "median")
        assert done.exit_code == 2 and "failed" in done.stderr
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 nothing")
    done = run("--input", broken, "--algorithm", "median")
    assert done.exit_code == 2 and "Parquet" in done.stderr
    there = tmp_path / "given.csv"
    there.write_text(CSV)
    done = run("--input", there, "--algorithm", "median", "--output", tmp_path / "no" / "fused.csv")
    assert done.exit_code == 2 and "failed" in done.stderr


def test_options_of_a_series_without_one_are_refused():
    done = run("--algorithm", "median", "--output", "x.csv")
    assert done.exit_code == 2 and "--input" in done.stderr


def test_without_pyarrow_the_way_to_install_it_is_told(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    done = run("--input", file, "--algorithm", "median")
    assert done.exit_code == 2 and "quorum-engine[data]" in done.stderr


def test_boolean_columns_are_votes_of_0_and_1(tmp_path: Path):
    path = tmp_path / "votes.csv"
    path.write_text("a,b,c\ntrue,false,true\nfalse,false,true\n")
    output = tmp_path / "fused.csv"
    assert run("--input", path, "--algorithm", "exact_majority", "--output", output).exit_code == 0
    assert pyarrow.csv.read_csv(output)["output"].to_pylist() == [1, 0]
