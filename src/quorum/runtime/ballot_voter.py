"""Programs that vote: whenever a ballot asks their voter, they are asked, and what they say is voted."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, TypeAlias, cast

import msgspec

from quorum.apps.ballot import ALL, BallotView
from quorum.apps.ballot_state import VOTING
from quorum.certificate.ballot import ballot_id
from quorum.certificate.ballot_forms import shown_ballot
from quorum.errors import ApplicationError, ConfigurationError, LocalProtocolError, QuorumError
from quorum.runtime.ballot_client import BallotClient
from quorum.runtime.webhook import Webhook
from quorum.voting.ballot.standing import Opinion
from quorum.voting.ballot.terms import MEASURED

Decide: TypeAlias = Callable[[BallotView], "Awaitable[Opinion | None] | Opinion | None"]
"""What a voter says to a ballot. None: nothing, and it is not asked again in this round."""


class Voted(msgspec.Struct, frozen=True):
    """What became of a ballot that was asked: the vote, or why there is none."""

    ballot: str
    opinion: str | float | tuple[float, ...] | None
    problem: str = ""


async def vote_always(
    ballots: BallotClient,
    voter: str,
    decide: Decide,
    told: Callable[[Voted], None] | None = None,
) -> None:
    """Vote as `voter` in every ballot that asks for it, until it is cancelled. Ballots are asked one after the
    other; what `decide` raises is told, and costs this one vote in this round."""
    asked: dict[bytes, int] = {}
    async for _ in ballots.stirrings(ALL):
        try:
            names = [line.name async for line in ballots.list(voter=voter)]
            for name in names:
                await _attend(ballots, voter, decide, told or _nobody, asked, name)
        except (ConfigurationError, LocalProtocolError):
            raise
        except QuorumError:
            continue  # the next stir, or the reconnection, tries again


async def _attend(
    ballots: BallotClient,
    voter: str,
    decide: Decide,
    told: Callable[[Voted], None],
    asked: dict[bytes, int],
    name: str,
) -> None:
    try:
        view = await ballots.look(name)
    except ApplicationError:
        return  # it was forgotten meanwhile
    ballot, number = ballot_id(view.opening), len(view.rounds)
    if view.phase != VOTING or asked.get(ballot) == number:
        return
    opinion, problem = await _opinion(decide, view)
    try:
        if opinion is not None:
            await ballots.vote(name, opinion, voter)
    except (ApplicationError, LocalProtocolError) as error:
        opinion, problem = None, str(error)  # it ended meanwhile, or what was said is no opinion
    asked[ballot] = number
    if opinion is not None or problem:
        told(Voted(name, opinion, problem))


async def _opinion(decide: Decide, view: BallotView) -> tuple[Opinion | None, str]:
    try:
        said = decide(view)
        return (await said if inspect.isawaitable(said) else said), ""
    except asyncio.CancelledError:
        raise
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"[:300]


def _nobody(voted: Voted) -> None:
    pass


def said_by(webhook: Webhook) -> Decide:
    """A voter that asks a webhook."""

    async def decide(view: BallotView) -> Opinion | None:
        terms = view.opening.terms
        question = {
            "ballot": terms.name,
            "id": ballot_id(view.opening).hex(),
            "question": terms.question,
            "kind": terms.kind,
            "options": list(terms.choices),
            "axes": terms.axes,
            "round": len(view.rounds),
            "standing": shown_ballot(view.standing),
        }
        answer = await webhook.ask(question)
        if answer is None:
            return None
        if not isinstance(answer, dict) or "opinion" not in answer:
            raise ConfigurationError(
                f'{webhook.url} was asked for an opinion, but its answer has none. Answer {{"opinion": ...}}.'
            )
        said = answer["opinion"]
        return cast("Opinion | None", tuple(said) if isinstance(said, list) else said)

    return decide


def always_say(text: str) -> Decide:
    """A voter of one opinion, read by the kind of each ballot."""

    def decide(view: BallotView) -> Opinion | None:
        if view.opening.terms.kind not in MEASURED:
            return text
        numbers = tuple(float(part) for part in text.split(","))
        return numbers[0] if view.opening.terms.kind == "value" and len(numbers) == 1 else numbers

    return decide


def callable_named(name: str) -> Decide:
    """The callable MODULE:FUNCTION. Raises ConfigurationError where there is none."""
    module, _, function = name.partition(":")
    try:
        found: Any = getattr(import_module(module), function)
    except Exception as error:  # whatever a module does that is imported
        raise ConfigurationError(
            f"{name[:80]!r} was to be asked for opinions, but it cannot be imported: {type(error).__name__}: "
            f"{error}. Write MODULE:FUNCTION, of a module that Python finds."
        ) from None
    if not callable(found):
        raise ConfigurationError(
            f"{name[:80]!r} was to be asked for opinions, but it cannot be called. Name another."
        )
    return cast("Decide", found)
