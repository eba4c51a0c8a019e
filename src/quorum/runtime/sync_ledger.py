"""The ledger for code without an event loop: the asyncio one, on the client's thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from quorum.runtime.ledger_client import LedgerClient
from quorum.runtime.sync_lease import Caller

P = ParamSpec("P")
R = TypeVar("R")


def _blocking(
    method: Callable[Concatenate[LedgerClient, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[SyncLedgerClient, P], R]:
    """The same method, which blocks until it is done."""

    @wraps(method)
    def call(self: SyncLedgerClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.owner.call(lambda client: method(client.ledger, *args, **kwargs))

    return call


class SyncLedgerClient:
    """The ledger, blocking; arguments and results are those of runtime.ledger_client.LedgerClient."""

    def __init__(self, owner: Caller) -> None:
        self.owner = owner
        """Runs its requests."""

    submit = _blocking(LedgerClient.submit)
    check = _blocking(LedgerClient.check)
    get = _blocking(LedgerClient.get)
    blocks = _blocking(LedgerClient.blocks)
    block = _blocking(LedgerClient.block)
    query = _blocking(LedgerClient.query)
    prove = _blocking(LedgerClient.prove)
    prove_query = _blocking(LedgerClient.prove_query)
