"""The node's clock: what it shows while the wall clock is set, in either direction.

Row 43 of the adversarial checklist (tests/README.md).
"""

from __future__ import annotations

import time

import pytest

from quorum.runtime.clock import SystemClock

HOUR_US = 3_600_000_000


@pytest.mark.parametrize("by_us", [HOUR_US, -HOUR_US])
def test_row_43_a_wall_clock_that_is_set_within_a_life_moves_no_clock_of_a_node(
    by_us: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node reads it once, and counts on from there. The next life begins with what it shows then."""
    wall_ns, steady_ns = 1_700_000_000_000_000_000, 5_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: wall_ns)
    monkeypatch.setattr(time, "monotonic_ns", lambda: steady_ns)
    clock = SystemClock()
    assert clock.now_us() == wall_ns // 1000
    wall_ns += 1000 * by_us
    steady_ns += 2_000_000
    assert clock.now_us() == 1_700_000_000_002_000
    assert SystemClock().now_us() == 1_700_000_000_000_000 + by_us
