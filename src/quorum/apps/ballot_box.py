"""Ballots as a replicated state machine; `ballot` says what its commands mean."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush

import msgspec

from quorum.apps import ballot_rows as rows_of
from quorum.apps.ballot import (
    ALL,
    BALLOTS_MAX,
    ELECTORS_MAX,
    LIST_MAX,
    READ_BYTES_MAX,
    Accuse,
    Adapt,
    Adapted,
    BallotChange,
    BallotLine,
    Ballots,
    BallotView,
    Cast,
    CloseBallot,
    Command,
    Counted,
    Forget,
    Forgotten,
    ListBallots,
    OpenBallot,
    Opened,
    Query,
    Result,
    Reveal,
    encode_change,
)
from quorum.apps.ballot_course import BallotCourse
from quorum.apps.ballot_state import ENDED, VOTING, BallotState, Head
from quorum.apps.batch import BatchDecoder, Refused
from quorum.apps.leaves import Leaves
from quorum.apps.log_clock import LogClock
from quorum.apps.state_machine import Notice, Outputs
from quorum.certificate.ballot import Opening, Round
from quorum.certificate.keys import check_public_key
from quorum.certificate.vote import CLUSTER_BYTES_MAX
from quorum.entry import Buffer
from quorum.errors import ConfigurationError
from quorum.header import Header
from quorum.voting.ballot.terms import check_terms

WORK_MAX = 100_000
"""Voters looked at in one batch, about; a signature counts as CHECK_WORK of them. It bounds the time of a batch,
and of what goes on by itself at one entry; the next entry goes on with the rest."""
CHECK_WORK = 50
ROUNDS_WORK = 8
"""Who begins a round writes all rounds: so many participants of them count as one voter."""
RIVALS_WORK = 10
"""Under plurality each of the options is compared: so many count as looking at all voters again."""
ITEM_BYTES = 200
LOOK_BYTES = 20
"""A ballot that a list passes over counts as so many bytes."""
STALE_MIN = 1_000

_COMMANDS: BatchDecoder[Command] = BatchDecoder(Command)
_QUERIES: BatchDecoder[Query] = BatchDecoder(Query)
_ENCODE = msgspec.msgpack.Encoder().encode


class BallotBox:
    """All ballots of a cluster. Every bound must be the same on every node.

    I1  what has ended stays as it ended.
    I2  `_rows` are the state; all else follows from them.
    """

    def __init__(self, clock: LogClock, ballots_max: int = BALLOTS_MAX, electors_max: int = ELECTORS_MAX) -> None:
        self._clock = clock
        self._ballots_max, self._electors_max = ballots_max, electors_max
        self._rows = Leaves()
        self._ballots: dict[str, BallotState] = {}
        self._names: list[bytes] = []
        self._electors = 0
        self._due: list[tuple[int, str]] = []
        self._notices: list[Notice] = []
        self._work_left = WORK_MAX
        self._read_left = READ_BYTES_MAX

    def __len__(self) -> int:
        """The number of ballots, also of those that have ended."""
        return len(self._ballots)

    # The contract.

    def apply(self, header: Header, body: Buffer) -> Outputs:
        """As `apply_from` for somebody whom nobody vouches for."""
        return self.apply_from(header, body, "")

    def apply_from(self, header: Header, body: Buffer, caller: str) -> Outputs:
        """Apply a batch of commands. Raises msgspec.DecodeError, state unchanged, if it is no msgpack array."""
        commands = _COMMANDS.decode(body)
        self._work_left = WORK_MAX
        results = [
            command if isinstance(command, Refused) else self._execute(header, command, caller)
            for command in commands
        ]
        return Outputs(_ENCODE(results), notices=self._taken_notices())

    def query(self, body: Buffer) -> bytes:
        """Answer a batch of reads. Raises msgspec.DecodeError if it is no msgpack array."""
        queries = _QUERIES.decode(body)
        self._read_left = READ_BYTES_MAX
        return _ENCODE([query if isinstance(query, Refused) else self._answer(query) for query in queries])

    @property
    def next_deadline_us(self) -> int | None:
        """When the next ballot or round is over."""
        while self._due:
            due_us, name = self._due[0]
            ballot = self._ballots.get(name)
            if ballot is not None and ballot.due_us == due_us:
                return due_us
            heappop(self._due)
        return None

    def expire(self) -> Outputs:
        """Let ballots and rounds whose time is over go on."""
        work_left = WORK_MAX
        while work_left > 0:
            due_us = self.next_deadline_us
            if due_us is None or due_us > self._clock.now_us:
                break
            ballot = self._ballots[heappop(self._due)[1]]
            work_left -= _work_of_round(ballot)
            self._course(ballot).on_time(due_us)
            self._changed(ballot, is_news=True)
        return Outputs(b"", notices=self._taken_notices())

    def digest(self) -> bytes:
        """The root over all ballots: 32 bytes."""
        return self._rows.digest()

    def snapshot(self) -> Iterator[bytes]:
        """Pin the present state; return its chunks."""
        return self._rows.view().chunks()

    def chunk_digests(self) -> Iterator[bytes]:
        """Pin the present state; give `pieces.digests_of` each chunk, and b"" after slices."""
        return self._rows.view().chunk_digests()

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace all ballots. Raises ValueError, state unchanged, if the chunks are damaged."""
        restored = self._rows.empty()
        restored.load(chunks)
        ballots = {ballot.opening.terms.name: ballot for ballot in rows_of.read_ballots(restored)}
        electors = sum(len(ballot.voters) for ballot in ballots.values())
        if len(ballots) > self._ballots_max or electors > self._electors_max:
            raise rows_of.damaged(f"{len(ballots)} ballots with {electors} voters are more than fit")
        self._rows, self._ballots = restored, ballots
        self._names = sorted(name.encode() for name in ballots)
        self._electors = electors
        self._due = self._all_due()

    # Commands.

    def _execute(self, header: Header, command: Command, caller: str) -> Result:
        if isinstance(command, OpenBallot):
            return self._open(header, command, caller)
        ballot = self._ballots.get(command.name)
        if isinstance(command, Forget):
            return Forgotten(False) if ballot is None else self._forget(ballot, caller)
        if ballot is None or ballot.id != command.ballot:
            return _no_ballot(command.name)
        begins_round = isinstance(command, Adapt | Accuse)
        refused = self._refusal_of_work(_work_of_round(ballot) if begins_round else _work_of_vote(ballot))
        if refused is not None:
            return refused
        phase, number = ballot.head.phase, len(ballot.head.rounds)
        course = self._course(ballot)
        match command:
            case Cast():
                refused = course.cast(command, caller)
            case Reveal():
                refused = course.reveal(command)
            case Accuse():
                refused = course.accuse(command.lie)
            case Adapt():
                refused = _not_theirs(ballot, caller) or course.adapt(command)
            case CloseBallot():
                refused = _not_theirs(ballot, caller) or course.close()
        if refused is not None:
            return refused
        self._changed(ballot, is_news=(phase, number) != (ballot.head.phase, len(ballot.head.rounds)))
        if isinstance(command, Adapt | Accuse):
            return Adapted(len(ballot.head.rounds), ballot.head.rounds[-1], ballot.sealed)
        return Counted(ballot.head.phase, ballot.sealed)

    def _open(self, header: Header, command: OpenBallot, caller: str) -> Opened | Refused:
        terms = command.terms
        keys = [voter for voter in terms.electorate if voter.key]
        refused = self._refusal_of_work(2 * len(terms.electorate) + CHECK_WORK * len(keys))
        if refused is not None:
            return refused
        known = self._ballots.get(terms.name)
        if known is not None:
            asked = (terms, command.cluster, caller)
            if (known.opening.terms, known.opening.cluster, known.opening.owner) == asked:
                return Opened(known.opening)
            return Refused(
                "exists", f"ballot {terms.name[:80]!r} is there already, with other terms. Choose another name."
            )
        if not _is_cluster(command.cluster):
            return Refused(
                "terms", f"ballot {terms.name[:80]!r} was to be opened, but for no cluster. Name its id."
            )
        try:
            check_terms(terms)
            for voter in keys:
                check_public_key(voter.name[:80], voter.key)
        except ConfigurationError as error:
            return Refused("terms", str(error))
        if len(self._ballots) >= self._ballots_max or self._electors + len(terms.electorate) > self._electors_max:
            return Refused(
                "room",
                f"{len(self._ballots)} ballots with {self._electors} voters are kept, and no more fit. Forget "
                "some that have ended.",
            )
        opening = Opening(terms, command.cluster, caller, header.index, header.time_us, header.entropy)
        now_us = self._clock.now_us
        head = Head(
            VOTING,
            (Round(terms.first_participants, 0),),
            (),
            None,
            now_us + terms.deadline_us if terms.deadline_us else None,
            now_us + terms.round_us if terms.round_us else None,
        )
        ballot = self._ballots[terms.name] = BallotState(opening, head, {})
        insort(self._names, terms.name.encode())
        self._electors += len(terms.electorate)
        rows_of.write_opening(self._rows, opening)
        rows_of.write_head(self._rows, ballot)
        self._changed(ballot, is_news=True)
        return Opened(opening)

    def _forget(self, ballot: BallotState, caller: str) -> Forgotten | Refused:
        refused = _not_theirs(ballot, caller)
        if refused is not None:
            return refused
        name = ballot.opening.terms.name
        if ballot.head.phase != ENDED:
            return Refused("pending", f"ballot {name[:80]!r} was to be forgotten, but goes on. Close it first.")
        del self._ballots[name]
        self._names.pop(bisect_left(self._names, name.encode()))
        self._electors -= len(ballot.voters)
        rows_of.delete_ballot(self._rows, name)
        return Forgotten(True)

    def _all_due(self) -> list[tuple[int, str]]:
        due = [(due, name) for name, ballot in self._ballots.items() if (due := ballot.due_us) is not None]
        heapify(due)
        return due

    def _course(self, ballot: BallotState) -> BallotCourse:
        return BallotCourse(ballot, self._rows, self._clock)

    def _changed(self, ballot: BallotState, is_news: bool) -> None:
        """Something happened to it: tell who watches, and note when it goes on by itself."""
        name, due_us = ballot.opening.terms.name, ballot.due_us
        if is_news and due_us is not None:
            heappush(self._due, (due_us, name))
            if len(self._due) > 2 * len(self._ballots) + STALE_MIN:
                self._due = self._all_due()
        change = BallotChange(name, ballot.head.phase, len(ballot.head.rounds), ballot.sealed.state)
        body = encode_change(change)
        self._notices.append(Notice(name.encode(), body))
        if is_news:
            self._notices.append(Notice(ALL, body))

    def _taken_notices(self) -> tuple[Notice, ...]:
        taken, self._notices = tuple(self._notices), []
        return taken

    def _refusal_of_work(self, work: int) -> Refused | None:
        """Why a command is not done in this batch; None if it is, and then it is counted. One that is too much for
        any batch is done as the first of its own."""
        if work > self._work_left < WORK_MAX:
            return Refused("batch", "the batch makes more work than one may. Send this command in another one.")
        self._work_left -= work
        return None

    # Reads.

    def _answer(self, query: Query) -> Result:
        if self._read_left <= 0:
            return Refused(
                "read", f"more than {READ_BYTES_MAX} bytes were read in one batch. Read the rest later."
            )
        if isinstance(query, ListBallots):
            return self._list(query)
        ballot = self._ballots.get(query.name)
        self._read_left -= ITEM_BYTES
        if ballot is None:
            return _no_ballot(query.name)
        self._read_left -= ITEM_BYTES * (len(ballot.voters) + len(ballot.votes))
        self._read_left -= ITEM_BYTES * sum(len(each.participants) for each in ballot.head.rounds)
        head, now_us = ballot.head, self._clock.now_us
        return BallotView(
            ballot.opening,
            head.phase,
            head.rounds,
            tuple(ballot.shown_votes()),
            head.lies,
            ballot.sealed,
            head.outcome,
            None if head.deadline_us is None else max(0, head.deadline_us - now_us),
            None if head.round_due_us is None else max(0, head.round_due_us - now_us),
        )

    def _list(self, query: ListBallots) -> Ballots | Refused:
        if query.limit < 0:
            return Refused("list", f"a limit of {query.limit} ballots makes no sense. Give 0 for all, or more.")
        lines: list[BallotLine] = []
        limit = min(query.limit or LIST_MAX, LIST_MAX)
        for place in range(bisect_left(self._names, query.start.encode()), len(self._names)):
            if len(lines) >= limit or self._read_left <= 0:
                return Ballots(lines, True)
            ballot = self._ballots[self._names[place].decode()]
            if query.voter and not ballot.asks(query.voter):
                self._read_left -= LOOK_BYTES
                continue
            terms, head = ballot.opening.terms, ballot.head
            self._read_left -= ITEM_BYTES + len(terms.question) + ITEM_BYTES * len(ballot.sealed.weights)
            lines.append(BallotLine(terms.name, terms.question, head.phase, len(head.rounds), ballot.sealed))
        return Ballots(lines, False)


def _is_cluster(name: str) -> bool:
    return 0 < len(name.encode()) <= CLUSTER_BYTES_MAX and name.isprintable()


def _not_theirs(ballot: BallotState, caller: str) -> Refused | None:
    opening = ballot.opening
    if caller == opening.owner or (caller and caller in opening.terms.operators):
        return None
    who = caller[:80] or "somebody without a name"
    return Refused(
        "operator",
        f"ballot {opening.terms.name[:80]!r} was to be led on by {who}, but {opening.owner[:80]!r} opened it. Ask "
        "its opener, or one of its operators.",
    )


def _work_of_vote(ballot: BallotState) -> int:
    terms = ballot.opening.terms
    rivals = len(terms.choices) // RIVALS_WORK if terms.rule.kind == "plurality" else 0
    return len(ballot.voters) * (1 + rivals) + CHECK_WORK


def _work_of_round(ballot: BallotState) -> int:
    written = sum(len(each.participants) for each in ballot.head.rounds)
    return len(ballot.voters) + 2 * CHECK_WORK + written // ROUNDS_WORK


def _no_ballot(name: str) -> Refused:
    return Refused(
        "ballot", f"there is no ballot {name[:80]!r}, or it is another one than it was. Look which there are."
    )
