"""Scripts with golden traces. QUORUM_REWRITE_SCENARIOS=1 writes what happens now; read the difference before you
keep it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from protocols.raft.script import SCENARIOS, play, read_script, rewrite

SCRIPTS = sorted(SCENARIOS.glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_scenario_goes_as_it_is_written(path: Path) -> None:
    if os.environ.get("QUORUM_REWRITE_SCENARIOS"):
        rewrite(path)
    commands, expected = read_script(path)
    assert play(commands) == expected


def test_a_scenario_begins_with_its_claim() -> None:
    assert len(SCRIPTS) >= 9
    for path in SCRIPTS:
        assert path.read_text().startswith("# "), path.name
