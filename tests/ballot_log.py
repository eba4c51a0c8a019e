"""A log for ballot tests: each batch is an entry by a caller, at a time that the test chooses."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from nacl.signing import SigningKey

from apps_log import header
from quorum.apps.answer import OK
from quorum.apps.applied import Applied
from quorum.apps.ballot import (
    Adapt,
    BallotView,
    Cast,
    CloseBallot,
    Command,
    LookBallot,
    OpenBallot,
    Opened,
    Query,
    Result,
    Reveal,
    decode_change,
    decode_results,
    encode_batch,
    encode_query,
)
from quorum.apps.ballot_box import BallotBox
from quorum.apps.host import SESSIONS, Host, decode_session
from quorum.apps.host import opening as session_of
from quorum.apps.log_clock import LogClock
from quorum.certificate.ballot import BallotCertificate, CastVote, ballot_id, commitment_to, vote_statement
from quorum.entry import COMMAND
from quorum.voting.ballot.terms import Terms, Voter
from timed_log import TimedLog

BALLOT = 5
NONCE = b"n" * 32


def ballot_host(**bounds: int) -> Host:
    clock = LogClock()
    return Host({BALLOT: BallotBox(clock, **bounds)}, clock=clock)


def key_of(name: str) -> SigningKey:
    return SigningKey(name.encode().ljust(32, b"."))


def keyed(*names: str) -> tuple[Voter, ...]:
    return tuple(Voter(name, key=key_of(name).verify_key.encode()) for name in names)


def unkeyed(*names: str) -> tuple[Voter, ...]:
    return tuple(map(Voter, names))


def opening(terms: Terms) -> OpenBallot:
    return OpenBallot(terms, "c")


def signed_vote(ballot: bytes, vote: CastVote) -> CastVote:
    statement = vote_statement(ballot, vote.voter, vote.turn, vote.said)
    return msgspec.structs.replace(vote, signature=key_of(vote.voter).sign(statement).signature)


@dataclass
class Asked:
    """A ballot that was opened in a log, and how voters vote in it."""

    log: BallotLog
    terms: Terms
    id: bytes
    by: str = ""
    nonces: dict[str, bytes] = field(default_factory=dict)

    @property
    def view(self) -> BallotView:
        view = self.log.ask(LookBallot(self.terms.name))
        assert isinstance(view, BallotView), view
        return view

    def vote(self, voter: str, opinion, turn: int = 1, by: str = "") -> Result:
        vote = CastVote(voter, turn, opinion, 0)
        if self.terms.secret:
            self.nonces[voter] = NONCE
            hidden = commitment_to(self.id, voter, opinion, NONCE)
            vote = CastVote(voter, turn, None, 0, commitment=hidden)
        if any(each.name == voter and each.key for each in self.terms.electorate):
            vote = signed_vote(self.id, vote)
        return self.cast(vote, by)

    def cast(self, vote: CastVote, by: str = "") -> Result:
        command = Cast(
            self.terms.name, self.id, vote.voter, vote.opinion, vote.turn, vote.signature, vote.commitment
        )
        return self.log.do(command, by)

    def reveal(self, voter: str, opinion, nonce: bytes = NONCE) -> Result:
        return self.log.do(Reveal(self.terms.name, self.id, voter, opinion, nonce))

    def adapt(self, evict=(), enlist=(), number: int = 0) -> Result:
        number = number or len(self.view.rounds)
        return self.log.do(Adapt(self.terms.name, self.id, number, tuple(evict), tuple(enlist)), self.by)

    def close(self) -> Result:
        return self.log.do(CloseBallot(self.terms.name, self.id), self.by)

    def certificate(self) -> BallotCertificate:
        view = self.view
        assert view.outcome is not None
        return BallotCertificate(view.opening, view.rounds, view.votes, view.lies, view.outcome)


class BallotLog(TimedLog):
    """A log of ballots. `changes` are the notices so far."""

    app = BALLOT

    def __init__(self, **bounds: int) -> None:
        self.changes: list[tuple[bytes, object]] = []
        self.sessions: dict[str, int] = {}
        self.sequence = 0
        super().__init__(**bounds)

    def new_host(self) -> Host:
        return ballot_host(**self.bounds)

    @property
    def box(self) -> BallotBox:
        return self.host._applications[BALLOT]

    def put(self, body: bytes, app: int = BALLOT, client: int = 0) -> Applied:
        self.sequence += 1
        head = header(len(self.entries) + 1, app=app, client=client, first_sequence=self.sequence, kind=COMMAND)
        self.entries.append((msgspec.structs.replace(head, time_us=self.now_us), body))
        applied = self.host.apply(*self.entries[-1])
        self.changes += [(notice.topic, decode_change(notice.body)) for notice in applied.notices]
        return applied

    def batch(self, *commands: Command, by: str = "") -> list[Result]:
        """One entry with these commands; their results."""
        if by and by not in self.sessions:
            self.sessions[by] = decode_session(self.put(session_of(by), app=SESSIONS).body)
        applied = self.put(encode_batch(commands), client=self.sessions.get(by, 0))
        assert applied.status == OK, applied
        return decode_results(applied.body)

    def do(self, command: Command, by: str = "") -> Result:
        (result,) = self.batch(command, by=by)
        return result

    def ask(self, query: Query) -> Result:
        answer = self.host.query(BALLOT, encode_query([query]))
        assert answer.status == OK, answer
        (result,) = decode_results(answer.body)
        return result

    def open(self, terms: Terms, by: str = "") -> Asked:
        opened = self.do(opening(terms), by)
        assert isinstance(opened, Opened), opened
        return Asked(self, terms, ballot_id(opened.opening), by)
