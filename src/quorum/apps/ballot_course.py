"""The course of one ballot: votes, rounds, the end. Each step is done whole, or refused and nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from quorum.apps import ballot_rows as rows_of
from quorum.apps.ballot import SIGNATURE_BYTES_MAX, Adapt, Cast, Reveal
from quorum.apps.ballot_state import ENDED, REVEALING, VOTING, BallotState, Head
from quorum.apps.batch import Refused
from quorum.apps.leaves import Leaves
from quorum.apps.log_clock import LogClock
from quorum.certificate.ballot import TURN_MAX, CastVote, Lie, Outcome, Round, vote_statement
from quorum.certificate.ballot_audit import flaw_of_lie, flaw_of_opinion
from quorum.certificate.keys import is_signed
from quorum.voting.ballot.rounds import next_lock, participants_problem, replaced
from quorum.voting.ballot.terms import ROUNDS_MAX

replace = msgspec.structs.replace


class BallotCourse:
    """What may happen to `ballot` at the present entry; its rows are kept in step."""

    def __init__(self, ballot: BallotState, rows: Leaves, clock: LogClock) -> None:
        self._ballot, self._rows, self._clock = ballot, rows, clock
        self._terms = ballot.opening.terms

    # What voters do.

    def cast(self, command: Cast, caller: str) -> Refused | None:
        """Take a vote, or say why it does not count."""
        ballot = self._ballot
        known = ballot.votes.get(command.voter)
        place = known.at if known is not None else ballot.changes + 1
        signature = command.signature if self._key(command.voter) else b""
        vote = CastVote(command.voter, command.turn, command.opinion, place, signature, command.commitment)
        refused = self._refusal_of_voter(command.voter, caller)
        if refused is not None:
            return refused
        if known is not None and _as_sent(known) == _as_sent(vote):
            return None  # it came twice
        if ballot.head.phase != VOTING:
            return self._no("ended", "no more votes count. Look at its outcome")
        if known is not None and not self._terms.changeable:
            return self._no("voted", f"{command.voter[:60]!r} has voted, once and for all. Look at its vote")
        before = 0 if known is None else known.turn
        if not before < command.turn <= (TURN_MAX if self._terms.changeable else 1):
            why = f"the turn of a vote of {command.voter[:60]!r} is {command.turn}, and the last one was {before}"
            return self._no("turn", f"{why}. Send it with a larger one, or 1 where votes are not changed")
        refused = self._refusal_of_vote(vote)
        if refused is not None:
            return refused
        ballot.votes[vote.voter] = replace(vote, at=ballot.next_place())
        rows_of.write_vote(self._rows, ballot, vote.voter)
        self._settle()
        return None

    def reveal(self, command: Reveal) -> Refused | None:
        """Take what a voter had committed to."""
        ballot = self._ballot
        known = ballot.votes.get(command.voter)
        if known is None or not known.commitment:
            return self._no("reveal", f"{command.voter[:60]!r} has committed to nothing. Vote while it is time")
        shown = replace(known, opinion=command.opinion, nonce=command.nonce)
        flaw = flaw_of_opinion(self._terms, ballot.id, shown)
        if flaw is not None:
            return self._no("reveal", f"{command.voter[:60]!r} {flaw}. Reveal what was committed to")
        if known.opinion is not None:
            return None  # it came twice
        if ballot.head.phase != REVEALING:
            return self._no("reveal", "opinions are revealed when all have voted, and not later. Wait for that")
        ballot.votes[command.voter] = shown
        rows_of.write_vote(self._rows, ballot, command.voter)
        self._settle()
        return None

    def _refusal_of_voter(self, name: str, caller: str) -> Refused | None:
        ballot = self._ballot
        voter = ballot.voters.get(name)
        shown = repr(name[:60])
        if voter is None:
            return self._no("voter", f"{shown} is not in its electorate. Vote under another name")
        if voter.identity and voter.identity != caller:
            who = caller[:70] or "somebody without a name"
            return self._no("identity", f"{shown} is {voter.identity[:70]}, and this came from {who}. Be that one")
        if name in ballot.gone:
            return self._no("gone", f"{shown} was silent or lied, and was put out of it. Nothing brings it back")
        if name not in ballot.participants:
            return self._no("standby", f"{shown} stands by, and votes when it is enlisted. Wait for that")
        return None

    def _refusal_of_vote(self, vote: CastVote) -> Refused | None:
        flaw = flaw_of_opinion(self._terms, self._ballot.id, vote)
        if flaw is not None:
            return self._no("opinion", f"{vote.voter[:60]!r} {flaw}. Correct it")
        key, said = self._key(vote.voter), vote.said
        if not key:
            return None
        assert said is not None, "a vote without a flaw says something"
        statement = vote_statement(self._ballot.id, vote.voter, vote.turn, said)
        if len(vote.signature) > SIGNATURE_BYTES_MAX or not is_signed(key, statement, vote.signature):
            return self._no("signature", f"the key of {vote.voter[:60]!r} did not sign this vote. Sign it by that")
        return None

    # What becomes of rounds.

    def adapt(self, command: Adapt) -> Refused | None:
        """Begin another round with others, because somebody wants it."""
        ballot = self._ballot
        if ballot.head.phase != VOTING:
            return self._no("ended", "no more votes count. Look at its outcome")
        if command.number != len(ballot.head.rounds):
            return self._no("round", f"it is in round {len(ballot.head.rounds)}. Look at it again")
        present = set(ballot.participants)
        strange = [name for name in command.evict if name not in present]
        strange += [name for name in command.enlist if name in present]
        if strange or not (command.evict or command.enlist):
            named = repr(strange[0][:60]) if strange else "nobody"
            why = f"{named} is no participant to evict, or no standby to enlist" if strange else "nobody was named"
            return self._no("names", f"{why}. Evict participants, enlist standbys")
        coming, leaving = iter(command.enlist), set(command.evict)
        after = [next(coming, None) if name in leaving else name for name in ballot.participants]
        return self._begin_round([name for name in (*after, *coming) if name is not None], ballot.silent)

    def accuse(self, lie: Lie) -> Refused | None:
        """Put out who signed two votes; its vote does not count any more, whatever else can be done."""
        ballot = self._ballot
        liar = lie.voter
        if ballot.head.phase == ENDED:
            return self._no("ended", "its outcome stands. Show the two votes to whoever should know")
        if any(known.voter == liar for known in ballot.head.lies):
            return None  # it came twice
        if liar not in ballot.participants:
            return self._no("voter", f"{liar[:60]!r} does not vote in it now. Accuse participants")
        flaw = flaw_of_lie(self._terms, ballot.id, lie)
        if flaw is not None:
            return self._no("lie", f"no lie was shown: {flaw}. Give two different votes that the voter signed")
        shown = replace(lie, lost=ballot.votes.pop(liar, None), at=ballot.next_place())
        rows_of.write_vote(self._rows, ballot, liar)
        self._take(replace(ballot.head, lies=(*ballot.head.lies, shown)))
        if ballot.head.phase == VOTING:
            self._begin_round(replaced(self._terms, ballot.participants, [liar], ballot.gone), [liar])
        self._settle()
        return None

    def _begin_round(self, after: Sequence[str], removable: Sequence[str]) -> Refused | None:
        ballot, head = self._ballot, self._ballot.head
        if tuple(after) == ballot.participants:
            return self._no("same", "the same participants would go on. Enlist others")
        if len(head.rounds) >= ROUNDS_MAX:
            return self._no("rounds", f"it had {ROUNDS_MAX} rounds, which is the most. Close it")
        problem = participants_problem(self._terms, ballot.participants, after, removable, ballot.gone)
        if problem is not None:
            return self._no("participants", f"{problem}. Choose others")
        locked = next_lock(self._terms, ballot.participants, ballot.opinions, head.rounds[-1].locked)
        began = Round(tuple(after), ballot.next_place(), locked)
        due_us = self._clock.now_us + self._terms.round_us if self._terms.round_us else None
        self._take(replace(head, rounds=(*head.rounds, began), round_due_us=due_us))
        self._settle()
        return None

    # How it ends.

    def close(self) -> Refused | None:
        """Let no more votes come."""
        if self._ballot.head.phase == REVEALING:
            return self._no(
                "revealing", "opinions are being revealed, and nobody cuts that short. Wait for the end"
            )
        if self._ballot.head.phase == VOTING:
            self._close()
        return None

    def on_time(self, due_us: int) -> None:
        """Its deadline, or the end of a round, is here."""
        ballot, head = self._ballot, self._ballot.head
        if head.deadline_us is not None and head.deadline_us <= due_us:
            self._close()
            return
        after = replaced(self._terms, ballot.participants, ballot.silent, ballot.gone)
        if self._begin_round(after, ballot.silent) is not None:  # nothing better: this round goes on
            self._take(replace(head, round_due_us=self._clock.now_us + self._terms.round_us))

    def _settle(self) -> None:
        """End it where nothing that may come changes anything."""
        ballot = self._ballot
        ballot.changed()
        if ballot.head.phase == ENDED:
            return
        if ballot.head.phase == REVEALING:
            if all(vote.opinion is not None for vote in ballot.votes.values()):
                self._end()
        elif self._terms.secret:
            if not ballot.silent:
                self._close()
        elif ballot.present.state != "pending" and not self._terms.changeable:
            self._end()

    def _close(self) -> None:
        ballot, head = self._ballot, self._ballot.head
        if head.phase == VOTING and self._terms.secret and ballot.votes:
            until_us = self._clock.now_us + self._terms.reveal_us
            self._take(replace(head, phase=REVEALING, deadline_us=until_us, round_due_us=None))
        else:
            self._end()

    def _end(self) -> None:
        standing = self._ballot.standing(closed=True)
        assert standing.state != "pending", "what is closed is decided"
        outcome = Outcome(standing, self._clock.index, self._clock.log_time_us)
        ended = replace(self._ballot.head, phase=ENDED, outcome=outcome, deadline_us=None, round_due_us=None)
        self._take(ended)

    def _take(self, head: Head) -> None:
        self._ballot.take(head)
        rows_of.write_head(self._rows, self._ballot)

    def _key(self, name: str) -> bytes:
        voter = self._ballot.voters.get(name)
        return b"" if voter is None else voter.key

    def _no(self, reason: str, why: str) -> Refused:
        return Refused(reason, f"ballot {self._terms.name[:60]!r}: {why}.")


def _as_sent(vote: CastVote) -> CastVote:
    """The vote as its voter sent it, before anything was revealed."""
    return replace(vote, opinion=None, nonce=b"") if vote.commitment else vote
