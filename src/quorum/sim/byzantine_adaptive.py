"""Members that may lie under the policy `adaptive`: they evict and readmit each other, and rules are checked."""

from __future__ import annotations

from typing import Final

from quorum.certificate.committee import Committee
from quorum.certificate.complaint import Complaint, complaint_statement
from quorum.checkers.violation import Violation
from quorum.membership.committee_policy import floor_of
from quorum.membership.evictions import LIED, SLOW
from quorum.membership.observation import Limits
from quorum.model import NodeId
from quorum.protocols.effects import Signed
from quorum.protocols.pbft.replica import PbftReplica
from quorum.runtime.committee_keeper import CommitteeKeeper
from quorum.runtime.driver import Driver
from quorum.runtime.ports import Fresh, Ports
from quorum.sim.byzantine_world import ByzantineWorld, Key
from quorum.sim.node import SimNode

EVICTED_LIAR: Final = "liar evicted"
EVICTED_SLOW: Final = "slow member evicted"
READMITTED: Final = "evicted member readmitted"
AT_FLOOR: Final = "eviction refused at the floor"

QUICK = Limits(hold_us=1_500_000, stable_us=1_500_000, stable_max_us=12_000_000, forgive_us=8_000_000)
"""Seconds in a run stand for minutes."""
TURN_US = 250_000


class SimFresh:
    """runtime.ports.Fresh."""

    def __init__(self, key: Key) -> None:
        self.key, self.public_key = key, key.public

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message)


class SimKeys:
    """runtime.ports.FreshKeys of a simulated node: what is kept outlives its lives."""

    def __init__(self, world: AdaptiveWorld, node: NodeId) -> None:
        self._world, self._node = world, node

    def make(self) -> SimFresh:
        return SimFresh(self._world.new_key(self._node))

    def keep(self, fresh: Fresh, request: bytes) -> None:
        assert isinstance(fresh, SimFresh), "it was made here"
        self._world.keep_key(self._node, fresh.key, request)

    def request(self) -> bytes:
        return self._world.requests.get(self._node, b"")


class AdaptiveWorld(ByzantineWorld):
    """Every node has a keeper. Checked at every change of epoch: one leaves or one joins, 3T+1 stay, T is as it
    was; who left lied, as there is evidence, or more than T complained of it; a liar comes back with no key of its
    own making."""

    limits = QUICK
    turn_us = TURN_US
    requests: dict[NodeId, bytes]
    keepers: dict[NodeId, CommitteeKeeper]
    judged: int

    def make_driver(self, node: SimNode, ports: Ports) -> Driver:
        if not hasattr(self, "keepers"):
            self.requests, self.keepers, self.judged = {}, {}, 0
        driver = super().make_driver(node, ports)
        assert isinstance(node.replica, PbftReplica), "members that may lie run PBFT"
        keeper = CommitteeKeeper(
            node.replica,
            ports,
            SimKeys(self, node.node),
            driver.approve,
            driver.keep,
            node.peer_misbehaved,
            lambda text: self.told(node.node, text),
            self.limits,
            self.turn_us,
        )
        self.keepers[node.node] = keeper
        driver.attend(keeper)
        return driver

    def told(self, node: NodeId, text: str) -> None:
        """What a node's operator reads."""
        self.count(("told", node, text))
        if "3T+1" in text:
            self.sometimes.reached(AT_FLOOR)

    def new_key(self, name: NodeId) -> Key:
        """A key that a node makes by itself."""
        self._renewed += 1
        key = Key(f"{self.seed}/{name}/fresh {self._renewed}".encode(), self._real)
        self.verifier.keys[key.public] = key
        return key

    def keep_key(self, name: NodeId, key: Key, request: bytes) -> None:
        """It signs with it from now on."""
        self._keys[name] = key
        self.requests[name] = request
        if name in self.liars:
            self.liars[name]._sign = key.sign

    def role_changed(self, node: SimNode, role: str, term: int) -> None:
        super().role_changed(node, role, term)
        if node.node not in self.liars and isinstance(node.replica, PbftReplica):
            committees = node.replica.state.epochs.committees
            for before, after in zip(committees[self.judged :], committees[self.judged + 1 :], strict=False):
                self.judged += 1
                self._judge(before, after)

    def _judge(self, before: Committee, after: Committee) -> None:
        """Every rule of a change that no operator asked for."""
        left = sorted(set(before.nodes) - set(after.nodes))
        joined = sorted(set(after.nodes) - set(before.nodes))
        if len(left) + len(joined) > 1:
            raise Violation("one member leaves or joins in an epoch", f"{left} left and {joined} joined")
        if len(after.members) < floor_of(before.faults) or after.faults != before.faults:
            raise Violation(
                "never below 3T+1 of the declared T", f"{len(after.members)} members, T={after.faults}"
            )
        for node in left:
            self._judge_eviction(node, before)
        for node in joined:
            self.sometimes.reached(READMITTED)
            if any(keeper.lie_of(self._last_key(node, before)) for keeper in self._honest_keepers()):
                raise Violation("a liar never comes back by itself", f"{node} is in epoch {after.epoch}")

    def _last_key(self, node: NodeId, newest: Committee) -> bytes:
        """With which a node voted last, before it was out of this committee."""
        committees = self._newest_epochs()
        known = [each.keys[node] for each in committees if node in each.keys and each.epoch <= newest.epoch]
        return known[-1] if known else b""

    def _newest_epochs(self) -> list[Committee]:
        known: list[list[Committee]] = [node.replica.state.epochs.committees for node in self._running()]
        return max(known, key=len)

    def _judge_eviction(self, node: NodeId, before: Committee) -> None:
        key = before.keys[node]
        if any(keeper.lie_of(key) for keeper in self._honest_keepers()):
            if node not in self.liars:
                raise Violation("no evidence ever names an honest member", f"{node} left as a liar", (node,))
            self.sometimes.reached(EVICTED_LIAR)
            return
        self.sometimes.reached(EVICTED_SLOW)
        said = [word for keeper in self._honest_keepers() for word in keeper.said_of(node, before.epoch)]
        by = {word.by for word in said if self._is_signed(word, before)}
        if len(by) <= before.faults:
            raise Violation(
                "nobody is evicted unless T+1 complain", f"{node} left, of which {sorted(by)} complain"
            )
        if not by - set(self.liars):
            raise Violation("liars alone evict nobody", f"{node} left, of which {sorted(by)} complain")

    def _is_signed(self, word: Complaint, committee: Committee) -> bool:
        key = committee.keys.get(word.by, b"")
        return self.verifier.is_right(Signed(key, complaint_statement(word, committee), word.signature))

    def _honest_keepers(self) -> list[CommitteeKeeper]:
        return [keeper for name, keeper in self.keepers.items() if name not in self.liars]

    def reasons(self) -> dict[NodeId, str]:
        """Who is out, and why, as the honest members that run know it."""
        found: dict[NodeId, str] = {}
        for keeper in self._honest_keepers():
            for each in keeper.evictions.all():
                reason = LIED if keeper.lie_of(each.public_key) else each.reason
                if reason in (LIED, SLOW) or each.node not in found:
                    found[each.node] = reason
        return found
