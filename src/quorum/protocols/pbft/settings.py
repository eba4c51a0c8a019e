"""What may be set in a PBFT replica, with defaults for members in one data centre."""

from __future__ import annotations

import msgspec

from quorum.errors import ConfigurationError


class Settings(msgspec.Struct, frozen=True):
    """Times in microseconds, sizes in bytes. The same on every member, but for what only spares its own work.

    `view_timeout_us`: how long requests may wait without progress before another primary is wanted; doubled for
    each view that decided nothing, up to 2^`backoff_max` times. `slow_share`: a primary whose blocks take longer
    on average than this share of the timeout, while requests wait, is replaced. `status_us`: how often members
    tell where they are. `window`: how far votes and blocks may run ahead of what is decided, in blocks; a primary
    uses `in_flight` of them. `clock_bound_us`: how far a block's time may be ahead of a backup's clock.
    `state_blocks`: the state is certified at every so many blocks. `log_kept_blocks`: how many blocks stay in the
    log behind such a state. `pending_bytes_max`: how much may wait to be ordered, and a quarter of it from one
    client. `block_requests_max` and `block_bytes_max`: what a primary puts into a block; backups refuse one with
    more than twice as much. `fetch_bytes_max`: how much one message brings to whoever catches up.
    """

    view_timeout_us: int = 500_000
    backoff_max: int = 8
    slow_share: float = 0.25
    status_us: int = 100_000
    window: int = 8
    in_flight: int = 4
    block_requests_max: int = 400
    block_bytes_max: int = 1024 * 1024
    clock_bound_us: int = 10_000_000
    state_blocks: int = 128
    log_kept_blocks: int = 128
    pending_bytes_max: int = 64 * 1024 * 1024
    fetch_bytes_max: int = 4 * 1024 * 1024

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not value > 0:
                raise ConfigurationError(f"{name}={value} was given, but it must be above 0. Raise it.")
        if self.in_flight > self.window:
            raise ConfigurationError(
                f"in_flight={self.in_flight} was given, but backups take no more than window={self.window} blocks "
                "ahead of what is decided. Lower in_flight, or raise window on every member."
            )

    @property
    def unnamed_max(self) -> int:
        """A block is less far from the state that it names: else a primary that names no newer one would keep the
        log from being compacted. As members keep two states, they have the one that was named last."""
        return max(2 * self.state_blocks, 4 * self.window)
