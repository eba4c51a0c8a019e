"""A vote is kept through any number of lives, also when the block that it was for is replaced."""

from __future__ import annotations

from protocols.pbft.cluster import Cluster, Node, key_of
from quorum.certificate.vote import VoteKind
from quorum.protocols import events
from quorum.protocols.pbft.blocks import Block, make_block
from quorum.protocols.pbft.messages import Prepare, PrePrepare


class Liar:
    """n1, which is all that n2 hears of; `votes` are those that n2 sends."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.cluster.liars.add("n1")
        self.cluster.filter = self._watch
        self.votes: set[tuple[int, int, bytes]] = set()
        self.cluster.boot()
        self.before = self.node.state.chain.newest

    @property
    def node(self) -> Node:
        return self.cluster["n2"]

    def _watch(self, source: str, to: str, message: object, attached: tuple[bytes, ...]) -> list:  # type: ignore[type-arg]
        if source == "n2" and isinstance(message, Prepare):
            self.votes.add((message.view, message.sequence, message.digest))
        return []

    def chain(self, later_us: int, length: int) -> list[Block]:
        """Blocks that nobody but n1 has; another time makes others."""
        found, before = [], self.before
        for _ in range(length):
            block = make_block(before, self.cluster.committee, self.node.now_us + later_us, (0, bytes(32)), ())
            before = block.link()
            found.append(block)
        return found

    def propose(self, block: Block) -> None:
        sequence = block.header.sequence
        statement = self.cluster.committee.domain.statement(VoteKind.PREPARE, 0, sequence, block.digest)
        message = PrePrepare(0, sequence, key_of("n1").sign(statement).signature)
        self.node.step(events.Received(self.node.now_us, "n1", message, (block.entry,)))

    def restart(self) -> None:
        self.node.crash()
        self.node.boot(first=False)


def test_two_restarts_do_not_make_a_backup_vote_twice() -> None:
    """PBFT, section 4.3: one digest for each view and sequence number, whatever comes in each life."""
    liar = Liar()
    (first,), (second,) = liar.chain(1, 1), liar.chain(2, 1)
    for block in (first, second, second, second):
        liar.propose(block)
        liar.restart()
    assert liar.votes == {(0, 1, first.digest)}


def test_a_vote_is_kept_when_an_earlier_block_is_stored_again() -> None:
    """Storing block 1 anew drops block 2 from the disk, but not the vote for it."""
    liar = Liar()
    first, second = liar.chain(1, 2)
    third = make_block(first.link(), liar.cluster.committee, liar.node.now_us + 9, (0, bytes(32)), ())
    for block in (first, second):
        liar.propose(block)
    for _ in range(2):
        liar.restart()
        liar.propose(first)
    liar.propose(third)
    assert liar.votes == {(0, 1, first.digest), (0, 2, second.digest)}


def test_what_was_voted_for_may_be_voted_for_again() -> None:
    liar = Liar()
    (only,) = liar.chain(1, 1)
    liar.propose(only)
    liar.votes.clear()
    liar.restart()
    liar.restart()
    liar.propose(only)
    assert liar.votes == {(0, 1, only.digest)}
