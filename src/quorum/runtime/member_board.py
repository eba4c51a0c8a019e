"""Who takes part, shown to a node's clients: at once when they ask, and again whenever it has changed."""

from __future__ import annotations

from collections.abc import Mapping

from quorum.model import Configuration, NodeId
from quorum.runtime.messages import MembersReply
from quorum.runtime.watch_reader import Client


class MemberBoard:
    """The members of the newest committed configuration, and the clients that want to hear of changes.

    A configuration that is only in the log may be undone, and its epoch given to another: it is not shown.
    """

    def __init__(self, node: NodeId = "") -> None:
        self._node = node
        self._epoch = 0
        self._members: tuple[tuple[NodeId, str], ...] = ()
        self._readers: dict[Client, int] = {}

    def __len__(self) -> int:
        """How many clients want to hear of changes."""
        return len(self._readers)

    def show(self, configuration: Configuration, addresses: Mapping[NodeId, str]) -> None:
        """This configuration is committed. Those who may serve stand before the witnesses."""
        ordered = sorted(configuration.members, key=lambda node: (node in configuration.witnesses, node))
        members = tuple((node, addresses[node]) for node in ordered if node in addresses)
        if (configuration.epoch, members) == (self._epoch, self._members):
            return
        self._epoch, self._members = configuration.epoch, members
        for client, request in self._readers.items():
            self._tell(client, request)

    def ask(self, client: Client, request: int) -> None:
        """Tell `client` now, and from now on."""
        self._readers[client] = request
        self._tell(client, request)

    def lost(self, client: Client) -> None:
        """The connection of `client` ended."""
        self._readers.pop(client, None)

    def _tell(self, client: Client, request: int) -> None:
        client.answer(MembersReply(request, self._node, self._epoch, self._members), ())
