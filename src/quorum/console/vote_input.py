"""The input of a tally: electorates as they are written, and votes as JSON or CSV, each voter once."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from quorum.console.columns import are_values, not_of_voters, separator_of
from quorum.console.command import plain
from quorum.console.documents import read_bounded
from quorum.errors import ConfigurationError
from quorum.voting.rule_text import is_whole
from quorum.voting.tally import OPTIONS_MAX, WEIGHT_MAX, Rule

INPUT_BYTES_MAX: Final = 64 * 2**20
VOTER, OPTION, WEIGHT = "voter", "option", "weight"
SHOWN: Final = 40


class Ask(NamedTuple):
    """What a tally is asked beside the votes. None: it follows from them."""

    rule: Rule
    electorate: Mapping[str, int] | None = None
    options: tuple[str, ...] | None = None
    closed: bool = False


class Votes(NamedTuple):
    """`rounds`: what each is called, and what its voters said; an absent voter did not vote. `voters` are all that
    the input names, with their weights, if it `has_weights`. `is_table`: a row was a round."""

    rounds: tuple[tuple[str, Mapping[str, str]], ...]
    voters: Mapping[str, int]
    has_weights: bool = False
    is_table: bool = False
    heading: str = "round"


def electorate_in(text: str) -> dict[str, int]:
    """Voters with commas between them, as in a,b=2,c: b has the weight 2. Raises ConfigurationError."""
    found: dict[str, int] = {}
    for part in text.split(","):
        name, has_weight, weight = (each.strip() for each in part.partition("="))
        if not name or name in found or (has_weight and not _is_weight(weight)):
            raise ConfigurationError(
                f"--electorate has {plain(part, SHOWN)!r}, but it names voters with commas between them, each "
                "once, and weights are whole numbers of 1 or more, as in a,b=2,c. Correct it."
            )
        found[name] = int(weight) if has_weight else 1
    return found


def _is_weight(text: str) -> bool:
    return is_whole(text) and 1 <= int(text) <= WEIGHT_MAX


def names_in(text: str, what: str) -> tuple[str, ...]:
    """Names with commas between them, each once. Raises ConfigurationError."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise ConfigurationError(
            f"{what} {plain(text, SHOWN)!r} was given, but names have commas between them, and each stands there "
            "once. Correct it."
        )
    return names


# --- JSON -------------------------------------------------------------------------------------------------


class Pairs(list[tuple[str, Any]]):
    """A JSON object before anything that is said twice has got lost."""


def read_json(data: bytes, ask: Ask) -> tuple[Votes, Ask]:
    """One JSON object: `votes`, and as far as the command line does not say it `electorate`, `options`, `closed`.
    Raises ConfigurationError for what is none."""
    try:
        found = json.loads(data, object_pairs_hook=Pairs)
    except (ValueError, RecursionError) as error:
        raise _no_votes(f"it is no JSON: {plain(str(error), 200)}") from None
    if not isinstance(found, Pairs):
        raise _no_votes("it is no JSON object")
    given = dict(found)
    unknown = [key for key in given if key not in ("votes", "electorate", "options", "closed")]
    if "votes" not in given or unknown or len(given) < len(found):
        why = (
            f"it knows no {plain(unknown[0], SHOWN)!r}"
            if unknown
            else "'votes' is missing, or a key is there twice"
        )
        raise _no_votes(why)
    cast = VoteReader()
    _note_json(cast, given["votes"])
    electorate, options = _electorate(given.get("electorate")), _options(given.get("options"))
    closed = given.get("closed", False)
    if not isinstance(closed, bool):
        raise _no_votes("'closed' is neither true nor false")
    for key, one, other in (("electorate", electorate, ask.electorate), ("options", options, ask.options)):
        if one is not None and other is not None:
            raise ConfigurationError(
                f"the {key} of a tally was given by --{key} and in the input, but one alone can count. Leave the "
                "other out."
            )
    asked = ask._replace(
        electorate=ask.electorate if electorate is None else electorate,
        options=ask.options if options is None else options,
        closed=ask.closed or closed,
    )
    return cast.ballots(), asked


