"""Control loops for code without an event loop: the asyncio ones, on the client's thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from quorum.runtime.control_client import ControlClient
from quorum.runtime.sync_lease import Caller

P = ParamSpec("P")
R = TypeVar("R")


def _blocking(
    method: Callable[Concatenate[ControlClient, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[SyncControlClient, P], R]:
    """The same method, which blocks until it is done."""

    @wraps(method)
    def call(self: SyncControlClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.owner.call(lambda client: method(client.control, *args, **kwargs))

    return call


class SyncControlClient:
    """Control loops, blocking; arguments and results are those of runtime.control_client.ControlClient."""

    def __init__(self, owner: Caller) -> None:
        self.owner = owner
        """Runs its requests."""

    declare = _blocking(ControlClient.declare)
    remove = _blocking(ControlClient.remove)
    look = _blocking(ControlClient.look)
    loops = _blocking(ControlClient.loops)
    report = _blocking(ControlClient.report)
    due = _blocking(ControlClient.due)
    decision = _blocking(ControlClient.decision)
    decided_since = _blocking(ControlClient.decided_since)
