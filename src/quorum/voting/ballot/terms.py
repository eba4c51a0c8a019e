"""What a ballot asks, of whom, and by which rule it is decided.

Everybody in the electorate may come to vote. The first `participants` of it vote at the beginning, the others are
standbys. A ballot has kinds of opinions:

approval   "approve" or "reject"
choice     one of `options`
value      a number; the decision is the median
interval   a lowest and a highest number; the decision reaches from the lowest to the highest point that all but T
           of the intervals hold (Marzullo 1984; Brooks and Iyengar 1996 for what T wrong ones can do)
vector     numbers, as many as `axes`; the decision is the median of each axis
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from quorum.errors import ConfigurationError
from quorum.voting.tally import Rule, needed_weight

Kind: TypeAlias = Literal["approval", "choice", "value", "interval", "vector"]
MEASURED: Final = frozenset(("value", "interval", "vector"))
APPROVAL_OPTIONS: Final = ("approve", "reject")

NAME_BYTES_MAX: Final = 256
QUESTION_BYTES_MAX: Final = 4_096
VOTERS_MAX: Final = 1_000
OPTIONS_MAX: Final = 100
AXES_MAX: Final = 64
OPERATORS_MAX: Final = 100
ROUNDS_MAX: Final = 100
KEY_BYTES: Final = 32
DURATION_US_MIN: Final = 10_000
DURATION_US_MAX: Final = 366 * 24 * 3600 * 1_000_000
Duration = Annotated[int, msgspec.Meta(ge=0, le=DURATION_US_MAX)]


class Voter(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """One who may come to vote. `identity`: whom the cluster must know the sender of its votes as ("": anybody may
    send them). `key`: the Ed25519 public key that signs them, 32 bytes, or none."""

    name: str
    weight: int = 1
    identity: str = ""
    key: bytes = b""


class Terms(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """All that is fixed when a ballot is opened. Durations are microseconds of the log's time, 0: none.

    `faults` is T: so many voters may be silent or lie. At least `floor` of the electorate vote in every round.
    `round_us`: so long after a round began, those who are silent are replaced. `changeable`: until the end.
    `secret`: a vote is a commitment, and opinions are shown in `reveal_us` after the deadline. `transferable`: the
    signatures alone prove the decision, to whoever trusts no node. `operators`: who may adapt and close beside its
    opener.
    """

    name: str
    question: str
    electorate: tuple[Voter, ...]
    kind: Kind = "approval"
    options: tuple[str, ...] = ()
    axes: int = 0
    rule: Rule = Rule()
    faults: int = 0
    participants: int = 0
    deadline_us: Duration = 0
    round_us: Duration = 0
    reveal_us: Duration = 0
    changeable: bool = False
    secret: bool = False
    transferable: bool = False
    operators: tuple[str, ...] = ()

    @property
    def choices(self) -> tuple[str, ...]:
        """The options; none where numbers are asked for."""
        return APPROVAL_OPTIONS if self.kind == "approval" else self.options

    @property
    def first_participants(self) -> tuple[str, ...]:
        """Who votes in the first round, in the order of the electorate."""
        count = self.participants or len(self.electorate)
        return tuple(voter.name for voter in self.electorate[:count])

    @property
    def floor(self) -> int:
        """With fewer participants no round is held: N-T, no more than there are at first, and what the bound of
        the rule needs."""
        smallest = min(len(self.first_participants), len(self.electorate) - self.faults)
        return max(1, smallest, self._bound)

    @property
    def proof_weight(self) -> int:
        """Where the signatures alone prove the decision, no option wins by less, whoever votes in its round; 0
        elsewhere. It is more than half of what the electorate and its T heaviest weigh together. So two options
        that each have it have voters in common who weigh more than any T: more than T signed two votes (Malkhi
        and Reiter, "Byzantine Quorum Systems", 1998, section 5)."""
        if not self.transferable:
            return 0
        weights = sorted((voter.weight for voter in self.electorate), reverse=True)
        return (sum(weights) + sum(weights[: self.faults])) // 2 + 1

    def suffices(self, participants: Collection[str]) -> bool:
        """Whether a round of these can decide anything: `floor` of them, who weigh `proof_weight`."""
        present = set(participants)
        weight = sum(voter.weight for voter in self.electorate if voter.name in present)
        return len(present) >= self.floor and weight >= self.proof_weight

    @property
    def _bound(self) -> int:
        return 3 * self.faults + 1 if self.kind in MEASURED or self.rule.kind == "byzantine" else 1


def check_terms(terms: Terms) -> None:
    """Raise ConfigurationError for terms under which nobody could decide, or decide safely."""
    for problem in (_wrong_texts, _wrong_electorate, _wrong_rule, _wrong_secrecy, _wrong_proof):
        found = problem(terms)
        if found is not None:
            why, remedy = found
            raise ConfigurationError(f"ballot {terms.name[:60]!r} was to be opened, but {why}. {remedy}.")


Problem: TypeAlias = tuple[str, str] | None
"""Why terms are bad, and what to do."""


def _is_name(text: str) -> bool:
    return text.isprintable() and 0 < len(text.encode()) <= NAME_BYTES_MAX


def _wrong_texts(terms: Terms) -> Problem:
    if not _is_name(terms.name):
        return f"its name is not 1 to {NAME_BYTES_MAX} bytes of printable text", "Choose another name"
    if not 0 < len(terms.question.encode(errors="replace")) <= QUESTION_BYTES_MAX:
        return f"its question is not 1 to {QUESTION_BYTES_MAX} bytes", "Ask something, and shorter"
    if len(terms.operators) > OPERATORS_MAX:
        return f"it has more than {OPERATORS_MAX} operators", "Name fewer"
    if (terms.kind == "choice") != bool(terms.options):
        return ("a choice needs options, and no other kind has any"), "Give options, or another kind"
    if len(terms.options) > OPTIONS_MAX or not all(map(_is_name, terms.options)):
        return f"options are 1 to {OPTIONS_MAX} of 1 to {NAME_BYTES_MAX} bytes", "Give fewer, or shorter ones"
    if not (1 <= terms.axes <= AXES_MAX if terms.kind == "vector" else terms.axes == 0):
        return f"a vector has 1 to {AXES_MAX} axes, and nothing else has any", "Correct the axes"
    if any(0 < time_us < DURATION_US_MIN for time_us in (terms.deadline_us, terms.round_us, terms.reveal_us)):
        return f"a duration is below {DURATION_US_MIN} us", "Give more time, or 0 for none"
    return None


def _wrong_electorate(terms: Terms) -> Problem:
    names = [voter.name for voter in terms.electorate]
    if not 0 < len(names) <= VOTERS_MAX or len(set(names)) < len(names):
        return f"its electorate is not 1 to {VOTERS_MAX} voters, each named once", "Correct the electorate"
    for voter in terms.electorate:
        if not _is_name(voter.name) or (voter.identity and not _is_name(voter.identity)):
            return f"a voter's name is not 1 to {NAME_BYTES_MAX} bytes of printable text", "Rename it"
        if len(voter.key) not in (0, KEY_BYTES):
            return f"the key of {voter.name[:40]!r} has {len(voter.key)} bytes", f"A key has {KEY_BYTES}"
    keys = [voter.key for voter in terms.electorate if voter.key]
    if len(set(keys)) < len(keys):
        return "two voters have one key, so that one could vote twice", "Give each its own"
    identities = [voter.identity for voter in terms.electorate if voter.identity]
    if len(set(identities)) < len(identities):
        return "two voters are one identity, so that it could vote twice", "Give each its own"
    if not 0 <= terms.participants <= len(names):
        return f"{terms.participants} of {len(names)} voters were to participate", "Give 0 for all, or fewer"
    if not 0 <= terms.faults < len(names):
        return f"T={terms.faults} of {len(names)} voters were to be wrong", "T is below the number of voters"
    return None


def _wrong_rule(terms: Terms) -> Problem:
    first = terms.first_participants
    if terms.kind in MEASURED:
        if terms.rule != Rule() or any(voter.weight != 1 for voter in terms.electorate):
            return "numbers are joined by T, not by a rule or weights", "Leave those out"
        if len(first) < terms.floor:
            return (
                f"{len(first)} participants are fewer than the 3T+1={terms.floor} by which T={terms.faults} wrong "
                "numbers stay without effect"
            ), "Add voters, or lower T"
        return None
    if terms.rule.kind == "byzantine" and terms.rule.faults != terms.faults:
        return f"its rule counts with T={terms.rule.faults}, and the ballot with {terms.faults}", "Give one T"
    weights = {voter.name: voter.weight for voter in terms.electorate}
    try:
        needed_weight(weights, terms.choices, terms.rule)
        needed_weight({name: weights[name] for name in first}, terms.choices, terms.rule)
    except ConfigurationError as error:
        return str(error).rstrip("."), "Correct that"
    return None


def _wrong_secrecy(terms: Terms) -> Problem:
    if terms.secret != (terms.reveal_us > 0):
        return "a secret ballot, and no other, has a time to reveal", "Give both or neither"
    if terms.secret and terms.changeable:
        return "a commitment cannot be changed", "Let it be secret or changeable"
    return None


def _wrong_proof(terms: Terms) -> Problem:
    if not terms.transferable:
        return None
    if terms.kind in MEASURED or terms.rule.kind == "plurality" or terms.changeable or terms.secret:
        return (
            "its proof was to be the signatures alone, which show neither changed, missing nor secret votes",
            "Let it be of options, decided by a share of all, neither changeable nor secret",
        )
    if not all(voter.key for voter in terms.electorate):
        return "its proof was to be the signatures, but a voter has no key", "Give every voter a key"
    if not terms.suffices(terms.first_participants):
        return (
            f"its participants weigh less than the {terms.proof_weight} of the whole electorate by which T="
            f"{terms.faults} voters who sign two votes prove nothing"
        ), "Let more participate, or lower T"
    return None