def _note_json(cast: VoteReader, votes: Any) -> None:
    if isinstance(votes, Pairs):
        for number, (voter, option) in enumerate(votes, 1):
            cast.note(voter, _text_or_none(option), None, f"vote {number}")
        return
    if not isinstance(votes, list):
        raise _no_votes("'votes' is no object of voters and their options, and no list of votes")
    for number, each in enumerate(votes, 1):
        where = f"vote {number}"
        vote = dict(each) if isinstance(each, Pairs) else {}
        unknown = [key for key in vote if key not in (VOTER, OPTION, WEIGHT)]
        if VOTER not in vote or OPTION not in vote or unknown or len(vote) < len(each):
            raise _no_votes(f"{where} is no object with 'voter' and 'option', and 'weight' where it has one")
        weight = vote.get(WEIGHT)
        if not isinstance(vote[VOTER], str) or not (weight is None or _is_json_weight(weight)):
            raise _no_votes(
                f"{where} has a voter that is no text, or a weight that is no whole number of 1 or more"
            )
        cast.note(vote[VOTER], _text_or_none(vote[OPTION]), weight, where)


def _is_json_weight(weight: Any) -> bool:
    return type(weight) is int and 1 <= weight <= WEIGHT_MAX


def _text_or_none(option: Any) -> str:
    if option is None:
        return ""
    if not isinstance(option, str):
        raise _no_votes(f"the option {plain(str(option), SHOWN)} is neither a text nor null")
    return option


def _electorate(given: Any) -> dict[str, int] | None:
    if given is None:
        return None
    pairs = given if isinstance(given, Pairs) else [(name, 1) for name in given] if isinstance(given, list) else []
    is_good = all(isinstance(name, str) and name.strip() and _is_json_weight(weight) for name, weight in pairs)
    found = {name.strip(): weight for name, weight in pairs} if is_good else {}
    if not found or len(found) < len(pairs):
        raise _no_votes("'electorate' is no list of voters, and no object of their weights, each voter once")
    return found


