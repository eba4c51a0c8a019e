"""Watches over a committee whose members may lie: complains, and approves of the next committee by itself.

The mechanism of a change is the protocol's: approvals, the block that a quorum approved of, its certificate
(protocols.pbft). Here is what makes a member approve without an operator: evidence, T+1 complaints, and who was
evicted and has shown that it is well. What should change is decided by membership.committee_policy; only what the
log decided acts. It runs beside the driver on every member, in production and simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from quorum.certificate.approval import check_following
from quorum.certificate.committee import Committee
from quorum.certificate.complaint import Complaint, complaint_statement, flaws_of_complaint
from quorum.certificate.evidence import Evidence, accused, flaws_of, votes_of
from quorum.errors import ConfigurationError, QuorumError, RemoteProtocolError
from quorum.membership.committee_policy import Held, Oversight, Wish, wish_of
from quorum.membership.complaints import ComplaintBook
from quorum.membership.evictions import LIED, SLOW, Eviction, Evictions
from quorum.membership.observation import Limits
from quorum.membership.weighing import with_members
from quorum.model import NodeId
from quorum.protocols.effects import Note, Signed
from quorum.protocols.pbft.messages import Accusation
from quorum.protocols.pbft.replica import PbftReplica
from quorum.runtime.member_watch import MemberWatch
from quorum.runtime.messages import OF_COMMITTEE, AskReadmission, Complaints, GiveEvidence
from quorum.runtime.ports import FreshKeys, Ports
from quorum.runtime.readmissions import Readmissions
from quorum.runtime.status import Evicted

TIMER: Final = "committee"
TURN_US = 1_000_000
"""How often the others are judged, and told."""
AGAIN_TURNS = 4
"""Complaints and evidence are given again at every so many turns."""
COMPLAINTS_MAX = 128
"""So many complaints are read of one message."""
MESSAGES_A_TURN = 8
"""So many messages of one node are read in a turn; an honest one sends a few."""
APPROVALS_MAX = 6
"""Of so many committees one member approves by itself in an epoch; the rest of what it may is its operator's."""
PATIENCE_TURNS = 30
"""Who may come back, and for so many turns does not, makes way for others: it may have attested another key to
each member, so that no quorum approves of one committee with it."""
LIES_NOTE: Final = "lies"
EVICTIONS_NOTE: Final = "evictions"
"""Who is out, and up to which epoch that is known."""
ACTED_NOTE: Final = "complaints acted on"

_ENCODE = msgspec.msgpack.Encoder()
_DECODE_LIES = msgspec.msgpack.Decoder(tuple[Evidence, ...])
_DECODE_EVICTIONS = msgspec.msgpack.Decoder(tuple[int, tuple[Eviction, ...]])
_DECODE_COMPLAINTS = msgspec.msgpack.Decoder(tuple[Complaint, ...])

Approve = Callable[[int, Committee], None]
Keep = Callable[[Note], None]
Blame = Callable[[NodeId, str], None]
Tell = Callable[[str], None]


