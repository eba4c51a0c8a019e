"""What one connection may cost."""

from __future__ import annotations

import msgspec

from quorum.runtime.codec import FRAME_BYTES_MAX


class Limits(msgspec.Struct, frozen=True):
    """Bounds that keep one misbehaving address from harming the others. Sizes in bytes, times in microseconds.

    `hello_timeout_us` counts from the accepted TCP connection to its first frame, TLS included;
    `frame_timeout_us` from the first byte of any later frame to its last. Past `bytes_unsent_max` a connection is
    closed: whoever reads so little is as good as gone. `waiting_max` bounds connections that have not said who
    they are; one more pushes out the oldest, so that a real peer, which is quick, always gets in.
    """

    hello_bytes_max: int = 4096
    frame_bytes_max: int = FRAME_BYTES_MAX
    peer_bytes_unsent_max: int = 128 * 1024 * 1024
    client_bytes_unsent_max: int = 32 * 1024 * 1024
    hello_timeout_us: int = 5_000_000
    frame_timeout_us: int = 20_000_000
    silence_timeout_us: int = 10_000_000
    waiting_max: int = 128
    clients_max: int = 1000
