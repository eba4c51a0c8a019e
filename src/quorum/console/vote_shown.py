"""Tallies as people and programs read them: of one round, of many, and of one that is going on."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from quorum.console.command import plain
from quorum.console.vote_input import Ask, Votes, electorate_of, options_of
from quorum.voting.rule_text import rule_text
from quorum.voting.tally import State, Tally, tally

NAMES_MAX: Final = 12
NAME_CHARACTERS_MAX: Final = 60


class RoundTally(msgspec.Struct, frozen=True):
    """The tally of one round, and what it leaves out: voters who did not vote yet, votes of those who are not in
    the electorate, and votes for what is no option (voter and option)."""

    round: str
    state: State
    option: str | None
    weights: dict[str, int]
    cast: int
    total: int
    needed: int | None
    withstands: int
    missing: tuple[str, ...]
    strangers: tuple[str, ...]
    no_options: dict[str, str]


class Report(msgspec.Struct, frozen=True):
    """How many rounds were won, lost and are pending, by which voters, and where they were written to."""

    rule: str
    voters: tuple[str, ...]
    rounds: int
    won: int
    lost: int
    pending: int
    tallies: tuple[RoundTally, ...] = ()
    output: str = ""


def tallied(ballots: Votes, ask: Ask) -> tuple[RoundTally, ...]:
    """Each round, tallied. Raises ConfigurationError as `quorum.voting.tally.tally`, and where no option is
    known."""
    electorate = electorate_of(ballots, ask)
    options = options_of(ballots, electorate, ask)
    known: dict[tuple[tuple[str, str], ...], RoundTally] = {}
    found = []
    for name, said in ballots.rounds:
        key = tuple(said.items())
        if key not in known:  # many rounds are alike
            known[key] = round_of(name, said, electorate, options, ask)
        found.append(msgspec.structs.replace(known[key], round=name))
    return tuple(found)


def round_of(
    name: str, said: Mapping[str, str], electorate: Mapping[str, int], options: Sequence[str], ask: Ask
) -> RoundTally:
    """One round, tallied."""
    result = tally(said, electorate, options, ask.rule, ask.closed)
    is_option = set(options)
    return RoundTally(
        name,
        result.state,
        result.option,
        result.weights,
        result.cast,
        result.total,
        result.needed,
        result.withstands,
        tuple(voter for voter in electorate if voter not in said),
        tuple(voter for voter in said if voter not in electorate),
        {voter: option for voter, option in said.items() if voter in electorate and option not in is_option},
    )


def report_of(rounds: Sequence[RoundTally], voters: Iterable[str], ask: Ask, output: str = "") -> Report:
    """How many rounds ended how; with the rounds themselves, unless a file has them."""
    states = [each.state for each in rounds]
    counts = (len(states), states.count("won"), states.count("lost"), states.count("pending"))
    return Report(rule_text(ask.rule), tuple(voters), *counts, () if output else tuple(rounds), output)


def lines_of_round(found: RoundTally, said: Mapping[str, str], ask: Ask) -> list[str]:
    """One round for people: the outcome, each option with its weight and voters, and what is missing."""
    lines = [f"{verdict(found)} ({rule_text(ask.rule)})"]
    ordered = sorted(found.weights, key=lambda option: (-found.weights[option], option))
    shown = [plain(option, NAME_CHARACTERS_MAX) for option in ordered]
    widest = max(map(len, shown))
    digits = max(len(str(weight)) for weight in found.weights.values())
    for option, name in zip(ordered, shown, strict=True):
        left_out = {*found.strangers, *found.no_options}
        voters = names_of([voter for voter in said if said[voter] == option and voter not in left_out])
        lines.append(f"  {name:{widest}}  {found.weights[option]:{digits}}  {voters}".rstrip())
    lines.append(standing(found))
    lines += [f"not yet: {names_of(found.missing)}"] if found.missing and not ask.closed else []
    lines += [f"not in the electorate: {names_of(found.strangers)}"] if found.strangers else []
    lines += [f"for no option: {names_of(tuple(found.no_options))}"] if found.no_options else []
    return lines


def verdict(found: RoundTally | Tally) -> str:
    """The outcome in a few words."""
    match found.state:
        case "won":
            return f"won: {plain(found.option or '', NAME_CHARACTERS_MAX)}"
        case "lost":
            return "lost: no option can win any more"
    return "pending: votes to come decide"


def standing(found: RoundTally | Tally) -> str:
    """How much was cast, what is needed, and how sure a winner is."""
    needed = "more than any other needed" if found.needed is None else f"{found.needed} needed"
    text = f"{found.cast} of {found.total} cast, {needed}"
    if found.state == "won" and not found.withstands:
        text += "; one liar could have changed it"
    elif found.state == "won":
        text += f"; the same if {found.withstands} voter{'s' * (found.withstands > 1)} lied"
    return text


def names_of(names: Sequence[str]) -> str:
    """Names for people, and how many more there are."""
    shown = ", ".join(plain(name, NAME_CHARACTERS_MAX) for name in names[:NAMES_MAX])
    return shown + (f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else "")


def lines_of_rounds(rounds: Sequence[RoundTally], heading: str) -> list[str]:
    """A row for each round."""
    rows = [(heading, "state", "option", "cast", "weights")]
    for each in rounds:
        weights = ", ".join(
            f"{plain(option, NAME_CHARACTERS_MAX)} {weight}" for option, weight in each.weights.items() if weight
        )
        name, option = plain(each.round, NAME_CHARACTERS_MAX), plain(each.option or "-", NAME_CHARACTERS_MAX)
        rows.append((name, each.state, option, f"{each.cast} of {each.total}", weights))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def summary_of(report: Report) -> list[str]:
    """The counts for people, and the file."""
    line = f"{report.rule}: of {report.rounds:,} rounds {report.won:,} won, {report.lost:,} lost, "
    lines = [f"{line}{report.pending:,} pending", f"voters: {names_of(report.voters)}"]
    return lines + ([f"written: {plain(report.output, 200)}"] if report.output else [])


def csv_of_rounds(rounds: Sequence[RoundTally], heading: str) -> bytes:
    """A row for each round, with a column for the weight of each option."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    options = list(rounds[0].weights)
    names = (heading, "state", "option", "cast", "total", "needed", "withstands")
    writer.writerow((*names, *(f"weight of {option}" for option in options)))
    for each in rounds:
        needed = "" if each.needed is None else each.needed
        row = (each.round, each.state, each.option or "", each.cast, each.total, needed, each.withstands)
        writer.writerow((*row, *(each.weights[option] for option in options)))
    return text.getvalue().encode()
