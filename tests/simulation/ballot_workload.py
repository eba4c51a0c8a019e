"""Clients that open ballots and lead them on, and clients that vote: at once, late, twice, never, or two ways.

Every voter is a client of its own, and hears of ballots in person or by the list of those in which it has to vote.
Whoever has seen two different votes of one voter may accuse it. Requests are retried by the session, as production
does; where an outcome stays unknown, the client looks, and asks again what changes nothing if it was done.
"""

from __future__ import annotations

from collections.abc import Generator
from random import Random
from typing import Any, NamedTuple

from msgspec.structs import replace

from quorum.apps.answer import OK
from quorum.apps.ballot import (
    Accuse,
    Adapt,
    Adapted,
    Ballots,
    BallotView,
    Cast,
    CloseBallot,
    Counted,
    Forget,
    Forgotten,
    ListBallots,
    LookBallot,
    OpenBallot,
    Opened,
    Query,
    Reveal,
    decode_results,
    encode_batch,
    encode_query,
)
from quorum.apps.ballot_state import ENDED, REVEALING, VOTING
from quorum.apps.batch import Refused
from quorum.apps.catalogue import BALLOT_APP
from quorum.certificate.ballot import NONCE_BYTES, CastVote, Lie, commitment_to, vote_statement
from quorum.errors import QuorumError
from quorum.runtime.session_settings import SessionSettings
from quorum.sim.world import World
from quorum.voting.ballot.standing import Opinion, canonical
from quorum.voting.ballot.terms import MEASURED

from . import ballot_observer as seen
from .ballot_observer import Affair, Observer
from .ballot_terms import SECOND_US, draw_terms, false_opinion, honest_opinion, key_of

TIMEOUT_US = 5 * SECOND_US
PATIENCE = SessionSettings(silence_us=1_000_000)
NAMES = ("bread", "salt", "stone", "wine")
"""So few that ballots of one name follow each other."""
HABITS = ("prompt",) * 8 + ("late",) * 3 + ("silent",) * 2 + ("lost", "twice", "early", "liar", "liar")
DIVIDED = ("prompt",) * 4 + ("late",) * 2 + ("lost",) * 4 + ("early", "early", "silent", "liar")
"""Where signatures are to be the proof: many are known to nobody but the observer."""
Script = Generator[Any, Any, Any]


class Sleep(NamedTuple):
    us: int


class Citizen:
    """One client, which does one thing at a time. Answers that never come are None."""

    def __init__(self, world: World, name: str, observer: Observer, stop_us: int) -> None:
        self.world, self.name, self.observer, self.stop_us = world, name, observer, stop_us
        self.random = world.random(f"citizen/{name}")
        self.client = world.make_client(name, self._on_answer, PATIENCE)
        self.answered = self.unknown = 0
        self.is_done = False
        self._asked: Any = None
        self._asked_at = 0
        self._script = self.script()

    def start(self) -> None:
        self.client.start()
        self._advance(None)

    def script(self) -> Script:
        """What it does, until the time is over."""
        raise NotImplementedError

    # The world's side.

    def _advance(self, answer: Any) -> None:
        try:
            step = self._script.send(answer)
        except StopIteration:
            self.is_done = True
            return
        session, now_us = self.client.session, self.world.now_us
        self._asked, self._asked_at = step, self.observer.answers
        self.observer.asks(step)
        if isinstance(step, Sleep):
            self.world.schedule(step.us, self._advance, None)
        elif isinstance(step, Query):
            session.query(now_us, BALLOT_APP, encode_query([step]), False, TIMEOUT_US)
        else:
            session.submit(now_us, BALLOT_APP, 1, encode_batch([step]), TIMEOUT_US)

    def _on_answer(self, handle: int, status: int, body: bytes, error: QuorumError | None) -> None:
        answer = None
        if error is None and status == OK:
            (answer,) = decode_results(body)
            self.answered += 1
            self.observer.heard(self._asked, answer, self._asked_at)
        else:
            self.unknown += 1
            self.world.sometimes.reached(seen.UNKNOWN)
        self._advance(answer)

    # What everybody can do.

    def pause(self, most_us: int) -> Script:
        yield Sleep(self.random.randrange(most_us) + 1)

    def do(self, command: Any) -> Generator[Any, Any, Any]:
        """Ask until there is an answer, for what changes nothing if it was done before; None: there was none."""
        for _ in range(5):
            answer = yield command
            if answer is not None and not (isinstance(answer, Refused) and answer.reason == "batch"):
                return answer
            yield from self.pause(SECOND_US)
        return None

    def perhaps_accuse(self, affair: Affair) -> Script:
        """Show the two votes of somebody who signed two."""
        for voter in sorted(affair.liars):
            votes = affair.signed.get(voter, [])
            pairs = [(one, two) for one in votes for two in votes if one.turn == two.turn and one.said != two.said]
            if pairs and all(vote.signature for vote in pairs[0]) and self.random.random() < 0.3:
                first, second = self.random.choice(pairs)
                yield from self.do(Accuse(affair.terms.name, affair.id, Lie(first, second)))


