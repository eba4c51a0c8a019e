"""Which rare branches a Byzantine run met: seen from roles, messages and restarts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from quorum.checkers.progress import Sometimes
from quorum.entry import Buffer
from quorum.header import Header
from quorum.model import NodeId
from quorum.protocols.pbft.messages import Blocks, Epochs, Forward, NewView, Offer, PrePrepare, ViewChange, Votes
from quorum.protocols.pbft.state import PbftState

VIEW_LEFT = "view left"
VIEW_BEGAN = "view begun"
OLD_VIEW = "message of an older view"
BASE_MISSING = "view begun at a block that is not here"
ASIDE = "blocks of a claim kept aside"
PASSED_ON = "block passed on by a backup"
VOTES_AGAIN = "votes given again"
BLOCKS_GIVEN = "decided blocks given"
OFFERED = "state offered"
INSTALLED = "state installed from a member"
RESTORED = "state restored at start"
FORWARDED = "requests forwarded"
LOST_TAIL = "unsynced blocks lost in a crash"
SILENT = "restarted primary silent in its view"
EPOCH = "next committee in force"
EPOCHS_TOLD = "changes of epoch told"
JOINED = "member joined"
LEFT = "member left"


class ByzantineBranches:
    """Watches one world. Nothing here changes what happens in it."""

    def __init__(self, sometimes: Sometimes) -> None:
        self._reached = sometimes.reached
        self._epochs: dict[NodeId, tuple[int, bool]] = {}
        self._views: dict[NodeId, tuple[int, bool]] = {}
        self.watched: dict[type, Callable[[PbftState, Any, Sequence[Buffer]], None]] = {
            PrePrepare: self._pre_prepare,
            ViewChange: self._old,
            NewView: self._old,
            Votes: lambda *_: self._reached(VOTES_AGAIN),
            Blocks: lambda *_: self._reached(BLOCKS_GIVEN),
            Offer: lambda *_: self._reached(OFFERED),
            Epochs: lambda *_: self._reached(EPOCHS_TOLD),
            Forward: lambda *_: self._reached(FORWARDED),
        }

    def role_changed(self, state: PbftState) -> None:
        """A node left a view, or began one."""
        self._look_at_epoch(state)
        before = self._views.get(state.node)
        now = self._views[state.node] = (state.view, state.active)
        if before != now:
            self._reached(VIEW_BEGAN if state.active else VIEW_LEFT)
        if state.active and not state.has_base:
            self._reached(BASE_MISSING)
        if state.aside:
            self._reached(ASIDE)

    def _look_at_epoch(self, state: PbftState) -> None:
        before = self._epochs.get(state.node)
        self._epochs[state.node] = (state.committee.epoch, state.is_member)
        if before is not None and before[0] < state.committee.epoch:
            self._reached(EPOCH)
            if before[1] != state.is_member:
                self._reached(JOINED if state.is_member else LEFT)

    def _pre_prepare(self, state: PbftState, message: PrePrepare, attached: Sequence[Buffer]) -> None:
        if message.view < state.view:
            self._reached(OLD_VIEW)

    def proposes(self, state: PbftState, message: PrePrepare) -> None:
        """An honest node sends a block of a view: its own, or its primary's that another misses."""
        if message.view == state.view and state.primary != state.node:
            self._reached(PASSED_ON)

    def _old(self, state: PbftState, message: ViewChange | NewView, attached: Sequence[Buffer]) -> None:
        if message.view < state.view:
            self._reached(OLD_VIEW)

    def stood_at(self, starting: bool) -> None:
        """A node took the state of a snapshot."""
        self._reached(RESTORED if starting else INSTALLED)

    def at_risk(self, state: PbftState) -> tuple[int, int]:
        """The newest block known to be durable, and the newest of all."""
        return state.stored_sequence, state.chain.last

    def restarted(self, state: PbftState, lost: tuple[int, int]) -> None:
        """A node is back; `lost` is what was at risk when it died."""
        if state.chain.last < lost[1]:
            self._reached(LOST_TAIL)
        if state.silent_through >= 0:
            self._reached(SILENT)

    def asked(self, client: str, node: NodeId, message: object) -> None:
        """A client's request reaches a node."""

    def applied(self, header: Header) -> None:
        """A block was applied."""
