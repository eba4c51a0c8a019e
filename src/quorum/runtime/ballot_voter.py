"""Programs that vote: whenever a ballot asks their voter, they are asked, and what they say is voted."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from importlib import import_module
from typing import Any, TypeAlias, cast

import msgspec

from quorum.apps.ballot import ALL, BallotView
from quorum.apps.ballot_state import VOTING
from quorum.certificate.ballot import ballot_id
from quorum.certificate.ballot_forms import shown_ballot
from quorum.errors import ApplicationError, ConfigurationError, LocalProtocolError, QuorumError
from quorum.runtime.ballot_arguments import opinion_in
from quorum.runtime.ballot_client import BallotClient
from quorum.runtime.webhook import Webhook
from quorum.voting.ballot.standing import Opinion

Decide: TypeAlias = Callable[[BallotView], "Awaitable[Opinion | None] | Opinion | None"]
"""What a voter says to a ballot. None: nothing, and it is not asked again in this round."""
AGAIN_S = 1.0
AGAIN_S_MAX = 60.0
"""After such a pause, twice as long each time, whoever failed to answer is asked again."""


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
    other. Where `decide` raises, that is told, and it is asked again after a while."""
    attendant = _Attendance(ballots, voter, decide, told or _nobody)
    async with aclosing(ballots.stirrings(ALL)) as stirrings:
        stirred = asyncio.ensure_future(anext(stirrings, False))
        try:
            while True:
                done, _ = await asyncio.wait((stirred,), timeout=attendant.next_try_s())
                if done:
                    if stirred.result() is False:
                        return
                    stirred = asyncio.ensure_future(anext(stirrings, False))
                await attendant.look_round()
        finally:
            stirred.cancel()
            await asyncio.gather(stirred, return_exceptions=True)


class _Attendance:
    """What one voter was asked. `_asked`: the round of each ballot in which it has said all that it will;
    `_again`: when a ballot is asked again whose answer failed, and after what pause."""

    def __init__(self, ballots: BallotClient, voter: str, decide: Decide, told: Callable[[Voted], None]) -> None:
        self._ballots, self._voter, self._decide, self._told = ballots, voter, decide, told
        self._asked: dict[bytes, int] = {}
        self._again: dict[bytes, tuple[float, float]] = {}
        self._failed: dict[bytes, tuple[float, float]] = {}

    def next_try_s(self) -> float | None:
        """Seconds until a ballot is to be asked again; None: none is."""
        now_s = asyncio.get_running_loop().time()
        return min((max(0.0, at_s - now_s) for at_s, _ in self._again.values()), default=None)

    async def look_round(self) -> None:
        """Ask whatever wants a vote now."""
        self._failed, self._again = self._again, {}  # what wants no vote any more is not asked again
        try:
            names = [line.name async for line in self._ballots.list(voter=self._voter)]
            for name in names:
                await self._attend(name)
        except (ConfigurationError, LocalProtocolError):
            raise
        except QuorumError:
            soon_s = asyncio.get_running_loop().time() + AGAIN_S
            self._again = {each: (max(at_s, soon_s), pause_s) for each, (at_s, pause_s) in self._failed.items()}

    async def _attend(self, name: str) -> None:
        try:
            view = await self._ballots.look(name)
        except ApplicationError:
            return  # it was forgotten meanwhile
        ballot, number = ballot_id(view.opening), len(view.rounds)
        if view.phase != VOTING or self._asked.get(ballot) == number:
            return
        at_s, pause_s = self._failed.get(ballot, (0.0, AGAIN_S / 2))
        if asyncio.get_running_loop().time() < at_s:
            self._again[ballot] = at_s, pause_s
            return
        opinion, problem = await _opinion(self._decide, view)
        if problem:
            pause_s = min(2 * pause_s, AGAIN_S_MAX)
            self._again[ballot] = (asyncio.get_running_loop().time() + pause_s, pause_s)
        else:
            self._asked[ballot] = number
        try:
            if opinion is not None:
                await self._ballots.vote(name, opinion, self._voter)
        except (ApplicationError, LocalProtocolError) as error:
            opinion, problem = None, str(error)  # it ended meanwhile, or what was said is no opinion
        if opinion is not None or problem:
            self._told(Voted(name, opinion, problem))


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
            "remaining_s": None if view.remaining_us is None else view.remaining_us / 1e6,
            "standing": shown_ballot(view.standing),
        }
        answer = await webhook.ask(question)
        if answer is None:
            return None
        if not isinstance(answer, dict) or "opinion" not in answer:
            raise QuorumError(
                f'{webhook.url} was asked for an opinion, but its answer has none. Answer {{"opinion": ...}}.'
            )
        said = answer["opinion"]
        return cast("Opinion | None", tuple(said) if isinstance(said, list) else said)

    return decide


def always_say(text: str) -> Decide:
    """A voter of one opinion, read by the kind of each ballot."""

    def decide(view: BallotView) -> Opinion | None:
        return opinion_in(view.opening.terms.kind, text)

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
