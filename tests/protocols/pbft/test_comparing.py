"""A primary that sends one member another block than the rest is proven to lie, though nobody waits for it."""

from __future__ import annotations

import msgspec
import pytest

from protocols.pbft.cluster import Cluster
from protocols.pbft.scene import (
    ONE,
    SIZES,
    TIMEOUTS_US,
    Sent,
    accusations,
    check_progress,
    complaints,
    liar,
    newest,
    order,
    requests,
    sign,
    started,
    tell,
)
from quorum.certificate.evidence import SignedVote
from quorum.certificate.vote import VoteKind
from quorum.protocols.pbft.messages import Prepare, Shown


def deceived() -> Cluster:
    """One block is decided. n4 sends what it likes, and has n1's key to make up what n1 signed for it."""
    cluster = started()
    order(cluster)
    cluster.liars |= {"n1", "n4"}
    return cluster


def shown(cluster: Cluster, digest: bytes, by: str = "n1", **other: object) -> Shown:
    vote = SignedVote(by, VoteKind.PREPARE, 0, 1, digest, sign(cluster, by, VoteKind.PREPARE, 0, 1, digest))
    return Shown(0, msgspec.structs.replace(vote, **other))


@pytest.mark.parametrize(("count", "faults"), SIZES)
def test_a_block_for_few_that_the_rest_decide_without_convicts_its_primary(count: int, faults: int) -> None:
    cluster = started(count, faults)
    liar(cluster, "n1", "equivocate")
    made = requests(3)
    for request in made:
        cluster.submit(request)
        cluster.run(1_000)
    cluster.run(TIMEOUTS_US)
    assert accusations(cluster, "n1")
    check_progress(cluster, made)


def test_who_prepared_another_block_is_shown_the_signature_once_decided_or_not() -> None:
    cluster = deceived()
    sent: list[object] = []

    def seen(source: str, to: str, message: object, attached: tuple[bytes, ...]) -> list[Sent]:
        if isinstance(message, Shown):
            sent.append((source, to, message))
        return [(message, attached)]

    cluster.filter = seen
    for _ in range(2):
        signature = sign(cluster, "n4", VoteKind.PREPARE, 0, 1, ONE)
        tell(cluster, "n4", "n2", Prepare(0, 1, ONE, signature))
        cluster.run(0)
    assert sent == [("n2", "n4", shown(cluster, newest(cluster, "n2").digest))]


def test_two_signatures_of_the_primary_are_evidence() -> None:
    cluster = deceived()
    tell(cluster, "n4", "n2", shown(cluster, ONE))
    cluster.run(0)
    assert accusations(cluster, "n1")


@pytest.mark.parametrize(
    "forged",
    [{"signature": bytes(64)}, {"member": "n3"}, {"sequence": 7}, {"view": 3}],
    ids=["not signed", "not the primary", "no such block", "no such view"],
)
def test_what_is_shown_falsely_accuses_nobody(forged: dict[str, object]) -> None:
    cluster = deceived()
    for _ in range(3):
        tell(cluster, "n4", "n2", shown(cluster, ONE, **forged))
    cluster.run(0)
    assert not cluster.evidence and not complaints(cluster, "n4")


def test_one_member_may_show_one_signature_for_a_place() -> None:
    """Else wrong ones would keep a node verifying for ever."""
    cluster = deceived()
    asked: list[object] = []
    verify = cluster.verify
    cluster.verify = lambda item: asked.append(item) or verify(item)  # type: ignore[method-assign,func-returns-value]
    for number in range(50):
        tell(cluster, "n4", "n2", shown(cluster, bytes([number]) * 32, signature=bytes(64)))
    cluster.run(0)
    assert len(asked) == 2 and not cluster.evidence


def test_another_type_of_vote_is_refused() -> None:
    cluster = deceived()
    tell(cluster, "n4", "n2", shown(cluster, ONE, kind=VoteKind.COMMIT))
    cluster.run(0)
    assert any("type COMMIT" in complaint for complaint in complaints(cluster, "n4"))
