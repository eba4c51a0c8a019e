"""Every rule on the page of Raft names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "raft.md"


def test_every_rule_on_the_page_has_its_test() -> None:
    existing = {
        name
        for module in sorted(HERE.glob("test_*.py"))
        for name in re.findall(r"^def (test_\w+)", module.read_text(), re.MULTILINE)
    }
    named = re.findall(r"`(test_\w+)`", PAGE.read_text())
    assert len(named) > 40
    assert sorted(set(named) - existing) == []
