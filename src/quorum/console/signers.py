"""Who signed, as people read it."""

from __future__ import annotations

from collections.abc import Sequence

from quorum.model import NodeId

SIGNERS_SHOWN_MAX = 40
"""More names than these fill a screen; `--json` has them all."""


def signers_text(signers: Sequence[NodeId]) -> str:
    """Their names, as many as a line may hold, and how many more there are."""
    more = len(signers) - SIGNERS_SHOWN_MAX
    return ", ".join(signers[:SIGNERS_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
