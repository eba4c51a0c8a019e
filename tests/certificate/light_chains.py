"""Chains of epochs with any committees, for the tests of the light client: each epoch ends with a block that holds
the next committee, and of each a later block may be had."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from certificate.committees import header_of, key_of, signed_by
from quorum.certificate.block import BlockCertificate
from quorum.certificate.committee import Committee, Member
from quorum.certificate.epochs import EpochChange, epoch_request
from quorum.certificate.light_client import LightClient, WantBlock, WantChange
from quorum.certificate.merkle import leaf_of, path_of
from quorum.certificate.trust import LightBlock

NOW_US = 1_700_000_000_000_000
HOUR_US = 3_600_000_000


def committee_with(names: Iterable[str], epoch: int, faults: int | None = None) -> Committee:
    """Equal members of these names, each with the key of its name."""
    given = sorted(names)
    members = tuple(Member(name, bytes(key_of(name).verify_key)) for name in given)
    return Committee("q0123456789abcdef", epoch, members, (len(given) - 1) // 3 if faults is None else faults)


def quorum_of(committee: Committee) -> tuple[str, ...]:
    """The first members that are a quorum."""
    size = (len(committee.nodes) + committee.faults) // 2 + 1
    return committee.nodes[:size]


def certificate_in(
    committee: Committee,
    place: int = 50,
    signers: Iterable[str] | None = None,
    requests: Sequence[bytes] = (b"a",),
    view: int = 3,
) -> BlockCertificate:
    """A block of the committee's epoch, `place` (0 to 99) blocks behind its beginning; an hour each epoch."""
    header = header_of(committee, requests, sequence=100 * committee.epoch + place + 1)
    header = replace(header, time_us=NOW_US + committee.epoch * HOUR_US + place)
    return signed_by(quorum_of(committee) if signers is None else signers, committee, header, view)


def change_to(old: Committee, new: Committee, signers: Iterable[str] | None = None) -> EpochChange:
    requests = [b"before", epoch_request(new), b"after"]
    path = path_of([leaf_of(request) for request in requests], 1)
    return EpochChange(new, certificate_in(old, 99, signers, requests), 1, path)


class Chain:
    """Committees, one for each epoch from 0; a source that may be asked for anything, and what was."""

    def __init__(self, names: Sequence[Iterable[str]], faults: int | None = None) -> None:
        self.committees = [committee_with(each, epoch, faults) for epoch, each in enumerate(names)]
        self.asked: list[WantBlock | WantChange] = []

    @property
    def last(self) -> int:
        return len(self.committees) - 1

    def block(self, epoch: int) -> LightBlock:
        return LightBlock(self.committees[epoch], certificate_in(self.committees[epoch]))

    def change(self, epoch: int) -> EpochChange:
        return change_to(self.committees[epoch], self.committees[epoch + 1])

    def changes(self) -> list[EpochChange]:
        return [self.change(epoch) for epoch in range(self.last)]

    def drive(self, client: LightClient, lacking: Iterable[WantBlock | WantChange] = ()):
        """Answer the client until it is done."""
        outcome, lacks = client.begin(), set(map(str, lacking))
        while isinstance(outcome, WantBlock | WantChange):
            self.asked.append(outcome)
            assert len(self.asked) <= 2 * self.last + 2, "it asks for ever"
            if str(outcome) in lacks:
                outcome = client.give(None)
            elif isinstance(outcome, WantBlock):
                outcome = client.give(self.block(outcome.epoch))
            else:
                outcome = client.give(self.change(outcome.epoch))
        return outcome
