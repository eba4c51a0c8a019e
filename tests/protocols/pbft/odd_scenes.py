"""A member that misses some blocks, in one epoch and in the next, and a right message of every type for it."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

import msgspec

from quorum.certificate.committee import Committee
from quorum.certificate.evidence import Claim, Equivocation, HiddenVote, SignedVote
from quorum.certificate.vote import VoteKind
from quorum.model import NodeId
from quorum.protocols import effects, events
from quorum.protocols.pbft import view_change
from quorum.protocols.pbft.messages import (
    Accusation,
    Commit,
    Epochs,
    Fetch,
    Forward,
    NewView,
    Prepare,
    Shown,
    Status,
    ViewChange,
    Votes,
)
from quorum.protocols.pbft.replica import PbftReplica
from quorum.protocols.pbft.state import NO_CLAIM

from .cluster import SETTINGS, key_of
from .epoch_scene import EpochCluster, approval_of, change, committee_after
from .odd_fields import Said, signed_again
from .scene import ONE, OTHER, order, requests

TARGET, PRIMARY, MEMBER, LIAR = "n2", "n1", "n4", "n3"
FOLLOWER, STRANGER = "n5", "zz"
"""Evidence is against the liar. The follower is a member of the first epoch, and was one in the second."""


class Scene:
    """The member as it is now, the others' messages for it, and who may be named by whom."""

    def __init__(self, cluster: EpochCluster, committee: Committee) -> None:
        self.cluster, self.committee = cluster, committee
        self.sent: list[Said] = []
        cluster.filter = self._keep
        self.now_us = cluster[TARGET].now_us
        self.replica: PbftReplica = deepcopy(cluster[TARGET].replica)
        self._frozen = _frozen_in(self.replica)
        self.said = self._messages()

    def target(self) -> PbftReplica:
        """A copy of the member, which nothing has happened to."""
        return deepcopy(self.replica, dict(self._frozen))

    def _keep(self, source: str, to: str, message: object, attached: tuple[bytes, ...]) -> list[Said]:
        if TARGET not in (source, to):
            return [(message, attached)]
        if to == TARGET:
            self.sent.append((message, attached))
        return []

    def _messages(self) -> list[Said]:
        """One of every type; where a type has several forms, one of each."""
        view, at = self.cluster["n3"].state.view, self.cluster[TARGET].state.commit_sequence
        others = tuple(node for node in self.cluster.nodes if node != TARGET)
        for request in requests(3, f"later {view}"):
            self.cluster.submit(request, to=others)
            self.cluster.run(0)
        blocks = self._answer(Fetch(view, at + 1))
        self._order_on(others)
        offer = self._answer(Fetch(view, 1))
        self._leave(view + len(self.committee.nodes), others)
        votes = [(message, attached) for message, attached in self.sent if isinstance(message, Prepare | Commit)]
        found = [self._first_of(kind) for kind in ("PrePrepare", "Prepare", "Commit", "Status")]
        found += [self._last_of("ViewChange"), self._last_of("NewView"), *blocks, *offer]
        return [*found, *((message, ()) for message in self._made(view, at, votes[:4]))]

    def _made(self, view: int, at: int, votes: list[Said]) -> list[object]:
        """What no honest member has sent here."""
        newest = self.replica.state.chain.newest.digest
        start = NO_CLAIM if self.committee.epoch == 1 else self.cluster["n3"].state.epochs.start
        repeated = tuple(
            (int(_kind_of(message)), message.sequence, message.digest, message.signature)  # type: ignore[attr-defined]
            for message, _ in votes
        )
        one, other = (self._vote(VoteKind.PREPARE, view, at + 1, digest) for digest in (ONE, OTHER))
        commit = self._vote(VoteKind.COMMIT, view, at + 1, ONE)
        left = self._vote(VoteKind.VIEW_CHANGE, view + 1, start.sequence, start.digest_of_claim())
        following = committee_after(self.committee, ("n1", "n2", "n3", "n4", "n8"))
        at_start = self._view_begun_with(start, view + len(self.committee.nodes))
        return [
            at_start.changes[-1][1],
            at_start,
            Votes(view, repeated),
            Fetch(view, at, at, newest),
            Status(view, True, at + 3, at + 3, at + 3, True),
            Forward(view, tuple(requests(3, "forwarded"))),
            Shown(view, self._vote(VoteKind.PREPARE, view, at, newest, PRIMARY)),
            Accusation(view, Equivocation(one, other)),
            Accusation(view, HiddenVote(commit, left, start)),
            approval_of(self.committee, following, LIAR, MEMBER),
            Epochs(view, _second()["n3"].state.epochs.changes),
        ]

    def _view_begun_with(self, claim: Claim, view: int) -> NewView:
        """A view of the primary's that a quorum wants, of which nobody has seen a block."""
        wanted = []
        for node in self.committee.nodes:
            if node != TARGET:
                vote = self._vote(VoteKind.VIEW_CHANGE, view, claim.sequence, claim.digest_of_claim(), node)
                wanted.append((node, ViewChange(view, claim, VoteKind.PREPARE, (), vote.signature)))
        signed = signed_again(NewView(view, tuple(wanted), b""), PRIMARY, self.committee)
        assert isinstance(signed, NewView)
        return signed

    def _vote(self, kind: VoteKind, view: int, sequence: int, digest: bytes, by: NodeId = LIAR) -> SignedVote:
        statement = self.committee.domain.statement(kind, view, sequence, digest)
        return SignedVote(by, kind, view, sequence, digest, key_of(by).sign(statement).signature)

    def _answer(self, asked: Fetch) -> list[Said]:
        """What another member gives who asks for blocks."""
        node, before = self.cluster["n3"], len(self.sent)
        node.step(events.Received(node.now_us, TARGET, asked))
        return self.sent[before:]

    def _order_on(self, others: tuple[str, ...]) -> None:
        for request in requests(4 * SETTINGS.state_blocks, "more"):
            self.cluster.submit(request, to=others)
            self.cluster.run(0)
        self.cluster.run(500_000)

    def _leave(self, view: int, others: tuple[str, ...]) -> None:
        for name in others:
            if name in self.committee.nodes and self.cluster[name].state.view < view:
                view_change.leave_view(self.cluster[name].state, view)
        self.cluster.run(500_000)

    def _first_of(self, kind: str) -> Said:
        return next(said for said in self.sent if type(said[0]).__name__ == kind)

    def _last_of(self, kind: str) -> Said:
        return next(said for said in reversed(self.sent) if type(said[0]).__name__ == kind)


