"""`quorum fuse`: one value out of many, by a voter or a fusion rule, or a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from quorum.console.command import AnswerNo, command, print_json
from quorum.console.documents import read_bounded
from quorum.errors import ConfigurationError

INPUT_BYTES_MAX = 16 * 2**20


@command("fuse", "quorum fuse --algorithm median --json < input.json")
@click.option("--algorithm", metavar="NAME", help="The rule to use; --list shows all.")
@click.option("--input", "source", type=click.Path(path_type=Path), help="A CSV or Parquet file of ticks (rows).")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write a decision for each tick: .csv or .parquet."
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw who was trusted when: a .svg, .png or .pdf.")
@click.option(
    "--set", "given", multiple=True, metavar="KEY=VALUE", help="A parameter of the rule: t=1, weights=1,1,2."
)
@click.option("--half-width", type=float, help="Of every value, for rules that join intervals.")
@click.option("--width-suffix", help="Half-widths are in columns named as the channel and this.")
@click.option("--channels", metavar="A,B,...", help="The columns to decide on; else all but the time's.")
@click.option("--time", metavar="COLUMN", help="The column with the time, which the output has, too.")
@click.option("--list", "is_list", is_flag=True, help="List all rules, what they read and what they answer.")
def fuse(
    algorithm: str | None,
    source: Path | None,
    output: Path | None,
    plot: Path | None,
    given: tuple[str, ...],
    half_width: float | None,
    width_suffix: str | None,
    channels: str | None,
    time: str | None,
    is_list: bool,
    as_json: bool,
) -> None:
    """Make one value out of many, of which some may be wrong, or refuse to.

    Reads one JSON object from standard input, as in {"values": [20.1, 20.2, 85.0]}, and prints the answer. Where
    the rule's bound is not met it prints null and exits with 1. Channels are counted from 0.

    With --input it decides each row of a file instead, and says which channels were trusted when. Trusted is a
    channel that the rule went by; for median, one that is no outlier. It exits with 1 only where no row is
    decided; how many are refused is in the report.

    quorum fuse --input sensors.csv --algorithm brooks_iyengar --set t=1 --half-width 0.5 --output fused.csv
    """
    of_series = (output, plot, half_width, width_suffix, channels, time, given or None)
    if source is not None:
        from quorum.console.series import fuse_file, lines_of

        algorithm_named(algorithm)
        where = (half_width, width_suffix, channels, time, output, plot)
        report = fuse_file(algorithm or "", source, given, *where, as_json)
        print_json(report) if as_json else click.echo("\n".join(lines_of(report)))
        if not report.decided:
            raise AnswerNo
        return
    if any(each is not None for each in of_series):
        raise ConfigurationError(
            "options of a series were given without one, so they would count for nothing. Name its file: --input."
        )
    from quorum.console.fuse_table import ALGORITHMS, algorithm_of

    if is_list:
        _show_all({name: (each.reads, each.gives) for name, each in ALGORITHMS.items()}, as_json)
        return
    chosen = algorithm_of(algorithm)
    data = read_bounded(None, INPUT_BYTES_MAX, "the input of a voter", "Give fewer values.")
    answer = chosen.answer(data)
    if isinstance(answer, str):
        click.echo(f"refused: {answer}.", err=True)
        print_json(None)
        raise AnswerNo
    if as_json:
        print_json(answer)
        return
    for key, value in answer.items():
        click.echo(f"{key}: {_text(value)}")


def _text(value: Any) -> str:
    """A value for people: numbers with 10 digits."""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
    if value is None:
        return "refused"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _show_all(rules: dict[str, tuple[str, str]], as_json: bool) -> None:
    if as_json:
        print_json({name: {"reads": reads, "gives": gives} for name, (reads, gives) in rules.items()})
        return
    for name, (reads, gives) in rules.items():
        click.echo(f"{name}\n    {reads} -> {gives}")


def algorithm_named(name: str | None) -> None:
    """Raise ConfigurationError, with the rules for series, where none was named."""
    if name is None:
        from quorum.voting.streams import RULES

        raise ConfigurationError(
            f"a series was to be decided, but no rule was named. Give --algorithm and one of: {', '.join(RULES)}."
        )
