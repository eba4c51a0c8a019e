"""What each other member may cost this one: a flood of one member leaves the rest their share of the time.

A message of a member that has used up its quota is dropped unread, as if the network had lost it; the quota is
whole again when the next turn begins. Nothing honest depends on it: members tell again what is missed. Source:
Clement et al., "Making Byzantine Fault Tolerant Systems Tolerate Byzantine Faults" (2009), whose replicas share
their time among the others in turn, and stop to listen to one that sends too much.
"""

from __future__ import annotations

from collections.abc import Sequence

from quorum.entry import Buffer
from quorum.model import NodeId
from quorum.protocols.pbft.messages import Approve, Blocks, Offer
from quorum.protocols.pbft.settings import Settings

MESSAGES = 400
"""So many of one member are read in a turn, and so many more for each block decided in it. Without blocks an
honest member sends about ten: a status, what it forwards, and of what others miss a view, votes and four blocks.
The rest is room for those of many turns, which a slow network may bring at once."""
MESSAGES_A_BLOCK = 16
"""An honest member sends three for a block (pre-prepare, prepare, commit), and more where some were lost."""
HEADERS_A_MESSAGE = 40
BYTES_A_MESSAGE = 64 * 1024
MEMBERS_A_MESSAGE = 10
"""A message with more headers, bytes of blocks, or members of a committee counts as several."""
WRONG = 16
"""So many checks of one member's signatures may fail in a turn. An honest member passes few on that are wrong.
They cost as much as the votes for some blocks of a small committee."""
UNDER_WAY = 256
"""So many signatures of one member's messages are verified at a time, or those of one message, if it has more. An
honest member's votes for a window of blocks are far fewer; what is behind them would wait for a liar's."""
AGAIN = 16
"""So many requests that were decided before are ordered again for one member, or for this node's clients, and one
more each AGAIN_TURNS: who asks may not know that they were decided, and what waits there for ever costs views."""
AGAIN_TURNS = 8
GIVEN_AGAIN = 5
"""After so many turns a member may be given again what it was given: the first may have been lost. By default that
is the timeout of a view."""


def weight_of(message: object, attached: Sequence[Buffer]) -> int:
    """As how many messages one counts: what is looked at before anything of it can be believed costs time."""
    match message:
        case Offer(headers=headers):
            return 1 + len(headers) // HEADERS_A_MESSAGE
        case Blocks(headers=headers, entries=entries):
            size = sum(map(len, attached or entries))
            return 1 + len(headers) // HEADERS_A_MESSAGE + size // BYTES_A_MESSAGE
        case Approve(committee=committee):
            return 1 + len(committee.members) // MEMBERS_A_MESSAGE
    return 1


class Quotas:
    """Counts for each sender; a turn lasts `status_us`.

    I1  what is kept is bounded by the number of members.
    """

    __slots__ = ("_again", "_from", "_given", "_heard", "_heeded", "_since_us", "_turn_us", "_under_way", "_wrong")

    def __init__(self, settings: Settings) -> None:
        self._turn_us = settings.status_us
        self._since_us = self._from = 0
        self._heard: dict[NodeId, int] = {}
        self._wrong: dict[NodeId, int] = {}
        self._again: dict[NodeId, int] = {}
        self._under_way: dict[NodeId, int] = {}
        self._heeded: dict[NodeId, int] = {}
        self._given: dict[tuple[NodeId, bool], tuple[int, int, int]] = {}

    def admits(self, sender: NodeId, now_us: int, decided: int, weight: int = 1) -> bool:
        """Whether a message of `sender` is read, which counts as `weight`. `decided`: the newest block decided
        here."""
        if now_us - self._since_us >= self._turn_us:
            self._since_us, self._from = now_us, decided
            self._heard.clear()
            self._wrong.clear()
        heard = self._heard[sender] = self._heard.get(sender, 0) + weight
        return heard <= MESSAGES + MESSAGES_A_BLOCK * (decided - self._from) and self._wrong.get(sender, 0) < WRONG

    def takes_again(self, sender: NodeId, now_us: int) -> bool:
        """Whether a request that was decided before is ordered once more. `sender`: who passed it on, which blames
        nobody, as it may be behind; "": a client of this node."""
        paid_us, each_us = max(self._again.get(sender, 0), now_us), AGAIN_TURNS * self._turn_us
        if paid_us - now_us > (AGAIN - 1) * each_us:
            return False
        self._again[sender] = paid_us + each_us
        return True

    def charge(self, sender: NodeId) -> None:
        """A signature that `sender` answers for was checked in vain."""
        self._wrong[sender] = self._wrong.get(sender, 0) + 1

    def begins(self, sender: NodeId, count: int) -> bool:
        """Whether `count` signatures of a message of `sender` are verified now, beside those that are."""
        under_way = self._under_way.get(sender, 0)
        if under_way and under_way + count > UNDER_WAY:
            return False
        self._under_way[sender] = under_way + count
        return True

    def ended(self, sender: NodeId, count: int) -> None:
        """So many of them are verified."""
        self._under_way[sender] -= count

    def heeds(self, sender: NodeId, now_us: int) -> bool:
        """Whether a status of `sender` is acted upon: one is sent in a turn, and several may come at once."""
        last_us = self._heeded.get(sender)
        if last_us is not None and now_us - last_us < self._turn_us // 2:
            return False
        self._heeded[sender] = now_us
        return True

    def may_be_given(self, to: NodeId, first: int, now_us: int, view: int, is_base: bool) -> bool:
        """Whether blocks from `first` on are given: each once, and all again only after some turns.

        Those that lead to the base of a view (`is_base`) count apart, and anew in each `view` of this member."""
        known = self._given.get((to, is_base))
        if known is None or first >= known[0] or (is_base and view != known[2]):
            return True
        return now_us - known[1] >= GIVEN_AGAIN * self._turn_us

    def given(self, to: NodeId, last: int, now_us: int, view: int, is_base: bool) -> None:
        """Blocks up to `last` were given."""
        self._given[to, is_base] = (last + 1, now_us, view)
