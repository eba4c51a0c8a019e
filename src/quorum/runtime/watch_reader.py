"""One connection that watches, as the hub of its node sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from quorum.entry import Buffer
from quorum.runtime.watch_index import Group, Index

Topic = tuple[int, bytes]
"""An application, and one of its topics."""


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


class CatchUp:
    """Watches of one connection that begin in the past, read there together until they are where the others are.

    `number` is that of the next change to be read, None before the first step. Nothing at or behind `revision` was
    read yet; before the first step that is the lowest revision that one of them begins at.
    """

    __slots__ = ("index", "number", "revision")

    def __init__(self) -> None:
        self.index = Index()
        self.number: int | None = None
        self.revision = 0


class Reader:
    """What one connection watches, by request (a topic, or a group of key watches), and what it has to hear.

    `notices` holds the newest (index, body) of each topic, or None: some were missed. `pulses` are requests to be
    answered behind everything else. Of the watches of keys, `begun` are those whose begin is to be told, at
    `begun_revision`, and `out` is what is put together for the next message.

    `behind` is the number of the first change that was not told since the connection was full, None while it keeps
    up; nothing at or behind `behind_revision` was told then. `later` holds watches that begin before the place
    that `catching_up` has reached.
    """

    __slots__ = (
        "begun",
        "begun_revision",
        "behind",
        "behind_revision",
        "catching_up",
        "client",
        "later",
        "notices",
        "out",
        "out_bytes",
        "out_count",
        "pulses",
        "watches",
    )

    def __init__(self, client: Client) -> None:
        self.client = client
        self.watches: dict[int, Topic | Group] = {}
        self.notices: dict[Topic, tuple[int, bytes] | None] = {}
        self.pulses: list[int] = []
        self.begun: list[int] = []
        self.begun_revision = 0
        self.out: list[bytes] = []
        self.out_bytes = 0
        self.out_count = 0
        self.behind: int | None = None
        self.behind_revision = 0
        self.catching_up: CatchUp | None = None
        self.later: CatchUp | None = None

    @property
    def has_unread(self) -> bool:
        """Whether changes are to be read to it that others were told."""
        return self.behind is not None or self.catching_up is not None or self.later is not None