class Organiser(Citizen):
    """Opens ballots one after the other, and leads each to its end."""

    is_keyed = is_transferable = False

    def script(self) -> Script:
        number = 0
        yield from self.pause(SECOND_US // 2)
        while self.world.now_us < self.stop_us:
            number += 1
            name = self.random.choice((*NAMES, f"{self.name}-{number}"))
            terms = draw_terms(self.random, name, number, self.is_keyed, self.is_transferable)
            answer = yield from self.do(OpenBallot(terms, "simulated"))
            if not isinstance(answer, Opened):
                yield from self.pause(SECOND_US // 2)
                continue
            affair = self.observer.opened(answer.opening)
            yield from self.lead(affair)
            yield from self.end(affair)

    def lead(self, affair: Affair) -> Script:
        """Until it has ended, or somebody else let it be gone."""
        name, patience_us = affair.terms.name, self.random.randrange(2 * SECOND_US, 15 * SECOND_US)
        give_up_us = self.world.now_us + patience_us
        while True:
            yield from self.pause(SECOND_US)
            view = yield LookBallot(name)
            if view is None:
                continue
            if not isinstance(view, BallotView) or view.opening != affair.opening or view.phase == ENDED:
                return
            yield from self.perhaps_accuse(affair)
            is_late = self.world.now_us >= min(give_up_us, self.stop_us)
            if view.phase == VOTING and is_late:
                answer = yield from self.do(CloseBallot(name, affair.id))
                if isinstance(answer, Counted):
                    self.observer.sometimes.reached(seen.CLOSED)
            elif view.phase == VOTING and self.random.random() < 0.35:
                yield from self.adapt(affair, view)

    def adapt(self, affair: Affair, view: BallotView) -> Script:
        """Replace some who are silent; now and then somebody who is not, or nobody, which must be refused."""
        present = view.rounds[-1].participants
        voted = {vote.voter for vote in view.votes}
        silent = [name for name in present if name not in voted]
        before = {name for each in view.rounds for name in each.participants}
        standbys = [voter.name for voter in affair.terms.electorate if voter.name not in before]
        evict = [name for name in silent if self.random.random() < 0.7]
        enlist = [name for name in standbys if self.random.random() < 0.7][: len(evict) + 1]
        is_wrong = self.random.random() < 0.1
        if is_wrong and view.votes:
            evict = [self.random.choice(view.votes).voter]
        answer = yield Adapt(affair.terms.name, affair.id, len(view.rounds), tuple(evict), tuple(enlist))
        if isinstance(answer, Refused) and answer.reason == "ambiguous":
            self.observer.sometimes.reached(seen.AMBIGUOUS)
        if isinstance(answer, Adapted) and is_wrong and evict and evict[0] in voted:
            self.world.violation(f"{self.name} evicted {evict[0]}, who had voted")

    def end(self, affair: Affair) -> Script:
        """Look twice how it ended, and let it be gone or not."""
        name = affair.terms.name
        for _ in range(2):
            yield LookBallot(name)
            yield from self.pause(SECOND_US // 4)
        yield CloseBallot(name, affair.id)
        if self.random.random() < 0.6:
            answer = yield Forget(name)
            affair.is_over = True
            if isinstance(answer, Forgotten) and answer.existed:
                self.observer.sometimes.reached(seen.FORGOTTEN)


class Elector(Citizen):
    """Votes in every ballot that asks it."""

    def __init__(self, world: World, name: str, observer: Observer, stop_us: int) -> None:
        self._habits: dict[bytes, tuple[str, int]] = {}
        self._mine: dict[bytes, tuple[CastVote, Opinion, bytes]] = {}
        super().__init__(world, name, observer, stop_us)

    def script(self) -> Script:
        while self.world.now_us < self.stop_us + 5 * SECOND_US:
            yield from self.pause(SECOND_US // 3)
            if self.random.random() < 0.1:
                yield from self.look_up()
            waiting = [affair for affair in self.observer.affairs.values() if self.is_asked(affair)]
            if waiting:
                yield from self.attend(self.random.choice(waiting[-6:]))

    def look_up(self) -> Script:
        """What is listed for a voter are ballots in which it has to vote."""
        answer = yield ListBallots(voter=self.name)
        if isinstance(answer, Ballots):
            wrong = [line for line in answer.ballots if line.phase != VOTING]
            if wrong:
                self.world.violation(f"{self.name} was told to vote in {wrong[0]}")

    def is_asked(self, affair: Affair) -> bool:
        if affair.is_over or self.name not in {voter.name for voter in affair.terms.electorate}:
            return False
        habit, due_us = self.habit(affair)
        return habit != "silent" and due_us <= self.world.now_us

    def habit(self, affair: Affair) -> tuple[str, int]:
        """How it behaves in this ballot, and from when on."""
        known = self._habits.get(affair.id)
        if known is None:
            draw = Random(f"{self.world.seed}/{self.name}/{affair.id.hex()}")
            terms = affair.terms
            habit = draw.choice(DIVIDED if terms.transferable else HABITS)
            if habit == "liar":
                bears = terms.faults if terms.kind in MEASURED or terms.transferable else max(1, terms.faults)
                is_keyed = all(voter.key for voter in terms.electorate)
                if len(affair.liars) < bears and (is_keyed or terms.kind in MEASURED):
                    affair.liars.add(self.name)
                else:
                    habit = "prompt"
            delay_us = (
                draw.randrange(2 * SECOND_US, 8 * SECOND_US) if habit == "late" else draw.randrange(SECOND_US)
            )
            known = self._habits[affair.id] = habit, self.world.now_us + delay_us
        return known

    def attend(self, affair: Affair) -> Script:
        """Look at a ballot, and do there what is to be done."""
        habit, _ = self.habit(affair)
        name = affair.terms.name
        view = yield LookBallot(name)
        if view is None:
            return
        if not isinstance(view, BallotView) or view.opening != affair.opening:
            affair.is_over = True
            return
        yield from self.perhaps_accuse(affair)
        if view.phase == REVEALING:
            if affair.id in self._mine and any(vote.voter == self.name for vote in view.votes):
                yield from self.reveal(affair)
        else:
            is_time = view.phase == VOTING and (habit == "early" or self.name in view.rounds[-1].participants)
            if is_time or (habit in ("late", "twice", "early") and self.random.random() < 0.4):
                yield from self.vote(affair, view, habit)
        if view.phase == ENDED and self.random.random() < 0.5:
            self._habits[affair.id] = "silent", 0

    # Votes.

    def vote(self, affair: Affair, view: BallotView, habit: str) -> Script:
        known = {vote.voter: vote for vote in view.votes}.get(self.name)
        if known is not None and not (affair.terms.changeable and self.random.random() < 0.3) and habit != "twice":
            return
        vote = self.signed(affair, self.turn_of(affair, known, habit))
        if habit == "lost":
            self._habits[affair.id] = "silent", 0
            return
        if habit == "liar" and affair.terms.kind not in MEASURED:
            yield from self.lie(affair, vote)
            return
        answer = yield from self.do(self.cast(affair, vote))
        if isinstance(answer, Refused) and answer.reason in ("ended", "gone", "standby"):
            self.observer.sometimes.reached(seen.LATE)
        if habit == "twice":
            yield self.cast(affair, vote)

    def turn_of(self, affair: Affair, known: CastVote | None, habit: str) -> int:
        if known is None:
            return 1
        return known.turn + (affair.terms.changeable and habit != "twice")

    def lie(self, affair: Affair, vote: CastVote) -> Script:
        """Sign another vote of the same turn as well; either may reach the log first, or both."""
        other = self.signed(affair, vote.turn, is_second=True)
        if vote.voter != self.name or other == vote:
            return
        both = [vote, other] if self.random.random() < 0.5 else [other, vote]
        for each in both[: self.random.choice((1, 2))]:
            yield self.cast(affair, each)

    def signed(self, affair: Affair, turn: int, is_second: bool = False) -> CastVote:
        """The vote of a turn: the same whenever it is asked for."""
        terms = affair.terms
        draw = Random(f"{self.world.seed}/{self.name}/{affair.id.hex()}/{turn}")
        said = honest_opinion(draw, terms)
        is_false = is_second or (terms.kind in MEASURED and self.name in affair.liars)
        said = canonical(false_opinion(draw, terms, said) if is_false else said)
        if terms.secret:
            nonce = draw.randbytes(NONCE_BYTES)
            vote = CastVote(self.name, turn, None, 0, commitment=commitment_to(affair.id, self.name, said, nonce))
        else:
            nonce, vote = b"", CastVote(self.name, turn, said, 0)
        if any(voter.name == self.name and voter.key for voter in terms.electorate):
            assert vote.said is not None, "it says something"
            statement = vote_statement(affair.id, self.name, turn, vote.said)
            vote = replace(vote, signature=key_of(self.name).sign(statement).signature)
        self.observer.knows(affair, vote, said)
        if not is_second or self.random.random() < 0.5:
            self._mine[affair.id] = vote, said, nonce
        return vote

    def cast(self, affair: Affair, vote: CastVote) -> Cast:
        return Cast(
            affair.terms.name, affair.id, vote.voter, vote.opinion, vote.turn, vote.signature, vote.commitment
        )

    def reveal(self, affair: Affair) -> Script:
        """Show what was voted; some never do."""
        _, said, nonce = self._mine[affair.id]
        if Random(f"{self.name}/{affair.id.hex()}/shows").random() < 0.85:
            yield from self.do(Reveal(affair.terms.name, affair.id, self.name, said, nonce))


class Carrier(Citizen):
    """Sends votes that others signed once more, as somebody in between may: each counts once all the same."""

    def script(self) -> Script:
        while self.world.now_us < self.stop_us:
            yield from self.pause(SECOND_US)
            affairs = [each for each in self.observer.affairs.values() if each.counted and not each.is_over]
            if not affairs:
                continue
            affair = self.random.choice(affairs[-4:])
            vote = affair.counted[self.random.choice(sorted(affair.counted))]
            answer = yield Cast(
                affair.terms.name, affair.id, vote.voter, vote.opinion, vote.turn, vote.signature, vote.commitment
            )
            if isinstance(answer, Counted):
                self.observer.sometimes.reached(seen.CARRIED)
