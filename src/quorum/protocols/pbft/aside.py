"""Blocks of the own claim that the chain of a new view drops: whoever claims a block must be able to give it."""

from __future__ import annotations

from collections.abc import Sequence

from quorum.certificate.evidence import Claim
from quorum.protocols.pbft.blocks import Block, read_block
from quorum.protocols.pbft.state import PbftState


def drop_after(state: PbftState, sequence: int) -> None:
    """Leave the chain's blocks after `sequence`; those that this node's claim is about are kept aside."""
    chain, claim = state.chain, state.claim.claim
    if chain.last <= sequence:
        return
    state.here.on_base = min(state.here.on_base, sequence)
    aside = blocks_to(state, claim.digest)
    below, digest = _below(claim, aside)
    if below > sequence and chain.holds(below, digest):
        kept = chain.links(sequence + 1, below)
        assert all(link.entry is not None for link in kept), "bytes of undecided blocks are held"
        entries = {link.digest: link.entry for link in kept if link.entry is not None}
        state.set_aside(entries | {block.digest: block.entry for block in aside})
    chain.truncate(sequence + 1)


def restore(state: PbftState) -> None:
    """The base of the view is a block that was kept aside: take it, and those before it, back into the chain."""
    blocks, claim = blocks_to(state, state.base.digest), state.claim.claim
    if not blocks or not state.chain.holds(*_below(state.base, blocks)):
        return
    first = blocks[0].header.sequence
    if first <= state.commit_sequence:
        return
    drop_after(state, first - 1)
    for block in blocks:
        state.chain.append(block.link())
    state.persist_blocks(tuple(block.entry for block in blocks))
    if state.chain.holds(claim.sequence, claim.digest):
        state.forget_aside()


def can_give(state: PbftState, claim: Claim) -> bool:
    """Whether this node has a claimed block, and those before it."""
    if claim.sequence <= max(state.commit_sequence, state.epochs.start.sequence):
        return True  # decided, here or where the epoch begins
    return state.chain.holds(*_below(claim, blocks_to(state, claim.digest)))


def blocks_to(state: PbftState, digest: bytes) -> list[Block]:
    """The blocks kept aside that lead from the chain to the one of this digest, itself the last; empty if that is
    not aside, or in the chain."""
    found: list[Block] = []
    while (entry := state.aside.get(digest)) is not None:
        block = read_block(state.node, entry, state.committee)
        if state.chain.holds(block.header.sequence, digest):
            break
        found.append(block)
        digest = block.header.parent
    return found[::-1]


def _below(claim: Claim, aside: Sequence[Block]) -> tuple[int, bytes]:
    """Number and digest of the block on which these stand, which lead to a claimed one."""
    return claim.sequence - len(aside), aside[0].header.parent if aside else claim.digest
