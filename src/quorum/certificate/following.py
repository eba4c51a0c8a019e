"""A light client whose source is one document: a block's certificate with some of the changes of epoch before it.

Changes may be left out where enough members of an earlier committee vouch for a later one.
"""

from __future__ import annotations

from quorum.certificate.block import BlockCertificate
from quorum.certificate.chain_forms import ChainedCertificate
from quorum.certificate.epochs import EpochChange
from quorum.certificate.light_client import Followed, LightClient, Refused, WantBlock, WantChange
from quorum.certificate.trust import LightBlock, Trusted, TrustRules


class DocumentSource:
    """What a document can give: the blocks whose committee it also has, and its changes of epoch."""

    def __init__(self, document: BlockCertificate | ChainedCertificate) -> None:
        self.certificate = document if isinstance(document, BlockCertificate) else document.certificate
        changes = () if isinstance(document, BlockCertificate) else document.changes
        self._changes: dict[int, EpochChange] = {}
        for change in changes:
            self._changes.setdefault(change.certificate.epoch, change)
        self._committees = {change.committee.epoch: change.committee for change in reversed(changes)}
        self.epochs = sorted(self._changes.keys() & self._committees.keys())

    def target(self, trusted: Trusted) -> LightBlock | None:
        """The block that the document is about; None if the document lacks its committee."""
        epoch = self.certificate.epoch
        committee = trusted.committee if epoch == trusted.committee.epoch else self._committees.get(epoch)
        return None if committee is None else LightBlock(committee, self.certificate)

    def block(self, epoch: int) -> LightBlock | None:
        """A block of the epoch: the one that ends it."""
        change, committee = self._changes.get(epoch), self._committees.get(epoch)
        return None if change is None or committee is None else LightBlock(committee, change.certificate)

    def change(self, epoch: int) -> EpochChange | None:
        """The change that ends the epoch."""
        return self._changes.get(epoch)


def follow(
    trusted: Trusted,
    document: BlockCertificate | ChainedCertificate,
    now_us: int,
    rules: TrustRules | None = None,
    skips: bool = True,
) -> Followed | Refused:
    """Follow from what is trusted to the block of the document, at the time `now_us` (microseconds since 1970).

    Without `skips` every change of epoch is wanted.
    """
    source = DocumentSource(document)
    target = source.target(trusted)
    if target is None:
        epoch, known = source.certificate.epoch, trusted.committee.epoch
        if epoch < known:
            return Refused((f"it is of epoch {epoch}, before epoch {known}, which is trusted.",))
        reason = f"it is of epoch {epoch}, and nobody says who is of it: epoch {known} is trusted."
        return Refused((reason,), (known + 1, epoch))
    client = LightClient(trusted, target, now_us, rules, source.epochs, skips)
    outcome = client.begin()
    while isinstance(outcome, WantBlock | WantChange):
        wanted = source.block if isinstance(outcome, WantBlock) else source.change
        outcome = client.give(wanted(outcome.epoch))
    return outcome
