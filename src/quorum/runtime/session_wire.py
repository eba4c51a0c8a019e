"""What a client's session needs of whoever owns it."""

from __future__ import annotations

from typing import Protocol

from quorum.errors import QuorumError
from quorum.runtime.watching import Owner


class Wire(Owner, Protocol):
    """What the session needs of its owner: one connection at a time, and someone to tell, also of watches."""

    def connect(self, endpoint: str, delay_us: int) -> None:
        """Drop the present connection; after a pause open one to `endpoint`, then call `connected` or, if it
        fails, `disconnected`."""
        ...

    def wake(self, delay_us: int) -> None:
        """Call `tick` after `delay_us`; an earlier wish is forgotten."""
        ...

    def finished(self, handle: int, status: int, body: bytes) -> None: ...

    def failed(self, handle: int, error: QuorumError) -> None: ...