class CommitteeKeeper:
    """runtime.ports.Attendant of one node; the policy `adaptive`. `approve` and `keep` are the driver's; `blame`
    hears of a node that sent what no honest one does, `tell` of what an operator should know.

    I1  complaints, evidence and requests count once their signatures are verified, and never before.
    I2  what an epoch's members said of each other is forgotten with it; evidence and reasons are not.
    I3  evidence is kept against keys of members, and of those who are out: as much as there are of them, so that
        nobody crowds it out with what it signed with keys that it gave up.
    """

    timer = TIMER

    def __init__(
        self,
        replica: PbftReplica,
        ports: Ports,
        keys: FreshKeys,
        approve: Approve,
        keep: Keep,
        blame: Blame,
        tell: Tell,
        limits: Limits | None = None,
        turn_us: int = TURN_US,
    ) -> None:
        self._replica, self._state = replica, replica.state
        self._transport, self._timers = ports.transport, ports.timers
        self._clock, self._verifier = ports.clock, ports.verifier
        self._approve_by_driver, self._keep, self._blame, self._tell = approve, keep, blame, tell
        self._turn_us = turn_us
        self._limits = limits = limits or Limits()
        self._oversight = Oversight(limits)
        self._is_new = True
        self._watch = MemberWatch(replica.state, turn_us, ports.clock.now_us())
        self.evictions = Evictions()
        self._readmissions = Readmissions(self, replica, ports, keys, limits, turn_us)
        self._lies: dict[bytes, Evidence] = {}
        self._stand_in(replica.state.committee)
        self._turn = self._token = 0
        self._heard: dict[NodeId, int] = {}
        self._told = ""
        self.wish = Wish()
        """What this member wants now, or why it cannot be."""

    def _stand_in(self, committee: Committee) -> None:
        self._committee = committee
        self.book = ComplaintBook(committee.epoch, committee.nodes, committee.faults)
        self._approved: set[bytes] = set()
        self._wanted_since: dict[NodeId, int] = {}
        """From which turn on this member wants whom back."""
        self._acted_on: dict[NodeId, tuple[Complaint, ...]] = {}
        """The complaints that made this member approve, some of which may be taken back since."""

    # runtime.ports.Attendant.

    def start(self, notes: dict[str, bytes]) -> None:
        """Take up what an earlier life knew."""
        committees = self._state.epochs.committees
        self._stand_in(committees[0])
        if notes.get(EVICTIONS_NOTE):
            epoch, known = _DECODE_EVICTIONS.decode(notes[EVICTIONS_NOTE])
            self.evictions = Evictions(known)
            self._stand_in(self._committee_of(epoch) or committees[0])
        if notes.get(LIES_NOTE):
            for evidence in _DECODE_LIES.decode(notes[LIES_NOTE]):
                self._remember_lie(evidence)
        if notes.get(ACTED_NOTE):
            for word in _DECODE_COMPLAINTS.decode(notes[ACTED_NOTE]):
                if word.epoch == self._committee.epoch:
                    self._acted_on[word.accused] = (*self._acted_on.get(word.accused, ()), word)
        self._readmissions.start(self.evictions.all())
        self._follow()
        self._timers.set(TIMER, self._turn_us)

    def heard(self, sender: NodeId, message: object) -> bool:
        """A message came."""
        self._watch.heard(sender, message, self._clock.now_us())
        kind = type(message)
        if kind not in _OWN:
            return False
        heard = self._heard[sender] = self._heard.get(sender, 0) + 1
        if heard > MESSAGES_A_TURN:
            return True
        try:
            if kind is Complaints:
                self._on_complaints(sender, message.complaints)  # type: ignore[attr-defined]
            elif kind is GiveEvidence:
                self._on_testimony(sender, message.evidence)  # type: ignore[attr-defined]
            elif kind is AskReadmission:
                self._readmissions.on_request(sender, message.request)  # type: ignore[attr-defined]
            else:
                self._readmissions.on_shown(sender, message.shown)  # type: ignore[attr-defined]
        except RemoteProtocolError as error:
            self.blame(error.sender, error.what)
        return True

    def blame(self, sender: NodeId, what: str) -> None:
        """No honest node sends that: nothing more of it is read in this turn."""
        self._heard[sender] = MESSAGES_A_TURN
        self._blame(sender, what)

    def accused(self, evidence: Evidence) -> None:
        """The replica verified it."""
        key = self._key_of(evidence)
        if key is not None and key not in self._lies and self._remember_lie(evidence):
            self._keep_lies()

    def approved(self, token: int, error: QuorumError | None) -> bool:
        """An approval of this one's is durable, or was refused."""
        if token < self._token:
            return False
        if error is not None:
            self.say(str(error))
        return True

    def fired(self) -> None:
        """One turn: look, complain, ask, approve."""
        self._timers.set(TIMER, self._turn_us)
        self._turn += 1
        self._heard.clear()
        self._follow()
        now_us, state = self._clock.now_us(), self._state
        members = self._committee.nodes
        others = [node for node in members if node != state.node]
        observed = self._watch.look(others, self.liars, now_us)
        if state.is_member:
            height = state.commit_sequence
            words = self._oversight.step(state.node, self.book, members, observed, height, now_us)
            if self._is_new:  # others may hold what an earlier life said
                words = [(other, False) for other in others if self.book.word(state.node, other) is None]
                self._is_new = False
            for accused_node, stands in words:
                self.book.take(self._complain(accused_node, stands, now_us))
            if words or self._turn % AGAIN_TURNS == 0:
                self._give_complaints()
            if self._turn % AGAIN_TURNS == 0:
                self._give_evidence()
            self._want(now_us)
        else:
            self.wish, self._oversight = Wish(), Oversight(self._limits)
            self._readmissions.ask(now_us)

    # Epochs.

    def _follow(self) -> None:
        """Another committee acts: note who left, and why, as far as this node can tell."""
        state = self._state
        if state.committee is self._committee:
            return
        now_us, committees = self._clock.now_us(), state.epochs.committees
        first = next(n for n, each in enumerate(committees) if each.epoch == self._committee.epoch)
        height = state.commit_sequence
        considered = {node: self.book.of(node, height) for node in self.book.considered(height)} | self._acted_on
        for before, after in zip(committees[first:], committees[first + 1 :], strict=False):
            liars = [node for node, key in before.keys.items() if key in self._lies]
            said = considered if before is committees[first] else {}
            flapped = [
                self._readmissions.left(each) for each in self.evictions.follow(before, after, said, liars, now_us)
            ]
            for eviction in flapped:
                self.evictions.note(eviction)
                self._tell(f"epoch {after.epoch}: {eviction.node} is out of the committee ({eviction.reason})")
            for node in sorted(set(after.nodes) - set(before.nodes)):
                self._readmissions.joined(node)
                self._tell(f"epoch {after.epoch}: {node} is in the committee")
        self._stand_in(state.committee)
        self.keep_evictions()
        self._forget_lies()

    def keep_evictions(self) -> None:
        """What is known of who left outlives this node's life."""
        self._keep(Note(EVICTIONS_NOTE, _ENCODE.encode((self._committee.epoch, self.evictions.all()))))

    def said_of(self, node: NodeId, epoch: int) -> tuple[Complaint, ...]:
        """The complaints of a member in an epoch that this node holds, or acted on."""
        if epoch == self._committee.epoch:
            return self._acted_on.get(node) or self.book.of(node, self._state.commit_sequence)
        out = self.evictions.of(node)
        return () if out is None or out.epoch != epoch + 1 else out.complaints

    # For operators.

    def out(self) -> tuple[Evicted, ...]:
        """Who is out, why, since when, and how long it takes to come back."""
        now_us = self._clock.now_us()
        return tuple(
            Evicted(
                each.node,
                each.epoch,
                LIED if self.lie_of(each.public_key) else each.reason,
                each.since_us,
                self._readmissions.left_us(each.node, now_us),
            )
            for each in self.evictions.all()
            if each.node not in self._state.committee.keys
        )

    def complaints(self) -> dict[NodeId, tuple[NodeId, ...]]:
        """Who complains of whom in this epoch."""
        return self.book.complained_of(self._state.commit_sequence)

    # Evidence.

    @property
    def liars(self) -> tuple[NodeId, ...]:
        """The members that are proven to lie, by name."""
        return tuple(node for node, key in self._committee.keys.items() if key in self._lies)

    def lie_of(self, public_key: bytes) -> Evidence | None:
        """What proves that whoever had this key lied."""
        return self._lies.get(public_key)

    def _key_of(self, evidence: Evidence) -> bytes | None:
        committee = self._state.epochs.committee_of(votes_of(evidence)[0].view)
        return None if committee is None else committee.keys.get(accused(evidence))

    def _remember_lie(self, evidence: Evidence) -> bool:
        key = self._key_of(evidence)
        if key is None or key not in self._keys_that_count():
            return False
        self._lies.setdefault(key, evidence)
        return True

    def _keys_that_count(self) -> set[bytes]:
        """I3: of the committees from this keeper's on, and with which those who are out voted last."""
        committees = self._state.epochs.committees
        first = self._committee.epoch - committees[0].epoch
        counting = {key for committee in committees[first:] for key in committee.keys.values()}
        return counting | {out.public_key for out in self.evictions.all()}

    def _forget_lies(self) -> None:
        """Those of keys that count no more."""
        counting = self._keys_that_count()
        known = self._lies
        self._lies = {key: lie for key, lie in known.items() if key in counting}
        if len(self._lies) < len(known):
            self._keep_lies()

    def _keep_lies(self) -> None:
        self._keep(Note(LIES_NOTE, _ENCODE.encode(tuple(self._lies.values()))))

    def _give_evidence(self) -> None:
        """Whoever missed it hears of it again: the replica tells of each lie once."""
        for node in self.liars:
            lie = self._lies[self._committee.keys[node]]
            self.broadcast(Accusation(self._state.view, lie))

    def _on_testimony(self, sender: NodeId, evidence: Evidence) -> None:
        """Evidence against a key that may be no member's any more."""
        votes, key = votes_of(evidence), self._key_of(evidence)
        committee = self._state.epochs.committee_of(votes[0].view)
        if key is None or key in self._lies or committee is None:
            return
        if committee is not self._state.epochs.committee_of(votes[1].view) or flaws_of(evidence, committee):
            return

        def verified(results: tuple[bool, ...]) -> None:
            if all(results):
                self.accused(evidence)
            else:
                self.blame(sender, f"sent evidence against {accused(evidence)} with a signature that is wrong")

        self._verifier.verify([self._state.signed(vote) for vote in votes], verified)

    # Complaints.

    def _complain(self, node: NodeId, stands: bool, now_us: int) -> Complaint:
        state = self._state
        said = self.book.word(state.node, node)
        number = max(now_us, 0 if said is None else said.number + 1)
        word = Complaint(state.node, node, self._committee.epoch, state.commit_sequence, number, stands, b"")
        signature = state.sign_bytes(complaint_statement(word, self._committee))
        return msgspec.structs.replace(word, signature=signature)

    def _give_complaints(self) -> None:
        """This member's own words, and what shows others that T+1 complain of somebody."""
        state = self._state
        own = [self.book.word(state.node, other) for other in self._committee.nodes]
        said = {(word.by, word.accused): word for word in own if word is not None}
        for node in self.book.considered(state.commit_sequence):
            enough = self.book.of(node, state.commit_sequence)[: self._committee.faults + 1]
            said |= {(word.by, word.accused): word for word in enough}
        if said:
            self.broadcast(Complaints(tuple(said.values())[:COMPLAINTS_MAX]))

    def _on_complaints(self, sender: NodeId, complaints: Sequence[Complaint]) -> None:
        if len(complaints) > COMPLAINTS_MAX:
            raise RemoteProtocolError(sender, f"sent {len(complaints)} complaints in one message")
        present = [word for word in complaints if word.epoch == self._committee.epoch]
        past = [word for word in complaints if word.epoch < self._committee.epoch]
        fresh = [word for word in present if self.book.is_news(word)]
        if fresh:
            self._check(sender, fresh, self._committee, self._take)
        if past:
            self._on_past(sender, past)

    def _take(self, complaints: Sequence[Complaint]) -> None:
        for word in complaints:
            self.book.take(word)

    def _on_past(self, sender: NodeId, complaints: list[Complaint]) -> None:
        """Why somebody left of whom this node did not know it: T+1 complained, and nobody else left with it."""
        word = complaints[0]
        out = self.evictions.of(word.accused)
        committee = self._committee_of(word.epoch)
        if out is None or out.reason in (SLOW, LIED) or committee is None or out.epoch != word.epoch + 1:
            return
        if any((each.epoch, each.accused) != (word.epoch, word.accused) for each in complaints):
            return
        book = ComplaintBook(committee.epoch, committee.nodes, committee.faults)
        if not book.is_enough(complaints):
            return

        def enough(right: Sequence[Complaint]) -> None:
            known = self.evictions.of(word.accused)
            if known == out:
                self.evictions.note(msgspec.structs.replace(out, reason=SLOW, complaints=tuple(right)))
                self._readmissions.left(out)
                self.keep_evictions()

        self._check(sender, complaints, committee, enough)

    def _committee_of(self, epoch: int) -> Committee | None:
        committees = self._state.epochs.committees
        place = epoch - committees[0].epoch
        return committees[place] if 0 <= place < len(committees) else None

    def _check(
        self,
        sender: NodeId,
        words: Sequence[Complaint],
        committee: Committee,
        then: Callable[[Sequence[Complaint]], None],
    ) -> None:
        for word in words:
            if flaw := flaws_of_complaint(word, committee):
                raise RemoteProtocolError(sender, f"sent {flaw}")

        def verified(results: tuple[bool, ...]) -> None:
            if all(results):
                then(words)
            else:
                self.blame(sender, "sent a complaint with a signature that is wrong")

        self._verifier.verify(
            [
                Signed(committee.keys[word.by], complaint_statement(word, committee), word.signature)
                for word in words
            ],
            verified,
        )

    # The next committee.

    def _want(self, now_us: int) -> None:
        """Approve of what should follow, if this member may."""
        committee, state = self._committee, self._state
        considered = self.book.considered(state.commit_sequence)
        ready = self._in_turn(self._readmissions.ready(now_us))
        self.wish = wish_of(Held(committee.nodes, committee.faults, self.liars, considered, ready))
        if self.wish.refused:
            self.say(self.wish.refused)
        if not self.wish.changes:
            return
        if self.wish.joins is not None:
            self._wanted_since.setdefault(self.wish.joins, self._turn)
        wanted = self._wanted(self.wish)
        if wanted.membership_hash in self._approved or len(self._approved) >= APPROVALS_MAX:
            return
        try:
            check_following(state.epochs.newest, state.epochs.used, wanted)
        except ConfigurationError as error:
            self.wish = msgspec.structs.replace(self.wish, refused=str(error))
            self.say(str(error))
            return
        self._approved.add(wanted.membership_hash)
        if self.wish.leaves is not None and self.wish.leaves not in self.liars:
            self._acted_on[self.wish.leaves] = self.book.of(self.wish.leaves, state.commit_sequence)
            acted = tuple(word for words in self._acted_on.values() for word in words)
            self._keep(Note(ACTED_NOTE, _ENCODE.encode(acted)))  # before the approval, which outlives this life
        self._give_complaints()
        self._tell(f"approving of epoch {wanted.epoch}: {self.wish.leaves or self.wish.joins}, {self.wish.why}")
        self._token -= 1
        self._approve_by_driver(self._token, wanted)

    def _in_turn(self, ready: tuple[NodeId, ...]) -> tuple[NodeId, ...]:
        """Those of them who were not wanted in vain for long, if there are any."""
        since, turn = self._wanted_since, self._turn
        return tuple(node for node in ready if turn - since.get(node, turn) < PATIENCE_TURNS) or ready

    def _wanted(self, wish: Wish) -> Committee:
        members = [member for member in self._committee.members if member.node != wish.leaves]
        if wish.joins is not None:
            members.append(self._readmissions.member(wish.joins))
        return with_members(self._committee, members)

    def say(self, text: str) -> None:
        """Once, not at every turn."""
        if text != self._told:
            self._told = text
            self._tell(text)

    def broadcast(self, message: object) -> None:
        """To every other member."""
        for other in self._committee.nodes:
            if other != self._state.node:
                self._transport.send(other, message, ())


_OWN = frozenset(OF_COMMITTEE)
