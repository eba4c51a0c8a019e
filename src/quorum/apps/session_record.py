"""A client session in canonical form: what snapshots and digests hold of it."""

from __future__ import annotations

import msgspec


class SessionRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A session in canonical form; the answers in the order in which their batches were applied."""

    client: int
    used: int
    acked: int
    answers: list[tuple[int, int, bytes]]
    owner: str = ""
