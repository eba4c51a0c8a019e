"""Ballots for asyncio programs (apps.ballot says what they are)."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from hashlib import blake2b
from typing import Any, Protocol, TypeVar, get_args

import msgspec

from quorum.apps.ballot import (
    Accuse,
    Adapt,
    Adapted,
    BallotLine,
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
    Reveal,
)
from quorum.apps.ballot_state import ENDED
from quorum.apps.catalogue import BALLOT_APP
from quorum.certificate.ballot import (
    NONCE_BYTES,
    BallotCertificate,
    CastVote,
    Lie,
    Outcome,
    ballot_id,
    commitment_to,
    vote_statement,
)
from quorum.errors import (
    ApplicationError,
    LocalProtocolError,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    RequestRefused,
    WrongType,
)
from quorum.runtime.ballot_arguments import checked_opinion, microseconds, names_in, no_list, rule_in, text_in
from quorum.runtime.kept import RETRY_S
from quorum.runtime.keyring import CLIENT_PREFIX, Signer
from quorum.runtime.subscription import TopicWatch
from quorum.voting.ballot.standing import Opinion, Standing
from quorum.voting.ballot.terms import Kind, Terms, Voter, check_terms
from quorum.voting.tally import Rule

LOOK_S = 0.25
"""So often a ballot is looked at where no member tells of a change."""
NONCE_DOMAIN = b"quorum ballot nonce 1\x00"
R = TypeVar("R")
Electorate = Iterable[str | Voter] | Mapping[str, int]


class Asker(Protocol):
    """What ballots need of a client (runtime.client.Client)."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def signs(self) -> bool: ...

    @property
    def identity(self) -> str: ...

    @property
    def signer(self) -> Signer | None: ...

    @property
    def cluster(self) -> str: ...

    def ask(self, queue: str, item: Any, expected: type[R]) -> asyncio.Future[R]: ...

    def watch_topic(self, app: int, topic: bytes) -> TopicWatch: ...


class Receipt(msgspec.Struct, frozen=True):
    """A vote that counts, and how the ballot stood then. In a secret ballot keep `opinion` and `nonce`: whoever
    has no key needs them to reveal it."""

    voter: str
    phase: str
    standing: Standing
    opinion: str | float | tuple[float, ...]
    nonce: bytes = b""


