"""What programs give to ballots, checked and made plain: opinions, rules, names, times."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from quorum.errors import ConfigurationError, LocalProtocolError, WrongType
from quorum.voting.ballot.standing import Opinion, canonical, opinion_problem
from quorum.voting.ballot.terms import DURATION_US_MAX, MEASURED, Kind, Terms
from quorum.voting.tally import Rule

TIME_S_MAX = DURATION_US_MAX / 1e6


def checked_opinion(terms: Terms, opinion: object) -> Opinion:
    """One that the ballot can count, in its one spelling. Raises LocalProtocolError for any other."""
    said = _plain_numbers(opinion)
    problem = opinion_problem(terms, said)
    if problem is not None:
        raise LocalProtocolError(
            f"{opinion!r:.60} was to be voted in {terms.name!r}, but {problem}. "
            + ("Give numbers." if terms.kind in MEASURED else "Give one of the options.")
        )
    return canonical(said)  # type: ignore[arg-type]


def opinion_in(kind: Kind, text: str) -> Opinion:
    """An opinion as people write it, by the kind of the ballot. Raises ConfigurationError for what is no number
    where numbers are asked for."""
    if kind not in MEASURED:
        return text
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigurationError(
            f"{text[:60]!r} was to be voted, but this ballot asks for numbers. Write one, or several with commas "
            "between them."
        ) from None
    return numbers[0] if kind == "value" and len(numbers) == 1 else numbers


def _plain_numbers(opinion: object) -> object:
    """Numbers of other libraries as floats, and rows of them as tuples."""
    if isinstance(opinion, str | bytes | bool | int | float):
        return opinion
    try:
        if hasattr(opinion, "tolist"):  # an array of numpy, or one number of it
            opinion = opinion.tolist()
        if isinstance(opinion, list | tuple):
            return tuple(map(_plain_numbers, opinion))
        return float(opinion) if hasattr(opinion, "__float__") else opinion
    except (TypeError, ValueError, OverflowError):
        return opinion


def rule_in(text: object, faults: int) -> Rule:
    """A rule by its text; `faults` is T, by which byzantine goes. Raises LocalProtocolError for what is none."""
    kind, _, more = text.partition(":") if isinstance(text, str) else ("", "", "")
    numerator, slash, denominator = more.partition("/")
    try:
        if kind == "share" and slash:
            return Rule("share", int(numerator), int(denominator))
        if kind == "plurality" and more:
            return Rule("plurality", least=int(more))
        if kind != "share" and not more:
            return msgspec.convert({"kind": kind, "faults": faults if kind == "byzantine" else 0}, Rule)
    except (ValueError, msgspec.ValidationError):
        pass
    raise LocalProtocolError(
        f"a ballot was to be decided by {text!r:.40}, but there is no such rule. Give majority, share:2/3, "
        "unanimous, byzantine, plurality or plurality:3, or a voting.tally.Rule."
    )


def names_in(given: object, what: str) -> tuple[str, ...]:
    """Names in a list; a text alone would be taken for its letters. Raises WrongType for anything else."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise no_list(given, what)
    names = tuple(given)
    if not all(isinstance(name, str) for name in names):
        raise no_list(given, what)
    return names


def no_list(given: object, what: str) -> WrongType:
    """The error of what is no list of names."""
    return WrongType(f"{given!r:.60} was given as {what}, but that is a list of names. Write it like ['a', 'b'].")


def microseconds(seconds: object) -> int:
    """A time as terms have it. Raises LocalProtocolError for what is no time."""
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds <= TIME_S_MAX:
        return round(seconds * 1e6)
    raise LocalProtocolError(
        f"{seconds!r:.40} was given as a time, but a time is a number of seconds from 0 to a year. Correct it."
    )


def text_in(value: object) -> str:
    """A name that can be sent. Raises WrongType for what is no text of Unicode."""
    if isinstance(value, str) and value.encode(errors="ignore").decode() == value:
        return value
    raise WrongType(f"{value!r:.60} was given, but names are text of Unicode. Give it as str.")
