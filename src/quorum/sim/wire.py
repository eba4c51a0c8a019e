"""Messages as bytes and back, as production puts them on a connection (runtime.node)."""

from __future__ import annotations

from collections.abc import Sequence

from quorum.entry import Buffer, split_entries
from quorum.errors import RemoteProtocolError
from quorum.model import NodeId
from quorum.runtime.codec import FrameParser, MessageCodec, cluster_tag, encode_frame
from quorum.runtime.messages import WITH_ENTRIES, ClientMessage, PeerMessage

_PEERS: MessageCodec[object] = MessageCodec(PeerMessage)
_CLIENTS: MessageCodec[object] = MessageCodec(ClientMessage)

TAG = cluster_tag("simulated")

Carried = tuple[object, tuple[Buffer, ...]]


def carry(sender: NodeId, message: object, attached: Sequence[Buffer]) -> Carried:
    """What the other node reads of a message between nodes. Raises RemoteProtocolError if it cannot be read."""
    head, body = _framed(_PEERS.encode(message), attached)
    read = _PEERS.decode(head, sender)
    if isinstance(read, WITH_ENTRIES):
        try:
            return read, tuple(split_entries(body)) if body else ()
        except ValueError as error:
            raise RemoteProtocolError(sender, str(error)) from None
    return read, (body,) if body else ()


def carry_request(client: str, message: object, attached: Sequence[Buffer]) -> Carried:
    """What a node reads of a client's message. Raises RemoteProtocolError if it cannot be read."""
    head, body = _framed(_CLIENTS.encode(message), attached)
    return _CLIENTS.decode(head, client), (body,)


def _framed(head: bytes, attached: Sequence[Buffer]) -> tuple[bytes, Buffer]:
    data = b"".join(encode_frame(TAG, 0, head, attached))
    ((_, head, body),) = FrameParser(tag=TAG).feed(data)
    return head, body
