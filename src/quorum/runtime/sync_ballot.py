"""Ballots for code without an event loop: the asyncio ones, on the client's thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from quorum.apps.ballot import BallotLine, BallotView
from quorum.errors import LocalProtocolError
from quorum.runtime.ballot_client import BallotClient
from quorum.runtime.sync_lease import Caller

P = ParamSpec("P")
R = TypeVar("R")


def _blocking(
    method: Callable[Concatenate[BallotClient, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[SyncBallotClient, P], R]:
    """The same method, which blocks until it is done."""

    @wraps(method)
    def call(self: SyncBallotClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.owner.call(lambda client: method(client.ballot, *args, **kwargs))

    return call


class SyncBallotClient:
    """The ballots, blocking; arguments and results are those of runtime.ballot_client.BallotClient."""

    def __init__(self, owner: Caller) -> None:
        self.owner = owner
        """Runs its requests."""

    open = _blocking(BallotClient.open)
    open_terms = _blocking(BallotClient.open_terms)
    look = _blocking(BallotClient.look)
    vote = _blocking(BallotClient.vote)
    reveal = _blocking(BallotClient.reveal)
    adapt = _blocking(BallotClient.adapt)
    accuse = _blocking(BallotClient.accuse)
    close = _blocking(BallotClient.close)
    forget = _blocking(BallotClient.forget)
    certificate = _blocking(BallotClient.certificate)
    outcome = _blocking(BallotClient.outcome)

    def list(self, start: str = "", voter: str = "") -> list[BallotLine]:
        """As BallotClient.list, all at once."""

        async def gathered(client: Any) -> list[BallotLine]:
            return [line async for line in client.ballot.list(start, voter)]

        return self.owner.call(gathered)

    def watch(self, name: str) -> Iterator[BallotView]:
        """As BallotClient.watch; each step blocks until there is something new."""

        async def begin(client: Any) -> Any:
            return client.ballot.watch(name)

        views = self.owner.call(begin)

        async def following(_: Any) -> BallotView | None:
            return await anext(views, None)

        async def end(_: Any) -> None:
            await views.aclose()

        try:
            while (view := self.owner.call(following)) is not None:
                yield view
        finally:
            with suppress(LocalProtocolError):  # a client that was closed has ended its watches
                self.owner.call(end)
