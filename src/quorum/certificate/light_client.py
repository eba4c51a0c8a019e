"""A light client: from a trusted committee to a block of any later epoch, by as few other blocks as will do.

It asks for what it wants, and is given it: no network, no file and no clock here. It first tries to believe the
target at once; where too few trusted members vouch for it, it tries an epoch half way, and so on down to single
changes of epoch, which need no overlap. Source: Braithwaite et al., "A Tendermint Light Client" (2020), and part
IV of its specification in CometBFT, light client verification.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import msgspec

from quorum.certificate.block import BlockCertificate
from quorum.certificate.epochs import EpochChange, verify_epochs
from quorum.certificate.trust import (
    LightBlock,
    Trust,
    Trusted,
    TrustRules,
    flaws_of_order,
    flaws_of_time,
    flaws_of_trust,
    judge_step,
)
from quorum.errors import LocalProtocolError


class WantBlock(msgspec.Struct, frozen=True):
    """Give any block of this epoch, with its committee; None if there is none."""

    epoch: int


class WantChange(msgspec.Struct, frozen=True):
    """Give the change that ends this epoch; None if there is none."""

    epoch: int


class Followed(msgspec.Struct, frozen=True):
    """The target is believed. `passed`: every block that was, the target last, each with its committee."""

    trusted: Trusted
    passed: tuple[LightBlock, ...]


class Refused(msgspec.Struct, frozen=True):
    """The target is not believed, for these reasons. `missing`: the first and the last of the epochs of which
    changes or blocks were wanted and not given; None if something that was given is wrong."""

    reasons: tuple[str, ...]
    missing: tuple[int, int] | None = None


Outcome = WantBlock | WantChange | Followed | Refused


class LightClient:
    """Follows one target. `epochs`: those of which blocks can be had, ascending; a range will do. Without `skips`
    it follows change by change, whoever vouches for more.

    I1  what is believed never goes back: neither epoch, nor sequence number, nor time.
    I2  each epoch is asked for twice at most, once for a block and once for its change.
    """

    def __init__(
        self,
        trusted: Trusted,
        target: LightBlock,
        now_us: int,
        rules: TrustRules | None = None,
        epochs: Sequence[int] = (),
        skips: bool = True,
    ) -> None:
        self.committee = trusted.committee
        self._start = trusted
        self._newest: BlockCertificate | None = trusted.certificate
        self._now_us, self._rules = now_us, rules or TrustRules()
        self._epochs, self._skips = epochs if skips else (), skips
        self._waiting = [target]  # what is to be believed; each was refused for lack of trust, but the last
        self._useless: set[int] = set()  # epochs of which a block was asked for
        self._without: set[int] = set()  # epochs whose change could not be had
        self._passed: list[LightBlock] = []
        self._wanted: Outcome | None = None

    def begin(self) -> Outcome:
        """What is wanted first, or the answer. Called once."""
        flaws = flaws_of_trust(self._start, self._now_us, self._rules)
        self._wanted = Refused(tuple(flaws)) if flaws else self._advance()
        return self._wanted

    def give(self, answer: LightBlock | EpochChange | None) -> Outcome:
        """Take what was wanted; return what is wanted next, or the answer.

        Raises LocalProtocolError for what was not asked for; that the content is true nobody need say.
        """
        wanted = self._wanted
        fits = {WantBlock: LightBlock | None, WantChange: EpochChange | None}
        if not isinstance(wanted, WantBlock | WantChange) or not isinstance(answer, fits[type(wanted)]):
            raise LocalProtocolError(
                f"a {type(answer).__name__} was given to a light client, but what it says last is "
                f"{str(wanted)[:200]}. Give what it asks for, and nothing after its answer."
            )
        if isinstance(answer, EpochChange):
            self._wanted = self._take_change(answer)
        elif isinstance(wanted, WantBlock):
            self._wanted = self._take_block(wanted.epoch, answer)
        else:
            self._without.add(self.committee.epoch)
            self._wanted = self._without_change()
        return self._wanted

    def _advance(self) -> Outcome:
        """Believe what waits, newest first, as far as that goes; then say what is wanted for more."""
        while self._waiting:
            block = self._waiting[-1]
            if not self._skips and block.committee.epoch > self.committee.epoch:
                return self._want()
            trust, reasons = judge_step(self.committee, block)
            if trust is Trust.NOT_ENOUGH:
                return self._want()
            flaws = list(reasons) if trust is Trust.REFUSED else self._flaws_of_place(block.certificate)
            if flaws:
                return Refused(tuple(f"{_name(block)}: {flaw}" for flaw in flaws))
            self._waiting.pop()
            self._believe(block)
        assert self._newest is not None, "the target was believed"
        return Followed(Trusted(self.committee, self._newest), tuple(self._passed))

    def _want(self) -> Outcome:
        """A block half way to what could not be believed; with none between, the change that comes next."""
        low, high = self.committee.epoch, self._waiting[-1].committee.epoch
        between = self._epochs[bisect_left(self._epochs, low + 1) : bisect_left(self._epochs, high)]
        for place in _from_middle(len(between)):
            if between[place] not in self._useless:
                return WantBlock(between[place])
        return self._without_change() if low in self._without else WantChange(low)

    def _take_block(self, epoch: int, block: LightBlock | None) -> Outcome:
        self._useless.add(epoch)  # it is not asked for again, whatever comes of it
        if block is None:
            return self._want()
        if block.committee.epoch != epoch:
            return Refused((f"a block of epoch {epoch} was wanted, and one of {block.committee.epoch} given.",))
        self._waiting.append(block)
        return self._advance()

    def _take_change(self, change: EpochChange) -> Outcome:
        old = self.committee
        new, verdict = verify_epochs(old, (change,))
        if not verdict.valid:
            return Refused(verdict.reasons)
        flaws = self._flaws_of_place(change.certificate)
        if flaws:
            return Refused(tuple(f"the change from epoch {old.epoch} does not hold: {flaw}" for flaw in flaws))
        self._believe(LightBlock(old, change.certificate))
        self.committee = new
        return self._advance()

    def _without_change(self) -> Outcome:
        """Nothing leads to the newest block that waits; perhaps something does to an older one."""
        if len(self._waiting) > 1:
            self._waiting.pop()
            return self._advance()
        first, last = self.committee.epoch + 1, self._waiting[-1].committee.epoch
        reasons = judge_step(self.committee, self._waiting[-1]).reasons
        return Refused((*reasons, f"nothing leads from epoch {first - 1} to epoch {last}."), (first, last))

    def _believe(self, block: LightBlock) -> None:
        assert block.committee.epoch >= self.committee.epoch, "I1: the epoch went backwards"
        self.committee = block.committee
        self._newest = block.certificate  # a change too stands in the last block of its epoch
        self._passed.append(block)

    def _flaws_of_place(self, certificate: BlockCertificate) -> list[str]:
        flaws = flaws_of_time(certificate.header, self._now_us, self._rules)
        if self._newest is not None:
            flaws += flaws_of_order(self._newest.header, certificate.header)
        return flaws


def _from_middle(count: int) -> Iterator[int]:
    """The places 0 to `count` - 1, from the middle outwards."""
    middle = (count - 1) // 2
    for distance in range(count):
        if middle + distance < count:
            yield middle + distance
        if 0 < distance <= middle:
            yield middle - distance


def _name(block: LightBlock) -> str:
    return f"block {block.certificate.header.sequence} of epoch {block.committee.epoch}"