def _options(given: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    if not isinstance(given, list) or not all(isinstance(each, str) and each.strip() for each in given):
        raise _no_votes("'options' is no list of texts")
    return tuple(each.strip() for each in given)


def _no_votes(why: str) -> ConfigurationError:
    return ConfigurationError(
        f'votes were to be read, but {why}. Give one object, as in {{"votes": {{"ann": "yes", "bob": "no"}}, '
        '"electorate": ["ann", "bob", "cy"]}.'
    )


# --- CSV --------------------------------------------------------------------------------------------------


def read_csv(path: Path, channels: str | None, time: str | None) -> Votes:
    """The votes of a file with the columns voter, option and perhaps weight (in letters of any case), or with a
    row for each round and a column for each voter. Raises ConfigurationError for what is neither, and where a
    column can hardly be a voter's, unless `channels` names it."""
    data = read_bounded(path, INPUT_BYTES_MAX, "votes", "Tally the rounds in several files.")
    try:
        rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        columns = [name.strip() for name in next(rows, [])]
        lines = [(rows.line_num, row) for row in rows if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise _wrong(path, f"it is no CSV: {plain(str(error), 200)}", "Save it as CSV, in UTF-8") from None
    _check_names(path, columns, channels)
    for line, row in lines:
        if len(row) != len(columns):
            raise _wrong(path, f"line {line} has {len(row)} fields for {len(columns)} columns", "Correct it")
    if channels is None and _is_list(path, columns, time):
        return _list_of_votes(path, [name.lower() for name in columns], lines)
    return _table_of_rounds(path, columns, lines, channels, time)


def _check_names(path: Path, columns: Sequence[str], channels: str | None) -> None:
    separator = separator_of(columns)
    if separator:
        why = f"its first line has no commas: {plain(columns[0], SHOWN)!r}"
        raise _wrong(path, why, f"Is it separated by {separator}? Save it with commas")
    if not columns or not all(columns) or len(set(columns)) < len(columns):
        raise _wrong(
            path, "its first line does not name its columns, each once", "Put a line of names before the rows"
        )
    if len(columns) == 1:
        why = f"it has one column, {plain(columns[0], SHOWN)!r}, and nothing that says whose votes they are"
        raise _wrong(path, why, "Give it the columns voter and option, or one for each voter")
    if channels is None and are_values(columns):
        why = "its first line has numbers or times in place of names"
        raise _wrong(path, why, "Put a line of names before the rows, or name the columns of voters: --channels")


def _is_list(path: Path, columns: Sequence[str], time: str | None) -> bool:
    """Whether the columns are those of a list of votes. Raises ConfigurationError where they are so in part."""
    lowered = [name.lower() for name in columns]
    found = [name for name in (VOTER, OPTION, WEIGHT) if name in lowered]
    if VOTER not in found and OPTION not in found:
        return False
    remedy = "Name the columns voter, option and perhaps weight; or, in a table of rounds, all voters: --channels"
    twice = [name for name in found if lowered.count(name) > 1]
    if twice:
        raise _wrong(path, f"it has two columns named {twice[0]!r}, large and small letters aside", remedy)
    lacking = [name for name in (VOTER, OPTION) if name not in found]
    if lacking:
        there = plain(columns[lowered.index(found[0])], SHOWN)
        raise _wrong(
            path, f"it has a column {there!r}, as a list of votes has, and none named {lacking[0]}", remedy
        )
    if time in columns:
        why = f"it has the columns voter and option, as a list of votes, and --time {plain(time or '', SHOWN)}"
        raise _wrong(path, why, "Such a list is one round: give a file for each, or name all voters: --channels")
    return time is None


def _list_of_votes(path: Path, columns: Sequence[str], lines: Sequence[tuple[int, list[str]]]) -> Votes:
    unknown = [name for name in columns if name not in (VOTER, OPTION, WEIGHT)]
    if unknown:
        raise _wrong(
            path,
            f"it has the columns voter and option, and {plain(unknown[0], SHOWN)!r}, which counts for nothing",
            "Take it out, or name the columns of voters with --channels",
        )
    cast = VoteReader()
    for line, row in lines:
        given = dict(zip(columns, row, strict=True))
        weight = given.get(WEIGHT, "").strip()
        if weight and not _is_weight(weight):
            why = f"line {line} has the weight {plain(weight, SHOWN)!r}"
            raise _wrong(path, why, "Weights are whole numbers of 1 or more")
        cast.note(given[VOTER], given[OPTION], int(weight) if weight else None, f"line {line}")
    return cast.ballots()


def _table_of_rounds(
    path: Path,
    columns: Sequence[str],
    lines: Sequence[tuple[int, list[str]]],
    channels: str | None,
    time: str | None,
) -> Votes:
    voters = (
        tuple(name for name in columns if name != time) if channels is None else names_in(channels, "--channels")
    )
    missing = [name for name in (*voters, *([] if time is None else [time])) if name not in columns]
    if missing or not voters:
        why = f"it has no column {plain(missing[0], SHOWN)!r}" if missing else "no voters are left"
        raise _wrong(path, why, f"Its columns are {', '.join(plain(name, SHOWN) for name in columns[:12])}")
    if not lines:
        raise _wrong(path, "it has no rows", "Give one for each round, or for each vote")
    places = [columns.index(name) for name in voters]
    if channels is None:
        _check_voters(
            path,
            {name: [row[place].strip() for _, row in lines] for name, place in zip(voters, places, strict=True)},
        )
    at = None if time is None else columns.index(time)
    rounds = []
    for number, (_, row) in enumerate(lines):
        said = {name: row[place].strip() for name, place in zip(voters, places, strict=True) if row[place].strip()}
        rounds.append((str(number) if at is None else row[at], said))
    return Votes(tuple(rounds), dict.fromkeys(voters, 1), is_table=True, heading=time or "round")


def _check_voters(path: Path, columns: Mapping[str, Sequence[str]]) -> None:
    """Raise ConfigurationError where a column can hardly be a voter's: it would count as one that never agrees."""
    found = not_of_voters(columns)
    if found is None:
        return
    name, why = found
    raise _wrong(
        path,
        f"the column {plain(name, SHOWN)!r} {why}, so it seems to be no voter's",
        "If it says which round a row is, name it with --time; else name all columns of voters with --channels. A "
        "list of votes has the columns voter and option; measured numbers are for quorum fuse",
    )


def _wrong(path: Path, why: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"votes were to be read from {plain(str(path), 200)}, but {why}. {remedy}.")


# --- each voter once --------------------------------------------------------------------------------------


class VoteReader:
    """Votes as they come, one of each voter. Who says the same again counts once."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[str, str]] = {}
        self._weights: dict[str, tuple[int | None, str]] = {}

    def note(self, voter: str, option: str, weight: int | None, where: str) -> None:
        """A vote, or with a blank option a voter without one. Raises ConfigurationError where the voter said
        something else before, or weighed something else."""
        name, choice = voter.strip(), option.strip()
        if not name:
            raise ConfigurationError(
                f"votes were to be read, but {where} names no voter, who counts once. Name it, or take it out."
            )
        before, first = self._said.get(name, (choice, where))
        if choice and choice != before:
            raise _contradiction(name, f"votes for {_shown(before)} ({first}) and for {_shown(choice)} ({where})")
        known, first = self._weights.setdefault(name, (weight, where))
        if weight != known:
            raise _contradiction(name, f"weighs {known or 1} ({first}) and {weight or 1} ({where})")
        if choice:
            self._said.setdefault(name, (choice, where))

    def ballots(self) -> Votes:
        """All that was noted, as one round."""
        said = {name: choice for name, (choice, _) in self._said.items()}
        has_weights = any(weight is not None for weight, _ in self._weights.values())
        voters = {name: weight or 1 for name, (weight, _) in self._weights.items()}
        return Votes((("0", said),), voters, has_weights)


def _shown(text: str) -> str:
    return repr(plain(text, SHOWN))


def _contradiction(voter: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"votes were to be tallied, but {_shown(voter)} {what}, and each voter counts once. Leave one of the two."
    )


def electorate_of(ballots: Votes, ask: Ask) -> Mapping[str, int]:
    """Who may vote, with weights: who was named as that, else all that the votes name. Raises ConfigurationError
    where weights are in both."""
    if ask.electorate is None:
        return ballots.voters
    if ballots.has_weights:
        raise ConfigurationError(
            "an electorate was given, and votes with weights, but one of them alone can say what a voter weighs. "
            "Put the weights into the electorate, or leave it out."
        )
    return ask.electorate


def options_of(ballots: Votes, electorate: Mapping[str, int], ask: Ask) -> tuple[str, ...]:
    """The options: those that were named, else those that voters chose, by name. Raises ConfigurationError where
    there are none."""
    if ask.options is not None:
        return ask.options
    found = {option for _, said in ballots.rounds for voter, option in said.items() if voter in electorate}
    if not found:
        raise ConfigurationError(
            "votes were to be tallied, but nobody who may voted, so there is nothing to choose from. Name the "
            "options: --options."
        )
    if len(found) > OPTIONS_MAX:
        raise ConfigurationError(
            f"votes were to be tallied, but they are for {len(found):,} options, and a vote has {OPTIONS_MAX:,} "
            "at most. Name the options: --options. Measured numbers are for quorum fuse."
        )
    return tuple(sorted(found))
