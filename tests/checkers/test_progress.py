"""Counters that keep an empty run from passing for a good one."""

from __future__ import annotations

import pytest

from quorum.checkers.progress import Progress, Sometimes, check_progress
from quorum.checkers.violation import Violation


def test_a_run_that_decided_nothing_is_no_proof() -> None:
    with pytest.raises(Violation, match="0 operations decided, 1 expected; nothing was ever decided"):
        check_progress(Progress())


def test_progress_is_counted_since_a_mark() -> None:
    progress = Progress()
    progress.decided(10, operations=5)
    check_progress(progress, operations_min=5)
    mark = progress.mark()
    with pytest.raises(Violation, match="the newest decision is from 10 us"):
        check_progress(progress, since=mark)
    progress.decided(20)
    check_progress(progress, since=mark)
    assert progress == Progress(6, 0, 20)


def test_too_many_leader_changes_are_no_progress() -> None:
    progress = Progress()
    progress.decided(1)
    for _ in range(3):
        progress.leader_changed()
    check_progress(progress, leader_changes_max=3)
    with pytest.raises(Violation, match="3 leader changes, at most 2"):
        check_progress(progress, leader_changes_max=2)


def test_branches_that_were_never_reached_are_named() -> None:
    one, other = Sometimes(), Sometimes({"split vote": 2})
    one.reached("snapshot installed")
    other.reached("split vote")
    one.merge(other)
    assert one.counts == {"snapshot installed": 1, "split vote": 3}
    assert one.missing(["truncation", "split vote", "joint change"]) == ("joint change", "truncation")
