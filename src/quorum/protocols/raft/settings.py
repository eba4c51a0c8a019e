"""Raft's timing and limits. Safety needs none of them."""

from __future__ import annotations

import msgspec

from quorum.errors import ConfigurationError

_MAY_BE_ZERO = frozenset(("lost_leader_spread_us", "log_kept_entries", "lease_reads", "clock_drift_ppm"))


class Settings(msgspec.Struct, frozen=True):
    """Times in microseconds, sizes in bytes.

    The election timeout covers partitions; a leader whose process dies is replaced at once, because its closed
    connections are a hint (PeerLost): the survivors then stand `lost_leader_spread_us` apart. `log_kept_entries`
    stay in the log after a snapshot, for slow followers. One that lacks `far_behind_entries` or more gets
    `catch_up_bytes_max` at a time. A member that is to vote gets `catch_up_timeout_us` to
    catch up. `lease_reads` must be the same on every node, and no clock may run faster than another by more than
    `clock_drift_ppm` millionths (see lease.py).
    """

    heartbeat_us: int = 100_000
    election_timeout_us: int = 1_000_000
    lost_leader_spread_us: int = 40_000
    message_bytes_max: int = 1024 * 1024
    message_entries_max: int = 1024
    inflight_messages_max: int = 128
    inflight_bytes_max: int = 16 * 1024 * 1024
    far_behind_entries: int = 2048
    catch_up_bytes_max: int = 512 * 1024
    uncommitted_bytes_max: int = 64 * 1024 * 1024
    snapshot_entries: int = 100_000
    snapshot_bytes: int = 256 * 1024 * 1024
    log_kept_entries: int = 5_000
    catch_up_timeout_us: int = 600_000_000
    lease_reads: bool = False
    clock_drift_ppm: int = 10_000

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value < (0 if name in _MAY_BE_ZERO else 1):
                raise ConfigurationError(
                    f"{name}={value} was asked for, but it must be positive. Give a larger value."
                )
        if self.election_timeout_us < 3 * self.heartbeat_us:
            raise ConfigurationError(
                f"an election timeout of {self.election_timeout_us} us was asked for with heartbeats every "
                f"{self.heartbeat_us} us: one lost heartbeat would depose the leader. Use a timeout of at "
                "least three heartbeats; ten are usual."
            )
