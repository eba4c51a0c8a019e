"""What a replica remembers of its chain of blocks: headers, digests and requests, never the bytes."""

from __future__ import annotations

from quorum.certificate.approval import Change
from quorum.certificate.block import NO_PARENT, BlockHeader
from quorum.errors import RemoteProtocolError
from quorum.model import NodeId


class Link:
    """One block of the chain. Until it is decided, `requests` names what it orders and `entry` are its bytes.
    `change`: it is the last of its epoch."""

    __slots__ = ("change", "digest", "entry", "header", "requests", "size")

    def __init__(
        self,
        header: BlockHeader,
        digest: bytes,
        size: int,
        requests: tuple[bytes, ...] = (),
        entry: bytes | None = None,
        change: Change | None = None,
    ) -> None:
        self.header = header
        self.digest = digest
        self.size = size
        self.requests = requests
        self.entry = entry
        self.change = change


class Chain:
    """The blocks after a base, of which only digest and header are known. Before the first block there is base 0.

    I1  sequence numbers are dense, and each block's parent is the digest of the one before it.
    I2  neither time nor the certified state goes backwards along it.
    """

    __slots__ = ("_links", "base")

    def __init__(self) -> None:
        self.base = 0
        self._links: list[Link] = [Link(ORIGIN, NO_PARENT, 0)]

    @property
    def last(self) -> int:
        """The sequence number of the newest block."""
        return self.base + len(self._links) - 1

    @property
    def newest(self) -> Link:
        """The newest block, or the base."""
        return self._links[-1]

    def link(self, sequence: int) -> Link | None:
        """The block `sequence`, the base included; None where the chain does not hold it."""
        place = sequence - self.base
        return self._links[place] if 0 <= place < len(self._links) else None

    def digest(self, sequence: int) -> bytes | None:
        """The digest of block `sequence`; None where the chain does not hold it."""
        link = self.link(sequence)
        return None if link is None else link.digest

    def holds(self, sequence: int, digest: bytes) -> bool:
        """Whether the chain has exactly this block."""
        return self.digest(sequence) == digest

    def append(self, link: Link) -> None:
        """Add the next block."""
        newest = self.newest
        assert link.header.sequence == self.last + 1, "I1: a block was appended out of order"
        assert link.header.parent == newest.digest, "I1: a block was appended to another parent"
        assert link.header.time_us >= newest.header.time_us, "I2: time went backwards"
        assert link.header.state_sequence >= newest.header.state_sequence, "I2: the certified state went backwards"
        self._links.append(link)

    def truncate(self, first: int) -> list[Link]:
        """Forget block `first` and all after it; return them."""
        keep = first - self.base
        assert keep >= 1, "the base is decided and cannot be truncated"
        dropped = self._links[keep:]
        del self._links[keep:]
        return dropped

    def compact(self, sequence: int) -> None:
        """Make block `sequence`, which must be there, the base."""
        place = sequence - self.base
        assert 0 <= place < len(self._links), "only blocks that are there can be compacted"
        del self._links[:place]
        self.base = sequence

    def stand_at(self, header: BlockHeader) -> None:
        """Begin again after the block of this header."""
        self.base = header.sequence
        self._links = [Link(header, header.digest(), 0)]

    def links(self, first: int, last: int) -> list[Link]:
        """Blocks `first` to `last`, all of which must be there."""
        assert self.base <= first and last <= self.last, "blocks were asked for that are not there"
        return self._links[first - self.base : last - self.base + 1]

    def headers(self, first: int, last: int) -> tuple[bytes, ...]:
        """The packed headers of blocks `first` to `last`."""
        return tuple(link.header.packed() for link in self.links(first, last)) if first <= last else ()


ORIGIN = BlockHeader(0, 0, 0, 0, bytes(32), bytes(32), bytes(32), bytes(32))
"""What stands before the first block. Its digest is NO_PARENT by definition, not by computation."""


def check_follows(sender: NodeId, header: BlockHeader, before: Link) -> None:
    """Raise RemoteProtocolError unless a block with this header may stand behind `before` in a chain."""
    earlier = before.header
    if header.sequence != earlier.sequence + 1 or header.parent != before.digest:
        raise RemoteProtocolError(
            sender, f"sent block {header.sequence}, which does not follow {earlier.sequence}"
        )
    if header.time_us < earlier.time_us:
        raise RemoteProtocolError(sender, f"sent block {header.sequence}, whose time is before its parent's")
    if not earlier.state_sequence <= header.state_sequence < header.sequence:
        raise RemoteProtocolError(
            sender, f"sent block {header.sequence} with the state of {header.state_sequence}"
        )
    if header.state_sequence == earlier.state_sequence and header.state_root != earlier.state_root:
        raise RemoteProtocolError(
            sender, f"sent block {header.sequence} with another root for a state named before"
        )