class BallotClient:
    """The ballots of a cluster.

    Every call raises ApplicationError where the ballot refuses (its `kind` is one word for programs, such as
    "voted", "standby" or "ended"), LocalProtocolError for what could never be asked, and what Client says.
    """

    def __init__(self, client: Asker) -> None:
        self._client = client

    async def open(
        self,
        name: str,
        question: str,
        electorate: Electorate,
        *,
        kind: Kind = "approval",
        options: Sequence[str] = (),
        axes: int = 0,
        rule: Rule | str = "majority",
        faults: int = 0,
        participants: int = 0,
        deadline: float = 0.0,
        round_time: float = 0.0,
        reveal_time: float = 0.0,
        changeable: bool = False,
        secret: bool = False,
        transferable: bool = False,
        operators: Sequence[str] = (),
    ) -> BallotView:
        """Open a ballot, or find it opened by the same terms.

        `electorate`: names, names with weights, or `Voter`s with identities and keys. With TLS a bare name is the
        identity as well (`client.ann`); where members may lie a voter has to have a key. Times are seconds, 0:
        none. `rule`: a `voting.tally.Rule`, or its text: "majority", "share:2/3", "unanimous", "byzantine",
        "plurality". All else: see voting.ballot.terms.

        Raises ConfigurationError for terms by which nobody could decide.
        """
        if kind not in get_args(Kind):
            raise WrongType(
                f"a ballot of kind {kind!r:.40} was to be opened. Give one of {', '.join(get_args(Kind))}."
            )
        terms = Terms(
            name=name,
            question=question,
            electorate=self._voters(electorate),
            kind=kind,
            options=names_in(options, "options"),
            axes=axes,
            rule=rule if isinstance(rule, Rule) else rule_in(rule, faults),
            faults=faults,
            participants=participants,
            deadline_us=microseconds(deadline),
            round_us=microseconds(round_time),
            reveal_us=microseconds(reveal_time),
            changeable=changeable,
            secret=secret,
            transferable=transferable,
            operators=names_in(operators, "operators"),
        )
        return await self.open_terms(terms)

    async def open_terms(self, terms: Terms) -> BallotView:
        """As `open`, by terms that are whole already."""
        try:
            terms = msgspec.convert(msgspec.to_builtins(terms, builtin_types=(bytes,)), Terms)
        except (msgspec.ValidationError, UnicodeEncodeError, TypeError) as error:
            raise WrongType(
                f"a ballot was to be opened, but its terms are of wrong types: {error}. Correct them."
            ) from None
        check_terms(terms)
        if not self._client.cluster:  # a node tells it with its first answer
            await self._client.ask("ballot read", ListBallots(limit=1), Ballots)
        await self._do(OpenBallot(terms, self._client.cluster), Opened)
        return await self.look(terms.name)

    async def look(self, name: str) -> BallotView:
        """The ballot as it is, read linearizably."""
        return await self._client.ask("ballot read", LookBallot(text_in(name)), BallotView)

    async def list(self, start: str = "", voter: str = "") -> AsyncIterator[BallotLine]:
        """Every ballot from the name `start` on; with `voter` those alone whose votes it has still to give."""
        while True:
            found = await self._client.ask("ballot read", ListBallots(text_in(start), 0, text_in(voter)), Ballots)
            for line in found.ballots:
                yield line
            if not found.more:
                return
            start = found.ballots[-1].name + "\0" if found.ballots else start

    async def vote(
        self,
        name: str,
        opinion: Opinion,
        voter: str | None = None,
        signer: Signer | None = None,
        nonce: bytes | None = None,
    ) -> Receipt:
        """Vote, or change the vote where that is allowed. `voter`: as whom; not given, as whoever in the
        electorate has this client's identity or key. `signer`: not given, the client's own key.

        In a secret ballot a commitment is sent. Its nonce is `nonce`, NONCE_BYTES that nobody can guess, else made
        from the voter's key, else random.
        """
        if nonce and len(nonce) != NONCE_BYTES:
            raise LocalProtocolError(
                f"a vote in {name!r} was to be given with a nonce of {len(nonce)} bytes, but with another length "
                f"than {NONCE_BYTES} it could not be revealed. Leave it out, or give {NONCE_BYTES} random bytes."
            )
        view = await self.look(name)
        terms, ballot = view.opening.terms, ballot_id(view.opening)
        self._check_cluster(view)
        me = self._me(terms, voter)
        said = checked_opinion(terms, opinion)
        mine = {vote.voter: vote for vote in view.votes}.get(me.name)
        if mine is not None and mine.opinion == said:
            turn = mine.turn
        else:
            turn = _next_turn(mine) if terms.changeable else 1
        key = self._signer_of(me, signer)
        if terms.secret:
            nonce = nonce or (_nonce_by(key, ballot) if key is not None else secrets.token_bytes(NONCE_BYTES))
            vote = CastVote(me.name, turn, None, 0, commitment=commitment_to(ballot, me.name, said, nonce))
        else:
            nonce, vote = b"", CastVote(me.name, turn, said, 0)
        vote = _signed(ballot, vote, key)
        cast = Cast(name, ballot, me.name, vote.opinion, turn, vote.signature, vote.commitment)
        counted = await self._do(cast, Counted)
        return Receipt(me.name, counted.phase, counted.standing, said, nonce if key is None else b"")

    async def reveal(
        self,
        name: str,
        opinion: Opinion | None = None,
        voter: str | None = None,
        nonce: bytes | None = None,
        signer: Signer | None = None,
    ) -> Standing:
        """Show what was voted in a secret ballot. Who signed needs to know nothing but, of numbers, the opinion;
        who did not, needs the opinion and the nonce of the receipt."""
        view = await self.look(name)
        terms, ballot = view.opening.terms, ballot_id(view.opening)
        me = self._me(terms, voter)
        key = self._signer_of(me, signer)
        found = {vote.voter: vote for vote in view.votes}.get(me.name)
        if nonce is None and key is not None:
            nonce = _nonce_by(key, ballot)
        if opinion is None and nonce is not None and found is not None:
            matching = (
                each for each in terms.choices if commitment_to(ballot, me.name, each, nonce) == found.commitment
            )
            opinion = next(matching, None)
        if nonce is None or opinion is None:
            raise LocalProtocolError(
                f"the vote of {me.name!r} in {name!r} was to be revealed, but its opinion or its nonce is not "
                "known here. Give both, as the receipt of the vote has them."
            )
        said = checked_opinion(terms, opinion)
        return (await self._do(Reveal(name, ballot, me.name, said, nonce), Counted)).standing

    async def adapt(
        self, name: str, evict: Sequence[str] = (), enlist: Sequence[str] = (), number: int | None = None
    ) -> Adapted:
        """Begin another round without the silent participants `evict`, and with the standbys `enlist`. `number`:
        the round that is meant to end; not given, the present one."""
        view = await self.look(name)
        number = len(view.rounds) if number is None else number
        names = names_in(evict, "evict"), names_in(enlist, "enlist")
        return await self._do(Adapt(name, ballot_id(view.opening), number, *names), Adapted)

    async def accuse(self, name: str, first: CastVote, second: CastVote) -> Adapted:
        """Show two different votes that one voter signed in one turn: it loses its vote and its place."""
        view = await self.look(name)
        return await self._do(Accuse(name, ballot_id(view.opening), Lie(first, second)), Adapted)

    async def close(self, name: str) -> BallotView:
        """Let no more votes come; return how it ended, or, if it is secret, goes on."""
        view = await self.look(name)
        await self._do(CloseBallot(name, ballot_id(view.opening)), Counted)
        return await self.look(name)

    async def forget(self, name: str) -> bool:
        """Let a ballot that has ended be gone. Whether there was one."""
        return (await self._do(Forget(text_in(name)), Forgotten)).existed

    async def certificate(self, name: str) -> BallotCertificate:
        """What proves how a ballot ended. Raises LocalProtocolError while it has not."""
        view = await self.look(name)
        if view.outcome is None:
            raise LocalProtocolError(
                f"the certificate of {name!r} was asked for, but it has not ended. Wait for that, or close it."
            )
        opening = view.opening
        return BallotCertificate(opening.cluster, opening, view.rounds, view.votes, view.lies, view.outcome)

    async def watch(self, name: str) -> AsyncGenerator[BallotView, None]:
        """The ballot now, and again after each change, until it has ended. Changes that come close together may be
        shown as one."""
        shown: BallotView | None = None
        async with aclosing(self.stirrings(text_in(name).encode())) as stirrings:
            async for _ in stirrings:
                view = await self._looked(name)
                if view is None:
                    continue
                if shown is None or _news(view) != _news(shown):
                    yield view
                    shown = view
                if view.phase == ENDED:
                    return

    async def outcome(self, name: str, timeout: float | None = None) -> Outcome:
        """Wait until it has ended. Raises TimeoutError where it has not within `timeout` seconds (None: no
        bound)."""
        async with asyncio.timeout(timeout), aclosing(self.watch(name)) as views:
            async for view in views:
                if view.outcome is not None:
                    return view.outcome
        raise AssertionError("a watch goes on until the end")

    async def stirrings(self, topic: bytes) -> AsyncGenerator[None, None]:
        """Now, and whenever something may have happened to a topic (apps.ballot.ALL, or a name). Where members may
        lie none of them is believed alone: then it is a matter of time."""
        while True:
            try:
                async with self._client.watch_topic(BALLOT_APP, topic) as watch:
                    async for _ in watch:
                        yield
            except RequestRefused:
                break
            except (NotLeader, Overloaded, OutcomeUnknown):
                await asyncio.sleep(RETRY_S)
        while True:
            yield
            await asyncio.sleep(LOOK_S)

    async def _looked(self, name: str) -> BallotView | None:
        try:
            return await self.look(name)
        except (NotLeader, Overloaded, OutcomeUnknown):
            await asyncio.sleep(RETRY_S)
            return None

    async def _do(self, command: Any, expected: type[R]) -> R:
        """Ask for a command, again where its batch was too much work for one."""
        while True:
            try:
                return await self._client.ask("ballot", command, expected)
            except ApplicationError as error:
                if error.kind != "batch":
                    raise
                await asyncio.sleep(0)

    # Who votes.

    def _voters(self, electorate: Electorate) -> tuple[Voter, ...]:
        if isinstance(electorate, str | bytes) or not isinstance(electorate, Iterable):
            raise no_list(electorate, "the electorate")
        weights = electorate if isinstance(electorate, Mapping) else dict.fromkeys(electorate, 1)
        voters = []
        for given, weight in weights.items():
            if isinstance(given, Voter):
                voters.append(given)
            elif not isinstance(given, str):
                raise WrongType(f"{given!r:.60} was to vote, but it is no name and no Voter. Give one of them.")
            elif self._client.signs:
                raise LocalProtocolError(
                    f"{given[:60]!r} was to vote, but where members may lie a voter is known by its key. Give "
                    "Voter(name, key=key)."
                )
            else:
                voters.append(Voter(given, weight, given if self._client.identity else ""))
        for each in voters:
            if self._client.identity and each.identity and not each.identity.startswith(CLIENT_PREFIX):
                raise LocalProtocolError(
                    f"{each.identity[:60]!r} was to vote, but clients have certificates in other names. Write "
                    f"{CLIENT_PREFIX + each.identity[:60]!r}, for whom `quorum keys issue` makes one."
                )
        return tuple(voters)

    def _me(self, terms: Terms, voter: str | None) -> Voter:
        """As whom to vote. Raises LocalProtocolError where that is not clear."""
        key = self._client.signer.public_key if self._client.signer is not None else b""
        known = {key.hex(), self._client.identity} - {""}

        def is_me(each: Voter) -> bool:
            if voter is not None:
                return each.name == voter
            return each.identity in known or (key != b"" and each.key == key)

        named = [each for each in terms.electorate if is_me(each)]
        if len(named) == 1:
            return named[0]
        raise LocalProtocolError(
            f"a vote in {terms.name!r} was to be given as {voter or 'whoever this client is'}, but the electorate "
            f"has {'no such voter' if not named else 'several of them'}. Say which with voter=NAME: "
            f"{', '.join(each.name for each in terms.electorate)[:200]}."
        )

    def _check_cluster(self, view: BallotView) -> None:
        """Nobody should sign a vote that somebody could take for one of another cluster."""
        meant = view.opening.cluster
        if meant not in ("", self._client.cluster):
            raise LocalProtocolError(
                f"a vote in {view.opening.terms.name!r} was to be given, but it was opened for cluster "
                f"{meant[:60]!r}, and this is {self._client.cluster!r}. Ask its opener to open another."
            )

    def _signer_of(self, me: Voter, signer: Signer | None) -> Signer | None:
        """The key by which this voter signs; None if it has none. Raises LocalProtocolError if it is not here."""
        if not me.key:
            return None
        for each in (signer, self._client.signer):
            if each is not None and each.public_key == me.key:
                return each
        raise LocalProtocolError(
            f"{me.name[:60]!r} was to vote, but signs with key {me.key.hex()[:16]}..., which is not here. Connect "
            "with that voter's keys, or give its signer."
        )


def voter(name: str, public_key: bytes, weight: int = 1) -> Voter:
    """A voter who is known by its key, also to nodes that may lie."""
    return Voter(name, weight, key=public_key)


def _next_turn(last: CastVote | None) -> int:
    """A turn in which this voter has signed nothing, also if a vote that it signed was lost: the time in us."""
    return max(last.turn + 1 if last is not None else 1, time.time_ns() // 1_000)


def _signed(ballot: bytes, vote: CastVote, signer: Signer | None) -> CastVote:
    if signer is None or vote.said is None:
        return vote
    statement = vote_statement(ballot, vote.voter, vote.turn, vote.said)
    return msgspec.structs.replace(vote, signature=signer.sign(statement))


def _nonce_by(signer: Signer, ballot: bytes) -> bytes:
    """A nonce that nobody without the key can guess, and that its holder can make again."""
    return blake2b(signer.sign(NONCE_DOMAIN + ballot), digest_size=NONCE_BYTES).digest()


def _news(view: BallotView) -> tuple[object, ...]:
    return view.phase, view.rounds, view.votes, view.lies
