"""One connection that watches, as the hub of its node sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from quorum.entry import Buffer


class Client(Protocol):
    """One connection of a client."""

    @property
    def identity(self) -> str:
        """The name that its certificate proves; "" where nothing does."""
        ...

    def answer(self, message: object, attached: Sequence[Buffer]) -> None: ...

    def backlog(self) -> int:
        """How many bytes wait to be sent."""
        ...


class Reader:
    """What one connection watches, by request, and what it has to hear.

    `notices` holds the newest (index, body) of each topic, or None: some were missed. `pulses` are requests to be
    answered behind everything else.
    """

    __slots__ = ("client", "notices", "pulses", "watches")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.watches: dict[int, bytes] = {}
        self.notices: dict[bytes, tuple[int, bytes] | None] = {}
        self.pulses: list[int] = []
