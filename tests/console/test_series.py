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
from quorum.console.series import READERS
from quorum.voting.streams import RULES

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
    assert channels["b"] == {"name": "b", "values": 4, "trusted": 4, "longest": None, "times": None}
    assert channels["c"]["longest"] == [2, 4], "the tick that nobody decided ends no run"
    text = run("--input", file, "--time", "when", "--algorithm", "median").stdout
    assert "median: 5 of 6 ticks decided" in text
    assert "c: trusted in 60.0% of its 5 values; longest not from 2 to 4 (tick 2 to 4)" in text
    text = run("--input", file, "--channels", "a,b,c,d", "--algorithm", "median").stdout
    assert "c: trusted in 60.0% of its 5 values; longest not from tick 2 to 4" in text


def test_with_a_column_of_time_the_longest_distrust_is_told_in_its_times(file: Path):
    file.write_text(CSV.replace("\n2,", "\n2026-05-01 08:20:00,").replace("\n4,", "\n2026-05-01 08:40:00,"))
    report = json.loads(run("--input", file, "--time", "when", "--algorithm", "median", "--json").stdout)
    channels = {each["name"]: each for each in report["channels"]}
    assert channels["c"]["times"] == ["2026-05-01 08:20:00", "2026-05-01 08:40:00"]
    text = run("--input", file, "--time", "when", "--algorithm", "median").stdout
    assert "longest not from 2026-05-01 08:20:00 to 2026-05-01 08:40:00 (tick 2 to 4)" in text


def test_without_a_rule_it_is_said_that_none_was_named(file: Path):
    done = run("--input", file)
    assert done.exit_code == 2 and "no rule was named. Give --algorithm" in done.stderr


def test_weights_have_commas_between_them_in_brackets_or_not(file: Path):
    rows = [
        fused(file, "--algorithm", "weighted_average", "--set", f"weights={text}")["output"][0]
        for text in ("1,1,0,0", "[1,1,0,0]", " [1, 1, 0, 0]")
    ]
    assert rows == [pytest.approx(20.05)] * 3
    done = run("--input", file, "--algorithm", "weighted_average", "--set", "weights=1,one")
    assert done.exit_code == 2 and "list of numbers" in done.stderr and "unit" not in done.stderr


@pytest.mark.parametrize("name", ["Time", "tick", "t", ""])
def test_a_column_that_says_when_is_taken_for_no_channel_unless_it_is_named(tmp_path: Path, name: str):
    path = tmp_path / "given.csv"
    path.write_text(f"{name},a,b\n0.1,20.0,20.1\n0.2,20.0,20.1\n0.3,20.1,20.1\n")
    done = run("--input", path, "--algorithm", "median")
    assert done.exit_code == 2 and f"the column {name!r}" in done.stderr and "--time" in done.stderr, done.output
    report = json.loads(run("--input", path, "--algorithm", "median", "--time", name, "--json").stdout)
    assert [each["name"] for each in report["channels"]] == ["a", "b"]
    report = json.loads(
        run("--input", path, "--algorithm", "median", "--channels", f"{name},a,b", "--json").stdout
    )
    assert len(report["channels"]) == 3


def test_channels_that_rise_together_are_channels(tmp_path: Path):
    path = tmp_path / "given.csv"
    path.write_text("a,b,c\n1,1,1\n2,2,2.5\n3,3,3\n")
    assert run("--input", path, "--algorithm", "median").exit_code == 0


def test_names_that_are_numbers_are_taken_where_they_are_said_to_be_names(tmp_path: Path):
    path = tmp_path / "given.csv"
    path.write_text("1,2,3\n20.0,20.1,20.2\n")
    assert run("--input", path, "--algorithm", "median").exit_code == 2
    done = run("--input", path, "--algorithm", "median", "--channels", "1,2,3", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["decided"] == 1


def test_every_parameter_and_every_measure_of_trust_of_a_series_is_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "voting.md").read_text("utf-8")
    measures, parameters = (
        page.split("## Parameters")[0],
        page.split("## Parameters")[1].split("## From Python")[0],
    )
    rows = {line.split("`")[1]: line for line in parameters.splitlines() if line.startswith("| `")}
    for name, rule in RULES.items():
        assert f"`{name}`" in measures, name
        for key in (*rule.needs, *rule.may):
            assert f"`{name}`" in rows[key], (name, key)
    assert rows.keys() >= READERS.keys()


