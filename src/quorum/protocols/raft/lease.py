"""Leases: a leader may answer reads at once for as long as nobody else can have been elected.

A follower votes for nobody within an election timeout of hearing its leader (Ongaro 2014, section 4.2.3). So from
the moment at which the leader asked a replication quorum, which meets every election quorum, it leads alone for an
election timeout on the slowest of their clocks (section 6.4.1). `Settings.clock_drift_ppm` bounds how much faster
one clock may run than another; the leader counts its lease shorter by that much. The time is looked at when a read
is answered, so a pause before that ends the lease; and once the leader has told anybody to stand, which overrules
the followers' promise, it has no lease for the rest of its term.
"""

from __future__ import annotations

from quorum.protocols.raft.state import NEVER, RaftState

ROUNDS_KEPT = 64


def begin_round(state: RaftState) -> None:
    """A new confirming round leaves now: its answers prove that this leader was heard after this moment."""
    state.round += 1
    if state.settings.lease_reads:
        state.round_began_us[state.round] = state.now_us
        state.round_began_us.pop(state.round - ROUNDS_KEPT, None)


def extend(state: RaftState) -> None:
    """A follower answered in a newer round: the lease may reach further."""
    if not state.settings.lease_reads:
        return
    asked = {
        node: began_us
        for node, progress in state.progress.items()
        if (began_us := state.round_began_us.get(progress.round)) is not None
    }
    asked[state.node] = state.now_us
    state.lease_from_us = max(state.lease_from_us, state.committed(asked))


def is_held(state: RaftState) -> bool:
    """Whether nobody else can have been elected by now."""
    settings = state.settings
    if not settings.lease_reads or state.lease_given_up or state.lease_from_us <= 0:
        return False
    length_us = settings.election_timeout_us * 1_000_000 // (1_000_000 + settings.clock_drift_ppm)
    return state.now_us < state.lease_from_us + length_us


def forget(state: RaftState) -> None:
    """A new term of leadership, or none: nothing is proved yet."""
    state.round_began_us.clear()
    state.lease_from_us = NEVER
    state.lease_given_up = False
