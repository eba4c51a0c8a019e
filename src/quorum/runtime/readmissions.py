"""Who was evicted for being slow comes back: how it asks, and how members see whether it may.

It makes a fresh key, which its old one attests, and shows again and again what it has: the newest block that it
knows to be decided, and the root of its own state. A member compares both with its own, which are certified.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from quorum.certificate.committee import Committee, Member
from quorum.certificate.keys import check_public_key
from quorum.certificate.readmission import (
    Readmission,
    ShownState,
    is_in_form,
    readmission_statement,
    shown_statement,
)
from quorum.errors import ConfigurationError, RemoteProtocolError
from quorum.membership.evictions import SLOW, Eviction, left_alone
from quorum.membership.observation import Limits
from quorum.membership.returning import BREAK_US, Returns
from quorum.model import NodeId
from quorum.protocols.effects import Signed
from quorum.protocols.pbft.replica import PbftReplica
from quorum.runtime.messages import AskReadmission, Complaints, GiveEvidence, ShowState
from quorum.runtime.ports import FreshKeys, Ports

if TYPE_CHECKING:
    from quorum.runtime.committee_keeper import CommitteeKeeper

BREAK_TURNS = 5
TESTIFIED_TURNS = 8
"""What shows why somebody left is given to the others once in so many turns, while it asks."""

_ENCODE = msgspec.msgpack.Encoder()
_DECODE = msgspec.msgpack.Decoder(Readmission)


class Readmissions:
    """Of one node: its own request, and those of others.

    I1  a request counts only of who was evicted for being slow, attested by the key that it had last, and only the
        first: whoever attests two keys comes back with none of them, or with one.
    """

    def __init__(
        self,
        keeper: CommitteeKeeper,
        replica: PbftReplica,
        ports: Ports,
        keys: FreshKeys,
        limits: Limits,
        turn_us: int,
    ) -> None:
        self._keeper, self._replica, self._state = keeper, replica, replica.state
        self._transport, self._clock, self._verifier = ports.transport, ports.clock, ports.verifier
        self._keys = keys
        self._turn_us = turn_us
        self._returns = Returns(limits, max(BREAK_US, BREAK_TURNS * turn_us))
        self._requests: dict[NodeId, Readmission] = {}
        self._newest: dict[NodeId, tuple[int, int]] = {}
        """Height and number of what each showed last."""
        self._testified_us: dict[NodeId, int] = {}
        self._number = 0

    def start(self, known: Iterable[Eviction]) -> None:
        """Take up what an earlier life knew."""
        for each in known:
            if each.reason == SLOW:
                self._returns.left(each.node, each.since_us, each.flaps)

    # Of members.

    def left(self, eviction: Eviction) -> Eviction:
        """Somebody left; returned is what is known of it, its flaps counted."""
        self._requests.pop(eviction.node, None)
        self._newest.pop(eviction.node, None)
        self._returns.left(eviction.node, eviction.since_us, eviction.flaps)
        return msgspec.structs.replace(eviction, flaps=self._returns.flaps(eviction.node))

    def joined(self, node: NodeId) -> None:
        """Somebody is in the committee again. Whoever asked with the same key would be wanted in vain for ever."""
        used = self._state.epochs.used
        self._requests = {each: asked for each, asked in self._requests.items() if asked.public_key not in used}
        self._requests.pop(node, None)
        self._returns.returned(node, self._clock.now_us())

    def ready(self, now_us: int) -> tuple[NodeId, ...]:
        """Who may be readmitted: it asked, and has shown for long enough that it is well."""
        return tuple(node for node in self._returns.ready(now_us) if node in self._requests)

    def left_us(self, node: NodeId, now_us: int) -> int | None:
        """How long until it may be; None: it asks for nothing, or shows nothing now."""
        return self._returns.left_us(node, now_us) if node in self._requests else None

    def member(self, node: NodeId) -> Member:
        """It, with its fresh key, and the votes that it had."""
        request = self._requests[node]
        epochs = self._state.epochs
        before = epochs.committees[request.since - 1 - epochs.committees[0].epoch]
        weight = next((member.weight for member in before.members if member.node == node), 1)
        return Member(node, request.public_key, weight)

    def on_request(self, sender: NodeId, request: Readmission) -> None:
        """Somebody asks to come back (I1)."""
        state, node = self._state, request.node
        out = self._keeper.evictions.of(node)
        if sender != node or node in state.committee.keys or out is None or not state.is_member:
            return
        self._testify(out)
        if not self._may_ask(out) or request.since != out.epoch:
            return
        if node in self._requests or request.public_key in state.epochs.used:
            return
        try:
            check_public_key(node, request.public_key)
        except ConfigurationError:
            raise RemoteProtocolError(sender, "asked to come back with a key that is none") from None
        statement = readmission_statement(request, state.committee.cluster)

        def verified(results: tuple[bool, ...]) -> None:
            if not all(results):
                self._keeper.blame(sender, "asked to come back with a signature that is wrong")
            elif node not in self._requests and self._keeper.evictions.of(node) == out:
                self._requests[node] = request

        checks = (
            Signed(out.public_key, statement, request.attestation),
            Signed(request.public_key, statement, request.possession),
        )
        self._verifier.verify(checks, verified)

    def _may_ask(self, out: Eviction) -> bool:
        """Whether members evicted it for being slow, and it is not known to lie: with the key that it had, anybody
        else comes back by its operators alone."""
        return (
            left_alone(*self._around(out)) and out.reason == SLOW and self._keeper.lie_of(out.public_key) is None
        )

    def _around(self, out: Eviction) -> tuple[Committee, Committee]:
        """The last committee that it was in, and the first without it."""
        committees = self._state.epochs.committees
        place = out.epoch - committees[0].epoch
        return committees[place - 1], committees[place]

    def _testify(self, out: Eviction) -> None:
        """Let every member know why it left: some may have come later."""
        now_us, lie = self._clock.now_us(), self._keeper.lie_of(out.public_key)
        if lie is None and out.reason != SLOW:
            return
        if now_us - self._testified_us.get(out.node, 0) < TESTIFIED_TURNS * self._turn_us:
            return
        self._testified_us[out.node] = now_us
        enough = out.complaints[: self._around(out)[0].faults + 1]  # all of a large committee fit in no message
        self._keeper.broadcast(Complaints(enough) if lie is None else GiveEvidence(lie))

    def on_shown(self, sender: NodeId, shown: ShownState) -> None:
        """It shows what it has."""
        request = self._requests.get(sender)
        if request is None or shown.node != sender or not self._is_newer(shown):
            return
        if not is_in_form(shown):
            raise RemoteProtocolError(sender, "showed a state with numbers or hashes outside every chain")
        statement = shown_statement(shown, self._state.committee.cluster, request.since)

        def verified(results: tuple[bool, ...]) -> None:
            if not all(results):
                self._keeper.blame(sender, "showed a state with a signature that is wrong")
            elif self._is_newer(shown):
                self._newest[sender] = shown.height, shown.number
                is_right = self._is_certified(shown)
                if is_right is not None:
                    self._returns.shows(sender, is_right, self._clock.now_us())

        self._verifier.verify((Signed(request.public_key, statement, shown.signature),), verified)

    def _is_newer(self, shown: ShownState) -> bool:
        """Whether it was not shown before: by its number, or by its block, since numbers are of a clock, which may
        be set back between two lives."""
        height, number = self._newest.get(shown.node, (-1, 0))
        return shown.number > number or shown.height > height

    def _is_certified(self, shown: ShownState) -> bool | None:
        """Whether block and state are those of this member, and near enough; None: it is itself behind."""
        state = self._state
        if shown.height > state.commit_sequence:
            return None
        if state.commit_sequence - shown.height > 2 * state.settings.state_blocks:
            return False
        if not state.chain.holds(shown.height, shown.digest):
            return False
        if shown.state_height == 0:
            return shown.height < 2 * state.settings.state_blocks
        root = state.roots.get(shown.state_height) or self._named(shown.state_height)
        if root is None:
            return None if shown.state_height > state.newest_root[0] else False
        return root == shown.state_root

    def _named(self, height: int) -> bytes | None:
        """The root of the state after a block that a decided block here names."""
        chain = self._state.chain
        links = chain.links(chain.base, min(chain.last, self._state.commit_sequence))
        return next((link.header.state_root for link in links if link.header.state_sequence == height), None)

    # Of who is out.

    def ask(self, now_us: int) -> None:
        """Ask every member, and show what this node has."""
        request = self._own_request()
        if request is None:
            return
        state = self._state
        self._number = max(self._number + 1, now_us)
        height, (state_height, root) = state.commit_sequence, state.newest_root
        digest = state.chain.digest(height) or bytes(32)
        shown = ShownState(state.node, self._number, height, digest, state_height, root, b"")
        signature = state.sign_bytes(shown_statement(shown, state.committee.cluster, request.since))
        self._keeper.broadcast(AskReadmission(request))
        self._keeper.broadcast(ShowState(msgspec.structs.replace(shown, signature=signature)))

    def _own_request(self) -> Readmission | None:
        """The request of the present key; a key that was left out makes way for a fresh one first."""
        state = self._state
        used = state.epochs.used.get(state.public_key)
        if used is None:
            data = self._keys.request()
            request = _DECODE.decode(data) if data else None
            return request if request is not None and request.public_key == state.public_key else None
        fresh, since = self._keys.make(), used[1] + 1
        request = Readmission(state.node, fresh.public_key, since, b"", b"")
        statement = readmission_statement(request, state.committee.cluster)
        request = msgspec.structs.replace(
            request, possession=fresh.sign(statement), attestation=state.sign_bytes(statement)
        )
        try:
            self._keys.keep(fresh, _ENCODE.encode(request))
        except (OSError, ConfigurationError) as error:
            self._keeper.say(f"no fresh key could be made, so this node cannot ask to come back: {error}")
            return None
        self._replica.renew_key(fresh.public_key, fresh.sign)
        return request
