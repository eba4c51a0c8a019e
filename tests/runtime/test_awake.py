"""Processors stay awake while requests come, and only then."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from quorum.errors import ConfigurationError
from quorum.runtime.awake import QUIET_PERIODS, Awake


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "latency"
    path.touch()
    return path


def latency_us(device: Path) -> int:
    return int(struct.unpack("=i", device.read_bytes())[0])


def test_processors_are_held_awake_from_the_first_request_on(device: Path):
    awake = Awake(str(device))
    assert latency_us(device) > 1_000_000
    awake.look(1)
    assert awake.is_held
    assert latency_us(device) == 0
    awake.close()


def test_processors_may_sleep_once_nothing_happened_for_a_while(device: Path):
    awake = Awake(str(device))
    awake.look(1)
    for _ in range(QUIET_PERIODS - 1):
        awake.look(1)
    assert awake.is_held
    awake.look(1)
    assert not awake.is_held
    assert latency_us(device) > 1_000_000
    awake.look(2)
    assert awake.is_held
    awake.close()


def test_a_node_that_may_not_hold_them_says_so(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="cannot be opened") as caught:
        Awake(str(tmp_path / "nothing"))
    assert "leave awake out" in str(caught.value)
