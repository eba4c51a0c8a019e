"""Did the run do anything? One that decided nothing proves nothing, nor does one that met no rare branch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from quorum.checkers.violation import Violation


class Progress(msgspec.Struct):
    """Counters of one run. `last_decided_us`: the simulated time of the newest decision, None before it."""

    operations_decided: int = 0
    leader_changes: int = 0
    last_decided_us: int | None = None

    def decided(self, now_us: int, operations: int = 1) -> None:
        """So many client operations were decided at `now_us`."""
        self.operations_decided += operations
        self.last_decided_us = now_us

    def leader_changed(self) -> None:
        """A node became leader."""
        self.leader_changes += 1

    def mark(self) -> Progress:
        """The counters as they are now, for `check_progress(since=...)`."""
        return Progress(self.operations_decided, self.leader_changes, self.last_decided_us)


def check_progress(
    progress: Progress,
    operations_min: int = 1,
    leader_changes_max: int | None = None,
    since: Progress | None = None,
) -> None:
    """Raise Violation unless enough was decided, under few enough new leaders, since the mark (or the start)."""
    start = since if since is not None else Progress()
    decided = progress.operations_decided - start.operations_decided
    changes = progress.leader_changes - start.leader_changes
    if decided < operations_min:
        last = progress.last_decided_us
        when = "nothing was ever decided" if last is None else f"the newest decision is from {last} us"
        raise Violation("progress", f"{decided} operations decided, {operations_min} expected; {when}")
    if leader_changes_max is not None and changes > leader_changes_max:
        raise Violation("progress", f"{changes} leader changes, at most {leader_changes_max} expected")


class Sometimes:
    """How often each rare branch was reached, by name. Runs add up through `merge`."""

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self.counts: dict[str, int] = dict(counts or {})

    def reached(self, name: str, times: int = 1) -> None:
        """The branch `name` was reached."""
        self.counts[name] = self.counts.get(name, 0) + times

    def merge(self, other: Sometimes) -> None:
        """Add the counts of another run."""
        for name, times in other.counts.items():
            self.reached(name, times)

    def missing(self, expected: Iterable[str]) -> tuple[str, ...]:
        """Those of `expected` that were never reached, sorted."""
        return tuple(name for name in sorted(set(expected)) if not self.counts.get(name))
