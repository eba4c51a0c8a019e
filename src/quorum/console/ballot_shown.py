"""Ballots as people read them, and as JSON has them."""

from __future__ import annotations

from typing import Any

from quorum.apps.ballot import BallotLine, BallotView
from quorum.apps.ballot_state import ENDED, VOTING
from quorum.certificate.ballot import BallotCertificate, ballot_id
from quorum.certificate.ballot_forms import shown_ballot
from quorum.console.command import plain
from quorum.voting.ballot.standing import Opinion, Standing
from quorum.voting.rule_text import rule_text

NAMES_SHOWN = 20
BAR_CELLS = 24


def opinion_text(opinion: Opinion | None) -> str:
    """An opinion as it is shown to people."""
    if opinion is None:
        return "nothing"
    if isinstance(opinion, tuple):
        return f"[{', '.join(f'{number:g}' for number in opinion)}]"
    return plain(opinion) if isinstance(opinion, str) else f"{opinion:g}"


def standing_text(standing: Standing, phase: str = ENDED) -> str:
    """How it stands, in one line. Votes count by their weight."""
    cast = f"{standing.cast} of {standing.total} cast"
    needed = "" if standing.needed is None else f", {standing.needed} decide"
    match standing.state:
        case "won":
            verb = "won" if phase == ENDED else "leads"
            return f"{verb}: {opinion_text(standing.opinion)} ({cast}{_sure(standing.withstands)})"
        case "lost":
            return (
                f"lost: {cast}{needed}, and nothing wins" if phase == ENDED else f"nothing leads: {cast}{needed}"
            )
    return f"pending: {cast}{needed}"


def _sure(withstands: int) -> str:
    return f"; the same whatever any {withstands} had said instead" if withstands else ""


def line_text(line: BallotLine) -> str:
    """A ballot in a list."""
    return f"{plain(line.name)}: {plain(line.question, 60)}  {phase_text(line.phase, line.round)}  " + (
        standing_text(line.standing, line.phase)
    )


def phase_text(phase: str, number: int) -> str:
    """Where it is."""
    return f"{phase}, round {number}" if number > 1 else phase


def view_lines(view: BallotView) -> list[str]:
    """A ballot in full."""
    terms, last = view.opening.terms, view.rounds[-1]
    lines = [
        f"{plain(terms.name)}: {plain(terms.question)}",
        f"  {phase_text(view.phase, len(view.rounds))}; {standing_text(view.standing, view.phase)}",
        f"  rule: {decided_by(view)}",
    ]
    lines += [f"  {text}" for text in _bars(view.standing)]
    if last.locked is not None:
        lines.append(f"  locked since an earlier round: only {plain(last.locked)!r} can win")
    voted = [vote.voter for vote in view.votes]
    revealed = [vote.voter for vote in view.votes if vote.opinion is not None and vote.nonce]
    silent = [name for name in last.participants if name not in set(voted)]
    standbys = [voter.name for voter in terms.electorate if voter.name not in set(last.participants)]
    gone = {name for each in view.rounds for name in each.participants} - set(last.participants)
    for label, names in (
        ("voted", voted),
        ("revealed", revealed),
        (
            "not revealed",
            [name for name in voted if terms.secret and view.phase != VOTING and name not in revealed],
        ),
        ("silent", silent),
        ("put out", sorted(gone | {lie.voter for lie in view.lies})),
        ("stand by", [name for name in standbys if name not in gone]),
    ):
        if names:
            lines.append(f"  {label}: {_names(names)}")
    if view.remaining_us is not None:
        lines.append(f"  ends in {view.remaining_us / 1e6:.0f} s at the latest")
    return lines


def decided_by(view: BallotView) -> str:
    """By what it is decided."""
    terms = view.opening.terms
    joined = {
        "value": "the median",
        "interval": "the points that all but T hold",
        "vector": "the median of each axis",
    }
    rule = terms.rule
    text = joined.get(terms.kind) or (rule.kind if rule.kind == "byzantine" else rule_text(rule))
    weight = sum(voter.weight for voter in terms.electorate)
    words = [text, f"N={len(terms.electorate)}"]
    words += [f"of weight {weight}"] if weight != len(terms.electorate) else []
    words += [f"T={terms.faults}"] if terms.faults else []
    flags = ("secret", "changeable", "transferable")
    return ", ".join(words + [flag for flag in flags if getattr(terms, flag)])


def view_fields(view: BallotView) -> dict[str, Any]:
    """What `--json` prints."""
    fields = shown_ballot(view)
    return {"name": view.opening.terms.name, "ballot": ballot_id(view.opening).hex(), **fields}


def certificate_line(certificate: BallotCertificate) -> str:
    """A certificate in one line."""
    return f"{plain(certificate.opening.terms.name)}: {standing_text(certificate.outcome.standing)}"


def _bars(standing: Standing) -> list[str]:
    if not standing.weights:
        return []
    width = max(len(plain(option)) for option in standing.weights)
    return [
        f"{plain(option):<{width}}  {'#' * round(BAR_CELLS * weight / standing.total):<{BAR_CELLS}}  {weight}"
        for option, weight in standing.weights.items()
    ]


def _names(names: list[str]) -> str:
    shown = ", ".join(plain(name, 80) for name in names[:NAMES_SHOWN])
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN} more"
