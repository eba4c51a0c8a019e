"""One who knows all about the ballots of a run: every vote that was ever signed, also those that were lost, and
every answer that any client ever got. What is told twice must be the same, what is decided must follow from the
votes, and no signatures may prove anything else."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import msgspec

from quorum.apps.ballot import (
    Accuse,
    Adapt,
    Adapted,
    BallotView,
    Cast,
    CloseBallot,
    Command,
    Counted,
    OpenBallot,
    Opened,
    Query,
    Reveal,
)
from quorum.apps.ballot_state import ENDED
from quorum.certificate.ballot import BallotCertificate, CastVote, Opening, Round, ballot_id
from quorum.certificate.ballot_audit import verify_ballot
from quorum.certificate.ballot_forms import decode_ballot, encode_ballot
from quorum.certificate.keys import is_signed
from quorum.checkers.progress import Sometimes
from quorum.checkers.violation import Violation
from quorum.voting.ballot.standing import Opinion, Standing
from quorum.voting.ballot.terms import MEASURED, Terms

from .ballot_count import count_problem, hull_problem
from .ballot_forger import forged

ONE_END = "a ballot ends in one way"
ONCE = "a voter counts once, as it voted, and participants alone"
KEPT = "a vote that was counted stays"
LOCK = "a locked option is carried on, and it alone can win"
COUNT = "what is decided follows from the votes"
HULL = "T liars move no number beyond those of the honest"
PROOF = "the certificate of an ended ballot verifies"
FORGERY = "signatures prove one decision"

WON, LOST, ROUNDS = "ballot won", "ballot lost", "ballot round changed"
LIES, REVEALED, EXPIRED, CLOSED = (
    "ballot lie punished",
    "ballot secret revealed",
    "ballot deadline",
    "ballot closed",
)
TIMED_ROUND, LOCKED, FORGOTTEN = "ballot round timed out", "ballot option locked", "ballot forgotten"
CHANGED, UNFIT = "ballot vote changed", "ballot round refused for its participants"
LATE, PROVEN, FORGED = "ballot vote too late", "ballot proven by signatures", "ballot forgery tried"
OPENED, CARRIED, MEASURED_WON = "ballot opened", "ballot vote carried by another", "ballot of numbers won"

UNKNOWN = "ballot outcome unknown"

check_signature = cache(is_signed)


class Affair:
    """What is known of one ballot. `signed`: by voter all that it ever signed or said, counted or not."""

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.id = ballot_id(opening)
        self.signed: dict[str, list[CastVote]] = {}
        self.liars: set[str] = set()
        self.counted: dict[str, CastVote] = {}
        self.opinions: dict[tuple[str, bytes], Opinion] = {}
        self.rounds: tuple[Round, ...] = ()
        self.end: Standing | None = None
        self.end_at = 0
        self.view: BallotView | None = None
        self.is_over = False
        self.is_closed = False
        self.adapted: set[int] = set()

    @property
    def terms(self) -> Terms:
        return self.opening.terms

    def __str__(self) -> str:
        return f"{self.terms.name} {self.id.hex()[:8]} ({self.terms.question})"


class Observer:
    """The one who hears everything. Raises Violation as soon as something is wrong."""

    def __init__(self, sometimes: Sometimes) -> None:
        self.affairs: dict[bytes, Affair] = {}
        self.sometimes = sometimes
        self.answers = 0

    # What voters do.

    def opened(self, opening: Opening) -> Affair:
        """A ballot was opened."""
        found = self.affairs.get(ballot_id(opening))
        if found is None:
            found = self.affairs[ballot_id(opening)] = Affair(opening)
            self.sometimes.reached(OPENED)
        return found

    def knows(self, affair: Affair, vote: CastVote, opinion: Opinion) -> None:
        """A voter signs this, whatever becomes of it."""
        said = affair.signed.setdefault(vote.voter, [])
        if vote not in said:
            said.append(vote)
        affair.opinions[vote.voter, vote.commitment] = opinion

    def asks(self, command: object) -> None:
        """A client asks for this, whatever becomes of it."""
        if isinstance(command, CloseBallot):
            self.affairs[command.ballot].is_closed = True
        elif isinstance(command, Adapt):
            self.affairs[command.ballot].adapted.add(command.number)

    # What clients are told.

    def heard(self, command: Command | Query, answer: object, asked_at: int) -> None:
        """A client got this answer to what it asked when so many answers had been given."""
        self.answers += 1
        if isinstance(answer, BallotView):
            self._seen(self.opened(answer.opening), answer, asked_at)
        elif isinstance(command, OpenBallot) and isinstance(answer, Opened):
            if answer.opening.terms != command.terms:
                raise Violation(ONE_END, f"{command.terms.name} was opened with other terms")
            self.opened(answer.opening)
        elif isinstance(command, Cast | Reveal | Adapt | Accuse | CloseBallot):
            affair = self.affairs[command.ballot]
            if isinstance(answer, Counted):
                if isinstance(command, Cast):
                    vote = CastVote(
                        command.voter, command.turn, command.opinion, 0, command.signature, command.commitment
                    )
                    known = affair.counted.get(command.voter)
                    if known is None or known.turn < vote.turn:
                        affair.counted[command.voter] = vote
                self._stands(affair, answer.phase == ENDED, answer.standing, asked_at)
            elif isinstance(answer, Adapted):
                is_end = answer.standing.state != "pending"
                is_end = is_end and not affair.terms.changeable and not affair.terms.secret
                self._stands(affair, is_end, answer.standing, asked_at)

    def _stands(self, affair: Affair, is_end: bool, standing: Standing, asked_at: int) -> None:
        """What an answer says of how a ballot stands."""
        if affair.end is None:
            if is_end:
                self._ended(affair, standing)
        elif is_end and standing != affair.end:
            raise Violation(ONE_END, f"{affair} ended as {affair.end} and as {standing}")
        elif not is_end and asked_at >= affair.end_at:
            raise Violation(ONE_END, f"{affair} ended as {affair.end}, and goes on")

    def _ended(self, affair: Affair, standing: Standing) -> None:
        affair.end, affair.end_at = standing, self.answers
        self.sometimes.reached(WON if standing.state == "won" else LOST)
        if standing.state == "won" and affair.terms.kind in MEASURED:
            self.sometimes.reached(MEASURED_WON)

    def _seen(self, affair: Affair, view: BallotView, asked_at: int) -> None:
        shared = min(len(affair.rounds), len(view.rounds))
        if affair.rounds[:shared] != view.rounds[:shared]:
            raise Violation(LOCK, f"{affair} had rounds {affair.rounds}, and then {view.rounds}")
        if len(view.rounds) > len(affair.rounds):
            affair.rounds = view.rounds
        self._check_votes(affair, view)
        self._check_locks(affair, view)
        self._stands(
            affair, view.outcome is not None, view.outcome.standing if view.outcome else view.standing, asked_at
        )
        if view.outcome is None:
            return
        before, affair.view = affair.view, view
        if before is None:
            self._check_end(affair, view)
        elif before != view:
            raise Violation(ONE_END, f"{affair} ended as {before}, and later as {view}")

    # What must be true of what they are told.

    def _check_votes(self, affair: Affair, view: BallotView) -> None:
        names = [vote.voter for vote in view.votes]
        participants = set(view.rounds[-1].participants)
        if len(set(names)) < len(names) or not set(names) <= participants:
            raise Violation(ONCE, f"{affair}: {names} of {sorted(participants)} voted")
        for vote in view.votes:
            sent = msgspec.structs.replace(
                vote, at=0, nonce=b"", opinion=None if vote.commitment else vote.opinion
            )
            if sent not in affair.signed.get(vote.voter, ()):
                raise Violation(ONCE, f"{affair}: {vote.voter} never voted {vote}")
            if vote.nonce and vote.opinion != affair.opinions[vote.voter, vote.commitment]:
                raise Violation(ONCE, f"{affair}: {vote.voter} never said {vote.opinion}")
        if view.outcome is None:
            return
        shown = {vote.voter: vote for vote in view.votes}
        punished = {lie.voter for lie in view.lies}
        if not punished <= affair.liars:
            raise Violation(ONCE, f"{affair}: {punished} were punished, but {affair.liars} lied")
        for name, counted in affair.counted.items():
            kept = shown.get(name)
            if name not in punished and (kept is None or kept.turn < counted.turn):
                raise Violation(KEPT, f"{affair}: {name} was told that {counted} counts, and it does not")

    def _check_locks(self, affair: Affair, view: BallotView) -> None:
        locked = None
        for each in view.rounds:
            if locked is not None and each.locked != locked:
                raise Violation(LOCK, f"{affair}: {locked} was locked, and then {each.locked}")
            locked = each.locked
        if locked is not None and view.outcome is not None and view.outcome.standing.opinion not in (None, locked):
            raise Violation(LOCK, f"{affair}: {locked} was locked, and {view.outcome.standing} is decided")

    def _check_end(self, affair: Affair, view: BallotView) -> None:
        """Once, when a client first sees how it ended."""
        problem = count_problem(affair.terms, view)
        if problem:
            raise Violation(COUNT, f"{affair}: {problem}")
        problem = hull_problem(affair.terms, view, affair.liars)
        if problem:
            raise Violation(HULL, f"{affair}: {problem}")
        certificate = certificate_of(view)
        for shown in (certificate, decode_ballot(encode_ballot(certificate))):
            verdict = verify_ballot(shown, check_signature)
            if shown != certificate or not verdict.valid:
                raise Violation(PROOF, f"{affair}: {verdict.reasons} of {shown}")
        self._count(affair, view, verdict.signed)

    def _count(self, affair: Affair, view: BallotView, is_proven: bool) -> None:
        reached, liars_put_out = self.sometimes.reached, {lie.at + 1 for lie in view.lies}
        is_early = len(view.votes) < len(view.rounds[-1].participants)
        timed = (each.at not in liars_put_out for each in view.rounds[1:])
        timed = (is_own and number not in affair.adapted for number, is_own in enumerate(timed, 1))
        reached(TIMED_ROUND, sum(timed))
        reached(EXPIRED, int(is_early and affair.terms.deadline_us > 0 and not affair.is_closed))
        reached(PROVEN, int(is_proven))
        reached(ROUNDS, len(view.rounds) - 1)
        reached(LIES, len(view.lies))
        reached(LOCKED, int(view.rounds[-1].locked is not None))
        reached(CHANGED, sum(vote.turn > 1 for vote in view.votes))
        reached(REVEALED, sum(vote.nonce != b"" for vote in view.votes))

    # In the end.

    def check_proofs(self) -> None:
        """Nobody who has every signature that was ever made can prove two decisions: to who trusts no node, nor
        with rounds that were in force."""
        for affair in self.affairs.values():
            if affair.terms.transferable:
                self._check_proof(affair)

    def _check_proof(self, affair: Affair) -> None:
        shown: list[Proof] = []
        if affair.view is not None and affair.end is not None and affair.end.state == "won":
            shown.append(Proof(affair.end.opinion, len(affair.view.rounds), False))
        for certificate, is_in_force in forged(affair.opening, affair.rounds, affair.signed, affair.view):
            self.sometimes.reached(FORGED)
            verdict, told = verify_ballot(certificate, check_signature), certificate.outcome.standing
            if verdict.signed or (verdict.valid and is_in_force and told.state == "won"):
                proof = Proof(told.opinion, len(certificate.rounds), verdict.signed)
                other = next((each for each in shown if contradict(each, proof, affair)), None)
                if other is not None:
                    raise Violation(FORGERY, f"{affair}: {other} and {proof}, the last by {certificate}")
                shown.append(proof)


class Proof(NamedTuple):
    """Of which option, in which round; `is_proven`: to those who trust no node, too."""

    opinion: Opinion | None
    round: int
    is_proven: bool


def contradict(one: Proof, other: Proof, affair: Affair) -> bool:
    """Whether at most one of the two may be. A plain majority of one round does not withstand who signs twice, and
    convinces only those who trust the nodes that they show every lie."""
    is_firm = one.is_proven or other.is_proven or one.round != other.round
    is_firm = is_firm or affair.terms.rule.kind == "byzantine"
    return one.opinion != other.opinion and (is_firm or all(len(each) == 1 for each in affair.signed.values()))


def certificate_of(view: BallotView) -> BallotCertificate:
    """What a client makes of the view of a ballot that has ended."""
    assert view.outcome is not None, "it has ended"
    return BallotCertificate(view.opening, view.rounds, view.votes, view.lies, view.outcome)
