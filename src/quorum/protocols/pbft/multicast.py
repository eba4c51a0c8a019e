"""Requests that the primary was told of in vain, told to all members: not all of them may have heard the client.

A primary that is dead, or censors, is replaced once T+1 members wait for it. A client may reach fewer: it is cut
off from some, or knows an older committee. Source: PBFT, section 4.1 (what is not answered in time goes to all).
"""

from __future__ import annotations

from typing import Final

from quorum.protocols.pbft.messages import Forward
from quorum.protocols.pbft.state import PbftState

SHARE: Final = 4
"""After this part of the timeout a primary is slow by any measure."""
REQUESTS_MAX: Final = 16
"""So many of the oldest are enough to have a primary replaced; each is told once in a view."""


def tell_all(state: PbftState, timeout_us: int) -> None:
    """Tell the other members of requests that no block holds after this part of the timeout."""
    unheard = state.pending.unheard(state.now_us, timeout_us // SHARE, REQUESTS_MAX)
    for waiting in unheard:
        waiting.told_all = True
    for other in state.others if unheard else ():
        if other != state.primary:
            state.send(other, Forward(state.view, tuple(waiting.data for waiting in unheard)))
