"""What a client signs where members may lie: all that waits together at once, or each command alone."""

from __future__ import annotations

from typing import Final, Protocol

from quorum.errors import ConfigurationError

BATCH: Final = "batch"
EACH: Final = "each"


class Signing(Protocol):
    """Whoever may sign requests (runtime.client.Client, runtime.place.Place)."""

    @property
    def signs(self) -> bool: ...


def is_each(sign: str, signing: Signing) -> bool:
    """Whether each command is a request of its own. Raises ConfigurationError for what is neither, and for EACH
    where requests are not signed."""
    if sign == BATCH:
        return False
    if sign != EACH:
        raise ConfigurationError(
            f"requests were to be signed by sign={sign!r:.40}, but that is not known. Give {BATCH!r}, or {EACH!r} "
            "for a signature under each command."
        )
    if not signing.signs:
        raise ConfigurationError(
            "each command was to be signed alone, but requests are signed only where members may lie, by a client "
            'that was given cluster.toml and keys. Set up a cluster with model = "byzantine", and connect with '
            "its config=PATH."
        )
    return True
