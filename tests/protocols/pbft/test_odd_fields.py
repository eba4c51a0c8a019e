"""Every field of every message, with every odd value of its type, from a stranger, a follower, a member and a
primary: it is acted upon or refused, nothing else, and nobody honest is named for it.

Rows 25 and 26 of the adversarial checklist (tests/README.md).
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator

import pytest

from protocols.pbft.odd_fields import Said, odd_messages
from protocols.pbft.odd_scenes import FOLLOWER, LIAR, MEMBER, PRIMARY, STRANGER, Scene, deliver, scene
from quorum.certificate.evidence import accused, verify_evidence, votes_of
from quorum.errors import RemoteProtocolError
from quorum.protocols.pbft import messages, quotas
from quorum.protocols.pbft.replica import PbftReplica

TYPES = tuple(kind.__name__ for kind in typing.get_args(messages.PbftMessage))


def said_in(where: Scene, kind: str) -> list[Said]:
    return [said for said in where.said if type(said[0]).__name__ == kind]


SOURCES = {
    "voting": (STRANGER, MEMBER, PRIMARY),
    "second": (FOLLOWER, MEMBER, PRIMARY),
    "leaving": (MEMBER, PRIMARY),
}
REFUSED = "refused"


def wrong_with(where: Scene, source: str, said: Said, target: PbftReplica) -> str:
    """What must not happen when a member is given this; empty, or REFUSED, if it does not."""
    liars = {source, LIAR} if isinstance(said[0], messages.Accusation) else {source}
    try:
        reports = deliver(target, where, source, said)
    except RemoteProtocolError as error:
        return REFUSED if error.sender == source else f"names {error.sender}: {error.what}"
    except Exception as error:
        return f"raises {type(error).__name__}: {error}"
    for report in reports:
        if report.node not in liars:
            return f"names {report.node}: {report.what}"
        if report.evidence is not None:
            committee = target.state.epochs.committee_of(votes_of(report.evidence)[0].view)
            if accused(report.evidence) != report.node or not verify_evidence(report.evidence, committee).valid:
                return f"has evidence that convinces nobody against {report.node}"
    return ""


def all_wrong(where: Scene, kind: str, source: str) -> Iterator[str]:
    target = where.target()
    for said in said_in(where, kind):
        for odd in odd_messages(said, source, where.committee):
            what = wrong_with(where, source, odd, target)
            if what == REFUSED:
                continue  # which changes nothing; whatever else may have, so that none hides the next
            target = where.target()
            if what:
                yield f"{source} {what}\n  for {str(odd[0])[:1000]}"


@pytest.fixture(autouse=True)
def nothing_is_left_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message is dropped as its sender has sent too much: each is read."""
    for name in ("MESSAGES", "UNDER_WAY"):
        monkeypatch.setattr(quotas, name, 10**9)


def has_begun(where: Scene, said: Said) -> bool:
    """Whether the member enters the view."""
    target = where.target()
    deliver(target, where, PRIMARY, said)
    return target.state.active and target.state.view == said[0].view  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", SOURCES)
def test_row_25_there_is_a_right_message_of_every_type_to_begin_with(name: str) -> None:
    """As they are, none is refused of a member; not even then is anybody honest named."""
    where = scene(name)
    assert {type(message).__name__ for message, _ in where.said} == set(TYPES)
    for said in where.said:
        assert wrong_with(where, MEMBER, said, where.target()) == ""
    begun = [said for said in said_in(where, "NewView") if has_begun(where, said)]
    assert len(begun) == 2


@pytest.mark.parametrize(
    "name", ["voting", *(pytest.param(name, marks=pytest.mark.slow) for name in ("second", "leaving"))]
)
@pytest.mark.parametrize("kind", TYPES)
def test_row_25_26_a_message_with_one_odd_field_is_acted_upon_or_refused_and_names_nobody_honest(
    kind: str, name: str
) -> None:
    where = scene(name)
    found = [what for source in SOURCES[name] for what in all_wrong(where, kind, source)]
    assert not found, f"{len(found)} messages, the first of them:\n{found[0]}"


@pytest.mark.parametrize(
    ("planted", "what"),
    [
        (lambda state, sender, message: message.digest[31], "raises IndexError"),
        (lambda state, sender, message: state.report("n3", "sent an odd vote"), "names n3"),
    ],
)
def test_a_member_that_trips_over_a_field_or_blames_another_is_found(
    planted: Callable[..., object], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    where = scene("voting")
    honest = where.target

    def target() -> PbftReplica:
        made = honest()
        made._receivers[messages.Prepare] = planted  # type: ignore[assignment]
        return made

    monkeypatch.setattr(where, "target", target)
    assert any(what in found for found in all_wrong(where, "Prepare", MEMBER))
