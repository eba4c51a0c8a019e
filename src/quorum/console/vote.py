"""`quorum vote`: who wins a vote, whether that is certain, and how many voters may have lied."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quorum.console.command import AnswerNo, command, print_json
from quorum.errors import ConfigurationError

if TYPE_CHECKING:
    from quorum.console.vote_input import Ask


@command("vote", "quorum vote --input votes.csv --rule byzantine --faults 1")
@click.option(
    "--input", "source", type=click.Path(path_type=Path), help="A CSV file of votes, or of rounds (rows)."
)
@click.option(
    "--rule",
    default="majority",
    metavar="RULE",
    help="majority, share:2/3, unanimous, byzantine, or plurality (plurality:3: of weight 3 at least).",
)
@click.option("--faults", type=click.IntRange(min=0), help="How many voters may lie, for byzantine (T).")
@click.option(
    "--electorate", metavar="A,B=2,...", help="Who may vote, and weights; else all that the input names."
)
@click.option("--options", metavar="X,Y,...", help="What may be voted for; else all that somebody voted for.")
@click.option("--closed", is_flag=True, help="No more votes come: nothing stays pending.")
@click.option("--channels", metavar="A,B,...", help="The columns of voters; else all but the round's.")
@click.option("--time", metavar="COLUMN", help="The column that says which round a row is.")
@click.option("--output", type=click.Path(path_type=Path), help="Write a row for each round to this CSV file.")
@click.option("--follow", "is_followed", is_flag=True, help="Read lines voter,option until the vote is decided.")
def vote(
    source: Path | None,
    rule: str,
    faults: int | None,
    electorate: str | None,
    options: str | None,
    closed: bool,
    channels: str | None,
    time: str | None,
    output: Path | None,
    is_followed: bool,
    as_json: bool,
) -> None:
    """Tally votes on options: won, lost, or pending while votes to come decide.

    Reads one JSON object from standard input, as in {"votes": {"ann": "yes", "bob": "no"}}, or a CSV file with the
    columns voter, option and perhaps weight. A file with other columns has a row for each round, and a column for
    each voter; --time names the column that says which round it is. A blank cell is no vote. Each voter counts
    once. Exit code 0: won (all rounds, where there are several); 1: lost or pending.
    """
    from quorum.console.rules import rule_in
    from quorum.console.vote_input import Ask, electorate_in, names_in

    ask = Ask(
        rule_in(rule, faults),
        None if electorate is None else electorate_in(electorate),
        None if options is None else names_in(options, "--options"),
        closed,
    )
    of_file: dict[str, object] = {"--channels": channels, "--time": time}
    if is_followed:
        of_file |= {"--input": source, "--output": output}
    misplaced = [name for name, value in of_file.items() if value is not None]
    if misplaced and (is_followed or source is None):
        raise ConfigurationError(
            f"{misplaced[0]} was given, but it is for files of votes, and none is read. Leave it out"
            f"{', or leave out --follow' if is_followed else ', or name the file: --input'}."
        )
    if is_followed:
        _follow(ask, as_json)
    else:
        _tally(ask, source, channels, time, output, as_json)


def _tally(
    ask: Ask, source: Path | None, channels: str | None, time: str | None, output: Path | None, as_json: bool
) -> None:
    from quorum.console.documents import read_bounded, write_whole
    from quorum.console.vote_input import INPUT_BYTES_MAX, electorate_of, read_csv, read_json
    from quorum.console.vote_shown import (
        csv_of_rounds,
        lines_of_round,
        lines_of_rounds,
        report_of,
        summary_of,
        tallied,
    )

    if source is None:
        ballots, ask = read_json(read_bounded(None, INPUT_BYTES_MAX, "votes", "Give fewer."), ask)
    else:
        ballots = read_csv(source, channels, time)
    rounds = tallied(ballots, ask)
    if output is not None:
        write_whole(output, csv_of_rounds(rounds, ballots.heading), "the tallies")
    report = report_of(rounds, electorate_of(ballots, ask), ask, "" if output is None else str(output))
    if ballots.is_table or output is not None:
        if as_json:
            print_json(report)
        else:
            lines = [] if output is not None else lines_of_rounds(rounds, ballots.heading)
            click.echo("\n".join([*lines, *summary_of(report)]))
    elif as_json:
        print_json(rounds[0])
    else:
        click.echo("\n".join(lines_of_round(rounds[0], ballots.rounds[0][1], ask)))
    if report.won < report.rounds:
        raise AnswerNo


def _follow(ask: Ask, as_json: bool) -> None:
    from quorum.console.vote_follow import end_of, follow, line_of

    if ask.electorate is None:
        raise ConfigurationError(
            "votes were to be followed, but who may vote is not known, so nothing would ever be certain. Name all "
            "voters: --electorate a,b,c."
        )
    found = None
    for heard in follow(_lines(), ask.electorate, ask):
        found = heard.tally
        if as_json:
            print_json(heard)
        elif heard.line:
            click.echo(line_of(heard), err=not heard.counted)
    if not as_json:
        click.echo("\n".join(end_of(found)))
    if not found:
        raise AnswerNo


def _lines() -> Iterator[str]:
    """Lines of standard input as they come, of bounded length."""
    from quorum.console.vote_follow import LINE_CHARACTERS_MAX

    source = sys.stdin.buffer
    while line := source.readline(4 * LINE_CHARACTERS_MAX):
        yield line.decode("utf-8", "replace").lstrip("\ufeff")
        while len(line) == 4 * LINE_CHARACTERS_MAX and not line.endswith(b"\n"):
            line = source.readline(4 * LINE_CHARACTERS_MAX)  # the rest of what is too long