def test_a_wrong_cell_is_found_behind_a_megabyte_of_right_ones(tmp_path: Path):
    path = tmp_path / "given.csv"
    path.write_text("t1,t2\n" + "20,21\n" * 300_000 + "20,n/a\n")
    done = run("--input", path, "--algorithm", "median")
    assert done.exit_code == 2 and "line 300002, column 't2' holds 'n/a'" in done.stderr, done.output
    path.write_text("t1,t2\n" + "20,21\n" * 300_000 + "20,21.5\n")
    report = json.loads(run("--input", path, "--algorithm", "median", "--json").stdout)
    assert report["decided"] == 300_001


def test_a_series_of_which_some_ticks_are_decided_is_a_yes_and_the_rest_is_counted(tmp_path: Path):
    path = tmp_path / "given.csv"
    path.write_text("a,b,c\n1,1,2\n1,2,3\n")
    done = run("--input", path, "--algorithm", "exact_majority", "--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["ticks"], report["decided"]) == (0, 2, 1)
    assert sum(report["refused"].values()) == 1
    told = " ".join(run("--help").stdout.split())
    assert "exits with 1 only where no row is decided" in told


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
        (CSV, (), "no rule was named"),
        (CSV, ("--algorithm", "krum"), "no rule for series"),
        (CSV, ("--algorithm", "median", "--set", "t"), "KEY=VALUE"),
        (CSV, ("--algorithm", "median", "--set", "x=1"), "KEY=VALUE"),
        (CSV, ("--algorithm", "median", "--set", "t=1", "--set", "t=2"), "each once"),
        (CSV, ("--algorithm", "median", "--set", "t=nan"), "whole number"),
        (CSV, ("--algorithm", "median", "--channels", "a,x"), "no column 'x'"),
        (CSV, ("--algorithm", "median", "--channels", "a,a"), "one is twice"),
        (CSV, ("--algorithm", "median", "--time", "x"), "no column 'x'"),
        (CSV, ("--algorithm", "marzullo", "--time", "when"), "no half-width"),
        (CSV, ("--algorithm", "marzullo", "--width-suffix", "_w"), "no column 'when_w'"),
        (CSV, ("--algorithm", "marzullo", "--width-suffix", ""), "empty suffix"),
        (CSV, ("--algorithm", "marzullo", "--half-width", "1", "--width-suffix", "_w"), "one of the two"),
        (CSV, ("--algorithm", "median", "--plot", "x.gif"), "kind of picture"),
        ("a,a\n1,2\n", ("--algorithm", "median"), "two columns named 'a'"),
        ("a,b\n", ("--algorithm", "median"), "no rows"),
        ("a,b\n1,on\n", ("--algorithm", "median"), "'b' holds no numbers"),
        ("a,b\n1,inf\n", ("--algorithm", "median"), "infinite"),
        ("t1,t2\n1,2\n\n1,2\n1,n/a\n", ("--algorithm", "median"), "line 5, column 't2' holds 'n/a'"),
        ('t1,t2\n1,2\n"1",n/a\n', ("--algorithm", "median"), "Leave the cell empty"),
        ('t1,"t\n2"\n1,2\n1,n/a\n', ("--algorithm", "median"), "line 4, column"),
        ('t1,t2\n1,2\n1,"20,5"\n', ("--algorithm", "median"), "write a number as 20.5"),
        ("t1,t2\n1,2\n1,é\n", ("--algorithm", "median"), "line 3, column 't2' holds"),
        ("day,t2\nmon,2\ntue,3\n", ("--algorithm", "median"), "Name it with --time"),
        ("a,b\n1,2\n1,2,3\n", ("--algorithm", "median"), "line 3 has 3 fields for 2 columns"),
        ("a,b,c\n1,2,3\n\n1,2\n", ("--algorithm", "median"), "line 4 has 2 fields for 3 columns"),
        ("t;a;b\n1;20,5;20,4\n", ("--algorithm", "median"), "Is it separated by ';'?"),
        ("a\tb\n1\t2\n", ("--algorithm", "median"), "Is it separated by tabs?"),
        ("60.00,60.10\n60.02,60.03\n", ("--algorithm", "median"), "which names the columns, holds numbers"),
        ("2026-05-01 08:00,60.10\n2026-05-01 09:00,60.03\n", ("--algorithm", "median"), "holds numbers"),
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
    arguments = ("--input", there, "--time", "when", "--algorithm", "median")
    done = run(*arguments, "--output", tmp_path / "no" / "fused.csv")
    assert done.exit_code == 2 and "failed" in done.stderr
    there.write_bytes(b"a,b\n1,2\n1,x\xff\n")
    done = run("--input", there, "--algorithm", "median")
    assert done.exit_code == 2 and "line 3, column 'b' holds 'x\N{REPLACEMENT CHARACTER}'" in done.stderr


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
