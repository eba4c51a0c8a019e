"""What a client proposes, and what a state machine may know of the entry it becomes."""

from __future__ import annotations

import msgspec


class Batch(msgspec.Struct, frozen=True, gc=False):
    """What a client session proposes: `count` commands for application `app`, opaque to the log.

    `client` is the session (the index of the entry that opened it; 0: none, no duplicate detection),
    `first_sequence` numbers the batch within the session, and every batch below `acked_below` has been
    answered, so that its stored reply may be dropped.
    """

    app: int
    client: int
    first_sequence: int
    acked_below: int
    count: int
    body: bytes


class Header(msgspec.Struct, frozen=True, gc=False):
    """What a state machine may know of an entry: all its time and randomness come from here.

    `time_us` is log time: set by the leader, never decreasing from entry to entry. `entropy` is 64 random
    bits drawn by the leader.
    """

    index: int
    term: int
    kind: int
    app: int
    epoch: int
    time_us: int
    entropy: int
    client: int
    first_sequence: int
    acked_below: int
    count: int
    digest: bytes
