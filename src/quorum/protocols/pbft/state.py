"""The memory of one PBFT replica, and the few ways every part of the protocol changes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from quorum.certificate.block import BlockCertificate
from quorum.certificate.committee import Committee
from quorum.certificate.evidence import Claim, Equivocation, Evidence, SignedVote, accused
from quorum.certificate.vote import DIGEST_BYTES, NUMBER_MAX, SigningDomain, VoteKind
from quorum.model import NodeId
from quorum.protocols.effects import (
    Commit,
    Effect,
    Entries,
    HardState,
    Note,
    Persist,
    Report,
    Send,
    SetTimer,
    Signed,
    Verify,
)
from quorum.protocols.events import SnapshotMark
from quorum.protocols.pbft.chain import Chain
from quorum.protocols.pbft.commits_seen import CommitsSeen
from quorum.protocols.pbft.epochs import NO_CLAIM, Epochs, configuration_of
from quorum.protocols.pbft.gathered import Gathered
from quorum.protocols.pbft.in_view import InView
from quorum.protocols.pbft.messages import Accusation, NewView, Signatures, Status, ViewChange
from quorum.protocols.pbft.notes import (
    ASIDE_NOTE,
    CLAIM_NOTE,
    LOST_NOTE,
    VOTED_NOTE,
    HeldClaim,
    LostMark,
    VotedMark,
)
from quorum.protocols.pbft.pace import Pace
from quorum.protocols.pbft.pending import Pending
from quorum.protocols.pbft.quotas import Quotas
from quorum.protocols.pbft.settings import Settings

PRIMARY: Final = "primary"
BACKUP: Final = "backup"
WAITING: Final = "waiting for a view"
SILENT: Final = "silent"

VIEW_TIMER: Final = "view"
STATUS_TIMER: Final = "status"

PAST_VIEWS: Final = 3


class PbftState:
    """Durable: `view`, whether it began here, the chain, the claim, and what stands aside.

    I1  view, commit sequence and claim never go backwards.
    I2  at one place of one view this node prepares one digest, also after a restart.
    I3  whoever voted to commit in a view never claims less than that block afterwards.
    """

    primary: NodeId

    def __init__(
        self,
        node: NodeId,
        committee: Committee,
        settings: Settings,
        sign: Callable[[bytes], bytes],
        public_key: bytes | None = None,
    ) -> None:
        self.node = node
        self.settings = settings
        self.sign_bytes = sign
        self.public_key = committee.keys.get(node, b"") if public_key is None else public_key
        self.request_domain = SigningDomain(committee.cluster, 0)
        self.epochs = Epochs(committee)
        self.stand_in_epoch()
        self.gathered = Gathered()

        self.now_us = self.asked = 0
        self.commit_sequence = self.decided_view = 0  # the newest block, and view, known to be decided
        self.out: list[Effect] = []
        self.persists = self.persists_stored = self._checks_begun = 0
        self.begun_by = 0
        """The record with which this view became durable."""
        self._checks: dict[int, tuple[Callable[[tuple[bool, ...]], None], NodeId, int]] = {}

        self.view, self.active = 0, False
        self.silent_through = -1
        """Up to this view nothing is signed here: votes of an earlier life are not known any more."""
        self.base = NO_CLAIM
        self.new_view: NewView | None = None
        self.here = InView()
        self.past: dict[int, InView] = {}
        """Views that were left of late: their votes count no more, but may still prove a lie."""
        self.liars: set[NodeId] = set()
        """Members that are proven to lie. They keep their votes, but nobody waits for them as primary."""
        self.amnesiac = self.memory_lost = self.checkpoint_pending = False
        self.heard_views: dict[NodeId, int] = {}

        self.chain = Chain()
        self.stored_sequence = 0
        """The newest block that is durable here."""
        self._storing: deque[tuple[int, int]] = deque()
        self.claim = HeldClaim(NO_CLAIM, VoteKind.PREPARE, ())
        self.aside: dict[bytes, bytes] = {}
        """The entries of blocks that the claim is about and the chain does not hold, by their digests."""
        self.certificates: dict[int, tuple[int, Signatures]] = {}
        """Votes to commit of a quorum, with their view, by the sequence number of their block."""
        self.view_changes: dict[NodeId, ViewChange] = {}
        self.own_view_change: ViewChange | None = None
        self.commits_seen = CommitsSeen()
        self.statuses: dict[NodeId, Status] = {}
        self.pace = Pace(settings)
        self.timer_us: int | None = None

        self.pending, self.quotas = Pending(settings), Quotas(settings)
        self.roots: dict[int, bytes] = {0: bytes(32)}
        """Digests of this node's own states, by block."""
        self.newest_root = (0, bytes(32))
        self.snapshot: SnapshotMark | None = None
        self.certified: SnapshotMark | None = None
        """The newest of this life's snapshots whose state a decided block names."""

    # Who does what.

    def stand_in_epoch(self) -> None:
        """The newest committee acts from now on."""
        committee, former = self.epochs.newest, self.epochs.former()
        self.committee = committee
        self.decide = committee.system.writes
        self.others = tuple(other for other in committee.nodes if other != self.node)
        self.holders = tuple(sorted({*committee.nodes, *former} - {self.node}))
        """Who may have the block where the epoch begins."""
        self.is_member = self.public_key != b"" and committee.keys.get(self.node) == self.public_key
        self.configuration = configuration_of(committee)

    @property
    def start_claim(self) -> HeldClaim:
        """What whoever enters an epoch has seen at least."""
        return HeldClaim(self.epochs.start, VoteKind.PREPARE, ())

    @property
    def is_epoch_over(self) -> bool:
        """Whether the chain ends with the last block of this epoch: nothing follows it here."""
        change = self.chain.newest.change
        return change is not None and change.committee.epoch > self.committee.epoch

    def primary_of(self, view: int) -> NodeId:
        """Who orders in `view`."""
        return self.epochs.primary_of(view)

    @property
    def view(self) -> int:
        """The view that this node is in, or wants."""
        return self._view

    @view.setter
    def view(self, view: int) -> None:
        self._view = view
        self.primary = self.primary_of(view)

    @property
    def is_primary(self) -> bool:
        """Whether this node orders now: it must be durable that its view began, or it would begin it twice; and no
        later view may have decided anything, which need not be what this node's blocks follow."""
        begun = self.active and self.persists_stored >= self.begun_by and self.decided_view <= self.view
        return begun and self.may_sign and self.primary == self.node

    @property
    def has_base(self) -> bool:
        """Whether the chain holds where the view begins: what is decided lies at or behind it, or it is there."""
        base = self.base
        return base.sequence <= self.commit_sequence or self.chain.holds(base.sequence, base.digest)

    @property
    def on_base(self) -> int:
        """The newest block of the chain that surely leads to the base of the view: what is decided does."""
        return max(self.commit_sequence, self.here.on_base)

    @property
    def floor(self) -> int:
        """The newest block that is decided for all that this node can tell: what a quorum prepared may be, and
        which blocks are decided is not known after a restart."""
        claim = self.claim.claim
        prepared = claim.sequence if claim.view == self.view else 0
        return max(self.commit_sequence, self.base.sequence, prepared)

    @property
    def ceiling(self) -> int:
        """No block beyond this is proposed or accepted: the window of sequence numbers (PBFT, section 4.3). What
        is prepared moves it on, but not for ever where nothing is decided."""
        settings = self.settings
        undecided = self.commit_sequence + 2 * settings.state_blocks + 4 * settings.window
        return min(self.floor + settings.window, undecided)

    @property
    def may_sign(self) -> bool:
        """Whether this node votes in its view."""
        return self.is_member and not self.amnesiac and self.view > self.silent_through

    @property
    def role(self) -> str:
        """What this node does in its view: SILENT, WAITING for it to begin, PRIMARY or BACKUP."""
        if not self.may_sign:
            return SILENT
        if not self.active:
            return WAITING
        return PRIMARY if self.primary == self.node else BACKUP

    def is_someone_honest(self, nodes: Sequence[NodeId]) -> bool:
        """Whether one of them must be honest, whoever lies."""
        return len(set(nodes) & set(self.committee.nodes)) > self.committee.faults

    # Signatures.

    def vote(self, kind: VoteKind, sequence: int, digest: bytes, view: int | None = None) -> SignedVote:
        """This node's signed vote."""
        assert self.is_member, "only members vote"
        view = self.view if view is None else view
        statement = self.committee.domain.statement(kind, view, sequence, digest)
        return SignedVote(self.node, kind, view, sequence, digest, self.sign_bytes(statement))

    def signed(self, vote: SignedVote) -> Signed:
        """The check that `vote` needs. It fails for a stranger, and for what nobody can sign."""
        numbers_fit = 0 <= vote.view <= NUMBER_MAX and 0 <= vote.sequence <= NUMBER_MAX
        committee = self.epochs.committee_of(vote.view)
        if not numbers_fit or committee is None or len(vote.digest) != DIGEST_BYTES:
            return Signed(b"", b"", vote.signature)
        statement = committee.domain.statement(vote.kind, vote.view, vote.sequence, vote.digest)
        return Signed(committee.keys.get(vote.member, b""), statement, vote.signature)

    def check(self, items: Sequence[Signed], then: Callable[[tuple[bool, ...]], None], by: NodeId = "") -> None:
        """Let signatures be verified; `then` gets a result for each, in this step where there is nothing to do.

        `by`: whose message they are of, which is lost where too many of that member's are under way.
        """
        if not items:
            then(())
            return
        if by and not self.quotas.begins(by, len(items)):
            return
        self._checks_begun += 1
        self._checks[self._checks_begun] = then, by, len(items)
        self.out.append(Verify(self._checks_begun, tuple(items)))

    def checked(self, token: int, results: tuple[bool, ...]) -> None:
        """Verified came back."""
        then, by, count = self._checks.pop(token)
        if by:
            self.quotas.ended(by, count)
        then(results)

    # Durability.

    def stored(self, up_to: int) -> None:
        """The disk holds every record up to the `up_to`-th."""
        self.persists_stored = max(self.persists_stored, up_to)
        while self._storing and self._storing[0][0] <= up_to:
            self.stored_sequence = self._storing.popleft()[1]

    def persist_blocks(self, entries: tuple[bytes, ...]) -> None:
        """What follows waits until these blocks, the newest of the chain, are durable."""
        last = self.chain.last
        before = last - len(entries)
        self.remember_votes(before + 1)
        self.stored_sequence = min(self.stored_sequence, before)
        self._storing = deque((by, min(stored, before)) for by, stored in self._storing)
        self.persist(Entries(before + 1, entries))
        self._storing.append((self.persists, last))

    def remember_votes(self, first: int) -> None:
        """The disk is about to lose its blocks from `first` on: what was prepared there, and is not in the chain,
        must be known from now on, and to this node's next life, or it would prepare something else (I2)."""
        here, chain = self.here, self.chain
        if first > here.voted_last:
            return
        prepared = {place: own.vote.digest for (kind, place), own in here.own_votes.items() if kind == PREPARED}
        lost = {
            place: digest
            for place, digest in (here.voted_before | prepared).items()
            if place >= first and chain.digest(place) != digest
        }
        here.voted_before |= lost
        if not lost.items() <= here.voted_noted.items():
            here.voted_noted |= lost
            mark = VotedMark(self.view, tuple(sorted(here.voted_noted.items())))
            self.persist(Note(VOTED_NOTE, _ENCODE.encode(mark)))

    def persist(self, record: HardState | Note | Entries | None) -> None:
        """What follows waits until `record` is durable."""
        self.persists += 1
        self.out.append(Persist(record))

    def hold(self, held: HeldClaim) -> None:
        """A newer certificate was seen: it is the claim from now on, durable before anything that follows."""
        assert held.order > self.claim.order, "I1: the claim went backwards"
        self.claim = held
        self.persist(Note(CLAIM_NOTE, _ENCODE.encode(held)))
        if self.aside:
            self.forget_aside()

    def set_aside(self, entries: dict[bytes, bytes]) -> None:
        """Keep blocks of the claim that the chain is about to lose."""
        self.aside = entries
        self.persist(Note(ASIDE_NOTE, _ENCODE.encode(tuple(entries.values()))))

    def leave_votes(self) -> None:
        """Another view: votes of the one before count no more (PBFT, section 4.4), its blocks are of no use."""
        self.here.early.clear()
        self.past[self.view] = self.here
        for view in sorted(self.past)[:-PAST_VIEWS]:
            del self.past[view]
        self.here = InView()

    def note_loss(self) -> None:
        """What this node signed is not known: keep, beyond a restart, up to where it signs nothing."""
        mark = LostMark(self.public_key, -1 if self.amnesiac else self.silent_through)
        self.persist(Note(LOST_NOTE, _ENCODE.encode(mark)))

    def forget_aside(self) -> None:
        """What was kept aside is in the chain again, or of no more use."""
        self.aside = {}
        self.persist(Note(ASIDE_NOTE, b""))

    # Effects.

    def send(self, to: NodeId, message: object) -> None:
        """To one node."""
        self.out.append(Send(to, message))

    def broadcast(self, message: object) -> None:
        """To every other member of the committee."""
        for other in self.others:
            self.out.append(Send(other, message))

    def set_timer(self, name: str, delay_us: int) -> None:
        """Have the timer of this name fire once, after `delay_us` microseconds, and not when it was to before."""
        self.out.append(SetTimer(name, max(1, delay_us)))

    def report(self, node: NodeId, what: str) -> None:
        """Tell the operator what a node did that no honest one does, and count it against the node's quota."""
        self.quotas.charge(node)
        self.out.append(Report(node, what))

    def suspect(self, found: Equivocation | None, by: NodeId = "") -> None:
        """Two votes of one member for one place: evidence, if both signatures are right. `by`: the member itself,
        where both came from it."""
        if found is not None:
            self.accuse_if_right(found, [found.first, found.second], by)

    def accuse_if_right(self, evidence: Evidence, votes: Sequence[SignedVote], by: NodeId) -> None:
        """Accuse if these signatures are right. If not, or if that is known already, `by` is charged for it."""
        is_known = accused(evidence) in self.liars  # now: others may show the same while it is verified

        def verified(results: tuple[bool, ...]) -> None:
            if by and (not all(results) or is_known):
                self.quotas.charge(by)
            if all(results):
                self.accuse(evidence)

        self.check([self.signed(vote) for vote in votes], verified, by)

    def accuse(self, evidence: Evidence) -> None:
        """A verified lie: tell the operator and, the first time, the other members."""
        node = accused(evidence)
        if isinstance(evidence, Equivocation):
            vote = evidence.first
            what = f"signed two {vote.kind.name} votes for block {vote.sequence} of view {vote.view}"
        else:
            vote = evidence.commit
            what = f"voted to commit block {vote.sequence} of view {vote.view}, and hid it"
        self.out.append(Report(node, what, evidence))
        signed_by = self.epochs.committee_of(vote.view)
        if signed_by is None or signed_by.keys.get(node) != self.committee.keys.get(node):
            return  # it is no member any more, or has another key
        if node not in self.liars:
            self.liars.add(node)
            self.broadcast(Accusation(self.view, evidence))

    def commit(self, sequence: int, certificate: BlockCertificate | None) -> None:
        """Every block up to `sequence` is decided; by this certificate, if it is for that very block."""
        assert sequence > self.commit_sequence, "I1: the commit sequence went backwards"
        assert sequence <= self.chain.last, "committed beyond the chain"
        self.out.append(Commit(self.commit_sequence + 1, sequence, certificate))
        self.commit_sequence = sequence
        if certificate is not None:
            self.certificates[sequence] = certificate.view, certificate.signatures
        here = self.here
        for places in (here.prepares, here.commits):
            for place in [place for place in places if place <= sequence]:
                del places[place]
        for place in [place for place in here.early if place <= sequence]:
            del here.early[place]
        kept = sequence - 2 * self.settings.window  # older ones are never asked for again
        for vote in [vote for vote in here.own_votes if vote[1] <= kept]:
            del here.own_votes[vote]

    def certify(self, sequence: int, view: int, signatures: Signatures) -> BlockCertificate:
        """These votes to commit, as a certificate for a block of the chain."""
        link = self.chain.link(sequence)
        assert link is not None, "only blocks of the chain are certified"
        return BlockCertificate(self.committee.cluster, self.epochs.epoch_of(view), view, link.header, signatures)

    def claim_of(self, view: int, sequence: int) -> Claim:
        """The claim that a block of the chain was certified in `view`."""
        digest = self.chain.digest(sequence)
        assert digest is not None, "only blocks of the chain are claimed"
        return Claim(view, sequence, digest)

    def certificate_from(self, sequence: int) -> int | None:
        """The lowest block at or after `sequence` for which there is a certificate."""
        return min((place for place in self.certificates if place >= sequence), default=None)


PREPARED: Final = VoteKind.PREPARE
_ENCODE = msgspec.msgpack.Encoder()
