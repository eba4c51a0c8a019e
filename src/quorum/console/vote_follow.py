"""Votes as they come: each line is a voter and an option, and the tally ends as soon as nothing can change it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from quorum.console.command import plain
from quorum.console.vote_input import OPTION, SHOWN, VOTER, Ask
from quorum.console.vote_shown import NAME_CHARACTERS_MAX, standing, verdict
from quorum.voting.tally import Tally, tally

LINE_CHARACTERS_MAX: Final = 4_096


class Heard(msgspec.Struct, frozen=True):
    """A line of the stream (from 1): who said what, whether it counted and else why not; and how it stands then,
    None while no vote has counted. The last one has the line 0 where the stream ended."""

    line: int
    voter: str
    said: str
    counted: bool
    why: str
    tally: Tally | None


def follow(lines: Iterable[str], electorate: Mapping[str, int], ask: Ask) -> Iterator[Heard]:
    """What becomes of each line. Ends with the line after which the tally is won or lost, or at the end of the
    stream; if the vote is `closed` no more votes come then. Of a voter who says two things the first counts.

    Raises ConfigurationError as `quorum.voting.tally.tally`.
    """
    open_ask = ask._replace(closed=False)
    said: dict[str, str] = {}
    now = _stand(said, electorate, open_ask)
    for number, line in enumerate(lines, 1):
        voter, option, why = _vote_in(line)
        names_columns = number == 1 and (voter, option) == (VOTER, OPTION) and VOTER not in electorate
        if names_columns or not (voter or why):
            continue
        why = why or _flaw(voter, option, said, electorate, ask)
        if not why:
            said[voter] = option
            now = _stand(said, electorate, open_ask)
        yield Heard(number, voter, option, not why, why, now)
        if now is not None and now.state != "pending":
            return
    yield Heard(0, "", "", False, "the stream ended", _stand(said, electorate, ask))


def _flaw(voter: str, option: str, said: Mapping[str, str], electorate: Mapping[str, int], ask: Ask) -> str:
    """Why a vote does not count; "" if it does."""
    if voter not in electorate:
        return "it is not in the electorate"
    if ask.options is not None and option not in ask.options:
        return "that is no option"
    if voter not in said:
        return ""
    if said[voter] == option:
        return "it said so before"
    return f"it said {plain(said[voter], SHOWN)!r} before, and the first counts"


def _stand(said: Mapping[str, str], electorate: Mapping[str, int], ask: Ask) -> Tally | None:
    options = ask.options or tuple(sorted(set(said.values())))
    return tally(said, electorate, options, ask.rule, ask.closed) if options else None


def _vote_in(line: str) -> tuple[str, str, str]:
    """Voter and option of a line, or why it is no vote."""
    if len(line) > LINE_CHARACTERS_MAX:
        return "", "", f"it has more than {LINE_CHARACTERS_MAX} characters"
    try:
        fields = [field.strip() for field in next(csv.reader([line], strict=True), [])]
    except csv.Error as error:
        return "", "", f"it cannot be read as CSV ({error})"
    if not any(fields):
        return "", "", ""
    if len(fields) != 2 or not all(fields):
        return "", "", "it is not a voter, a comma and an option"
    return fields[0], fields[1], ""


def line_of(heard: Heard) -> str:
    """For people."""
    if not heard.counted:
        who = plain(heard.voter, NAME_CHARACTERS_MAX) or f"line {heard.line}"
        said = f" {plain(heard.said, NAME_CHARACTERS_MAX)}" if heard.said else ""
        return f"not counted: {who}{said}: {heard.why}"
    assert heard.tally is not None, "a vote that counts is tallied"
    weights = ", ".join(
        f"{plain(option, NAME_CHARACTERS_MAX)} {weight}"
        for option, weight in heard.tally.weights.items()
        if weight
    )
    return f"{plain(heard.voter, NAME_CHARACTERS_MAX)}: {plain(heard.said, NAME_CHARACTERS_MAX)} ({weights})"


def end_of(found: Tally | None) -> list[str]:
    """The outcome for people."""
    return ["pending: nobody voted"] if found is None else [verdict(found), standing(found)]
