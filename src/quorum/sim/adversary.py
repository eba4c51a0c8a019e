"""Members that lie: each behaviour changes what an honest replica would have sent, with that member's own key.

A liar has one key and no other; it sees what its replica sees, and may say anything to anybody. The same classes
lie in simulation, in the in-process quorum, and on the wire of a real cluster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import ClassVar

from msgspec.structs import replace

from quorum.certificate.block import BlockHeader
from quorum.certificate.committee import Committee
from quorum.certificate.complaint import Complaint, complaint_statement
from quorum.certificate.epochs import EpochChange
from quorum.certificate.evidence import Claim
from quorum.certificate.latency_report import LatencyReport, latency_statement
from quorum.certificate.requests import SignedRequest, decode_request, sign_request, unpack_block
from quorum.certificate.vote import DIGEST_BYTES, SigningDomain, VoteKind
from quorum.entry import Buffer, decode_entry
from quorum.header import Batch
from quorum.model import NodeId
from quorum.protocols.pbft.blocks import Block, make_block, read_block
from quorum.protocols.pbft.chain import Link
from quorum.protocols.pbft.epochs import NO_CLAIM
from quorum.protocols.pbft.messages import (
    Blocks,
    Commit,
    Fetch,
    Forward,
    NewView,
    Offer,
    Prepare,
    PrePrepare,
    Status,
    ViewChange,
    Votes,
)
from quorum.runtime.messages import Complaints, EpochsReply, ProposeWeights, ReportLatency, Result

Sent = tuple[object, tuple[Buffer, ...]]
Sign = Callable[[bytes], bytes]
Requests = Sequence[tuple[SignedRequest, Buffer]]


class Liar:
    """Base of all behaviours, and the honest one. `lie` returns what leaves instead of a message to one member."""

    name: ClassVar[str] = "honest"

    def __init__(self, node: NodeId, committee: Committee, sign: Sign, random: Random) -> None:
        self.node = node
        self.committee = committee
        self.random = random
        self._sign = sign

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        """What is sent to `to` in place of `message`; empty: nothing."""
        return [(message, tuple(attached))]

    def tells(self, message: object, attached: tuple[Buffer, ...]) -> list[Sent]:
        """What a client is answered in place of `message`."""
        return [(message, attached)]

    def vote(self, kind: VoteKind, view: int, sequence: int, digest: bytes) -> bytes:
        """Its signature over any statement of the committee's domain."""
        return self._sign(self.committee.domain.statement(kind, view, sequence, digest))

    def for_digest(self, message: Prepare | Commit, digest: bytes) -> Sent:
        """The same vote for something else."""
        kind = VoteKind.PREPARE if isinstance(message, Prepare) else VoteKind.COMMIT
        signature = self.vote(kind, message.view, message.sequence, digest)
        return replace(message, digest=digest, signature=signature), ()

    def is_victim(self, to: NodeId) -> bool:
        """A fixed half of the members, by their names."""
        others = [node for node in self.committee.nodes if node != self.node]
        return to in others[: len(others) // 2]


class MakesOthers(Liar):
    """Base of those that make a block of their own in place of one that is proposed. It follows the other one that
    was made before it."""

    def __init__(self, node: NodeId, committee: Committee, sign: Sign, random: Random) -> None:
        super().__init__(node, committee, sign, random)
        self._others: dict[tuple[int, int], Block] = {}

    def changed(self, header: BlockHeader, entry: bytes) -> tuple[int, Requests]:
        """The time (microseconds since 1970) and the requests of the block in place of this one."""
        raise NotImplementedError

    def proposed(self, message: PrePrepare, entry: bytes) -> Sent:
        """The other block, the same for whoever gets it, signed like the first."""
        block = self._others.get((message.view, message.sequence))
        if block is None:
            header = read_block(self.node, entry, self.committee).header
            parent = self._others.get((message.view, message.sequence - 1))
            digest = header.parent if parent is None else parent.digest
            before = Link(replace(header, sequence=header.sequence - 1), digest, 0)
            time_us, requests = self.changed(header, entry)
            state = (header.state_sequence, header.state_root)
            block = make_block(before, self.committee, time_us, state, requests)
            self._others[message.view, message.sequence] = block
        signature = self.vote(VoteKind.PREPARE, message.view, message.sequence, block.digest)
        return replace(message, signature=signature), (block.entry,)

    def voted(self, message: Prepare | Commit) -> Sent | None:
        """The same vote for the other block; None where there is none."""
        block = self._others.get((message.view, message.sequence))
        return None if block is None else self.for_digest(message, block.digest)


class Equivocates(MakesOthers):
    """As primary, sends another block of the same place to half of the members, each with a good signature; as
    backup, votes for both halves."""

    name = "equivocate"

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if isinstance(message, PrePrepare) and self.is_victim(to):
            return [self.proposed(message, bytes(attached[0]))]
        if isinstance(message, Prepare | Commit) and self.is_victim(to) and (other := self.voted(message)):
            return [other]
        return super().lie(to, message, attached)

    def changed(self, header: BlockHeader, entry: bytes) -> tuple[int, Requests]:
        """A moment later and without requests: as good as the first."""
        return header.time_us + 1, ()


class VotesTwice(Liar):
    """Votes for what was proposed, and for something else at the same place."""

    name = "vote-twice"

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        honest = super().lie(to, message, attached)
        if isinstance(message, Prepare | Commit):
            second = self.for_digest(message, self.random.randbytes(DIGEST_BYTES))
            return [second, *honest] if self.random.random() < 0.5 else [*honest, second]
        return honest


class Silent(Liar):
    """Sends nothing."""

    name = "silent"

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        return []


class SilentToSome(Liar):
    """Sends nothing to T chosen members, and speaks to the others as an honest one does."""

    name = "silent-to-some"

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        others = [node for node in self.committee.nodes if node != self.node]
        return [] if to in others[: self.committee.faults] else super().lie(to, message, attached)


class Forges(Liar):
    """Its votes, view changes and certificates carry signatures that are wrong, too few, or named twice."""

    name = "forge"

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if self.random.random() < 0.5:
            return super().lie(to, message, attached)
        junk = self.random.randbytes(64)
        if isinstance(message, Prepare | Commit | PrePrepare | NewView):
            return [(replace(message, signature=junk), tuple(attached))]
        if isinstance(message, ViewChange):
            return [(self._forged_claim(message), ())]
        if isinstance(message, Blocks | Offer) and message.signatures:
            signatures = list(message.signatures)
            way = self.random.randrange(3)
            if way == 0:
                signatures = signatures[:-1]
            elif way == 1:
                signatures[-1] = signatures[0]
            else:
                signatures[0] = signatures[0][0], junk
            return [(replace(message, signatures=tuple(signatures)), tuple(attached))]
        return super().lie(to, message, attached)

    def _forged_claim(self, message: ViewChange) -> ViewChange:
        digest = self.random.randbytes(DIGEST_BYTES)
        view = max(0, message.view - 1)
        claim = Claim(view, message.claim.sequence + 1, digest)
        names = self.committee.nodes[
            : 1 + self.committee.faults + self.random.randrange(len(self.committee.nodes))
        ]
        own = self.vote(VoteKind.PREPARE, view, claim.sequence, digest)
        signatures = tuple((name, own) for name in names)
        signature = self.vote(VoteKind.VIEW_CHANGE, message.view, claim.sequence, claim.digest_of_claim())
        return ViewChange(message.view, claim, VoteKind.PREPARE, signatures, signature)


class Hides(Liar):
    """Claims to have seen nothing when the view changes; as primary, begins views with as little as it can."""

    name = "hide"

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if isinstance(message, ViewChange):
            digest = NO_CLAIM.digest_of_claim()
            signature = self.vote(VoteKind.VIEW_CHANGE, message.view, 0, digest)
            return [(ViewChange(message.view, NO_CLAIM, VoteKind.PREPARE, (), signature), ())]
        if isinstance(message, NewView) and self.is_victim(to):
            fewer = replace(message, changes=message.changes[1:])
            return [(fewer, ())]
        return super().lie(to, message, attached)


class SpamsViews(Liar):
    """Asks for one view after the other, far ahead, all the time."""

    name = "spam-views"

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        honest = super().lie(to, message, attached)
        if isinstance(message, Status) and self.random.random() < 0.3:
            view = message.view + 1 + self.random.randrange(1_000)
            signature = self.vote(VoteKind.VIEW_CHANGE, view, 0, NO_CLAIM.digest_of_claim())
            honest.append((ViewChange(view, NO_CLAIM, VoteKind.PREPARE, (), signature), ()))
        return honest


class Replays(Liar):
    """Sends again, at any time and to anybody, what it sent before."""

    name = "replay"

    def __init__(self, node: NodeId, committee: Committee, sign: Sign, random: Random) -> None:
        super().__init__(node, committee, sign, random)
        self._sent: deque[Sent] = deque(maxlen=200)

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        honest = super().lie(to, message, attached)
        self._sent += honest
        if self.random.random() < 0.3:
            honest.append(self._sent[self.random.randrange(len(self._sent))])
        return honest


class Garbles(Liar):
    """Bytes of what it sends are changed: blocks, digests, headers."""

    name = "garble"

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if self.random.random() < 0.7:
            return super().lie(to, message, attached)
        if attached:
            damaged = bytearray(attached[0])
            damaged[self.random.randrange(len(damaged))] ^= 1 << self.random.randrange(8)
            return [(message, (bytes(damaged), *attached[1:]))]
        if isinstance(message, Prepare | Commit):
            return [(replace(message, digest=self.random.randbytes(DIGEST_BYTES)), ())]
        if isinstance(message, Status):
            return [(replace(message, committed=message.committed + 1_000, last=message.last + 1_000), ())]
        return super().lie(to, message, attached)


class ForgesReplies(Liar):
    """Tells clients that something else happened, of committees that nobody decided, or of none."""

    name = "forge-replies"

    def tells(self, message: object, attached: tuple[Buffer, ...]) -> list[Sent]:
        if isinstance(message, Result) and self.random.random() < 0.7:
            body = b"".join(attached)
            if body and self.random.random() < 0.5:
                damaged = bytearray(body)
                damaged[self.random.randrange(len(damaged))] ^= 1 << self.random.randrange(8)
                return [(message, (bytes(damaged),))]
            return [(replace(message, status=message.status ^ 1), attached)]
        if isinstance(message, EpochsReply) and message.changes and self.random.random() < 0.7:
            return [(replace(message, changes=self._made_up(message.changes)), attached)]
        return super().tells(message, attached)

    def _made_up(self, changes: tuple[EpochChange, ...]) -> tuple[EpochChange, ...]:
        """No change at all; or itself in the place of another, under the signatures for those who were decided."""
        last = changes[-1].committee
        if self.random.random() < 0.3:
            return ()
        alone = replace(last, members=last.members[:1], faults=0)
        return (*changes[:-1], replace(changes[-1], committee=alone))


class AltersRequests(MakesOthers):
    """Changes what clients asked for: in the blocks it proposes, and in what it forwards for them. It has no
    client's key, so it leaves the signatures as they were."""

    name = "alter-requests"

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if isinstance(message, PrePrepare):
            return [self.proposed(message, bytes(attached[0]))]
        if isinstance(message, Prepare | Commit) and (other := self.voted(message)) is not None:
            return [other]
        if isinstance(message, Forward):
            return [(replace(message, requests=tuple(map(self._alter, message.requests))), ())]
        return super().lie(to, message, attached)

    def changed(self, header: BlockHeader, entry: bytes) -> tuple[int, Requests]:
        """Other requests in place of the clients'."""
        packed = [self._alter(request) for request in unpack_block(decode_entry(entry)[1])[1]]
        return header.time_us, [(decode_request(request), request) for request in packed]

    def _alter(self, request: Buffer) -> bytes:
        """The last byte of a request is one of its value, where it has one."""
        return bytes(request[:-1]) + bytes([request[-1] ^ 1])


JUNK_EACH = 20
"""So much junk goes with each message of a member that floods."""


class Floods(Liar):
    """Sends much junk with each message of its own: votes for places and views to come and for blocks that nobody
    knows, questions for blocks, wishes for views, requests that no client signed, and, as a client of its own,
    good ones that were decided long ago."""

    name = "flood"

    def __init__(self, node: NodeId, committee: Committee, sign: Sign, random: Random) -> None:
        super().__init__(node, committee, sign, random)
        self._view = self._decided = 0
        self.junk_each = JUNK_EACH

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if isinstance(message, Status):
            self._view, self._decided = message.view, message.committed
        return [*super().lie(to, message, attached), *((self._junk(), ()) for _ in range(self.junk_each))]

    def _junk(self) -> object:
        random, view, decided = self.random, self._view, self._decided
        near, far = decided + random.randrange(1, 12), decided + random.randrange(1, 2**40)
        digest, signature = random.randbytes(DIGEST_BYTES), random.randbytes(64)
        later = view + random.randrange(1, 1_000)
        match random.randrange(10):
            case 0:
                return Prepare(view, near, digest, signature)
            case 1:
                return Commit(view, near, digest, signature)
            case 2:
                return Prepare(later, far, digest, signature)
            case 3:
                return Votes(view, tuple((int(VoteKind.COMMIT), near + i, digest, signature) for i in range(8)))
            case 4:
                return Fetch(view, random.randrange(1, decided + 2))
            case 5:
                return Fetch(view, max(1, decided - 8), near, digest)
            case 6:
                return Status(view, True, far, far, far)
            case 7:
                return ViewChange(later, NO_CLAIM, VoteKind.PREPARE, (), signature)
            case 8:
                return Forward(view, tuple(self._old(number) for number in random.sample(range(16), 4)))
            case _:
                return Forward(view, tuple(self._request() for _ in range(4)))

    def _old(self, number: int) -> bytes:
        """One of a few that it signed itself: new once, and no more."""
        batch = Batch(1, 0, number, 0, 1, bytes(100))
        domain = SigningDomain(self.committee.cluster, 0)
        return sign_request(domain, batch, self.committee.keys.get(self.node, bytes(32)), self._sign)

    def _request(self) -> bytes:
        """Well formed, and signed by nobody."""
        batch = Batch(1, 0, self.random.randrange(2**40), 0, 1, bytes(100))
        domain = SigningDomain(self.committee.cluster, 0)
        return sign_request(domain, batch, self.random.randbytes(32), lambda _: self.random.randbytes(64))


class Complains(Liar):
    """Complains of everybody all the time: as itself, and in the names of others, whose keys it does not have."""

    name = "complain"

    def __init__(self, node: NodeId, committee: Committee, sign: Sign, random: Random) -> None:
        super().__init__(node, committee, sign, random)
        self._number = 1 << 60  # beyond every clock: newer than what it honestly said

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        honest = super().lie(to, message, attached)
        if isinstance(message, Complaints):
            return []  # an honest one would take its own back
        if isinstance(message, Status) and self.random.random() < 0.3:
            honest.append((Complaints(self._of_everybody(message.committed)), ()))
            if self.random.random() < 0.1:
                honest.append((Complaints(self._forged(message.committed)), ()))
        return honest

    def _of_everybody(self, height: int) -> tuple[Complaint, ...]:
        said = [self._word(self.node, other, height) for other in self.committee.nodes if other != self.node]
        return tuple(
            replace(word, signature=self._sign(complaint_statement(word, self.committee))) for word in said
        )

    def _forged(self, height: int) -> tuple[Complaint, ...]:
        *names, victim = [other for other in self.committee.nodes if other != self.node]
        said = [self._word(by, victim, height) for by in names]
        return tuple(replace(word, signature=self.random.randbytes(64)) for word in said)

    def _word(self, by: NodeId, accused: NodeId, height: int) -> Complaint:
        self._number += 1
        return Complaint(by, accused, self.committee.epoch, height, self._number, True, b"")


class Misreports(Liar):
    """Reports other round trips to everybody, as itself and in the names of others; as a primary it proposes
    weights by too few reports, old ones, or such as nobody signed."""

    name = "misreport"

    def __init__(self, node: NodeId, committee: Committee, sign: Sign, random: Random) -> None:
        super().__init__(node, committee, sign, random)
        self._old: dict[NodeId, LatencyReport] = {}
        self._epoch = committee.epoch

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if isinstance(message, ReportLatency):
            lies: list[Sent] = [(ReportLatency(self._report(message.report)), ())]
            if self.random.random() < 0.1:
                others = [other for other in self.committee.nodes if other != self.node]
                lies.append((ReportLatency(replace(message.report, by=self.random.choice(others))), ()))
            return lies
        if isinstance(message, ProposeWeights):
            return [(replace(message, reports=self._reports(message.reports)), ())]
        return super().lie(to, message, attached)

    def _report(self, report: LatencyReport) -> LatencyReport:
        """Everybody is next door, or far away; signed as it should be."""
        draw = self.random.choice((lambda us: 1, lambda us: us * 3, lambda us: self.random.randrange(100_000)))
        number = report.number + self.random.choice((0, 0, 3_600_000_000))
        lied = replace(report, number=number, took_us=tuple((node, draw(us)) for node, us in report.took_us))
        return replace(lied, signature=self._sign(latency_statement(lied, self.committee)))

    def _reports(self, reports: tuple[LatencyReport, ...]) -> tuple[LatencyReport, ...]:
        if self._epoch != self.committee.epoch:
            self._epoch, self._old = self.committee.epoch, {}
        for report in reports:
            self._old.setdefault(report.by, report)
        match self.random.randrange(4):
            case 0:
                return reports[: self.committee.faults + 1]
            case 1:
                return tuple(self._old[report.by] for report in reports)
            case 2:
                return tuple(
                    replace(report, took_us=tuple((n, 1) for n, _ in report.took_us)) for report in reports
                )
        return reports


BEHAVIOURS: dict[str, type[Liar]] = {
    each.name: each
    for each in (
        Equivocates,
        VotesTwice,
        Silent,
        SilentToSome,
        Forges,
        Hides,
        SpamsViews,
        Replays,
        Garbles,
        ForgesReplies,
        AltersRequests,
        Floods,
        Complains,
        Misreports,
    )
}
"""What a member can be made to do, by name."""

DRAWN = (*sorted(set(BEHAVIOURS) - {Floods.name, Complains.name, Misreports.name}), Floods.name)
"""What seeds draw from; the newest stands last, so that most seeds draw what they always did. Complaints matter
only where the policy is adaptive, and reports of round trips where weights follow the network: such runs name
them."""
