"""Each claim about agreement, kept and broken."""

from __future__ import annotations

import pytest

from quorum.checkers.agreement import Agreement, CommitOrder, ElectionSafety, StateDigests, StateMachineSafety
from quorum.checkers.violation import Violation
from quorum.errors import QuorumError

A, B = b"a" * 8, b"b" * 8


def test_a_violation_says_claim_detail_and_nodes() -> None:
    violation = Violation("claim", "detail", ("n1",))
    assert (violation.claim, violation.detail, violation.nodes) == ("claim", "detail", ("n1",))
    assert str(violation) == "claim: detail"
    assert isinstance(violation, QuorumError) and not isinstance(violation, AssertionError)


def test_a_term_has_one_leader() -> None:
    """Raft, figure 3, Election Safety."""
    safety = ElectionSafety()
    safety.leader(1, "n1")
    safety.leader(1, "n1")
    safety.leader(2, "n2")
    with pytest.raises(Violation, match="n1 and n3 both lead term 1"):
        safety.leader(1, "n3")


def test_nodes_commit_the_same_entries() -> None:
    """Raft, figure 3, State Machine Safety."""
    safety = StateMachineSafety()
    safety.committed("n1", 1, 1, A)
    safety.committed("n1", 2, 1, B)
    safety.committed("n2", 1, 1, A)
    assert safety.last == 2 and safety.identity(2) == (1, B)
    with pytest.raises(Violation, match=r"index 2, n1 committed 62\w+ of term 1 and n2 62\w+ of term 3"):
        safety.committed("n2", 2, 3, B)
    with pytest.raises(Violation, match="state machine safety"):
        safety.committed("n3", 1, 1, B)


@pytest.mark.parametrize("index", [1, 3])
def test_a_node_commits_in_order_without_gaps(index: int) -> None:
    safety = StateMachineSafety()
    safety.committed("n1", 1, 1, A)
    with pytest.raises(Violation, match=f"n1 committed index {index} where 2 was next"):
        safety.committed("n1", index, 1, A)


def test_a_node_goes_on_after_its_snapshot() -> None:
    agreement = Agreement()
    for index in (1, 2, 3):
        agreement.committed("n1", index, 1, A)
    agreement.installed("n2", 2)
    agreement.committed("n2", 3, 1, A)
    agreement.restarted("n2", 1)
    agreement.committed("n2", 2, 1, A)
    with pytest.raises(Violation, match="snapshot up to index 4, but only 3"):
        agreement.restarted("n1", 4)


def log_of(*entries: tuple[int, bytes]):
    return lambda index: entries[index - 1] if index <= len(entries) else None


def test_a_later_leader_has_every_committed_entry() -> None:
    """Raft, figure 3, Leader Completeness."""
    agreement = Agreement()
    agreement.leader("n1", 1, log_of())
    agreement.committed("n1", 1, 1, A)
    agreement.committed("n1", 2, 1, B)
    agreement.leader("n2", 2, log_of((1, A), (1, B), (1, A)))
    with pytest.raises(Violation, match="n3 leads term 3 and has nothing at index 2"):
        agreement.leader("n3", 3, log_of((1, A)))
    with pytest.raises(Violation, match=r"has 61\w+ of term 1 at index 2"):
        agreement.leader("n3", 3, log_of((1, A), (1, A)))
    agreement.leader("n3", 3, log_of(), snapshot_index=2)


def test_a_late_leader_of_an_old_term_owes_only_what_was_committed_before() -> None:
    """It won its term before the newer one began, and learns of it later: that is allowed."""
    agreement = Agreement()
    agreement.leader("n1", 1, log_of())
    agreement.committed("n1", 1, 1, A)
    agreement.leader("n2", 3, log_of((1, A)))
    agreement.committed("n2", 1, 1, A)
    agreement.committed("n2", 2, 3, B)
    agreement.leader("n3", 2, log_of((1, A)))
    with pytest.raises(Violation, match="leader completeness"):
        agreement.leader("n4", 4, log_of((1, A)))


def test_a_late_leader_still_owes_the_entries_of_earlier_terms() -> None:
    agreement = Agreement()
    agreement.leader("n1", 1, log_of())
    agreement.committed("n1", 1, 1, A)
    agreement.leader("n2", 3, log_of((1, A)))
    with pytest.raises(Violation, match="n3 leads term 2 and has nothing at index 1"):
        agreement.leader("n3", 2, log_of())


def test_the_commit_index_falls_only_with_a_restart() -> None:
    order = CommitOrder()
    order.commit_index("n1", 5)
    order.commit_index("n1", 5)
    order.commit_index("n2", 1)
    order.restarted("n1")
    order.commit_index("n1", 2)
    with pytest.raises(Violation, match="commit index of n1 fell from 2 to 1"):
        order.commit_index("n1", 1)


def test_the_minority_of_different_states_is_named() -> None:
    digests = StateDigests()
    for node in ("n1", "n2", "n4"):
        digests.digest(node, 10, A)
    with pytest.raises(Violation, match="n3 differs") as found:
        digests.digest("n3", 10, B)
    assert found.value.nodes == ("n3",)


def test_of_two_different_states_none_is_accused() -> None:
    digests = StateDigests()
    digests.digest("n1", 1, A)
    digests.digest("n1", 2, B)
    digests.digest("n1", 1, A)
    with pytest.raises(Violation, match="no majority tells") as found:
        digests.digest("n2", 1, B)
    assert found.value.nodes == ("n1", "n2")


def test_a_node_that_reaches_two_states_at_one_index_is_named() -> None:
    digests = StateDigests()
    digests.digest("n1", 1, A)
    with pytest.raises(Violation, match="n1 applied index 1 twice"):
        digests.digest("n1", 1, B)


def test_old_digests_are_forgotten() -> None:
    digests = StateDigests(kept=2)
    for index in (1, 2, 3):
        digests.digest("n1", index, A)
    digests.digest("n2", 1, B)  # nothing is left to compare it with
    with pytest.raises(Violation):
        digests.digest("n2", 3, B)


def test_a_composite_feeds_every_checker() -> None:
    agreement = Agreement()
    agreement.commit_index("n1", 3)
    agreement.digest("n1", 3, A)
    with pytest.raises(Violation, match="commit order"):
        agreement.commit_index("n1", 2)
    with pytest.raises(Violation, match="state digests"):
        agreement.digest("n2", 3, B)
    agreement.leader("n1", 1, log_of())
    with pytest.raises(Violation, match="election safety"):
        agreement.leader("n2", 1, log_of())
