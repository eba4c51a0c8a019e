"""Where nobody leads, the words tell whether those who vote run, whoever else does not."""

from __future__ import annotations

from msgspec.structs import replace

from console.test_inquiry import status
from quorum.console.inquiry import Silence, no_quorum
from quorum.console.status import overview_of
from quorum.console.voters import quorum_runs

WRITES = "choose(3, n3, n4, n5, n6)"


def answers(*nodes: str, writes: str = WRITES):
    """These of six nodes answer, and nobody leads."""
    found = {f"n{number}": Silence(f"n{number}", "does not answer") for number in range(1, 7)}
    return found | {
        node: replace(status(node), role="backup", leader=None, epoch=3, writes=writes) for node in nodes
    }


def test_a_quorum_of_the_voters_is_enough_whoever_else_is_missing():
    assert quorum_runs(answers("n3", "n4", "n5"))
    assert not quorum_runs(answers("n1", "n2", "n3", "n4")), "n1 and n2 have departed"
    assert not quorum_runs(answers()) and not quorum_runs(answers("n3", "n4", "n5", writes="n1 &"))


def test_the_words_follow_from_it():
    lost, kept = answers("n1", "n2", "n3"), answers("n1", "n3", "n4", "n5")
    assert "until a quorum of the nodes runs" in " ".join(overview_of(lost, 1_000_000).warnings)
    assert "until those who vote agree on one" in " ".join(overview_of(kept, 1_000_000).warnings)
    assert "Start the missing nodes" in str(no_quorum(lost))
    assert "a quorum of those who vote among them" in str(no_quorum(kept)) and "Retry" in str(no_quorum(kept))