def _frozen_in(replica: PbftReplica) -> dict[int, object]:
    """What a copy of the replica may share with it, as `deepcopy` wants it: values that never change."""
    met: dict[int, Any] = {}
    deepcopy(replica, met)
    return {id(each): each for each in met[id(met)] if _is_frozen(each)}


def _is_frozen(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_frozen, value))
    if isinstance(value, bytes | str | int | None):
        return True
    if isinstance(value, msgspec.Struct):
        return value.__struct_config__.frozen
    return type(value).__module__.startswith("quorum.systems")


def _kind_of(vote: object) -> VoteKind:
    return VoteKind.PREPARE if isinstance(vote, Prepare) else VoteKind.COMMIT


def _cluster() -> EpochCluster:
    cluster = EpochCluster(5, 1)
    cluster.boot()
    order(cluster, 6)
    return cluster


@cache
def _second() -> EpochCluster:
    cluster = _cluster()
    change(cluster, ("n1", "n2", "n3", "n4"))
    order(cluster, 6, "second")
    cluster.run(500_000)
    return cluster


@cache
def scene(name: str) -> Scene:
    """`voting`: in the first view of the first epoch. `second`: in the second epoch. `leaving`: as that, and the
    member has left the view that the others are in."""
    if name == "voting":
        cluster = _cluster()
        return Scene(cluster, cluster.committee)
    cluster = deepcopy(_second())
    if name == "leaving":
        state = cluster[TARGET].state
        view_change.leave_view(state, state.view + 4)
    return Scene(cluster, cluster.newest)


def deliver(target: PbftReplica, scene: Scene, source: NodeId, said: Said) -> list[effects.Report]:
    """Give a member one message, its signatures verified and its records durable at once; what it reports. Raises
    what the replica raises."""
    reports, is_stored = [], False
    produced = list(target.step(events.Received(scene.now_us, source, *said)))
    while produced:
        effect = produced.pop(0)
        match effect:
            case effects.Report():
                reports.append(effect)
            case effects.Verify(token=token, items=items):
                results = tuple(scene.cluster.verify(item) for item in items)
                produced += target.step(events.Verified(scene.now_us, token, results))
        if not produced and not is_stored:
            is_stored = True
            produced += target.step(events.Stored(scene.now_us, target.state.persists))
    return reports
