"""How patient a client's session is, and how much it sends ahead."""

from __future__ import annotations

import msgspec


class SessionSettings(msgspec.Struct, frozen=True):
    """Times in microseconds. A connection that answers nothing for `silence_us` is given up, and so is a node that
    knows no leader for `leaderless_us`.

    At most `batches_sent_max` batches and `bytes_sent_max` bytes are on their way, or one larger batch; the others
    wait here. More would overrun the connection, and the answers that the cluster keeps for one session.

    Every `members_us` a node is asked anew who the members are, where they are wanted.
    """

    silence_us: int = 3_000_000
    retry_us: int = 15_000
    leaderless_us: int = 400_000
    retry_max_us: int = 500_000
    batches_sent_max: int = 256
    bytes_sent_max: int = 16 * 1024 * 1024
    members_us: int = 30_000_000
