"""A command that nests its calls deep ends alike on every replica, however deep the replica stands itself."""

from __future__ import annotations

import sys

import pytest

from objects_log import ObjectLog
from quorum.apps.objects import Raised
from quorum.apps.replicated import Replicated, command


def nested(depth: int) -> int:
    return 0 if depth == 0 else 1 + nested(depth - 1)


class Deep(Replicated):
    version = 2
    depth: int = 0

    @command
    def go(self, depth: int) -> int:
        self.depth = 0
        self.depth = nested(depth)
        return self.depth

    def upgrade(self, from_version: int) -> None:
        self.depth = nested(self.depth + 1)


def within(calls: int, act):
    return act() if calls == 0 else within(calls - 1, act)


@pytest.mark.parametrize("calls", [1, 40, 400])
def test_whatever_calls_a_replica_a_command_has_the_same_room(calls):
    """The depths are around those at which it fails: with less room it would do so earlier."""
    log = ObjectLog(deep=Deep)
    results = [log.call("deep", "go", depth) for depth in range(960, 1010)]
    raised = [result for result in results if isinstance(result, Raised)]
    assert 0 < len(raised) < len(results) and {each.kind for each in raised} == {"RecursionError"}
    bound = sys.getrecursionlimit()
    assert within(calls, lambda: log.replay().digest()) == log.machine.digest()
    assert sys.getrecursionlimit() == bound


@pytest.mark.parametrize("calls", [1, 40, 400])
def test_so_has_an_upgrade(calls):
    def raised_in(version_calls):
        log = ObjectLog(deep=Deep)
        log.machine.restore([])
        log.entries.clear()
        log.raise_version("deep", 1)
        log.call("deep", "go", 970)
        within(version_calls, lambda: log.raise_version("deep", 2))
        return log.machine.digest()

    assert raised_in(0) == raised_in(calls)
