"""The newest committee of a cluster, by signatures alone: any node may tell it, and none can make one up."""

from __future__ import annotations

import asyncio

from quorum.certificate.committee import Committee
from quorum.certificate.epochs import verify_epochs
from quorum.errors import ConfigurationError, QuorumError
from quorum.runtime.place import Place

TIMEOUT_S = 2.0
"""How long each node may take."""


async def newest_committee(place: Place, timeout: float = TIMEOUT_S) -> Committee:
    """The newest committee that the nodes which answer can prove; the first one where none does.

    Raises ConfigurationError where the place says of no committee to trust.
    """
    trusted = place.committee()
    if trusted is None:
        raise ConfigurationError(
            "the newest committee was asked for, but the members of this cluster do not sign. Ask for its members."
        )
    told = await asyncio.gather(*(_told(place, node, trusted, timeout) for node in tuple(place.endpoints)))
    return max(told, key=lambda committee: committee.epoch)


async def _told(place: Place, node: str, trusted: Committee, timeout: float) -> Committee:
    """How far a node leads on from a committee that is trusted."""
    newest = trusted
    try:
        async with asyncio.timeout(timeout), place.node(node) as connection:
            while changes := await connection.epochs(newest.epoch):
                newest, verdict = verify_epochs(newest, changes)
                if not verdict.valid:
                    break
    except (OSError, TimeoutError, QuorumError):
        pass  # another may tell more
    return newest
