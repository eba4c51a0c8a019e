"""What a node of a Byzantine cluster signs: fixed bytes that can mean one thing only.

A signature made for one purpose must be worthless for every other: another protocol or version of it, cluster,
epoch, view, sequence number or type of message. All of them are in the signed bytes, each at its own place.
"""

from __future__ import annotations

import enum
import struct
from typing import Final

from quorum.errors import ConfigurationError

DIGEST_BYTES: Final = 32
CLUSTER_BYTES_MAX: Final = 255
NUMBER_MAX: Final = 2**64 - 1

_PROTOCOL = b"quorum pbft 1\x00"
_TAIL = struct.Struct(">BQQ32s")


class VoteKind(enum.IntEnum):
    """The type of a signed message. Two of them nothing here makes: with its pre-prepare a primary signs PREPARE,
    and states are certified by headers instead of CHECKPOINT. Their numbers mean nothing else."""

    PRE_PREPARE = 1
    PREPARE = 2
    COMMIT = 3
    CHECKPOINT = 4
    VIEW_CHANGE = 5
    NEW_VIEW = 6
    REQUEST = 7
    APPROVE = 8
    COMPLAIN = 9
    READMIT = 10
    SHOW = 11
    REPORT = 12


class SigningDomain:
    """Makes the signed bytes for one epoch of one cluster. Immutable.

    Raises ConfigurationError for a cluster id that is empty or too long, or an epoch below 0.
    """

    __slots__ = ("_head", "cluster", "epoch")

    def __init__(self, cluster: str, epoch: int) -> None:
        name = cluster.encode()
        if not 0 < len(name) <= CLUSTER_BYTES_MAX or not 0 <= epoch <= NUMBER_MAX:
            raise ConfigurationError(
                f"votes were to be signed for cluster {cluster[:40]!r}, epoch {epoch}, but a cluster id has 1 to "
                f"{CLUSTER_BYTES_MAX} bytes and epochs count from 0. Use the id and the epoch of the genesis file."
            )
        self.cluster = cluster
        self.epoch = epoch
        self._head = _PROTOCOL + bytes([len(name)]) + name + epoch.to_bytes(8, "big")

    def statement(self, kind: VoteKind, view: int, sequence: int, digest: bytes) -> bytes:
        """The bytes that a vote for `digest` signs. Numbers are 0 to 2^64-1, the digest has 32 bytes."""
        assert len(digest) == DIGEST_BYTES, "a vote is for a digest"
        return self._head + _TAIL.pack(kind, view, sequence, digest)
